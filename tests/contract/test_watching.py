"""Contract: watches. They begin where a list ended, say when that is too long ago, and end when asked to."""

from __future__ import annotations

import secrets

import pytest

from tests.contract.worlds import LEASES, MAPS, SOURCES, Json, World, get

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def made(world: World) -> Json:
    """A ConfigMap of our own."""
    name = f"watched-{secrets.token_hex(3)}"
    answer = await world.kube("POST", MAPS, {"metadata": {"name": name}, "data": {"a": "1"}})
    assert answer.status == 201, answer.text
    found: Json = answer.json
    return found


def told(event: Json | None) -> tuple[str, str]:
    assert event is not None, "the watch has ended"
    return event["type"], event["object"]["metadata"]["name"]


async def test_a_watch_tells_what_happened_since_the_list(world: World) -> None:
    version = (await get(world, MAPS))["metadata"]["resourceVersion"]
    thing = await made(world)
    name = thing["metadata"]["name"]
    async with world.watch(MAPS, resourceVersion=version) as following:
        assert told(await following()) == ("ADDED", name)
        thing["data"]["a"] = "2"
        await world.kube("PUT", f"{MAPS}/{name}", thing)
        changed = await following()
        assert told(changed) == ("MODIFIED", name)
        assert changed is not None
        assert changed["object"]["kind"] == "ConfigMap"
        assert changed["object"]["data"] == {"a": "2"}
        await world.kube("DELETE", f"{MAPS}/{name}")
        gone = await following()
    assert told(gone) == ("DELETED", name)
    assert gone is not None
    assert int(gone["object"]["metadata"]["resourceVersion"]) > int(changed["object"]["metadata"]["resourceVersion"])


async def test_a_watch_without_a_version_shows_everything_first(world: World) -> None:
    async with world.watch("/api/v1/nodes") as following:
        shown = {told(await following()) for _ in range(3)}
    assert shown == {("ADDED", name) for name in ("k3s-cp1", "k3s-w1", "k3s-w2")}


async def test_a_watch_that_replaces_a_list_says_where_the_list_ends(world: World) -> None:
    wanted = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    async with world.watch("/api/v1/nodes", **wanted) as following:
        shown = {told(await following()) for _ in range(3)}
        last = await following()
    assert shown == {("ADDED", name) for name in ("k3s-cp1", "k3s-w1", "k3s-w2")}
    assert last is not None
    assert last["type"] == "BOOKMARK"
    assert last["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_watch_with_a_selector_hears_of_nothing_else(world: World) -> None:
    version = (await get(world, MAPS))["metadata"]["resourceVersion"]
    await made(world)
    name = (await made(world))["metadata"]["name"]
    async with world.watch(MAPS, resourceVersion=version, fieldSelector=f"metadata.name={name}") as following:
        assert told(await following()) == ("ADDED", name)


async def test_a_watch_from_too_long_ago_is_gone(world: World) -> None:
    async with world.watch(SOURCES, resourceVersion="1") as following:
        event = await following()
        assert event is not None
        assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
        assert await following() is None


async def test_a_watch_ends_when_it_was_asked_to(world: World) -> None:
    version = (await get(world, MAPS))["metadata"]["resourceVersion"]
    async with world.watch(MAPS, resourceVersion=version, timeoutSeconds="1") as following:
        assert await following() is None


async def followed(world: World, seconds: int, **query: str) -> list[Json]:
    """All events of a watch of Leases that lasts so long, while one is made."""
    version = (await get(world, LEASES))["metadata"]["resourceVersion"]
    seen: list[Json] = []
    async with world.watch(LEASES, resourceVersion=version, timeoutSeconds=str(seconds), **query) as following:
        body = {"metadata": {"name": f"watched-{secrets.token_hex(3)}"}, "spec": {"holderIdentity": "me"}}
        assert (await world.kube("POST", LEASES, body)).status == 201
        while event := await following():
            seen.append(event)
    return seen


async def test_a_bookmark_comes_two_seconds_before_the_end_of_a_watch_that_saw_something(world: World) -> None:
    seen = await followed(world, 3, allowWatchBookmarks="true")
    assert [event["type"] for event in seen[:1]] == ["ADDED"]
    marks = [event["object"] for event in seen if event["type"] == "BOOKMARK"]
    assert marks, seen
    assert {mark["kind"] for mark in marks} == {"Lease"}
    assert int(marks[-1]["metadata"]["resourceVersion"]) >= int(seen[0]["object"]["metadata"]["resourceVersion"])
    assert all("name" not in mark["metadata"] for mark in marks)


async def test_nobody_gets_bookmarks_who_did_not_ask(world: World) -> None:
    assert [event["type"] for event in await followed(world, 2)] == ["ADDED"]
