"""The loop is woken at once for what has come, and not again and again for more of it."""

import asyncio
from datetime import timedelta

from failoverd.adapters.kubernetes.wakes import Nudge

EVERY = timedelta(seconds=0.2)


async def test_the_first_wakes_at_once_and_what_follows_once_for_all() -> None:
    wake = asyncio.Event()
    nudge, clock = Nudge(wake, EVERY), asyncio.get_running_loop().time
    began = clock()
    nudge()
    assert wake.is_set()
    for _ in range(10):
        wake.clear()
        nudge()
        assert not wake.is_set()
    async with asyncio.timeout(5):
        await wake.wait()
    assert clock() - began >= EVERY.total_seconds()
    wake.clear()
    await asyncio.sleep(EVERY.total_seconds() * 2)
    assert not wake.is_set()


async def test_after_a_pause_it_wakes_at_once_again() -> None:
    wake = asyncio.Event()
    nudge = Nudge(wake, EVERY)
    nudge()
    wake.clear()
    await asyncio.sleep(EVERY.total_seconds() * 1.5)
    nudge()
    assert wake.is_set()


async def test_one_that_is_given_up_wakes_nobody() -> None:
    wake = asyncio.Event()
    nudge = Nudge(wake, EVERY)
    nudge()
    wake.clear()
    nudge()
    nudge.cancel()
    await asyncio.sleep(EVERY.total_seconds() * 2)
    assert not wake.is_set()
