"""Syncthing's index: entries with version vectors, and which of two entries wins (rules of the 1.x line)."""

from __future__ import annotations

from dataclasses import dataclass

from failoverd.simulator.world_data import Content

Vector = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What one side's index says of one path."""

    path: str
    version: Vector
    content: Content | None
    """None for a deleted file."""
    changed_ms: int
    sequence: int
    local: bool = False
    """A change made on a `receiveonly` side: counted there, never offered to the peer."""


def bump(version: Vector, device: str) -> Vector:
    """`version` after a change on `device`."""
    counters = dict(version)
    counters[device] = max(counters.values(), default=0) + 1
    return tuple(sorted(counters.items()))


def merge(one: Vector, other: Vector) -> Vector:
    """The least version that follows both."""
    counters = dict(one)
    for device, value in other:
        counters[device] = max(value, counters.get(device, 0))
    return tuple(sorted(counters.items()))


def follows(one: Vector, other: Vector) -> bool:
    """Whether `one` is `other` or a descendant of it."""
    counters = dict(one)
    return all(counters.get(device, 0) >= value for device, value in other)


def conflict(one: Entry, other: Entry) -> bool:
    """Whether neither follows the other."""
    return not follows(one.version, other.version) and not follows(other.version, one.version)


def beats(one: Entry, other: Entry) -> bool:
    """Whether `one` is the version everybody should have: later by its vector, else a change beats a
    deletion,
    else the newer time, else the vector that sorts higher."""
    if one.version == other.version:
        return False
    if not conflict(one, other):
        return follows(one.version, other.version)
    if (one.content is None) is not (other.content is None):
        return one.content is not None
    if one.changed_ms != other.changed_ms:
        return one.changed_ms > other.changed_ms
    return one.version > other.version
