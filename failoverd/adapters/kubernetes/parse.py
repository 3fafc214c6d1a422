"""Raw objects of the API server to core readings. Pure; whatever is missing or malformed becomes Unknown.

The one rule of this file: no default stands in for a field that the API server always fills.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from failoverd.adapters.kubernetes import fit
from failoverd.adapters.kubernetes.owner import is_held, owner
from failoverd.adapters.kubernetes.parse_tools import Malformed, Raw, dig, met, need
from failoverd.adapters.kubernetes.rbac import sources
from failoverd.core import names
from failoverd.core.model import ClaimReading, Lease, NodeObject, Pod, Unknown, Workload
from failoverd.core.rules import App, Site, WorkloadKind


def lease(raw: Raw, name: str) -> Lease | Unknown:
    """A node's lease."""
    try:
        return Lease(stamp=need(raw, "spec", "renewTime", kind=str))
    except Malformed as error:
        return Unknown(f"Lease kube-node-lease/{name}: {error}")


def node(raw: Raw, name: str) -> NodeObject | Unknown:
    """A Node object; taints read `key=value:effect` as kubectl writes them."""
    try:
        conditions = dig(raw, "status", "conditions", kind=list) or []
        ready = [str(c.get("status", "")) for c in conditions if dig(c, "type") == "Ready"]
        return NodeObject(
            ready=ready[0] if ready else "",
            unschedulable=bool(dig(raw, "spec", "unschedulable", kind=bool)),
            deleting=dig(raw, "metadata", "deletionTimestamp") is not None,
            taints=tuple(_taint(taint) for taint in dig(raw, "spec", "taints", kind=list) or []),
            out_of_service=names.TAINTED in (dig(raw, "metadata", "annotations", kind=Mapping) or {}),
            pressures=fit.pressures(conditions),
            allocatable=fit.allocatable(raw),
            images=fit.images(raw),
            rebooting=fit.rebooting(raw),
        )
    except Malformed as error:
        return Unknown(f"Node {name}: {error}")


def _taint(raw: Any) -> str:
    value = dig(raw, "value", kind=str)
    key, effect = need(raw, "key", kind=str), need(raw, "effect", kind=str)
    return f"{key}={value}:{effect}" if value else f"{key}:{effect}"


def workload(raw: Raw, app: App, pods: Sequence[Raw]) -> Workload | Unknown:
    """A workload with those of the namespace's `pods` that mount any of its claims, of both sites."""
    try:
        meta, spec = need(raw, "metadata", kind=Mapping), need(raw, "spec", kind=Mapping)
        template = need(spec, "template", "spec", kind=Mapping)
        claims = template_claims(template)
        annotations = dig(meta, "annotations", kind=Mapping) or {}
        selector = dig(template, "nodeSelector", kind=Mapping)
        generation = need(meta, "generation", kind=int)
        who, owner_name = owner(meta)
        uid = need(meta, "uid", kind=str)
        return Workload(
            uid=uid,
            version=need(meta, "resourceVersion", kind=str),
            replicas=need(spec, "replicas", kind=int),
            claims=claims,
            selector=None if selector is None else tuple(sorted((k, str(v)) for k, v in selector.items())),
            annotations=bool(annotations),
            epoch=_number(annotations, names.EPOCH),
            leader=_number(annotations, names.LEADER),
            active=_active(annotations),
            held=is_held(meta, who.hold),
            owner=who,
            owner_name=owner_name,
            shape=shape(raw, app, claims),
            pods=_pods(pods, app, uid),
            updated=(dig(raw, "status", "observedGeneration", kind=int) or 0) >= generation,
            needs=fit.needs(template),
        )
    except Malformed as error:
        return Unknown(f"{app.kind} {app.key}: {error}")


def _number(annotations: Raw, key: str) -> int | None:
    text = annotations.get(key)
    if text is None:
        return None
    if not isinstance(text, str) or not text.isascii() or not text.isdigit():
        raise Malformed(f"annotation {key} is {text!r}, not a number")
    return int(text)


