"""Real databases and real writers for the tests of the guard."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote_from_bytes

from failoverd.core.model import Now
from failoverd.core.points import Duty, Wanted
from failoverd.core.rules import Site

T0 = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


class Clock:
    """The API server's time on the monotonic clock, and hours that a test lets pass."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.passed = timedelta(0)

    def __call__(self) -> Now:
        since = timedelta(seconds=time.monotonic() - self._began) + self.passed
        return Now(since, T0 + since)

    def pass_(self, **amount: float) -> None:
        self.passed += timedelta(**amount)


def wanted(**other: object) -> Wanted:
    base = {"duty": Duty.MAKE, "epoch": 3, "active": Site.PRIMARY, "interval": timedelta(seconds=5)}
    base |= {"share": 1.0, "io_share": 1.0}
    return Wanted(**{**base, **other})  # type: ignore[arg-type]


def uri(path: Path, how: str = "") -> str:
    return f"file:{quote_from_bytes(bytes(path))}{how}"


def connect(path: Path, how: str = "") -> sqlite3.Connection:
    return sqlite3.connect(uri(path, how), uri=True, isolation_level=None, timeout=5)


def database(path: Path, *, wal: bool = True, rows: int = 10, width: int = 100) -> Path:
    """A database with `rows` numbered rows of `width` bytes, closed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(connect(path)) as made:
        if wal:
            made.execute("PRAGMA journal_mode=WAL")
        made.execute("CREATE TABLE t(n INTEGER PRIMARY KEY, x BLOB NOT NULL)")
        made.execute("BEGIN")
        made.executemany("INSERT INTO t VALUES(?, randomblob(?))", [(n, width) for n in range(1, rows + 1)])
        made.execute("COMMIT")
    return path


def numbers(path: Path) -> list[int]:
    """The rows of a finished copy, read without writing anything beside it."""
    with closing(connect(path, "?mode=ro&immutable=1")) as opened:
        assert opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [n for (n,) in opened.execute("SELECT n FROM t ORDER BY n")]


WRITER = """
import sqlite3, sys, time
path, pause, width = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
c = sqlite3.connect(path, uri=True, isolation_level=None, timeout=20)
n = c.execute("SELECT coalesce(max(n), 0) FROM t").fetchone()[0]
print("ready", flush=True)
while True:
    n += 1
    c.execute("BEGIN IMMEDIATE")
    c.execute("INSERT INTO t VALUES(?, randomblob(?))", (n, width))
    c.execute("UPDATE t SET x = randomblob(?) WHERE n = ?", (width, n // 2))
    c.execute("COMMIT")
    print(n, flush=True)
    time.sleep(pause)
"""


class Writer:
    """A process that commits row after row, and what it said was committed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def committed(self) -> int:
        """Kill it as a power cut would; the last row that it knows to be committed."""
        self._process.kill()
        out, _ = self._process.communicate()
        lines = [line for line in out.splitlines() if line.isdecimal()]
        return int(lines[-1]) if lines else 0


@contextmanager
def writing(path: Path, pause: float = 0.0, width: int = 2000) -> Iterator[Writer]:
    """A writer in a process of its own for as long as the block lasts."""
    command = [sys.executable, "-c", WRITER, uri(path), str(pause), str(width)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield Writer(process)
        finally:
            process.kill()


def killed_after(count: int, act: Callable[[Callable[[], None]], bool]) -> bool:
    """`act` in a child that dies before its operation `count` + 1; False when it had ended before, and well.

    It calls what it is given before each operation, and says whether it ended well.
    """
    child = os.fork()
    if not child:
        calls = 0

        def still() -> None:
            nonlocal calls
            calls += 1
            if calls > count:
                os._exit(9)

        try:
            os._exit(0 if act(still) else 1)
        finally:
            os._exit(2)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9)
    return status == 9
