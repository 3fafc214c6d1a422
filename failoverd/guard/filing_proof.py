"""Restore points of ordinary files proven at the standby, and what of them can be put back where the app is active.

A point is what its manifest says, or it is none: nothing more can be proven of a file that is no database.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath

from failoverd.core.filed import Filed, FilePoint, Trouble
from failoverd.core.model import Now
from failoverd.core.patterns import Patterns
from failoverd.core.points import Wanted
from failoverd.guard import copies, shelf, sqlite
from failoverd.guard.files import hashed, inside, shown, unquoted
from failoverd.guard.filing import ROUND, Look, Unfit, look, matches, said
from failoverd.guard.pace import Pace


@dataclass(frozen=True, slots=True)
class _Verdict:
    look: tuple[str, Look]
    at: timedelta
    why: str


class FileProver:
    """Proves by their hash, where they lie, the points of files that have come to the standby."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._verdicts: dict[Path, _Verdict] = {}

    def turn(self, wanted: Wanted, clock: Callable[[], Now], pace: Pace, anew: bool = False) -> Filed:
        """Look at every file's newest points until one is well; `anew` believes nothing of before. Raises Halt."""
        if anew:
            self._verdicts.clear()
        wrong: list[Trouble] = []
        files, proven, left = 0, 0, None if anew else ROUND
        for number, folder in enumerate(shelf.entries(shelf.files_place(self._root))):
            if number % 20 == 0:
                pace()
            came = False
            for manifest in reversed(list(shelf.manifests([folder]))):  # their names rise with epoch and serial
                one = copies.read(self._root, manifest)
                if isinstance(one, Trouble):
                    wrong.append(one)
                    continue
                if (one.point.epoch, one.point.site) != (wanted.epoch, wanted.active):
                    continue
                came = True
                verdict = self._known(one, wanted.recheck, clock().mono)
                if verdict is None and (left is None or left > 0):
                    verdict = self._proven(one, clock().mono, pace)
                    left = left - one.point.size if left is not None else None
                if verdict is None:  # its copy has not come yet, or the round is over
                    continue
                if not verdict.why:
                    proven += 1
                    break
                text = f"{one.file.stem} of {one.point.made_at:%Y-%m-%d %H:%M:%S} UTC {verdict.why}"
                wrong.append(Trouble(file=one.point.file, text=text))
            files += came
        self._verdicts = {path: kept for path, kept in self._verdicts.items() if path.exists()}
        return replace(said(wrong), files=files, points=proven)

    def _known(self, one: copies.Lying, recheck: timedelta, now: timedelta) -> _Verdict | None:
        past = self._verdicts.get(one.file)
        if past is None or now - past.at >= recheck:
            return None
        try:
            return past if past.look == (one.point.sha256, look(one.file)) else None
        except (OSError, Unfit):
            return None

    def _proven(self, one: copies.Lying, now: timedelta, pace: Pace) -> _Verdict | None:
        try:
            seen = look(one.file)
            why = copies.differs(one, pace)
        except FileNotFoundError:
            return None
        except Unfit as error:
            return _Verdict((one.point.sha256, (0, 0, 0, 0)), now, str(error))
        except OSError as error:
            return _Verdict((one.point.sha256, (0, 0, 0, 0)), now, f"is unreadable: {shown(str(error))}")
        self._verdicts[one.file] = _Verdict((one.point.sha256, seen), now, why)
        return self._verdicts[one.file]


# -------------------------------------------------------------------- put back


@dataclass(frozen=True, slots=True)
class Meant:
    """What can be had of files: which point takes the place of which file, and why others stay as they are."""

    points: Mapping[str, copies.Lying]
    same: tuple[str, ...]
    """Files that are what they were then."""
    stay: tuple[Trouble, ...]


def meant(root: Path, wanted: Wanted, at: datetime, since: int, only: str, pace: Pace) -> Meant:
    """Of every file that patterns match (or of `only` that one) the newest point from `at` or before. Raises Halt.

    One that is not what its manifest says is no point, and no older one takes its place.
    """
    patterns, stay = Patterns(wanted.files), list[Trouble]()
    of: dict[str, list[copies.Lying]] = {
        one.name: [] for one in matches(root, patterns, stay, pace) if only in ("", one.name)
    }
    for one in copies.lying(root, stay, only):
        name, counts = one.point.file, since <= one.point.epoch <= wanted.epoch and one.point.site is wanted.active
        if counts and only in ("", name) and patterns.match(unquoted(name)):
            of.setdefault(name, []).append(one)
    points: dict[str, copies.Lying] = {}
    same: list[str] = []
    for name in sorted(of):
        before = [one for one in of[name] if one.point.made_at <= at]
        last = max(before, key=lambda one: one.point.order, default=None)
        try:
            why = _cannot(root, name, last, of[name], pace)
            if last is not None and not why:
                path = root / unquoted(name)
                if os.path.lexists(path) and _is(path, last.point, pace):
                    same.append(name)
                else:
                    points[name] = last
        except (Unfit, OSError, ValueError) as error:
            why = shown(str(error))
        if why:
            stay.append(Trouble(file=name, text=why))
    return Meant(points, tuple(same), tuple(stay))


def _cannot(root: Path, name: str, last: copies.Lying | None, of: list[copies.Lying], pace: Pace) -> str:
    """Why a file stays as it is. Raises OSError, ValueError, Halt."""
    if last is None:
        first = min((one.point.made_at for one in of), default=None)
        return (
            f"its points begin at {first:%Y-%m-%d %H:%M:%S} UTC" if first is not None else "there is no point of it"
        )
    try:
        path = inside(root, unquoted(name))
    except FileNotFoundError:  # its folder is gone: nothing is in the way
        path = None
    if shelf.folder(root, name).is_dir():
        return "it is or was a database, which has points of its own"
    if path is not None:
        if os.path.lexists(path):
            look(path)
        if why := sqlite.of_database(path):
            return why
    try:
        why = copies.differs(last, pace)
    except FileNotFoundError:
        why = "has no copy beside its manifest"
    return f"its point of {last.point.made_at:%Y-%m-%d %H:%M:%S} UTC {why}" if why else ""


def _is(path: Path, point: FilePoint, pace: Pace) -> bool:
    seen = path.lstat()
    alike = (seen.st_size, stat.S_IMODE(seen.st_mode) & 0o777) == (point.size, point.mode)
    return alike and hashed(path, pace) == point.sha256


def without(found: Meant, names: Iterable[str]) -> Meant:
    """The same where these names are databases to be put back: two things never take one place.

    Nor do a file and what lies in a folder of its name, which it was at another moment.
    """
    taken = set(names)
    left = {name: one for name, one in found.points.items() if name not in taken}
    there = taken | left.keys()
    pairs = [(one, str(folder)) for one in there for folder in PurePosixPath(one).parents if str(folder) in there]
    odd = {name for pair in pairs for name in pair if name in left}
    stay = [one for one in found.stay if one.file not in taken]
    stay += [
        Trouble(file=name, text="a folder of that name, or of a file on the way, is put back too") for name in odd
    ]
    return replace(found, points={name: left[name] for name in left.keys() - odd}, stay=tuple(stay))
