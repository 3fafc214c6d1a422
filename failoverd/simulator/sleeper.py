"""One running instance as those see and change it who let time leap: all it carries from one tick into the next."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any

from failoverd.core.memory import Memory
from failoverd.core.model import Decision, Now, Scan, ScanPoints, Snapshot, Unknown, Watch
from failoverd.core.rules import Rules
from failoverd.loop import Loop
from failoverd.simulator.clock import WorldClock
from failoverd.simulator.idle_tick import Tick
from failoverd.simulator.ports import GRACE_MS, WorldObserver, WorldStore
from failoverd.simulator.world_lead import WorldLeadership

MS = timedelta(milliseconds=1)
COUNTS = re.compile(r"[\d.]+")

Inputs = tuple[Rules, Memory | Unknown | None, Watch, Snapshot, Now]


@dataclass(slots=True)
class Sleeper:
    """One running instance, as the leaper sees and changes it."""

    loop: Loop
    clock: WorldClock
    store: WorldStore
    leadership: WorldLeadership
    observer: WorldObserver
    stir: Callable[[], None]
    trapped: Callable[[], bool]
    """Whether its process is to die of the next act that is more than a scan."""
    seen: Inputs | None = None
    decision: Decision | None = None
    reworded_ms: tuple[int, int] = (-1, -1)
    """When its words changed though nothing was done: the time before the last, and the last."""
    steady: bool = False
    """Whether the last tick said and did nothing."""
    words: object = None
    """What the last tick had to say, without its numbers."""

    def saw(self, rules: Rules, memory: Memory | Unknown | None, watch: Watch, snapshot: Snapshot, now: Now) -> None:
        """What `decide` is about to be given (a `Recording`)."""
        self.seen = (rules, memory, watch, snapshot, now)

    def decided(self, decision: Decision) -> None:
        """What it answered. Anything that is said or done ends a quiet stretch."""
        assert self.seen is not None
        found = sketch(decision)
        done = decision.notes or any(not isinstance(act, Scan | ScanPoints) for act in decision.actions)
        if done or not all(receipt.ok for receipt in self.seen[3].receipts):
            self.stir()
        elif found != self.words:
            self.reworded_ms = self.reworded_ms[1], self.seen[4].mono // MS
        self.steady = not done and not decision.actions
        self.decision, self.words = decision, found

    @property
    def at_rest(self) -> bool:
        """Whether it sleeps, with nothing begun that has not been taken note of."""
        return self.clock.asleep and not self.loop._tasks and self.seen is not None

    def state(self) -> tuple[Any, ...]:
        """Everything it carries from one tick into the next, and what the last one was given and answered."""
        loop, decision = self.loop, self.decision
        assert decision is not None
        assert self.seen is not None
        carried = (loop.watch, loop.memory, loop.turned_at, loop._due, loop._led, frozenset(self.observer._slow))
        counted = (self.store.version, self.leadership._last_ok_ms * MS)
        answered = (decision.memory, decision.watch, decision.wake_at, decision.confirm)
        return carried, counted, answered, self.seen[1:]

    def last(self) -> Tick:
        """The tick it sleeps after."""
        assert self.seen is not None
        _, memory, watch, snapshot, now = self.seen
        return Tick(memory, watch, snapshot, now, (self.loop.memory, self.loop.watch), self.store.version)

    @property
    def pause(self) -> timedelta:
        """From one tick to the next."""
        assert self.decision is not None
        assert self.seen is not None
        return self.decision.wake_at - self.seen[4].mono

    @property
    def idle(self) -> bool:
        """Whether its last tick did nothing and said nothing, of a world in which nothing has happened since."""
        memory, found = self.loop.memory, self.decision
        assert found is not None
        known = isinstance(memory, Unknown) or found.memory == memory
        return self.steady and known and self.observer.stirs == self.observer.world.time.stirs

    def idled(self, tick: Tick, decision: Decision) -> None:
        """Be as if all the ticks up to `tick` had been."""
        loop, grace_ms = self.loop, GRACE_MS if self.observer._slow else 0
        assert self.seen is not None
        loop.memory, loop.watch = tick.carried
        loop.turned_at, loop._due, loop.snapshot = tick.now, decision.wake_at, tick.snapshot
        self.store.version = tick.version
        if not isinstance(tick.snapshot.api, Unknown):
            self.leadership._last_ok_ms = tick.now.mono // MS + grace_ms
        self.seen = (self.seen[0], tick.memory, tick.watch, tick.snapshot, tick.now)
        self.decision = loop.decision = decision

    def become(self, state: tuple[Any, ...], decision: Decision) -> None:
        """Be as if all the ticks up to `state` had been, of which the last ended in `decision`."""
        loop = self.loop
        assert self.seen is not None
        (loop.watch, loop.memory, loop.turned_at, loop._due, *_), counted, _, seen = state
        self.store.version, self.leadership._last_ok_ms = counted[0], counted[1] // MS
        self.seen = (self.seen[0], *seen)
        self.decision = loop.decision = decision


# -------------------------------------------------------------------- what a reader would notice


@lru_cache(maxsize=4096)
def bare(text: str) -> str:
    """A text without its numbers."""
    return COUNTS.sub("#", text)


def sketch(decision: Decision) -> object:
    """A decision without its times."""
    apps = [
        (
            app.phase,
            app.wanted,
            [(one.why, bare(one.text)) for one in app.objections],
            [age is None for age in app.ages.values()],
            bare(app.waiting),
            app.alarms,
        )
        for app in decision.apps.values()
    ]
    nodes = [
        (
            verdict.health,
            verdict.proven,
            verdict.isolated,
            verdict.fenceable,
            [bare(text) for text in verdict.evidence],
            [bare(one.text) for one in verdict.objections],
        )
        for verdict in decision.verdicts.values()
    ]
    return apps, nodes
