"""Finding, stopping and ending the lab's processes, and only those.

The one rule: nothing is ended by its name. A process is the lab's because it lives in one of its network
namespaces, or because it is the child of one that the lab wrote down.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tests.lab.layout import LabError

PROC = Path("/proc")


def all_pids() -> Iterator[int]:
    """Every process on the machine."""
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdecimal())


def namespace_of(pid: int, kind: str) -> str | None:
    """An identity of the process's namespace (`net`, `pid`, …); None if the process is gone or a zombie."""
    try:
        return str((PROC / str(pid) / "ns" / kind).readlink())
    except OSError:
        return None


def is_alive(pid: int) -> bool:
    """Whether it runs: a zombie does not."""
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def started(pid: int) -> str:
    """What tells this process from a later one with the same number: clock ticks from boot to its start."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def children(pid: int) -> list[int]:
    """Direct children."""
    try:
        return [int(word) for word in (PROC / str(pid) / "task" / str(pid) / "children").read_text().split()]
    except OSError:
        return []


def ancestors(pid: int) -> set[int]:
    """The process and all its parents."""
    found: set[int] = set()
    while pid > 0 and pid not in found:
        found.add(pid)
        try:
            pid = int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
    return found


def outer_pid(init: int, inner: int) -> int | None:
    """The machine's number for process `inner` of the PID namespace whose first process is `init`."""
    wanted = namespace_of(init, "pid")
    for pid in all_pids():
        if namespace_of(pid, "pid") != wanted:
            continue
        with contextlib.suppress(OSError):
            for line in (PROC / str(pid) / "status").read_text().splitlines():
                if line.startswith("NSpid:") and int(line.split()[-1]) == inner:
                    return pid
    return None


def in_network(identities: set[str]) -> list[int]:
    """Processes in one of these network namespaces, without the caller and its parents."""
    spared = ancestors(os.getpid())
    return [pid for pid in all_pids() if pid not in spared and namespace_of(pid, "net") in identities]


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process that may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def wait_gone(pids: list[int], seconds: float = 10.0) -> None:
    """Wait until none of them runs. Raises LabError naming those that do."""
    deadline = time.monotonic() + seconds
    while left := [pid for pid in pids if is_alive(pid)]:
        if time.monotonic() > deadline:
            raise LabError(f"processes {left} did not end in {seconds:.0f} s: look at /proc/<pid>/stack")
        time.sleep(0.01)
