"""Where restore points lie in a volume, and their manifests.

`.failoverd/points/DATABASE/EPOCH-SERIAL-SITE.sqlite`, beside it a manifest `.json`; those of ordinary files lie below
`.failoverd/files` (`copies`). A point is one whose manifest is there and true: the manifest is written last and
removed first, so neither a killed guard nor a replication that has brought half of it can leave something that looks
like a point and is none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from failoverd.core.names import GUARD_FOLDER
from failoverd.core.points import POINTS_SCHEMA, Ailment, Point, Sickness
from failoverd.guard.files import quoted, shown, sync_folder, temporary, unquoted, write_whole

SUFFIXES = (".sqlite", ".copy")
"""Of a point of a database, and of an ordinary file."""
MANIFEST_LIMIT = 64 * 1024
"""Bytes; ours have about 500."""

_POINT: TypeAdapter[Point] = TypeAdapter(Point)


class Dated(Protocol):
    """What any point says of itself."""

    @property
    def order(self) -> tuple[int, int]:
        """What points are ordered by."""

    @property
    def made_at(self) -> datetime:
        """When it was made."""

    @property
    def size(self) -> int:
        """Bytes."""


class Lies(Protocol):
    """Any point where it lies, of a database or of an ordinary file."""

    @property
    def point(self) -> Dated:
        """What its manifest says."""

    @property
    def file(self) -> Path:
        """The copy."""

    @property
    def manifest(self) -> Path:
        """Beside it."""


@dataclass(frozen=True, slots=True)
class Lying:
    """A point of a database where it lies."""

    point: Point
    file: Path
    manifest: Path


def place(root: Path) -> Path:
    """Where all points of databases of a volume lie."""
    return root / GUARD_FOLDER / "points"


def files_place(root: Path) -> Path:
    """Where those of its ordinary files lie: apart, so that no guard, even an old one, takes them for databases."""
    return root / GUARD_FOLDER / "files"


def taken(root: Path) -> int:
    """Bytes of all points of a volume. Raises OSError."""
    found = [file for folder in entries(place(root)) for file in entries(folder)]
    with contextlib.suppress(OSError):  # what goes wrong with those of files is said with them
        found += [file for folder in entries(files_place(root)) for file in entries(folder)]
    return sum(file.lstat().st_size for file in found if file.suffix in SUFFIXES)


def folder(root: Path, database: str) -> Path:
    """Where the points of a database (a quoted path) lie."""
    return place(root) / called(database)


def called(name: str) -> str:
    """How the folder of points of that (a quoted path) is called: people recognise it, and no two share it."""
    tail = re.sub(r"[^A-Za-z0-9._-]", "_", name.rsplit("/", 1)[-1])[:40]
    return f"{tail}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def file_of(root: Path, point: Point) -> Path:
    """The point's copy of the database."""
    return folder(root, point.database) / f"{point.epoch:08d}-{point.serial:08d}-{point.site}.sqlite"


def put(root: Path, point: Point, pace: Callable[[], None]) -> None:
    """Make a point of a copy that is on disk under its temporary name. Raises OSError."""
    settle(file_of(root, point), _POINT.dump_json(point, indent=1).decode(), pace)


def settle(file: Path, manifest: str, pace: Callable[[], None]) -> None:
    """The same with the text of its manifest, which comes last. Raises OSError."""
    temporary(file).rename(file)
    sync_folder(file.parent)
    pace()
    write_whole(file.with_suffix(".json"), manifest + "\n")


def in_turn(points: list[Lying], as_of: datetime | None) -> list[Lying]:
    """Points of one database and epoch, the one to take first: the newest, or the oldest that holds all of `as_of`.

    A point holds everything until the next one, or its successor, says that something changed; of the newest here
    whoever names `as_of` knows that it does. Older ones, which lack something of that moment, come last.
    """
    rising = sorted(points, key=lambda one: one.point.order)
    if as_of is None:
        return rising[::-1]
    first = next((n for n, one in enumerate(rising) if _holds(one.point, rising[n + 1 :], as_of)), 0)
    return [*rising[first:], *rising[:first][::-1]]


def _holds(point: Point, later: list[Lying], as_of: datetime) -> bool:
    if not later or point.made_at >= as_of:
        return True
    after = later[0].point
    return after.serial == point.serial + 1 and after.last_held is not None and after.last_held >= as_of


def drop(manifest: Path, file: Path) -> None:
    """Remove a point, its manifest first. Raises OSError."""
    manifest.unlink(missing_ok=True)
    sync_folder(manifest.parent)
    file.unlink(missing_ok=True)


def sweep(where: Path) -> None:
    """Remove what a killed guard left in a folder of points: copies under a temporary name or without a manifest."""
    for entry in entries(where):
        orphan = entry.suffix in SUFFIXES and not entry.with_suffix(".json").exists()
        if orphan or entry.name.startswith(TEMPORARY_HERE):
            entry.unlink(missing_ok=True)


TEMPORARY_HERE = ".syncthing.0"
"""How our own temporary names begin here: an epoch has 8 digits, and no cluster reaches a ten millionth move."""


def lying(root: Path, wrong: list[Sickness], database: str = "") -> Iterator[Lying]:
    """Every point of a volume, or of one database, in no order; manifests not to be believed are added to `wrong`."""
    for manifest in manifests([folder(root, database)] if database else entries(place(root))):
        found = _read(root, manifest)
        if isinstance(found, Sickness):
            wrong.append(found)
        else:
            yield found


def manifests(folders: Iterable[Path]) -> Iterator[Path]:
    """Every manifest in these folders."""
    for where in folders:
        for manifest in entries(where):
            if manifest.suffix == ".json" and not manifest.name.startswith("."):
                yield manifest


def text_of(manifest: Path) -> bytes:
    """What stands in a manifest; links are not followed. Raises OSError."""
    handle = os.open(manifest, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as opened:
        return opened.read(MANIFEST_LIMIT)


def _read(root: Path, manifest: Path) -> Lying | Sickness:
    where = quoted(str(manifest.relative_to(root)))
    try:
        point = _POINT.validate_json(text_of(manifest), strict=True)
        if point.schema > POINTS_SCHEMA:
            return Sickness(database=where, ailment=Ailment.MISMATCH, text="written by a newer failoverd: run that")
        unquoted(point.database)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the manifest"
        return Sickness(database=where, ailment=Ailment.MISMATCH, text=f"{key}: {first['msg']}")
    except (OSError, ValueError) as error:
        return Sickness(database=where, ailment=Ailment.UNREADABLE, text=shown(str(error)))
    file = file_of(root, point)
    if point.made_at.tzinfo is None or file.with_suffix(".json") != manifest:
        text = "it stands where the manifest of another point belongs"
        return Sickness(database=point.database, ailment=Ailment.MISMATCH, text=text)
    return Lying(point, file, manifest)


def entries(where: Path) -> list[Path]:
    """What is in a folder that is no link; nothing where there is none."""
    try:
        if where.is_symlink():
            return []
        return sorted(where.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
