"""Wakes the loop between two ticks, for what should not wait for the next one."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from failoverd.adapters.kubernetes.resources import APPLIERS, COMMANDS, GUARDS, PODS, WORKLOADS

MOVING = frozenset((PODS, GUARDS, *APPLIERS.values(), *WORKLOADS.values()))
"""What a move waits for."""
EVERY = timedelta(seconds=1)
"""Between two wakes at least: guards of many busy databases would otherwise have the loop tick all the time."""


class Nudge:
    """Called whenever something has come; sets `wake` at once, or as soon as it may again."""

    def __init__(self, wake: asyncio.Event, every: timedelta = EVERY) -> None:
        self._wake = wake
        self._every = every.total_seconds()
        self._next = 0.0
        self._planned: asyncio.TimerHandle | None = None

    def __call__(self) -> None:
        """Something has come. Only within a running event loop."""
        if self._planned is not None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() >= self._next:
            self._set()
        else:
            self._planned = loop.call_at(self._next, self._set)

    def cancel(self) -> None:
        """What was planned does not happen."""
        if self._planned is not None:
            self._planned.cancel()
            self._planned = None

    def _set(self) -> None:
        self._planned = None
        self._next = asyncio.get_running_loop().time() + self._every
        self._wake.set()


class Wakes:
    """Sets `wake` for what the watches bring: a command, what a guard says (its point waits to be announced), and
    while an app is moved its pods, its workload and what that is applied from.
    """

    def __init__(self, wake: asyncio.Event | None) -> None:
        self._wake = wake
        self._nudge = Nudge(wake) if wake is not None else None

    def heard(self, kind: str, *, moving: bool) -> None:
        """A watch of objects of this kind has brought something."""
        if self._wake is None or self._nudge is None:
            return
        if kind == COMMANDS or (moving and kind in MOVING):
            self._wake.set()
        elif kind == GUARDS:
            self._nudge()

    def close(self) -> None:
        """Nobody is woken any more."""
        if self._nudge is not None:
            self._nudge.cancel()
