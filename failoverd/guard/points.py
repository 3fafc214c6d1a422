"""Restore points: find the databases of a volume, copy each at one moment, keep the last ones.

Rule of this file: a copy becomes a point only after it opened; whatever goes wrong is said and leaves older points
where they are.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from failoverd.core.model import Now
from failoverd.core.names import GUARD_FOLDER
from failoverd.core.points import Ailment, Kept, Point, Sickness, Wanted
from failoverd.core.rules import Site
from failoverd.guard import ahead, copies, shelf, sqlite
from failoverd.guard.files import TEMPORARY, hashed, inside, quoted, shown, sync_file, temporary, unquoted
from failoverd.guard.pace import Halt, Pace
from failoverd.guard.sqlite import Sick

SKIPPED = {GUARD_FOLDER, ".stfolder", ".stversions"}
"""Folders without live databases of the app: ours and Syncthing's."""
SMALLEST = 512
"""Bytes: SQLite's smallest page, so no database is smaller."""
SUFFIXES = (".db", ".db3", ".sqlite", ".sqlite3")
"""A file of such a name is expected to be a database; one that is none may be encrypted."""
FIND_EVERY = timedelta(seconds=60)
"""Between two walks through the volume."""
SPARE = 2
"""A point may take at most one part in this many of the free space."""


@dataclass(frozen=True, slots=True)
class Found:
    """A database of the app: its quoted path, its file, its size in bytes, and whether it is in WAL mode."""

    database: str
    path: Path
    size: int
    wal: bool


def find(root: Path, wrong: list[Sickness], pace: Callable[[], None]) -> Iterator[Found]:
    """Every database of a volume, by its header, links not followed; what looks like one and is none is `wrong`."""
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            wrong.append(_unreadable(root, folder, error))
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in SKIPPED:
                    folders.append(Path(entry.path))
            elif entry.is_file(follow_symlinks=False) and not entry.name.startswith(TEMPORARY):
                found = _look(root, Path(entry.path), wrong)
                if found is not None:
                    yield found
        pace()


