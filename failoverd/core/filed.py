"""Restore points of ordinary files: what one says of itself, and what guards say of them.

They are kept apart from those of databases, in the volume and here: a file has no say in a data age, nor in what a
failover starts an app from. Paths are written as in `points`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from failoverd.core.rules import Site

FILES_SCHEMA = 1
"""Of manifests of files; a reader refuses a higher one."""
NAMED = 20
"""Troubles that are named, and files that are; the rest is counted: what guards say must stay small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePoint:
    """One copy of one ordinary file: the content of its manifest. Ordered by (`epoch`, `serial`)."""

    file: str
    site: Site
    epoch: int
    serial: int
    made_at: datetime
    """Just before it was read, by the API server's clock."""
    size: int
    sha256: str
    mode: int
    """Permission bits of the file."""
    kind: Literal["file"] = "file"
    """What it is: whoever reads it for a database's finds no database in it."""
    schema: int = FILES_SCHEMA

    @property
    def order(self) -> tuple[int, int]:
        """What points are ordered by, never a time."""
        return self.epoch, self.serial


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One file of which there is no new point, or whose point is not what its manifest says."""

    file: str
    """Empty: it is about all of them."""
    text: str

    def __str__(self) -> str:
        return f"{self.file}: {self.text}" if self.file else self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Filed:
    """What a guard says of the files at one copy."""

    made: int = 0
    """Points that it made since it began: another number, another point to be replicated."""
    files: int = 0
    """Files that match and get points; at the standby those of which points have come."""
    points: int = 0
    """Of these, how many have a point; at the standby one that is what its manifest says."""
    oldest: datetime | None = None
    """When the oldest point that is kept was made, of any file."""
    since: datetime | None = None
    """From when on every file can be put back as of any moment; None where one has no point yet."""
    lying: int = 0
    """Files that lie there for all of this: copies and manifests, which are none of the app's."""
    troubles: tuple[Trouble, ...] = ()
    unnamed: int = 0
    """Troubles beyond those that are named."""


def listed(names: list[str]) -> str:
    """The first of them by name, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
