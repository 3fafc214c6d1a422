"""Contract: a mover's Syncthing by the API server's Service proxy. What each call answers, on one quiet side.

Volume media of paperless: files, no database. Its app writes on the primary all the time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.contract.worlds import CONFIG, FOLDER, MEDIA, SOURCES, Json, World, folder, get, patient, scan, status

pytestmark = pytest.mark.asyncio(loop_scope="session")

HERE, THERE = "paperless-media-backup", "paperless-media-primary"
QUIET = {"folder": FOLDER}


@pytest_asyncio.fixture(loop_scope="session")
async def standby(world: World) -> AsyncIterator[None]:
    """This side only receives; afterwards it is as VolSync made it."""
    await folder(world, HERE, type="receiveonly")
    yield
    await folder(world, HERE, type="sendreceive", paused=False, versioning={"type": ""})


@pytest.fixture
def mounted(world: World) -> Iterator[None]:
    """Afterwards the disk is there."""
    yield
    world.marker(HERE, present=True)


@pytest.mark.parametrize("key", ["", "wrong"])
async def test_without_its_key_a_mover_refuses_in_plain_text(world: World, key: str) -> None:
    """Not 401, and not in the API server's form. `CSRF Error` is what it says without a login, as in the demo."""
    answer = await world.mover(HERE, "GET", "/rest/system/status", key=key)
    assert (answer.status, answer.text in ("CSRF Error", "Forbidden")) == (403, True)


async def test_writing_without_its_key_changes_nothing(world: World) -> None:
    before = await folder(world, HERE)
    answer = await world.mover(HERE, "PATCH", CONFIG, {"type": "receiveonly"}, key="")
    assert answer.status == 403
    assert await folder(world, HERE) == before


async def test_health_needs_no_key(world: World) -> None:
    answer = await world.mover(HERE, "GET", "/rest/noauth/health", key="")
    assert (answer.status, answer.json) == (200, {"status": "OK"})


async def test_a_movers_answers_carry_the_time(world: World) -> None:
    assert (await world.mover(HERE, "GET", "/rest/system/status")).headers["Date"].endswith("GMT")


async def test_a_service_nobody_knows_is_not_found(world: World) -> None:
    path = f"{MEDIA}/services/https:volsync-nobody-api:8384/proxy/rest/system/status"
    assert (await world.kube("GET", path)).refusal == (404, "NotFound")


async def test_a_port_the_service_lacks_is_unavailable(world: World) -> None:
    path = f"{MEDIA}/services/https:volsync-{HERE}-api:9999/proxy/rest/system/status"
    assert (await world.kube("GET", path)).refusal == (503, "ServiceUnavailable")


async def test_the_port_may_be_named(world: World) -> None:
    path = f"{MEDIA}/services/https:volsync-{HERE}-api:api/proxy/rest/noauth/health"
    assert (await world.kube("GET", path)).status == 200


async def test_a_process_says_who_it_is_and_since_when(world: World) -> None:
    first = (await world.mover(HERE, "GET", "/rest/system/status")).json
    again = (await world.mover(HERE, "GET", "/rest/system/status")).json
    assert (first["myID"], first["startTime"]) == (again["myID"], again["startTime"])
    assert first["startTime"].endswith("Z")
    source = await get(world, f"{SOURCES}/{HERE}")
    assert source["status"]["syncthing"]["ID"] == first["myID"]


async def test_a_folder_is_as_volsync_made_it(world: World) -> None:
    found = await folder(world, HERE)
    assert (found["id"], found["type"], found["paused"]) == (FOLDER, "sendreceive", False)
    assert (found["path"], found["markerName"], found["fsWatcherDelayS"]) == ("/data", ".stfolder", 10)
    assert (found["rescanIntervalS"], found["versioning"]["type"]) == (3600, "")
    own = (await world.mover(HERE, "GET", "/rest/system/status")).json["myID"]
    peer = (await world.mover(THERE, "GET", "/rest/system/status")).json["myID"]
    assert {device["deviceID"] for device in found["devices"]} == {own, peer}


