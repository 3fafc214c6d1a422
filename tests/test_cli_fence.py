"""`failoverd fence test` as a user meets it: a Docker Engine and hooks that are really asked."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from failoverd.adapters.kubernetes.memory import encode
from failoverd.cli import main
from failoverd.cli.exits import Exit
from failoverd.config import load
from failoverd.core import names
from failoverd.core.memory import AppMemory, Memory, NodeMemory, Pause, Phase
from failoverd.core.rules import Site
from tests.adapters import apiserver
from tests.adapters.engine import EXITED, RUNNING, FakeEngine, serving

ROOT = Path(__file__).parent.parent
CONFIG = """\
mode = "active"
[sites.primary]
node = "k3s-w1"
[sites.backup]
node = "k3s-w2"
[[apps]]
name = "sonarr"
namespace = "media"
[[fencing]]
node = "k3s-w2"
type = "docker"
url = "{url}"
container = "k3s-w2"
[[fencing]]
node = "k3s-w1"
type = "command"
argv = ["{hook}"]
timeout = "5s"
"""
HOOK = """\
#!/bin/sh
cd {folder} || exit 99
echo "$1" >> asked
case "$1" in
  state) echo "{{\\"state\\": \\"$(cat power)\\"}}" ;;
  off) echo stopped > power ;;
  on) echo running > power ;;
esac
"""
DOCKER_GOOD = "it answers; the container's processes are its own; no restart policy would undo it"


@dataclass(slots=True)
class Bench:
    engine: FakeEngine
    folder: Path
    capture: pytest.CaptureFixture[str]

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"

    async def run(self, *argv: str) -> tuple[int, str, str]:
        """Status, what was said without times, and errors."""
        status = await asyncio.wait_for(
            asyncio.to_thread(main, ["fence", "test", *argv, "--config", str(self.config)]), 40
        )
        said = self.capture.readouterr()
        return status, re.sub(r" \(\d+(\.\d)? s\)$", "", said.out, flags=re.MULTILINE), said.err

    def asked(self) -> list[str]:
        return (self.folder / "asked").read_text().split()


@pytest.fixture
async def bench(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    hook = tmp_path / "hook"
    hook.write_text(HOOK.format(folder=tmp_path))
    hook.chmod(0o755)
    (tmp_path / "power").write_text("running\n")
    engine = FakeEngine()
    async with serving(engine, tmp_path / "d.sock") as url:
        found = Bench(engine, tmp_path, capsys)
        found.config.write_text(CONFIG.format(url=url, hook=hook))
        yield found


async def test_a_good_fence_is_told_step_by_step_and_nothing_is_switched(bench: Bench) -> None:
    status, out, err = await bench.run("k3s-w2")
    assert (status, err) == (Exit.OK, "")
    lines = out.splitlines()
    assert lines[0] == f"k3s-w2: docker: container k3s-w2 ({bench.folder}/d.sock)"
    assert lines[1].startswith("  state   running for ")
    assert lines[2:] == [
        f"  check   {DOCKER_GOOD}",
        "  mapping unknown: no way to a cluster: there is no ~/.kube/config; "
        "give --kubeconfig FILE or set kubernetes.kubeconfig",
        "good; nothing was switched (--really does)",
    ]
    assert [line for line in bench.engine.asked if line.startswith("POST")] == []
    assert (await bench.run("k3s-w1"))[0] == Exit.OK
    assert set(bench.asked()) == {"state"}


async def test_what_would_undo_it_is_told_and_is_a_failure(bench: Bench) -> None:
    bench.engine.host["RestartPolicy"]["Name"] = "always"
    status, out, _ = await bench.run("k3s-w2")
    assert status == Exit.REFUSED
    assert "restart policy 'always'" in out
    assert "docker update --restart unless-stopped k3s-w2" in out
    status, _, err = await bench.run("k3s-w2", "--really", "--yes")
    assert (status, err) == (Exit.REFUSED, "failoverd: not tried: it would not work, or not be undone\n")
    assert [line for line in bench.engine.asked if line.startswith("POST")] == []


async def test_a_fence_that_does_not_answer_is_a_failure(bench: Bench) -> None:
    bench.config.write_text(bench.config.read_text().replace("d.sock", "no.sock"))
    status, out, _ = await bench.run("k3s-w2")
    assert status == Exit.REFUSED
    assert "state   unknown: container k3s-w2" in out
    assert "no connection" in out


async def test_a_node_without_a_fence_is_a_wrong_command_line(bench: Bench) -> None:
    status, out, err = await bench.run("k3s-w3")
    assert (status, out) == (Exit.USAGE, "")
    assert err == 'failoverd: no [[fencing]] is for the node "k3s-w3"; did you mean "k3s-w2"?\n'


@pytest.mark.parametrize("node", ["k3s-w1", "k3s-w2"])
async def test_really_cuts_and_gives_back(bench: Bench, node: str) -> None:
    status, out, err = await bench.run(node, "--really", "--yes")
    assert (status, err) == (Exit.OK, "")
    steps = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
    assert steps == ["state", "check", "mapping", "off", "state", "on"]
    assert f"The power of {node} is cut and given back." in out
    assert "state   stopped" in out
    assert out.endswith("good: it was off, and it runs again\n")
    if node == "k3s-w1":
        assert [verb for verb in bench.asked() if verb != "state"] == ["off", "on"]
    else:
        assert [line.rpartition("/")[2] for line in bench.engine.asked if "POST" in line] == ["stop?t=3", "start"]


async def test_really_asks_and_nobody_there_is_a_no(bench: Bench) -> None:
    status, _, err = await bench.run("k3s-w1", "--really")
    assert (status, err) == (Exit.REFUSED, "failoverd: nobody is there to ask: confirm with --yes\n")
    assert set(bench.asked()) == {"state"}


async def typed(bench: Bench, answer: str, node: str) -> tuple[int, str]:
    """The program on a terminal, with `answer` typed into it: its status and what the terminal showed."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "failoverd", "fence", "test", node, "--really", "--config", str(bench.config),
        stdin=theirs, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=ROOT,
    )  # fmt: skip
    os.write(ours, f"{answer}\n".encode())
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 40)
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_only_the_nodes_name_is_a_yes(bench: Bench) -> None:
    status, out = await typed(bench, "yes", "k3s-w1")
    assert status == Exit.REFUSED
    assert "Type k3s-w1 to go on: failoverd: not confirmed; nothing was done" in out
    assert set(bench.asked()) == {"state"}
    status, out = await typed(bench, "k3s-w1", "k3s-w1")
    assert status == Exit.OK, out
    assert "off" in bench.asked()


