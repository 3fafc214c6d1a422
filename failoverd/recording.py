"""Reads recordings back: the exact inputs of `decide`, tick by tick, and what was answered.

A last line that was cut off (killed, or still being written) is left out and said. Anything else that is wrong
is an error with file and line.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from failoverd import older
from failoverd.codec import Tree, Undecodable, apply, decode
from failoverd.core.model import Decision, Now, Snapshot, Watch
from failoverd.core.rules import Rules
from failoverd.record import FORMAT, PACKED, PLAIN, Remembered, Seen

LONGEST = 256 * 1024 * 1024
"""Bytes of the longest line that is read; one tick of a thousand apps has about two million."""


class BadRecording(Exception):
    """A file that cannot be replayed; the text names file and line and says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Who recorded a file, and under which rules."""

    path: Path
    version: str
    """Of failoverd."""
    instance: str
    run: str
    """From one start of the daemon to its end."""
    part: int
    config: str
    """Hash of the configuration."""
    rules: Rules
    older: bool = False
    """Whether what follows bears names of before there were appliers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One recorded tick and where it stands."""

    header: Header
    line: int
    number: int
    """Counted from the start of the daemon; one that is missing was lost."""
    seen: Seen
    answer: Tree = field(repr=False)
    """The recorded decision as data, Memory and Watch included; None where `decide` failed."""

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self.header.path}:{self.line}"


@dataclass(slots=True)
class Recording:
    """Some files, read as one story. `notes` says what was left out; complete once all ticks are read."""

    paths: tuple[Path, ...]
    notes: list[str] = field(default_factory=list)

    def ticks(self) -> Iterator[Tick]:
        """Every tick, instance by instance, in the order of time. Raises BadRecording."""
        for header in sorted(self.headers(), key=lambda one: (one.instance, one.run, one.part)):
            yield from self._of(header)

    def headers(self) -> Iterator[Header]:
        """Who recorded each file, and under which rules. Raises BadRecording."""
        for path in files(self.paths):
            with _opened(path) as stream:
                for number, raw in _lines(path, stream):
                    line = self._parsed(path, number, raw)
                    if line is not None:
                        yield _header(path, line)
                    break
                else:
                    self.notes.append(f"{path}: is empty")

    def _of(self, header: Header) -> Iterator[Tick]:
        state: Tree = None
        with _opened(header.path) as stream:
            for number, raw in _lines(header.path, stream):
                if number == 1:
                    continue
                line = self._parsed(header.path, number, raw)
                if line is None:
                    return
                try:
                    state, tick = _tick(header, number, line, state)
                except (Undecodable, KeyError, TypeError) as error:
                    why = f"{error} is missing" if isinstance(error, KeyError) else error
                    raise BadRecording(f"{header.path}:{number}: not a tick: {why}") from None
                yield tick

    def _parsed(self, path: Path, number: int, raw: bytes) -> dict[str, Any] | None:
        try:
            line = json.loads(raw)
        except (ValueError, RecursionError):
            if not raw.endswith(b"\n"):
                self.notes.append(f"{path}:{number}: the last line is cut off (killed, or still writing): left out")
                return None
            raise BadRecording(f"{path}:{number}: not JSON: the file is damaged or no recording") from None
        if not isinstance(line, dict):
            raise BadRecording(f"{path}:{number}: not an object: the file is damaged or no recording")
        return line


def files(paths: Iterable[Path]) -> list[Path]:
    """The files to read: a folder stands for every recording in it. Raises BadRecording."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(one for one in path.iterdir() if one.name.endswith((PLAIN, PACKED)))
            if not inside:
                raise BadRecording(f"{path}: holds no recording (*{PLAIN}, *{PACKED})")
            found += inside
        else:
            found.append(path)
    return list(dict.fromkeys(found))


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        stream = path.open("rb")
    except OSError as error:
        raise BadRecording(f"{path}: cannot be read: {error.strerror}") from None
    with stream:
        # by content: a packed file may have been unpacked, or renamed, on its way here
        packed = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        yield gzip.GzipFile(fileobj=stream, mode="rb") if packed else stream  # type: ignore[misc]


def _lines(path: Path, stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    number = 0
    while True:
        try:
            raw = stream.readline(LONGEST)
        except EOFError:
            raise BadRecording(f"{path}:{number + 1}: the packed file is cut off; copy it again") from None
        except (OSError, zlib.error) as error:
            raise BadRecording(f"{path}:{number + 1}: cannot be read: {error}") from None
        if not raw:
            return
        number += 1
        yield number, raw


def _header(path: Path, line: dict[str, Any]) -> Header:
    form = line.get("format")
    if not isinstance(form, int) or "rules" not in line:
        raise BadRecording(f"{path}:1: not a header: the file is no recording, or its beginning is missing")
    if form > FORMAT:
        raise BadRecording(f"{path}:1: has format {form}, this version knows up to {FORMAT}: use a newer failoverd")
    try:
        before = older.is_older(line["rules"])
        return Header(
            path=path,
            version=decode(str, line["failoverd"]),
            instance=decode(str, line["instance"]),
            run=decode(str, line["run"]),
            part=decode(int, line["part"]),
            config=decode(str, line["config"]),
            rules=decode(Rules, older.rules(line["rules"]) if before else line["rules"]),
            older=before,
        )
    except (Undecodable, KeyError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else error
        raise BadRecording(f"{path}:1: not a header that this version understands: {why}") from None


def _tick(header: Header, number: int, line: dict[str, Any], state: Tree) -> tuple[Tree, Tick]:
    if "all" in line:
        state = line["all"]
    elif state is None:
        raise Undecodable("the tick before it, which it builds upon, is missing")
    else:
        state = apply(state, line["in"])
    given = state
    answer: Tree = None
    decision = None
    if "out" in line:
        state = apply(given, line["out"])
        memory = {key: part for key, part in state["memory"].items() if key != "is"}
        answer = {"memory": memory, "watch": state["watch"], **state["decision"]}
        answer = older.answer(answer) if header.older else answer
        decision = decode(Decision, answer)
    seen = Seen(
        rules=header.rules,
        memory=decode(Remembered, given["memory"]),
        watch=decode(Watch, given["watch"]),
        snapshot=decode(Snapshot, older.snapshot(given["snapshot"]) if header.older else given["snapshot"]),
        now=decode(Now, given["now"]),
        decision=decision,
    )
    return state, Tick(header=header, line=number, number=decode(int, line["n"]), seen=seen, answer=answer)
