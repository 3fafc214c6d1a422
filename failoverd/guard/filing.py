"""Restore points of ordinary files that patterns match, found and made where the app is active.

Rule of this file: a copy becomes a point only after the file was read twice alike, with the same size, times and
inode before, between and after. That says that it rested, not that it is whole: no file has a transaction that would.
What has no point is said, with why.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from failoverd.core.filed import NAMED, Filed, FilePoint, Trouble
from failoverd.core.model import Now
from failoverd.core.patterns import Patterns
from failoverd.core.points import Wanted
from failoverd.core.rules import Site
from failoverd.guard import copies, shelf, sqlite
from failoverd.guard.files import (
    TEMPORARY,
    copied,
    hashed,
    inside,
    quoted,
    shown,
    sync_file,
    temporary,
    unquoted,
)
from failoverd.guard.pace import Pace
from failoverd.guard.points import FIND_EVERY, SKIPPED, SPARE, prune
from failoverd.guard.points import SUFFIXES as NAMES_OF_DATABASES

MOST = 1000
"""Files of one volume that get points, the first ones by name."""
LARGEST = 64 * 1024 * 1024
"""Bytes of a file that gets one: while it is read no point of a database is made."""
TOGETHER = 1024 * 1024 * 1024
"""Bytes of all files that do."""
ROUND = 16 * 1024 * 1024
"""Bytes after which a round is over, and databases have their turn."""
APART = timedelta(seconds=2)
"""Between two new points, and between two that are dropped with their file. The daemon takes what lies here off the
files of a volume when it looks for mass deletions, by two words that are some ten seconds apart: what changes in that
time must stay below what it takes for one."""
RESTLESS = 3
"""Looks in a row at which a file did not rest until that is said."""

Look = tuple[int, int, int, int]
"""What changes with a file's content: inode, size, both times."""


class Restless(Exception):
    """The file changed while it was read."""


class Unfit(Exception):
    """There is to be no point of that file; the text says why."""


@dataclass(frozen=True, slots=True)
class Match:
    """A file that patterns match. `why` says why it gets no point; empty where it does."""

    name: str
    path: Path
    why: str


def matches(root: Path, patterns: Patterns, troubles: list[Trouble], pace: Callable[[], None]) -> Iterator[Match]:
    """Every ordinary file that is meant, by its quoted path, in order; neither links nor databases are."""
    left = [root]
    while left:
        path = left.pop()
        relative = str(path.relative_to(root))
        try:
            if path == root or stat.S_ISDIR(path.lstat().st_mode):
                pace()
                entries = sorted(os.scandir(path), key=lambda entry: entry.name, reverse=True)
                left += [Path(entry.path) for entry in entries if _may_be(root, entry, patterns)]
            elif sqlite.header(path) is None:  # databases have points of their own
                yield Match(quoted(relative), path, _looks_like_one(root, relative, path))
        except FileNotFoundError:
            continue
        except OSError as error:
            troubles.append(
                Trouble(file="" if path == root else quoted(relative), text=f"unreadable: {error.strerror}")
            )


def _may_be(root: Path, entry: os.DirEntry[str], patterns: Patterns) -> bool:
    relative = str(Path(entry.path).relative_to(root))
    if entry.is_dir(follow_symlinks=False):
        return entry.name not in SKIPPED and patterns.lead(relative)
    ours = entry.name.startswith(TEMPORARY) or entry.name.endswith(sqlite.SIDECARS)
    return entry.is_file(follow_symlinks=False) and not ours and patterns.match(relative)


def _looks_like_one(root: Path, relative: str, path: Path) -> str:
    """Why a file may be a database all the same, and an encrypted one has a -wal that belongs to it."""
    if path.suffix.lower() in NAMES_OF_DATABASES or shelf.folder(root, quoted(relative)).is_dir():
        return "it is named as a database or was one, and none that can be read: not copied as a file"
    return sqlite.beside(path)  # whoever asks has read its header


def look(path: Path) -> Look:
    """At a file as it is now. Raises OSError, and Unfit where it is no ordinary one any more."""
    seen = path.lstat()
    if not stat.S_ISREG(seen.st_mode):
        raise Unfit("it is no ordinary file any more")
    return seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def _counting(points: Iterable[copies.Lying], wanted: Wanted, site: Site) -> list[copies.Lying]:
    """Those of a file's points that count, newest first."""
    found = [one for one in points if (one.point.epoch, one.point.site) == (wanted.epoch, site)]
    return sorted(found, key=lambda one: one.point.order, reverse=True)


