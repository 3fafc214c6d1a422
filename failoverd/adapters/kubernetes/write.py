"""Everything this daemon changes on other people's objects, and the whole of it.

A workload, and the HelmRelease or Application that it is applied from, is changed by a JSON Patch whose `test`
operations fail when the world is not what the decision saw; a pod is deleted by its uid. Nothing else is ever patched
or deleted, and nothing is retried in here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from failoverd.adapters.kubernetes.client import JSON_PATCH, Client, KubeError
from failoverd.adapters.kubernetes.rbac import Named, Need, Where
from failoverd.adapters.kubernetes.resources import APPLICATIONS, ARGO, HELM, RELEASES, appliers_path
from failoverd.core.model import PatchOp
from failoverd.core.names import FIELD_MANAGER
from failoverd.core.rules import App, Applier, WorkloadKind

NEEDS = (
    Need(where=Where.APPS, group="apps", resource="deployments", verbs=("patch",), named=Named.DEPLOYMENTS),
    Need(where=Where.APPS, group="apps", resource="statefulsets", verbs=("patch",), named=Named.STATEFULSETS),
    Need(where=Where.APPS, group="", resource="pods", verbs=("delete",)),
    Need(where=Where.RELEASES, group=HELM, resource=RELEASES, verbs=("patch",), named=Named.APPLIERS),
    Need(where=Where.APPLICATIONS, group=ARGO, resource=APPLICATIONS, verbs=("patch",), named=Named.APPLIERS),
)

PLURALS = {WorkloadKind.DEPLOYMENT: "deployments", WorkloadKind.STATEFULSET: "statefulsets"}


def workload_path(app: App) -> str:
    """Where the API server keeps the app's workload."""
    return f"/apis/apps/v1/namespaces/{app.namespace}/{PLURALS[app.kind]}/{app.name}"


async def patch_workload(client: Client, app: App, ops: Sequence[PatchOp]) -> None:
    """Apply one JSON Patch to the app's workload, all of it or nothing.

    Raises KubeError: 422 when a `test` failed (the workload is not what was decided upon; nothing changed),
    404 when it does not exist, status 0 when it is not known whether the patch was applied.
    """
    await _patch(client, workload_path(app), f"{app.kind} {app.key}", ops)


def applier_path(applier: Applier) -> str:
    """Where the API server keeps it."""
    return f"{appliers_path(applier)}/{applier.last}"


async def patch_applier(client: Client, applier: Applier, ops: Sequence[PatchOp]) -> None:
    """Apply one JSON Patch to a HelmRelease or Application, all of it or nothing. Raises as `patch_workload`."""
    await _patch(client, applier_path(applier), str(applier), ops)


async def _patch(client: Client, path: str, what: str, ops: Sequence[PatchOp]) -> None:
    try:
        await client.request(
            "PATCH",
            path,
            [_operation(op) for op in ops],
            content_type=JSON_PATCH,
            query={"fieldManager": FIELD_MANAGER},
        )
    except KubeError as error:
        if error.status != 422:
            raise
        # The API server's own words for a failed test say nothing at all.
        raise KubeError(422, f"{what} is not what was decided upon: {error}") from None


async def delete_pod(client: Client, namespace: str, pod: str, uid: str) -> str:
    """Delete the pod object at once, without waiting for its kubelet; only ever this very pod.

    Returns what was found: a pod that is gone (404) or whose name another pod bears by now (409) is done too.
    Raises KubeError for everything else.
    """
    options = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "gracePeriodSeconds": 0,
        "preconditions": {"uid": uid},
    }
    try:
        await client.request("DELETE", f"/api/v1/namespaces/{namespace}/pods/{pod}", options)
    except KubeError as error:
        if error.status == 404:
            return "it was gone already"
        if error.status == 409:
            return "another pod bears its name by now"
        raise
    return "deleted"


def _operation(op: PatchOp) -> dict[str, Any]:
    if op.op == "remove":
        return {"op": op.op, "path": op.path}
    return {"op": op.op, "path": op.path, "value": op.value}
