"""Wakes the loop for what may come often."""

from __future__ import annotations

import asyncio
from datetime import timedelta

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