def _look(root: Path, path: Path, wrong: list[Sickness]) -> Found | None:
    if path.name.endswith(sqlite.SIDECARS) or ".sync-conflict-" in path.name:
        return None
    name = quoted(str(path.relative_to(root)))
    try:
        size = path.stat(follow_symlinks=False).st_size
        unborn = size == 0 and (wal := Path(f"{path}-wal")).exists() and wal.stat().st_size > 0
        if unborn:
            # SQLite deletes the WAL of an empty database when it opens it (measured): not touched.
            text = "empty, though a -wal with content lies beside it: it is not opened, that would delete the -wal"
            wrong.append(Sickness(database=name, ailment=Ailment.CORRUPT, text=text))
        if size < SMALLEST:
            return None
        head = sqlite.header(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        wrong.append(_unreadable(root, path, error))
        return None
    if head is None:
        if path.suffix in SUFFIXES or _known(root, name):
            text = "its first bytes are not SQLite's: encrypted, or overwritten"
            wrong.append(Sickness(database=name, ailment=Ailment.NOT_A_DATABASE, text=text))
        return None
    return Found(name, path, size, head.wal)


def _known(root: Path, database: str) -> bool:
    return shelf.folder(root, database).is_dir()


def _unreadable(root: Path, path: Path, error: OSError) -> Sickness:
    name = quoted(str(path.relative_to(root)))
    return Sickness(database=name, ailment=Ailment.UNREADABLE, text=f"{shown(path)}: {error.strerror}")


def make(root: Path, found: Found, draft: Point, pace: Callable[[], None]) -> Point:
    """Copy one database now. `draft` says whose point it becomes: site, epoch, serial and `made_at`.

    Raises Sick where there is nothing to be made of it, Halt, OSError.
    """
    place = shelf.folder(root, found.database)
    place.mkdir(parents=True, exist_ok=True)
    shelf.sweep(place)
    free = shutil.disk_usage(place).free
    if found.size > free // SPARE:
        raise Sick(Ailment.NO_ROOM, f"a copy needs {found.size} bytes, and may take half of the {free} free ones")
    new = temporary(shelf.file_of(root, draft))
    try:
        before = sqlite.state(found.path)
        sqlite.copy(found.path, new, found.wal, found.size, pace)
        after = sqlite.header(found.path)
        pace()
        sqlite.check(new)
        pace()
        mode = stat.S_IMODE(found.path.stat().st_mode) & 0o777
        sync_file(new, mode)
        salt, frame = ahead.mark(before.index)
        point = replace(
            draft,
            size=new.stat().st_size,
            sha256=hashed(new, pace),
            wal=found.wal,
            counter_before=before.counter,
            counter_after=after.counter if after else before.counter,
            wal_changes=before.changes,
            wal_salt=salt,
            wal_frame=frame,
            mode=mode,
        )
        pace()
        shelf.put(root, point, pace)
    finally:
        new.unlink(missing_ok=True)
    return point


Lies = TypeVar("Lies", bound=shelf.Lies)


def prune(points: Sequence[Lies], wanted: Wanted, now: datetime) -> list[Lies]:
    """Drop points of one database, or file, beyond `keep` and `keep_for`, oldest first by (epoch, serial); never the
    newest.

    Those that stay, newest first. What somebody may be about to have put back stays until that is decided: else the
    app would be stopped for a point that is gone by then.
    """
    left, asked = [], wanted.recall.at if wanted.recall is not None else None
    for rank, one in enumerate(sorted(points, key=lambda one: one.point.order, reverse=True)):
        meant = asked is not None and one.point.made_at <= asked
        if rank and not meant and (rank >= wanted.keep or now - one.point.made_at > wanted.keep_for):
            shelf.drop(one.manifest, one.file)
        else:
            left.append(one)
    return left


def thin(root: Path) -> None:
    """Drop points while all of a volume take more than is left free: those of files first, then of every database the
    oldest.

    The newest of each database stays whatever it takes. Raises OSError.
    """
    over = shelf.taken(root) - shutil.disk_usage(root).free
    if over <= 0:
        return
    files: list[tuple[int, shelf.Lies]] = []
    with contextlib.suppress(OSError):  # what goes wrong with those of files is said with them
        files = _ranked(copies.lying(root, []))
    databases = _ranked(shelf.lying(root, []))
    for one in [one for _, one in files] + [one for place, one in databases if place]:
        if over <= 0:
            return
        shelf.drop(one.manifest, one.file)
        over -= 2 * one.point.size  # what is taken shrinks, and what is free grows


def _ranked(there: Iterable[shelf.Lies]) -> list[tuple[int, shelf.Lies]]:
    """What is to go first, with its place among the points of the same thing: 0 is the newest."""
    of: dict[Path, list[shelf.Lies]] = {}
    for each in there:
        of.setdefault(each.file.parent, []).append(each)
    newest_first = [sorted(points, key=lambda one: one.point.order, reverse=True) for points in of.values()]
    pairs = [pair for points in newest_first for pair in enumerate(points)]
    return sorted(pairs, key=lambda pair: (pair[0], pair[1].point.size), reverse=True)


class Maker:
    """Makes the points of one volume at the active side, each database when it is due."""

    def __init__(self, root: Path, site: Site) -> None:
        self._root = root
        self._site = site
        self._found: dict[str, Found] = {}
        self._lost: list[Sickness] = []
        self._walked: timedelta | None = None
        self._due: dict[str, timedelta] = {}
        self._states: dict[str, sqlite.State] = {}
        self._current: dict[str, timedelta] = {}
        self._kept: dict[str, Kept] = {}
        self._sick: dict[str, Sickness] = {}
        self._epoch = -1
        self._made = False
        self._crowded: tuple[Sickness, ...] = ()

    @property
    def kept(self) -> tuple[Kept, ...]:
        """Every database with its newest point of this epoch."""
        return tuple(self._kept[name] for name in sorted(self._kept))

    @property
    def found(self) -> frozenset[str]:
        """Every database there was at the last walk, by its quoted path."""
        return frozenset(self._found)

    @property
    def sick(self) -> tuple[Sickness, ...]:
        """Every database of which there is no new point, and why."""
        return (*self._lost, *self._crowded, *(self._sick[name] for name in sorted(self._sick)))

    def turn(self, wanted: Wanted, clock: Callable[[], Now], pace: Pace) -> None:
        """Walk where that is due, and make what is due. Raises Halt; whatever else went wrong is in `sick`."""
        pace.share, pace.io_share = wanted.share, wanted.io_share
        if wanted.epoch != self._epoch:
            # A point is due at once: those of another epoch do not count any more.
            self._epoch, self._due = wanted.epoch, {}
            self._kept, self._states, self._current = {}, {}, {}
        now = clock().mono
        if self._walked is None or now - self._walked >= FIND_EVERY:
            self._walked, self._made = now, True  # a disk fills without any point, too
            self._walk(pace)
        for name in sorted(self._found):
            if clock().mono >= self._due.get(name, timedelta(0)):
                self._tend(self._found[name], wanted, clock, pace)
        if self._made:
            self._thin()

    def _thin(self) -> None:
        self._made, self._crowded = False, ()
        try:
            thin(self._root)
        except OSError as error:
            self._crowded = (_unreadable(self._root, shelf.place(self._root), error),)

    def _walk(self, pace: Pace) -> None:
        wrong: list[Sickness] = []
        self._found = {one.database: one for one in find(self._root, wrong, pace)}
        self._lost = wrong
        for held in (self._due, self._states, self._current, self._kept, self._sick):
            for name in held.keys() - self._found.keys():
                del held[name]

    def _tend(self, found: Found, wanted: Wanted, clock: Callable[[], Now], pace: Pace) -> None:
        name, began = found.database, clock()
        try:
            state = sqlite.state(inside(self._root, unquoted(name)))
            if name in self._kept and self._states.get(name) == state:
                self._kept[name] = replace(self._kept[name], current_at=began.wall)
                self._current[name] = began.mono
            else:
                self._make(found, wanted, clock, pace)
                # Of before the copy: a change during it makes another point due.
                self._states[name] = state
            self._sick.pop(name, None)
        except Halt:
            raise
        except Sick as error:
            self._sick[name] = Sickness(database=name, ailment=error.ailment, text=str(error))
        except FileNotFoundError:
            self._walked = None
        except (OSError, ValueError) as error:
            why = Ailment.NO_ROOM if getattr(error, "errno", 0) in (28, 122) else Ailment.UNREADABLE
            self._sick[name] = Sickness(database=name, ailment=why, text=shown(str(error)))
        self._due[name] = began.mono + wanted.interval

    def _make(self, found: Found, wanted: Wanted, clock: Callable[[], Now], pace: Pace) -> None:
        name = found.database
        there = list(shelf.lying(self._root, [], name))
        later = max((one.point.epoch for one in there), default=0)
        if later > wanted.epoch:
            text = f"points of epoch {later} lie here, and {wanted.epoch} is wanted: whoever wants it knows less"
            raise Sick(Ailment.FOREIGN, text)
        serial = 1 + max((one.point.serial for one in there if one.point.epoch == wanted.epoch), default=0)
        began, known = clock(), self._kept.get(name)
        look = replace(found, size=found.path.stat().st_size, wal=_in_wal_mode(found))
        draft = Point(
            database=name,
            site=self._site,
            epoch=wanted.epoch,
            serial=serial,
            made_at=began.wall,
            size=0,
            sha256="",
            wal=look.wal,
            counter_before=0,
            counter_after=0,
            last_held=known.current_at if known is not None and known.serial == serial - 1 else None,
        )
        self._made = True
        point = make(self._root, look, draft, pace)
        # Until then the point before this one held everything.
        ended, last = clock(), self._current.get(name)
        self._current[name] = began.mono
        self._kept[name] = Kept(
            database=name,
            size=point.size,
            serial=serial,
            made_at=began.wall,
            current_at=began.wall,
            every=max(wanted.interval, ended.mono - began.mono) if last is None else began.mono - last,
            age=ended.mono - (began.mono if last is None else last),
        )
        made = shelf.Lying(
            point, shelf.file_of(self._root, point), shelf.file_of(self._root, point).with_suffix(".json")
        )
        left = prune([*there, made], wanted, ended.wall)
        same = [one.point for one in left if (one.point.epoch, one.point.site) == (wanted.epoch, self._site)]
        self._kept[name] = replace(self._kept[name], oldest=same[-1].made_at)


def _in_wal_mode(found: Found) -> bool:
    head = sqlite.header(found.path)
    if head is None:
        raise Sick(Ailment.NOT_A_DATABASE, "its first bytes are not SQLite's: encrypted, or overwritten")
    return head.wal
