"""Whether a process grows: judged by the least it weighs, for what it takes and gives back is no growth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

YOUNG = 30
"""Seconds in which a daemon still opens its first connections and sees everything once."""
FLAT = 8
"""MiB by which the least may rise. Stalls of the API server once left 16 behind; now their first ones leave three."""
LONG = 60
"""Seconds that it must have lived beyond that, to have a first and a last third to compare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """What a process held at a moment."""

    at: float
    """Seconds."""
    pid: int
    mib: float


def grown(samples: Sequence[Weighed]) -> float:
    """By how many MiB the least of the last third was above the least of the first, the most of all its lives.

    One life after the other, for a process that was killed begins anew; 0 where none was long enough to tell.
    """
    return max((_grown(list(life)) for _, life in groupby(samples, key=lambda one: one.pid)), default=0.0)


def _grown(life: list[Weighed]) -> float:
    begin, end = life[0].at + YOUNG, life[-1].at
    third = (end - begin) / 3
    first = [one.mib for one in life if begin <= one.at <= begin + third]
    last = [one.mib for one in life if one.at >= end - third]
    return min(last) - min(first) if end - begin >= LONG and first else 0.0
