"""What a move places at a site, as it is written down beside it before anything is renamed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from failoverd.core.points import Sickness
from failoverd.core.rules import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One database to be placed. Paths are quoted; `had` lists the parts there were when this was planned."""

    database: str
    point: str
    """The copy that it is made of; empty: it was laid beside its database when this was planned."""
    sha256: str
    size: int
    mode: int
    had: tuple[str, ...]
    salt: str = ""
    frame: int = 0
    """Where the WAL was when the point was made, as its manifest says."""
    ahead: int | None = None
    """Transactions that the displaced database had beyond the point that was placed where its app went on."""


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
    compared: bool = False
    """Whether what makes room was compared with what the app went on with at the other side."""


JOURNAL: TypeAdapter[Journal] = TypeAdapter(Journal)


def journal_at(path: Path) -> Journal | None:
    """The journal in a file, for whoever only looks; None where it is none."""
    try:
        return JOURNAL.validate_json(path.read_bytes(), strict=True)
    except (OSError, ValidationError):
        return None
