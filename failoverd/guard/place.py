"""Placing: the newest point that opens becomes the database the app is started with.

What must never be: a database beside a `-wal` or `-journal` of another one. So the order is fixed. A journal first;
then every copy beside its database, under a temporary name; then, of one database after the other, the file itself
is moved aside, its `-wal`, `-shm` and `-journal` after it, and the copy is renamed in last of all. Between any two
of these there is either the old database with all that belongs to it, or none, or the point alone. What is moved
aside is kept under `.failoverd/moves/MOVE/`, together, so that it opens there.

The app is not running while this goes on; that is for the daemon to see to.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from pydantic import ValidationError

from failoverd.core.names import GUARD_FOLDER
from failoverd.core.points import Ahead, Ailment, Placed, Sickness, Wanted
from failoverd.core.rules import Placing, Site
from failoverd.guard import ahead, sqlite
from failoverd.guard.copies import Lying as Copy
from failoverd.guard.files import (
    TEMPORARY,
    copied,
    hashed,
    inside,
    quoted,
    shown,
    sync_file,
    sync_folder,
    unquoted,
    write_whole,
)
from failoverd.guard.journal import JOURNAL, Displaced, Entry, Journal, aside, had, journal_at, moved_away
from failoverd.guard.pace import Pace
from failoverd.guard.proof import Prover, live_opens
from failoverd.guard.shelf import Lying
from failoverd.guard.sqlite import Sick

PASSING = (Ailment.NO_ROOM, Ailment.UNREADABLE)
"""What says nothing of a point: a plan without its database would be kept for good, and the app start without it."""

Opens = Callable[[Path], AbstractContextManager[Path]]
"""A database with what belongs to it, merged into one file that is gone when the block ends."""


class Blocked(Exception):
    """Placing cannot go on; the text says why. It is taken up again where it stopped."""


class Placer:
    """Places databases of one volume. `pace` is called before each operation on the disk, and may end it there."""

    def __init__(self, root: Path, site: Site, scratch: Path) -> None:
        self._root = root
        self._site = site
        self._scratch = scratch
        self.sick: tuple[Sickness, ...] = ()
        """Live copies that do not open and have no point to take their place."""

    def turn(self, wanted: Wanted, prover: Prover, pace: Pace) -> Placed:
        """Close the holes that an earlier move left, then do this one's; doing it again changes nothing.

        `prover` has just looked. Raises Halt.
        """
        return self.carry(wanted, lambda: self._plan(wanted, prover, pace), pace)

    def carry(self, wanted: Wanted, plan: Callable[[], Journal], pace: Pace) -> Placed:
        """The same by any plan, which is made once; with `wanted.lay` only its copies are laid ready. Raises Halt."""
        try:
            for journal in self._begun(wanted.move):
                # Only where its database is away: whatever stands in its place came later, and is this move's affair.
                self._carry_out(journal, [entry for entry in journal.entries if self._hole(journal, entry)], pace)
            own = self._read(self._folder(wanted.move))
            if own is None or self._cleared(own) or (wanted.clear and own.live and not own.entries):
                own = plan()
                pace()
                self._write(own)
            if wanted.lay and own.held:
                for entry in own.entries:
                    self._stage(own, entry, pace)
                return replace(self._said(own), done=False, laid=True, displaced=())
            if own.held:
                pace()
                # nothing was moved yet: what has come beside a database since it was planned is that one's own
                now = [replace(entry, had=entry.there(self._path(entry.database))) for entry in own.entries]
                own = replace(own, held=False, entries=tuple(now))
                self._write(own)
            if not own.done:
                left = [entry for entry in own.entries if not self._in_place(own, entry)]
                own = self._carry_out(own, left, pace)
            self.sick = own.sick
            return self._said(own)
        except (Blocked, Sick) as error:
            return Placed(move=wanted.move, done=False, why=str(error))
        except (OSError, ValueError) as error:
            return Placed(move=wanted.move, done=False, why=shown(str(error)))

    def _cleared(self, journal: Journal) -> bool:
        """Whether a copy that only its plan could make was cleared away (as Syncthing does after a day) before
        anything was moved aside: then what is meant is still where it lay, and is planned once more.
        """
        made = (entry for entry in journal.entries if not entry.point)
        return journal.held and not all(os.path.lexists(self._staged(journal, entry)) for entry in made)

    def tidy(self) -> None:
        """Remove what was laid ready for a move that was given up before anything was moved aside. Raises OSError."""
        folder = self._root / GUARD_FOLDER / "moves"
        for place in sorted(folder.iterdir()) if folder.is_dir() else []:
            journal = journal_at(place / f"{self._site}.json")
            if journal is None or not journal.held:
                continue
            for entry in journal.entries:
                self._staged(journal, entry).unlink(missing_ok=True)
            (place / f"{self._site}.json").unlink()
            with contextlib.suppress(OSError):  # what somebody else put there stays
                place.rmdir()

    def unfinished(self) -> tuple[str, ...]:
        """The moves whose placing was begun here and not finished."""
        try:
            return tuple(journal.move for journal in self._begun(""))
        except (Blocked, OSError) as error:
            return (f"unknown: {shown(str(error))}",)

    # -- what to do

    def _plan(self, wanted: Wanted, prover: Prover, pace: Pace) -> Journal:
        entries, live, sick = [], [], []
        names = sorted(self._to_clear(prover) if wanted.clear else prover.newest.keys() | prover.live.keys())
        for unsure in prover.sick:
            if unsure.database not in names and unsure.ailment in PASSING:
                raise Blocked(f"{unsure.database}: {unsure.ailment}: {unsure.text}")
        for database in names:
            point = prover.newest.get(database) if wanted.place is Placing.NEWEST else None
            path = self._path(database)
            if wanted.clear:
                entries.append(Entry(database=database, point="", sha256="", size=0, mode=0, had=had(path)))
                continue
            same = point is not None and not wanted.rewound
            if point is not None and not (same and self._live_is_as_new(path, point, wanted.as_of is not None, pace)):
                entries.append(self._compared(self._entry(database, path, point), path, wanted, pace))
                continue
            live.append(database)
            if point is None:
                try:
                    live_opens(path, self._scratch, pace)
                except Sick as error:
                    sick.append(Sickness(database=database, ailment=error.ailment, text=f"live copy: {error}"))
        self._has_room(entries)
        return Journal(
            move=wanted.move,
            site=self._site,
            entries=tuple(entries),
            live=tuple(live),
            sick=tuple(sick),
            compared=bool(wanted.lost),
        )

    def _to_clear(self, prover: Prover) -> set[str]:
        """Databases, and what is none any more but left a `-wal`: the survivor's would come to lie beside that."""
        return prover.live.keys() | {one.database for one in prover.sick if any(had(self._path(one.database)))}

    def _path(self, database: str) -> Path:
        """Where a database is or will be. Raises ValueError where a link is: before anything is planned."""
        try:
            return inside(self._root, unquoted(database))
        except FileNotFoundError:
            return self._root / unquoted(database)

    def _live_is_as_new(self, path: Path, lying: Lying, alike: bool, pace: Pace) -> bool:
        """Only where it can be known: in rollback mode the header counts transactions, in WAL mode nothing does.

        `alike`: a newer one will not do either, because other databases are placed as of the point's moment.
        """
        try:
            head = sqlite.header(path)
            if head is None or head.wal or lying.point.wal or os.path.lexists(f"{path}-wal"):
                return False
            if head.counter < lying.point.counter_after or (alike and head.counter > lying.point.counter_after):
                return False
            live_opens(path, self._scratch, pace)
        except (FileNotFoundError, Sick):
            return False
        return True

    def plan_points(self, wanted: Wanted, points: Mapping[str, Lying], files: Mapping[str, Copy]) -> Journal:
        """These points, whatever the databases and files there are like. Raises Blocked, ValueError, OSError."""
        entries = [self._entry(name, self._path(name), points[name]) for name in sorted(points)]
        entries += [self._file(name, self._path(name), files[name]) for name in sorted(files)]
        self._has_room(entries)
        return Journal(move=wanted.move, site=self._site, entries=tuple(entries), live=(), held=True)

    def plan_copies(self, wanted: Wanted, copies: Mapping[str, Displaced], pace: Pace, opens: Opens) -> Journal:
        """These databases as they lie elsewhere in the volume, each with its own `-wal` and `-journal` merged in.

        `opens` merges one on a private copy. Raises Blocked, Sick, ValueError, OSError.
        """
        journal, entries = Journal(move=wanted.move, site=self._site, entries=(), live=(), held=True), []
        with contextlib.ExitStack() as laid:  # no journal names them yet, by which they would be tidied up
            for name in sorted(copies):
                path, lies = self._path(name), copies[name]
                mode = lies.path.stat(follow_symlinks=False).st_mode & 0o777
                with contextlib.nullcontext(lies.path) if lies.file else opens(lies.path) as merged:
                    size = merged.stat().st_size
                    plain = Entry(database=name, point="", sha256="", size=size, mode=mode, had=(), file=lies.file)
                    entry = replace(plain, had=plain.there(path))
                    self._has_room([entry])
                    staged = self._staged(journal, entry)
                    pace()
                    staged.parent.mkdir(parents=True, exist_ok=True)
                    laid.callback(staged.unlink, missing_ok=True)
                    entries.append(replace(entry, sha256=copied(merged, staged, pace)))
                    sync_file(staged, entry.mode)
            laid.pop_all()
        return replace(journal, entries=tuple(entries))

    def _has_room(self, entries: list[Entry]) -> None:
        free, needed = shutil.disk_usage(self._root).free, sum(entry.size for entry in entries)
        if needed > free:
            raise Blocked(f"placing needs {needed} bytes, {free} are free")

    def _entry(self, database: str, path: Path, lying: Lying) -> Entry:
        return Entry(
            database=database,
            point=quoted(str(lying.file.relative_to(self._root))),
            sha256=lying.point.sha256,
            size=lying.point.size,
            mode=lying.point.mode & 0o777,
            had=had(path),
            salt=lying.point.wal_salt,
            frame=lying.point.wal_frame,
        )

    def _file(self, name: str, path: Path, lies: Copy) -> Entry:
        point, where = lies.point, quoted(str(lies.file.relative_to(self._root)))
        plain = Entry(database=name, point=where, sha256=point.sha256, size=point.size, mode=0, had=(), file=True)
        return replace(plain, mode=point.mode & 0o777, had=plain.there(path))

    def _compared(self, entry: Entry, path: Path, wanted: Wanted, pace: Pace) -> Entry:
        """`entry` with what the database that makes room, or has made it, is ahead of the point placed elsewhere."""
        if not wanted.lost:
            return entry
        journal = journal_at(self._folder(wanted.lost) / f"{self._site.other}.json")
        base = [one for one in journal.entries if one.database == entry.database] if journal is not None else []
        lost = moved_away(self._root / GUARD_FOLDER / "moves", self._site, entry.database) or (
            path if "" in entry.had else None
        )
        if lost is None:
            return entry
        beyond = ahead.beyond(lost, base[0].salt, base[0].frame, pace) if base else None
        return replace(entry, lost=True, ahead=beyond)

    # -- doing it

    def _carry_out(self, journal: Journal, left: list[Entry], pace: Pace) -> Journal:
        for entry in left:
            self._stage(journal, entry, pace)
        for entry in left:
            self._swap(journal, entry, pace)
        done = replace(journal, done=True)
        pace()
        self._write(done)
        return done

    def _hole(self, journal: Journal, entry: Entry) -> bool:
        target = self._root / unquoted(entry.database)
        return os.path.lexists(self._aside(journal, entry, "")) and not os.path.lexists(target)

    def _in_place(self, journal: Journal, entry: Entry) -> bool:
        target = self._root / unquoted(entry.database)
        if not entry.sha256:
            return not any(os.path.lexists(source) for source, _ in self._to_move(journal, entry, target))
        moved = "" not in entry.had or os.path.lexists(self._aside(journal, entry, ""))
        return moved and os.path.lexists(target) and not os.path.lexists(self._staged(journal, entry))

    def _stage(self, journal: Journal, entry: Entry, pace: Pace) -> None:
        """A copy, because the point itself must stay: the app may yet break what it is started with."""
        if not entry.sha256:
            return
        staged = self._staged(journal, entry)
        pace()
        try:
            inside(self._root, unquoted(entry.database))
        except FileNotFoundError:
            staged.parent.mkdir(parents=True, exist_ok=True)
        if not (os.path.lexists(staged) and hashed(staged, pace) == entry.sha256):
            if not entry.point:
                raise Blocked(f"{shown(staged)}, laid ready for {entry.database}, is gone or was changed")
            point = inside(self._root, unquoted(entry.point))
            pace()
            if copied(point, staged, pace) != entry.sha256:
                raise Blocked(f"{shown(point)} changed since it was proven")
        pace()  # ended here a copy is whole, and neither its permissions nor its name are sure to last
        sync_file(staged, entry.mode)
        sync_folder(staged.parent)

    def _swap(self, journal: Journal, entry: Entry, pace: Pace) -> None:
        target = inside(self._root, unquoted(entry.database))
        for source, away in self._to_move(journal, entry, target):
            if not os.path.lexists(source):
                continue
            if os.path.lexists(away):
                raise Blocked(f"{shown(source)} is there again after it was moved aside: was the app started?")
            pace()
            away.parent.mkdir(parents=True, exist_ok=True)
            pace()
            source.rename(away)
            sync_folder(away.parent)
            sync_folder(source.parent)
        if not entry.sha256:
            return
        for part in entry.parts:
            if os.path.lexists(f"{target}{part}"):
                raise Blocked(f"{shown(target)}{part} appeared after placing began: was the app started?")
        pace()
        self._staged(journal, entry).rename(target)
        sync_folder(target.parent)
        pace()

    def _to_move(self, journal: Journal, entry: Entry, target: Path) -> list[tuple[Path, Path]]:
        """From where to where. What has come in place of a part is not moved after it where nothing was to come."""
        parts = [(Path(f"{target}{part}"), self._aside(journal, entry, part)) for part in entry.had]
        return [pair for pair in parts if entry.sha256 or not os.path.lexists(pair[1])]

    # -- where things are

    def _folder(self, move: str) -> Path:
        name = quote(move, safe="")
        if not move or len(name) > 150 or name.startswith("."):
            name = f"move-{hashlib.sha256(move.encode()).hexdigest()[:16]}"
        return self._root / GUARD_FOLDER / "moves" / name

    def _aside(self, journal: Journal, entry: Entry, part: str) -> Path:
        return aside(self._folder(journal.move), journal, entry, part)

    def _staged(self, journal: Journal, entry: Entry) -> Path:
        mark = hashlib.sha256(f"{journal.move}\n{entry.database}".encode()).hexdigest()[:16]
        return (self._root / unquoted(entry.database)).with_name(f"{TEMPORARY[0]}failoverd-{mark}.tmp")

    # -- the journal

    def _begun(self, but: str) -> list[Journal]:
        found = []
        folder = self._root / GUARD_FOLDER / "moves"
        for place in sorted(folder.iterdir()) if folder.is_dir() else []:
            journal = self._read(place)
            if journal is not None and not journal.done and not journal.held and journal.move != but:
                found.append(journal)
        return found

    def _read(self, folder: Path) -> Journal | None:
        """The journal of a move at this site, None where there is none. Raises Blocked for one that is no journal."""
        path = folder / f"{self._site}.json"
        try:
            journal = JOURNAL.validate_json(path.read_bytes(), strict=True)
        except FileNotFoundError:
            return None
        except (ValidationError, NotADirectoryError):
            raise Blocked(f"{shown(path)} cannot be understood: what it moved aside lies beside it") from None
        return journal

    def _write(self, journal: Journal) -> None:
        folder = self._folder(journal.move)
        folder.mkdir(parents=True, exist_ok=True)
        for parent in (folder.parent, folder.parent.parent, self._root):
            sync_folder(parent)
        write_whole(folder / f"{self._site}.json", JOURNAL.dump_json(journal, indent=1).decode() + "\n")

    def _said(self, journal: Journal) -> Placed:
        displaced = [
            self._aside(journal, entry, part)
            for entry in journal.entries
            for part in entry.had
            if os.path.lexists(self._aside(journal, entry, part))
        ]
        return Placed(
            move=journal.move,
            done=True,
            databases=journal.databases,
            files=len(journal.files),
            told=journal.told,
            live=journal.live,
            displaced=tuple(quoted(str(path.relative_to(self._root))) for path in displaced),
            ahead=tuple(
                Ahead(database=entry.database, transactions=entry.ahead)
                for entry in journal.entries
                if journal.compared and entry.lost
            ),
        )
