"""Running a program of the operator's: no shell, a deadline, bounded output, and nothing of it left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import IO

MOST = 64 * 1024
"""Bytes of output that are kept; more is read and thrown away, so that the program is not held up."""
REAPED_WITHIN = timedelta(seconds=1)
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_unreaped: list[subprocess.Popen[bytes]] = []
"""Programs that SIGKILL did not end yet: asleep in the kernel, as on a dead NFS server."""


class ProcessError(Exception):
    """The program did not run to an end of its own; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A program that has ended by itself."""

    status: int
    """Exit status; negative for a signal."""
    out: bytes
    err: bytes
    cut: bool
    """Whether it wrote more than is kept."""

    @property
    def how(self) -> str:
        """The end in words."""
        if self.status >= 0:
            return f"exit status {self.status}"
        try:
            return f"ended by {signal.Signals(-self.status).name}"
        except ValueError:
            return f"ended by signal {-self.status}"

    @property
    def complaint(self) -> str:
        """The last line on standard error, fit for a log line; empty when there is none."""
        lines = [line for line in self.err.decode(errors="replace").splitlines() if line.strip()]
        return clean(lines[-1]) if lines else ""


def clean(text: str) -> str:
    """One printable line of at most 200 characters."""
    return "".join(char if char.isprintable() else " " for char in text).strip()[:200]


class _Tap:
    """Reads a pipe as it fills, whoever holds its other end."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._fd = os.dup(pipe.fileno())
        pipe.close()
        self.kept = bytearray()
        self.cut = False
        os.set_blocking(self._fd, False)
        asyncio.get_running_loop().add_reader(self._fd, self._read)
        self._open = True

    def _read(self) -> bool:
        """Whether there may be more at this moment."""
        try:
            found = os.read(self._fd, MOST)
        except BlockingIOError:
            return False
        if not found:
            self._forget()
            return False
        room = MOST - len(self.kept)
        self.kept += found[:room]
        self.cut = self.cut or len(found) > room
        return not self.cut

    def _forget(self) -> None:
        if self._open:
            asyncio.get_running_loop().remove_reader(self._fd)
            self._open = False

    def close(self) -> None:
        """Take what is there still, and close."""
        while self._open and self._read():
            pass
        self._forget()
        os.close(self._fd)


def environment(**more: str) -> dict[str, str]:
    """All a program is given: nothing of ours, which may hold secrets."""
    return {"PATH": PATH, "LANG": "C.UTF-8", "HOME": os.environ.get("HOME", "/"), **more}


async def run(argv: Sequence[str], within: timedelta, env: dict[str, str]) -> Ended:
    """Run it in a session of its own; whatever is left of its process group afterwards is killed.

    Raises ProcessError when it cannot be started or has not ended within `within`.
    """
    _unreaped[:] = [child for child in _unreaped if child.poll() is None]
    try:
        child = subprocess.Popen(  # noqa: ASYNC220, S603 - started in a moment, and configured by the operator
            list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd="/", env=env, start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ProcessError(f"cannot be started: {why}") from None
    taps: list[_Tap] = []
    ended = False
    try:
        taps += [_Tap(pipe) for pipe in (child.stdout, child.stderr) if pipe is not None]
        ended = await _ends(child.pid, within)
    except OSError as error:
        raise ProcessError(f"cannot be watched: {error.strerror}") from None
    finally:
        # Before it is reaped: until then its number, and so that of its group, belongs to nobody else.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        if not ended:
            with contextlib.suppress(OSError):
                await _ends(child.pid, REAPED_WITHIN)
        if child.poll() is None:
            _unreaped.append(child)
        for tap in taps:
            tap.close()
    out, err = taps
    if not ended:
        last = Ended(status=0, out=b"", err=bytes(err.kept), cut=False).complaint
        raise ProcessError(f"no end within {within.total_seconds():g} s" + (f": {last}" if last else ""))
    return Ended(status=child.returncode, out=bytes(out.kept), err=bytes(err.kept), cut=out.cut)


async def _ends(pid: int, within: timedelta) -> bool:
    """Wait until the process has ended, without reaping it."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    descriptor = os.pidfd_open(pid)
    loop.add_reader(descriptor, ended.set)
    try:
        async with asyncio.timeout(within.total_seconds()):
            await ended.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return True
