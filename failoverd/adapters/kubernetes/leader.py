"""The leader's own `/status`, through the API server: for whoever cannot reach the pod's network.

Asked of the leader by name and of no Service, behind which any instance might answer: only the leader decides.
"""

from __future__ import annotations

from typing import Any

from failoverd.adapters.kubernetes.client import Client, KubeError
from failoverd.core import names

NEEDS = ()
"""Of the daemon; what an operator needs for it stands in `commands.OPERATOR_NEEDS`."""


async def status(client: Client, namespace: str) -> dict[str, Any] | str:
    """What the leading pod shows, or why that cannot be had. Never raises KubeError."""
    lease = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{names.LEASE}"
    try:
        spec = (await client.request("GET", lease)).body.get("spec")
        holder = str(spec.get("holderIdentity") or "") if isinstance(spec, dict) else ""
        pod = holder.rpartition("_")[0]  # what comes behind is random, see lease.identity
        if not pod:
            return "nobody leads"
        # without a port the API server takes the first one that the pod declares
        return (await client.request("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}/proxy/status")).body
    except KubeError as error:
        return str(error)
