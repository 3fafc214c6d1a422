"""The daemon as a process against the served world: start, reload, a bad file, one dry look, an orderly end."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from failoverd.adapters.kubernetes.client import Client
from failoverd.config import load
from failoverd.simulator.daemon_process import start
from failoverd.simulator.serve import Serve
from failoverd.simulator.world_spec import WorldSpec, simple_rules

LEASE = "/apis/coordination.k8s.io/v1/namespaces/failoverd/leases/failoverd"

CONFIG = """
mode = "observe"
[sites.primary]
node = "k3s-w1"
node_selector = {{ role = "primary" }}
[sites.backup]
node = "k3s-w2"
node_selector = {{ role = "backup" }}
[[witness]]
node = "k3s-cp1"
[[apps]]
name = "sonarr"
namespace = "media"
[timings]
tick = "500ms"
[kubernetes]
kubeconfig = "{kubeconfig}"
[syncthing]
via = "proxy"
[web]
listen = ""
"""


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serve]:
    async with Serve(WorldSpec(rules=simple_rules(), seed=1), tmp_path) as serving:
        yield serving


@pytest.fixture
def config(served: Serve, tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.format(kubeconfig=served.kubeconfig))
    return path


class Output:
    """What a daemon says, event by event."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.lines: list[dict[str, object]] = []

    async def until(self, event: str) -> dict[str, object]:
        """The next line of this event. Fails with everything said so far when the daemon ends first."""
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            while raw := await self.process.stdout.readline():
                self.lines.append(json.loads(raw))
                if self.lines[-1]["event"] == event:
                    return self.lines[-1]
        raise AssertionError(f"ended before {event!r}: {self.lines}")


@asynccontextmanager
async def running(config: Path) -> AsyncIterator[Output]:
    process = await start("run", "--config", str(config), output=PIPE)
    try:
        yield Output(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_changed_file_is_taken_over_and_a_bad_one_leaves_the_old_one_in_force(config, served):
    good = config.read_text()
    async with running(config) as said:
        assert (await said.until("starting"))["mode"] == "observe"
        await said.until("leader")
        config.write_text(good + "\n[failover]\ncoldown = '1m'\n")
        refused = await said.until("configuration not taken over, the old one stays in force")
        assert "coldown" in str(refused["problem"])
        assert "cooldown" in str(refused["problem"])
        config.write_text(good.replace('mode = "observe"', 'mode = "active"'))
        assert (await said.until("configuration changed"))["tables"] == ["mode"]
        assert (await said.until("starting"))["mode"] == "active"
        await said.until("leader")


async def test_it_ends_in_order_when_told_to_and_gives_up_the_lead(config, served):
    async with running(config) as said:
        await said.until("leader")
        said.process.terminate()
        await said.until("stopped")
        assert await said.process.wait() == 0
    status, lease = await served_object(config, LEASE)
    assert status == 200
    assert not lease["spec"].get("holderIdentity")


async def served_object(config: Path, path: str) -> tuple[int, dict[str, Any]]:
    client = await Client.load(load(config).kubeconfig)
    try:
        answer = await client.request("GET", path)
        return answer.status, answer.body
    finally:
        await client.close()


async def test_one_dry_look_changes_nothing_and_says_what_it_saw(config, served):
    process = await start("once", "--dry-run", "--config", str(config), output=PIPE)
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    events = [json.loads(line) for line in output.splitlines()]
    decided = [event for event in events if event["event"] == "decided"]
    assert [event["app"] for event in decided] == ["media/sonarr"]
    with pytest.raises(Exception, match="404"):
        await served_object(config, LEASE)


async def test_an_unreachable_cluster_ends_a_single_look_with_its_own_status(config, served):
    config.write_text(config.read_text().replace(str(served.kubeconfig), str(config.parent / "nowhere.yaml")))
    process = await start("once", "--config", str(config), output=PIPE)
    output = (await process.communicate())[0].decode()
    assert process.returncode in (2, 3), output
    assert "Traceback" not in output
    assert "nowhere.yaml" in output
