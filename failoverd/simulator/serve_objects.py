"""The world as the objects an API server would list: nodes, leases, workloads, pods, claims, volumes,
movers."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any

from failoverd.core import names
from failoverd.core.rules import ApplierKind, Copy, Site, WorkloadKind
from failoverd.core.shared_fate import CONTROL_PLANE
from failoverd.simulator import serve_guards
from failoverd.simulator.world import World
from failoverd.simulator.world_app import AppTruth, PodTruth
from failoverd.simulator.world_applied import Applied
from failoverd.simulator.world_argo import ApplicationTruth
from failoverd.simulator.world_look import stamp
from failoverd.simulator.world_node import Node
from failoverd.simulator.world_render import template_key

Raw = dict[str, Any]
Item = tuple[str, Raw]
"""(plural of the resource, object)."""

KURED = "weave.works/kured-reboot-in-progress"
"""What kured annotates a node with that it is about to reboot, if told to."""
API_KEY = "simulated\"key'with%\\$signs"
"""VolSync's keys are random printable characters, quotes and backslashes among them."""


def moment(world: World, at_ms: int) -> str:
    """A moment as the API server writes it: whole seconds."""
    return stamp(world, at_ms)[:19] + "Z"


def ever_changing(world: World) -> Iterator[Item]:
    """Objects that change as time passes, without any event."""
    for node in world.nodes.values():
        if not node.deleted:
            yield "nodes", _node(world, node)
            yield "leases", _lease(world, node)


def everything(world: World) -> Iterator[Item]:
    """Every object of the world."""
    yield from ever_changing(world)
    spaces = {app.app.namespace for app in world.apps.values()} | {"default", "kube-node-lease", "flux-system"}
    spaces |= {which.namespace for which in world.appliers}
    for name in sorted(spaces):
        yield "namespaces", _thing("v1", "Namespace", name, "", status={"phase": "Active"})
    for applier in world.appliers.values():
        yield applier_plural(applier.which.kind), _applier(world, applier)
    yield from _tenants(world)
    for name, parts in serve_guards.objects(world):
        yield "configmaps", _thing("v1", "ConfigMap", name, serve_guards.OWN, **parts)
    for truth in world.apps.values():
        yield workload_plural(truth), workload(world, truth)
        for pod in truth.pods:
            if pod.listed:
                yield "pods", _pod(world, truth, pod)
        for volume in truth.app.volumes:
            for site in Site:
                yield from _copy(world, truth, volume.name, site)


def applier_plural(kind: ApplierKind) -> str:
    """`helmreleases` or `applications`."""
    return "helmreleases" if kind is ApplierKind.HELM_RELEASE else "applications"


def find_applier(world: World, plural: str, namespace: str, name: str) -> Applied | None:
    """Whose object this is; None where it is nobody's."""
    for which, applier in world.appliers.items():
        if (applier_plural(which.kind), which.name) == (plural, f"{namespace}/{name}"):
            return applier
    return None


def workload_plural(truth: AppTruth) -> str:
    """`deployments` or `statefulsets`."""
    return "deployments" if truth.app.kind is WorkloadKind.DEPLOYMENT else "statefulsets"


def _thing(api: str, kind: str, name: str, namespace: str, **parts: Any) -> Raw:
    metadata: Raw = {"name": name, "uid": _uid(f"{kind}/{namespace}/{name}")}
    if namespace:
        metadata["namespace"] = namespace
    metadata |= parts.pop("metadata", {})
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **parts}


