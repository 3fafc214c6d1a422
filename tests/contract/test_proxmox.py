"""Contract: the calls of the Proxmox VE API that fencing makes. Guest 101 is k3s-w1, a container that runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.worlds import World

pytestmark = pytest.mark.asyncio(loop_scope="session")

GUEST = "/nodes/pve/lxc/101/status"
TASKS = "/nodes/pve/tasks"
ACTIVE = {"source": "active", "limit": "500"}


@pytest.fixture
def normal(world: World) -> Iterator[None]:
    """What was bent is straightened."""
    yield
    world.hypervisor()


@pytest.mark.parametrize("token", ["wrong", "nobody"])
async def test_an_unknown_token_is_refused(world: World, token: str) -> None:
    assert (await world.pve("GET", f"{GUEST}/current", token=token)).status == 401


async def test_answers_carry_the_time(world: World) -> None:
    assert (await world.pve("GET", "/version")).headers["Date"].endswith("GMT")


async def test_the_version_is_told(world: World) -> None:
    assert (await world.pve("GET", "/version")).json["data"]["version"].startswith("8.")


async def test_a_guest_that_runs_says_so_and_since_when(world: World) -> None:
    answer = await world.pve("GET", f"{GUEST}/current")
    data = answer.json["data"]
    assert (answer.status, data["status"], data["vmid"], data["name"]) == (200, "running", 101, "k3s-w1")
    assert data["uptime"] > 0
    assert not data["ha"]["managed"]
    assert "lock" not in data


async def test_a_guest_nobody_knows_is_an_error_of_the_server(world: World) -> None:
    answer = await world.pve("GET", "/nodes/pve/lxc/999/status/current")
    assert answer.status in (403, 500)
    if answer.status == 500:
        assert answer.words == "Configuration file 'nodes/pve/lxc/999.conf' does not exist"


async def test_permissions_are_told_by_path(world: World) -> None:
    async def granted(path: str, token: str) -> set[str]:
        answer = await world.pve("GET", "/access/permissions", {"path": path}, token=token)
        return {name for name, on in answer.json["data"].get(path, {}).items() if on}

    assert {"VM.Audit", "VM.PowerMgmt"} <= await granted("/vms/101", "fence")
    assert "Sys.Audit" in await granted("/nodes/pve", "fence")
    assert "Sys.Audit" not in await granted("/nodes/pve", "narrow")
    assert "VM.PowerMgmt" not in await granted("/vms/101", "blind")


@pytest.mark.parametrize(("method", "path"), [("GET", "current"), ("POST", "stop"), ("POST", "start")])
async def test_who_has_no_say_over_a_guest_is_forbidden(world: World, method: str, path: str) -> None:
    answer = await world.pve(method, f"{GUEST}/{path}", token="blind")
    assert answer.status == 403
    assert answer.words.startswith("Permission check failed (/vms/101, VM.")


async def test_what_runs_is_not_started(world: World) -> None:
    answer = await world.pve("POST", f"{GUEST}/start")
    assert (answer.status, answer.words) == (500, "CT 101 already running")


async def test_unknown_parameters_are_refused(world: World) -> None:
    answer = await world.pve("POST", f"{GUEST}/stop", {"gently": "1"})
    assert answer.status == 400
    assert "gently" in answer.json["errors"]


async def test_without_tasks_the_list_of_active_ones_is_empty(world: World) -> None:
    assert (await world.pve("GET", TASKS, ACTIVE)).json["data"] == []


async def test_somebody_elses_task_is_seen_with_sys_audit_alone(world: World, normal: None) -> None:
    world.hypervisor(task="vzdump")
    (task,) = (await world.pve("GET", TASKS, ACTIVE)).json["data"]
    assert (task["type"], task["id"], task["status"]) == ("vzdump", "101", "RUNNING")
    assert task["user"] == "root@pam"
    assert (await world.pve("GET", TASKS, ACTIVE, token="narrow")).json["data"] == []


async def test_a_task_nobody_knows_is_a_bad_parameter(world: World) -> None:
    upid = "UPID:pve:00000001:00000001:65000000:vzstop:101:failoverd@pve!fence:"
    assert (await world.pve("GET", f"{TASKS}/{upid}/status")).status == 400


async def test_a_lock_is_told_and_makes_the_stop_task_fail(world: World, normal: None) -> None:
    world.hypervisor(lock="backup")
    assert (await world.pve("GET", f"{GUEST}/current")).json["data"]["lock"] == "backup"
    answer = await world.pve("POST", f"{GUEST}/stop")
    assert answer.status == 200, answer.text
    upid = answer.json["data"]

    async def ended() -> str | None:
        task = (await world.pve("GET", f"{TASKS}/{upid}/status")).json["data"]
        return str(task["exitstatus"]) if task["status"] == "stopped" else None

    assert await world.until(ended, 20, "the task ends") == "CT is locked (backup)"
    assert (await world.pve("GET", f"{GUEST}/current")).json["data"]["status"] == "running"