async def test_a_node_that_does_not_run_is_left_alone(bench: Bench) -> None:
    bench.engine.state = dict(EXITED)
    status, _, err = await bench.run("k3s-w2", "--really", "--yes")
    assert (status, err) == (Exit.REFUSED, "failoverd: not tried: k3s-w2 is not running: stopped\n")
    assert bench.engine.state == EXITED


async def test_a_cut_that_fails_is_a_failure_and_the_node_is_seen_to_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("failoverd.cli.fence.SETTLED", timedelta(0))
    bench.engine.stops = bench.engine.kills = False
    status, out, err = await bench.run("k3s-w2", "--really", "--yes")
    assert (status, err) == (Exit.REFUSED, "failoverd: the fence of k3s-w2 does not work\n")
    assert "off     FAILED: container k3s-w2" in out
    assert "was running already" in out


async def test_a_node_that_cannot_be_started_again_is_said_loudly(bench: Bench) -> None:
    bench.engine.starts = False
    status, out, err = await bench.run("k3s-w2", "--really", "--yes")
    assert (status, err) == (Exit.REFUSED, "failoverd: k3s-w2 could not be started again: see to it by hand\n")
    assert "on      FAILED: " in out


async def test_interrupted_in_the_middle_it_starts_the_node_again(bench: Bench) -> None:
    hook = bench.folder / "hook"
    hook.write_text(hook.read_text().replace("> power ;;\n  on)", "> power; touch cut; sleep 4 ;;\n  on)"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "failoverd", "fence", "test", "k3s-w1", "--really", "--yes",
        "--config", str(bench.config), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=ROOT,
        # A shell's background jobs ignore it, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    async with asyncio.timeout(30):
        while not list(bench.folder.glob("cut")):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, _ = await process.communicate()
    assert process.returncode == Exit.INTERRUPTED, out.decode()
    assert (bench.folder / "power").read_text() == "running\n"
    assert out.decode().endswith("failoverd: interrupted\n")


# -- with a cluster that can be asked


async def test_memory_tells_the_mapping_and_what_would_be_moved(bench: Bench) -> None:
    rules = load(bench.config).rules
    app = AppMemory(phase=Phase.WATCHING, active=Site.BACKUP, epoch=2, volumes={})
    memory = Memory(apps={"media/sonarr": app}, nodes={"k3s-w2": NodeMemory(mapped=rules.fence_hash)})
    paused = Memory(
        apps=memory.apps, nodes=memory.nodes, pauses={"*": Pause(by="ada", why="", since=datetime.now(UTC))}
    )
    async with apiserver.serving() as server:
        apiserver.kubeconfig(bench.folder, server.port)
        server.objects["/version"] = {"major": "1", "minor": "34"}
        path = f"/api/v1/namespaces/failoverd/configmaps/{names.MEMORY}"
        way = ["--kubeconfig", str(bench.folder / "kubeconfig")]
        server.put(path, {"data": {"memory.json": encode(memory)}})
        _, out, _ = await bench.run("k3s-w2", *way, "--really", "--yes")
        assert "mapping proven: the daemon saw it run while the node's lease moved" in out
        assert "It runs: media/sonarr." in out
        assert "A daemon in mode active moves away: media/sonarr. `failoverd pause` keeps them there." in out
        _, out, _ = await bench.run("k3s-w1", *way, "--really", "--yes")
        assert "mapping not proven: " in out
        assert "media/sonarr" not in out
        server.put(path, {"data": {"memory.json": encode(paused)}})
        _, out, _ = await bench.run("k3s-w2", *way, "--really", "--yes")
        assert "moves away" not in out
        assert bench.engine.state["Status"] == RUNNING["Status"]
        over = Pause(by="ada", why="", since=datetime.now(UTC), until=datetime.now(UTC) - timedelta(minutes=1))
        server.put(path, {"data": {"memory.json": encode(replace(paused, pauses={"*": over}))}})
        _, out, _ = await bench.run("k3s-w2", *way, "--really", "--yes")
        assert "moves away: media/sonarr" in out
        assert server.sent("PATCH") == server.sent("PUT") == server.sent("POST") == []
