"""Daemons forked from a process that has imported everything: anew that takes two seconds of computing each time.

What runs is `failoverd run` in a process of its own all the same, and it dies by SIGKILL.

`python -m tests.kill.nursery FD` is that process: it reads one request a line from a socket, and answers with a PID.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from failoverd.__main__ import main

READY = b"ready\n"
IMPORTED = ("failoverd.cli.running", "failoverd.life")
"""What `failoverd run` imports on its way; the rest they import themselves."""


@dataclass(slots=True)
class Child:
    """A daemon that was forked: nobody's child here, so that its end is told by its descriptor."""

    pid: int
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _handle: int = -1

    def __post_init__(self) -> None:
        try:
            self._handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            self.ended.set()
        else:
            asyncio.get_running_loop().add_reader(self._handle, self._over)

    def kill(self) -> None:
        """SIGKILL; nothing if it has ended."""
        if not self.ended.is_set():
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    async def wait(self) -> None:
        """Until it has ended."""
        await self.ended.wait()

    def _over(self) -> None:
        asyncio.get_running_loop().remove_reader(self._handle)
        os.close(self._handle)
        self.ended.set()


@dataclass(frozen=True, slots=True)
class Nursery:
    """The way to that process."""

    _line: socket.socket

    def start(self, arguments: Sequence[str], log: Path) -> Child:
        """`failoverd ARGUMENTS`; what it says is added to `log`. Raises OSError where the nursery is gone."""
        self._line.sendall(json.dumps({"arguments": list(arguments), "log": str(log)}).encode() + b"\n")
        return Child(int(_answer(self._line)))


def _answer(line: socket.socket) -> str:
    told = line.makefile("r").readline()
    if not told:
        raise OSError("the process that daemons are forked from is gone")
    return told


@contextmanager
def nursery() -> Iterator[Nursery]:
    """A process to fork from, gone afterwards. Raises OSError where it does not come up."""
    ours, its = socket.socketpair()
    with ours:
        with its:
            words = [sys.executable, "-m", "tests.kill.nursery", str(its.fileno())]
            process = subprocess.Popen(words, pass_fds=[its.fileno()], stdin=subprocess.DEVNULL)
        try:
            _answer(ours)
            yield Nursery(ours)
        finally:
            ours.close()
            process.wait()


def serve(line: socket.socket) -> None:
    """Fork what is asked for until nobody asks any more."""
    for module in IMPORTED:
        import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody has to bury them
    line.sendall(READY)
    for asked in line.makefile("r"):
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _become(**json.loads(asked))
        line.sendall(f"{pid}\n".encode())


def _become(arguments: list[str], log: str) -> NoReturn:
    os.setsid()
    os.closerange(3, 64)
    said = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(said, 1)
    os.dup2(said, 2)
    for key in [key for key in os.environ if key.startswith("FAILOVERD")]:
        del os.environ[key]
    random.seed()
    sys.argv[1:] = arguments
    status = 1
    try:
        status = main()
    finally:
        sys.stdout.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
