"""SQLite from outside: what a file's first bytes say, a consistent copy of a live database, whether a copy opens.

Two rules of this file. No file of a live database is opened here while a connection of ours to it is open: closing
any handle of a file drops all POSIX locks this process has on it, SQLite's included. And a live database is never
opened in a way that could change what is in it: read only, except where it is in WAL mode and at rest (no `-wal`):
only a connection that may write takes its own empty `-wal` away again (measured: opened read only, it leaves one).
"""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes

from failoverd.clock import spent
from failoverd.core.points import Ailment

MAGIC = b"SQLite format 3\0"
SIDECARS = ("-wal", "-shm", "-journal")
"""What belongs to a database and to no other."""
LOCK_WAIT = 2.0
"""Seconds to wait for a lock of the app before saying so; a transaction holds it for milliseconds. Under a writer in
rollback mode that never rests 3 of 150 copies found no gap in 1 s."""
STEP = 256
"""Pages copied between two looks at the pace: 1 MiB at SQLite's usual 4 KiB."""
AT_ONCE = 32 * 1024 * 1024
"""Bytes of a database in rollback mode that are copied under one lock. The app's writers wait for it: 0.3 to 0.4 s
measured at 32 MB on a machine busy with other work, 0.3 to 0.5 s at 65 MB; SQLite's usual patience is 5 s. Larger
ones are copied piece by piece, and begun anew whenever the app writes in between."""
RESTARTS = 5
HARMLESS = ("CHECK constraint failed in ", "NULL value in ")
"""Rows of the check about the app's own rules, not about the file."""

Step = Callable[[], None]


class Sick(Exception):
    """A database that cannot be copied, or a copy that does not open; the text says why."""

    def __init__(self, ailment: Ailment, text: str) -> None:
        super().__init__(text)
        self.ailment = ailment


@dataclass(frozen=True, slots=True)
class Header:
    """What the first 100 bytes say. `counter` is the file change counter (offset 24)."""

    wal: bool
    counter: int


@dataclass(frozen=True, slots=True)
class State:
    """What changes when a database changes: equal states, equal content.

    In WAL mode the index in `-shm` counts transactions (`changes`) and every commit extends or restarts the WAL; in
    rollback mode the header's counter moves. Sizes and times of both files cover whoever writes them by other means.
    """

    files: tuple[tuple[int, ...], ...]
    counter: int
    changes: int
    index: bytes


def header(path: Path) -> Header | None:
    """What a file says of itself; None for one that is no database. Raises OSError."""
    raw = _first(path, 100)
    if len(raw) < 100 or not raw.startswith(MAGIC):
        return None
    return Header(wal=raw[19] == 2, counter=struct.unpack(">I", raw[24:28])[0])


def beside(path: Path) -> str:
    """What of a database lies beside a place, in words; empty where nothing does."""
    part = next((part for part in SIDECARS if os.path.lexists(f"{path}{part}")), "")
    return part and f"a {part} lies beside it, as of a database"


def of_database(path: Path) -> str:
    """Why this place is a database's, and no ordinary file's; empty where nothing says so. Raises OSError."""
    return beside(path) or ("it is a database" if os.path.lexists(path) and header(path) is not None else "")


def state(path: Path) -> State:
    """What `path` and its WAL look like now. Raises OSError; Sick for a file that is no database."""
    found = header(path)
    if found is None:
        raise Sick(Ailment.NOT_A_DATABASE, "its first bytes are not SQLite's: encrypted, or overwritten")
    files = []
    for suffix in ("", "-wal"):
        try:
            look = Path(f"{path}{suffix}").stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        files.append((look.st_ino, look.st_size, look.st_mtime_ns, look.st_ctime_ns))
    index = b""
    if found.wal and len(files) > 1:
        try:
            index = _first(Path(f"{path}-shm"), 96)
        except FileNotFoundError:
            index = b""
    # The index has two copies of its head; they differ while it is being written.
    whole = len(index) == 96 and index[:48] == index[48:]
    changes = struct.unpack("=I", index[8:12])[0] if whole else 0
    return State(files=tuple(files), counter=found.counter, changes=changes, index=index)