def _active(annotations: Raw) -> str:
    text = annotations.get(names.ACTIVE, "")
    if text not in {"", *map(str, Site)}:
        raise Malformed(f"annotation {names.ACTIVE} is {text!r}, not a site")
    return str(text)


def template_claims(template: Raw) -> tuple[tuple[int, str, str], ...]:
    """(index, volume name, claim) of every volume of a pod template that names a claim. Raises Malformed."""
    found = []
    for index, volume in enumerate(dig(template, "volumes", kind=list) or []):
        claim = dig(volume, "persistentVolumeClaim", "claimName", kind=str)
        if claim is not None:
            found.append((index, str(need(volume, "name", kind=str)), str(claim)))
    return tuple(found)


def shape(raw: Raw, app: App, claims: Sequence[tuple[int, str, str]]) -> str:
    """Why this workload cannot be switched safely, every reason; empty when it can. Raises Malformed."""
    spec = need(raw, "spec", kind=Mapping)
    reasons = []
    if (replicas := need(spec, "replicas", kind=int)) > 1:
        reasons.append(f"it has {replicas} replicas, more than one pod would write")
    if dig(raw, "metadata", "deletionTimestamp") is not None:
        reasons.append("it is being deleted")
    if dig(spec, "paused", kind=bool):
        reasons.append("its rollout is paused")
    if pinned := dig(spec, "template", "spec", "nodeName", kind=str):
        reasons.append(f"its template names node {pinned}")
    reasons += _claim_reasons(app, [claim for _, _, claim in claims])
    if app.kind is WorkloadKind.STATEFULSET:
        reasons += _stateful_reasons(spec, app)
    return "; ".join(reasons)


def _claim_reasons(app: App, mounted: Sequence[str]) -> list[str]:
    reasons, sites = [], set()
    for volume in app.volumes:
        ours = [(site, volume.copy(site).claim) for site in Site]
        count = sum(mounted.count(claim) for _, claim in ours)
        if count == 0:
            either = " nor ".join(claim for _, claim in ours)
            reasons.append(f"its template mounts neither claim {either} (volume {volume.name})")
        elif count > 1:
            both = " and ".join(claim for _, claim in ours if claim in mounted)
            reasons.append(f"its template mounts {both} {count} times (volume {volume.name})")
        else:
            sites |= {site for site, claim in ours if claim in mounted}
    if len(sites) > 1:
        reasons.append("its template mixes claims of both sites")
    return reasons


def _stateful_reasons(spec: Raw, app: App) -> list[str]:
    reasons = []
    for template in dig(spec, "volumeClaimTemplates", kind=list) or []:
        claim = f"{need(template, 'metadata', 'name', kind=str)}-{app.name}-0"
        if claim in app_claims(app):
            reasons.append(f"claim {claim} comes from volumeClaimTemplates, which cannot be changed")
    if partition := dig(spec, "updateStrategy", "rollingUpdate", "partition", kind=int):
        reasons.append(f"its update partition is {partition}, pods would start from the old template")
    return reasons


def app_claims(app: App) -> frozenset[str]:
    """Every claim of the app, of both sites."""
    return frozenset(volume.copy(site).claim for volume in app.volumes for site in Site)


def pod_claims(raw: Raw) -> tuple[str, ...]:
    """The claims a pod mounts. Raises Malformed."""
    return tuple(claim for _, _, claim in template_claims(need(raw, "spec", kind=Mapping)))


def _pods(pods: Sequence[Raw], app: App, uid: str) -> tuple[Pod, ...]:
    ours, found = app_claims(app), []
    for raw in pods:
        name = str(dig(raw, "metadata", "name") or "?")
        try:
            claims = pod_claims(raw)
            if ours.intersection(claims):
                found.append(pod(raw, app, uid, claims))
        except Malformed as error:
            raise Malformed(f"pod {name}: {error}") from None
    return tuple(sorted(found, key=lambda pod: pod.name))


