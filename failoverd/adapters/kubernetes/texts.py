"""Texts in a ConfigMap of the daemon's namespace that several may write: each changes its own and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from failoverd.adapters.kubernetes.client import MERGE_PATCH, Client, KubeError
from failoverd.core import names


async def merge(client: Client, namespace: str, name: str, texts: Mapping[str, str | None]) -> None:
    """Write these texts, None takes one away; the ConfigMap is made where there is none. Raises KubeError."""
    base, query = f"/api/v1/namespaces/{namespace}/configmaps", {"fieldManager": names.FIELD_MANAGER}
    changed = {"data": dict(texts)}
    try:
        await client.request("PATCH", f"{base}/{name}", changed, content_type=MERGE_PATCH, query=query)
    except KubeError as error:
        if error.status != 404:
            raise
        data = {key: text for key, text in texts.items() if text is not None}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
        try:
            await client.request("POST", base, body, query=query)
        except KubeError as raced:
            if raced.status != 409:
                raise
            await client.request("PATCH", f"{base}/{name}", changed, content_type=MERGE_PATCH, query=query)
