"""What an idle tick is: what goes in, what it carries on, and the world it can be taken back to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from failoverd.core import databases, guarding, hysteresis, policy, proof
from failoverd.core.case import Case
from failoverd.core.memory import Memory, Phase
from failoverd.core.model import Now, Receipt, Scan, ScanPoints, Snapshot, Unknown, Watch
from failoverd.core.rules import Mode, Rules
from failoverd.simulator.world import World
from failoverd.simulator.world_guard import GuardTruth
from failoverd.simulator.world_pair import SyncPair
from failoverd.simulator.world_side import Side

RESTING = (Phase.ADOPTING, Phase.WATCHING)
Known = Memory | Unknown | None


@dataclass(frozen=True, slots=True)
class Tick:
    """One idle tick of one instance: what went in, and what it carries on."""

    memory: Known
    watch: Watch
    snapshot: Snapshot
    now: Now
    """The input."""
    carried: tuple[Known, Watch]
    version: int
    """Of what is stored, as this instance knows it."""
    scans: tuple[Scan | ScanPoints, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    """Of the scans, once there is one for each: the next tick hears of them."""


@dataclass(frozen=True, slots=True)
class Round:
    """The last tick of every instance, and the world at a moment at which all of them sleep."""

    ticks: tuple[Tick, ...]
    slept: tuple[int, ...]
    """In which order they went to sleep: those that wake at the same moment do so in this order."""
    world: Held


@dataclass(frozen=True, slots=True)
class Held:
    """All of the world that a beat may change: what `Idling` takes it back to."""

    now_ms: int
    future: list[Any]
    stored: tuple[Any, int, int]
    pairs: tuple[tuple[Any, ...], ...]
    sides: tuple[tuple[Any, ...], ...]
    guards: tuple[Any, ...]

    @classmethod
    def of(cls, world: World, linked: list[SyncPair], before: Held | None = None) -> Held:
        """The world as it is; `before` where only time has passed since."""
        stored = world.stored.memory, world.stored.version, world.revision
        if before is not None:
            return cls(world.time.now_ms, before.future, stored, before.pairs, before.sides, before.guards)
        return cls(
            world.time.now_ms,
            world.time.planned(),
            stored,
            tuple([(pair.pulling, pair.real, set(pair._planned)) for pair in linked]),
            tuple([_held(side) for pair in linked for side in pair.sides.values()]),
            tuple([guard.state for guard in guards(world)]),
        )

    def back(self, world: World, linked: list[SyncPair]) -> None:
        """Make the world what it was then."""
        world.time.now_ms = self.now_ms
        world.time.plan(self.future)
        world.stored.memory, world.stored.version, world.revision = self.stored
        for pair, (pulling, real, planned) in zip(linked, self.pairs, strict=True):
            pair.pulling, pair.real, pair._planned = pulling, real, set(planned)
        for side, held in zip([side for pair in linked for side in pair.sides.values()], self.sides, strict=True):
            _back(side, held)
        for guard, state in zip(guards(world), self.guards, strict=True):
            guard.state = state


def _held(side: Side) -> tuple[Any, ...]:
    disk = side.disk
    return (
        (side.sequence, side.remote_sequence, side.errors, side.edition, side.remote),
        dict(side.errors),
        dict(side.index),
        dict(disk.files),
        len(disk.versions),
        disk.torn,
    )


def _back(side: Side, held: tuple[Any, ...]) -> None:
    (side.sequence, side.remote_sequence, _, edition, side.remote), errors, index, files, versions, side.disk.torn = (
        held
    )
    side.errors, side.index, side.disk.files = dict(errors), dict(index), dict(files)
    del side.disk.versions[versions:]
    side.edition = max(side.edition, edition) + 1  # what was shown since is not shown for this one


def pairs(world: World) -> list[SyncPair]:
    """Every pair of movers."""
    return [pair for truth in world.apps.values() for pair in truth.pairs.values()]


def guards(world: World) -> list[GuardTruth]:
    """Every guard."""
    return list(world.guards.by_key.values()) if world.guards is not None else []


def carry(
    rules: Rules, remembered: Known, watch: Watch, snapshot: Snapshot, now: Now
) -> tuple[Known, Watch, tuple[Scan | ScanPoints, ...]]:
    """What `decide` makes of a tick in which nothing but scans is to be done and nothing is to be said."""
    memory = remembered if isinstance(remembered, Memory) else Memory()
    watch = hysteresis.look(rules, watch, snapshot, now)
    watch = proof.watch_replication(
        rules, watch, snapshot, now, {key: was.active for key, was in memory.apps.items()}
    )
    scans: list[Scan | ScanPoints] = []
    if not policy.can_see_snapshot(snapshot) or isinstance(remembered, Unknown):
        return remembered, watch, ()
    for app in sorted(rules.apps, key=lambda app: -app.priority):
        was = memory.apps.get(app.key)
        if was is None or was.phase not in RESTING or (rules.mode is Mode.OBSERVE and not rules.observe_scan):
            continue
        case = Case(
            rules=rules, app=app, memory=memory, was=was, snapshot=snapshot, verdicts={}, watch=watch, now=now
        )
        scans += [
            Scan(app=app.key, volume=volume.name, site=was.active, reason="data age")
            for volume in app.volumes
            if proof.scan_due(case, volume)
        ]
        if rules.guard is not None and rules.mode is not Mode.OBSERVE:
            scans += [act for volume in app.volumes for act in guarding.announcements(case, volume)]
    memory, watch = proof.remember(rules, memory, watch, snapshot, now, changed=False)
    watch = databases.announced(proof.asked(watch, scans, now), scans, snapshot)
    return memory, watch, tuple(scans)
