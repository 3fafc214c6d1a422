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
from failoverd.core.model import Decision, Now, Scan, ScanPoints, Snapshot, Unknown, Watch
from failoverd.core.rules import Rules
from failoverd.loop import Loop
from failoverd.simulator.clock import WorldClock
from failoverd.simulator.linear import Beyond, NotSteady
from failoverd.simulator.ports import DEADLINE_MS, WorldLeadership, WorldObserver, WorldStore
from failoverd.simulator.world import World
from failoverd.simulator.world_guard import GuardTruth
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
    reworded_ms: tuple[int, int] = (-1, -1)
    """When its words changed though nothing was done: the time before the last, and the last."""
    _sketch: object = None

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
        elif found != self._sketch:
            self.reworded_ms = self.reworded_ms[1], self.seen[4].mono // MS
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
    """Of the present quiet stretch, by the time that had been played until then."""
    _turn: tuple[int, int] = (0, 0)
    """(since, until) when something will be decided otherwise, in ms: no leap reaches beyond."""

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
            self._turn = (0, 0)
            return
        here, period_ms = self._mark(), self._period_ms()
        played_ms = here.at_ms - self.leapt_ms
        for beats in () if self._turns(here.at_ms) else BEATS:
            before = self._marks.get(played_ms - beats * period_ms)
            if before is not None and self._leap(before, here, beats * period_ms):
                # what has come back goes on coming back; earlier states need not have been a part of it
                self._marks = {at_ms: mark for at_ms, mark in self._marks.items() if mark.at_ms >= before.at_ms}
                here = self._mark()
                break
        self._marks[played_ms] = here
        if len(self._marks) > KEPT:
            del self._marks[next(iter(self._marks))]

    def _turns(self, now_ms: int) -> bool:
        """Whether what will be decided otherwise has not been yet."""
        since, until = self._turn
        return now_ms < until and all(one.reworded_ms[1] < since for one in self._sleepers.values())

    def _period_ms(self) -> int:
        rhythms = {writer.rhythm for side in self._sides() for writer in side.disk.writers.values()}
        saves_ms = self.world.spec.rules.timings.save_proofs_every // MS
        return lcm(RENEW_MS, saves_ms, *(rhythm.period_ms for rhythm in rhythms if rhythm.off_ms))

    def _sides(self) -> Iterator[Side]:
        for truth in self.world.apps.values():
            for pair in truth.pairs.values():
                yield from pair.sides.values()

    def _guards(self) -> list[GuardTruth]:
        return list(self.world.guards.by_key.values()) if self.world.guards is not None else []

    def _ailing(self) -> tuple[Any, ...]:
        return tuple((one.silent, one.breaks, one.locked, one.slow_ms) for one in self._guards())

    def _mark(self) -> Mark:
        world = self.world
        pairs = [pair for truth in world.apps.values() for pair in truth.pairs.values()]
        links = tuple(
            (pair.pulling, frozenset(pair._planned), pair.real, frozenset(pair.held_until_ms.items()))
            for pair in pairs
        )
        return Mark(
            world.time.now_ms,
            (tuple(world.time.beat()), links, tuple(_fixed(side) for side in self._sides()), self._ailing()),
            (
                tuple(one.state() for one in self._sleepers.values()),
                (world.stored.memory, world.stored.version, world.revision),
                tuple(_steady(side) for side in self._sides()),
                tuple(guard.state for guard in self._guards()),
            ),
        )

    # ---------------------------------------------------------------- how far

    def _leap(self, before: Mark, here: Mark, period_ms: int) -> bool:
        """From `here` on, where it is `before` one period of play later: whole periods may have been leapt since."""
        far = (self._horizon() - 1 - here.at_ms) // period_ms
        if far < 1 or (here.at_ms - before.at_ms) % period_ms or before.fixed != here.fixed:
            return False
        if any(one.reworded_ms[0] > before.at_ms for one in self._sleepers.values()):
            return False  # words that come and go may belong to one place of the period alone
        try:
            times, later = self._same(before, here, period_ms, far)
        except NotSteady:
            return False
        if times < far:
            self._turn = here.at_ms + times * period_ms, here.at_ms + (times + 1) * period_ms
        if times < 1:
            return False
        states, stored, sides, guards = later
        world = self.world
        world.time.leap(times * period_ms)
        world.stored.memory, world.stored.version, world.revision = stored
        for side, steady in zip(self._sides(), sides, strict=True):
            _become(side, steady)
        for guard, state in zip(self._guards(), guards, strict=True):
            guard.state = state
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

    def _same(self, before: Mark, here: Mark, period_ms: int, far: int) -> tuple[int, tuple[Any, ...]]:
        """The most periods, up to `far`, after which every instance still decides as it did, and all there is then.

        Raises NotSteady.
        """
        passed_ms = here.at_ms - before.at_ms
        passed, parts = timedelta(milliseconds=passed_ms), passed_ms // period_ms

        def later(times: int) -> tuple[Any, ...]:
            return Beyond(passed, times, parts).of(before.steady, here.steady)  # type: ignore[no-any-return]

        found = later(far)
        if self._agree(found[0]):
            return far, found
        low, high, best, reach = 0, far, here.steady, 1
        while high - low > 1:
            times = min(reach, (low + high) // 2)  # what ends a stretch is seldom far away
            found = later(times)
            if self._agree(found[0]):
                low, best, reach = times, found, 2 * times
            else:
                high = reach = times
        return low, best

    def _agree(self, states: tuple[Any, ...]) -> bool:
        """Whether every instance, brought so far, decides as it does now."""
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
        disk.torn,
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
