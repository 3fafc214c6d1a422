import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from failoverd.adapters.kubernetes import commands
from failoverd.adapters.kubernetes.cache import MARGIN
from failoverd.adapters.kubernetes.kured import LOCK
from failoverd.adapters.kubernetes.lease import LeaseLeadership
from failoverd.adapters.kubernetes.read import KubeReader, KubeReadings
from failoverd.adapters.kubernetes.resources import LEASES_IDLE
from failoverd.clock import SystemClock
from failoverd.core.model import Api, ClaimReading, Command, CommandKind, Lease, NodeObject, Now, Unknown, Workload
from failoverd.core.rules import Site
from tests.adapters.apiserver import status, until
from tests.adapters.cluster import (
    ARGO_APPLICATION,
    CLAIMS,
    DEPLOYMENT,
    LEASES,
    PODS,
    SOURCES,
    app,
    deployment,
    pod,
    renew,
    rules,
)

pytestmark = pytest.mark.usefixtures("populated")

SONARR = "media/sonarr"
BACKUP = (SONARR, "sonarr-data", Site.BACKUP)
SOON = timedelta(seconds=5)


class LateClock(SystemClock):
    """The machine's clock, put forward by a test."""

    late = timedelta(0)

    def now(self) -> Now:
        now = super().now()
        return Now(now.mono + self.late, now.wall + self.late)


@pytest.fixture
def clock():
    return LateClock()


@pytest.fixture
def wake():
    return asyncio.Event()


@pytest.fixture
async def reader(client, clock, wake):
    leadership = LeaseLeadership(client, clock, namespace="failoverd", holder="one")
    reader = KubeReader(client, rules, leadership, clock=clock, namespace="failoverd", wake=wake)
    yield reader
    await reader.close()


def workload(readings) -> Workload:
    found = readings.workloads[SONARR]
    assert isinstance(found, Workload), found
    return found


async def reading(reader: KubeReader, wanted: Callable[[KubeReadings], Any]) -> KubeReadings:
    """The first readings that show what is wanted."""
    async with asyncio.timeout(8):
        while not wanted(found := await reader.read()):  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.02)
    return found


def why(reading) -> str:
    assert isinstance(reading, Unknown), reading
    return reading.why


async def test_the_nodes_of_the_control_plane_are_known_by_their_labels(populated, server, reader):
    label = "node-role.kubernetes.io/control-plane"
    server.put("/api/v1/nodes/k3s-cp1", {"metadata": {"labels": {label: "true"}}, "spec": {}, "status": {}})
    assert reader.control_plane() == frozenset()
    assert await reader.ready(timedelta(seconds=8)) == ""
    assert reader.control_plane() == {"k3s-cp1"}


async def test_before_anything_was_listed_everything_is_unknown(server, reader):
    async def hang(request):
        if request.path != "/apis/coordination.k8s.io/v1/namespaces/failoverd/leases/failoverd":
            await asyncio.sleep(60)

    server.fault = hang
    found = await reader.read()
    assert isinstance(found.api, Api)
    assert why(found.workloads[SONARR]) == "deployments in media not listed"
    assert why(found.nodes["k3s-w1"].lease) == "node leases not listed"
    assert why(found.claims[BACKUP]).endswith("not listed")
    assert isinstance(found.commands, Unknown)


async def test_the_reference_cluster_at_rest(reader):
    assert await reader.ready(SOON) == ""
    found = await reader.read()
    assert isinstance(found.api, Api)
    assert abs(found.api.date - datetime.now(UTC)) < timedelta(seconds=3)
    assert set(found.nodes) == {"k3s-cp1", "k3s-w1", "k3s-w2"}
    node = found.nodes["k3s-w1"]
    assert (node.lease, node.uncached) == (Lease(stamp="t0"), False)
    assert [(p.name, p.owned, p.mover) for p in workload(found).pods] == [
        ("sonarr-abc12-x", True, False),
        ("volsync-sonarr-backup-1", False, True),
        ("volsync-sonarr-primary-1", False, True),
    ]
    assert found.claims == {
        (SONARR, "sonarr-data", site): ClaimReading(bound=True, volume=f"pv-sonarr-{site}") for site in Site
    }
    assert found.commands == commands.Inbox()


