"""Databases put back where their app lives: what can be had of what is asked for, and the plan that places it.

A point that is meant and does not open is said, never replaced by another: whoever asks for a moment means that one.
A set is placed as one file, its own `-wal` and `-journal` merged into it, so that it can stand beside no other's.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from failoverd.core.filed import Trouble, listed
from failoverd.core.names import GUARD_FOLDER
from failoverd.core.points import Ailment, Kept, Sickness, Wanted
from failoverd.core.recall import Recall, Recalled
from failoverd.guard import shelf, sqlite
from failoverd.guard.files import copied, inside, quoted, shown, unquoted
from failoverd.guard.filing_proof import Meant, without
from failoverd.guard.filing_proof import meant as meant_files
from failoverd.guard.journal import Displaced, Journal, journal_at
from failoverd.guard.pace import Pace
from failoverd.guard.place import Blocked, Placer
from failoverd.guard.points import find
from failoverd.guard.proof import Absent
from failoverd.guard.shelf import Lying
from failoverd.guard.sqlite import Sick

NAMED = 10
"""Moments that are named where the one that is wanted cannot be had."""
_SLOT = re.compile(r"\d{4}")

Prove = Callable[[Lying, Pace], None]
"""Whether a point opens: raises Sick where it does not, Absent where it is gone."""


@dataclass(frozen=True, slots=True)
class Past:
    """The points of one database, oldest first, and of those up to the wanted moment the last."""

    points: list[Lying]
    last: Lying
    until: datetime
    """The last moment, up to the wanted one, at which that one is known to have held everything."""

    def meant(self, moment: datetime | None) -> Lying:
        """The one to put back as of `moment`; never one newer than was wanted, whatever the others' moment is."""
        return shelf.in_turn([one for one in self.points if one.point.order <= self.last.point.order], moment)[0]


