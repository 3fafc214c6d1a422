"""The lab's app: a writer whose every step can be counted. Runs inside a pod, standard library only.

Each volume carries a growing sequence number: in a SQLite table `t(n integer primary key, at real, host text,
payload blob)` for kind `sqlite`, in one small file a number for kind `files`. A timeline file per volume, on
the node's own disk and never replicated, says when this pod lived and what it had written: one JSON object a
line, `{t, host, app, pod, n, event}` with `t` in seconds of CLOCK_REALTIME and `event` one of

    start   the pod is up; `fresh: true` and "created fresh" where it found no data, `check` for databases
    write   a second in which something was written, `n` is the last number committed
    idle    a second of a pause: nothing was written, but this pod lived and could have
    broken  the data it found does not open (`error`); the pod exits with 1
    stop    the last line, after SIGTERM

Settings come from the environment, see `Settings`.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Protocol

CHECK_LIMIT_BYTES = 64 * 1024 * 1024
"""Databases above this size are not checked at start: the check would cost more than the start itself."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the pod is told through its environment."""

    app: str
    host: str
    pod: str
    volumes: tuple[tuple[str, Path, str], ...]
    """(name, directory, kind) of each volume; `VOLUMES=data:/config:sqlite,media:/media:files`."""
    timeline: Path
    port: int = 8989
    rate: float = 20.0
    """Transactions a second while writing (`RATE`)."""
    burst: float = 5.0
    """Seconds of writing (`BURST`)."""
    pause: float = 10.0
    """Seconds of silence after each burst (`PAUSE`); 0 writes without pauses."""
    payload: int = 512
    """Bytes of random data a transaction (`PAYLOAD`)."""
    preload_mb: int = 0
    """Size to which a fresh database is filled before it is used (`PRELOAD_MB`)."""
    journal: str = "wal"
    """SQLite's journal mode (`JOURNAL`)."""
    uid: int = 0
    """The user the writer becomes after taking over its directories, as linuxserver.io images do (`PUID`)."""

    @classmethod
    def read(cls, env: dict[str, str]) -> Settings:
        """Settings from an environment; KeyError or ValueError where it is incomplete or malformed."""
        volumes = []
        for item in env["VOLUMES"].split(","):
            name, directory, kind = item.split(":")
            if kind not in ("sqlite", "files"):
                raise ValueError(f"VOLUMES: kind {kind!r} of {name} is neither sqlite nor files")
            volumes.append((name, Path(directory), kind))
        return cls(
            app=env["APP"],
            host=env["NODE_NAME"],
            pod=env["POD_NAME"],
            volumes=tuple(volumes),
            timeline=Path(env.get("TIMELINE", "/timeline")),
            port=int(env.get("PORT", "8989")),
            rate=float(env.get("RATE", "20")),
            burst=float(env.get("BURST", "5")),
            pause=float(env.get("PAUSE", "10")),
            payload=int(env.get("PAYLOAD", "512")),
            preload_mb=int(env.get("PRELOAD_MB", "0")),
            journal=env.get("JOURNAL", "wal"),
            uid=int(env.get("PUID", "0")),
        )


class Sink(Protocol):
    """Where a volume's numbers go."""

    n: int
    fresh: bool
    check: str

    def write(self, host: str, payload: bytes) -> None:
        """Commits the next number and remembers it in `n`."""

    def close(self) -> None:
        """Ends cleanly."""


class Database:
    """Numbers in a SQLite database. Raises sqlite3.Error where the file it finds does not open."""

    def __init__(self, directory: Path, journal: str, preload_mb: int) -> None:
        """Opens `directory`/app.db, creating and filling it only if it is not there."""
        path = directory / "app.db"
        self.fresh = not path.exists() or path.stat().st_size == 0
        self.db = sqlite3.connect(path, isolation_level=None, timeout=5.0)
        self.db.execute(f"PRAGMA journal_mode={journal}")
        self.db.execute("PRAGMA synchronous=NORMAL")
        if self.fresh:
            self._create(preload_mb)
            self.check = "none"
        else:
            self.check = self._checked(path)
        self.n = int(self.db.execute("SELECT coalesce(max(n), 0) FROM t").fetchone()[0])

    def _create(self, preload_mb: int) -> None:
        self.db.execute("BEGIN IMMEDIATE")
        self.db.execute("CREATE TABLE IF NOT EXISTS t(n integer primary key, at real, host text, payload blob)")
        self.db.execute("CREATE TABLE IF NOT EXISTS filler(n integer primary key, payload blob)")
        for _ in range(preload_mb):
            self.db.execute("INSERT INTO filler(payload) VALUES (?)", (os.urandom(1024 * 1024),))
        self.db.execute("COMMIT")

    def _checked(self, path: Path) -> str:
        if path.stat().st_size > CHECK_LIMIT_BYTES:
            return "skipped"
        verdict = str(self.db.execute("PRAGMA quick_check").fetchone()[0])
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        return verdict

    def write(self, host: str, payload: bytes) -> None:
        """One transaction with the next number; another pod on the same database gets another number."""
        self.db.execute("BEGIN IMMEDIATE")
        cursor = self.db.execute(
            "INSERT INTO t SELECT coalesce(max(n), 0) + 1, ?, ?, ? FROM t",
            (time.time(), host, payload),
        )
        self.db.execute("COMMIT")
        self.n = cursor.lastrowid or self.n

    def close(self) -> None:
        """Closes the database; SQLite folds the log into it when this is the last connection."""
        self.db.close()


