"""Workloads as the API server keeps them: a real Deployment, what is read of it, and JSON Patch (RFC 6902)."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from failoverd.core import names
from failoverd.core.model import ApplierReading, Owner, PatchOp, Pod, Suspension, Workload
from failoverd.core.rules import App, Applier, ApplierKind

TRACKING = "argocd.argoproj.io/tracking-id"


def helm_release(name: str) -> Applier:
    """A HelmRelease `namespace/name`."""
    return Applier(kind=ApplierKind.HELM_RELEASE, name=name)


def application(name: str) -> Applier:
    """An Argo CD Application `namespace/name`."""
    return Applier(kind=ApplierKind.APPLICATION, name=name)


def _labels(app: App) -> dict[str, str]:
    if app.applier is None:
        return {names.FLUX_NAME: "apps", names.FLUX_NAMESPACE: "flux-system"}
    if app.applier.kind is ApplierKind.APPLICATION:
        return {}
    one = app.applier
    return {names.HELM_NAME: one.last, names.HELM_NAMESPACE: one.namespace, "app.kubernetes.io/managed-by": "Helm"}


def _annotations(app: App) -> dict[str, str]:
    argo = app.applier is not None and app.applier.kind is ApplierKind.APPLICATION
    tracked = {TRACKING: f"{app.applier.last}:apps/Deployment:{app.key}"} if argo and app.applier else {}
    return {"deployment.kubernetes.io/revision": "1", **tracked}


def deployment(app: App, **spec: Any) -> dict[str, Any]:
    """A Deployment as the API server returns it, at the primary."""
    volumes = [
        {"name": f"{app.name}-{one.name}", "persistentVolumeClaim": {"claimName": one.primary.claim}}
        for one in app.volumes
    ]
    return {
        "metadata": {
            "name": app.name,
            "uid": f"uid-{app.name}",
            "resourceVersion": "1",
            "annotations": _annotations(app),
            "labels": _labels(app),
        },
        "spec": {
            "replicas": 1,
            "template": {
                "spec": {
                    "nodeSelector": {"role": "primary"},
                    "volumes": [*volumes, {"name": "tmp", "emptyDir": {}}],
                    **spec,
                }
            },
        },
    }


def applied(which: Applier) -> dict[str, Any]:
    """A HelmRelease or Application as the API server returns it, applied by a Kustomization."""
    return {
        "metadata": {
            "name": which.last,
            "namespace": which.namespace,
            "uid": f"uid-{which.kind}-{which.last}",
            "resourceVersion": "1",
            "labels": {names.FLUX_NAME: "apps", names.FLUX_NAMESPACE: "flux-system"},
        },
        "spec": {"interval": "30m", "values": {"image": "1.0"}},
    }


def parse_applier(which: Applier, raw: dict[str, Any]) -> ApplierReading:
    """What the adapter would read from `raw`."""
    meta, marks = raw["metadata"], raw["metadata"].get("annotations") or {}
    suspend = {None: None, True: "true", False: "false"}[raw["spec"].get("suspend")]
    return ApplierReading(
        kind=which.kind,
        uid=meta["uid"],
        version=meta["resourceVersion"],
        switch=marks.get(names.SKIP) if which.kind is ApplierKind.APPLICATION else suspend,
        annotations=bool(marks),
        ours=Suspension.of(marks[names.SUSPENDED]) if names.SUSPENDED in marks else None,
        held=marks.get(names.HOLD) == names.HOLD_VALUE,
        hold=marks.get(names.HOLD),
        owner=Owner.FLUX if names.FLUX_NAME in meta.get("labels", {}) else Owner.NONE,
        busy=raw.get("busy", ""),
        applies=raw.get("applies", True),
        heeds=raw.get("heeds", True),
        reconciled=raw.get("reconciled"),
    )


def _owner(labels: dict[str, str], marks: dict[str, str]) -> tuple[Owner, str]:
    if TRACKING in marks:
        return Owner.ARGO, marks[TRACKING].split(":")[0]
    if names.HELM_NAME in labels:
        return Owner.HELM_RELEASE, f"{labels[names.HELM_NAMESPACE]}/{labels[names.HELM_NAME]}"
    return (Owner.FLUX if names.FLUX_NAME in labels else Owner.NONE), ""


def parse(raw: dict[str, Any], pods: Iterable[Pod] = ()) -> Workload:
    """What the adapter would read from `raw`."""
    meta, spec = raw["metadata"], raw["spec"]
    notes = meta.get("annotations")
    template = spec["template"]["spec"]
    selector = template.get("nodeSelector")
    marks = notes or {}
    owner, owner_name = _owner(meta.get("labels", {}), marks)
    return Workload(
        uid=meta["uid"],
        version=meta["resourceVersion"],
        replicas=spec["replicas"],
        claims=tuple(
            (index, one["name"], one["persistentVolumeClaim"]["claimName"])
            for index, one in enumerate(template["volumes"])
            if "persistentVolumeClaim" in one
        ),
        selector=None if selector is None else tuple(selector.items()),
        annotations=notes is not None,
        epoch=int(marks[names.EPOCH]) if names.EPOCH in marks else None,
        active=marks.get(names.ACTIVE, ""),
        leader=int(marks[names.LEADER]) if names.LEADER in marks else None,
        held=marks.get(owner.hold) == names.HOLD_VALUE,
        owner=owner,
        owner_name=owner_name,
        pods=tuple(pods),
    )


class Failed(Exception):
    """A JSON Patch whose `test` failed, or that names what is not there."""


def json_patch(document: dict[str, Any], ops: Iterable[PatchOp]) -> dict[str, Any]:
    """RFC 6902: a patched copy, or Failed and nothing changed."""
    result = copy.deepcopy(document)
    for op in ops:
        *path, last = [part.replace("~1", "/").replace("~0", "~") for part in op.path.split("/")[1:]]
        parent: Any = result
        try:
            for part in path:
                parent = parent[int(part)] if isinstance(parent, list) else parent[part]
            at: Any = int(last) if isinstance(parent, list) else last
            if op.op == "test":
                if parent[at] != op.value or type(parent[at]) is not type(op.value):
                    raise Failed(f"{op.path} is {parent[at]!r}, not {op.value!r}")
            elif op.op == "remove":
                del parent[at]
            elif op.op == "replace":
                _ = parent[at]
                parent[at] = copy.deepcopy(op.value)
            elif isinstance(parent, list):
                parent.insert(at, copy.deepcopy(op.value))
            else:
                parent[at] = copy.deepcopy(op.value)
        except (KeyError, IndexError, TypeError) as error:
            raise Failed(f"{op.op} {op.path}: {error!r}") from None
    return result
