"""Idle ticks: what a tick carries on when nothing is decided otherwise, without asking `decide` each time.

While an app idles a tick does three things: it sees leases move, hears both sides of every volume, and asks for scans
whose receipts become proofs. The core's own functions for that are called here, in the order `decide` calls them, over
the world as it really goes on. Everything else `decide` would conclude is taken to be what it was, and that is asked
of `decide` itself: whenever a copy looks like it has not looked in this stretch, and at the end of every few ticks,
for what merely grows older crosses a threshold once and stays beyond it. Where `decide` disagrees, the world is taken
back to the last tick of which it does not, and the loop goes on from there tick by tick.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from failoverd.core import hysteresis, policy, proof
from failoverd.core.case import Case
from failoverd.core.decide import decide
from failoverd.core.memory import NOTHING_KNOWN, Memory, Phase
from failoverd.core.model import Api, Decision, Folder, NodeReading, Now, Receipt, Scan, Snapshot, Unknown, Watch
from failoverd.core.rules import SITES, Mode, Rules
from failoverd.simulator.ports import GRACE_MS, SCAN_MS, scanned
from failoverd.simulator.world import World
from failoverd.simulator.world_look import PROBE_AFTER_MS, Look
from failoverd.simulator.world_pair import SyncPair
from failoverd.simulator.world_side import Side
from failoverd.simulator.world_time import Stirred

if TYPE_CHECKING:
    from failoverd.simulator.leap import Sleeper

MS = timedelta(milliseconds=1)
RESTING = (Phase.ADOPTING, Phase.WATCHING)
CHECKED_AFTER = (5, 40)
"""Ticks until `decide` is asked again: each time more of them, for a stretch that has lasted lasts on."""


@dataclass(frozen=True, slots=True)
class Tick:
    """One idle tick: what went in, what it carries on, and the world when the instance goes to sleep after it."""

    memory: Memory
    watch: Watch
    snapshot: Snapshot
    now: Now
    """The input."""
    carried: tuple[Memory, Watch]
    scans: tuple[Scan, ...]
    receipts: tuple[Receipt, ...]
    """Of the scans: the next tick hears of them."""
    version: int
    world: Held


@dataclass(frozen=True, slots=True)
class Held:
    """All of the world that a beat may change: what `Idling` takes it back to."""

    now_ms: int
    future: list[Any]
    stored: tuple[Any, int, int]
    pairs: tuple[tuple[Any, ...], ...]
    sides: tuple[tuple[Any, ...], ...]

    @classmethod
    def of(cls, world: World, linked: list[SyncPair], before: Held | None = None) -> Held:
        """The world as it is; `before` where only time has passed since."""
        stored = world.stored.memory, world.stored.version, world.revision
        if before is not None:
            return cls(world.time.now_ms, before.future, stored, before.pairs, before.sides)
        return cls(
            world.time.now_ms,
            world.time.planned(),
            stored,
            tuple([(pair.pulling, pair.real, set(pair._planned)) for pair in linked]),
            tuple([_held(side) for pair in linked for side in pair.sides.values()]),
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


def _held(side: Side) -> tuple[Any, ...]:
    disk = side.disk
    return (
        (side.sequence, side.remote_sequence, side.errors, side.edition, side.remote),
        dict(side.errors),
        dict(side.index),
        dict(disk.files),
        len(disk.versions),
    )


def _back(side: Side, held: tuple[Any, ...]) -> None:
    (side.sequence, side.remote_sequence, _, edition, side.remote), errors, index, files, versions = held
    side.errors, side.index, side.disk.files = dict(errors), dict(index), dict(files)
    del side.disk.versions[versions:]
    side.edition = max(side.edition, edition) + 1  # what was shown since is not shown for this one


@dataclass(slots=True)
class Idling:
    """Plays idle ticks of the only instance of a world."""

    world: World
    one: Sleeper
    horizon_ms: int
    """Something happens then that belongs to no beat, or somebody wants to see a tick."""
    sketch: Callable[[Decision], object]
    same: object
    """The words that the ticks before had."""
    known: set[object]
    """How readings looked when `decide` had these words to say and no others; more are added."""
    asked: int = 0
    """How often `decide` was asked."""
    _ticks: list[Tick] = field(default_factory=list)
    _found: tuple[Tick, Decision] | None = None

    def play(self, first: Tick, pause: timedelta, most: int) -> list[Tick]:
        """Idle ticks after `first`, the last of which stands; the world is as that one left it."""
        self._ticks = [first]
        world = self.world
        checked = 0
        for step in CHECKED_AFTER if not self.known else CHECKED_AFTER[1:]:
            ended = not self._some(min(step, most + 1 - len(self._ticks)), pause)
            good = self._agreed(checked)
            ended = ended or good < len(self._ticks) - 1
            del self._ticks[good + 1 :]
            checked = good
            if ended or len(self._ticks) > most:
                break
        self.known.add(self._looks(first))
        while len(self._ticks) > 1 and self._ticks[-1].receipts:
            self._ticks.pop()  # an instance that waits for an answer is not at rest
        self._ticks[-1].world.back(world, pairs(world))
        return self._ticks

    def _some(self, count: int, pause: timedelta) -> bool:
        """Up to `count` more ticks; False when there is no further one."""
        for _ in range(count):
            try:
                with self.world.time.still():
                    tick = self._next(self._ticks[-1], pause)
            except Stirred:
                tick = None
            if tick is None:
                self._ticks[-1].world.back(self.world, pairs(self.world))
                return False
            self._ticks.append(tick)
            looks = self._looks(tick)
            if looks not in self.known and looks != self._looks(self._ticks[0]):
                if not self._agrees(tick):
                    self._ticks.pop()
                    self._ticks[-1].world.back(self.world, pairs(self.world))
                    return False
                self.known.add(looks)
        return True

    def _agreed(self, checked: int) -> int:
        """The last tick, of those after `checked`, up to which `decide` says what it said before."""
        low, high = checked, len(self._ticks) - 1
        if low == high or self._agrees(self._ticks[high]):
            return high
        while high - low > 1:
            middle = (low + high) // 2
            if self._agrees(self._ticks[middle]):
                low = middle
            else:
                high = middle
        return low

    def _agrees(self, tick: Tick) -> bool:
        one = self.one
        assert one.seen is not None
        assert one.decision is not None
        before = one.decision, one.seen[4]
        found = decide(one.seen[0], tick.memory, tick.watch, tick.snapshot, tick.now)
        self._found, self.asked = (tick, found), self.asked + 1
        return (
            not found.notes
            and found.actions == tick.scans
            and found.wake_at - tick.now.mono == before[0].wake_at - before[1].mono
            and found.confirm == before[0].confirm
            and (found.memory, found.watch) == tick.carried
            and self.sketch(found) == self.same
        )

    def decided(self, tick: Tick) -> Decision:
        """What `decide` says of a tick."""
        if self._found is None or self._found[0] is not tick:
            assert self.one.seen is not None
            return decide(self.one.seen[0], tick.memory, tick.watch, tick.snapshot, tick.now)
        return self._found[1]

    # ---------------------------------------------------------------- one tick

    def _next(self, last: Tick, pause: timedelta) -> Tick | None:
        """The tick after `last`; None when that one cannot be idle."""
        world, one = self.world, self.one
        due_ms = (last.now.mono + pause) // MS
        longest_ms = GRACE_MS + SCAN_MS + 1
        if due_ms + longest_ms >= self.horizon_ms or due_ms < world.time.now_ms:
            return None
        next_ms = world.time.next_ms
        still = next_ms is None or next_ms > due_ms
        world.advance(due_ms)
        now = one.clock.now()
        snapshot = self._snapshot(last.snapshot, now, last.receipts)
        if snapshot is None:
            return None
        if one.observer._slow:
            still = still and (next_ms is None or next_ms > due_ms + GRACE_MS)
            world.advance(due_ms + GRACE_MS)
        assert one.seen is not None
        memory, watch, scans = carry(one.seen[0], last.carried[0], last.carried[1], snapshot, now)
        version = last.version
        if memory != last.carried[0]:
            world.stored.memory, world.stored.version, version = memory, version + 1, version + 1
        else:
            memory = last.carried[0]
        receipts: tuple[Receipt, ...] = ()
        if scans:
            if pause <= SCAN_MS * MS + GRACE_MS * MS:
                return None
            wall = world.wall()
            still = False
            world.advance(world.time.now_ms + SCAN_MS)
            found = [scanned(world, one.observer.host, scan, wall) for scan in scans]
            if not all(receipt.ok for receipt in found):
                return None
            receipts = tuple(found)
        held = Held.of(world, pairs(world), last.world if still else None)
        return Tick(last.carried[0], last.carried[1], snapshot, now, (memory, watch), scans, receipts, version, held)

    def _snapshot(self, last: Snapshot, now: Now, receipts: tuple[Receipt, ...]) -> Snapshot | None:
        """What is seen now, where the rest is as it was; None when that is not so."""
        world = self.world
        look = Look(world, self.one.observer.host)
        if not look.reaches_api or tuple(world.commands) != last.commands:
            return None
        nodes: dict[str, NodeReading] = {}
        for name, before in last.nodes.items():
            node = world.nodes[name]
            if node.renewing_since_ms is not None and look.now_ms - node.renewal_ms(look.now_ms) > PROBE_AFTER_MS:
                return None
            nodes[name] = look.again(node, before)
        folders: dict[tuple[str, str, Any], Folder | Unknown] = {}
        for key, known in last.folders.items():
            folders[key] = known if isinstance(known, Unknown) else look.folder(*key)
        if look.silent:
            return None
        return Snapshot(
            api=Api(date=world.wall()),
            instance=last.instance,
            nodes=nodes,
            workloads=last.workloads,
            folders=folders,
            claims=last.claims,
            commands=last.commands,
            receipts=receipts,
            hours_open=last.hours_open,
        )

    # ---------------------------------------------------------------- how readings look

    def _looks(self, tick: Tick) -> object:
        """Everything of a tick that comes and goes within a quiet stretch, without what merely counts on."""
        assert self.one.seen is not None
        rules, date = self.one.seen[0], tick.snapshot.api.date if isinstance(tick.snapshot.api, Api) else None
        found: list[object] = []
        for app in rules.apps:
            for volume in app.volumes:
                here, there = (tick.snapshot.folders[app.key, volume.name, site] for site in SITES)
                seen = tick.carried[1].volumes[app.key, volume.name]
                old = seen.proven_at is None or date is None or date - seen.proven_at > app.max_data_age
                found.append((_looks(here), _looks(there), _behind(here, there), _behind(there, here), old))
        known, nodes = tick.memory.nodes, tick.carried[1].nodes
        # a guest that was not seen running while its lease moved is mapped in the very tick in which it moves
        for name in rules.nodes:
            if known.get(name, NOTHING_KNOWN).mapped != rules.fence_hash:
                found.append(name in nodes and nodes[name].stamp_moved_at == tick.now.mono)
        return tuple(found), any(receipt.scanned and receipt.scanned.errors for receipt in tick.receipts)


def _looks(folder: Folder | Unknown) -> object:
    return replace(folder, sequence=0, remote_sequence=None) if isinstance(folder, Folder) else folder


def _behind(one: Folder | Unknown, other: Folder | Unknown) -> bool | None:
    if isinstance(one, Unknown) or isinstance(other, Unknown) or one.remote_sequence is None:
        return None
    return one.remote_sequence < other.sequence


def pairs(world: World) -> list[SyncPair]:
    """Every pair of movers."""
    return [pair for truth in world.apps.values() for pair in truth.pairs.values()]


def carry(
    rules: Rules, memory: Memory, watch: Watch, snapshot: Snapshot, now: Now
) -> tuple[Memory, Watch, tuple[Scan, ...]]:
    """What `decide` makes of a tick in which nothing but scans is to be done and nothing is to be said."""
    watch = hysteresis.look(rules, watch, snapshot, now)
    watch = proof.watch_replication(rules, watch, snapshot, now, {key: was.active for key, was in memory.apps.items()})
    scans: list[Scan] = []
    if not policy.can_see_snapshot(snapshot):
        return memory, watch, ()
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
    memory, watch = proof.remember(rules, memory, watch, snapshot, now, changed=False)
    return memory, proof.asked(watch, scans, now), tuple(scans)
