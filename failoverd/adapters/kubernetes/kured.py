"""kured's lock: the nodes that it is rebooting, or is about to, by the annotation on its DaemonSet.

kured takes the lock before it cordons anything, and gives it back after it has uncordoned the node.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from failoverd.adapters.kubernetes.cache import Keep
from failoverd.adapters.kubernetes.parse_tools import Malformed, Raw, dig, need
from failoverd.core.model import NodeReading, Unknown

LOCK = "weave.works/kured-node-lock"
"""kured's own default (--lock-annotation)."""
KEEP: Keep = {"metadata": {"annotations": {LOCK: True}}}

log = structlog.get_logger("failoverd.kubernetes")


class Lock:
    """Tells the readings of nodes what the lock says of them; once, where it cannot be read."""

    def __init__(self) -> None:
        self._unread = 0

    def announced(
        self, nodes: Mapping[str, NodeReading], found: Raw | Unknown | None, now: datetime
    ) -> dict[str, NodeReading]:
        """`nodes`, those that hold the lock announced for a reboot. None: there is no lock to be read.

        One that cannot be read announces nothing: planned work is known by the cordon then.
        """
        held = found if isinstance(found, Unknown) else holders(found or {}, now)
        self._say(held.why if isinstance(held, Unknown) else "")
        if isinstance(held, Unknown):
            return dict(nodes)
        return {name: _announced(reading) if name in held else reading for name, reading in nodes.items()}

    def _say(self, why: str) -> None:
        self._unread = self._unread + 1 if why else 0
        if self._unread == 2:
            log.warning("kured's lock can't be read: reboots are known by the cordon alone", why=why)


def _announced(reading: NodeReading) -> NodeReading:
    if isinstance(reading.node, Unknown):
        return reading
    return replace(reading, node=replace(reading.node, rebooting="kured"))


def holders(raw: Raw, now: datetime) -> frozenset[str] | Unknown:
    """The nodes that hold the lock of a DaemonSet at `now`: one, or with --concurrency as many as that."""
    text = (dig(raw, "metadata", "annotations", kind=Mapping) or {}).get(LOCK)
    try:
        lock = json.loads(str(text)) if text is not None else {"locks": []}
        if not isinstance(lock, Mapping):
            raise Malformed("is no object")
        single = "locks" not in lock and "maxOwners" not in lock
        locks = [lock] if single else dig(lock, "locks", kind=list) or []
        return frozenset(need(one, "nodeID", kind=str) for one in locks if not _expired(one, now))
    except (Malformed, ValueError, OverflowError, RecursionError) as error:  # whatever stands there, the tick goes on
        return Unknown(f"annotation {LOCK}: {error}")


def _expired(lock: Any, now: datetime) -> bool:
    """Whether kured itself would take it for forgotten. Raises Malformed, ValueError, OverflowError."""
    lasts = dig(lock, "TTL", kind=int)
    if not lasts or lasts < 0:
        return False
    created = datetime.fromisoformat(need(lock, "created", kind=str))
    if created.tzinfo is None:
        raise Malformed("created has no zone")
    return now - created >= timedelta(microseconds=lasts / 1000)