def pod(raw: Raw, app: App, uid: str, claims: tuple[str, ...]) -> Pod:
    """One pod that mounts claims of the app, whose workload has `uid`. Raises Malformed."""
    meta, spec, status = (need(raw, part, kind=Mapping) for part in ("metadata", "spec", "status"))
    labels = dig(meta, "labels", kind=Mapping) or {}
    grace = dig(meta, "deletionGracePeriodSeconds", kind=int)
    if grace is None:
        grace = dig(spec, "terminationGracePeriodSeconds", kind=int)
    conditions = dig(status, "conditions", kind=list) or []
    return Pod(
        name=need(meta, "name", kind=str),
        uid=need(meta, "uid", kind=str),
        node=dig(spec, "nodeName", kind=str) or "",
        claims=claims,
        owned=_owned(meta, labels, app, uid),
        mover=_mover(labels, app),
        guard=_guard(labels),
        ready=any(dig(c, "type") == "Ready" and dig(c, "status") == "True" for c in conditions),
        deleting=dig(meta, "deletionTimestamp") is not None,
        finished=need(status, "phase", kind=str) in {"Succeeded", "Failed"},
        grace=timedelta(seconds=30 if grace is None else grace),
        waiting=_waiting(status, conditions),
    )


def _owned(meta: Raw, labels: Raw, app: App, uid: str) -> bool:
    for reference in dig(meta, "ownerReferences", kind=list) or []:
        if not dig(reference, "controller", kind=bool):
            continue
        kind, name = dig(reference, "kind", kind=str), dig(reference, "name", kind=str)
        if kind == "ReplicaSet" and app.kind is WorkloadKind.DEPLOYMENT:
            # A Deployment's ReplicaSet is called after both, and the hash holds no dash: no list is needed.
            return bool(name == f"{app.name}-{labels.get('pod-template-hash')}")
        if kind == str(app.kind):
            return bool(dig(reference, "uid", kind=str) == uid)
    return False


def _mover(labels: Raw, app: App) -> bool:
    return (
        labels.get("app.kubernetes.io/part-of") == "volsync"
        and labels.get("app.kubernetes.io/component") == "syncthing-mover"
        and labels.get("app.kubernetes.io/name") in sources((app,))
    )


def _guard(labels: Raw) -> bool:
    return (
        labels.get("app.kubernetes.io/part-of") == names.PART_OF
        and labels.get("app.kubernetes.io/component") == names.GUARD_COMPONENT
    )


def _waiting(status: Raw, conditions: Sequence[Any]) -> str:
    for condition in conditions:
        if dig(condition, "type") == "PodScheduled" and dig(condition, "status") == "False":
            return _reason(condition)
    lists = ("initContainerStatuses", "containerStatuses")
    for container in (c for part in lists for c in dig(status, part, kind=list) or []):
        if state := dig(container, "state", "waiting", kind=Mapping):
            return _reason(state)
    return ""


def _reason(raw: Raw) -> str:
    parts = [str(raw[part]) for part in ("reason", "message") if raw.get(part)]
    return ": ".join(parts)


def claim(raw: Raw, name: str) -> ClaimReading | Unknown:
    """A claim by itself; whether its volume can be reached from a node is `volume.admits`' to say."""
    try:
        bound = need(raw, "status", "phase", kind=str) == "Bound"
        volume = dig(raw, "spec", "volumeName", kind=str) or ""
        if bound and not volume:
            raise Malformed("spec.volumeName is missing")
        going = dig(raw, "metadata", "deletionTimestamp") is not None
        return ClaimReading(bound=bound and not going, volume=volume)
    except Malformed as error:
        return Unknown(f"PersistentVolumeClaim {name}: {error}")


def admits(volume: Raw, labels: Mapping[str, str], node_name: str) -> bool:
    """Whether a PersistentVolume's node affinity admits a node with these labels. Raises Malformed."""
    terms = dig(volume, "spec", "nodeAffinity", "required", "nodeSelectorTerms", kind=list)
    if terms is None:
        return True
    return met(terms, labels, node_name)
