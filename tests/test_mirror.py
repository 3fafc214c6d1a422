"""One configuration for all instances: what the cluster keeps has a local copy, which is good, whole, and enough."""

from __future__ import annotations

import re
import signal
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from failoverd.adapters.kubernetes.client import JSON, MERGE_PATCH, Client
from failoverd.cli import main
from failoverd.config import load
from failoverd.core import names
from failoverd.life import UNMIRRORED
from failoverd.mirror import ALONE, Mirror, Origin
from failoverd.simulator.daemon_process import start
from failoverd.simulator.serve import Serve
from tests.adapters import apiserver
from tests.adapters.apiserver import ApiServer
from tests.test_config_refusals import APP, FENCE, SITES
from tests.test_daemon import config, running, served

__all__ = ["config", "served"]  # fixtures

PLACE = "/api/v1/namespaces/failoverd/configmaps/failoverd-config"
SOURCE = "configmap:failoverd/failoverd-config"
GOOD = SITES + APP


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with apiserver.serving() as serving:
        yield serving


@pytest.fixture
async def mirror(server: ApiServer, tmp_path: Path) -> AsyncIterator[Mirror]:
    (tmp_path / "copy").mkdir()
    made = Mirror(
        origin=Origin(namespace="failoverd", name="failoverd-config"),
        path=tmp_path / "copy" / "config.toml",
        kubeconfig=apiserver.kubeconfig(tmp_path, server.port),
    )
    yield made
    await made.close()


def keeps(server: ApiServer, text: str, key: str = names.CONFIG_KEY) -> None:
    server.put(PLACE, {"data": {key: text}})


async def test_the_copy_is_what_the_cluster_keeps_byte_for_byte_and_written_when_that_changes(server, mirror):
    keeps(server, GOOD + "# à la carte\n")
    await mirror.look()
    assert mirror.path.read_text(encoding="utf-8") == GOOD + "# à la carte\n"
    assert load(mirror.path).rules.apps[0].key == "media/sonarr"
    before = mirror.path.stat()
    await mirror.look()
    assert (mirror.path.stat().st_ino, mirror.path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    keeps(server, GOOD + 'mode = "active"\n'.replace("mode", "[failover]\ncooldown = '1h'\n#"))
    await mirror.look()
    assert "cooldown = '1h'" in mirror.path.read_text()
    assert (mirror.refused, mirror.away) == ((), "")
    assert [path.name for path in mirror.path.parent.iterdir()] == ["config.toml"]


async def test_what_cannot_be_used_here_is_refused_by_line_and_the_copy_stays(server, mirror):
    keeps(server, GOOD)
    await mirror.look()
    keeps(server, "[failover]\ncoldown = '1m'\n" + GOOD)
    await mirror.look()
    (problem,) = mirror.refused
    assert str(problem) == f'{SOURCE}:2: failover.coldown: unknown key; did you mean "cooldown"?'
    assert mirror.path.read_text() == GOOD
    keeps(server, GOOD)
    await mirror.look()
    assert mirror.refused == ()


@pytest.mark.parametrize(
    ("code", "refused", "away"), [(403, True, False), (404, True, False), (503, False, True), (429, False, True)]
)
async def test_a_cluster_that_refuses_is_told_from_one_that_cannot_answer_now(server, mirror, code, refused, away):
    keeps(server, GOOD)
    await mirror.look()

    def fail(request):
        return web.json_response(apiserver.status(code, "because"), status=code)

    server.fault = fail
    with capture_logs() as logs:
        await mirror.look()
        await mirror.look()
    assert (bool(mirror.refused), bool(mirror.away)) == (refused, away)
    assert mirror.path.read_text() == GOOD
    assert [entry["event"] for entry in logs] == [ALONE] * away
    server.fault = None
    with capture_logs() as logs:
        await mirror.look()
    assert (mirror.refused, mirror.away) == ((), "")
    assert [entry["event"] for entry in logs] == ["the cluster's configuration can be read again"] * away


async def test_a_configmap_without_our_key_says_what_it_has(server, mirror):
    keeps(server, GOOD, "failoverd.toml")
    await mirror.look()
    assert str(mirror.refused[0]).endswith("has no config.toml, but failoverd.toml")
    assert not mirror.path.exists()


async def test_a_copy_that_cannot_be_written_leaves_nothing_half_done(server, mirror):
    keeps(server, GOOD)
    mirror.path.mkdir()
    await mirror.look()
    assert str(mirror.refused[0]) == f"{mirror.path}: cannot be written: Is a directory"
    assert [path.name for path in mirror.path.parent.iterdir()] == ["config.toml"]


async def test_the_files_it_names_are_looked_for_where_this_machine_has_them(server, mirror, tmp_path):
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    token = FENCE.replace("token =", "#").rstrip() + '\ntoken_file = "/var/run/secrets/failoverd/proxmox-token"\n'
    keeps(server, GOOD + token)
    mirror.files_in = credentials
    await mirror.look()
    assert f"cannot read {credentials}/proxmox-token: No such file" in str(mirror.refused[0])
    (credentials / "proxmox-token").write_text("failoverd@pve!fence=0-1\n")
    await mirror.look()
    assert mirror.refused == ()
    found = load(mirror.path, files_in=credentials)
    assert found.fences["k3s-w1"].token == "failoverd@pve!fence=0-1"
    twice = '[[notify]]\ntype = "slack"\nurl_file = "/elsewhere/proxmox-token"\n'
    keeps(server, GOOD + token + twice)
    await mirror.look()
    assert "would be the same file in" in str(mirror.refused)


@pytest.fixture
async def shared(served: Serve, config: Path) -> AsyncIterator[Client]:
    """The cluster keeps the configuration of the daemon tests."""
    text = config.read_text()  # noqa: ASYNC240
    client = await Client.load(served.kubeconfig)
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": names.CONFIG},
        "data": {names.CONFIG_KEY: text},
    }
    await client.request("POST", PLACE.rpartition("/")[0], body, content_type=JSON)
    yield client
    await client.close()


