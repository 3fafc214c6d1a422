"""Guards as the core meets them: an order, what was said, and points that replication brings at once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from failoverd.core.filed import Filed
from failoverd.core.points import (
    Ahead,
    Ailment,
    Duty,
    Finding,
    GuardReading,
    Kept,
    Observed,
    Placed,
    Proven,
    Sickness,
    Wanted,
)
from failoverd.core.recall import Recalled
from failoverd.core.rules import Site
from failoverd.core.stock import Stock

Key = tuple[str, str, Site]
SPEAKS_EVERY = timedelta(seconds=10)
DATABASE = "app.db"


@dataclass
class Guards:
    """Every copy's guard. A test mutes one, breaks what it finds, or holds up what it places."""

    read: dict[Key, GuardReading] = field(default_factory=dict)
    mute: set[Key] = field(default_factory=set)
    unread: set[Key] = field(default_factory=set)
    """Objects that cannot be read."""
    sick: dict[Key, tuple[Sickness, ...]] = field(default_factory=dict)
    """What is wrong with copies at a site: of these databases nothing new is made, or proven."""
    findings: dict[Key, tuple[Finding, ...]] = field(default_factory=dict)
    stuck: dict[Key, str] = field(default_factory=dict)
    """Why placing does not get done."""
    live: tuple[str, ...] = ()
    """Databases left as they are when the others are placed."""
    left: tuple[str, ...] = ()
    """Databases that a guard of another version left where they are when all were to be moved aside."""
    points: dict[tuple[str, str, int, Site], Kept] = field(default_factory=dict)
    """Newest point by app, volume, epoch and site that made it."""
    placing: list[tuple[Key, str, bool]] = field(default_factory=list)
    """(copy, move, whether the app was writing there) of everything that was placed."""
    databases: tuple[str, ...] = (DATABASE,)
    stock: dict[Key, Stock] = field(default_factory=dict)
    """What lies at a copy beside the app's files, where its guard has counted it."""
    cannot: dict[Key, str] = field(default_factory=dict)
    """Why what somebody wants back cannot be had."""
    moments: dict[Key, datetime] = field(default_factory=dict)
    """The newest moment databases can be had as of; else the one that was asked for."""
    oldest: dict[Key, datetime] = field(default_factory=dict)
    lays: bool = True
    """Whether copies get laid ready where databases are put back."""
    deaf: set[Key] = field(default_factory=set)
    """Guards of a version before they could put anything back."""
    ahead: tuple[Ahead, ...] = ()
    """What a returned side's databases had beyond the point that was placed elsewhere."""
    compared: set[str] = field(default_factory=set)
    """The failovers of which points lie there to compare with."""
    filed: dict[Key, Filed] = field(default_factory=dict)
    """What is said of ordinary files."""
    files: int = 0
    """Of them, how many are put back with the databases."""
    of_files: str = ""
    _made: int = 0

    def reading(self, key: Key) -> GuardReading:
        return self.read.get(key, GuardReading())

    def told(self, key: Key, wanted: Wanted, version: str) -> bool:
        """An order, written against a version; False where the object has another one."""
        known = self.reading(key)
        if known.version != version:
            return False
        self._put(key, wanted=wanted)
        return True

    def _put(self, key: Key, **changes: Any) -> None:
        self._made += 1
        self.read[key] = replace(self.reading(key), version=f"v{self._made}", **changes)

    def work(self, key: Key, date: datetime, writing: bool) -> None:
        """One round of one guard."""
        known = self.reading(key)
        if key in self.mute or known.wanted is None:
            return
        said, last = self._round(key, known.wanted, date, writing), known.observed
        urgent = last is None or _news(said) != _news(last)
        if urgent or last is None or date - last.at >= SPEAKS_EVERY:
            self._put(key, observed=said)

    def _round(self, key: Key, wanted: Wanted, date: datetime, writing: bool) -> Observed:
        stock = self.stock.get(key)
        filed = self.filed.get(key)
        said = Observed(site=key[2], at=date, duty=wanted.duty, epoch=wanted.epoch, stock=stock, filed=filed)
        broken = self.sick.get(key, ())
        well = [name for name in self.databases if name not in {one.database for one in broken}]
        if wanted.duty is Duty.REST:
            return said
        if wanted.duty is Duty.MAKE:
            mine = [self._point(key, wanted, name, date) for name in well]
            return replace(said, kept=tuple(mine), sick=broken, recalled=self._recalled(key, wanted))
        if wanted.recall is not None:
            return replace(said, placed=self._put_back(key, wanted, well, writing)) if wanted.move else said
        proven = [
            Proven(database=name, serial=made.serial, made_at=made.made_at, size=1)
            for name in well
            if (made := self.points.get((f"{key[0]} {name}", key[1], wanted.epoch, wanted.active))) is not None
        ]
        none = [
            Sickness(database=name, ailment=Ailment.NONE, text="no point of it has ever arrived")
            for name in well
            if name not in {one.database for one in proven}
        ]
        said = replace(said, proven=tuple(proven), sick=(*broken, *none), findings=self.findings.get(key, ()))
        return replace(said, placed=self._placed(key, wanted, well, proven, writing)) if wanted.move else said

    def _point(self, key: Key, wanted: Wanted, name: str, date: datetime) -> Kept:
        where = (f"{key[0]} {name}", key[1], wanted.epoch, key[2])
        known = self.points.get(where)
        if known is None or date - known.made_at >= wanted.interval:
            serial, age = (known.serial if known else 0) + 1, wanted.interval
            known = Kept(
                database=name, size=1, serial=serial, made_at=date, current_at=date, every=wanted.interval, age=age
            )
            self.points[where] = known
        return known

    def _recalled(self, key: Key, wanted: Wanted) -> Recalled | None:
        recall = wanted.recall
        if recall is None or key in self.deaf:
            return None
        if key in self.cannot:
            return Recalled(recall=recall, why=self.cannot[key])
        moment = self.moments.get(key, recall.at)
        if not self.databases:
            return Recalled(recall=recall, files=self.files)
        oldest = self.oldest.get(key)
        return Recalled(recall=recall, databases=self.databases, files=self.files, moment=moment, oldest=oldest)

    def _put_back(self, key: Key, wanted: Wanted, names: list[str], writing: bool) -> Placed | None:
        if key in self.stuck:
            return Placed(move=wanted.move, done=False, why=self.stuck[key])
        if wanted.lay:
            laid = Placed(move=wanted.move, done=False, laid=True, databases=tuple(names), files=self.files)
            return laid if self.lays else None
        if (key, wanted.move) not in [(where, move) for where, move, _ in self.placing]:
            self.placing.append((key, wanted.move, writing))
        aside = tuple(f".failoverd/moves/m/0000/{name}" for name in names)
        done = Placed(move=wanted.move, done=True, databases=tuple(names), displaced=aside)
        return replace(done, files=self.files, told=self.of_files)

    def _placed(self, key: Key, wanted: Wanted, well: list[str], proven: list[Proven], writing: bool) -> Placed:
        if key in self.stuck:
            return Placed(move=wanted.move, done=False, why=self.stuck[key])
        if (key, wanted.move) not in [(where, move) for where, move, _ in self.placing]:
            self.placing.append((key, wanted.move, writing))
        ahead = self.ahead if wanted.lost in self.compared else ()
        if wanted.clear:
            return Placed(move=wanted.move, done=True, databases=tuple(well), live=self.left, ahead=ahead)
        names = [one.database for one in proven if one.database not in self.live]
        displaced = tuple(f".failoverd/moves/m/0000/{name}" for name in names)
        return Placed(
            move=wanted.move, done=True, databases=tuple(names), live=self.live, displaced=displaced, ahead=ahead
        )


def _news(said: Observed) -> tuple[object, ...]:
    return said.duty, said.epoch, said.placed, said.recalled, said.filed
