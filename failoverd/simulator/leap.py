"""Leaps over quiet stretches: the state at their end is computed, and equals what tick by tick would have led to.

Why that holds. World and daemon know nothing of absolute time: moved along as a whole they do the same again. So once
the whole state has come back, moved along by one period (some moments and counters moved, the rest as it was), the
next period does it again, and so on, until a comparison of something that moved with something that stayed turns out
otherwise. In the world that happens at moments that are known (`_horizon`). In the core `decide` itself is asked, at
the farthest moment and then by bisection: what grows older crosses a threshold once and stays beyond it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from math import lcm
from typing import Any

from failoverd.core.decide import decide
from failoverd.core.model import Decision
from failoverd.loop import Loop
from failoverd.simulator import sleeper
from failoverd.simulator.clock import WorldClock
from failoverd.simulator.idle import Idling
from failoverd.simulator.idle_tick import Held, Round, guards, pairs
from failoverd.simulator.linear import Beyond, NotSteady
from failoverd.simulator.ports import WorldObserver, WorldStore
from failoverd.simulator.sleeper import Sleeper
from failoverd.simulator.world import World
from failoverd.simulator.world_lead import DEADLINE_MS, WorldLeadership
from failoverd.simulator.world_look import PROBE_AFTER_MS
from failoverd.simulator.world_node import GRACE_MS as UNREADY_MS
from failoverd.simulator.world_node import RENEW_MS
from failoverd.simulator.world_side import Side

KEPT = 150
"""Earlier states that are kept for comparison."""
BEATS = (1, 2)
"""What is done every 20 s comes back with every second beat of a world that comes back after 30 s."""
MS = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Mark:
    """The whole state at one moment, as far as it can change in a quiet stretch."""

    at_ms: int
    fixed: tuple[Any, ...]
    """What must be the same again."""
    steady: tuple[Any, ...]
    """What may have moved along: of the instances, of the store, of every copy."""


@dataclass(frozen=True, slots=True)
class Later:
    """The whole state after so many more periods."""

    times: int
    states: tuple[Any, ...]
    """Of the instances."""
    decisions: tuple[Decision, ...]
    """Theirs, then."""
    stored: tuple[Any, ...]
    sides: tuple[Any, ...]
    guards: tuple[Any, ...]


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
    _known: tuple[object, set[object]] | None = None
    """The words of the present stretch, and how readings looked when these were said."""
    _tired: int = 0
    """So many ticks are played in full before idle ones are tried again: there were few."""
    _over: bool = False
    """Whether the idle ticks have come to an end: the next one decides something else, or something happens."""

    def watch(self, name: str, loop: Loop, trapped: Callable[[], bool] = lambda: False) -> None:
        """Take an instance in; it replaces an earlier one of that name."""
        assert isinstance(loop.clock, WorldClock)
        assert isinstance(loop.store, WorldStore)
        assert isinstance(loop.leadership, WorldLeadership)
        assert isinstance(loop.observer, WorldObserver)
        stir = self.world.time.stir
        loop.recording = self._sleepers[name] = Sleeper(
            loop, loop.clock, loop.store, loop.leadership, loop.observer, stir, trapped
        )
        loop.clock.resting = partial(self.rest, name)
        stir()

    def rest(self, name: str, remaining_ms: int) -> int:
        """An instance goes to sleep for so long; what remains of that is answered, later on by the world's clock."""
        self._rest()
        caller = self._sleepers[name]
        while all(one.at_rest and one.idle for one in self._sleepers.values()) and self._idle(caller):
            assert caller.decision is not None
            remaining_ms = caller.decision.wake_at // MS - self.world.time.now_ms
            self._rest()
            if self._over:
                break
        return remaining_ms

    def _idle(self, caller: Sleeper) -> bool:
        """Play ticks without asking `decide` each time: for a period, or for as long as nothing is decided otherwise.

        Returns whether there were any.
        """
        if self._tired or self.world.lost_answers:
            self._tired = max(self._tired - 1, 0)
            return False
        others = [one for one in self._sleepers.values() if one is not caller]
        order = self.world.time.take([one.clock.waking for one in others])
        instances = (*[others[place] for place in order], caller)
        words = self._quiet, [(one.words, one.pause, one.decision and one.decision.confirm) for one in instances]
        if self._known is None or self._known[0] != words:
            self._known = words, set()
        idling = Idling(self.world, instances, self._horizon(), sleeper.sketch, self._known[1])
        period_ms = self._period_ms()
        most = max(period_ms // (min(one.pause for one in instances) // MS), 4) * len(instances)
        first = Round(
            tuple([one.last() for one in instances]),
            tuple(range(len(instances))),
            Held.of(self.world, pairs(self.world)),
        )
        rounds = idling.play(first, most, self.world.time.now_ms + period_ms)
        for index in sorted(range(len(instances)), key=lambda index: rounds[-1].slept[index]):
            one, tick = instances[index], rounds[-1].ticks[index]
            if tick is not first.ticks[index]:
                one.idled(tick, idling.decided(index, tick))
            if one is not caller:
                assert one.decision is not None
                one.clock.plan(one.decision.wake_at // MS - self.world.time.now_ms)
        # what has been decided otherwise soon after it began may well be so again
        self._tired = 2 if len(rounds) <= 2 * len(instances) and idling.asked else 0
        self._over = idling.over
        return len(rounds) > 1

    def _rest(self) -> None:
        if not all(one.at_rest for one in self._sleepers.values()):
            return
        world = self.world
        quiet = (world.time.stirs, len(world.told), len(world.accused), len(world.commands), world.lost_answers)
        if quiet != self._quiet:
            self._quiet = quiet
            self._marks.clear()
            self._turn = (0, 0)
        if any(one.observer.stirs != world.time.stirs for one in self._sleepers.values()):
            return  # something has happened that was not seen yet
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

    def _ailing(self) -> tuple[Any, ...]:
        return tuple((one.silent, one.breaks, one.locked, one.slow_ms) for one in guards(self.world))

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
                tuple(guard.state for guard in guards(world)),
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
            later = self._farthest(before, here, period_ms, far)
        except NotSteady:
            return False
        times = later.times if later is not None else 0
        if times < far:
            self._turn = here.at_ms + times * period_ms, here.at_ms + (times + 1) * period_ms
        if later is None:
            return False
        world = self.world
        world.time.leap(times * period_ms)
        world.stored.memory, world.stored.version, world.revision = later.stored
        for side, steady in zip(self._sides(), later.sides, strict=True):
            _become(side, steady)
        for guard, state in zip(guards(world), later.guards, strict=True):
            guard.state = state
        for one, state, decision in zip(self._sleepers.values(), later.states, later.decisions, strict=True):
            one.become(state, decision)
        self.leapt_ms += times * period_ms
        return True

    def _horizon(self) -> int:
        """When something happens, or is seen to have become true, that belongs to no beat.

        In the past, where an instance has not looked since.
        """
        world, looks = self.world, [one.seen[4].mono for one in self._sleepers.values() if one.seen is not None]
        looked_ms = min(looks, default=world.time.now_ms * MS) // MS
        found = [world.time.next_once_ms(), *(limit() for limit in self.limits)]
        for truth in world.apps.values():
            found += [at_ms for pair in truth.pairs.values() for at_ms in pair.held_until_ms.values()]
        for node in world.nodes.values():
            if node.renewing_since_ms is None:
                found += [node.last_renewal_ms + PROBE_AFTER_MS + 1, node.last_renewal_ms + UNREADY_MS]
        if not world.api_up or not all(host.linked for host in world.hosts.values()):
            found += [one.leadership._last_ok_ms + DEADLINE_MS for one in self._sleepers.values()]
        # nothing at all lies ahead: then nobody waits for anything either
        return min((at_ms for at_ms in found if at_ms is not None and at_ms > looked_ms), default=looked_ms)

    def _farthest(self, before: Mark, here: Mark, period_ms: int, far: int) -> Later | None:
        """After the most periods, up to `far`, after which every instance still decides as it did; None after none.

        Raises NotSteady.
        """
        passed_ms = here.at_ms - before.at_ms
        beyond = Beyond(timedelta(milliseconds=passed_ms), passed_ms // period_ms)
        instances = beyond.of(before.steady[0], here.steady[0])
        others = beyond.of(before.steady[1:], here.steady[1:])

        def tried(times: int) -> Later | None:
            states = instances.at(times)
            decisions = self._agreed(states)
            return Later(times, states, decisions, *others.at(times)) if decisions is not None else None

        best = tried(far)
        low, high, reach = 0, far if best is None else 0, 1
        while high - low > 1:
            times = min(reach, (low + high) // 2)  # what ends a stretch is seldom far away
            found = tried(times)
            if found is not None:
                best, low, reach = found, times, 2 * times
            else:
                high = reach = times
        return best

    def _agreed(self, states: tuple[Any, ...]) -> tuple[Decision, ...] | None:
        """What every instance, brought so far, decides; None where one decides otherwise than it does now."""
        found = []
        for one, (_, _, answered, seen) in zip(self._sleepers.values(), states, strict=True):
            assert one.seen is not None
            decision = decide(one.seen[0], *seen)
            if (decision.memory, decision.watch, decision.wake_at, decision.confirm) != answered:
                return None
            if decision.actions or decision.notes or sleeper.sketch(decision) != one.words:
                return None
            found.append(decision)
        return tuple(found)


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