def said(troubles: Iterable[Trouble]) -> Filed:
    """What a guard says of troubles: as many as there is room for."""
    named = sorted(set(troubles), key=lambda one: (one.file, one.text))
    return Filed(troubles=tuple(named[:NAMED]), unnamed=max(0, len(named) - NAMED))


class FileMaker:
    """Makes the points of one volume's files at the active side."""

    def __init__(self, root: Path, site: Site) -> None:
        self._root = root
        self._site = site
        self._found: dict[str, Path] = {}
        self._odd: list[Trouble] = []
        self._walked: timedelta | None = None
        self._due: dict[str, timedelta] = {}
        self._looks: dict[str, Look] = {}
        """Of each file as its newest point has it."""
        self._oldest: dict[str, datetime] = {}
        self._restless: dict[str, int] = {}
        self._wrong: dict[str, str] = {}
        self._gone: dict[Path, timedelta] = {}
        self._over: list[Path] = []
        """Folders of files that are gone for good."""
        self._lying = 0
        self._added: timedelta | None = None
        self._dropped: timedelta | None = None
        self._for: tuple[int, tuple[str, ...]] | None = None
        self._made = 0

    def turn(self, wanted: Wanted, clock: Callable[[], Now], pace: Pace) -> Filed:
        """Walk where that is due, and make what is due, as much as one round may. Raises Halt."""
        if (wanted.epoch, wanted.files) != self._for:
            # As with databases a point is due at once: those of another epoch do not count any more.
            self._for, self._walked, self._due = (wanted.epoch, wanted.files), None, {}
            self._looks, self._oldest, self._restless, self._wrong = {}, {}, {}, {}
        now = clock().mono
        if self._walked is None or now - self._walked >= FIND_EVERY:
            self._walk(wanted, now, pace)
            self._walked = now
        left = ROUND
        due = [name for name in self._found if self._due.get(name, timedelta(0)) <= now]
        for number, name in enumerate(sorted(due, key=lambda name: (self._due.get(name, timedelta(0)), name))):
            if number % 100 == 0:  # it costs more than to look at a file
                pace()
            read = self._tend(name, wanted, clock, pace)
            left -= read or 0
            if read is None or left <= 0:
                break
        if wanted.recall is None:  # what somebody may be about to have put back stays
            self._forget(clock().mono)
        well = self._oldest.keys() & self._found.keys()
        oldest = [self._oldest[name] for name in well]
        return replace(
            said([*self._odd, *(Trouble(file=name, text=text) for name, text in self._wrong.items())]),
            made=self._made,
            files=len(self._found),
            points=len(well),
            oldest=min(oldest, default=None),
            since=max(oldest, default=None) if len(well) == len(self._found) else None,
            lying=self._lying,
        )

    def _walk(self, wanted: Wanted, now: timedelta, pace: Pace) -> None:
        unread: list[Trouble] = []
        odd: list[Trouble] = []
        found: dict[str, Path] = {}
        kept = {entry.name: entry for entry in shelf.entries(shelf.files_place(self._root))}
        self._lying = sum(len(shelf.entries(entry)) for entry in kept.values())
        beyond, taken = 0, 0
        for one in matches(self._root, Patterns(wanted.files), unread, pace):
            kept.pop(shelf.called(one.name), None)
            why, size = one.why, 0
            if not why:
                try:
                    size = one.path.lstat().st_size
                except OSError:  # gone meanwhile
                    continue
                if size > LARGEST:
                    why = f"it has {size} bytes, and files of up to {LARGEST} get points"
                elif len(found) == MOST:
                    beyond += 1
                    continue
                elif taken + size > TOGETHER:
                    why = f"beyond the {TOGETHER} bytes that all files of a volume may have together"
            if why:
                odd.append(Trouble(file=one.name, text=why))
            else:
                found[one.name], taken = one.path, taken + size
        if beyond:
            text = f"{MOST + beyond} files match, and points are made of the first {MOST} by name"
            odd.append(Trouble(file="", text=text))
        self._found, self._odd = found, [*unread, *odd]
        for held in (self._due, self._looks, self._oldest, self._restless, self._wrong):
            for name in held.keys() - found.keys():
                del held[name]
        # Until then its points are the only ones left to put back; how long a file was gone before this process
        # nobody knows.
        self._gone = {} if unread else {folder: self._gone.get(folder, now) for folder in kept.values()}
        self._over = [folder for folder, since in self._gone.items() if now - since >= wanted.keep_for]

    def _forget(self, now: timedelta) -> None:
        """Drop the oldest point of a file that has been gone for as long as points are kept."""
        if not self._over or not _apart(self._dropped, now):
            return
        folder, self._dropped = self._over[0], now
        try:
            oldest = next(shelf.manifests([folder]), None)
            if oldest is not None:
                shelf.drop(oldest, oldest.with_suffix(".copy"))
                self._lying -= 2
            else:
                shelf.sweep(folder)
                folder.rmdir()
                self._over.pop(0)
        except OSError as error:
            self._over.pop(0)
            text = f"its old points cannot be removed: {shown(str(error))}"
            self._odd.append(Trouble(file=quoted(str(folder.relative_to(self._root))), text=text))

    def _tend(self, name: str, wanted: Wanted, clock: Callable[[], Now], pace: Pace) -> int | None:
        """See to one file; the bytes that were read for it, None where it waits for its turn."""
        began, read, due = clock(), 0, self._due.get(name, timedelta(0))
        self._due[name] = began.mono + wanted.interval
        try:
            path = inside(self._root, unquoted(name))
            seen = look(path)
            if self._looks.get(name) != seen:
                if not _apart(self._added, began.mono):
                    self._due[name] = due  # before those that are looked at meanwhile
                    return None
                read = seen[1]
                self._make(name, path, seen, wanted, clock, pace)
                self._looks[name] = seen
            self._restless.pop(name, None)
            self._wrong.pop(name, None)
        except Restless:
            self._restless[name] = self._restless.get(name, 0) + 1
            if self._restless[name] >= RESTLESS:
                self._wrong[name] = "it never rests for as long as it takes to read it twice: no new point"
        except FileNotFoundError:
            self._walked = None
        except Unfit as error:
            self._wrong[name] = str(error)
        except (OSError, ValueError) as error:
            why = "no room" if getattr(error, "errno", 0) in (28, 122) else "unreadable"
            self._wrong[name] = f"{why}: {shown(str(error))}"
        return read

    def _make(self, name: str, path: Path, seen: Look, wanted: Wanted, clock: Callable[[], Now], pace: Pace) -> None:
        """A point of a file, unless the newest one is just that. Raises Restless, Unfit, Halt, OSError."""
        first = hashed(path, pace, seen[1])  # one that grows for ever has an end like that
        mode = stat.S_IMODE(path.lstat().st_mode) & 0o777
        if look(path) != seen:
            raise Restless
        if why := sqlite.of_database(path):
            raise Unfit(why)
        there = list(copies.lying(self._root, [], name))
        if later := max((one.point.epoch for one in there if one.point.epoch > wanted.epoch), default=0):
            raise Unfit(
                f"points of epoch {later} lie here, and {wanted.epoch} is wanted: whoever wants it knows less"
            )
        same = _counting(there, wanted, self._site)
        if not same or not _holds(same[0], first, seen, mode):
            draft = FilePoint(
                file=name,
                site=self._site,
                epoch=wanted.epoch,
                serial=1 + max((one.point.serial for one in there if one.point.epoch == wanted.epoch), default=0),
                made_at=clock().wall,
                size=seen[1],
                sha256=first,
                mode=mode,
            )
            self._copy(path, seen, draft, pace)
            made = copies.put(self._root, draft, pace)
            self._made, self._added = self._made + 1, clock().mono
            left = prune([*there, made], wanted, clock().wall)
            self._lying += 2 * (len(left) - len(there))
            same = _counting(left, wanted, self._site)
        self._oldest[name] = same[-1].point.made_at

    def _copy(self, path: Path, seen: Look, draft: FilePoint, pace: Pace) -> None:
        """Its content under the temporary name of that point. Raises Restless, Unfit, Halt, OSError."""
        place = copies.folder(self._root, draft.file)
        place.mkdir(parents=True, exist_ok=True)
        shelf.sweep(place)
        free = shutil.disk_usage(place).free
        if draft.size > free // SPARE:
            raise Unfit(f"no room: a copy needs {draft.size} bytes, and may take half of the {free} free ones")
        new = temporary(copies.file_of(self._root, draft))
        whole = False
        try:
            if copied(path, new, pace, seen[1]) != draft.sha256 or look(path) != seen:
                raise Restless
            if sqlite.header(new) is not None:
                raise Unfit("it has become a database")
            sync_file(new, draft.mode)
            whole = True
        finally:
            if not whole:
                new.unlink(missing_ok=True)


def _apart(last: timedelta | None, now: timedelta) -> bool:
    return last is None or now - last >= APART


def _holds(newest: copies.Lying, sha256: str, seen: Look, mode: int) -> bool:
    """Whether that point is the file as it is now; one whose copy was removed or cut is none."""
    point = newest.point
    try:
        lies = newest.file.lstat().st_size == point.size
    except FileNotFoundError:
        return False
    return lies and (point.sha256, point.size, point.mode) == (sha256, seen[1], mode)