class Recaller:
    """Answers and plans for one volume."""

    def __init__(self, root: Path, scratch: Path, placer: Placer, prove: Prove) -> None:
        self._root = root
        self._scratch = scratch
        self._placer = placer
        self._prove = prove
        self._said: Recalled | None = None

    def look(self, wanted: Wanted, live: Collection[str], kept: Collection[Kept], pace: Pace) -> Recalled | None:
        """What can be had of `wanted.recall`; looked at once for each question. Raises Halt.

        `live` are the databases there are, `kept` what is known of their newest points.
        """
        recall = wanted.recall
        if recall is None or (self._said is not None and self._said.recall == recall):
            self._said = self._said if recall is not None else None
            return self._said
        try:
            found = self._sets(recall, pace) if recall.at is None else self._points(wanted, recall, live, kept, pace)
        except (Blocked, Sick) as error:
            found = Recalled(recall=recall, why=str(error))
        except (OSError, ValueError) as error:
            found = Recalled(recall=recall, why=shown(str(error)))
        self._said = found
        return found

    def forget(self) -> None:
        """What was answered may be true no more: something else was wanted since."""
        self._said = None

    def plan(self, wanted: Wanted, recall: Recall, pace: Pace) -> Journal:
        """What is to be placed. Raises Blocked, Sick, Halt, OSError, ValueError."""
        if recall.at is None:
            sets = self._lying_sets(recall)
            return self._placer.plan_copies(wanted, sets, pace, lambda path: self._merged(path, pace))
        # looked for anew: one whose points are gone since it was asked about must not be left out of that moment
        live = {one.database for one in find(self._root, [], pace)}
        meant = {}
        files = self._files(wanted, recall, recall.at, live, pace)
        for name, past in self._pasts(wanted, self._narrowed(recall, files), recall.at, live, {}).items():
            meant[name] = past.meant(wanted.as_of)
            self._proven(meant[name], past, pace)
        files = self._fitting(without(files, meant), sum(one.point.size for one in meant.values()))
        journal = self._placer.plan_points(wanted, meant, files.points)
        return replace(journal, told=_told(files))

    # -- points

    def _points(
        self, wanted: Wanted, recall: Recall, live: Collection[str], kept: Collection[Kept], pace: Pace
    ) -> Recalled:
        assert recall.at is not None
        files = self._files(wanted, recall, recall.at, live, pace)
        known = {one.database: one for one in kept}
        pasts = self._pasts(wanted, self._narrowed(recall, files), recall.at, live, known)
        files = without(files, pasts)
        # One that the app has deleted since held nothing after that: it says nothing of a moment.
        bound = [past for name, past in pasts.items() if name in live] or list(pasts.values())
        moment = min((past.until for past in bound), default=None)
        oldest = max((past.points[0].point.made_at for past in bound), default=None)
        # those of one round lie a moment apart
        if moment is not None and oldest is not None and oldest - moment > wanted.interval:
            times = _times(oldest, [one for past in bound for one in past.points])
            raise Blocked(f"no moment is held by points of all databases: they begin at {oldest:%H:%M:%S} UTC{times}")
        size = 0
        for past in pasts.values():
            meant = past.meant(moment)
            self._proven(meant, past, pace)
            size += meant.point.size
        self._has_room(size)
        files = self._fitting(files, size)
        return Recalled(
            recall=recall,
            databases=tuple(sorted(pasts)),
            files=len(files.points),
            moment=moment,
            oldest=oldest,
        )

    def _files(self, wanted: Wanted, recall: Recall, at: datetime, live: Collection[str], pace: Pace) -> Meant:
        """What is meant of ordinary files. Raises Blocked where one alone is, and cannot be had or need not be."""
        only = recall.database
        if not wanted.files or only in live:
            return NOTHING
        try:
            found = meant_files(self._root, wanted, at, recall.since, only, pace)
        except OSError as error:  # no reason to keep databases from being put back
            return Meant({}, (), (Trouble(file="", text=f"unreadable: {shown(str(error))}"),))
        if only in found.same:
            raise Blocked(f"{only} is what it was then")
        if only and not found.points and (why := next((one.text for one in found.stay if one.file == only), "")):
            if not shelf.folder(self._root, only).is_dir():
                raise Blocked(f"{only}: {why}")
        return found

    def _fitting(self, files: Meant, beside: int) -> Meant:
        """The same, without files where they find no room beside so many bytes of databases."""
        needed, free = sum(one.point.size for one in files.points.values()), shutil.disk_usage(self._root).free
        if beside + needed <= free:
            return files
        why = Trouble(file="", text=f"no room: they have {needed} bytes, {free} are free")
        return Meant({}, files.same, (*files.stay, why))

    def _narrowed(self, recall: Recall, files: Meant) -> Recall | None:
        """Which databases are meant: none where it is one ordinary file."""
        return None if recall.database in files.points else recall

    def _pasts(
        self, wanted: Wanted, recall: Recall | None, at: datetime, live: Collection[str], kept: Mapping[str, Kept]
    ) -> dict[str, Past]:
        """Every database that is meant. Raises Blocked where there is no point of a live one from up to then."""
        if recall is None:
            return {}
        of: dict[str, list[Lying]] = {name: [] for name in live if recall.database in ("", name)}
        if recall.database:
            of.setdefault(recall.database, [])
        wrong: list[Sickness] = []
        for one in shelf.lying(self._root, wrong, recall.database):
            counts = recall.since <= one.point.epoch <= wanted.epoch and one.point.site is wanted.active
            if counts and recall.database in ("", one.point.database):
                of.setdefault(one.point.database, []).append(one)
        if wrong:  # it may be of the very moment that is wanted
            raise Blocked(f"{wrong[0].database}: {wrong[0].ailment}: {wrong[0].text}; remove it if it is of no use")
        found = {}
        for name in sorted(of):
            rising = sorted(of[name], key=lambda one: one.point.order)
            before = [one for one in rising if one.point.made_at <= at]
            if before:
                found[name] = Past(rising, before[-1], min(at, _held(before[-1], rising, kept.get(name))))
            elif name in live or recall.database:
                had = _times(None, rising) or "; there is no point of it at all"
                raise Blocked(f"no point of {name} from {at:%Y-%m-%d %H:%M:%S} UTC or before{had}")
        return found

    def _proven(self, meant: Lying, past: Past, pace: Pace) -> None:
        try:
            self._prove(meant, pace)
        except Sick as error:
            others = _times(None, [one for one in past.points if one is not meant])
            text = f"the point of {meant.point.database} of {meant.point.made_at:%H:%M:%S} UTC does not open: {error}"
            raise Blocked(text + others) from None
        except Absent:
            raise Blocked(f"the point of {meant.point.database} is gone{_times(None, past.points)}") from None

    # -- sets

    def _sets(self, recall: Recall, pace: Pace) -> Recalled:
        found, size = self._lying_sets(recall), 0
        for one in found.values():
            if one.file:
                size += one.path.lstat().st_size
                continue
            with self._merged(one.path, pace) as merged:
                size += merged.stat().st_size
        self._has_room(size)
        databases = tuple(sorted(name for name, one in found.items() if not one.file))
        return Recalled(recall=recall, databases=databases, files=len(found) - len(databases))

    def _lying_sets(self, recall: Recall) -> dict[str, Displaced]:
        """Everything of a set that lies there, by what it was. Raises Blocked where that is not clear."""
        folder, _, slot = recall.moved.partition("/")
        unquoted(quoted(folder))  # one folder, and none above
        place = self._root / GUARD_FOLDER / "moves" / folder
        if not os.path.lexists(place):
            return {}
        inside(self._root, f"{GUARD_FOLDER}/moves/{folder}/x")
        found: dict[str, Displaced] = {}
        slots: dict[str, str] = {}
        for path in sorted(place.glob("[!.]*.json")):
            journal = journal_at(path)
            if journal is None or not journal.done:
                why = "is not done" if journal is not None else "cannot be understood"
                raise Blocked(f"{shown(path)} {why}: what was displaced lies beside it, perhaps not all of it")
            for number, entry in enumerate(journal.entries):
                name = f"{number:04d}"
                lies = Displaced(place / name / Path(unquoted(entry.database)).name, entry.file)
                if slot not in ("", name) or recall.database not in ("", entry.database) or not _is_file(lies.path):
                    continue
                if (
                    slots.setdefault(name, entry.database) != entry.database
                    or found.get(entry.database, lies) != lies
                ):
                    raise Blocked(f"{shown(place)}: two sites moved databases there: put back by hand what is meant")
                found[entry.database] = lies
        return found

    @contextlib.contextmanager
    def _merged(self, source: Path, pace: Pace) -> Iterator[Path]:
        """One database with what belongs to it, merged into one file. Raises Sick, OSError."""
        private = self._scratch / "set.sqlite"
        parts = [Path(f"{private}{part}") for part in ("", *sqlite.SIDECARS)]
        try:
            for part in ("", "-wal", "-journal"):
                if os.path.lexists(f"{source}{part}"):
                    copied(Path(f"{source}{part}"), Path(f"{private}{part}"), pace)
            pace()
            try:
                sqlite.check_set(private)
                left = next((one for one in parts[1:] if one.exists() and one.stat().st_size), None)
                if left is not None:
                    raise Sick(Ailment.UNCHECKED, f"its {left.suffix.rpartition('-')[2]} was not merged into it")
            except Sick as error:
                where = shown(source.relative_to(self._root))
                raise Sick(error.ailment, f"the set in {where} does not open: {error}") from None
            yield private
        finally:
            for part_of in parts:
                part_of.unlink(missing_ok=True)

    def _has_room(self, size: int) -> None:
        free = shutil.disk_usage(self._root).free
        if size > free:
            raise Blocked(f"no room: {size} bytes are to be put back, {free} are free")


