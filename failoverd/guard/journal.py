"""What a move places at a site, as it is written down beside it before anything is renamed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from failoverd.core.points import Sickness
from failoverd.core.rules import Site
from failoverd.guard import sqlite
from failoverd.guard.files import unquoted

PARTS = ("", *sqlite.SIDECARS)
"""A database and what belongs to it, in the order in which they are moved aside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One database to be placed, or one ordinary file. Paths are quoted; `had` lists the parts there were when this
    was planned."""

    database: str
    point: str
    """The copy that it is made of; empty: it was laid beside its database when this was planned."""
    sha256: str
    """Of that copy; empty where the database is moved aside and nothing takes its place."""
    size: int
    mode: int
    had: tuple[str, ...]
    salt: str = ""
    frame: int = 0
    """Where the WAL was when the point was made, as its manifest says."""
    lost: bool = False
    """Whether a database of the lost side makes room for it, or has been moved aside before."""
    ahead: int | None = None
    """Transactions that the displaced database had beyond the point that was placed where its app went on."""
    file: bool = False
    """Whether it is an ordinary file: what is named as if it belonged to it is another file, and stays."""

    @property
    def parts(self) -> tuple[str, ...]:
        """What would have to make room for it, by the end of the name."""
        return PARTS[:1] if self.file else PARTS

    def there(self, path: Path) -> tuple[str, ...]:
        """Those that are there. Raises ValueError where an ordinary file would take, or lie beside, a database's."""
        if self.file and (why := sqlite.of_database(path)):
            raise ValueError(f"{self.database} is put back as an ordinary file, but {why}: move that away")
        return had(path, self.parts)


def had(path: Path, parts: tuple[str, ...] = PARTS) -> tuple[str, ...]:
    """Those of `parts` that are there."""
    return tuple(part for part in parts if os.path.lexists(f"{path}{part}"))


@dataclass(frozen=True, slots=True)
class Displaced:
    """A database as it lies elsewhere in the volume with what belongs to it, or an ordinary file."""

    path: Path
    file: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """What one move places at one site. Replication may carry it to the other site, where it means nothing."""

    move: str
    site: Site
    entries: tuple[Entry, ...]
    live: tuple[str, ...]
    sick: tuple[Sickness, ...] = ()
    """Live copies that do not open and have no point to take their place."""
    done: bool = False
    held: bool = False
    """Whether its copies are laid beside their databases only, and nothing may be moved aside yet."""
    told: str = ""
    """Of ordinary files: which are put back, and which are left as they are and why."""
    compared: bool = False
    """Whether what makes room was compared with what the app went on with at the other side."""

    @property
    def databases(self) -> tuple[str, ...]:
        """Those to be placed."""
        return tuple(entry.database for entry in self.entries if not entry.file)

    @property
    def files(self) -> tuple[str, ...]:
        """The ordinary files to be placed beside them."""
        return tuple(entry.database for entry in self.entries if entry.file)


JOURNAL: TypeAdapter[Journal] = TypeAdapter(Journal)


def journal_at(path: Path) -> Journal | None:
    """The journal in a file, for whoever only looks; None where it is none."""
    try:
        return JOURNAL.validate_json(path.read_bytes(), strict=True)
    except (OSError, ValidationError):
        return None


def aside(folder: Path, journal: Journal, entry: Entry, part: str) -> Path:
    """Where a part of the database that makes room lies then, `folder` being that of its move."""
    return folder / f"{journal.entries.index(entry):04d}" / (Path(unquoted(entry.database)).name + part)


def moved_away(moves: Path, site: Site, database: str) -> Path | None:
    """Where the files of a database lie that was moved aside before its side received anything. Raises OSError."""
    for folder in sorted(moves.iterdir()) if moves.is_dir() else []:
        journal = journal_at(folder / f"{site}.json")
        for entry in journal.entries if journal is not None else ():
            if journal is not None and entry.database == database and not entry.sha256:
                where = aside(folder, journal, entry, "")
                if os.path.lexists(where):
                    return where
    return None