def copy(source: Path, target: Path, wal: bool, size: int, pace: Step) -> None:
    """A consistent copy of a live database, as of one moment; not on disk yet.

    In WAL mode one read transaction spans it: the app writes on, and its WAL cannot begin anew until the copy is
    complete. In rollback mode a read transaction would hold up every writer, so it spans only `AT_ONCE`.
    Raises Sick, and whatever `pace` raises.
    """
    resting = wal and not os.path.lexists(f"{source}-wal")
    try:
        with closing(_connect(source, "mode=rw" if resting else "mode=ro")) as live:
            live.execute("PRAGMA query_only=ON")
            if wal:
                live.execute("BEGIN")
                live.execute("PRAGMA schema_version").fetchone()
            with closing(_connect(target, "mode=rwc")) as made:
                # Nothing of the copy counts before it is whole and on disk, which is the caller's business.
                made.execute("PRAGMA journal_mode=OFF")
                made.execute("PRAGMA synchronous=OFF")
                at_once = not wal and size <= AT_ONCE
                live.backup(made, pages=-1 if at_once else STEP, progress=_Progress(pace, at_once), sleep=0.05)
    except sqlite3.Error as error:
        sick = _sick(error)
        if sick.ailment is Ailment.INTERRUPTED and not os.path.lexists(f"{source}-journal"):
            # SQLite takes a journal that is deleted while it looks for one that a crash left.
            sick = Sick(Ailment.LOCKED, "a transaction of the app ended just then")
        raise sick from None


def check(path: Path) -> None:
    """Whether a file that nobody writes opens: SQLite's quick check of all of it. Raises Sick."""
    _check(path, "mode=ro&immutable=1")


def check_set(path: Path) -> None:
    """The same of a private copy of database, `-wal` and `-journal`, which are merged by this. Raises Sick."""
    _check(path, "mode=rw")


class _Progress:
    """Called by SQLite after each step of a copy."""

    def __init__(self, pace: Step, unpaced: bool) -> None:
        self._pace = pace
        self._unpaced = unpaced
        self._began = spent().mono
        self._left = -1
        self._restarts = 0

    def __call__(self, status: int, remaining: int, total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            if spent().mono - self._began > LOCK_WAIT:
                raise Sick(Ailment.LOCKED, f"locked by the app for longer than {LOCK_WAIT:g} s")
            return
        # A copy begun anew has as many pages left after its first step as the one before had, or more.
        if 0 <= self._left <= remaining:
            self._restarts += 1
            if self._restarts > RESTARTS:
                raise Sick(
                    Ailment.CHANGING,
                    f"changed {self._restarts} times while its {total} pages were copied (rollback mode; in WAL mode "
                    "it would be copied beside its writers)",
                )
        self._left = remaining
        if not self._unpaced:
            self._pace()


def _check(path: Path, how: str) -> None:
    try:
        with closing(_connect(path, how)) as opened:
            rows = [str(row[0]) for row in opened.execute("PRAGMA quick_check")]
    except sqlite3.Error as error:
        raise _sick(error) from None
    wrong = [row for row in rows if row != "ok" and not row.startswith(HARMLESS)]
    if wrong:
        raise Sick(Ailment.CORRUPT, " ".join(wrong[0].split()))


def _connect(path: Path, how: str) -> sqlite3.Connection:
    where = f"file:{quote_from_bytes(os.fsencode(path))}?{how}"
    return sqlite3.connect(where, uri=True, isolation_level=None, timeout=LOCK_WAIT)


def _sick(error: sqlite3.Error) -> Sick:
    name = getattr(error, "sqlite_errorname", "")
    text = " ".join(str(error).split())
    for prefix, ailment in (
        ("SQLITE_BUSY", Ailment.LOCKED),
        ("SQLITE_LOCKED", Ailment.LOCKED),
        ("SQLITE_NOTADB", Ailment.NOT_A_DATABASE),
        ("SQLITE_CORRUPT", Ailment.CORRUPT),
        ("SQLITE_FULL", Ailment.NO_ROOM),
        ("SQLITE_READONLY_ROLLBACK", Ailment.INTERRUPTED),
        ("SQLITE_ERROR", Ailment.UNCHECKED),
    ):
        if name.startswith(prefix):
            if ailment is Ailment.INTERRUPTED:
                text = "a crash left a transaction half written; the app rolls it back when it opens the database"
            return Sick(ailment, text)
    return Sick(Ailment.UNREADABLE, f"{text} ({name})" if name else text)


def _first(path: Path, count: int) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.read(handle, count)
    finally:
        os.close(handle)
