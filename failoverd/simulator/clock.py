"""Simulated time for asyncio: an event loop whose clock is the world's and which never really waits.

The daemon's own loop, its timeouts and its sleeps run unchanged on it; a wait of an hour costs nothing.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any, TypeVar

from failoverd.core.model import Now
from failoverd.simulator.world import Host, World
from failoverd.simulator.world_time import LOOK, MS

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

T = TypeVar("T")


class Stuck(Exception):
    """Everything waits for something that will never happen."""


class _WorldSelector(selectors.BaseSelector):
    """Waiting for sockets means letting the world's time pass instead."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: FileDescriptorLike, events: int, data: object = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, 0, events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return self._keys

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        time = self._world.time
        if timeout is not None and timeout <= 0:
            return []
        asked = None if timeout is None else time.now_ms + ceil(timeout * 1000 - 1e-3)
        due = [moment for moment in (asked, time.next_ms) if moment is not None]
        if not due:
            raise Stuck("nothing is planned any more")
        self._world.advance(max(min(due), time.now_ms))
        return []


class WorldLoop(asyncio.SelectorEventLoop):
    """An event loop in the world's time."""

    def __init__(self, world: World) -> None:
        super().__init__(_WorldSelector(world))
        self._world = world
        # Whole milliseconds: what is due within the next microsecond is due.
        self._clock_resolution = 2e-6

    def time(self) -> float:
        """The world's time in seconds."""
        return self._world.time.now_ms / 1000


def run(world: World, main: Coroutine[object, object, T]) -> T:
    """Run `main` in the world's time until it ends; tasks it leaves behind are cancelled."""
    loop, often = WorldLoop(world), gc.get_threshold()
    # A tick makes hundreds of small objects and no cycles: looking for some a hundred times a second takes a fifth.
    gc.set_threshold(50_000, 20, 100)
    try:
        return loop.run_until_complete(main)
    finally:
        end(loop)
        gc.set_threshold(*often)


def end(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel the tasks that are left on a loop, see them end, and close it."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


async def until(world: World, at_ms: int) -> None:
    """Wait until the world's clock shows `at_ms` milliseconds."""
    reached = asyncio.get_running_loop().create_future()
    wait_ms = max(0, at_ms - world.time.now_ms)
    world.time.after(wait_ms, lambda: None if reached.done() else reached.set_result(None), LOOK)
    await reached


class WorldClock:
    """The Clock of one instance: monotonic is the world's time, the wall may run apart."""

    def __init__(self, world: World, host: Host) -> None:
        self._world, self._host = world, host
        self.asleep = False
        self.waking: Callable[[], None] = lambda: None
        """What is planned to wake it."""
        self.resting: Callable[[int], int] = lambda remaining_ms: remaining_ms
        """Told when its instance goes to sleep, and for how long; time may leap, and what remains is answered."""
        self._sleeps = 0
        self._read: tuple[tuple[int, int], Now] | None = None

    def now(self) -> Now:
        """This moment."""
        at = self._world.time.now_ms, self._host.wall_offset_ms
        if self._read is None or self._read[0] != at:
            self._read = at, Now(at[0] * MS, self._world.wall(at[1]))
        return self._read[1]

    async def sleep_until(self, mono: timedelta, wake: asyncio.Event) -> None:
        """Wait until `mono` or until `wake` is set; clears `wake`."""
        remaining_ms = -((self.now().mono - mono) // MS)
        if remaining_ms > 0 and not wake.is_set():
            self.asleep = True
            self._sleeps += 1
            remaining_ms = self.resting(remaining_ms)
            self.waking = partial(self._wake, wake, self._sleeps)
            self.plan(remaining_ms)
            await wake.wait()
        self.asleep = False
        wake.clear()

    def plan(self, remaining_ms: int) -> None:
        """Be woken then."""
        self._world.time.after(remaining_ms, self.waking, f"sleep {self._host.name}")

    def _wake(self, wake: asyncio.Event, sleep: int) -> None:
        if sleep == self._sleeps and self.asleep:  # else somebody woke it before
            self.asleep = False
            wake.set()
