"""Contract: objects of our own, written by compare-and-swap. ConfigMaps, Leases, Events."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from tests.contract.worlds import DEPLOYMENTS, LEASES, MAPS, MEDIA, MERGE_PATCH, OWN, Json, World, get

pytestmark = pytest.mark.asyncio(loop_scope="session")

STAMP = "2026-01-05T09:00:00.000000Z"
MIB = 1024 * 1024


def fresh() -> str:
    return f"written-{secrets.token_hex(3)}"


async def a_map(world: World, **data: str) -> Json:
    answer = await world.kube("POST", MAPS, {"metadata": {"name": fresh()}, "data": data})
    assert answer.status == 201, answer.text
    found: Json = answer.json
    return found


async def a_lease(world: World, **spec: Any) -> Json:
    body = {"metadata": {"name": fresh()}, "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15, **spec}}
    answer = await world.kube("POST", LEASES, body)
    assert answer.status == 201, answer.text
    found: Json = answer.json
    return found


def path_of(thing: Json) -> str:
    return f"{LEASES if thing['kind'] == 'Lease' else MAPS}/{thing['metadata']['name']}"


async def test_what_is_made_gets_an_identity_and_a_version(world: World) -> None:
    meta = (await a_map(world, a="1"))["metadata"]
    assert (len(meta["uid"]), meta["namespace"], meta["creationTimestamp"][-1]) == (36, OWN, "Z")
    assert int(meta["resourceVersion"]) > 0


async def test_what_exists_cannot_be_made_again(world: World) -> None:
    name = (await a_map(world))["metadata"]["name"]
    assert (await world.kube("POST", MAPS, {"metadata": {"name": name}})).refusal == (409, "AlreadyExists")


async def test_only_who_read_last_may_replace(world: World) -> None:
    old = await a_map(world, a="1")
    new = (await world.kube("PUT", path_of(old), {**old, "data": {"a": "2"}})).json
    assert new["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"]
    assert (await world.kube("PUT", path_of(old), {**old, "data": {"a": "3"}})).refusal == (409, "Conflict")
    assert (await get(world, path_of(old)))["data"] == {"a": "2"}


async def test_writing_the_same_again_is_no_change(world: World) -> None:
    old = await a_map(world, a="1")
    assert (await world.kube("PUT", path_of(old), old)).json["metadata"] == old["metadata"]


async def test_the_second_of_that_name_is_not_the_first(world: World) -> None:
    old = await a_map(world, a="1")
    await world.kube("DELETE", path_of(old))
    again = await world.kube("POST", MAPS, {"metadata": {"name": old["metadata"]["name"]}, "data": {"a": "1"}})
    assert again.json["metadata"]["uid"] != old["metadata"]["uid"]
    assert (await world.kube("PUT", path_of(old), old)).refusal == (409, "Conflict")
    unversioned = {**old, "metadata": {**old["metadata"], "resourceVersion": ""}}
    assert (await world.kube("PUT", path_of(old), unversioned)).refusal == (409, "Conflict")


async def test_what_is_gone_cannot_be_replaced(world: World) -> None:
    old = await a_map(world, a="1")
    await world.kube("DELETE", path_of(old))
    assert (await world.kube("PUT", path_of(old), old)).refusal == (404, "NotFound")


async def test_an_object_keeps_its_name(world: World) -> None:
    old = await a_map(world)
    renamed = {**old, "metadata": {**old["metadata"], "name": "other"}}
    assert (await world.kube("PUT", path_of(old), renamed)).refusal == (400, "BadRequest")


async def test_a_merge_patch_adds_replaces_and_removes(world: World) -> None:
    old = await a_map(world, a="1", b="2")
    body = {"data": {"a": None, "b": "3", "c": "4"}}
    answer = await world.kube("PATCH", path_of(old), body, kind=MERGE_PATCH)
    assert (answer.status, answer.json["data"]) == (200, {"b": "3", "c": "4"})


async def test_a_merge_patch_begins_data_and_needs_the_object(world: World) -> None:
    old = await a_map(world)
    body = {"data": {"a": "1"}}
    assert (await world.kube("PATCH", path_of(old), body, kind=MERGE_PATCH)).json["data"] == {"a": "1"}
    missing = await world.kube("PATCH", f"{MAPS}/{fresh()}", body, kind=MERGE_PATCH)
    assert missing.refusal == (404, "NotFound")


async def test_a_map_holds_a_mebibyte_and_no_more(world: World) -> None:
    assert (await a_map(world, a="x" * MIB))["metadata"]["name"]
    large = {"metadata": {"name": fresh()}, "data": {"a": "x" * (MIB + 1)}}
    assert (await world.kube("POST", MAPS, large)).refusal == (422, "Invalid")


@pytest.mark.parametrize(("data", "status"), [({"a": 1}, 400), ({"a b": "1"}, 422), ({"a-_.B1": "1"}, 201)])
async def test_a_map_holds_text_under_plain_keys(world: World, data: Json, status: int) -> None:
    assert (await world.kube("POST", MAPS, {"metadata": {"name": fresh()}, "data": data})).status == status


async def test_what_is_no_json_or_of_no_known_kind_is_refused(world: World) -> None:
    assert (await world.kube("POST", MAPS, "{")).status == 400
    there = path_of(await a_map(world))
    assert (await world.kube("PATCH", there, "{", kind=MERGE_PATCH)).status == 400
    assert (await world.kube("PATCH", there, {}, kind="text/plain")).status == 415


# -------------------------------------------------------------------- Leases


async def test_a_leases_moment_keeps_its_six_decimals(world: World) -> None:
    lease = await a_lease(world, renewTime=STAMP, acquireTime=STAMP, leaseTransitions=0)
    kept = (await get(world, path_of(lease)))["spec"]
    assert (kept["renewTime"], kept["acquireTime"], kept["leaseTransitions"]) == (STAMP, STAMP, 0)


@pytest.mark.parametrize("stamp", ["2026-01-05T09:00:00Z", "soon"])
async def test_a_moment_without_them_is_refused(world: World, stamp: str) -> None:
    body = {"metadata": {"name": fresh()}, "spec": {"holderIdentity": "me", "renewTime": stamp}}
    assert (await world.kube("POST", LEASES, body)).refusal == (400, "BadRequest")


async def test_of_two_who_renew_one_loses(world: World) -> None:
    seen = await a_lease(world, renewTime=STAMP)
    mine, theirs = ({**seen, "spec": {**seen["spec"], "holderIdentity": who}} for who in ("a", "b"))
    assert (await world.kube("PUT", path_of(seen), mine)).status == 200
    assert (await world.kube("PUT", path_of(seen), theirs)).refusal == (409, "Conflict")
    assert (await get(world, path_of(seen)))["spec"]["holderIdentity"] == "a"


async def test_a_lease_is_never_replaced_without_its_version(world: World) -> None:
    seen = await a_lease(world)
    blind = {**seen, "metadata": {"name": seen["metadata"]["name"]}}
    assert (await world.kube("PUT", path_of(seen), blind)).refusal == (422, "Invalid")


async def test_a_lease_can_be_given_up(world: World) -> None:
    seen = await a_lease(world, renewTime=STAMP)
    spec = {**seen["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
    assert (await world.kube("PUT", path_of(seen), {**seen, "spec": spec})).status == 200
    assert not (await get(world, path_of(seen)))["spec"].get("holderIdentity")


async def test_a_lease_lasts_some_time(world: World) -> None:
    body = {"metadata": {"name": fresh()}, "spec": {"holderIdentity": "me", "leaseDurationSeconds": 0}}
    assert (await world.kube("POST", LEASES, body)).refusal == (422, "Invalid")


async def test_a_lease_that_is_gone_is_not_renewed(world: World) -> None:
    seen = await a_lease(world)
    await world.kube("DELETE", path_of(seen))
    assert (await world.kube("PUT", path_of(seen), seen)).status in (404, 409)


# -------------------------------------------------------------------- Events


async def an_event(world: World, namespace: str = "media") -> Json:
    uid = (await get(world, f"{DEPLOYMENTS}/sonarr"))["metadata"]["uid"]
    thing = {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": namespace, "name": "sonarr", "uid": uid}
    return {
        "metadata": {"name": f"sonarr.{secrets.token_hex(8)}", "namespace": "media"}, "involvedObject": thing,
        "reason": "Tested", "message": "said", "type": "Normal", "count": 1, "source": {"component": "failoverd"},
        "reportingComponent": "failoverd", "reportingInstance": "failoverd",
        "firstTimestamp": "2026-01-05T09:00:00Z", "lastTimestamp": "2026-01-05T09:00:00Z",
    }  # fmt: skip


async def test_an_event_is_written_once_and_counted_up(world: World) -> None:
    body = await an_event(world)
    assert (await world.kube("POST", f"{MEDIA}/events", body)).status == 201
    assert (await world.kube("POST", f"{MEDIA}/events", body)).refusal == (409, "AlreadyExists")
    again = {"count": 2, "lastTimestamp": "2026-01-05T09:05:00Z"}
    path = f"{MEDIA}/events/{body['metadata']['name']}"
    assert (await world.kube("PATCH", path, again, kind=MERGE_PATCH)).status == 200
    found = await get(world, path)
    assert (found["count"], found["lastTimestamp"], found["message"]) == (2, "2026-01-05T09:05:00Z", "said")


async def test_an_event_that_expired_is_not_found(world: World) -> None:
    path = f"{MEDIA}/events/sonarr.{secrets.token_hex(8)}"
    assert (await world.kube("PATCH", path, {"count": 2}, kind=MERGE_PATCH)).refusal == (404, "NotFound")


async def test_an_event_lies_in_the_namespace_of_its_object(world: World) -> None:
    body = await an_event(world, namespace="elsewhere")
    assert (await world.kube("POST", f"{MEDIA}/events", body)).refusal == (422, "Invalid")
