"""Real sockets and no real time: an event loop on which waiting costs nothing once every socket is quiet.

The daemon, its adapters, the proxy and the API server behind it run in one process; a byte sent over loopback is
there when `send` returns. So when no socket has anything to say, nothing can happen before the next timer, and time
leaps to it.
"""

from __future__ import annotations

import asyncio
import os
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, TypeVarTuple, Unpack

from failoverd.clock import SystemClock
from failoverd.core.model import Now
from failoverd.simulator.clock import end

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
BEGINNING = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
"""What every clock shows when a loop begins."""


class _Selector(selectors.DefaultSelector):
    """Waits for sockets for no time at all, and leaps instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._heard = False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and self._heard and (timeout is None or timeout > 0):
            os.sched_yield()  # the kernel may deliver what was just sent a moment later
            ready = super().select(0)
        self._heard = bool(ready)
        if not ready and timeout is None:
            raise RuntimeError("everything waits for something that will never happen")
        if not ready and timeout is not None and timeout > 0:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in a time of its own, in seconds from 0."""

    def __init__(self) -> None:
        self._selector_of_ours = _Selector()
        super().__init__(self._selector_of_ours)
        self._clock_resolution = 2e-6

    def time(self) -> float:
        return self._selector_of_ours.now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """At once: a thread would need real time."""
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done


class VirtualClock(SystemClock):
    """The clock of everything that runs on a VirtualLoop."""

    def now(self) -> Now:
        passed = timedelta(seconds=asyncio.get_running_loop().time())
        return Now(passed, BEGINNING + passed)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on a loop of its own; tasks it leaves behind are cancelled."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        end(loop)
