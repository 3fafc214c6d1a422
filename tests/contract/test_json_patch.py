"""Contract: JSON Patches, whose `test` operations are the fencing token of every change to a workload."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.contract.worlds import (
    DEPLOYMENTS,
    HOLD,
    HOLDING,
    JSON_PATCH,
    MAPS,
    TEMPLATE,
    Json,
    World,
    escaped,
    get,
    op,
    patch,
    settled,
)  # fmt: skip

pytestmark = pytest.mark.asyncio(loop_scope="session")

SONARR = f"{DEPLOYMENTS}/sonarr"
CLAIM = f"{TEMPLATE}/volumes/0/persistentVolumeClaim/claimName"


@pytest_asyncio.fixture(loop_scope="session")
async def thing(world: World) -> str:
    """The path of a ConfigMap {a: 1, b: 2} with the annotation x/y."""
    metadata = {"name": f"patched-{secrets.token_hex(3)}", "annotations": {"x/y": "old"}}
    answer = await world.kube("POST", MAPS, {"metadata": metadata, "data": {"a": "1", "b": "2"}})
    assert answer.status == 201, answer.text
    return f"{MAPS}/{metadata['name']}"


@pytest_asyncio.fixture(loop_scope="session")
async def kept(world: World) -> AsyncIterator[Json]:
    """The Deployment of sonarr with Flux kept away; afterwards without the hold."""
    answer = await patch(world, SONARR, HOLDING)
    assert answer.status == 200, answer.text
    yield await settled(world, SONARR)
    assert (await patch(world, SONARR, op("remove", f"/metadata/annotations/{escaped(HOLD)}"))).status == 200


async def test_all_operations_are_done(world: World, thing: str) -> None:
    answer = await patch(
        world, thing, op("test", "/data/a", "1"), op("replace", "/data/a", "9"), op("add", "/data/c", "3"),
        op("remove", "/data/b"), op("add", f"/metadata/annotations/{escaped('x/y')}", "new"),
    )  # fmt: skip
    assert answer.status == 200, answer.text
    assert answer.json["data"] == {"a": "9", "c": "3"}
    assert answer.json["metadata"]["annotations"]["x/y"] == "new"


@pytest.mark.parametrize(
    "failing",
    [
        op("test", "/data/a", "2"),
        op("test", "/data/missing", "1"),
        op("test", "/metadata/uid", "00000000-0000-0000-0000-000000000000"),
        op("test", "/metadata/resourceVersion", "1"),
        op("test", "/metadata/annotations/missing", "1"),
        op("remove", "/data/missing"),
        op("replace", "/missing/x", "1"),
        op("test", "/missing/x", None),
        op("add", "/missing/x", "1"),
        op("add", "/metadata/labels/x", "1"),
        op("dance", "/data/a", "1"),
    ],
    ids=lambda one: f"{one['op']} {one['path']}",
)
async def test_one_that_fails_undoes_all_that_came_before(world: World, thing: str, failing: Json) -> None:
    before = await get(world, thing)
    answer = await patch(world, thing, op("replace", "/data/a", "9"), op("add", "/data/c", "3"), failing)
    assert answer.refusal == (422, "Invalid")
    assert await get(world, thing) == before


async def test_replace_adds_what_an_object_lacks(world: World, thing: str) -> None:
    """Against RFC 6902: whoever wants to be sure has to test first."""
    answer = await patch(world, thing, op("replace", "/data/missing", "1"))
    assert (answer.status, answer.json["data"]["missing"]) == (200, "1")


async def test_a_test_for_null_holds_where_there_is_nothing(world: World, thing: str) -> None:
    assert (await patch(world, thing, op("test", "/data/missing"), op("add", "/data/c", "3"))).status == 200
    assert (await patch(world, thing, op("test", "/data/a"), op("add", "/data/d", "4"))).status == 422


async def test_a_test_compares_values_not_texts(world: World, kept: Json) -> None:
    assert (await patch(world, SONARR, op("test", "/spec/replicas", 1))).status == 200
    assert (await patch(world, SONARR, op("test", "/spec/replicas", "1"))).status == 422


async def test_identity_and_version_can_be_tested(world: World, thing: str) -> None:
    meta = (await get(world, thing))["metadata"]
    known = [
        op("test", "/metadata/uid", meta["uid"]),
        op("test", "/metadata/resourceVersion", meta["resourceVersion"]),
    ]
    assert (await patch(world, thing, *known, op("replace", "/data/a", "2"))).status == 200
    assert (await patch(world, thing, *known, op("replace", "/data/a", "3"))).status == 422
    assert (await get(world, thing))["data"]["a"] == "2"


async def test_annotations_that_do_not_exist_yet_are_begun_first(world: World) -> None:
    made = (await world.kube("POST", MAPS, {"metadata": {"name": f"bare-{secrets.token_hex(3)}"}})).json
    path, key = f"{MAPS}/{made['metadata']['name']}", "/metadata/annotations/x~1y"
    assert (await patch(world, path, op("add", key, "1"))).status == 422
    assert (await patch(world, path, op("add", "/metadata/annotations", {}), op("add", key, "1"))).status == 200
    assert (await get(world, path))["metadata"]["annotations"] == {"x/y": "1"}


async def test_what_is_no_patch_is_refused(world: World, thing: str) -> None:
    assert (await world.kube("PATCH", thing, {}, kind=JSON_PATCH)).status == 400


async def test_what_is_not_there_cannot_be_patched(world: World) -> None:
    assert (await patch(world, f"{DEPLOYMENTS}/nobody", HOLDING)).refusal == (404, "NotFound")


# -------------------------------------------------------------------- on a workload


async def test_a_patch_that_changes_nothing_leaves_the_version(world: World, kept: Json) -> None:
    again = await patch(world, SONARR, HOLDING)
    assert (again.status, again.json["metadata"]["resourceVersion"]) == (200, kept["metadata"]["resourceVersion"])


async def test_a_volume_is_tested_by_its_place_in_the_list(world: World, kept: Json) -> None:
    good = [op("test", f"{TEMPLATE}/volumes/0/name", "sonarr-data"), op("test", CLAIM, "pvc-sonarr")]
    assert (await patch(world, SONARR, *good)).status == 200
    assert (await patch(world, SONARR, *good, op("test", f"{TEMPLATE}/volumes/99/name", "x"))).status == 422
    assert (await patch(world, SONARR, op("test", CLAIM, "pvc-sonarr-backup"))).status == 422


@pytest.mark.parametrize("replicas", ["many", -1, 1.5])
async def test_replicas_are_a_number_that_can_be(world: World, kept: Json, replicas: object) -> None:
    assert (await patch(world, SONARR, op("replace", "/spec/replicas", replicas))).status in (400, 422)
    assert (await get(world, SONARR))["spec"] == kept["spec"]


async def test_a_claims_name_cannot_be_empty(world: World, kept: Json) -> None:
    assert (await patch(world, SONARR, op("replace", CLAIM, ""))).refusal == (422, "Invalid")


async def test_a_deployments_annotations_are_a_new_generation_and_can_be_tested(world: World, kept: Json) -> None:
    answer = await patch(world, SONARR, op("add", "/metadata/annotations/failoverd.io~1epoch", "7"))
    assert answer.json["metadata"]["generation"] == kept["metadata"]["generation"] + 1
    tested = op("test", "/metadata/annotations/failoverd.io~1epoch", "6")
    assert (await patch(world, SONARR, tested, op("replace", "/spec/replicas", 0))).status == 422
    assert (await patch(world, SONARR, op("remove", "/metadata/annotations/failoverd.io~1epoch"))).status == 200
