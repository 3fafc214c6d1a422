"""Commands that speak to a cluster, against a small API server and a small leader."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from failoverd.adapters.kubernetes import commands as inbox
from failoverd.adapters.kubernetes.memory import decode, encode
from failoverd.cli import main
from failoverd.cli.exits import Exit
from failoverd.core import names
from failoverd.core.memory import (
    AppMemory,
    CopyMemory,
    Kind,
    Loss,
    Memory,
    Move,
    Pause,
    Phase,
    Standing,
    VolumeMemory,
)
from failoverd.core.model import Command, CommandKind
from failoverd.core.rules import EXPERIMENTAL, Site
from tests.adapters.apiserver import ApiServer, kubeconfig, serving, until

MAPS = "/api/v1/namespaces/failoverd/configmaps"
CONFIG = """\
[sites.primary]
node = "k3s-w1"
[sites.backup]
node = "k3s-w2"
[[apps]]
name = "sonarr"
namespace = "media"
volumes = ["config", "media"]
[web]
listen = ""
"""
Leader = Callable[[Command, Memory], Memory]


@dataclass(frozen=True, slots=True)
class Said:
    status: int
    out: str
    err: str


@dataclass(slots=True)
class Bench:
    """One API server, one configuration, and the program itself."""

    server: ApiServer
    folder: Path
    capture: pytest.CaptureFixture[str]

    async def run(self, *argv: str) -> Said:
        """The command line in a thread of its own, with its own event loop, as `main` has in a process."""
        options = ["--config", str(self.folder / "config.toml"), "--kubeconfig", str(self.folder / "kubeconfig")]
        status = await asyncio.wait_for(asyncio.to_thread(main, [*argv, *options]), 40)
        said = self.capture.readouterr()
        return Said(status, said.out, said.err)

    def remember(self, memory: Memory) -> None:
        self.server.put(f"{MAPS}/{names.MEMORY}", {"data": {"memory.json": encode(memory)}})

    def memory(self) -> Memory:
        found = decode(self.server.objects[f"{MAPS}/{names.MEMORY}"]["data"]["memory.json"], "memory")
        assert isinstance(found, Memory)
        return found

    def commands(self) -> tuple[Command, ...]:
        return inbox.parse(self.server.objects.get(f"{MAPS}/{names.COMMANDS}")).commands

    @asynccontextmanager
    async def leader(self, *steps: Leader) -> AsyncIterator[None]:
        """Takes the first command and carries it through `steps`, a good second each."""

        async def lead() -> None:
            await until(self.commands, within=30)
            command = self.commands()[0]
            for step in steps:
                memory = step(command, self.memory())
                self.remember(replace(memory, commands=(command.id,)))
                await asyncio.sleep(1.2)

        task = asyncio.create_task(lead())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def remembered(**changes: Any) -> Memory:
    volumes = {
        "config": VolumeMemory(
            copies={
                Site.PRIMARY: CopyMemory(standing=Standing.ACTIVE, epoch=3),
                Site.BACKUP: CopyMemory(standing=Standing.CLEAN, epoch=3),
            },
            proven_at=datetime.now(UTC) - timedelta(seconds=90),
        ),
        "media": VolumeMemory(
            copies={
                Site.PRIMARY: CopyMemory(standing=Standing.ACTIVE, epoch=3),
                Site.BACKUP: CopyMemory(standing=Standing.UNPROVEN),
            }
        ),
    }
    app = AppMemory(phase=Phase.WATCHING, active=Site.PRIMARY, epoch=3, volumes=volumes)
    return Memory(apps={"media/sonarr": replace(app, **changes)})


def moving(command: Command, phase: Phase) -> AppMemory:
    began = datetime.now(UTC)
    kind = Kind(str(command.kind))
    move = Move(
        id="m1", app="media/sonarr", kind=kind, source=Site.PRIMARY, target=Site.BACKUP, epoch=4,
        reason="asked for", began_at=began, command=command.id, by=command.by, forced=kind is Kind.FAILOVER,
    )  # fmt: skip
    return replace(remembered().apps["media/sonarr"], phase=phase, move=move, epoch=4)


def step(phase: Phase) -> Leader:
    return lambda command, _: Memory(apps={"media/sonarr": moving(command, phase)})


def ending(outcome: str, losses: tuple[Loss, ...] = ()) -> Leader:
    def end(command: Command, _: Memory) -> Memory:
        app = moving(command, Phase.WATCHING)
        assert app.move is not None
        marks = (
            ("decided", app.move.began_at + timedelta(seconds=2)),
            ("ready", app.move.began_at + timedelta(seconds=5)),
        )
        move = replace(app.move, outcome=outcome, marks=marks, losses=losses)
        active = Site.BACKUP if outcome == "done" else Site.PRIMARY
        return Memory(apps={"media/sonarr": replace(app, active=active, move=None, moves=(move,))})

    return end


@pytest.fixture
async def bench(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    (tmp_path / "config.toml").write_text(CONFIG)
    async with serving() as server:
        kubeconfig(tmp_path, server.port)
        server.objects["/version"] = {"major": "1", "minor": "34"}
        yield Bench(server, tmp_path, capsys)


async def test_status_from_memory_alone_says_that_it_is(bench: Bench) -> None:
    bench.remember(remembered())
    said = await bench.run("status")
    assert said.status == Exit.OK
    assert said.err.startswith("note: no daemon's web server was reached")
    lines = [line.split() for line in said.out.splitlines()]
    assert lines[1] == ["media/sonarr", "primary", "watching", "active", "clean", "?", "unknown"]
    assert lines[2] == ["active", "unproven", "unknown"]


async def test_status_calls_active_experimental_whether_the_file_or_the_daemon_says_it(bench: Bench) -> None:
    bench.remember(remembered())
    assert EXPERIMENTAL not in (await bench.run("status")).err
    file = bench.folder / "config.toml"
    file.write_text(f'mode = "active"\n{CONFIG}')
    assert f"note: {EXPERIMENTAL}\n" in (await bench.run("status")).err


async def test_status_as_json_says_whether_it_is_live(bench: Bench) -> None:
    bench.remember(remembered(frozen_why="both sides are sendonly"))
    found = json.loads((await bench.run("status", "sonarr", "-o", "json")).out)
    assert found["live"] is False
    assert found["apps"]["media/sonarr"]["frozen"] == "both sides are sendonly"


@pytest.mark.parametrize(
    ("instance", "note"),
    [
        ({"leader": True, "holder": "pve-1"}, ""),
        ({"leader": False, "holder": "pve-1_0a"}, "pve-1_0a leads and decides"),
        ({"leader": False, "holder": ""}, "nobody leads now"),
    ],
)
async def test_a_follower_that_was_asked_is_called_one(bench: Bench, instance: dict[str, object], note: str) -> None:
    page = json.loads((Path(__file__).parent / "adapters" / "status.json").read_text())
    page["instance"].update(instance, mode="observe")
    bench.server.objects["/status"] = page
    bench.remember(remembered())
    for words in (["status"], ["why", "sonarr"]):
        said = await bench.run(*words, "--url", f"http://127.0.0.1:{bench.server.port}")
        expected = f"note: asked was an instance that only follows, and says what it sees; {note}\n" if note else ""
        assert said.err == expected


async def test_whether_the_other_side_could_take_over_is_shown_and_explained(bench: Bench) -> None:
    page = json.loads((Path(__file__).parent / "adapters" / "status.json").read_text())
    bench.server.objects["/status"] = page
    url = ("--url", f"http://127.0.0.1:{bench.server.port}")
    standby = page["apps"]["media/sonarr"]["standby"]
    told = await bench.run("why", "sonarr", *url)
    assert f"k3s-w1 could not take it over now: {standby['missing'][0]['text']}" in told.out
    assert f"warning: {standby['warnings'][0]['text']}" in told.out
    shown = await bench.run("status", *url)
    assert "not ready" in shown.out
    assert standby["missing"][0]["text"] in shown.out
    standby |= {"ready": True, "missing": [], "warnings": []}
    assert "k3s-w1 could take it over now" in (await bench.run("why", "sonarr", *url)).out
    assert "not ready" not in (await bench.run("status", *url)).out


async def test_why_repeats_the_objections_of_a_running_daemon_word_for_word(bench: Bench) -> None:
    page = json.loads((Path(__file__).parent / "adapters" / "status.json").read_text())
    app = web.Application()

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(page)

    app.router.add_get("/status", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        said = await bench.run("why", "sonarr", "--url", url)
        table = await bench.run("status", "--url", url)
        assert (said.status, said.err, table.status, table.err) == (0, "", 0, f"note: {EXPERIMENTAL}\n")
        described = page["apps"]["media/sonarr"]
        for objection in (*described["objections"], *described["alarms"]):
            assert objection["text"] in said.out
            assert objection["text"] in table.out
        assert "wanted: failover" in said.out
        assert "paused by ada until 2026-01-02 04:04 UTC: disk swap" in said.out
        assert "lease silent for 31 s" in table.out
    finally:
        await runner.cleanup()


async def test_a_switchover_is_asked_for_and_followed_to_its_end(bench: Bench) -> None:
    bench.remember(remembered())
    async with bench.leader(step(Phase.STOPPING), step(Phase.BARRIER), ending("done")):
        said = await bench.run("switchover", "sonarr", "--why", "new disk")
    command = bench.commands()[0]
    assert (said.status, said.err) == (Exit.OK, "")
    assert (command.kind, command.app, command.target) == (CommandKind.SWITCHOVER, "media/sonarr", Site.BACKUP)
    assert (command.epoch, command.why) == (3, "new disk")
    assert timedelta(seconds=100) < command.expires - datetime.now(UTC) < timedelta(minutes=2)
    lines = said.out.splitlines()
    assert lines[0] == f"asked for: switchover of media/sonarr from primary to backup ({command.id})"
    assert [line.split("  ")[-1] for line in lines[1:-1]][-2:] == ["stopping", "barrier"]
    assert lines[-1] == "media/sonarr is on backup after 5.0 s (detect and decide 2.0 s, ready 3.0 s)"


async def test_a_move_that_is_called_off_is_status_1_with_its_reason(bench: Bench) -> None:
    bench.remember(remembered())
    async with bench.leader(ending("aborted: 3 items still missing")):
        said = await bench.run("switchover", "sonarr")
    assert said.status == Exit.REFUSED
    assert said.err == "failoverd: media/sonarr: switchover aborted: 3 items still missing\n"


async def test_a_command_of_which_no_move_came_was_refused(bench: Bench) -> None:
    bench.remember(remembered())
    async with bench.leader(lambda _, memory: memory):
        said = await bench.run("switchover", "sonarr")
    assert said.status == Exit.REFUSED
    assert said.err == (
        "failoverd: switchover of media/sonarr was refused: the app's Events and the daemon's log say why\n"
    )


async def test_a_failback_at_home_and_a_switchover_to_where_it_is_are_done_already(bench: Bench) -> None:
    bench.remember(remembered())
    for argv in (("failback", "sonarr"), ("switchover", "sonarr", "--to", "primary")):
        said = await bench.run(*argv)
        assert (said.status, said.out) == (Exit.OK, "media/sonarr is on primary already\n")
    assert bench.commands() == ()


async def test_pause_and_resume_of_everything(bench: Bench) -> None:
    bench.remember(remembered())
    since = datetime.now(UTC)

    def paused(command: Command, memory: Memory) -> Memory:
        return replace(memory, pauses={command.app: Pause(by=command.by, why=command.why, since=since)})

    async with bench.leader(paused):
        said = await bench.run("pause", "--for", "2h", "--why", "work")
    command = bench.commands()[0]
    assert (said.status, said.out.splitlines()[-1]) == (Exit.OK, "pause: done")
    assert (command.app, command.why) == ("*", "work")
    assert command.until is not None
    assert command.until - command.expires == timedelta(hours=2) - timedelta(minutes=2)
    bench.server.drop(f"{MAPS}/{names.COMMANDS}")
    async with bench.leader(lambda _, memory: memory):
        said = await bench.run("resume")
    assert said.status == Exit.REFUSED
    assert said.err == "failoverd: resume was refused: the app's Events and the daemon's log say why\n"


async def test_release_asks_first_and_is_done_once_the_app_is_released(bench: Bench) -> None:
    bench.remember(remembered())
    said = await bench.run("release", "sonarr")
    assert (said.status, bench.commands()) == (Exit.REFUSED, ())
    assert "roles go back to sendreceive" in said.out
    async with bench.leader(lambda *_: remembered(phase=Phase.RELEASED)):
        said = await bench.run("release", "sonarr", "--yes")
    assert (said.status, said.err, said.out.splitlines()[-1]) == (Exit.OK, "", "release: done")


async def test_no_wait_returns_as_soon_as_it_is_written_and_a_timeout_says_that_it_goes_on(bench: Bench) -> None:
    bench.remember(remembered())
    assert (await bench.run("switchover", "sonarr", "--no-wait")).status == Exit.OK
    assert len(bench.commands()) == 1
    said = await bench.run("switchover", "sonarr", "--timeout", "1s")
    assert said.status == Exit.UNFINISHED
    assert said.err == "failoverd: not finished within 1.0 s; it goes on: failoverd status media/sonarr\n"


async def test_without_memory_there_is_nothing_to_command(bench: Bench) -> None:
    said = await bench.run("switchover", "sonarr")
    assert said.status == Exit.REFUSED
    assert said.err == ("failoverd: there is no Memory in namespace failoverd: no daemon has led there yet\n")


async def test_a_server_that_is_gone_is_status_3_and_one_that_forbids_is_status_1(bench: Bench) -> None:
    bench.remember(remembered())

    def forbid(request: web.Request) -> web.Response | None:
        if request.method not in {"PATCH", "POST"}:
            return None
        refusal = {"kind": "Status", "apiVersion": "v1", "code": 403, "message": "jane may not"}
        return web.json_response(refusal, status=403)

    bench.server.fault = forbid
    said = await bench.run("switchover", "sonarr")
    assert (said.status, said.err.count("\n")) == (Exit.REFUSED, 1)
    assert "jane may not" in said.err
    kubeconfig(bench.folder, 1)
    said = await bench.run("status")
    assert (said.status, said.err.count("\n")) == (Exit.UNREACHABLE, 1)
    assert said.err.startswith("failoverd: GET /version: ")


async def test_an_api_server_that_stumbles_while_following_is_waited_for(bench: Bench) -> None:
    bench.remember(remembered())
    stumbles = 0

    def stumble(request: web.Request) -> web.Response | None:
        nonlocal stumbles
        if request.method == "GET" and request.path.endswith(names.MEMORY) and bench.commands() and stumbles < 2:
            stumbles += 1
            return web.Response(status=500, text="not now")
        return None

    bench.server.fault = stumble
    async with bench.leader(step(Phase.STOPPING), step(Phase.STARTING), ending("done")):
        said = await bench.run("switchover", "sonarr")
    assert said.status == Exit.OK
    assert "cannot see: Memory could not be read" in said.out
    assert stumbles == 2
