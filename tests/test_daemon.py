"""The daemon as a process against the served world: start, reload, a bad file, one dry look, an orderly end."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from failoverd.adapters.kubernetes.client import Client
from failoverd.config import load
from failoverd.core.rules import EXPERIMENTAL
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


@asynccontextmanager
async def receiver(received: list[dict[str, Any]]) -> AsyncIterator[str]:
    """A webhook that takes everything."""

    async def take(request: web.Request) -> web.Response:
        received.append(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}/"
    finally:
        await runner.cleanup()


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

    def events(self, event: str) -> int:
        """How often it was said so far."""
        return [line["event"] for line in self.lines].count(event)

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
async def running(config: Path, *more: str) -> AsyncIterator[Output]:
    process = await start("run", "--config", str(config), *more, output=PIPE)
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
        said.process.send_signal(signal.SIGHUP)
        assert (await said.until(str(refused["event"])))["problem"] == refused["problem"]
        config.write_text(good)
        said.process.send_signal(signal.SIGHUP)
        await said.until("configuration read again: nothing has changed")
        assert said.events("starting") == 1
        config.write_text(good.replace('mode = "observe"', 'mode = "active"'))
        assert (await said.until("configuration changed"))["tables"] == ["mode"]
        assert (await said.until("starting"))["mode"] == "active"
        await said.until(EXPERIMENTAL)
        await said.until("leader")


async def test_another_kubeconfig_is_taken_over_unless_the_command_line_names_one(config, served, tmp_path):
    (tmp_path / "two").mkdir()
    text, other = config.read_text(), tmp_path / "other.toml"
    async with Serve(WorldSpec(rules=simple_rules(), seed=2), tmp_path / "two") as second:
        moved = text.replace(str(served.kubeconfig), str(second.kubeconfig))
        other.write_text(moved)
        async with running(config, "--kubeconfig", str(served.kubeconfig)) as said:
            await said.until("leader")
            config.write_text(moved)
            said.process.send_signal(signal.SIGHUP)
            await said.until("kubernetes.kubeconfig of the file is not used: --kubeconfig goes before it")
            await said.until("leader")
            said.process.terminate()
            await said.until("stopped")
        with pytest.raises(Exception, match="404"):
            await served_object(other, LEASE)
        config.write_text(text)
        async with running(config) as said:
            await said.until("leader")
            config.write_text(moved)
            said.process.send_signal(signal.SIGHUP)
            assert (await said.until("configuration changed"))["tables"] == ["kubernetes"]
            await said.until("leader")
        assert (await served_object(other, LEASE))[0] == 200


def taken() -> socket.socket:
    """A port that somebody listens at already."""
    return socket.create_server(("127.0.0.1", 0))


async def test_what_cannot_be_put_to_work_leaves_the_old_one_leading_until_it_can(config, served):
    good = config.read_text()
    received: list[dict[str, Any]] = []
    async with receiver(received) as address:
        good += f'[[notify]]\ntype = "webhook"\nurl = "{address}"\nsecret = "s"\n'
        config.write_text(good)
        with taken() as busy:
            port = busy.getsockname()[1]
            async with running(config) as said:
                await said.until("leader")
                config.write_text(good.replace('listen = ""', f'listen = "127.0.0.1:{port}"'))
                refused = await said.until("configuration not taken over, the old one stays in force")
                taken_port = f"web.listen: cannot listen on 127.0.0.1:{port}: Address already in use"
                assert refused["problem"] == taken_port
                said.process.send_signal(signal.SIGHUP)
                assert (await said.until(str(refused["event"])))["problem"] == taken_port
                assert said.events("leader") == 1
                busy.close()
                assert (await said.until("configuration changed"))["tables"] == ["web"]
                await said.until("leader")
    told = [message for message in received if message["incident"].startswith("configuration ")]
    assert [message["event"] for message in told] == ["open", "resolve"]
    assert taken_port in told[0]["text"]
    assert told[1]["text"].endswith("the configuration file is in force again")


async def test_an_address_that_stays_the_same_is_handed_over_without_a_refused_connection(config, served):
    with taken() as free:
        port = free.getsockname()[1]
    config.write_text(config.read_text().replace('listen = ""', f'listen = "127.0.0.1:{port}"'))
    async with running(config) as said, httpx.AsyncClient(trust_env=False, timeout=20) as http:
        await said.until("leader")
        config.write_text(config.read_text().replace('mode = "observe"', 'mode = "active"'))
        said.process.send_signal(signal.SIGHUP)
        changed = asyncio.create_task(said.until("leader"))
        while not changed.done():
            # One that the old server had already taken may end with it; refused is none.
            with suppress(httpx.RemoteProtocolError, httpx.ReadError):
                assert (await http.get(f"http://127.0.0.1:{port}/status")).is_success
        assert (await http.get(f"http://127.0.0.1:{port}/status")).json()["instance"]["mode"] == "active"


async def test_a_taken_port_at_the_start_is_one_line(config, served):
    with taken() as busy:
        port = busy.getsockname()[1]
        config.write_text(config.read_text().replace('listen = ""', f'listen = "127.0.0.1:{port}"'))
        process = await start("run", "--config", str(config), output=PIPE)
        output = (await process.communicate())[0].decode()
    assert process.returncode == 1, output
    assert f"web.listen: cannot listen on 127.0.0.1:{port}: Address already in use" in output


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
