"""Workloads as the API server keeps them: a real Deployment, what is read of it, and JSON Patch (RFC 6902)."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from failoverd.core import names
from failoverd.core.model import Owner, PatchOp, Pod, Workload
from failoverd.core.rules import App


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
            "annotations": {"deployment.kubernetes.io/revision": "1"},
            "labels": {names.FLUX_NAME: "apps", names.FLUX_NAMESPACE: "flux-system"},
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


def parse(raw: dict[str, Any], pods: Iterable[Pod] = ()) -> Workload:
    """What the adapter would read from `raw`."""
    meta, spec = raw["metadata"], raw["spec"]
    notes = meta.get("annotations")
    template = spec["template"]["spec"]
    selector = template.get("nodeSelector")
    marks = notes or {}
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
        held=marks.get(names.HOLD) == names.HOLD_VALUE,
        owner=Owner.FLUX if names.FLUX_NAME in meta.get("labels", {}) else Owner.NONE,
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
