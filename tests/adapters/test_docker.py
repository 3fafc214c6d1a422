"""The Docker fence against a small Docker Engine, over a real unix socket and real mTLS on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from failoverd.adapters.fencing import docker
from failoverd.adapters.fencing.docker import Docker, DockerHost
from failoverd.clock import SystemClock
from failoverd.core.model import Guest, GuestState, Unknown
from tests.adapters.engine import (
    CREATED,
    DEAD,
    EXITED,
    ID,
    PAUSED,
    REMOVING,
    RESTARTING,
    RUNNING,
    FakeEngine,
    hang,
    on,
    said,
    serving,
)
from tests.adapters.fences import guest, refusal, why


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def fence(engine: FakeEngine, tmp_path: Path) -> AsyncIterator[Docker]:
    async with serving(engine, tmp_path / "docker.sock") as url:
        found = Docker(DockerHost(url=url), "k3s-w2", SystemClock())
        yield found
        await found.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failoverd.adapters.fencing.engine.CALL_TIMEOUT", timedelta(seconds=0.3))
    monkeypatch.setattr(docker, "GRACE", timedelta(seconds=0))
    monkeypatch.setattr(docker, "OFF_WITHIN", timedelta(seconds=1))


def posts(engine: FakeEngine) -> list[str]:
    return [line.removeprefix("POST /v1.47/containers/") for line in engine.asked if line.startswith("POST")]


async def test_a_running_container_runs_and_nothing_is_wrong(fence):
    found = await guest(fence)
    assert found.uptime is not None
    assert found == Guest(state=GuestState.RUNNING, uptime=found.uptime)
    assert await fence.check() == ()


@pytest.mark.parametrize(
    ("state", "busy"), [(PAUSED, "paused"), (RESTARTING, "restarting")], ids=["paused", "restarting"]
)
async def test_paused_and_restarting_are_running(engine, fence, state, busy):
    engine.state = state
    assert await guest(fence) == Guest(state=GuestState.RUNNING, busy=busy)


async def test_exited_is_stopped(engine, fence):
    engine.state = EXITED
    assert await guest(fence) == Guest(state=GuestState.STOPPED)


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (CREATED, "created but never started"),
        (REMOVING, "being removed"),
        (DEAD, "could not remove it completely"),
        ({**EXITED, "Running": True}, "status 'exited' with Running=True and Pid=0 proves nothing"),
        ({**EXITED, "Pid": 77}, "Pid=77 proves nothing"),
        ({**EXITED, "Pid": None}, "Pid=None proves nothing"),
        ({**EXITED, "Pid": False}, "Pid=False proves nothing"),
        ({**EXITED, "Paused": None}, "proves nothing"),
        ({**EXITED, "Restarting": True}, "proves nothing"),
        ({**RUNNING, "Running": False}, "status 'running' with Running=False"),
        ({**EXITED, "Status": "stopped"}, "status 'stopped'"),
        ({**EXITED, "Status": ""}, "status ''"),
        ({}, "status ''"),
        ([], "is not what Docker sends"),
    ],
)
async def test_a_state_that_is_not_wholly_exited_proves_nothing(engine, fence, state, says):
    engine.state = state
    assert says in await why(fence)
    assert says in "\n".join(await fence.check())


@pytest.mark.parametrize("mode", ["host", "container:other"])
async def test_a_container_without_processes_of_its_own_is_never_proven_stopped(engine, fence, mode):
    engine.host["PidMode"] = mode
    says = f"it shares the process namespace of '{mode}' (--pid): its pods would survive its end"
    assert (await guest(fence)).managed == says
    assert says in await refusal(fence.off())
    assert posts(engine) == []
    engine.state = EXITED
    assert says in await why(fence)


@pytest.mark.parametrize("policy", ["always", "on-failure"])
async def test_a_policy_that_starts_it_again_is_named_and_no_fence_begins(engine, fence, policy):
    engine.host["RestartPolicy"]["Name"] = policy
    says = f"restart policy '{policy}': Docker would start it again whenever its daemon or its host starts"
    (line,) = await fence.check()
    assert says in line
    assert line.endswith("run: docker update --restart unless-stopped k3s-w2")
    assert says in (await guest(fence)).managed
    assert says in await refusal(fence.off())
    assert posts(engine) == []
    # Found stopped, it is stopped all the same.
    engine.state = EXITED
    assert (await guest(fence)).state is GuestState.STOPPED


@pytest.mark.parametrize("policy", ["", "no", "unless-stopped"])
async def test_a_policy_that_leaves_it_stopped_is_good(engine, fence, policy):
    engine.host["RestartPolicy"]["Name"] = policy
    assert await fence.check() == ()


async def test_what_else_would_undo_a_fence_is_named(engine, fence):
    engine.host["RestartPolicy"]["Name"] = "sometimes"
    assert "restart policy 'sometimes' is unknown" in (await fence.check())[0]
    engine.host["AutoRemove"] = True
    assert "it is removed when it stops (--rm)" in (await fence.check())[0]
    engine.host["AutoRemove"] = False
    engine.labels["com.docker.swarm.service.id"] = "x"
    assert "Swarm" in (await guest(fence)).managed
    engine.host["RestartPolicy"] = None
    assert "is not what Docker sends" in await why(fence)


async def test_off_stops_it_by_id_and_confirms(engine, fence):
    assert await fence.off() == f"{fence.name} is stopped"
    assert posts(engine) == [f"{ID}/stop?t=3"]
    assert await fence.off() == f"{fence.name} was stopped already"
    assert len(posts(engine)) == 1


async def test_off_kills_what_a_stop_does_not_end(engine, fence):
    engine.stops = False
    assert await fence.off() == f"{fence.name} is stopped"
    assert posts(engine) == [f"{ID}/stop?t=3", f"{ID}/kill"]


async def test_off_waits_for_a_late_end(engine, fence):
    async def late() -> web.Response:
        asyncio.get_running_loop().call_later(0.6, engine.state.update, EXITED)
        return web.Response(status=204)

    engine.stops = False
    engine.fault = on("/kill", late)
    assert await fence.off() == f"{fence.name} is stopped"


async def test_a_stop_that_was_not_needed_any_more_is_a_success(engine, fence):
    async def gone() -> None:
        engine.state = dict(EXITED)

    engine.fault = on("/stop", gone)
    assert await fence.off() == f"{fence.name} is stopped"


async def test_a_container_that_cannot_be_killed_is_a_failure_with_both_reasons(engine, fence):
    engine.stops = engine.kills = False
    text = await refusal(fence.off())
    assert "it is still running" in text
    assert "stop: 500 cannot stop container" in text
    assert "kill: 500 cannot kill container: operation not permitted" in text


async def test_a_daemon_that_says_done_and_did_nothing_is_not_believed(engine, fence, impatient):
    async def lies() -> web.Response:
        return web.Response(status=204)

    engine.stops = False
    engine.fault = on("/kill", lies)
    assert "it is still running" in await refusal(fence.off())


async def test_a_container_replaced_in_the_middle_is_a_failure(engine, fence):
    async def replaced() -> web.Response:
        engine.ident, engine.state = "b" * 64, dict(EXITED)
        return web.Response(status=204)

    engine.fault = on("/stop", replaced)
    assert f"404 No such container: {ID}" in await refusal(fence.off())


async def test_off_is_refused_where_nothing_could_be_confirmed(engine, fence):
    engine.state = DEAD
    assert "stop refused: Docker could not remove it" in await refusal(fence.off())
    engine.name = "other"
    assert "404 No such container: k3s-w2" in await refusal(fence.off())
    assert posts(engine) == []


async def test_on_starts_it_and_confirms(engine, fence):
    engine.state = EXITED
    assert await fence.on() == f"{fence.name} is running"
    assert await fence.on() == f"{fence.name} was running already"
    assert posts(engine) == [f"{ID}/start"]


async def test_on_fails_with_the_reason(engine, fence):
    engine.state, engine.starts = EXITED, False
    text = await refusal(fence.on())
    assert "it is still exited" in text
    assert "port is already allocated" in text
    engine.state = PAUSED
    assert "unpause it by hand" in await refusal(fence.on())


async def test_a_missing_container_is_unknown(engine, fence):
    engine.name = "other"
    assert await why(fence) == f"{fence.name}: 404 No such container: k3s-w2"
    assert await fence.check() == (f"{fence.name}: 404 No such container: k3s-w2",)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"{", b"\xff\xfe", b'{"State": {}}', b"1" * 99999])
async def test_garbage_is_unknown(engine, fence, body):
    async def garbage() -> web.Response:
        return web.Response(body=body)

    engine.fault = on("/json", garbage)
    assert "is not what Docker sends" in await why(fence)
    assert "is not what Docker sends" in await refusal(fence.off())


async def test_an_error_of_the_daemon_is_unknown_with_its_words(engine, fence):
    async def broken() -> web.Response:
        return said(500, "layer\ndoes not exist")

    engine.fault = on("/json", broken)
    assert await why(fence) == f"{fence.name}: 500 layer does not exist"


async def test_a_hanging_daemon_is_unknown_in_time_and_known_again_after(engine, fence, impatient):
    engine.fault = on("/json", hang)
    assert "no answer within 0.3 s" in await why(fence)
    assert "no answer within 0.3 s" in await refusal(fence.off())
    assert posts(engine) == []
    engine.fault = None
    assert (await guest(fence)).state is GuestState.RUNNING


async def test_a_stop_that_hangs_is_followed_by_a_kill(engine, fence, impatient):
    engine.fault = on("/stop", hang)
    assert await fence.off() == f"{fence.name} is stopped"


async def test_a_connection_cut_in_the_answer_is_unknown(engine, fence):
    async def fault(request: web.Request) -> web.StreamResponse | None:
        if "/json" in request.path:
            answer = web.StreamResponse(headers={"Content-Length": "1000"})
            await answer.prepare(request)
            await answer.write(b'{"State": {"Status": "exited"')
            assert request.transport is not None
            request.transport.close()
            return answer
        return None

    engine.fault = fault
    assert "no connection" in await why(fence)


async def test_the_daemons_own_version_is_spoken_and_a_new_one_found_out(engine, fence):
    await guest(fence)
    assert engine.asked == ["GET /_ping", "GET /v1.47/containers/k3s-w2/json"]
    engine.version = "1.51"
    assert "client version 1.47 is too new" in await why(fence)
    assert (await guest(fence)).state is GuestState.RUNNING
    assert engine.asked[-1] == "GET /v1.51/containers/k3s-w2/json"


async def test_another_server_on_that_address_is_unknown(engine, fence):
    async def other() -> web.Response:
        return web.Response(text="hello")

    engine.fault = on("/_ping", other)
    assert "200 to a ping: this is no Docker Engine" in await why(fence)


async def test_readings_side_by_side_do_not_disturb_each_other(engine, fence, impatient):
    hung = asyncio.Event()

    async def once() -> web.StreamResponse | None:
        if hung.is_set():
            return None
        hung.set()
        return await hang()

    engine.fault = on("/json", once)
    first = asyncio.create_task(fence.state())
    await hung.wait()
    found = await asyncio.gather(first, *(fence.state() for _ in range(20)))
    # One hangs, and closes the connections; the others have an answer, or lost theirs to that.
    assert isinstance(found[0], Unknown)
    assert all(isinstance(one, Guest | Unknown) for one in found)
    assert (await guest(fence)).state is GuestState.RUNNING


async def test_no_socket_is_unknown(tmp_path):
    fence = Docker(DockerHost(url=f"unix://{tmp_path}/docker.sock"), "k3s-w2", SystemClock())
    assert "no connection: " in await why(fence)
    assert "no connection: " in await refusal(fence.off())
    await fence.close()
