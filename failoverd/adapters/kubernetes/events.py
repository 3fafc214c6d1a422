"""Kubernetes Events on the workload: what was said, in short, where `kubectl describe` shows it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from failoverd.adapters.kubernetes.client import MERGE_PATCH, Client, KubeError
from failoverd.adapters.kubernetes.rbac import Need, Where
from failoverd.core import names
from failoverd.core.rules import App

NEEDS = (Need(where=Where.APPS, group="", resource="events", verbs=("create", "patch")),)

TEXT_LIMIT = 1024
"""Bytes of an Event's message the API server accepts (core/v1 validation)."""
KEEP = 500
"""How many Events of this process are remembered, so that a repetition counts up instead of piling up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing to tell. `reason` is one CamelCase word; `warning` chooses the type."""

    app: App
    uid: str
    reason: str
    text: str
    at: datetime
    warning: bool = False


class Events:
    """Writes Events; the same words about the same object become one Event with a count."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._counts: dict[str, int] = {}

    async def write(self, event: Event) -> None:
        """Create the Event, or count it up. Raises KubeError: a lost Event must not matter to the caller."""
        name = _name(event)
        base = f"/api/v1/namespaces/{event.app.namespace}/events"
        query = {"fieldManager": names.FIELD_MANAGER}
        if name in self._counts:
            count = self._counts.pop(name) + 1
            patch = {"count": count, "lastTimestamp": _stamp(event.at)}
            try:
                await self._client.request("PATCH", f"{base}/{name}", patch, content_type=MERGE_PATCH, query=query)
            except KubeError as error:
                if error.status != 404:  # Events expire after an hour: then it is made anew
                    raise
            else:
                self._remember(name, count)
                return
        try:
            await self._client.request("POST", base, _body(event, name), query=query)
        except KubeError as error:
            if error.status != 409:  # told by an earlier run of ours, or by another instance
                raise
            patch = {"lastTimestamp": _stamp(event.at)}
            await self._client.request("PATCH", f"{base}/{name}", patch, content_type=MERGE_PATCH, query=query)
        self._remember(name, 1)

    def _remember(self, name: str, count: int) -> None:
        self._counts[name] = count
        while len(self._counts) > KEEP:
            del self._counts[next(iter(self._counts))]


def _name(event: Event) -> str:
    """Unique by object, words and first time; an Event's name must be a DNS subdomain."""
    told = f"{event.uid} {event.reason} {event.text}"
    return f"{event.app.name}.{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}Z"


def _body(event: Event, name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": event.app.namespace},
        "involvedObject": {
            "apiVersion": "apps/v1",
            "kind": str(event.app.kind),
            "namespace": event.app.namespace,
            "name": event.app.name,
            "uid": event.uid,
        },
        "reason": event.reason,
        "message": event.text.encode()[:TEXT_LIMIT].decode("utf-8", "ignore"),
        "type": "Warning" if event.warning else "Normal",
        "source": {"component": names.FIELD_MANAGER},
        "reportingComponent": names.FIELD_MANAGER,
        "reportingInstance": names.FIELD_MANAGER,
        "firstTimestamp": _stamp(event.at),
        "lastTimestamp": _stamp(event.at),
        "count": 1,
    }
