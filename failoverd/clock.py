"""The only place that reads a clock or waits. Everything else is handed a `Now`."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

from failoverd.core.model import Now


class SystemClock:
    """The machine's clocks: the monotonic one for durations, the wall clock for people."""

    def now(self) -> Now:
        """This moment."""
        return Now(timedelta(seconds=time.monotonic()), datetime.now(UTC))

    async def sleep_until(self, mono: timedelta, wake: asyncio.Event) -> None:
        """Wait until the monotonic clock shows `mono`, or until `wake` is set, whichever comes first."""
        remaining = (mono - self.now().mono).total_seconds()
        if remaining > 0 and not wake.is_set():
            try:
                async with asyncio.timeout(remaining):
                    await wake.wait()
            except TimeoutError:
                pass
        wake.clear()


async def sleep(duration: timedelta) -> None:
    """Wait for `duration`."""
    await asyncio.sleep(duration.total_seconds())
