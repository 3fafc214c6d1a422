"""The process at the disk: reads what is wanted of each copy, does it in threads, says what it saw.

Copies share one thread for what can wait, so that the share of a core is the process's; placing has another one, at
full speed: an app waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from failoverd import heap, logs
from failoverd.adapters.kubernetes.client import Client, KubeError
from failoverd.adapters.kubernetes.guards import GuardObject, Unreadable
from failoverd.clock import SystemClock
from failoverd.core import names
from failoverd.core.points import Duty, Observed, Wanted
from failoverd.core.rules import Site
from failoverd.guard.keeper import Keeper
from failoverd.guard.pace import Halt
from failoverd.ports import Clock

log = structlog.get_logger("failoverd.guard")

READ_EVERY = timedelta(seconds=5)
"""An order may be believed for 30 s, so that several reads in a row may fail."""
WORK_EVERY = timedelta(milliseconds=200)
"""Between two rounds at one copy; what is due in a round is the round's affair."""
SAY_AT_MOST = timedelta(seconds=10)
"""Between two writes of what was seen, unless a move waits for it or a point was made."""
SAY_POINTS_AT_MOST = timedelta(seconds=2)
"""Between two writes because of new points: each is replicated only once it was said, and ages meanwhile."""
SAY_AT_LEAST = timedelta(seconds=30)
"""A guard not heard of for longer than two of these is silent."""
FAILED, UNREACHABLE = 1, 3
EVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One copy this process guards: its claim, and where that is mounted."""

    namespace: str
    claim: str
    root: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What the command line says."""

    site: Site
    copies: tuple[Copy, ...]
    own: str = "failoverd"
    """The namespace of the objects."""
    scratch: Path
    """A folder outside every volume, large enough for the largest database."""
    kubeconfig: Path | None = None


class Guarded:
    """One copy: its object in the cluster, its keeper, and the loop between them."""

    def __init__(self, name: str, keeper: Keeper, thing: GuardObject, clock: Clock) -> None:
        self.name = name
        self.keeper = keeper
        self._object = thing
        self._clock = clock
        self._said: Observed | None = None
        self._said_at = timedelta(0)
        self._trouble = ""
        self._halted = ""
        self._done: Wanted | None = None
        self._next = timedelta(0)

    async def read(self) -> None:
        """Read what is wanted once; what cannot be read is logged when it begins and when it ends."""
        try:
            order = await self._object.read()
        except (KubeError, Unreadable) as error:
            self._log(str(error))
            return
        self._log("")
        self.keeper.order(order.wanted, order.date)

    async def round(self, background: ThreadPoolExecutor, moving: ThreadPoolExecutor) -> None:
        """Do what is wanted once, and say what came of it where that is due."""
        wanted = self.keeper.wanted
        if wanted is None or (wanted == self._done and self._clock.now().mono < self._next):
            return
        loop = asyncio.get_running_loop()
        try:
            said = await loop.run_in_executor(moving if wanted.move else background, self.keeper.work, wanted)
        except Halt as halt:
            if str(halt) != self._halted:
                log.info("nothing more is done", copy=self.name, why=str(halt))
            self._halted = str(halt)
            return
        except OSError as error:
            self._log(f"{type(error).__name__}: {error}")
            return
        self._halted = ""
        # Proving looks for new points as often as these are made; making has times of its own.
        self._done = wanted
        waits = wanted.duty is not Duty.MAKE and (said.placed is None or said.placed.done)
        self._next = self._clock.now().mono + (wanted.interval if waits else timedelta(0))
        if self._due(said):
            await self._say(said)

    def _due(self, said: Observed) -> bool:
        if self._said is None:
            return True
        since = self._clock.now().mono - self._said_at
        changed = _news(said) != _news(self._said)
        waited_for = (said.placed, said.recalled) != (self._said.placed, self._said.recalled) or (
            said.duty,
            said.epoch,
        ) != (self._said.duty, self._said.epoch)
        pause = SAY_AT_MOST if said.newest == self._said.newest else SAY_POINTS_AT_MOST
        return waited_for or since >= SAY_AT_LEAST or (changed and since >= pause)

    async def _say(self, said: Observed) -> None:
        try:
            await self._object.write(said)
        except KubeError as error:
            log.warning("what was seen could not be written", copy=self.name, why=str(error))
            return
        before = set(self._said.sick) if self._said else set()
        for one in said.sick:
            if one not in before:
                log.warning("not well", copy=self.name, database=one.database, ailment=str(one.ailment), why=one.text)
        if said.placed is not None and (self._said is None or said.placed != self._said.placed):
            log.info("placing", copy=self.name, move=said.placed.move, done=said.placed.done, why=said.placed.why)
        self._said, self._said_at = said, self._clock.now().mono

    def _log(self, trouble: str) -> None:
        if trouble != self._trouble:
            if trouble:
                log.warning("what is wanted cannot be read", copy=self.name, why=trouble)
            else:
                log.info("what is wanted can be read", copy=self.name)
        self._trouble = trouble