async def test_a_command_that_cannot_be_understood_is_said_once(server, reader):
    server.put("/api/v1/namespaces/failoverd/configmaps/failoverd-commands", {"data": {"a": "{}"}})
    await reader.ready(SOON)
    with capture_logs() as said:
        for _ in range(3):
            assert (await reader.read()).commands.malformed
    assert [line["log_level"] for line in said] == ["warning"]
    assert said[0]["why"].startswith("command a: ")


async def test_changes_arrive_by_the_watch(server, reader):
    await reader.ready(SOON)
    await reader.read()
    renew(server, "k3s-w1", "t1")
    server.put(DEPLOYMENT, deployment(claim="pvc-sonarr-backup", role="backup"))
    server.drop(f"{PODS}/sonarr-abc12-x")
    await reading(reader, lambda found: found.nodes["k3s-w1"].lease == Lease(stamp="t1"))
    await reading(reader, lambda found: len(workload(found).pods) == 2)
    await reading(reader, lambda found: workload(found).selector == (("role", "backup"),))
    assert server.count("GET", "/deployments") == 1


async def test_a_tick_costs_one_read_however_many_apps_there_are(server, client, clock):
    apps = [replace(app(), key=f"media/a{n}", name=f"a{n}") for n in range(50)]
    for one in apps:
        server.put(DEPLOYMENT.replace("sonarr", one.name), deployment())
    leadership = LeaseLeadership(client, clock, namespace="failoverd", holder="one")
    reader = KubeReader(client, lambda: rules(*apps), leadership, clock=clock, namespace="failoverd")
    assert await reader.ready(SOON) == ""
    # a list and a watch each of nodes, leases, volumes, commands, pods, claims, sources, workloads,
    # and of the pods on either node
    opened = 10 * 2
    await until(lambda: len(server.requests) >= opened)
    before = len(server.requests)
    for _ in range(20):
        assert all(isinstance(w, Workload) for w in (await reader.read()).workloads.values())
    assert len(server.requests) == before + 20
    assert before == opened
    await reader.close()


async def test_nodes_to_be_confirmed_are_read_from_the_api_server_itself(server, reader):
    await reader.ready(SOON)
    before = server.count("GET", "k3s-w1")
    found = await reader.read(frozenset({"k3s-w1"}))
    assert found.nodes["k3s-w1"].uncached
    assert not found.nodes["k3s-w2"].uncached
    assert server.count("GET", "k3s-w1") == before + 2


async def test_a_node_that_cannot_be_confirmed_is_unknown_whatever_the_cache_says(server, reader):
    await reader.ready(SOON)

    def refuse(request: web.Request) -> web.Response | None:
        bad = request.path == f"{LEASES}/k3s-w1"
        return web.json_response(status(500, "etcd"), status=500) if bad else None

    server.fault = refuse
    node = (await reader.read(frozenset({"k3s-w1"}))).nodes["k3s-w1"]
    assert "500 etcd" in why(node.lease)
    assert not node.uncached


async def test_what_does_not_exist_is_unknown_and_named(server, reader):
    await reader.ready(SOON)
    for path in (f"{LEASES}/k3s-w1", "/api/v1/nodes/k3s-w2", DEPLOYMENT):
        server.drop(path)
    nodes = await reading(reader, lambda found: isinstance(found.claims[BACKUP], Unknown))
    assert why(nodes.claims[BACKUP]) == "Node k3s-w2 does not exist"
    await reading(reader, lambda found: isinstance(found.nodes["k3s-w1"].lease, Unknown))
    found = await reading(reader, lambda found: isinstance(found.workloads[SONARR], Unknown))
    assert why(found.workloads[SONARR]) == "Deployment media/sonarr does not exist"
    assert why(found.nodes["k3s-w1"].lease) == "Lease kube-node-lease/k3s-w1 does not exist"
    assert why(found.nodes["k3s-w2"].node) == "Node k3s-w2 does not exist"


async def claim_after(server, reader, path, body):
    await reader.ready(SOON)
    before = (await reader.read()).claims[BACKUP]
    if body is None:
        server.drop(path)
    else:
        server.put(path, body)
    return (await reading(reader, lambda found: found.claims[BACKUP] != before)).claims[BACKUP]


