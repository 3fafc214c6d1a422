"""Which versions are fetched back for one file. A database is never fetched without what belongs to it, nor beside a
`-wal` or `-journal` of another one: SQLite would play that into it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from failoverd.adapters.syncthing.parse import Kept, Malformed
from failoverd.core.memory import Version
from failoverd.core.names import GUARD_FOLDER

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
        those = of.get(path + part, [])
        near = [one for one in those if abs(moment(one.at) - moment(first.at)) <= TOGETHER]
        if len(near) > 1:
            return f"{len(near)} versions of {path}{part} were put aside about then: which belongs to it is not known"
        if not near and those:
            return f"versions of {path}{part} are kept, and none was put aside about then: it would not be whole"
        if not near and path + part in live:
            return f"{path}{part} lies there, and would be played into what is fetched"
        chosen += near
    return tuple(Version(path=one.path, at=one.at, modified=one.modified, size=one.size) for one in chosen)
