"""Recording: what `decide` was given and what it answered, tick by tick, in files that can be replayed.

The one rule of this file: recording never delays or breaks a tick. The loop puts values that never change into a
queue; a thread of its own makes JSON of them and writes it. What cannot be written is lost, and said once.

A file is JSON lines. The first is the header: who recorded, under which rules. Every other one is a tick: `all` (the
inputs as they are) or `in` (what changed against the last line's end), then `out` (what the decision changed). Every
file begins with `all`, so each can be replayed by itself. `failoverd.recording` reads them.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import queue
import re
import shutil
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from pathlib import Path

import structlog

from failoverd import __version__
from failoverd.codec import Tree, changes, encode
from failoverd.core.memory import Memory
from failoverd.core.model import Decision, Now, Snapshot, Unknown, Watch
from failoverd.core.rules import Rules
from failoverd.logs import SHORTEST_SECRET, STRUCK

FORMAT = 1
"""Version of the files' form; a reader refuses a newer one."""
WHOLE_EVERY = timedelta(minutes=10)
"""A tick with everything this often: a file that lost its middle is good again after it."""
AGAIN_AFTER = timedelta(seconds=10)
"""How long after a failed write the next is tried."""
WAITING = 100
"""Ticks that may wait to be written; more are lost. Enough for packing a file in the middle of a move, and little
enough for memory while a disk hangs."""
CLOSING = timedelta(seconds=5)
"""How long the end of the daemon waits for the last ticks to be written."""
PLAIN, PACKED = ".jsonl", ".jsonl.gz"

Remembered = Memory | Unknown | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One tick: everything `decide` is given, and its answer."""

    rules: Rules
    memory: Remembered
    watch: Watch
    snapshot: Snapshot
    now: Now
    decision: Decision | None = None
    """None where `decide` failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """Where an instance records, and how much."""

    path: Path
    instance: str
    largest: int
    """Bytes of one file before it is packed away; each can end a line beyond."""
    keep: int
    """Files of this instance, the one being written included."""

    @property
    def stem(self) -> str:
        """How the names of this instance's files begin."""
        return re.sub(r"[^A-Za-z0-9_-]", "_", self.instance) + "@"

    def files(self) -> list[Path]:
        """Files of this instance, oldest first."""
        mine = [path for path in self.path.iterdir() if path.name.startswith(self.stem)]
        return sorted(path for path in mine if path.name.endswith((PLAIN, PACKED)))


def inputs(seen: Seen) -> Tree:
    """What `decide` was given, the rules left out: they stand in the header."""
    return {
        "memory": encode(Remembered, seen.memory),
        "watch": encode(Watch, seen.watch),
        "snapshot": encode(Snapshot, seen.snapshot),
        "now": encode(Now, seen.now),
    }


def answered(given: Tree, decision: Decision) -> Tree:
    """`given` as the decision leaves it: its Memory and Watch are the next tick's."""
    found = encode(Decision, decision)
    return {**given, "memory": _named(found.pop("memory")), "watch": found.pop("watch"), "decision": found}


def _named(memory: Tree) -> Tree:
    return {"is": Memory.__name__, **memory}


