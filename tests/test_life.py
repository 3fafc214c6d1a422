"""What belongs to the wall clock, in the life of a daemon."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, time
from types import SimpleNamespace
from typing import Any, cast

from failoverd.config.hours import Hours, zone
from failoverd.life import _schedule


class Wake(asyncio.Event):
    """Knows which thread set it."""

    by: threading.Thread | None = None

    def set(self) -> None:
        self.by = threading.current_thread()
        super().set()


async def test_a_window_that_opens_wakes_the_loop_from_the_loops_own_thread() -> None:
    wake = Wake()
    hours = Hours(windows=((time(2), time(5)), (time(22, 30), time(23))), zone=zone("Europe/Berlin"))
    daemon = SimpleNamespace(config=SimpleNamespace(hours=hours), loop=SimpleNamespace(wake=wake))
    scheduler = _schedule(cast("Any", daemon))
    try:
        first, second = sorted(scheduler.get_jobs(), key=lambda job: str(job.trigger))
        assert {str(job.next_run_time.tzinfo) for job in (first, second)} == {"Europe/Berlin"}
        opens = sorted((job.next_run_time.hour, job.next_run_time.minute) for job in (first, second))
        assert opens == [(2, 0), (22, 30)]
        first.modify(next_run_time=datetime.now(UTC))
        await asyncio.wait_for(wake.wait(), 5)
        assert wake.by is threading.main_thread()
    finally:
        scheduler.shutdown(wait=False)