async def change(client: Client, text: str) -> None:
    await client.request("PATCH", PLACE, {"data": {names.CONFIG_KEY: text}}, content_type=MERGE_PATCH)


def unreachable(served: Serve, folder: Path) -> Path:
    """A kubeconfig of a cluster that is away."""
    path = folder / "gone.yaml"
    path.write_text(re.sub(r"(https://[^:]+):\d+", r"\1:1", served.kubeconfig.read_text()))
    return path


async def test_a_daemon_follows_the_cluster_and_starts_by_its_copy_without_one(shared, served, config, tmp_path):
    copy, text = tmp_path / "copy.toml", config.read_text()
    options = ("--config-from", SOURCE, "--kubeconfig", str(served.kubeconfig))
    async with running(copy, *options) as said:
        assert (await said.until("starting"))["mode"] == "observe"
        await said.until("leader")
        await change(shared, text + "\n[failover]\ncoldown = '1m'\n")
        said.process.send_signal(signal.SIGHUP)
        refused = await said.until(f"{UNMIRRORED}: {SOURCE}:24: failover.coldown: unknown key;"
                                   ' did you mean "cooldown"?')  # fmt: skip
        assert refused["level"] == "error"
        assert copy.read_text() == text
        await change(shared, text.replace('mode = "observe"', 'mode = "active"'))
        said.process.send_signal(signal.SIGHUP)
        await said.until("the cluster's configuration is in force again")
        assert (await said.until("configuration changed"))["tables"] == ["mode"]
        assert (await said.until("starting"))["mode"] == "active"
        await said.until("leader")
    gone = unreachable(served, tmp_path)
    copy.write_text(copy.read_text().replace(str(served.kubeconfig), str(gone)))
    async with running(copy, "--config-from", SOURCE, "--kubeconfig", str(gone)) as said:
        assert (await said.until(ALONE))["copy"] == str(copy)
        assert (await said.until("starting"))["mode"] == "active"


async def test_without_cluster_and_copy_it_does_not_start(served, tmp_path):
    options = ("--config-from", SOURCE, "--kubeconfig", str(unreachable(served, tmp_path)))
    process = await start("run", "--config", str(tmp_path / "copy.toml"), *options, output=PIPE)
    output = (await process.communicate())[0].decode()
    assert process.returncode == 3, output
    assert f"{SOURCE}: there is no local copy {tmp_path}/copy.toml yet, and GET /api" in output


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("--config-from", "secret:a/b"), 2, '"secret:a/b" is no source; write it as configmap:NAMESPACE/NAME'),
        (("--config-from", SOURCE, "--kubeconfig", "/nowhere"), 2, "kubeconfig /nowhere cannot be used"),
        (
            ("--config-from", SOURCE, "--config", "/nowhere/x.toml", "--kubeconfig", "/y"),
            2,
            "there is no folder /nowhere",
        ),
    ],
)
def test_a_start_that_cannot_be_is_one_line(tmp_path, capsys, options, status, words):
    assert main(["run", "--config", str(tmp_path / "copy.toml"), *options]) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
