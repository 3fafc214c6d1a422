"""Contract: the power of a node is cut by its hypervisor and comes back. One story; each case is a moment of it.

The cases build on one another, in the order they stand here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.contract.worlds import (
    DEPLOYMENTS,
    HOLD,
    HOLDING,
    NODE_LEASES,
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
    patient,
    pods,
    ready,
    reverted,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

SONARR = f"{DEPLOYMENTS}/sonarr"
STEMS = ("sonarr", "paperless-data", "paperless-media")
GUEST = "/nodes/pve/lxc/101/status"
W1 = "/api/v1/nodes/k3s-w1"
OUT_OF_SERVICE = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}
CLAIM = f"{TEMPLATE}/volumes/0/persistentVolumeClaim/claimName"
SELECTOR = f"{TEMPLATE}/nodeSelector/role"


@dataclass(slots=True)
class Story:
    """What was true before; the lease as last seen."""

    upid: str
    spec: Json
    pod: Json
    lease: str


@pytest_asyncio.fixture(scope="class", loop_scope="session")
async def dead(world: World) -> AsyncIterator[Story]:
    """sonarr is held and of strategy Recreate when guest 101 is stopped; afterwards everything is at home again."""
    # paperless dies with the node too: without roles its returning side could break both copies.
    for stem in STEMS:
        await folder(world, f"{stem}-backup", type="receiveonly")
        await folder(world, f"{stem}-primary", type="sendonly")
    spec = (await get(world, SONARR))["spec"]
    assert (await patch(world, SONARR, HOLDING, op("replace", "/spec/strategy", {"type": "Recreate"}))).status == 200
    (pod,) = await pods(world, "sonarr")
    lease = (await get(world, f"{NODE_LEASES}/k3s-w1"))["spec"]["renewTime"]
    answer = await world.pve("POST", f"{GUEST}/stop", {"overrule-shutdown": "1"})
    assert answer.status == 200, answer.text
    yield Story(answer.json["data"], spec, pod, lease)
    if (await world.pve("GET", f"{GUEST}/current")).json["data"]["status"] == "stopped":
        await world.pve("POST", f"{GUEST}/start")
    await world.until(lambda: node_is(world, "True"), 90, "k3s-w1 is Ready again")
    home = [op("replace", CLAIM, "pvc-sonarr"), op("replace", SELECTOR, "primary")]
    home += [op("replace", "/spec/strategy", spec["strategy"]), op("replace", "/spec/replicas", 1)]
    unhold = op("remove", f"/metadata/annotations/{escaped(HOLD)}")
    assert (await patch(world, SONARR, *home, unhold)).status == 200

    async def at_home() -> bool:
        found = await pods(world, "sonarr")
        return [(p["spec"].get("nodeName"), ready(p)) for p in found] == [("k3s-w1", "True")]

    await world.until(at_home, 90, "sonarr is at home")
    # The survivors' movers hold on to the dead connections for 447 s, and refuse new ones meanwhile.
    for stem in STEMS:
        await world.restart_mover(f"{stem}-backup")
    for stem in STEMS:
        await world.until(lambda stem=stem: linked(world, stem), 90, f"the sides of {stem} are connected")  # type: ignore[misc]
    await reverted(world, "sonarr-backup")
    for stem in STEMS:
        for site in ("backup", "primary"):
            await folder(world, f"{stem}-{site}", type="sendreceive")


async def linked(world: World, stem: str) -> bool:
    links = (await patient(world, f"{stem}-primary", "GET", "/rest/system/connections")).json["connections"]
    return any(one["connected"] for one in links.values())


async def links(world: World, stem: str) -> tuple[bool, bool]:
    """Whether the primary's side says connected, and whether the backup's does."""
    said = []
    for site in ("primary", "backup"):
        listed = (await patient(world, f"{stem}-{site}", "GET", "/rest/system/connections")).json["connections"]
        said.append(any(one["connected"] for one in listed.values()))
    return said[0], said[1]


async def node_is(world: World, wanted: str) -> bool:
    answer = await world.kube("GET", W1)
    return answer.status == 200 and ready(answer.json) == wanted


class TestDeadNode:
    """In this order."""

    async def test_the_stop_is_a_task_that_ends_well(self, world: World, dead: Story) -> None:
        assert dead.upid.startswith("UPID:pve:")
        assert ":vzstop:101:" in dead.upid

        async def ended() -> str | None:
            task = (await world.pve("GET", f"/nodes/pve/tasks/{dead.upid}/status")).json["data"]
            assert task["status"] in ("running", "stopped")
            return str(task["exitstatus"]) if task["status"] == "stopped" else None

        assert await world.until(ended, 20, "the task ends") == "OK"
        current = (await world.pve("GET", f"{GUEST}/current")).json["data"]
        assert (current["status"], current["uptime"]) == ("stopped", 0)

    async def test_what_is_stopped_is_not_stopped_again(self, world: World, dead: Story) -> None:
        answer = await world.pve("POST", f"{GUEST}/stop", {"overrule-shutdown": "1"})
        assert (answer.status, answer.words) == (500, "CT 101 not running")

    async def test_for_a_while_the_node_still_counts_as_ready(self, world: World, dead: Story) -> None:
        assert await node_is(world, "True")
        (pod,) = await pods(world, "sonarr")
        assert (pod["metadata"]["uid"], ready(pod)) == (dead.pod["metadata"]["uid"], "True")

    async def test_the_other_side_still_calls_the_dead_one_connected(self, world: World, dead: Story) -> None:
        links = (await world.mover("sonarr-backup", "GET", "/rest/system/connections")).json["connections"]
        assert [one["connected"] for one in links.values() if one["at"] != ""][-1:] == [True]

    async def test_after_its_grace_it_is_unknown_and_tainted(self, world: World, dead: Story) -> None:
        await world.until(lambda: node_is(world, "Unknown"), 60, "Ready is Unknown")
        now = (await get(world, f"{NODE_LEASES}/k3s-w1"))["spec"]["renewTime"]
        assert now >= dead.lease
        dead.lease = now

        async def tainted() -> bool:
            taints = (await get(world, W1))["spec"].get("taints") or ()
            unreachable = {t["effect"] for t in taints if t["key"] == "node.kubernetes.io/unreachable"}
            return unreachable == {"NoSchedule", "NoExecute"}

        assert await world.until(tainted, 15, "unreachable, no scheduling, no execution")

    async def test_its_pod_is_listed_on_and_not_ready(self, world: World, dead: Story) -> None:
        async def unready() -> bool:
            (pod,) = await pods(world, "sonarr")
            assert pod["metadata"]["uid"] == dead.pod["metadata"]["uid"]
            return ready(pod) == "False" and "deletionTimestamp" not in pod["metadata"]

        assert await world.until(unready, 15, "its pod is not Ready")

    async def test_its_mover_has_no_endpoints(self, world: World, dead: Story) -> None:
        async def unavailable() -> bool:
            try:
                answer = await world.mover("sonarr-primary", "GET", "/rest/system/status")
            except TimeoutError:  # until the endpoint is gone nobody answers
                return False
            return answer.status == 503 and "no endpoints available" in answer.text

        assert await world.until(unavailable, 40, "503 for its mover")

    async def test_recreate_waits_for_the_dead_nodes_pod(self, world: World, dead: Story) -> None:
        moved = [op("replace", CLAIM, "pvc-sonarr-backup"), op("replace", SELECTOR, "backup")]
        assert (await patch(world, SONARR, *moved)).status == 200

        async def ending() -> bool:
            return all("deletionTimestamp" in pod["metadata"] for pod in await pods(world, "sonarr"))

        await world.until(ending, 10, "the old pod is to be deleted")
        await world.seconds(10)
        assert [p["metadata"]["uid"] for p in await pods(world, "sonarr")] == [dead.pod["metadata"]["uid"]]

    async def test_its_lease_has_stood_still_ever_since(self, world: World, dead: Story) -> None:
        assert (await get(world, f"{NODE_LEASES}/k3s-w1"))["spec"]["renewTime"] == dead.lease

    async def test_a_forced_deletion_frees_it(self, world: World, dead: Story) -> None:
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": dead.pod["metadata"]["uid"]}}
        path = f"{PODS}/{dead.pod['metadata']['name']}"
        assert (await world.kube("DELETE", path, options)).status == 200
        assert (await world.kube("GET", path)).refusal == (404, "NotFound")
        assert (await world.kube("DELETE", path, options)).refusal == (404, "NotFound")

        # Whether the app gets ready on a raw copy of its database is another matter: it may not open.
        async def moved() -> Json | None:
            found = [p for p in await pods(world, "sonarr") if p["status"].get("phase") == "Running"]
            return found[0] if found else None

        pod = await world.until(moved, 60, "the new pod")
        assert (pod["spec"]["nodeName"], claims(pod)) == ("k3s-w2", {"pvc-sonarr-backup"})

    async def test_told_out_of_service_the_cluster_frees_whatever_else_is_on_it(
        self, world: World, dead: Story
    ) -> None:
        """paperless has not moved: its pod on the dead node is in nobody's way, and listed until now."""
        (before,) = [pod for pod in await pods(world, "paperless") if pod["spec"].get("nodeName") == "k3s-w1"]
        assert (await patch(world, W1, op("add", "/spec/taints/-", OUT_OF_SERVICE))).status == 200

        async def freed() -> bool:
            found = {pod["metadata"]["uid"] for pod in await pods(world, "paperless")}
            return before["metadata"]["uid"] not in found

        assert await world.until(freed, 90, "the pod on the node out of service is gone")
        taints = (await get(world, W1))["spec"]["taints"]
        at = [taint["key"] for taint in taints].index(OUT_OF_SERVICE["key"])
        assert (await patch(world, W1, op("remove", f"/spec/taints/{at}"))).status == 200

    async def test_a_node_that_is_deleted_takes_its_lease_with_it(self, world: World, dead: Story) -> None:
        assert (await world.kube("DELETE", W1)).status == 200
        assert (await world.kube("GET", W1)).refusal == (404, "NotFound")

        async def gone() -> bool:
            return (await world.kube("GET", f"{NODE_LEASES}/k3s-w1")).status == 404

        assert await world.until(gone, 60, "its lease is gone")

    async def test_the_start_is_a_task_and_the_node_comes_back(self, world: World, dead: Story) -> None:
        answer = await world.pve("POST", f"{GUEST}/start")
        assert answer.status == 200
        assert ":vzstart:101:" in answer.json["data"]

        async def runs() -> bool:
            return bool((await world.pve("GET", f"{GUEST}/current")).json["data"]["status"] == "running")

        assert await world.until(runs, 20, "it runs")
        assert await world.until(lambda: node_is(world, "True"), 60, "k3s-w1 is Ready")
        again = await get(world, W1)
        assert again["metadata"]["labels"]["role"] == "primary"  # its kubelet registers it as before
        assert OUT_OF_SERVICE["key"] not in {taint["key"] for taint in again["spec"].get("taints") or ()}

    async def test_a_returned_side_has_kept_its_role(self, world: World, dead: Story) -> None:
        async def answers() -> bool:
            return (await world.mover("sonarr-primary", "GET", "/rest/system/status")).status == 200

        await world.until(answers, 60, "the returned mover answers")
        assert (await folder(world, "sonarr-primary"))["type"] == "sendonly"

    async def test_a_side_that_was_not_restarted_turns_the_returned_one_away(self, world: World, dead: Story) -> None:
        """paperless did not move, so its standby's process is the one that saw the other die."""
        primary = backup = False
        for _ in range(3):
            primary, backup = await links(world, "paperless-media")
            # Another pod may have the dead one's address by now, and end the connection before anybody else does.
            if primary or not backup:
                break
            await world.seconds(5)
        assert (primary, backup) != (True, False)

    async def test_asked_to_restart_it_lets_the_returned_one_in(self, world: World, dead: Story) -> None:
        answer = await world.mover("paperless-media-backup", "POST", "/rest/system/restart")
        assert (answer.status, answer.json) == (200, {"ok": "restarting"})

        async def both() -> bool:
            return await links(world, "paperless-media") == (True, True)

        assert await world.until(both, 60, "both say connected")
        assert (await folder(world, "paperless-media-backup"))["type"] == "receiveonly"
