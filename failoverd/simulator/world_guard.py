"""The guards of a world: an object and a process for each copy, and restore points that replication brings.

A point is a file whose content is the database's at one moment, with one more stretch at its end that says when,
where and in which epoch it was made. Points lie in a ring of slots, so that a quiet world comes back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from failoverd.core.model import Role
from failoverd.core.names import GUARD_FOLDER
from failoverd.core.points import (
    Ailment,
    Duty,
    Finding,
    GuardReading,
    Kept,
    Observed,
    Obstacle,
    Placed,
    Proven,
    Sickness,
    Wanted,
)
from failoverd.core.recall import Recall
from failoverd.core.rules import SITES, Placing, Site
from failoverd.simulator.world_app import AppTruth
from failoverd.simulator.world_data import DATABASE, SHM, Content, Disk, File, Stretch
from failoverd.simulator.world_recall import Bench
from failoverd.simulator.world_time import MS

if TYPE_CHECKING:
    from failoverd.simulator.world import World

READ_MS = 5_000
BELIEVED_MS = 30_000
SAY_MS = 10_000
SAY_AT_LEAST_MS = 30_000
"""As the real guard does."""
SLOTS = 3
FOLDER = f"{GUARD_FOLDER}/points/"
ASIDE = f"{GUARD_FOLDER}/moves/{DATABASE}"
MARK = "point of epoch "
EVER_MS = -1_000_000

Key = tuple[str, str, Site]
"""App key, volume name, site."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a guard's object and process carry from one moment into the next."""

    changed_ms: int | None = None
    """When its object changed last, which is its version; None: there is no object."""
    wanted: Wanted | None = None
    observed: Observed | None = None
    read: Wanted | None = None
    read_ms: int = EVER_MS
    said_ms: int = EVER_MS
    made_ms: int = EVER_MS
    """When the newest point was made, and of what."""
    made_of: Content = ()
    epoch: int = -1
    current_ms: int = EVER_MS
    placing_ms: int | None = None
    placed: Placed | None = None


@dataclass(slots=True, kw_only=True)
class GuardTruth:
    """One copy's guard, and how it may fail."""

    key: Key
    state: State = field(default_factory=State)
    silent: bool = False
    """Its pod does not run."""
    breaks: bool = False
    """Points that lie here do not open."""
    locked: bool = False
    """The app keeps its database locked here."""
    slow_ms: int = 0
    """How long placing takes."""


