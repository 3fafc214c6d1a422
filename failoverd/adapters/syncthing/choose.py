"""Which versions are fetched back for one file. A database is never fetched without what belongs to it, nor beside a
`-wal` or `-journal` of another one: SQLite would play that into it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

from failoverd.adapters.syncthing.calls import Refused
from failoverd.adapters.syncthing.parse import Kept, Malformed
from failoverd.core.memory import Version
from failoverd.core.names import GUARD_FOLDER
from failoverd.core.stock import move_of

PLAYED = ("-wal", "-journal")
"""What SQLite plays into the database it lies beside."""
PARTS = (*PLAYED, "-shm")
TOGETHER = timedelta(minutes=1)
"""So far apart the parts of one database may have been put aside: each was pulled, or reverted, by itself."""


def moment(text: str) -> datetime:
    """A time as Syncthing writes it, to the second. Raises Malformed."""
    try:
        found = datetime.fromisoformat(re.sub(r"\.\d+", "", text))
    except ValueError:
        raise Malformed(f"'{text}' is no time") from None
    if found.tzinfo is None:
        raise Malformed(f"'{text}' is a time without a zone")
    return found


def same(text: str, other: str) -> bool:
    """Whether two of Syncthing's times are of the same second. Raises Malformed."""
    return moment(text) == moment(other)


def refused(path: str) -> str:
    """Why this file is none that is fetched by itself; empty for any other."""
    for part in PARTS:
        if path.endswith(part) and path != part:
            return f"{path} belongs to a database: restore {path.removesuffix(part)}, and it comes with it"
    if path == GUARD_FOLDER or path.startswith(f"{GUARD_FOLDER}/"):
        return f"{path} is the guard's own, and of no use to the app there"
    return ""


def choose(path: str, at: datetime | None, kept: Iterable[Kept], live: Collection[str]) -> tuple[Version, ...] | str:
    """The versions to fetch, or why there are none. `live`: which of the parts of `path` lie beside it now.

    Raises Malformed.
    """
    of: dict[str, list[Kept]] = {}
    for one in kept:
        of.setdefault(one.path, []).append(one)
    wanted = [one for one in of.get(path, ()) if at is None or moment(one.at) == at.replace(microsecond=0)]
    if not wanted:
        return f"no version of {path}" + (f" was put aside at {at:%Y-%m-%d %H:%M:%S} UTC" if at else " is kept")
    first = max(wanted, key=lambda one: moment(one.at))
    chosen = [first]
    for part in PLAYED:
        name = path + part
        those = [*of.get(name, ()), *_set_aside(of, name)]
        near = [one for one in those if _together(one, first)]
        if len(near) > 1:
            return f"{len(near)} versions of {name} were put aside about then: which belongs to it is not known"
        if not near and those:
            return f"versions of {name} are kept, and none was put aside about then: it would not be whole"
        if near and near[0].path != name:
            return f"its {part} was put aside by the guard, as {near[0].path}: it would not be whole"
        if not near and name in live:
            return f"{name} lies there, and would be played into what is fetched"
        chosen += near
    others = [one for one in of[path] if one is not first and any(_together(one, part) for part in chosen)]
    if len(chosen) > 1 and others:
        return (
            f"{1 + len(others)} versions of {path} were put aside about then: which its parts belong to is not known"
        )
    return tuple(Version(path=one.path, at=one.at, modified=one.modified, size=one.size) for one in chosen)


def _together(one: Kept, other: Kept) -> bool:
    return abs(moment(one.at) - moment(other.at)) <= TOGETHER


def _set_aside(of: Mapping[str, list[Kept]], name: str) -> list[Kept]:
    """What the guard had moved away under this name before it became a version: of which folder is not said."""
    last = f"/{name.rpartition('/')[2]}"
    return [one for path, those in of.items() if move_of(path) and path.endswith(last) for one in those]


def like(found: Version | None, wanted: Version) -> bool:
    """Whether what lies there is of the size and the second of `wanted`. Raises Malformed."""
    return found is not None and found.size == wanted.size and same(found.modified, wanted.modified)


def listed(wanted: Version, kept: Iterable[Kept]) -> bool:
    """Whether this very version is kept still. Raises Malformed."""
    return any(one.path == wanted.path and same(one.at, wanted.at) for one in kept)


def newest(wanted: Version, kept: Iterable[Kept]) -> str:
    """The time to ask for it by: its own, or that at which what was in it was put aside last. Raises Refused."""
    those = [one for one in kept if one.path == wanted.path and one.size == wanted.size]
    alike = [one for one in those if same(one.modified, wanted.modified)]
    if not alike:
        raise Refused(f"the version of {wanted.path} is gone")
    return max(alike, key=lambda one: (bool(wanted.at) and same(one.at, wanted.at), one.at)).at
