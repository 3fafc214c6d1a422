"""Databases to be put back where the app lives: what a guard is asked for, and what it says can be had."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from failoverd.core.names import GUARD_FOLDER


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """Which databases are to be put back, and as of when or out of which set. Paths are written as in `points`."""

    at: datetime | None = None
    """As of the newest moment up to then; None: out of a set."""
    moved: str = ""
    """The folder below `.failoverd/moves`, as it is called on the disk: of a move, or one set of it (`MOVE/0000`)."""
    volume: str = ""
    """Of this volume alone; empty: of all of the app's."""
    database: str = ""
    """This one alone; empty: all of them."""
    since: int = 0
    """The epoch since which the app has lived where it does: points of earlier ones are of another past."""

    def __str__(self) -> str:
        what = self.database or "databases"
        if self.volume:
            what = f"{what} in {self.volume}"
        how = f"as of {self.at:%Y-%m-%d %H:%M:%S}" if self.at else f"from {GUARD_FOLDER}/moves/{self.moved}"
        return f"{what} {how}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """A guard's answer: what of it can be had in its volume."""

    recall: Recall
    """What it answers."""
    databases: tuple[str, ...] = ()
    """What would be put back; a set may lie in other volumes alone."""
    files: int = 0
    """Ordinary files that would be put back beside them."""
    moment: datetime | None = None
    """The newest moment that all of them can be had as of; None for a set."""
    oldest: datetime | None = None
    """The oldest moment that all of them can be had as of; likewise."""
    why: str = ""
    """Why it cannot be had, and what can instead; empty where it can."""
