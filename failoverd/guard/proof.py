"""Proof at the standby: which copies open. Nothing is ever written into the volume.

What counts are points of the current epoch's active site, the newest first by (epoch, serial): a copy that was active
once has points of its own that look fresh, and mtimes and clocks of nodes say nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from failoverd.core.model import Now
from failoverd.core.points import Ailment, Proven, Sickness, Wanted
from failoverd.guard import shelf, sqlite
from failoverd.guard.files import copied, shown
from failoverd.guard.pace import Pace
from failoverd.guard.points import FIND_EVERY, find
from failoverd.guard.shelf import Lying
from failoverd.guard.sqlite import Sick

Look = tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class _Verdict:
    look: Look
    at: timedelta
    sick: Sickness | None


class Absent(Exception):
    """The manifest is there and the copy is not yet: replication brings them one by one."""


class Prover:
    """Proves the points of one volume; what was proven is proven again when its file changed or `recheck` is over."""

    def __init__(self, root: Path, scratch: Path) -> None:
        if scratch.resolve().is_relative_to(root.resolve()):
            raise ValueError(f"{scratch} lies in the volume {root}: private copies must not be replicated")
        self._root = root
        self._scratch = scratch
        self._verdicts: dict[Path, _Verdict] = {}
        self.proven: tuple[Proven, ...] = ()
        self.sick: tuple[Sickness, ...] = ()
        self._walked: timedelta | None = None
        self._live: dict[str, Path] = {}
        self._odd: list[Sickness] = []
        self.newest: dict[str, Lying] = {}
        """Of each database the newest point that opens, or the one that is to be placed."""

    def turn(self, wanted: Wanted, clock: Callable[[], Now], pace: Pace, anew: bool = False) -> None:
        """Look at every database's points until one opens; `anew` believes nothing of before. Raises Halt."""
        pace.share, pace.io_share = wanted.share, wanted.io_share
        if anew:
            self._verdicts.clear()
        self._walk(clock().mono, anew, pace)
        sick = list(self._odd)
        newest: dict[str, Lying] = {}
        seen = set()
        there = sorted(shelf.lying(self._root, sick), key=lambda one: one.point.database)
        for database, group in itertools.groupby(there, key=lambda one: one.point.database):
            all_of_it = list(group)
            seen.add(database)
            counting = [
                one for one in all_of_it if (one.point.epoch, one.point.site) == (wanted.epoch, wanted.active)
            ]
            found, wrong = self._first(counting, wanted, clock, pace)
            sick += wrong
            if found is not None:
                newest[database] = found
            elif not wrong:
                text, earlier = _none(all_of_it, counting, wanted), not counting and database not in self._live
                sick.append(Sickness(database=database, ailment=Ailment.NONE, text=text, earlier=earlier))
        for database in sorted(self._live.keys() - seen):
            sick.append(Sickness(database=database, ailment=Ailment.NONE, text="no point of it has ever arrived"))
        self._verdicts = {path: kept for path, kept in self._verdicts.items() if path.exists()}
        self.newest = newest
        self.proven = tuple(
            Proven(database=name, serial=one.point.serial, made_at=one.point.made_at, size=one.point.size)
            for name, one in newest.items()
        )
        self.sick = tuple(sick)

    @property
    def live(self) -> dict[str, Path]:
        """The databases that replication itself brought, by their quoted path."""
        return dict(self._live)

    def _walk(self, now: timedelta, anew: bool, pace: Pace) -> None:
        if self._walked is None or anew or now - self._walked >= FIND_EVERY:
            self._walked, self._odd = now, []
            self._live = {one.database: one.path for one in find(self._root, self._odd, pace)}

    def _first(
        self, points: list[Lying], wanted: Wanted, clock: Callable[[], Now], pace: Pace
    ) -> tuple[Lying | None, list[Sickness]]:
        wrong: list[Sickness] = []
        for one in shelf.in_turn(points, wanted.as_of):
            try:
                sick = self._verdict(one, wanted.recheck, clock, pace)
            except Absent:
                continue
            if sick is None:
                return one, wrong
            wrong.append(sick)
        return None, wrong

    def _verdict(self, one: Lying, recheck: timedelta, clock: Callable[[], Now], pace: Pace) -> Sickness | None:
        try:
            status = one.file.lstat()
        except FileNotFoundError:
            raise Absent from None
        look = (one.point.sha256, status.st_ino, status.st_size, status.st_mtime_ns)
        past = self._verdicts.get(one.file)
        if past is not None and past.look == look and clock().mono - past.at < recheck:
            return past.sick
        sick = None
        try:
            self.prove(one, pace)
        except Sick as error:
            text = f"point {one.file.stem}: {error}"
            sick = Sickness(database=one.point.database, ailment=error.ailment, text=text)
        self._verdicts[one.file] = _Verdict(look, clock().mono, sick)
        return sick

    def prove(self, one: Lying, pace: Pace) -> None:
        """Whether this point opens and is what its manifest says, on a private copy. Raises Sick, Absent, Halt."""
        private = self._scratch / "point.sqlite"
        try:
            size = one.file.lstat().st_size
            if size != one.point.size:
                raise Sick(Ailment.MISMATCH, f"has {size} bytes, its manifest says {one.point.size}")
            if copied(one.file, private, pace) != one.point.sha256:
                raise Sick(Ailment.MISMATCH, "its content is not what the manifest's SHA-256 was made of")
            pace()
            sqlite.check(private)
            pace()
        except FileNotFoundError:
            raise Absent from None
        except OSError as error:
            why = Ailment.NO_ROOM if error.errno == 28 else Ailment.UNREADABLE
            raise Sick(why, shown(str(error))) from None
        finally:
            private.unlink(missing_ok=True)


def live_opens(path: Path, scratch: Path, pace: Pace) -> None:
    """Whether a database that nobody has open opens with its `-wal` and `-journal`, on a private copy.

    Raises Sick, Halt, OSError.
    """
    private = scratch / "live.sqlite"
    parts = [Path(f"{private}{suffix}") for suffix in ("", *sqlite.SIDECARS)]
    try:
        for suffix in ("", "-wal", "-journal"):
            source = Path(f"{path}{suffix}")
            if source.exists():
                copied(source, Path(f"{private}{suffix}"), pace)
        sqlite.check_set(private)
        pace()
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def _none(there: list[Lying], counting: list[Lying], wanted: Wanted) -> str:
    if counting:
        return "manifests have arrived, and none of their copies yet"
    newest = max(there, key=lambda one: one.point.order).point
    return (
        f"no point of epoch {wanted.epoch} from {wanted.active}; the newest here is of epoch {newest.epoch} "
        f"from {newest.site}"
    )