async def test_the_other_side_is_connected(world: World) -> None:
    peer = (await world.mover(THERE, "GET", "/rest/system/status")).json["myID"]
    links = (await world.mover(HERE, "GET", "/rest/system/connections")).json["connections"]
    assert (links[peer]["connected"], links[peer]["paused"]) == (True, False)
    assert links[peer]["at"].endswith("Z")


async def test_type_and_versioning_change_in_one_patch_and_nothing_else_does(world: World, standby: None) -> None:
    before = await folder(world, HERE)
    keep = {"type": "simple", "params": {"keep": "1000000", "cleanoutDays": "0"}}
    answer = await world.mover(HERE, "PATCH", CONFIG, {"type": "sendonly", "versioning": keep})
    assert (answer.status, answer.raw) == (200, b"")
    found = await folder(world, HERE)
    assert (found["type"], found["versioning"]["type"]) == ("sendonly", "simple")
    assert found["versioning"]["params"] == keep["params"]
    changed = ("type", "versioning")
    assert {k: v for k, v in found.items() if k not in changed} == {
        k: v for k, v in before.items() if k not in changed
    }
    assert (await folder(world, HERE, versioning={"type": ""}))["versioning"]["type"] == ""


async def test_a_type_nobody_knows_is_not_taken_over(world: World, standby: None) -> None:
    await world.mover(HERE, "PATCH", CONFIG, {"type": "sideways"})
    assert (await folder(world, HERE))["type"] in ("receiveonly", "sendreceive")


async def test_status_counts_what_is_here_and_what_is_missing(world: World) -> None:
    found = await status(world, HERE)
    numbers = ("errors", "pullErrors", "needTotalItems", "needDeletes", "needBytes", "localFiles", "sequence")
    assert all(isinstance(found[name], int) for name in numbers)
    assert isinstance(found["receiveOnlyTotalItems"], int)
    peer = (await world.mover(THERE, "GET", "/rest/system/status")).json["myID"]
    assert found["remoteSequence"][peer] > 0
    assert found["error"] == ""
    assert found["localFiles"] > 0


async def test_a_folder_nobody_knows_is_not_found(world: World) -> None:
    for path in ("/rest/db/status", "/rest/folder/errors", "/rest/db/completion"):
        assert (await world.mover(HERE, "GET", path, folder="other")).status == 404
    assert (await world.mover(HERE, "POST", "/rest/db/scan", folder="other")).status == 500


async def test_a_scan_is_answered_when_it_has_ended(world: World, standby: None) -> None:
    before = await status(world, HERE)
    world.write(HERE, "scanned.txt")
    answer = await world.mover(HERE, "POST", "/rest/db/scan", **QUIET)
    assert (answer.status, answer.raw) == (200, b"")
    after = await status(world, HERE)
    assert after["sequence"] > before["sequence"]
    assert after["receiveOnlyTotalItems"] == before["receiveOnlyTotalItems"] + 1
    world.remove(HERE, "scanned.txt")
    await scan(world, HERE)
    await world.mover(HERE, "POST", "/rest/db/revert", **QUIET)


async def test_ignore_patterns_are_replaced_as_a_whole(world: World) -> None:
    before = (await world.mover(HERE, "GET", "/rest/db/ignores", **QUIET)).json
    assert before["ignore"] == ["lost+found"]
    wanted = ["lost+found", "(?d)*-shm"]
    answer = await world.mover(HERE, "POST", "/rest/db/ignores", {"ignore": wanted}, **QUIET)
    assert (answer.status, answer.json["ignore"]) == (200, wanted)
    assert (await world.mover(HERE, "GET", "/rest/db/ignores", **QUIET)).json["ignore"] == wanted
    back = await world.mover(HERE, "POST", "/rest/db/ignores", {"ignore": ["lost+found"]}, **QUIET)
    assert (back.status, back.json["ignore"]) == (200, ["lost+found"])


