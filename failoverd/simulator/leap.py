"""Leaps over quiet stretches: the state at their end is computed, and equals what tick by tick would have led to.

Why that holds. World and daemon know nothing of absolute time: moved along as a whole they do the same again. So once
the whole state has come back, moved along by one period (some moments and counters moved, the rest as it was), the
next period does it again, and so on, until a comparison of something that moved with something that stayed turns out
otherwise. In the world that happens at moments that are known (`_horizon`). In the core `decide` itself is asked, at
the farthest moment and then by bisection: what grows older crosses a threshold once and stays beyond it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from math import lcm
from typing import Any

from failoverd.core.decide import decide
from failoverd.core.memory import Memory
from failoverd.core.model import Decision, Now, Scan, Snapshot, Unknown, Watch
from failoverd.core.rules import Rules
from failoverd.loop import Loop
from failoverd.simulator.clock import WorldClock
from failoverd.simulator.linear import Beyond, NotSteady
from failoverd.simulator.ports import DEADLINE_MS, WorldLeadership, WorldObserver, WorldStore
from failoverd.simulator.world import World
from failoverd.simulator.world_look import PROBE_AFTER_MS
from failoverd.simulator.world_node import GRACE_MS, RENEW_MS
from failoverd.simulator.world_side import Side

KEPT = 150
"""Earlier states that are kept for comparison."""
BEATS = (1, 2)
"""What is done every 20 s comes back with every second beat of a world that comes back after 30 s."""
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
    seen: Inputs | None = None
    decision: Decision | None = None
    _sketch: object = None

    def saw(self, rules: Rules, memory: Memory | Unknown | None, watch: Watch, snapshot: Snapshot, now: Now) -> None:
        """What `decide` is about to be given (a `Recording`)."""
        self.seen = (rules, memory, watch, snapshot, now)

    def decided(self, decision: Decision) -> None:
        """What it answered. Anything a reader of the run would notice ends a quiet stretch."""
        assert self.seen is not None
        found = sketch(decision)
        loud = decision.notes or any(not isinstance(act, Scan) for act in decision.actions)
        if loud or found != self._sketch or not all(receipt.ok for receipt in self.seen[3].receipts):
            self.stir()
        self.decision, self._sketch = decision, found

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

    def become(self, state: tuple[Any, ...]) -> None:
        """Be as if all the ticks up to `state` had been."""
        loop = self.loop
        assert self.seen is not None
        (loop.watch, loop.memory, loop.turned_at, loop._due, *_), counted, _, seen = state
        self.store.version, self.leadership._last_ok_ms = counted[0], counted[1] // MS
        self.seen = (self.seen[0], *seen)
        self.decision = loop.decision = decide(*self.seen)


@dataclass(frozen=True, slots=True)
class Mark:
    """The whole state at one moment, as far as it can change in a quiet stretch."""

    at_ms: int
    fixed: tuple[Any, ...]
    """What must be the same again."""
    steady: tuple[Any, ...]
    """What may have moved along: of the instances, of the store, of every copy."""


@dataclass(slots=True)
class Leaper:
    """Leaps when every instance sleeps, the state has come back, and nothing but more of it lies ahead."""

    world: World
    limits: list[Callable[[], int | None]] = field(default_factory=list)
    """When others want to see a tick, in ms."""
    leapt_ms: int = 0
    _sleepers: dict[str, Sleeper] = field(default_factory=dict)
    _quiet: tuple[int, ...] = ()
    _marks: dict[int, Mark] = field(default_factory=dict)

    def watch(self, name: str, loop: Loop) -> None:
        """Take an instance in; it replaces an earlier one of that name."""
        assert isinstance(loop.clock, WorldClock)
        assert isinstance(loop.store, WorldStore)
        assert isinstance(loop.leadership, WorldLeadership)
        assert isinstance(loop.observer, WorldObserver)
        stir = self.world.time.stir
        loop.recording = self._sleepers[name] = Sleeper(
            loop, loop.clock, loop.store, loop.leadership, loop.observer, stir
        )
        loop.clock.resting = self.rest
        stir()

    def rest(self) -> None:
        """An instance goes to sleep."""
        if not all(one.at_rest for one in self._sleepers.values()):
            return
        world = self.world
        quiet = (world.time.stirs, len(world.told), len(world.accused), len(world.commands), world.lost_answers)
        if quiet != self._quiet:
            self._quiet = quiet
            self._marks.clear()
            return
        here, period_ms = self._mark(), self._period_ms()
        for beats in BEATS:
            before = self._marks.get(here.at_ms - beats * period_ms)
            if before is not None and self._leap(before, here):
                self._marks.clear()
                here = self._mark()
                break
        self._marks[here.at_ms] = here
        if len(self._marks) > KEPT:
            del self._marks[next(iter(self._marks))]

    def _period_ms(self) -> int:
        rhythms = {writer.rhythm for side in self._sides() for writer in side.disk.writers.values()}
        return lcm(RENEW_MS, *(rhythm.period_ms for rhythm in rhythms if rhythm.off_ms))

    def _sides(self) -> Iterator[Side]:
        for truth in self.world.apps.values():
            for pair in truth.pairs.values():
                yield from pair.sides.values()

    def _mark(self) -> Mark:
        world = self.world
        pairs = [pair for truth in world.apps.values() for pair in truth.pairs.values()]
        links = tuple(
            (pair.pulling, frozenset(pair._planned), pair.real, frozenset(pair.held_until_ms.items()))
            for pair in pairs
        )
        return Mark(
            world.time.now_ms,
            (tuple(world.time.beat()), links, tuple(_fixed(side) for side in self._sides())),
            (
                tuple(one.state() for one in self._sleepers.values()),
                (world.stored.memory, world.stored.version, world.revision),
                tuple(_steady(side) for side in self._sides()),
            ),
        )

    # ---------------------------------------------------------------- how far

    def _leap(self, before: Mark, here: Mark) -> bool:
        period_ms = here.at_ms - before.at_ms
        far = (self._horizon() - 1 - here.at_ms) // period_ms
        if far < 1 or before.fixed != here.fixed:
            return False
        try:
            Beyond(timedelta(milliseconds=period_ms), 1).of(before.steady, here.steady)
        except NotSteady:
            return False
        times = self._same(before, here, far)
        if times < 1:
            return False
        beyond = Beyond(timedelta(milliseconds=period_ms), times)
        states, stored, sides = beyond.of(before.steady, here.steady)
        world = self.world
        world.time.leap(times * period_ms)
        world.stored.memory, world.stored.version, world.revision = stored
        for side, steady in zip(self._sides(), sides, strict=True):
            _become(side, steady)
        for one, state in zip(self._sleepers.values(), states, strict=True):
            one.become(state)
        self.leapt_ms += times * period_ms
        return True

    def _horizon(self) -> int:
        """When something happens, or is seen to have become true, that belongs to no beat."""
        world, now_ms = self.world, self.world.time.now_ms
        found = [world.time.next_once_ms(), *(limit() for limit in self.limits)]
        for truth in world.apps.values():
            found += [at_ms for pair in truth.pairs.values() for at_ms in pair.held_until_ms.values()]
        for node in world.nodes.values():
            if node.renewing_since_ms is None:
                found += [node.last_renewal_ms + PROBE_AFTER_MS + 1, node.last_renewal_ms + GRACE_MS]
        if not world.api_up or not all(host.linked for host in world.hosts.values()):
            found += [one.leadership._last_ok_ms + DEADLINE_MS for one in self._sleepers.values()]
        # nothing at all lies ahead: then nobody waits for anything either
        return min((at_ms for at_ms in found if at_ms is not None and at_ms > now_ms), default=now_ms)

    def _same(self, before: Mark, here: Mark, far: int) -> int:
        """The most periods, up to `far`, after which every instance still decides as it did."""
        if self._agree(before, here, far):
            return far
        low, high = 0, 1
        while high < far and self._agree(before, here, high):  # what ends a stretch is seldom far away
            low, high = high, 2 * high
        high = min(high, far)
        while high - low > 1:
            middle = (low + high) // 2
            if self._agree(before, here, middle):
                low = middle
            else:
                high = middle
        return low

    def _agree(self, before: Mark, here: Mark, times: int) -> bool:
        beyond = Beyond(timedelta(milliseconds=here.at_ms - before.at_ms), times)
        states = beyond.of(before.steady[0], here.steady[0])
        for one, (_, _, answered, seen) in zip(self._sleepers.values(), states, strict=True):
            assert one.seen is not None
            decision = decide(one.seen[0], *seen)
            if (decision.memory, decision.watch, decision.wake_at, decision.confirm) != answered:
                return False
            if sketch(decision) != one._sketch:
                return False
        return True


def _fixed(side: Side) -> tuple[Any, ...]:
    disk = side.disk
    setup = (side.device, side.expects, side.kind, side.paused, side.versioning, side.ignores)
    return (
        *setup,
        side.up,
        side.hung,
        side.peer_paused,
        dict(side.errors),
        list(disk.writers),
        len(disk.versions),
        len(disk.ended),
    )


def _steady(side: Side) -> tuple[Any, ...]:
    return side.sequence, side.remote_sequence, dict(side.index), dict(side.remote), dict(side.disk.files)


def _become(side: Side, steady: tuple[Any, ...]) -> None:
    side.sequence, side.remote_sequence, index, remote, files = steady
    side.index, side.remote, side.disk.files = dict(index), dict(remote), dict(files)
    side.edition += 1


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
