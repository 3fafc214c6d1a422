"""Contract: what becomes of a workload's pods when it is patched, how long that takes, and what Flux makes of it.

The timings are classes (at once, within seconds, not before something else), as measured on the real cluster.
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
    claims,
    escaped,
    folder,
    get,
    op,
    patch,
    pods,
    ready,
    reverted,
    settled,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAPERLESS = f"{DEPLOYMENTS}/paperless"
VOLUMES = ("data", "media")
UNHOLD = op("remove", f"/metadata/annotations/{escaped(HOLD)}")


def pointed_at(site: str) -> list[Json]:
    """Claims and placement of a site."""
    suffix = "-backup" if site == "backup" else ""
    moved = [
        op("replace", f"{TEMPLATE}/volumes/{index}/persistentVolumeClaim/claimName", f"pvc-paperless-{name}{suffix}")
        for index, name in enumerate(VOLUMES)
    ]
    return [*moved, op("replace", f"{TEMPLATE}/nodeSelector/role", site)]


async def done(world: World, *operations: Json) -> Json:
    answer = await patch(world, PAPERLESS, *operations)
    assert answer.status == 200, answer.text
    found: Json = answer.json
    return found


async def alone_on(world: World, node: str, within: float = 60) -> Json:
    """The one pod, once it is Ready there and no other is left."""

    async def there() -> Json | None:
        found = await pods(world, "paperless")
        fits = len(found) == 1 and found[0]["spec"].get("nodeName") == node and ready(found[0]) == "True"
        return found[0] if fits else None

    return await world.until(there, within, f"paperless is alone and Ready on {node}")


@pytest_asyncio.fixture(loop_scope="session")
async def held(world: World) -> AsyncIterator[Json]:
    """paperless, held, with roles that keep its sides apart; afterwards at home and as it was."""
    for name in VOLUMES:
        await folder(world, f"paperless-{name}-backup", type="receiveonly")
        await folder(world, f"paperless-{name}-primary", type="sendonly")
    await done(world, HOLDING)
    await alone_on(world, "k3s-w1")
    before = await settled(world, PAPERLESS)
    yield before
    back = [op("replace", "/spec/strategy", before["spec"]["strategy"]), op("replace", "/spec/replicas", 1)]
    await done(world, *pointed_at("primary"), *back, UNHOLD)
    await alone_on(world, "k3s-w1")
    for name in VOLUMES:
        await reverted(world, f"paperless-{name}-backup")
        for side in ("backup", "primary"):
            await folder(world, f"paperless-{name}-{side}", type="sendreceive")


async def test_replicas_0_end_the_pod_and_the_controller_says_it_has_seen_it(world: World, held: Json) -> None:
    changed = await done(world, op("replace", "/spec/replicas", 0))
    assert changed["metadata"]["generation"] == held["metadata"]["generation"] + 1
    assert changed["status"]["observedGeneration"] == held["metadata"]["generation"]

    async def seen() -> bool:
        now = await get(world, PAPERLESS)
        return bool(now["status"]["observedGeneration"] == changed["metadata"]["generation"])

    assert await world.until(seen, 5, "the controller has seen it")

    async def ending() -> bool:
        return all("deletionTimestamp" in pod["metadata"] for pod in await pods(world, "paperless"))

    assert await world.until(ending, 5, "the pod is being deleted")

    async def gone() -> bool:
        return not await pods(world, "paperless")

    assert await world.until(gone, 40, "no pod is left")
    assert "readyReplicas" not in (await get(world, PAPERLESS))["status"]


async def test_a_watch_shows_a_pod_ending_before_it_shows_it_gone(world: World, held: Json) -> None:
    listed = await get(world, PODS)
    (pod,) = [p for p in listed["items"] if p["metadata"]["name"].startswith("paperless-")]
    await done(world, op("replace", "/spec/replicas", 0))
    seen: list[str] = []
    async with world.watch(PODS, resourceVersion=listed["metadata"]["resourceVersion"]) as following:
        while not seen or seen[-1] != "DELETED":
            event = await following()
            assert event is not None
            if event["object"]["metadata"]["uid"] == pod["metadata"]["uid"]:
                ending = event["type"] == "MODIFIED" and "deletionTimestamp" in event["object"]["metadata"]
                seen.append("ENDING" if ending else event["type"])
    assert "ENDING" in seen[:-1]
    assert "ADDED" not in seen


async def test_with_claims_and_placement_changed_the_pod_starts_at_the_other_site(world: World, held: Json) -> None:
    await done(world, op("replace", "/spec/replicas", 0))

    async def gone() -> bool:
        return not await pods(world, "paperless")

    await world.until(gone, 40, "no pod is left")
    began = (await world.mover("paperless-media-backup", "GET", "/rest/system/status")).json["startTime"]
    await done(world, op("test", "/spec/replicas", 0), *pointed_at("backup"), op("replace", "/spec/replicas", 1))
    pod = await alone_on(world, "k3s-w2", 30)
    assert claims(pod) == {"pvc-paperless-data-backup", "pvc-paperless-media-backup"}

    async def restarted() -> bool:
        answer = await world.mover("paperless-media-backup", "GET", "/rest/system/status")
        return answer.status == 200 and answer.json["startTime"] > began

    assert await world.until(restarted, 45, "the mover has followed the app, and restarted for it")


async def old_one_when_the_new_one_comes(world: World, version: str) -> str:
    """The phase of the old pod at that moment, `ending` when it is being deleted, `gone` when it is no more."""
    state = "Running"
    async with world.watch(PODS, resourceVersion=version) as following:
        while event := await following():
            if not event["object"]["metadata"]["name"].startswith("paperless-"):
                continue
            if event["type"] == "ADDED":
                break
            phase: str = event["object"]["status"]["phase"]
            ending = phase == "Running" and "deletionTimestamp" in event["object"]["metadata"]
            state = "gone" if event["type"] == "DELETED" else "ending" if ending else phase
    return state


async def test_a_rolling_update_runs_both_pods_at_once(world: World, held: Json) -> None:
    assert held["spec"]["strategy"]["type"] == "RollingUpdate"
    (old,) = await pods(world, "paperless")
    version = (await get(world, PODS))["metadata"]["resourceVersion"]
    await done(world, *pointed_at("backup"))
    assert await old_one_when_the_new_one_comes(world, version) == "Running"
    pod = await alone_on(world, "k3s-w2")
    assert pod["metadata"]["uid"] != old["metadata"]["uid"]


async def test_recreate_never_does(world: World, held: Json) -> None:
    await done(world, op("replace", "/spec/strategy", {"type": "Recreate"}))
    version = (await get(world, PODS))["metadata"]["resourceVersion"]
    await done(world, *pointed_at("backup"))
    phase = await old_one_when_the_new_one_comes(world, version)
    # The object may outlive its containers a little.
    assert phase in ("gone", "Succeeded", "Failed")
    await alone_on(world, "k3s-w2")


async def test_a_pod_is_deleted_only_under_its_own_uid(world: World, held: Json) -> None:
    (pod,) = await pods(world, "paperless")
    path = f"{PODS}/{pod['metadata']['name']}"
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}
    other = {**options, "preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}}
    assert (await world.kube("DELETE", path, other)).refusal == (409, "Conflict")
    assert "deletionTimestamp" not in (await get(world, path))["metadata"]
    assert (await world.kube("DELETE", f"{PODS}/nobody", other)).refusal == (404, "NotFound")


async def test_a_claim_that_is_not_there_keeps_the_pod_waiting(world: World, held: Json) -> None:
    """And the old one running: a rolling update ends it only when the new one is Ready."""
    (old,) = await pods(world, "paperless")
    claim = f"{TEMPLATE}/volumes/0/persistentVolumeClaim/claimName"
    await done(world, op("replace", claim, "pvc-nowhere"))

    async def waiting() -> Json | None:
        found = [p for p in await pods(world, "paperless") if p["metadata"]["uid"] != old["metadata"]["uid"]]
        conditions = found[0]["status"].get("conditions", ()) if found else ()
        return next((c for c in conditions if (c["type"], c["status"]) == ("PodScheduled", "False")), None)

    why = await world.until(waiting, 20, "a pod that cannot be scheduled")
    assert why["reason"] == "Unschedulable"
    assert why["message"]


async def test_flux_undoes_what_is_not_held_and_leaves_what_is(world: World, held: Json) -> None:
    sonarr = f"{DEPLOYMENTS}/sonarr"
    path = f"{TEMPLATE}/terminationGracePeriodSeconds"
    await done(world, op("replace", path, 31))
    drift = op("replace", "/spec/replicas", 0)
    assert (await patch(world, sonarr, drift)).status == 200
    await world.reconcile()

    async def undone() -> bool:
        return bool((await get(world, sonarr))["spec"]["replicas"] == 1)

    assert await world.until(undone, 70, "Flux has undone the drift")
    await world.reconcile()
    template = (await get(world, PAPERLESS))["spec"]["template"]["spec"]
    assert template["terminationGracePeriodSeconds"] == 31
    await done(world, op("replace", path, 30))


async def test_what_is_restored_with_the_hold_taken_off_is_left_alone(world: World, held: Json) -> None:
    await done(world, op("add", "/metadata/annotations/failoverd.io~1epoch", "3"))
    pod = await alone_on(world, "k3s-w1")
    restored = await done(world, op("remove", "/metadata/annotations/failoverd.io~1epoch"), UNHOLD)
    await world.reconcile()
    await world.reconcile()
    after = await get(world, PAPERLESS)
    assert after["spec"] == held["spec"] == restored["spec"]
    assert after["metadata"]["generation"] == restored["metadata"]["generation"]
    (left,) = await pods(world, "paperless")
    assert left["metadata"]["uid"] == pod["metadata"]["uid"]
    await done(world, HOLDING)