class Files:
    """Numbers as files `seq/<n>.txt`, one a second at most so that a day of the lab stays small."""

    check = "none"

    def __init__(self, directory: Path) -> None:
        """Continues after the highest number present."""
        self.directory = directory / "seq"
        self.fresh = not self.directory.is_dir()
        self.directory.mkdir(exist_ok=True)
        self.n = max((int(f.stem) for f in self.directory.glob("[0-9]*.txt")), default=0)
        self._second = 0

    def write(self, host: str, payload: bytes) -> None:
        """Writes the next file, unless this second has one already."""
        now = time.time()
        if int(now) == self._second:
            return
        self._second = int(now)
        hidden = self.directory / f".{self.n + 1:08d}"
        hidden.write_text(f"{self.n + 1} {now:.3f} {host} {payload[:16].hex()}\n")
        hidden.rename(self.directory / f"{self.n + 1:08d}.txt")
        self.n += 1

    def close(self) -> None:
        """Nothing is open."""


class Timeline:
    """The node's own record of what this pod did; see the module's text for the lines."""

    def __init__(self, settings: Settings) -> None:
        """Opens one append-only file a volume."""
        settings.timeline.mkdir(parents=True, exist_ok=True)
        self._fixed = {"host": settings.host, "app": settings.app, "pod": settings.pod}
        self._files = {
            name: os.open(
                settings.timeline / f"{settings.app}.{name}.jsonl",
                os.O_WRONLY | os.O_APPEND | os.O_CREAT,
                0o644,
            )
            for name, _, _ in settings.volumes
        }

    def line(self, volume: str, event: str, n: int, **more: object) -> None:
        """Appends one line in a single write, so that lines of two pods never mix."""
        record = {"t": round(time.time(), 3), **self._fixed, "n": n, "event": event, **more}
        os.write(self._files[volume], (json.dumps(record) + "\n").encode())


def opened(settings: Settings, timeline: Timeline) -> dict[str, Sink]:
    """Every volume's sink, each with its `start` line; SystemExit(1) after a `broken` line."""
    sinks: dict[str, Sink] = {}
    for name, directory, kind in settings.volumes:
        try:
            sink: Sink = (
                Database(directory, settings.journal, settings.preload_mb) if kind == "sqlite" else Files(directory)
            )
        except (sqlite3.Error, OSError) as error:
            timeline.line(name, "broken", 0, error=str(error))
            raise SystemExit(f"{name}: {directory} does not open: {error}") from error
        more = {"fresh": True, "note": "created fresh"} if sink.fresh else {"fresh": False}
        timeline.line(name, "start", sink.n, check=sink.check, **more)
        sinks[name] = sink
    return sinks


def serve_ping(port: int, state: Callable[[], dict[str, int]]) -> None:
    """Answers GET /ping with 200 and the last numbers, in a thread of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(state()).encode()
            self.send_response(200 if self.path == "/ping" else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("", port), Handler)
    print(f"ping on port {server.server_port}", flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def run(settings: Settings, sinks: dict[str, Sink], timeline: Timeline, stop: threading.Event) -> None:
    """Bursts and pauses until told to stop, a timeline line a volume and second."""
    began = time.monotonic()
    second = int(began)
    wrote = False
    while not stop.is_set():
        elapsed = time.monotonic() - began
        writing = settings.pause <= 0 or elapsed % (settings.burst + settings.pause) < settings.burst
        if writing:
            for sink in sinks.values():
                sink.write(settings.host, os.urandom(settings.payload))
            wrote = True
        if int(time.monotonic()) != second:
            second = int(time.monotonic())
            for name, sink in sinks.items():
                timeline.line(name, "write" if wrote else "idle", sink.n)
            wrote = False
        stop.wait(1.0 / settings.rate if writing else 0.1)


def become(settings: Settings) -> None:
    """Takes over the volumes and drops to the app's user, as linuxserver.io images do at start."""
    if settings.uid == 0 or os.getuid() != 0:
        return
    for _, directory, _ in settings.volumes:
        for path in (directory, *directory.rglob("*")):
            os.chown(path, settings.uid, settings.uid, follow_symlinks=False)
    os.setgroups([])
    os.setgid(settings.uid)
    os.setuid(settings.uid)


def main() -> int:
    """Runs until SIGTERM; 0 after a clean stop, 1 where a volume does not open."""
    settings = Settings.read(dict(os.environ))
    stop = threading.Event()

    def ended(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ended)
    signal.signal(signal.SIGINT, ended)
    timeline = Timeline(settings)
    become(settings)
    sinks = opened(settings, timeline)
    serve_ping(settings.port, lambda: {name: sink.n for name, sink in sinks.items()})
    try:
        run(settings, sinks, timeline, stop)
    finally:
        for name, sink in sinks.items():
            sink.close()
            timeline.line(name, "stop", sink.n)
    return 0


if __name__ == "__main__":
    sys.exit(main())
