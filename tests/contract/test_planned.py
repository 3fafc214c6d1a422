"""Contract: what readiness and planned work are read from: pods by node, room, cordon, taints and evictions.

Each case puts back what it changes; what becomes of a node that is deleted, or told out of service, stands in the
story of the dead node.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.contract.worlds import (
    DEPLOYMENTS,
    HOLD,
    HOLDING,
    PODS,
    TEMPLATE,
    Json,
    World,
    escaped,
    get,
    op,
    patch,
    pods,
    ready,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

W1 = "/api/v1/nodes/k3s-w1"
SONARR = f"{DEPLOYMENTS}/sonarr"
ALL_PODS = "/api/v1/pods"
ON_W1 = {"fieldSelector": "spec.nodeName=k3s-w1"}
UNHOLD = op("remove", f"/metadata/annotations/{escaped(HOLD)}")
DEDICATED = {"key": "dedicated", "value": "build", "effect": "NoSchedule"}


@pytest_asyncio.fixture(loop_scope="session")
async def kept_home(world: World) -> AsyncIterator[Json]:
    """sonarr at home and held; whatever a case does to it and to its node is undone."""
    spec = (await get(world, SONARR))["spec"]
    assert (await patch(world, SONARR, HOLDING)).status == 200
    yield await at_home(world)
    await schedulable(world, True)
    await tainted(world)
    back = op("replace", f"{TEMPLATE}/containers", spec["template"]["spec"]["containers"])
    assert (await patch(world, SONARR, back, UNHOLD)).status == 200
    await at_home(world)
    # Within 20 s VolSync's mover follows the new pod: one that stops before that is not followed at all.
    await world.seconds(25)


async def at_home(world: World) -> Json:
    """Its one pod, once it is Ready on k3s-w1 and alone."""

    async def alone() -> Json | None:
        found = await pods(world, "sonarr")
        here = [pod for pod in found if pod["spec"].get("nodeName") == "k3s-w1" and ready(pod) == "True"]
        return here[0] if len(found) == 1 and here else None

    return await world.until(alone, 90, "sonarr is alone and Ready on k3s-w1")


async def schedulable(world: World, wanted: bool) -> None:
    assert (await patch(world, W1, op("add", "/spec/unschedulable", not wanted))).status == 200


async def tainted(world: World, *taints: Json) -> None:
    """Of the taints that nobody but hands set, these are there."""
    kept = [one for one in (await get(world, W1))["spec"].get("taints") or () if "kubernetes.io" in one["key"]]
    assert (await patch(world, W1, op("add", "/spec/taints", [*kept, *taints]))).status == 200


async def evict(world: World, pod: str) -> None:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": "media"}}
    answer = await world.kube("POST", f"{PODS}/{pod}/eviction", body)
    assert answer.status == 201, answer.text


async def unschedulable(world: World, but: str) -> Json:
    """The pod that waits for a node, `but` for the one of this uid."""

    async def waiting() -> Json | None:
        for pod in await pods(world, "sonarr"):
            for one in pod["status"].get("conditions", ()):
                blocked = one["type"] == "PodScheduled" and one["status"] == "False"
                if blocked and one.get("reason") == "Unschedulable" and pod["metadata"]["uid"] != but:
                    return pod
        return None

    return await world.until(waiting, 60, "a pod of sonarr finds no node")


async def test_pods_are_listed_and_watched_by_the_node_they_are_bound_to(world: World, kept_home: Json) -> None:
    listed = (await world.kube("GET", ALL_PODS, query=ON_W1)).json["items"]
    assert {pod["spec"]["nodeName"] for pod in listed} == {"k3s-w1"}
    assert kept_home["metadata"]["uid"] in {pod["metadata"]["uid"] for pod in listed}
    version = (await world.kube("GET", ALL_PODS, query=ON_W1)).json["metadata"]["resourceVersion"]
    async with world.watch(ALL_PODS, resourceVersion=version, **ON_W1) as following:
        await evict(world, kept_home["metadata"]["name"])
        gone, bound = False, ""
        while not (gone and bound):
            event = await following()
            assert event is not None
            seen = event["object"]
            if not seen["metadata"].get("name", "").startswith("sonarr-"):
                continue
            assert seen["spec"]["nodeName"] == "k3s-w1"
            mine = seen["metadata"]["uid"] == kept_home["metadata"]["uid"]
            gone |= mine and event["type"] == "DELETED"
            bound = bound or ("" if mine else event["type"])
    assert bound == "ADDED"  # a pod comes into such a list when it is bound, not when it is made


async def test_a_node_says_what_it_has_for_pods_in_quantities(world: World, kept_home: Json) -> None:
    has = (await get(world, W1))["status"]["allocatable"]
    assert {"cpu", "memory", "pods"} <= set(has)
    assert all(isinstance(value, str) for value in has.values())
    assert int(has["pods"]) > 0


async def test_what_a_template_requests_beyond_that_finds_no_node(world: World, kept_home: Json) -> None:
    requests = op("add", f"{TEMPLATE}/containers/0/resources", {"requests": {"cpu": "1000"}})
    assert (await patch(world, SONARR, requests)).status == 200
    pod = await unschedulable(world, kept_home["metadata"]["uid"])
    (said,) = [one["message"] for one in pod["status"]["conditions"] if one["type"] == "PodScheduled"]
    assert said.startswith("0/3 nodes are available")


async def test_a_cordon_shows_as_a_taint_and_moves_nothing(world: World, kept_home: Json) -> None:
    await schedulable(world, False)

    async def shown() -> bool:
        taints = (await get(world, W1))["spec"].get("taints") or ()
        return ("node.kubernetes.io/unschedulable", "NoSchedule") in {(t["key"], t["effect"]) for t in taints}

    await world.until(shown, 15, "the cordon is a taint too")
    await world.seconds(5)
    assert (await at_home(world))["metadata"]["uid"] == kept_home["metadata"]["uid"]


async def test_what_is_evicted_from_a_cordoned_node_waits_until_that_is_over(world: World, kept_home: Json) -> None:
    await schedulable(world, False)
    await evict(world, kept_home["metadata"]["name"])
    pod = await unschedulable(world, kept_home["metadata"]["uid"])
    await schedulable(world, True)
    assert (await at_home(world))["metadata"]["uid"] == pod["metadata"]["uid"]


async def test_a_mover_that_is_evicted_from_a_cordoned_node_is_away_until_that_is_over(
    world: World, kept_home: Json
) -> None:
    await schedulable(world, False)
    query = {"labelSelector": "app.kubernetes.io/name=sonarr-primary"}
    for pod in (await world.kube("GET", PODS, query=query)).json["items"]:
        await evict(world, pod["metadata"]["name"])

    async def answers() -> bool:
        try:
            return (await world.mover("sonarr-primary", "GET", "/rest/system/status")).status == 200
        except TimeoutError:
            return False

    async def away() -> bool:
        return not await answers()

    await world.until(away, 60, "its Syncthing is away")
    await world.seconds(10)
    assert not await answers()
    await schedulable(world, True)
    assert await world.until(answers, 90, "its Syncthing answers again")


async def test_a_taint_keeps_new_pods_off_and_lets_the_old_ones_be(world: World, kept_home: Json) -> None:
    await tainted(world, DEDICATED)
    await world.seconds(5)
    assert (await at_home(world))["metadata"]["uid"] == kept_home["metadata"]["uid"]
    await evict(world, kept_home["metadata"]["name"])
    pod = await unschedulable(world, kept_home["metadata"]["uid"])
    await tainted(world)
    assert (await at_home(world))["metadata"]["uid"] == pod["metadata"]["uid"]