async def test_a_paused_folder_answers_with_zeros_that_mean_nothing(world: World, standby: None) -> None:
    assert (await folder(world, HERE, paused=True))["paused"] is True
    found = await status(world, HERE)
    assert (found["state"], found["remoteSequence"]) == ("", None)
    assert (found["needTotalItems"], found["localFiles"], found["sequence"]) == (0, 0, 0)
    assert (await world.mover(HERE, "GET", "/rest/db/completion", **QUIET)).status == 404
    refused = await world.mover(HERE, "POST", "/rest/db/scan", **QUIET)
    assert (refused.status, refused.text) == (500, "folder is paused")
    await folder(world, HERE, paused=False)

    async def back() -> bool:
        return bool((await status(world, HERE))["state"] == "idle")

    assert await world.until(back, 30, "idle again")


async def test_a_disk_that_is_not_mounted_stops_the_folder(world: World, standby: None, mounted: None) -> None:
    world.marker(HERE, present=False)
    refused = await world.mover(HERE, "POST", "/rest/db/scan", **QUIET)
    assert refused.status == 500
    assert refused.text.startswith("folder marker missing")

    async def failed() -> bool:
        found = await status(world, HERE)
        return bool(found["state"] == "error" and found["error"].startswith("folder marker missing"))

    assert await world.until(failed, 10, "the folder is in error")
    world.marker(HERE, present=True)
    assert (await scan(world, HERE))["error"] == ""


async def test_versions_cannot_be_listed_where_none_are_kept(world: World) -> None:
    answer = await world.mover(HERE, "GET", "/rest/folder/versions", **QUIET)
    assert answer.status == 500


async def test_a_call_nobody_knows_is_not_found(world: World) -> None:
    assert (await world.mover(HERE, "GET", "/rest/db/unicorns", **QUIET)).status == 404


async def test_a_process_asked_to_restart_comes_back_as_another_with_the_same_folder(
    world: World, standby: None
) -> None:
    keep = {"type": "simple", "params": {"keep": "1000000", "cleanoutDays": "0"}}
    before = await folder(world, HERE, versioning=keep)
    patterns = (await patient(world, HERE, "GET", "/rest/db/ignores", **QUIET)).json["ignore"]
    who = (await patient(world, HERE, "GET", "/rest/system/status")).json
    answer = await world.mover(HERE, "POST", "/rest/system/restart")
    assert (answer.status, answer.json) == (200, {"ok": "restarting"})

    async def another() -> Json | None:
        answer = await world.mover(HERE, "GET", "/rest/system/status")
        return answer.json if answer.status == 200 and answer.json["startTime"] > who["startTime"] else None

    now = await world.until(another, 30, "another start")
    assert now["myID"] == who["myID"]
    assert await folder(world, HERE) == before
    assert (await patient(world, HERE, "GET", "/rest/db/ignores", **QUIET)).json["ignore"] == patterns

    async def linked() -> bool:
        links = (await patient(world, HERE, "GET", "/rest/system/connections")).json["connections"]
        return any(one["connected"] for one in links.values())

    assert await world.until(linked, 30, "connected again")


async def test_a_mover_that_restarts_has_no_endpoints_and_then_another_start(world: World) -> None:
    before = (await world.mover(HERE, "GET", "/rest/system/status")).json
    await world.restart_mover(HERE)

    async def away() -> bool:
        answer = await world.mover(HERE, "GET", "/rest/system/status")
        return (
            answer.status == 503
            and answer.refusal == (503, "ServiceUnavailable")
            and (answer.json["message"] == f'no endpoints available for service "volsync-{HERE}-api"')
        )

    assert await world.until(away, 20, "no endpoints")

    async def back() -> bool:
        answer = await world.mover(HERE, "GET", "/rest/system/status")
        return answer.status == 200 and answer.json["startTime"] > before["startTime"]

    assert await world.until(back, 60, "another start")
    assert (await world.mover(HERE, "GET", "/rest/system/status")).json["myID"] == before["myID"]