NOTHING = Meant({}, (), ())
TOLD = 4_000
"""Characters that are told of files: the history and what is remembered of a move must stay small."""


def _told(files: Meant) -> str:
    """Which files are put back, and which are left as they are and why, for the history."""
    told = []
    if files.points:
        of = [f"{name} of {one.point.made_at:%Y-%m-%d %H:%M:%S}" for name, one in sorted(files.points.items())]
        told.append(f"files put back: {listed(of)}")
    if files.same:
        many = len(files.same) > 1
        told.append(f"{len(files.same)} files are what they were" if many else "1 file is what it was")
    if files.stay:
        told.append(f"files left as they are: {listed(sorted(str(one) for one in files.stay))}")
    text = "; ".join(told)
    return text if len(text) <= TOLD else f"{text[:TOLD]}…"


def _held(last: Lying, rising: list[Lying], kept: Kept | None) -> datetime:
    """Until when a point is known to have held everything: as its successor says, or whoever makes the next one."""
    later = next((one.point for one in rising if one.point.order > last.point.order), None)
    made = last.point.made_at
    if later is not None:
        follows = later.epoch == last.point.epoch and later.serial == last.point.serial + 1
        return max(made, later.last_held) if follows and later.last_held is not None else made
    current = kept is not None and (kept.serial, kept.made_at) == (last.point.serial, made)
    return max(made, kept.current_at) if kept is not None and current else made


def _times(since: datetime | None, points: list[Lying]) -> str:
    """The newest moments of which there are points, for whoever asked for another one; empty where there are none."""
    made = sorted({one.point.made_at for one in points if since is None or one.point.made_at >= since})
    if not made:
        return ""
    newest = ", ".join(f"{at:%Y-%m-%d %H:%M:%S}" for at in reversed(made[-NAMED:]))
    more = f", and {len(made) - NAMED} older ones down to {made[0]:%Y-%m-%d %H:%M:%S}" if len(made) > NAMED else ""
    return f"; there are points of {newest}{more}"


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode) and not path.parent.is_symlink()
    except OSError:
        return False