@dataclass(slots=True)
class Guards:
    """All guards of one world."""

    world: World
    by_key: dict[Key, GuardTruth] = field(default_factory=dict)

    def begin(self) -> None:
        """Every guard starts, one a little after the other."""
        for truth in self.world.apps.values():
            for volume in truth.pairs:
                for site in SITES:
                    guard = GuardTruth(key=(truth.app.key, volume, site))
                    self.by_key[guard.key] = guard
                    truth.pairs[volume].sides[site].disk.checkpoints = True
                    self._again(guard, 1_000 + 370 * (len(self.by_key) % 8))

    def _again(self, guard: GuardTruth, after_ms: int) -> None:
        self.world.time.after(after_ms, lambda: self._beat(guard), f"guard {' '.join(guard.key)}")

    def _beat(self, guard: GuardTruth) -> None:
        self._again(guard, READ_MS)
        node = self.world.node_at(self._truth(guard), guard.key[2])
        if not node.alive or guard.silent:
            guard.state = replace(guard.state, read=None, placing_ms=None)
            return
        talks = node.linked and self.world.api_up
        now_ms = self.world.time.now_ms
        if talks:
            guard.state = replace(guard.state, read=guard.state.wanted, read_ms=now_ms)
        wanted = guard.state.read
        if wanted is None or now_ms - guard.state.read_ms > BELIEVED_MS:
            return
        said = self._work(guard, wanted)
        if talks and _due(guard.state, said, now_ms):
            guard.state = replace(guard.state, observed=said, said_ms=now_ms, changed_ms=now_ms)
            self.world.touch()

    def _truth(self, guard: GuardTruth) -> AppTruth:
        return self.world.apps[guard.key[0]]

    def _disk(self, guard: GuardTruth) -> Disk:
        disk = self._truth(guard).pairs[guard.key[1]].sides[guard.key[2]].disk
        disk.settle()
        return disk

    def _wall(self, at_ms: int) -> datetime:
        return self.world.spec.beginning + at_ms * MS

    # -------------------------------------------------------------------- the object

    def reading(self, key: Key) -> GuardReading:
        """What stands in the object of one copy."""
        state = self.by_key[key].state
        return GuardReading(version=self._version(state), wanted=state.wanted, observed=state.observed)

    def _version(self, state: State) -> str:
        """A moment, as the systems write it: so that a world that goes on quietly is seen to."""
        if state.changed_ms is None:
            return ""
        return self._wall(state.changed_ms).isoformat(timespec="microseconds")[:-6] + "Z"

    def order(self, key: Key, wanted: Wanted, version: str) -> bool:
        """Order it against the version that was read; False where the object is of another one."""
        guard = self.by_key[key]
        if self._version(guard.state) != version:
            return False
        guard.state = replace(guard.state, wanted=wanted, changed_ms=self.world.time.now_ms)
        self.world.touch()
        return True

    # -------------------------------------------------------------------- its work

    def _work(self, guard: GuardTruth, wanted: Wanted) -> Observed:
        said = Observed(
            site=guard.key[2], at=self._wall(self.world.time.now_ms), duty=wanted.duty, epoch=wanted.epoch
        )
        if not wanted.move:  # a plan lies in the volume: a take-back that ended has moved it to the versions
            guard.state = replace(guard.state, placed=None)
        match wanted.duty:
            case Duty.MAKE:
                return self._make(guard, wanted, said)
            case Duty.PROVE if wanted.recall is not None:
                return self._put_back(guard, wanted, wanted.recall, said)
            case Duty.PROVE:
                return self._prove(guard, wanted, said)
        return said

    def _make(self, guard: GuardTruth, wanted: Wanted, said: Observed) -> Observed:
        disk, now_ms = self._disk(guard), self.world.time.now_ms
        found = disk.files.get(DATABASE)
        if found is None:
            return said
        if guard.locked:
            sick = Sickness(database=DATABASE, ailment=Ailment.LOCKED, text="by the app, for longer than 2 s")
            return replace(said, sick=(sick,), kept=self._kept(guard) if guard.state.epoch == wanted.epoch else ())
        if guard.state.epoch != wanted.epoch or found.content != guard.state.made_of:
            mark = Stretch(f"{MARK}{wanted.epoch}", guard.key[2], now_ms, now_ms)
            slot = now_ms // READ_MS % SLOTS
            disk.files[f"{FOLDER}{slot}"] = File(content=(*found.content, mark), changed_ms=now_ms)
            guard.state = replace(guard.state, made_ms=now_ms, made_of=found.content, epoch=wanted.epoch)
        guard.state = replace(guard.state, current_ms=now_ms)
        asked = wanted.recall
        recalled = self._bench(guard, wanted).answer(asked) if asked is not None else None
        return replace(said, kept=self._kept(guard), recalled=recalled)

    def _bench(self, guard: GuardTruth, wanted: Wanted) -> Bench:
        disk = self._disk(guard)

        def points(since: int) -> Iterator[tuple[int, Content]]:
            for epoch in range(since, wanted.epoch + 1):
                yield from self._points(disk, replace(wanted, epoch=epoch))

        return Bench(
            world=self.world, key=guard.key, disk=disk, aside=ASIDE, breaks=guard.breaks, points=points
        )  # fmt: skip

    def _put_back(self, guard: GuardTruth, wanted: Wanted, recall: Recall, said: Observed) -> Observed:
        if not wanted.move:
            return said
        placed, now_ms = guard.state.placed, self.world.time.now_ms
        if placed is None or placed.move != wanted.move or not placed.done:
            begun_ms = now_ms if guard.state.placing_ms is None else guard.state.placing_ms
            guard.state = replace(guard.state, placing_ms=begun_ms)
            if now_ms - begun_ms < guard.slow_ms:
                return replace(said, placed=placed)
            placed = self._bench(guard, wanted).put_back(wanted, recall)
            guard.state = replace(guard.state, placed=placed, placing_ms=None)
        return replace(said, placed=placed)

    def _kept(self, guard: GuardTruth) -> tuple[Kept, ...]:
        state = guard.state
        every = READ_MS * MS
        kept = Kept(
            database=DATABASE,
            size=1000,
            serial=state.made_ms // READ_MS,
            made_at=self._wall(state.made_ms),
            current_at=self._wall(state.current_ms),
            every=every,
            age=every,
        )
        return (kept,)

    def _points(self, disk: Disk, wanted: Wanted) -> Iterator[tuple[int, Content]]:
        """(when it was made in ms, the database then) of every point that counts."""
        for path, file in disk.files.items():
            mark = file.content[-1] if path.startswith(FOLDER) and file.content else None
            if mark is not None and (mark.pod, mark.site) == (f"{MARK}{wanted.epoch}", wanted.active):
                yield mark.until_ms, file.content[:-1]

    def _prove(self, guard: GuardTruth, wanted: Wanted, said: Observed) -> Observed:
        disk = self._disk(guard)
        points = sorted(self._points(disk, wanted))
        if wanted.as_of is not None:
            points = next(([one] for one in points if self._wall(one[0]) >= wanted.as_of), points)
        sick: tuple[Sickness, ...] = ()
        proven: tuple[Proven, ...] = ()
        if points and guard.breaks:
            sick = (Sickness(database=DATABASE, ailment=Ailment.CORRUPT, text="database disk image is malformed"),)
        elif points:
            made_ms = points[-1][0]
            proven = (Proven(database=DATABASE, serial=made_ms // READ_MS, made_at=self._wall(made_ms), size=1000),)
        elif DATABASE in disk.files:
            others = any(path.startswith(FOLDER) for path in disk.files)
            counting = f"no point of epoch {wanted.epoch} from {wanted.active}"
            text = counting if others else "no point of it has ever arrived"
            sick = (Sickness(database=DATABASE, ailment=Ailment.NONE, text=text),)
        said = replace(said, proven=proven, sick=sick, findings=_findings(disk))
        if not wanted.move:
            return said
        placed, more = self._place(guard, wanted, disk, points[-1][1] if proven else None)
        return replace(said, placed=placed, sick=(*said.sick, *more))

    def _place(
        self, guard: GuardTruth, wanted: Wanted, disk: Disk, point: Content | None
    ) -> tuple[Placed | None, tuple[Sickness, ...]]:
        state, now_ms = guard.state, self.world.time.now_ms
        if state.placed is not None and state.placed.move == wanted.move:
            return state.placed, ()
        begun_ms = now_ms if state.placing_ms is None else state.placing_ms
        guard.state = replace(state, placing_ms=begun_ms)
        if now_ms - begun_ms < guard.slow_ms:
            return None, ()
        if disk.writers:
            self.world.accuse("I1", f"{' '.join(guard.key)}: databases were placed under a running app")
        sick: tuple[Sickness, ...] = ()
        placed = Placed(move=wanted.move, done=True, live=(DATABASE,) if DATABASE in disk.files else ())
        if wanted.clear:
            lost = disk.files.pop(DATABASE, None)
            if lost is not None:
                disk.versions.append((ASIDE, lost.content))
                disk.files.pop(SHM, None)
                disk.torn = False
                self.world.tell(f"moved aside {' '.join(guard.key)} {DATABASE}")
            placed = Placed(move=wanted.move, done=True, databases=(DATABASE,) if lost is not None else ())
        elif point is not None and wanted.place is Placing.NEWEST:
            old = disk.files.get(DATABASE)
            aside = (ASIDE,) if old is not None else ()
            if old is not None:
                disk.versions.append((ASIDE, old.content))
            disk.files[DATABASE] = File(content=point, changed_ms=now_ms)
            disk.files.pop(SHM, None)
            disk.torn = False
            placed = Placed(move=wanted.move, done=True, databases=(DATABASE,), displaced=aside)
            self.world.tell(f"placed {' '.join(guard.key)} {DATABASE}")
        elif disk.torn:
            text = "live copy: database disk image is malformed"
            sick = (Sickness(database=DATABASE, ailment=Ailment.CORRUPT, text=text),)
        guard.state = replace(guard.state, placed=placed, placing_ms=None)
        self._truth(guard).pairs[guard.key[1]].scan(guard.key[2])
        return placed, sick

    # -------------------------------------------------------------------- the truth about a start

    def started(self, truth: AppTruth, volume: str, site: Site) -> None:
        """A pod opens its database: one that does not open was promoted."""
        disk = truth.pairs[volume].sides[site].disk
        if not disk.torn:
            return
        memory = self.world.stored.memory
        was = memory.apps.get(truth.app.key) if memory is not None else None
        text = f"{truth.app.key} {volume}: started at {site} on a database that does not open"
        if truth.app.place is Placing.NEWEST and not (was and was.move and was.move.forced):
            self.world.accuse("I4", text)
        else:
            self.world.tell(text)

    def mend(self) -> None:
        """Every guard runs, nothing is broken and nothing takes long."""
        for guard in self.by_key.values():
            guard.silent = guard.breaks = guard.locked = False
            guard.slow_ms = 0


def _due(state: State, said: Observed, now_ms: int) -> bool:
    last = state.observed
    if last is None or _waited_for(said) != _waited_for(last):
        return True
    since_ms = now_ms - state.said_ms
    return since_ms >= SAY_AT_LEAST_MS or (since_ms >= SAY_MS and _news(said) != _news(last))


def _waited_for(said: Observed) -> tuple[object, ...]:
    return said.placed, said.recalled, said.duty, said.epoch


def _news(said: Observed) -> Observed:
    return replace(said, at=datetime.min, kept=tuple(replace(one, current_at=datetime.min) for one in said.kept))  # noqa: DTZ901


def _findings(disk: Disk) -> tuple[Finding, ...]:
    found = []
    if not [path for path in disk.files if not path.startswith(GUARD_FOLDER)]:
        found.append(Finding(obstacle=Obstacle.EMPTY, text="holds nothing of the app"))
    if not disk.marker:
        found.append(Finding(obstacle=Obstacle.MARKER, text="has no .stfolder"))
    return tuple(found)


# -------------------------------------------------------------------- faults


def _guard(world: World, app: str, volume: str, site: str) -> GuardTruth:
    assert world.guards is not None, "no guard is configured in this world"
    return world.guards.by_key[app, volume, Site(site)]


def guard_silent(world: World, app: str, volume: str, site: str, state: str = "on") -> None:
    """The guard of one copy falls silent; `off` starts it again."""
    _guard(world, app, volume, site).silent = state == "on"
    world.tell(f"guard of {app} {volume} {site} {'falls silent' if state == 'on' else 'runs again'}")


def points_break(world: World, app: str, volume: str, site: str, state: str = "on") -> None:
    """The points that lie at one side do not open any more; `off` ends it."""
    _guard(world, app, volume, site).breaks = state == "on"


def lock_database(world: World, app: str, volume: str, site: str, state: str = "on") -> None:
    """The app keeps its database locked, so that no point can be made; `off` ends it."""
    _guard(world, app, volume, site).locked = state == "on"


def slow_placing(world: World, app: str, volume: str, site: str, takes: str) -> None:
    """Placing takes so many seconds at one side, e.g. `40s`."""
    _guard(world, app, volume, site).slow_ms = int(takes.removesuffix("s")) * 1000


def tear(world: World, app: str, volume: str, site: str) -> None:
    """Replication leaves the raw database of a standby in pieces that do not fit, until another version arrives.

    It does so while the app writes: a copy that was whole when the app stopped stays so.
    """
    pair, place = world.apps[app].pairs[volume], Site(site)
    side = pair.sides[place]
    received = side.kind is Role.RECEIVE_ONLY and bool(pair.sides[place.other].disk.writers)
    side.disk.torn = side.disk.torn or (received and DATABASE in side.disk.files)


FAULTS = {act.__name__: act for act in (guard_silent, points_break, lock_database, slow_placing, tear)}