async def test_a_volume_that_the_sites_node_cannot_reach_is_said(server, reader):
    elsewhere = [{"matchExpressions": [{"key": "role", "operator": "In", "values": ["primary"]}]}]
    affinity = {"nodeAffinity": {"required": {"nodeSelectorTerms": elsewhere}}}
    path = "/api/v1/persistentvolumes/pv-sonarr-backup"
    found = await claim_after(server, reader, path, {"spec": affinity})
    assert found == ClaimReading(bound=True, volume="pv-sonarr-backup", reachable=False)


async def test_a_source_that_replicates_something_else_makes_the_claim_unknown(server, reader):
    found = await claim_after(server, reader, f"{SOURCES}/sonarr-backup", {"spec": {"sourcePVC": "other"}})
    assert "replicates claim other, the configuration says pvc-sonarr-backup" in why(found)


async def test_a_claim_or_volume_or_source_that_is_missing_is_unknown(server, reader):
    found = await claim_after(server, reader, "/api/v1/persistentvolumes/pv-sonarr-backup", None)
    assert why(found) == "PersistentVolume pv-sonarr-backup does not exist"
    found = await claim_after(server, reader, f"{SOURCES}/sonarr-backup", None)
    assert why(found) == "ReplicationSource media/sonarr-backup does not exist"
    found = await claim_after(server, reader, f"{CLAIMS}/pvc-sonarr-backup", None)
    assert why(found) == "PersistentVolumeClaim media/pvc-sonarr-backup does not exist"


async def test_a_watch_that_has_gone_silent_vouches_for_nothing(server, reader, clock):
    server.bookmarks = False
    await reader.ready(SOON)
    assert isinstance((await reader.read()).nodes["k3s-w1"].lease, Lease)
    clock.late = LEASES_IDLE + MARGIN + timedelta(seconds=1)
    found = await reader.read()
    assert why(found.nodes["k3s-w1"].lease) == "watch of node leases silent for 18 s"
    assert isinstance(found.workloads[SONARR], Workload)
    clock.late = timedelta(seconds=90)
    assert why((await reader.read()).workloads[SONARR]).startswith("watch of deployments in media silent")


async def test_after_the_api_server_was_unreachable_everything_is_listed_again(server, reader):
    await reader.ready(SOON)
    lists = server.count("GET", "/deployments")

    def dead(request: web.Request) -> None:
        request.transport.abort()  # type: ignore[union-attr]

    server.fault = dead
    server.cut()
    found = await reader.read()
    assert why(found.api).startswith("API server: GET ")
    assert "not listed" in why(found.workloads[SONARR])
    await asyncio.sleep(1)
    server.put(DEPLOYMENT, deployment(replicas=0))
    server.fault = None
    found = await reading(reader, lambda found: isinstance(found.workloads[SONARR], Workload))
    assert workload(found).replicas == 0
    assert server.count("GET", "/deployments") > lists


async def test_an_error_answer_is_no_reason_to_list_everything_again(server, reader):
    await reader.ready(SOON)
    server.fault = lambda r: (
        web.json_response(status(503, "busy"), status=503) if r.path.endswith("leases/failoverd") else None
    )
    found = await reader.read()
    assert "503 busy" in why(found.api)
    assert isinstance(found.workloads[SONARR], Workload)


async def test_without_the_right_to_list_the_reason_is_told(server, client, clock):
    server.fault = lambda r: (
        web.json_response(status(403, "pods is forbidden"), status=403) if r.path == PODS else None
    )
    leadership = LeaseLeadership(client, clock, namespace="failoverd", holder="one")
    reader = KubeReader(client, rules, leadership, clock=clock, namespace="failoverd")
    assert "pods is forbidden" in await reader.ready(timedelta(seconds=1))
    assert "403 pods is forbidden" in why((await reader.read()).workloads[SONARR])
    await reader.close()


@pytest.mark.parametrize("owner", [{"kustomize.toolkit.fluxcd.io/reconcile": "disabled"}, {}])
async def test_while_an_app_stands_still_between_places_its_pods_are_read_themselves(server, reader, owner):
    await reader.ready(SOON)
    held = deployment(replicas=0)
    held["metadata"]["annotations"].update({"failoverd.io/epoch": "1"} | owner)
    server.put(DEPLOYMENT, held)
    await reading(reader, lambda found: workload(found).replicas == 0)
    # A pod that no watch has told of yet: placed behind the watch's back.
    late = pod("sonarr-abc12-late")
    late["metadata"]["resourceVersion"] = "1"
    server.objects[f"{PODS}/sonarr-abc12-late"] = late
    assert "sonarr-abc12-late" in [p.name for p in workload(await reader.read()).pods]
    server.fault = lambda r: web.json_response(status(500, "etcd"), status=500) if r.path == PODS else None
    assert "500 etcd" in why((await reader.read()).workloads[SONARR])


