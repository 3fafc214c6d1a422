"""Instances of the daemon in a world: started, killed, and killed at the moments that hurt most.

`save`: right after Memory was saved with an app's phase changed, before the first act. `act`: right after an act was
sent; it happens all the same. `receipt`: right after an act was done, before anybody took note of it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from failoverd.core.memory import Memory
from failoverd.core.model import Action, Decision, Now, Receipt, Scan, Snapshot, Unknown
from failoverd.loop import Loop
from failoverd.ports import Executor, Store
from failoverd.simulator.leap import Leaper
from failoverd.simulator.ports import Recorder, instance
from failoverd.simulator.world import World

MOMENTS = ("now", "save", "act", "receipt")
AWAY_MS = 2_000
"""How long a process that died takes to be back."""


@dataclass(slots=True)
class Daemon:
    """One instance. Requests it has sent go on when it dies; nobody hears their answers."""

    world: World
    voice: Recorder
    name: str
    leaper: Leaper | None = None
    trap: str = ""
    """The moment at which it will die next; empty while nothing is planned."""
    loop: Loop | None = None
    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """A new process: it knows nothing but what is remembered in the cluster."""
        if self._task is not None and not self._task.done():
            return
        loop = instance(self.world, self.name, self.voice)
        if self.leaper is not None:
            self.leaper.watch(self.name, loop, lambda: self.trap in ("act", "receipt"))
        loop.store = _Store(loop.store, self)
        loop.executor = _Executor(loop.executor, self)
        self.loop, self._task = loop, asyncio.ensure_future(loop.run())

    async def restart(self, moment: str) -> None:
        """Kill it now and start it at once, or lay a trap for another of `MOMENTS`."""
        if moment != "now":
            self.trap = moment
            return
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.start()

    def die(self) -> None:
        """The trap closes: the process is gone, and comes back a little later."""
        self.trap = ""
        if self._task is not None:
            self._task.cancel()
        self.world.tell(f"daemon {self.name} killed")
        self.world.time.after(AWAY_MS, self.start)

    def check(self) -> None:
        """Raises what the loop ended with, if it ended by itself."""
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.result()


@dataclass(slots=True)
class _Store:
    inner: Store
    daemon: Daemon
    known: Memory | None = None

    async def load(self) -> Memory | Unknown | None:
        found = await self.inner.load()
        self.known = found if isinstance(found, Memory) else None
        return found

    async def save(self, memory: Memory) -> None:
        before, self.known = self.known, memory
        await self.inner.save(memory)
        phases = [{key: app.phase for key, app in one.apps.items()} if one else {} for one in (before, memory)]
        if self.daemon.trap == "save" and phases[0] != phases[1]:
            self.daemon.die()
            await asyncio.get_running_loop().create_future()  # cancelled: nothing after the save happens


@dataclass(slots=True)
class _Executor:
    inner: Executor
    daemon: Daemon

    async def execute(self, action: Action) -> Receipt:
        if self.daemon.trap == "act" and not isinstance(action, Scan):
            self.daemon.die()
        receipt = await self.inner.execute(action)
        if self.daemon.trap == "receipt" and not isinstance(action, Scan):
            self.daemon.die()
        return receipt


@dataclass(slots=True)
class Daemons:
    """All instances of one world. What the leader decides is heard; of the others nothing is."""

    world: World
    hear: Recorder
    count: int = 1
    leaper: Leaper | None = None
    """None: tick by tick."""
    _all: dict[str, Daemon] = field(default_factory=dict)

    def start(self) -> None:
        """Start every instance."""
        for number in range(self.count):
            name = f"failoverd-{number}"
            heard = Recorder(self._filtered if self.count > 1 else self.hear.heard)
            self._all[name] = Daemon(self.world, heard, name, self.leaper)
            self._all[name].start()

    def _filtered(self, decision: Decision, snapshot: Snapshot, now: Now) -> None:
        if snapshot.instance.leader:
            self.hear.heard(decision, snapshot, now)

    async def restart(self, words: list[str]) -> None:
        """`restart daemon [MOMENT [NAME]]`. Raises ValueError for an unknown moment or name."""
        self.world.time.stir()
        moment, name = (*words, *("now", "failoverd-0")[len(words) :])
        if moment not in MOMENTS or name not in self._all:
            raise ValueError(f"restart daemon {' '.join(words)}: moments are {', '.join(MOMENTS)}")
        await self._all[name].restart(moment)

    def check(self) -> None:
        """Raises what any loop ended with."""
        for daemon in self._all.values():
            daemon.check()