def _uid(text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-9{digest[17:20]}-{digest[20:32]}"


def _node(world: World, node: Node) -> Raw:
    ready = node.ready(world.time.now_ms)
    beat = moment(world, node.renewal_ms(world.time.now_ms))
    condition = {"type": "Ready", "status": ready, "lastHeartbeatTime": beat}
    condition["reason"] = "KubeletReady" if ready == "True" else "NodeStatusUnknown"
    spec: Raw = {"unschedulable": True} if node.cordoned else {}
    taints = [*node.taints, *(["node.kubernetes.io/unschedulable:NoSchedule"] if node.cordoned else [])]
    if ready != "True":
        taints += [f"node.kubernetes.io/unreachable:{effect}" for effect in ("NoSchedule", "NoExecute")]
    if taints:
        spec["taints"] = [_taint(text) for text in taints]
    notes = {KURED: beat} if node.rebooting else {}
    if node.marked:
        notes |= {names.TAINTED: "failoverd"}
    labels = {**node.labels, **({CONTROL_PLANE[0]: "true"} if node.name == world.spec.api_node else {})}
    metadata: Raw = {"labels": labels, **({"annotations": notes} if notes else {})}
    pressures = ("MemoryPressure", "DiskPressure", "PIDPressure")
    status: Raw = {
        "conditions": [
            *({"type": kind, "status": "True" if kind in node.pressures else "False"} for kind in pressures),
            condition,
        ],
        "allocatable": dict(node.has),
        "capacity": dict(node.has),
        "addresses": [
            {"type": "InternalIP", "address": node.address},
            {"type": "Hostname", "address": node.name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
    }
    if node.images:
        status["images"] = [{"names": [name], "sizeBytes": 100_000_000} for name in node.images]
    return _thing("v1", "Node", node.name, "", metadata=metadata, spec=spec, status=status)


def _taint(text: str) -> Raw:
    named, _, effect = text.rpartition(":")
    key, _, value = named.partition("=")
    return {"key": key, **({"value": value} if value else {}), "effect": effect}


def _tenants(world: World) -> Iterator[Item]:
    """Pods of others: they take room, and nothing else is known of them."""
    for node in world.nodes.values():
        for name, requests in node.tenants.items():
            container = {"name": "main", "image": "example.org/other:1.0", "resources": {"requests": requests}}
            spec = {"nodeName": node.name, "containers": [container]}
            status: Raw = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
            yield "pods", _thing("v1", "Pod", name, "default", spec=spec, status=status)


def _lease(world: World, node: Node) -> Raw:
    renewed = stamp(world, node.renewal_ms(world.time.now_ms))
    spec = {"holderIdentity": node.name, "leaseDurationSeconds": 40, "renewTime": renewed}
    return _thing("coordination.k8s.io/v1", "Lease", node.name, "kube-node-lease", spec=spec)


def workload(world: World, truth: AppTruth) -> Raw:
    """A workload as it is kept, with what the server and the controller add."""
    raw: Raw = {**truth.raw, "metadata": dict(truth.raw["metadata"])}
    raw["metadata"] |= {"generation": truth.generation, "creationTimestamp": moment(world, 0)}
    pods = [pod for pod in truth.pods if pod.listed and pod.owned]
    ready = sum(pod.reported and world.nodes[pod.node or ""].ready(world.time.now_ms) == "True" for pod in pods)
    fresh = sum(pod.template == template_key(truth.raw) for pod in pods)
    counted = {"replicas": len(pods), "updatedReplicas": fresh, "readyReplicas": ready, "availableReplicas": ready}
    raw["status"] = {
        "observedGeneration": truth.observed,
        **{name: count for name, count in counted.items() if count},
    }
    return raw


def _applier(world: World, applier: Applied) -> Raw:
    """A HelmRelease or Application as it is kept, with what the server and its controller add."""
    raw: Raw = {**applier.raw, "metadata": dict(applier.raw["metadata"])}
    raw["metadata"] |= {"generation": applier.generation, "creationTimestamp": moment(world, 0)}
    raw["status"] = _synced(applier) if isinstance(applier, ApplicationTruth) else _upgraded(applier)
    return raw


def _upgraded(release: Applied) -> Raw:
    ready: Raw = {
        "type": "Ready",
        "status": "True",
        "reason": "UpgradeSucceeded",
        "message": "Helm upgrade succeeded",
    }
    working: Raw = {"type": "Reconciling", "status": "True", "reason": "Progressing", "message": release.busy}
    return {"conditions": [working, ready] if release.busy else [ready]}


def _synced(application: ApplicationTruth) -> Raw:
    listed = [
        {"group": "apps", "version": "v1", "kind": app.kind.value, "namespace": app.namespace, "name": app.name}
        for app in (truth.app for truth in application.truths)
    ]
    return {
        "controllerNamespace": application.which.namespace,
        "reconciledAt": application.reconciled.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "operationState": {"phase": "Running" if application.busy else "Succeeded"},
        "resources": listed,
        "sync": {"status": "Synced"},
    }


def _pod(world: World, truth: AppTruth, pod: PodTruth) -> Raw:
    digest = hashlib.sha256(pod.template.encode()).hexdigest()[:10]
    labels = {"app": truth.app.name} if pod.owned else {"run": pod.name}
    owners: list[Raw] = []
    if pod.owned and truth.app.kind is WorkloadKind.DEPLOYMENT:
        labels["pod-template-hash"] = digest
        name = f"{truth.app.name}-{digest}"
        owners = [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": _uid(name)}]
    elif pod.owned:
        uid = truth.raw["metadata"]["uid"]
        owners = [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": truth.app.name, "uid": uid}]
    for owner in owners:
        owner["controller"] = True
    metadata: Raw = {"uid": pod.uid, "labels": labels, "ownerReferences": owners}
    metadata["creationTimestamp"] = moment(world, pod.created_ms)
    if pod.deleting:
        metadata |= {
            "deletionTimestamp": moment(world, pod.deleted_ms),
            "deletionGracePeriodSeconds": pod.grace_ms // 1000,
        }
    node_ready = pod.node is not None and world.nodes[pod.node].ready(world.time.now_ms) == "True"
    spec = _pod_spec(pod.claims, pod.node, pod.grace_ms // 1000)
    if pod.template:
        spec["containers"] = json.loads(pod.template)["spec"]["containers"]
    return _thing(
        "v1", "Pod", pod.name, truth.app.namespace, metadata=metadata,
        spec=spec, status=_pod_status(pod, ready=node_ready),
    )  # fmt: skip


def _pod_spec(claims: tuple[str, ...], node: str | None, grace_seconds: int) -> Raw:
    volumes = [
        {"name": f"volume-{index}", "persistentVolumeClaim": {"claimName": claim}}
        for index, claim in enumerate(claims)
    ]
    spec: Raw = {"volumes": volumes, "terminationGracePeriodSeconds": grace_seconds}
    return spec | ({"nodeName": node} if node else {})


def _pod_status(pod: PodTruth, *, ready: bool) -> Raw:
    scheduled: Raw = {"type": "PodScheduled", "status": "True" if pod.node else "False"}
    if not pod.node:
        scheduled |= {"reason": "Unschedulable", "message": pod.waiting}
    looked_at = bool(pod.node or pod.waiting)
    conditions = [scheduled] if looked_at else []
    conditions.append({"type": "Ready", "status": "True" if pod.reported and ready else "False"})
    status: Raw = {"phase": "Running" if pod.running or pod.reported else "Pending", "conditions": conditions}
    if pod.node and not pod.reported:
        status["containerStatuses"] = [{"state": {"waiting": {"reason": pod.waiting}}, "ready": False}]
    return status


def _copy(world: World, truth: AppTruth, volume: str, site: Site) -> Iterator[Item]:
    app = truth.app
    copy = next(v for v in app.volumes if v.name == volume).copy(site)
    place, side = world.place(truth, site), truth.pairs[volume].sides[site]
    bound = copy.claim not in truth.unbound
    name = f"pv-{app.namespace}-{copy.claim.removeprefix('pvc-')}"
    claim_spec: Raw = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    if bound:
        claim_spec["volumeName"] = name
    status = {"phase": "Bound" if bound else "Pending"}
    yield (
        "persistentvolumeclaims",
        _thing("v1", "PersistentVolumeClaim", copy.claim, app.namespace, spec=claim_spec, status=status),
    )
    yield "persistentvolumes", _thing("v1", "PersistentVolume", name, "", spec=_volume_spec(place.node, app.name))
    peer = truth.pairs[volume].sides[site.other].device
    mover_status = {"syncthing": {"ID": side.device, "peers": [{"ID": peer, "connected": True}]}}
    peers = [{"ID": peer, "address": f"tcp://volsync-{copy.source}-data:22000", "introducer": False}]
    yield "replicationsources", _thing(
        "volsync.backube/v1alpha1", "ReplicationSource", copy.source, app.namespace,
        spec={"sourcePVC": copy.claim, "syncthing": {"peers": peers}}, status=mover_status,
    )  # fmt: skip
    yield from _mover(world, truth, copy, place.node, site, volume)


def _volume_spec(node: str, app: str) -> Raw:
    expressions = [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]
    affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": expressions}]}}
    return {
        "hostPath": {"path": f"/data/pods/{app}", "type": "DirectoryOrCreate"},
        "nodeAffinity": affinity,
        "persistentVolumeReclaimPolicy": "Retain",
    }


def _mover(world: World, truth: AppTruth, copy: Copy, node: str, site: Site, volume: str) -> Iterator[Item]:
    namespace, side = truth.app.namespace, truth.pairs[volume].sides[site]
    ready = side.up and world.nodes[node].ready(world.time.now_ms) == "True"
    labels = {
        "app.kubernetes.io/name": copy.source,
        "app.kubernetes.io/component": "syncthing-mover",
        "app.kubernetes.io/part-of": "volsync",
    }
    start = {"uid": _uid(f"{copy.source}{side.started_ms}"), "labels": labels}
    status = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
    }
    name = f"volsync-{copy.source}"
    yield "pods", _thing(
        "v1", "Pod", f"{name}-0", namespace, metadata=start,
        spec=_pod_spec((copy.claim,), node, 10), status=status,
    )  # fmt: skip
    secret = {"apikey": API_KEY, "username": "syncthing", "password": "simulated"}
    secret |= {"httpsCertPEM": "simulated", "httpsKeyPEM": "simulated"} | side.secret
    data = {key: base64.b64encode(value.encode()).decode() for key, value in secret.items()}
    yield "secrets", _thing("v1", "Secret", name, namespace, type="Opaque", data=data)
    ports = [{"name": "api", "port": 8384, "targetPort": "api", "protocol": "TCP"}]
    service = {"type": "ClusterIP", "clusterIP": side.address, "ports": ports}
    yield "services", _thing("v1", "Service", f"{name}-api", namespace, spec=service)


def scale(raw: Raw) -> Raw:
    """A workload's replicas as a resource of their own."""
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    replicas = raw["spec"].get("replicas", 1)
    labels = raw["spec"]["selector"]["matchLabels"]
    status = {
        "replicas": raw["status"].get("replicas", 0),
        "selector": ",".join(f"{k}={v}" for k, v in labels.items()),
    }
    return {
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {key: raw["metadata"][key] for key in kept},
        "spec": {"replicas": replicas} if replicas else {}, "status": status,
    }  # fmt: skip


def from_api(raw: Raw) -> Raw:
    """A workload as a client sent it, without what only the server and the controller write."""
    kept: Raw = {key: value for key, value in raw.items() if key != "status"}
    own = ("resourceVersion", "generation", "creationTimestamp", "managedFields")
    kept["metadata"] = {key: value for key, value in raw["metadata"].items() if key not in own}
    return kept