async def test_a_cluster_without_argo_cd_leaves_the_application_unknown_and_says_so(server, client, clock):
    server.fault = lambda r: (
        web.json_response(status(404, "no such resource"), status=404) if "argoproj.io" in r.path else None
    )
    leadership = LeaseLeadership(client, clock, namespace="failoverd", holder="one")
    reader = KubeReader(
        client, lambda: rules(app(applier=ARGO_APPLICATION)), leadership, clock=clock, namespace="failoverd"
    )
    assert "404 no such resource" in await reader.ready(timedelta(seconds=1))
    said = why(workload(await reader.read()).applier)
    assert said.startswith("applications in argocd not listed")
    assert said.endswith("404 no such resource")
    await reader.close()


KURED = "/apis/apps/v1/namespaces/kube-system/daemonsets/kured"


async def test_the_node_that_holds_kureds_lock_is_under_planned_work(server, client, clock):
    held = {"metadata": {"name": "kured", "annotations": {LOCK: '{"nodeID": "k3s-w1", "created": "x", "TTL": 0}'}}}
    server.put(KURED, held)
    leadership = LeaseLeadership(client, clock, namespace="failoverd", holder="one")
    configured = replace(rules(), kured="kube-system/kured")
    reader = KubeReader(client, lambda: configured, leadership, clock=clock, namespace="failoverd")
    found = await reading(reader, lambda one: one.nodes["k3s-w1"].work)
    assert {name for name, one in found.nodes.items() if one.work} == {"k3s-w1"}
    sure = await reader.read(confirm=frozenset({"k3s-w1"}))
    assert sure.nodes["k3s-w1"].uncached
    assert sure.nodes["k3s-w1"].work == "being rebooted by kured"
    server.put(KURED, {"metadata": {"name": "kured"}})
    await reading(reader, lambda one: not one.nodes["k3s-w1"].work)
    await reader.close()


async def test_without_the_right_to_read_kureds_lock_everything_else_is_read(server, client, clock):
    server.fault = lambda r: (
        web.json_response(status(403, "forbidden"), status=403) if "daemonsets" in r.path else None
    )
    leadership = LeaseLeadership(client, clock, namespace="failoverd", holder="one")
    configured = replace(rules(), kured="kube-system/kured")
    reader = KubeReader(client, lambda: configured, leadership, clock=clock, namespace="failoverd")
    assert await reader.ready(SOON) == ""
    with capture_logs() as logs:
        for _ in range(2):
            await reader.read()
        found = await reader.read()
    assert isinstance(found.nodes["k3s-w1"].node, NodeObject)
    (said,) = [line for line in logs if "kured" in line["event"]]
    assert "403 forbidden" in said["why"]
    await reader.close()


async def test_a_command_arrives_and_wakes_the_loop(server, client, reader, wake):
    await reader.ready(SOON)
    await reader.read()
    wake.clear()
    now = datetime.now(UTC)
    told = Command(id="c1", kind=CommandKind.PAUSE, app="*", expires=now + timedelta(minutes=1))
    await commands.write(client, "failoverd", told, now)
    await asyncio.wait_for(wake.wait(), 5)
    assert (await reader.read()).commands == commands.Inbox(commands=(told,))


async def test_another_configuration_changes_what_is_watched(server, client, clock):
    current = [rules()]
    leadership = LeaseLeadership(client, clock, namespace="failoverd", holder="one")
    reader = KubeReader(client, lambda: current[0], leadership, clock=clock, namespace="failoverd")
    await reader.ready(SOON)
    current[0] = rules(replace(app(), key="tv/sonarr", namespace="tv"))
    server.put(DEPLOYMENT.replace("media", "tv"), deployment())
    assert await reader.ready(SOON) == ""
    found = await reader.read()
    assert list(found.workloads) == ["tv/sonarr"]
    assert isinstance(found.workloads["tv/sonarr"], Workload)
    await reader.close()
