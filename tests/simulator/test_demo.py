"""The demo: the real daemon as a process against the served world, start to end, and nothing left behind."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import ssl
import sys
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from failoverd.simulator.demo_tale import Tale
from failoverd.simulator.serve import Serve

PROJECT = Path(__file__).parents[2]
AT_MOST = 3 * 75
"""Seconds from the command to its summary: three times what it may take on a machine that has nothing else to do."""
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}


async def started(tmp_path: Path, *command: str) -> Process:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    return await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT, env=environment)


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[Process]:
    process = await started(tmp_path, sys.executable, "-m", "failoverd", "demo", "--hold")
    yield process
    if process.returncode is None:
        process.send_signal(signal.SIGINT)
    await process.communicate()


async def heard(process: Process, last: str) -> str:
    """What it says up to the line that holds `last`."""
    assert process.stdout is not None
    told = ""
    while last not in told:
        line = (await process.stdout.readline()).decode()
        assert line, told
        told += line
    return told


async def gone(process: Process, tmp_path: Path) -> None:
    """Ctrl-C, and then there is no process and no file of it."""
    process.send_signal(signal.SIGINT)
    said = (await process.communicate())[0].decode()
    assert (process.returncode, "Traceback" in said) == (0, False), said
    assert left_of(tmp_path) == []


def left_of(folder: Path) -> list[str]:
    """Files in `folder`, and command lines of processes that mention it."""
    found = [path.name for path in folder.iterdir()]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def check_story(told: str) -> None:
    for step in (
        "loses power",
        "not proven dead",
        "is served from k3s-w2",
        "clean standby again",
        "the app is at home",
    ):
        assert step in told
    live, _, summary = told.partition("\nSummary\n")
    check_parts(summary)
    stated, lost = (float(text) for text in re.findall(r"deciding: ([\d.]+) s .* lost: ([\d.]+) s", summary)[0])
    assert lost <= stated
    chat = re.findall(r"^ *[\d.]+ s  chat     (.+)$", live, flags=re.MULTILINE)
    listed = summary.partition("  chat messages (")[2]
    assert [text for text in chat if text not in listed] == []
    assert len(re.findall(r"^ +[\d.]+ s  (?:open|update|resolve)\b", listed, flags=re.MULTILINE)) == int(
        listed.partition(")")[0]
    )
    assert any("failover of media/sonarr" in text for text in chat)
    assert any("failback of media/sonarr" in text for text in chat)


def check_parts(summary: str) -> None:
    """The failover's time to recovery, split, and the split adds up."""
    whole, parts = re.findall(r"failover +primary -> backup: ([\d.]+) s \((.*)\)", summary)[0]
    split = {name: float(seconds) for name, seconds in re.findall(r"([a-z]+) ([\d.]+) s", parts)}
    assert list(split) == ["detect", "decide", "fence", "move", "ready"]
    assert sum(split.values()) == pytest.approx(float(whole), abs=0.3)
    assert all(split[name] > 0 for name in ("detect", "decide", "move", "ready"))


def exported(proposed: list[str]) -> dict[str, Any]:
    """The kubeconfig that is named."""
    (path,) = (Path(line.partition("=")[2]) for line in proposed if line.startswith("export KUBECONFIG="))
    found: dict[str, Any] = json.loads(path.read_text())
    return found


async def tried(tmp_path: Path, line: str) -> str:
    """A line that the demo proposes for another terminal, typed."""
    process = await started(tmp_path, *line.split())
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, f"{line}: {said}"
    return said


async def nodes_of_pods(config: dict[str, Any]) -> list[str]:
    """Where pods of the app are, as `kubectl get pods -o wide` asks for them by the kubeconfig."""
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    trusted = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    headers = {"Authorization": f"Bearer {user['token']}", **TABLE}
    async with httpx.AsyncClient(base_url=cluster["server"], headers=headers, verify=trusted, trust_env=False) as api:
        found = (await api.get("/api/v1/namespaces/media/pods", params={"labelSelector": "app=sonarr"})).json()
    column = [one["name"] for one in found["columnDefinitions"]].index("Node")
    return [row["cells"][column] for row in found["rows"]]


@pytest.mark.timeout(420)
async def test_the_story_is_told_to_its_end_and_then_everything_can_be_tried_until_ctrl_c(
    demo: Process, tmp_path: Path
) -> None:
    began = time.monotonic()
    told = await heard(demo, "Everything keeps running until Ctrl-C")
    assert time.monotonic() - began <= AT_MOST
    check_story(told)

    proposed = [line.strip() for line in (await heard(demo, "curl ")).splitlines()]
    (url,) = (line.split()[1] for line in proposed if line.startswith("curl "))
    status, why, switchover = (
        next(line for line in proposed if f"failoverd {verb} " in line) for verb in ("status", "why", "switchover")
    )
    kubeconfig = exported(proposed)
    assert await nodes_of_pods(kubeconfig) == ["k3s-w1"]
    assert "media/sonarr" in await tried(tmp_path, status)
    assert "sonarr" in await tried(tmp_path, why)
    assert "media/sonarr is on backup" in await tried(tmp_path, switchover)
    async with httpx.AsyncClient(trust_env=False) as curl:
        assert (await curl.get(url)).json()["apps"]["media/sonarr"]["active"] == "backup"
    assert await nodes_of_pods(kubeconfig) == ["k3s-w2"]
    await gone(demo, tmp_path)


@pytest.mark.timeout(60)
async def test_an_interrupted_demo_leaves_nothing_behind(demo: Process, tmp_path: Path) -> None:
    await heard(demo, "the daemon starts")
    await asyncio.sleep(2)
    await gone(demo, tmp_path)


def test_power_is_not_cut_before_the_data_age_is_known() -> None:
    tale = Tale(cast(Serve, None), "media/sonarr", "")
    volume: dict[str, Any] = {"age_seconds": None, "copies": {"backup": {"standing": "clean"}}}
    app = {"phase": "watching", "active": "primary", "move": None, "volumes": {"data": volume}}
    tale.status = {"apps": {"media/sonarr": app}}
    assert not tale.settled("primary")
    volume["age_seconds"] = 2.5
    assert tale.settled("primary")
