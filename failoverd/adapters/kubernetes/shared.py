"""The configuration that the instances in the cluster mount, for one outside that has to follow the same."""

from __future__ import annotations

from failoverd.adapters.kubernetes.client import Client, KubeError
from failoverd.adapters.kubernetes.rbac import Need, Where
from failoverd.core import names

NEEDS = (Need(where=Where.OWN, group="", resource="configmaps", verbs=("get",), fixed=(names.CONFIG,)),)
"""One by another name, or in another namespace, needs a Role of its own."""


async def read(client: Client, namespace: str, name: str) -> str:
    """The text under `config.toml` of a ConfigMap. Raises KubeError, also where it has no such key."""
    path = f"/api/v1/namespaces/{namespace}/configmaps/{name}"
    data = (await client.request("GET", path)).body.get("data")
    text = data.get(names.CONFIG_KEY) if isinstance(data, dict) else None
    if not isinstance(text, str):
        there = ", ".join(sorted(map(str, data))) if isinstance(data, dict) and data else "nothing"
        why = f"ConfigMap {name} of namespace {namespace} has no {names.CONFIG_KEY}, but {there}"
        raise KubeError(404, why, retryable=False)
    return text
