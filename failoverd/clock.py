"""The only place that reads a clock or waits. Everything else is handed a `Now`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from failoverd.core.model import Now


class SystemClock:
    """The machine's clocks: the monotonic one for durations, the wall clock for people."""

    def now(self) -> Now:
        """This moment."""
        return Now(timedelta(seconds=time.monotonic()), datetime.now(UTC))

    async def sleep_until(self, mono: timedelta, wake: asyncio.Event) -> None:
        """Wait until the monotonic clock shows `mono`, or until `wake` is set; clears `wake`."""
        remaining = mono - self.now().mono
        if remaining > timedelta(0) and not wake.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(remaining.total_seconds()):
                    await wake.wait()
        wake.clear()


async def sleep(duration: timedelta) -> None:
    """Wait for `duration`."""
    await asyncio.sleep(duration.total_seconds())


@dataclass(frozen=True, slots=True)
class Spent:
    """What a thread has had so far, in seconds: of a core, of waiting for one, and of the monotonic clock."""

    cpu: float
    queued: float
    mono: float


def spent() -> Spent:
    """What this thread has had so far, which a pace is kept by.

    How long it waited for a core is told by Linux alone (the second number of `/proc/thread-self/schedstat`, in
    nanoseconds: Documentation/scheduler/sched-stats); elsewhere it is 0.
    """
    try:
        queued = int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        queued = 0.0
    return Spent(time.thread_time(), queued, time.monotonic())


def pause(seconds: float) -> None:
    """Hold up this thread; never to be called where an event loop runs."""
    time.sleep(seconds)
