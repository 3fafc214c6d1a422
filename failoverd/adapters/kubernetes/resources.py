"""What is listed and watched, and which fields of it are kept."""

from __future__ import annotations

from datetime import timedelta

from failoverd.adapters.kubernetes import commands, fit, guards, kured
from failoverd.adapters.kubernetes.cache import Keep, Resource
from failoverd.adapters.kubernetes.rbac import Named, Need, Where
from failoverd.core import names
from failoverd.core.rules import Applier, ApplierKind, Rules, WorkloadKind

HELM = "helm.toolkit.fluxcd.io"
ARGO = "argoproj.io"

_READ = ("get", "list", "watch")
# Reading cannot be limited by name where a whole namespace is listed: one watch serves every app of it.
NEEDS = (
    Need(where=Where.CLUSTER, group="", resource="nodes", verbs=_READ),
    Need(where=Where.CLUSTER, group="", resource="persistentvolumes", verbs=("list", "watch")),
    # A node's room is what it has less what all pods on it request, whosever they are.
    Need(where=Where.CLUSTER, group="", resource="pods", verbs=("list", "watch")),
    Need(where=Where.NODE_LEASES, group="coordination.k8s.io", resource="leases", verbs=_READ),
    Need(
        where=Where.APPS,
        group="apps",
        resource="deployments",
        verbs=_READ,
        kind=WorkloadKind.DEPLOYMENT,
    ),
    Need(
        where=Where.APPS,
        group="apps",
        resource="statefulsets",
        verbs=_READ,
        kind=WorkloadKind.STATEFULSET,
    ),
    Need(where=Where.APPS, group="", resource="pods", verbs=("list", "watch")),
    Need(where=Where.APPS, group="", resource="persistentvolumeclaims", verbs=("list", "watch")),
    Need(
        where=Where.APPS,
        group="volsync.backube",
        resource="replicationsources",
        verbs=("list", "watch"),
    ),
    Need(where=Where.RELEASES, group=HELM, resource="helmreleases", verbs=("list", "watch")),
    Need(where=Where.RELEASES, group=HELM, resource="helmreleases", verbs=("get",), named=Named.APPLIERS),
    Need(where=Where.APPLICATIONS, group=ARGO, resource="applications", verbs=("list", "watch")),
    Need(where=Where.APPLICATIONS, group=ARGO, resource="applications", verbs=("get",), named=Named.APPLIERS),
    Need(where=Where.KURED, group="apps", resource="daemonsets", verbs=("list", "watch"), named=Named.KURED),
)

NODES = "nodes"
LEASES = "leases"
VOLUMES = "persistentvolumes"
COMMANDS = "commands"
GUARDS = "guards"
PODS = "pods"
TENANTS = "pods on"
"""Every pod bound to one node of a pair; kept by the node's name."""
CLAIMS = "persistentvolumeclaims"
SOURCES = "replicationsources"
RELEASES = "helmreleases"
APPLICATIONS = "applications"
KURED = "daemonsets"
APPLIERS = {ApplierKind.HELM_RELEASE: RELEASES, ApplierKind.APPLICATION: APPLICATIONS}
WORKLOADS = {
    WorkloadKind.DEPLOYMENT: "deployments",
    WorkloadKind.STATEFULSET: "statefulsets",
}
LEASES_PATH = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
LEASES_IDLE = timedelta(seconds=12)
"""Every node renews every 10 s (kubelet's default): with all of them silent for longer, ask the API server."""

_META: Keep = {"name": True, "namespace": True, "uid": True, "resourceVersion": True}
_CONDITIONS: Keep = {"type": True, "status": True, "reason": True, "message": True}
_VOLUMES: Keep = {"name": True, "persistentVolumeClaim": {"claimName": True}}
_OWNED: Keep = {"ownerReferences": True, "labels": True, "deletionTimestamp": True}
_MANAGED: Keep = {"annotations": True, "managedFields": {"manager": True}}
_WAITING: Keep = {"state": {"waiting": True}}

_REQUESTS: Keep = {"restartPolicy": True, "resources": {"requests": True, "limits": True}}
_ASKED: Keep = {
    "containers": {"image": True, **_REQUESTS},
    "initContainers": {"image": True, **_REQUESTS},
    "resources": True,
    "overhead": True,
    "tolerations": True,
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": True}},
}

