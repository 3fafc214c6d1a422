"""The lab's writing app as a process on loopback, no root."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.manifests import apps

WRITER = Path(apps.WRITER)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    for name in ("data", "media", "timeline"):
        (tmp_path / name).mkdir()

    def start(**env: str) -> subprocess.Popen[str]:
        told = {
            "APP": "paperless",
            "NODE_NAME": "k3s-w1",
            "POD_NAME": f"pod-{len(started)}",
            "VOLUMES": f"data:{tmp_path}/data:sqlite,media:{tmp_path}/media:files",
            "TIMELINE": f"{tmp_path}/timeline",
            "PORT": "0",
            "PATH": os.environ["PATH"],
            **env,
        }
        process = subprocess.Popen(
            [sys.executable, str(WRITER)], env=told, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.communicate()


def timeline(tmp_path: Path, volume: str) -> list[dict[str, Any]]:
    path = tmp_path / "timeline" / f"paperless.{volume}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def port_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline().rpartition(" ")[2])


def test_the_writer_counts_continues_and_says_what_it_found(
    tmp_path: Path, writer: Callable[..., subprocess.Popen[str]]
) -> None:
    first = writer(PAUSE="0", RATE="100")
    port = port_of(first)
    time.sleep(1.2)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2) as answer:
        last = json.load(answer)["data"]
    assert last > 10
    began = time.monotonic()
    first.send_signal(signal.SIGTERM)
    assert first.wait(5) == 0
    assert time.monotonic() - began < 1
    lines = timeline(tmp_path, "data")
    assert (lines[0]["event"], lines[0]["note"], lines[0]["n"]) == ("start", "created fresh", 0)
    assert (lines[-1]["event"], lines[-1]["host"]) == ("stop", "k3s-w1")
    assert lines[-1]["n"] >= last
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "app.db")) as db:
        assert db.execute("SELECT max(n), count(*) FROM t").fetchone() == (lines[-1]["n"],) * 2
    second = writer(PAUSE="0")
    port_of(second)
    again = timeline(tmp_path, "data")[len(lines)]
    assert (again["event"], again["fresh"], again["check"]) == ("start", False, "ok")
    assert again["n"] == lines[-1]["n"]
    files = sorted((tmp_path / "media" / "seq").glob("*.txt"))
    assert files[0].name == "00000001.txt"


def test_the_writer_pauses_and_its_timeline_shows_that_it_lives(
    tmp_path: Path, writer: Callable[..., subprocess.Popen[str]]
) -> None:
    port_of(writer(BURST="0.5", PAUSE="60"))
    deadline = time.monotonic() + 10
    while [line["event"] for line in timeline(tmp_path, "data")].count("idle") < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    numbers = [line["n"] for line in timeline(tmp_path, "data") if line["event"] == "idle"]
    assert numbers[0] == numbers[1] > 0


def test_the_writer_fills_a_fresh_database_and_keeps_the_journal_it_is_told(
    tmp_path: Path, writer: Callable[..., subprocess.Popen[str]]
) -> None:
    port_of(writer(PRELOAD_MB="3", JOURNAL="delete", PAUSE="0"))
    database = tmp_path / "data" / "app.db"
    assert database.stat().st_size > 3 * 1024 * 1024
    with contextlib.closing(sqlite3.connect(database)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert not (tmp_path / "data" / "app.db-wal").exists()


def test_the_writer_refuses_a_broken_database(tmp_path: Path, writer: Callable[..., subprocess.Popen[str]]) -> None:
    (tmp_path / "data" / "app.db").write_bytes(b"this is no database" * 100)
    process = writer()
    _, said = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "does not open" in said
    (line,) = timeline(tmp_path, "data")
    assert line["event"] == "broken"
