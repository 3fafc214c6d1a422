"""The taint `out-of-service` of a node, and our mark beside it, in one JSON Patch.

The one rule of this file: the patch tests the version of the node that was read *before* its guest was seen stopped.
A node that came back since has written to its object, so a leader that slept in between changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from failoverd.adapters.kubernetes.client import JSON_PATCH, Client, KubeError
from failoverd.adapters.kubernetes.parse_tools import dig, need
from failoverd.adapters.kubernetes.rbac import Named, Need, Where
from failoverd.core import names

NEEDS = (Need(where=Where.CLUSTER, group="", resource="nodes", verbs=("patch",), named=Named.OUT_OF_SERVICE),)

TAINTS, MARK = "/spec/taints", f"/metadata/annotations/{names.TAINTED.replace('/', '~1')}"
Op = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Taints:
    """Sets it and takes it off."""

    client: Client

    async def set(self, node: str, why: str, off: Callable[[], Awaitable[None]]) -> str:
        """Set it, marked as ours, if `off` raises nothing once the node was read; says what was found.

        One that is there already, whosever it is, is left alone. Raises KubeError: 422 when the node was written to
        meanwhile, status 0 when it is not known whether the taint was set; Malformed; and whatever `off` raises.
        """
        found = await self._read(node)
        if _at(found) is not None:
            return "it was tainted already"
        await off()
        taints = dig(found, "spec", "taints", kind=list)
        taint = {
            "key": names.OUT_OF_SERVICE,
            "value": names.OUT_OF_SERVICE_VALUE,
            "effect": names.OUT_OF_SERVICE_EFFECT,
        }
        ops = _token(found)
        if not dig(found, "metadata", "annotations", kind=Mapping):
            ops.append({"op": "add", "path": "/metadata/annotations", "value": {}})
        ops.append({"op": "add", "path": MARK, "value": f"failoverd: {why}"})
        ops.append({"op": "add", "path": f"{TAINTS}/-", "value": taint} if taints else _all([taint]))
        await self._patch(node, ops)
        return "tainted"

    async def clear(self, node: str) -> str:
        """Take it off where our mark stands beside it, and the mark; says what was found. Raises as `set` does."""
        try:
            found = await self._read(node)
        except KubeError as error:
            if error.status == 404:
                return "the node is gone"
            raise
        if names.TAINTED not in (dig(found, "metadata", "annotations", kind=Mapping) or {}):
            return "it does not carry our mark"
        ops, at = _token(found), _at(found)
        if at is not None:
            ops.append({"op": "test", "path": f"{TAINTS}/{at}/key", "value": names.OUT_OF_SERVICE})
            ops.append({"op": "remove", "path": f"{TAINTS}/{at}"})
        ops.append({"op": "remove", "path": MARK})
        await self._patch(node, ops)
        return "taken off" if at is not None else "somebody had taken it off"

    async def _read(self, node: str) -> Mapping[str, Any]:
        return (await self.client.request("GET", f"/api/v1/nodes/{node}")).body

    async def _patch(self, node: str, ops: list[Op]) -> None:
        query = {"fieldManager": names.FIELD_MANAGER}
        await self.client.request("PATCH", f"/api/v1/nodes/{node}", ops, content_type=JSON_PATCH, query=query)


def _all(taints: list[Op]) -> Op:
    return {"op": "add", "path": TAINTS, "value": taints}


def _token(found: Mapping[str, Any]) -> list[Op]:
    """What fails when the node is not the one, and not as, that was read."""
    meta = {part: need(found, "metadata", part, kind=str) for part in ("uid", "resourceVersion")}
    return [{"op": "test", "path": f"/metadata/{part}", "value": value} for part, value in meta.items()]


def _at(found: Mapping[str, Any]) -> int | None:
    """Where among its taints this one is."""
    taints = dig(found, "spec", "taints", kind=list) or []
    return next((at for at, one in enumerate(taints) if dig(one, "key") == names.OUT_OF_SERVICE), None)
