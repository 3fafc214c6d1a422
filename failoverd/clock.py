"""The only place that reads a clock or waits. Everything else is handed a `Now`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta

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


def spent() -> tuple[float, float]:
    """CPU seconds this thread has used so far, and the monotonic clock's seconds: what a pace is kept by."""
    return time.thread_time(), time.monotonic()


def pause(seconds: float) -> None:
    """Hold up this thread; never to be called where an event loop runs."""
    time.sleep(seconds)