KEEP: dict[str, Keep] = {
    NODES: {
        "metadata": {
            "name": True,
            "labels": True,
            "deletionTimestamp": True,
            "annotations": {fit.KURED: True, names.TAINTED: True},
        },
        "spec": {"unschedulable": True, "taints": True},
        "status": {
            "conditions": {"type": True, "status": True},
            "addresses": True,
            "allocatable": True,
            "images": {"names": True},
        },
    },
    TENANTS: {
        "metadata": {"name": True, "namespace": True},
        "spec": {
            "containers": _REQUESTS,
            "initContainers": _REQUESTS,
            "resources": True,
            "overhead": True,
        },
        "status": {"phase": True},
    },
    LEASES: {"spec": {"renewTime": True}},
    VOLUMES: {"spec": {"nodeAffinity": True}},
    COMMANDS: {"data": True},
    GUARDS: {"metadata": {"name": True, "resourceVersion": True}, "data": True},
    PODS: {
        "metadata": {**_META, **_OWNED, "deletionGracePeriodSeconds": True},
        "spec": {"nodeName": True, "terminationGracePeriodSeconds": True, "volumes": _VOLUMES},
        "status": {
            "phase": True,
            "conditions": _CONDITIONS,
            "initContainerStatuses": _WAITING,
            "containerStatuses": _WAITING,
        },
    },
    CLAIMS: {
        "metadata": {"deletionTimestamp": True},
        "spec": {"volumeName": True},
        "status": {"phase": True},
    },
    SOURCES: {"spec": {"sourcePVC": True}},
    RELEASES: {
        "metadata": {**_META, **_OWNED, **_MANAGED},
        "spec": {"suspend": True},
        "status": {"conditions": _CONDITIONS},
    },
    APPLICATIONS: {
        "metadata": {**_META, **_OWNED, **_MANAGED},
        "operation": {"sync": {"revision": True}},
        "status": {
            "controllerNamespace": True,
            "reconciledAt": True,
            "operationState": {"phase": True},
            "resources": {"group": True, "kind": True, "namespace": True, "name": True},
        },
    },
    "deployments": {
        "metadata": {**_META, **_OWNED, **_MANAGED, "generation": True},
        "spec": {
            "replicas": True,
            "paused": True,
            "template": {"spec": {"nodeName": True, "nodeSelector": True, "volumes": _VOLUMES, **_ASKED}},
        },
        "status": {"observedGeneration": True},
    },
    "statefulsets": {
        "metadata": {**_META, **_OWNED, **_MANAGED, "generation": True},
        "spec": {
            "replicas": True,
            "template": {"spec": {"nodeName": True, "nodeSelector": True, "volumes": _VOLUMES, **_ASKED}},
            "volumeClaimTemplates": {"metadata": {"name": True}},
            "updateStrategy": True,
        },
        "status": {"observedGeneration": True},
    },
}


def wanted(rules: Rules, own: str) -> dict[tuple[str, str], Resource]:
    """Every list that the configured apps need, by (kind, namespace); `own` is the daemon's namespace."""
    found = {
        (NODES, ""): Resource(name="nodes", path="/api/v1/nodes", keep=KEEP[NODES]),
        (LEASES, ""): Resource(name="node leases", path=LEASES_PATH, keep=KEEP[LEASES], idle=LEASES_IDLE),
        (VOLUMES, ""): Resource(name="persistentvolumes", path="/api/v1/persistentvolumes", keep=KEEP[VOLUMES]),
        (COMMANDS, ""): Resource(
            name="commands",
            path=commands.path(own).rsplit("/", 1)[0],
            keep=KEEP[COMMANDS],
            selector=f"metadata.name={names.COMMANDS}",
        ),
    }
    if rules.guard is not None:
        found[GUARDS, ""] = Resource(
            name="guards' objects",
            path=commands.path(own).rsplit("/", 1)[0],
            keep=KEEP[GUARDS],
            labels=",".join(f"{key}={value}" for key, value in guards.LABELS.items()),
        )
    if rules.kured:
        space, _, name = rules.kured.partition("/")
        found[KURED, space] = Resource(
            name=f"DaemonSet {rules.kured}",
            path=f"/apis/apps/v1/namespaces/{space}/{KURED}",
            keep=kured.KEEP,
            selector=f"metadata.name={name}",
        )
    for node in rules.nodes:
        found[TENANTS, node] = Resource(
            name=f"pods on {node}", path="/api/v1/pods", keep=KEEP[TENANTS], selector=f"spec.nodeName={node}"
        )
    for app in rules.apps:
        for kind, base in (
            (PODS, "/api/v1"),
            (CLAIMS, "/api/v1"),
            (SOURCES, "/apis/volsync.backube/v1alpha1"),
            (WORKLOADS[app.kind], "/apis/apps/v1"),
        ):
            found[kind, app.namespace] = Resource(
                name=f"{kind} in {app.namespace}",
                path=f"{base}/namespaces/{app.namespace}/{kind}",
                keep=KEEP[kind],
            )
        if app.applier is not None:
            kind, space = APPLIERS[app.applier.kind], app.applier.namespace
            found[kind, space] = Resource(name=f"{kind} in {space}", path=appliers_path(app.applier), keep=KEEP[kind])
    return found


def appliers_path(applier: Applier) -> str:
    """Where the API server keeps what is of the kind and namespace of `applier`."""
    version = {ApplierKind.HELM_RELEASE: f"{HELM}/v2", ApplierKind.APPLICATION: f"{ARGO}/v1alpha1"}[applier.kind]
    return f"/apis/{version}/namespaces/{applier.namespace}/{APPLIERS[applier.kind]}"
