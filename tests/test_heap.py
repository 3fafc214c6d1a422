"""What a running daemon or guard has freed goes back to the system."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from failoverd import heap
from tests.two_sites import SITES

HELD = """
import sys
from failoverd.__main__ import main
status = main()

def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * 4 / 1024

buffers, kept = [bytearray(256 * 1024)], []
buffers.clear()
before = resident()
for _ in range(80):  # connections, each with something that outlives it
    buffers.append(bytearray(256 * 1024))
    kept.append(bytes(1000))
at_most = resident()
buffers.clear()
print(status, at_most - before, resident() - before)
"""
"""Runs a command to its end, and then does to memory what a stalled API server does."""
glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library has no mallopt")


def held_after(*words: str | Path) -> tuple[float, float]:
    """MiB that such a process took for 80 connections, and what it held of it when they had ended."""
    done = subprocess.run([sys.executable, "-c", HELD, *words], capture_output=True, text=True, check=True)
    status, taken, held = done.stdout.splitlines()[-1].split()
    assert status == "3", done  # it got as far as the cluster, which is not there
    return float(taken), float(held)


@glibc
def test_a_daemon_gives_back_what_its_connections_took(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    (tmp_path / "kubeconfig").touch()
    apps = f'[[apps]]\nname = "sonarr"\nnamespace = "media"\n[kubernetes]\nkubeconfig = "{tmp_path}/kubeconfig"\n'
    config.write_text(SITES.format() + apps)
    taken, held = held_after("run", "--config", config)
    assert taken > 15
    assert held < 5


@glibc
def test_a_guard_gives_back_what_its_connections_took(tmp_path: Path) -> None:
    for name in ("data", "scratch"):
        (tmp_path / name).mkdir()
    copy, scratch = f"media/pvc-sonarr={tmp_path / 'data'}", tmp_path / "scratch"
    words = ("--site", "primary", "--copy", copy, "--scratch", scratch, "--kubeconfig", tmp_path / "none")
    taken, held = held_after("guard", *words)
    assert taken > 15
    assert held < 5


def test_a_c_library_that_cannot_be_told_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    class Musl:
        """Has no `mallopt`."""

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Musl())
    assert not heap.give_back()
