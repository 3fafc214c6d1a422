"""What lies in a volume beside the app's own files: what was displaced there and is kept, and restore points.

Paths are written as in `points`: relative to the volume's root, percent-encoded byte by byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from heapq import nlargest

from failoverd.core.names import GUARD_FOLDER

STOCK_SCHEMA = 1
"""Of a written list; a reader refuses a higher one."""


class Lying(StrEnum):
    """How something came to lie there."""

    VERSION = "version"
    """Put aside by Syncthing in `.stversions`, when a take-back displaced it."""
    SET = "set"
    """Moved to `.failoverd/moves` when a database was placed."""
    POINT = "point"
    """A restore point of a database or file. One kind, for a daemon of before would not read a list with another."""


_OF_A_MOVE = re.compile(rf"{re.escape(GUARD_FOLDER)}/moves/([^/]+)/.*", re.DOTALL)
"""What a take-back had put aside as a set, and then carried to the versions."""
DISPLACED = (Lying.VERSION, Lying.SET)
"""What an app's own files have become; a point is a copy and displaces nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """One file that is kept."""

    kind: Lying
    path: str
    """The file it was: for a version and a set the one it was displaced from, for a point what it is of."""
    lies: str = ""
    """Where it lies now; empty where Syncthing alone knows."""
    at: datetime
    """When it was put aside; of a point, just before it was made."""
    size: int
    """Bytes."""
    move: str = ""
    """The move that placed a database there, where one did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How much there is of one kind."""

    kind: Lying
    files: int
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """All that is kept in one copy of a volume: numbers, and the newest of every kind by name."""

    at: datetime
    """When it was looked at, by the API server's clock."""
    counts: tuple[Count, ...] = ()
    newest: tuple[Aside, ...] = ()
    """Newest first; older ones are only counted."""
    trouble: str = ""
    """What could not be looked at: then the numbers are too small."""
    schema: int = STOCK_SCHEMA

    @property
    def displaced(self) -> int:
        """Bytes of what was displaced."""
        return sum(one.size for one in self.counts if one.kind in DISPLACED)

    def of(self, kind: Lying) -> Count:
        """How much there is of `kind`."""
        return next((one for one in self.counts if one.kind is kind), Count(kind=kind, files=0, size=0))

    def named(self, kind: Lying) -> tuple[Aside, ...]:
        """What is named of `kind`, newest first."""
        return tuple(one for one in self.newest if one.kind is kind)


def move_of(path: str) -> str:
    """The name of the move that a file of the guard's belongs to, by where it lay (the folder's: percent-encoded);
    empty for any other."""
    found = _OF_A_MOVE.fullmatch(path)
    return found[1] if found else ""


def shorter(long: Stock, most: int) -> Stock:
    """The same with no more than the newest `most` of every kind named."""
    return replace(long, newest=tuple(one for kind in Lying for one in long.named(kind)[:most]))


def stock(found: Iterable[Aside], at: datetime, most: int, trouble: str = "") -> Stock:
    """All of `found` counted, and the newest `most` of every kind named."""
    counts: dict[Lying, tuple[int, int]] = {}
    named: dict[Lying, list[Aside]] = {}
    for one in found:
        files, size = counts.get(one.kind, (0, 0))
        counts[one.kind] = files + 1, size + one.size
        kept = named.setdefault(one.kind, [])
        kept.append(one)
        if len(kept) > 2 * most:  # a disk may hold millions
            kept[:] = nlargest(most, kept, key=_newer)
    newest = sorted((one for kept in named.values() for one in nlargest(most, kept, key=_newer)), key=_newer)
    return Stock(
        at=at,
        counts=tuple(Count(kind=kind, files=files, size=size) for kind, (files, size) in sorted(counts.items())),
        newest=tuple(reversed(newest)),
        trouble=trouble,
    )


def _newer(one: Aside) -> tuple[datetime, str, str]:
    return one.at, one.path, one.lies