def _news(said: Observed) -> Observed:
    """What is worth a write of its own: that nothing changed meanwhile can wait for the next one."""
    return replace(said, at=EVER, kept=tuple(replace(one, current_at=EVER) for one in said.kept))


def main(setting: Setting) -> int:
    """Guard until SIGTERM or SIGINT. Returns the exit status."""
    heap.give_back()
    logs.configure()
    return asyncio.run(_main(setting))


async def _main(setting: Setting) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        client = await Client.load(setting.kubeconfig)
    except KubeError as error:
        log.error("cannot start", why=str(error))
        return UNREACHABLE
    try:
        await guard(setting, client, SystemClock(), stop)
    except (OSError, ValueError) as error:
        log.error("cannot start", why=str(error))
        return FAILED
    finally:
        await client.close()
    log.info("stopped")
    return 0


async def guard(setting: Setting, client: Client, clock: Clock, stop: asyncio.Event) -> None:
    """Guard every copy until `stop`. Raises OSError, ValueError for a copy that cannot be guarded at all."""
    background = ThreadPoolExecutor(1, "background", initializer=_yielding)
    moving = ThreadPoolExecutor(1, "moving")
    copies: list[Guarded] = []
    try:
        for copy in setting.copies:
            copies.append(_guarded(copy, setting, client, clock))
        log.info("guarding", site=str(setting.site), copies=[one.name for one in copies])
        # A loop that fails ends the process: it is started again, and its silence is seen meanwhile.
        async with asyncio.TaskGroup() as group:
            group.create_task(_reading(copies, stop))
            for one in copies:
                group.create_task(_working(one, background, moving, stop))
            await stop.wait()
            for one in copies:
                one.keeper.stop()
    finally:
        for one in copies:
            one.keeper.stop()
        background.shutdown()
        moving.shutdown()
        for one in copies:
            one.keeper.close()


def _guarded(one: Copy, setting: Setting, client: Client, clock: Clock) -> Guarded:
    private = setting.scratch / f"{one.namespace}.{one.claim}"
    private.mkdir(parents=True, exist_ok=True)
    keeper = Keeper(one.root, setting.site, private, lambda: clock.now().mono)
    thing = GuardObject(client, setting.own, names.guard_object(one.namespace, one.claim))
    return Guarded(f"{one.namespace}/{one.claim}", keeper, thing, clock)


async def _reading(copies: list[Guarded], stop: asyncio.Event) -> None:
    while not stop.is_set():
        await asyncio.gather(*(one.read() for one in copies))
        await _wait(READ_EVERY, stop)


async def _working(
    one: Guarded, background: ThreadPoolExecutor, moving: ThreadPoolExecutor, stop: asyncio.Event
) -> None:
    while not stop.is_set():
        await one.round(background, moving)
        await _wait(WORK_EVERY, stop)


async def _wait(length: timedelta, stop: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(length.total_seconds()):
            await stop.wait()


def _yielding() -> None:
    """What can wait gives way to the app, whose disk this is; niceness is a thread's own on Linux."""
    with contextlib.suppress(OSError):
        os.nice(10)
