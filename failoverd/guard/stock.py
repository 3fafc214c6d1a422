"""What is kept in a volume beside the app's own files, looked at where it lies. Nothing here is ever changed.

Syncthing lists `.stversions` only while it versions, which is while a take-back goes on; later this is what knows.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

from failoverd.core.names import GUARD_FOLDER
from failoverd.core.stock import Aside, Lying, Stock, move_of, stock
from failoverd.guard import copies, shelf
from failoverd.guard.files import quoted, shown, unquoted
from failoverd.guard.journal import journal_at

NAMED = 40
"""Of every kind that are named: the cluster's object must stay small."""
VERSIONS = ".stversions"
_TAGGED = re.compile(r"(?P<name>.*)~(?P<tag>\d{8}-\d{6})(?P<rest>(?:\.[^./]*)?)", re.DOTALL)
"""How Syncthing's versioner writes the moment into a name: before its last extension."""


def look(root: Path, at: datetime, pace: Callable[[], None]) -> Stock:
    """All that is kept in the volume. What cannot be read is said, and makes the numbers too small; never raises
    but what `pace` raises."""
    troubles: list[str] = []

    def found() -> Iterator[Aside]:
        yield from _versions(root, troubles, pace)
        yield from _sets(root, troubles, pace)
        yield from _points(root, troubles, pace)

    listed = stock(found(), at, NAMED)
    if not troubles:
        return listed
    more = f" (and {len(troubles) - 1} more)" if len(troubles) > 1 else ""
    return Stock(at=at, counts=listed.counts, newest=listed.newest, trouble=troubles[0] + more)


def _versions(root: Path, troubles: list[str], pace: Callable[[], None]) -> Iterator[Aside]:
    for path, seen in _files(root / VERSIONS, troubles, pace):
        lies = str(path.relative_to(root))
        name, at = untagged(str(path.relative_to(root / VERSIONS)))
        yield Aside(
            kind=Lying.VERSION,
            path=quoted(name),
            lies=quoted(lies),
            at=at or _moment(seen.st_mtime),
            size=seen.st_size,
            move=unquote(move_of(name)),
        )


def untagged(name: str) -> tuple[str, datetime | None]:
    """The name a version had, and when it was put aside; None where the name does not say.

    The mover's own clock and zone are in it, and VolSync's image is in UTC.
    """
    match = _TAGGED.fullmatch(name)
    if match is None:
        return name, None
    try:
        at = datetime.strptime(match["tag"], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:  # a name that only looks like one
        return name, None
    return match["name"] + match["rest"], at


def _sets(root: Path, troubles: list[str], pace: Callable[[], None]) -> Iterator[Aside]:
    moves = root / GUARD_FOLDER / "moves"
    for place in _entries(moves, troubles):
        names, move, at = _journals(place)
        for path, seen in _files(place, troubles, pace):
            slot = path.parent
            if slot.parent != place or not slot.name.isdigit():  # a journal, or nothing of ours
                continue
            yield Aside(
                kind=Lying.SET,
                path=names.get((slot.name, path.name), quoted(path.name)),
                lies=quoted(str(path.relative_to(root))),
                at=at or _moment(seen.st_ctime),
                size=seen.st_size,
                move=move or unquote(place.name),
            )


def _journals(place: Path) -> tuple[dict[tuple[str, str], str], str, datetime | None]:
    """What a move's journals say of its sets: (slot, name) -> the file it was; the move's id; when it was done."""
    names: dict[tuple[str, str], str] = {}
    move, at = "", None
    for path in _entries(place, []):
        if path.suffix != ".json" or path.name.startswith("."):
            continue
        found = journal_at(path)
        if found is None:
            continue
        move, at = found.move, _moment(path.lstat().st_mtime)
        for number, entry in enumerate(found.entries):
            with contextlib.suppress(ValueError):  # a path that leaves the volume: none of ours
                base = Path(unquoted(entry.database)).name
                names.update({(f"{number:04d}", base + part): entry.database + part for part in entry.had})
    return names, move, at


def _moment(seconds: float) -> datetime:
    """A file's time; one that no calendar has counts as long ago."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, UTC)


def _points(root: Path, troubles: list[str], pace: Callable[[], None]) -> Iterator[Aside]:
    try:
        # Manifests that are not to be believed are the guard's own affair: it says so when it makes or proves points.
        for one in shelf.lying(root, []):
            pace()
            yield _point(root, one.point.database, one)
        for each in copies.lying(root, []):
            pace()
            yield _point(root, each.point.file, each)
    except OSError as error:
        troubles.append(shown(str(error)))


def _point(root: Path, of: str, one: shelf.Lies) -> Aside:
    lies = quoted(str(one.file.relative_to(root)))
    return Aside(kind=Lying.POINT, path=of, lies=lies, at=one.point.made_at, size=one.point.size)


def _files(where: Path, troubles: list[str], pace: Callable[[], None]) -> Iterator[tuple[Path, os.stat_result]]:
    """Every regular file below a folder; links are not followed."""
    for path in _entries(where, troubles):
        pace()
        try:
            seen = path.lstat()
        except FileNotFoundError:  # gone meanwhile
            continue
        except OSError as error:
            troubles.append(shown(str(error)))
            continue
        if stat.S_ISDIR(seen.st_mode):
            yield from _files(path, troubles, pace)
        elif stat.S_ISREG(seen.st_mode):
            yield path, seen


def _entries(where: Path, troubles: list[str]) -> list[Path]:
    try:
        return [] if where.is_symlink() else sorted(where.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        troubles.append(shown(str(error)))
        return []