class Writer:
    """Writes ticks into files of a folder, one after the other. Not for the loop's thread: disks may hang."""

    def __init__(self, folder: Folder, *, config: str, secrets: Iterable[str] = ()) -> None:
        self._folder = folder
        self._config = config
        # The longest first: a secret that contains another must not leave its rest behind.
        self._secrets = sorted({one for one in secrets if len(one) >= SHORTEST_SECRET}, key=len, reverse=True)
        self._rules: Rules | None = None
        self._file: int | None = None
        self._path = Path()
        self._run = ""
        self._part = self._size = self._number = self._held = 0
        self._last: Tree = None
        self._whole_at: timedelta | None = None

    def skip(self) -> None:
        """Count a tick that is not written; the next one is written whole."""
        self._number += 1
        self._whole_at = None

    def put(self, seen: Seen) -> None:
        """Write one tick. Raises OSError; the next tick then begins a new file."""
        self._number += 1
        try:
            if self._file is None or seen.rules != self._rules or self._size >= self._folder.largest:
                self._begin(seen)
            self._write(self._line(seen))
            self._held += 1
        except BaseException:
            self._abandon()
            raise

    def close(self) -> None:
        """End the file. It stays as it is: the next start packs it. Raises OSError."""
        self._rules = None
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)

    def tidy(self) -> None:
        """Take away what is too much, pack what is closed. Raises OSError."""
        for path in self._folder.path.glob(f"{self._folder.stem}*{PACKED}.part"):
            path.unlink(missing_ok=True)
        files = self._folder.files()
        gone = max(0, len(files) - self._folder.keep)
        for path in files[:gone]:
            path.unlink(missing_ok=True)
        for path in files[gone:]:
            if path.name.endswith(PLAIN) and (self._file is None or path != self._path):
                _pack(path)

    def _begin(self, seen: Seen) -> None:
        self.close()
        wall = seen.now.wall.astimezone(UTC)
        self._run = self._run or f"{wall:%Y%m%dT%H%M%SZ}"
        self._file = self._fresh()
        self._size, self._held, self._rules, self._whole_at = 0, 0, seen.rules, None
        with contextlib.suppress(OSError):  # files too many, or too large, are no reason to record nothing
            self.tidy()
        header = {
            "failoverd": __version__,
            "format": FORMAT,
            "instance": self._folder.instance,
            "run": self._run,
            "part": self._part,
            "config": self._config,
            "rules": encode(Rules, seen.rules),
        }
        self._write(header)

    def _fresh(self) -> int:
        """A new file that is ours alone: what is recorded names every workload, claim and node."""
        while True:
            self._part += 1
            self._path = self._folder.path / f"{self._folder.stem}{self._run}-{self._part:05d}{PLAIN}"
            with contextlib.suppress(FileExistsError):
                return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)

    def _line(self, seen: Seen) -> Tree:
        given = inputs(seen)
        line: dict[str, Tree] = {"n": self._number}
        if self._whole_at is None or seen.now.mono - self._whole_at >= WHOLE_EVERY:
            self._whole_at = seen.now.mono
            given["decision"] = None
            line["all"] = given
        else:
            given["decision"] = self._last["decision"]
            line["in"] = changes(self._last, given)
        self._last = given
        if seen.decision is not None:
            self._last = answered(given, seen.decision)
            line["out"] = changes(given, self._last)
        return line

    def _write(self, line: Tree) -> None:
        assert self._file is not None
        text = json.dumps(self._struck(line) if self._secrets else line, separators=(",", ":"), ensure_ascii=False)
        left = memoryview(text.encode(errors="backslashreplace") + b"\n")
        while left:
            done = os.write(self._file, left)
            self._size += done
            left = left[done:]

    def _struck(self, tree: Tree) -> Tree:
        """Without secrets: readings hold none by type, but a text may quote what some server answered."""
        if isinstance(tree, str):
            for secret in self._secrets:
                tree = tree.replace(secret, STRUCK)
            return tree
        if isinstance(tree, dict):
            return {self._struck(key): self._struck(part) for key, part in tree.items()}
        return [self._struck(part) for part in tree] if isinstance(tree, list) else tree

    def _abandon(self) -> None:
        """After a failure the file ends where it ends; one without a tick goes, or it would push a good one out."""
        hopeless = self._file is not None and not self._held
        with contextlib.suppress(OSError):
            self.close()
        self._file, self._whole_at = None, None
        if hopeless:
            with contextlib.suppress(OSError):
                self._path.unlink()


def _pack(path: Path) -> None:
    packed = path.with_name(path.name + ".gz")
    part = packed.with_name(packed.name + ".part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        with (
            path.open("rb") as plain,
            os.fdopen(os.open(part, flags, 0o600), "wb") as raw,
            gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as file,
        ):
            shutil.copyfileobj(plain, file, 1 << 20)
        part.replace(packed)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    path.unlink()


class Recorder:
    """The loop's `Recording`: takes a tick at once and has it written elsewhere."""

    def __init__(self, writer: Writer, where: Path, waiting: int = WAITING) -> None:
        """`waiting`: ticks that may wait to be written, 0 for any number."""
        self._writer = writer
        self._where = where
        self._ticks: queue.Queue[Seen | None] = queue.Queue(waiting)
        self._pending: Seen | None = None
        self._lost = 0
        self._log = structlog.get_logger("failoverd")
        self._silent_until: timedelta | None = None
        # A daemon thread: a disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="record", daemon=True)
        self._thread.start()

    def saw(self, rules: Rules, memory: Remembered, watch: Watch, snapshot: Snapshot, now: Now) -> None:
        """Take what `decide` is about to be given. Never raises, never waits."""
        self._flush()
        self._pending = Seen(rules=rules, memory=memory, watch=watch, snapshot=snapshot, now=now)

    def decided(self, decision: Decision) -> None:
        """Take its answer. Never raises, never waits."""
        if self._pending is not None:
            self._pending = replace(self._pending, decision=decision)
        self._flush()

    def close(self) -> None:
        """Have everything written, for up to `CLOSING`. Waits: not for the loop's thread."""
        self._flush()
        with contextlib.suppress(queue.Full):
            self._ticks.put(None, timeout=CLOSING.total_seconds())
        self._thread.join(CLOSING.total_seconds())

    def _flush(self) -> None:
        seen, self._pending = self._pending, None
        if seen is None:
            return
        try:
            self._ticks.put_nowait(seen)
        except queue.Full:
            self._lost += 1

    def _work(self) -> None:
        with contextlib.suppress(OSError):
            self._writer.tidy()
        while (seen := self._ticks.get()) is not None:
            lost, self._lost = self._lost, 0
            for _ in range(lost):
                self._writer.skip()
            self._one(seen)
        with contextlib.suppress(OSError):
            self._writer.close()

    def _one(self, seen: Seen) -> None:
        if self._silent_until is not None and seen.now.mono < self._silent_until:
            self._writer.skip()
            return
        try:
            self._writer.put(seen)
        except Exception as error:  # whatever it is, the next tick is tried again
            if self._silent_until is None:
                why = error.strerror if isinstance(error, OSError) and error.strerror else repr(error)
                said = "recording fails, ticks are lost until it works again"
                self._log.warning(said, folder=str(self._where), why=why)
            self._silent_until = seen.now.mono + AGAIN_AFTER
        else:
            if self._silent_until is not None:
                self._log.info("recording again", folder=str(self._where))
            self._silent_until = None
