"""Contract: reading objects. What is listed, how it is selected and paged, and what an answer always carries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest

from tests.contract.worlds import (
    DEPLOYMENTS,
    MEDIA,
    NODE_LEASES,
    PODS,
    SOURCES,
    World,
    claims,
    get,
    pods,
    ready,
    settled,
)  # fmt: skip

pytestmark = pytest.mark.asyncio(loop_scope="session")

W1_LEASE = f"{NODE_LEASES}/k3s-w1"


def parsed(stamp: str) -> datetime:
    return datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


@pytest.mark.parametrize("who", ["nobody", "wrong"])
async def test_without_a_good_token_nothing_is_told(world: World, who: str) -> None:
    refused = await world.kube("GET", PODS, who=who)
    assert refused.status in (401, 403) if who == "nobody" else refused.refusal == (401, "Unauthorized")


@pytest.mark.parametrize("path", ["/api/v1/nodes/k3s-w1", f"{PODS}/nobody", "/api/v1/unicorns", W1_LEASE])
async def test_every_answer_carries_the_clusters_time(world: World, path: str) -> None:
    answer = await world.kube("GET", path)
    date = parsedate_to_datetime(answer.headers["Date"])
    renewed = parsed((await get(world, W1_LEASE))["spec"]["renewTime"])
    assert timedelta(seconds=-2) <= date - renewed <= timedelta(seconds=15)


async def test_a_refusal_carries_the_time_too(world: World) -> None:
    answer = await world.kube("GET", PODS, who="wrong")
    assert parsedate_to_datetime(answer.headers["Date"]).tzinfo is not None


async def test_what_is_not_there_is_not_found(world: World) -> None:
    assert (await world.kube("GET", f"{PODS}/nobody")).refusal == (404, "NotFound")
    missing = await world.kube("GET", f"{DEPLOYMENTS}/nobody")
    assert missing.json["message"] == 'deployments.apps "nobody" not found'
    assert (await world.kube("GET", f"{MEDIA}/unicorns")).status == 404


async def test_a_node_says_where_it_is_and_whether_it_is_ready(world: World) -> None:
    node = await get(world, "/api/v1/nodes/k3s-w2")
    labels = node["metadata"]["labels"]
    assert (labels["kubernetes.io/hostname"], labels["role"], ready(node)) == ("k3s-w2", "backup", "True")
    addresses = {one["type"]: one["address"] for one in node["status"]["addresses"]}
    assert addresses["Hostname"] == "k3s-w2"
    assert addresses["InternalIP"].count(".") == 3
    assert not node["spec"].get("unschedulable")


async def test_a_nodes_lease_moves_every_ten_seconds(world: World) -> None:
    lease = await get(world, W1_LEASE)
    assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseDurationSeconds"]) == ("k3s-w1", 40)
    first = parsed(lease["spec"]["renewTime"])

    async def moved() -> datetime | None:
        found = parsed((await get(world, W1_LEASE))["spec"]["renewTime"])
        return found if found > first else None

    later = await world.until(moved, 14, "another renewal")
    assert timedelta(seconds=8) < later - first < timedelta(seconds=25)


async def test_a_list_has_a_version_and_its_items_do_not_name_their_kind(world: World) -> None:
    found = await get(world, PODS)
    assert (found["kind"], found["apiVersion"]) == ("PodList", "v1")
    assert int(found["metadata"]["resourceVersion"]) > 0
    assert all("kind" not in item and "apiVersion" not in item for item in found["items"])


async def test_a_list_of_custom_resources_names_their_kind(world: World) -> None:
    items = (await get(world, SOURCES))["items"]
    assert {item["kind"] for item in items} == {"ReplicationSource"}


async def test_the_items_of_a_list_are_the_objects(world: World) -> None:
    item = next(i for i in (await get(world, DEPLOYMENTS))["items"] if i["metadata"]["name"] == "sonarr")
    one = await get(world, f"{DEPLOYMENTS}/sonarr")
    assert {"kind": one["kind"], "apiVersion": one["apiVersion"], **item} == one


async def test_a_field_selector_selects_by_name(world: World) -> None:
    query = {"fieldSelector": "metadata.name=k3s-w2"}
    found = (await world.kube("GET", "/api/v1/nodes", query=query)).json
    assert [item["metadata"]["name"] for item in found["items"]] == ["k3s-w2"]


async def test_a_selector_for_nobody_is_an_empty_list(world: World) -> None:
    query = {"fieldSelector": "metadata.name=nobody"}
    found = (await world.kube("GET", "/api/v1/nodes", query=query)).json
    assert found["items"] == []
    assert int(found["metadata"]["resourceVersion"]) > 0


async def test_pages_together_are_the_whole_list(world: World) -> None:
    query, names = {"limit": "2"}, []
    for _ in range(30):
        page = (await world.kube("GET", MEDIA + "/persistentvolumeclaims", query=query)).json
        assert len(page["items"]) <= 2
        names += [item["metadata"]["name"] for item in page["items"]]
        if not page["metadata"].get("continue"):
            break
        query["continue"] = page["metadata"]["continue"]
    whole = (await get(world, MEDIA + "/persistentvolumeclaims"))["items"]
    assert names == [item["metadata"]["name"] for item in whole]
    assert {"pvc-sonarr", "pvc-sonarr-backup", "pvc-paperless-media"} <= set(names)


async def test_a_workload_says_what_its_controller_has_seen(world: World) -> None:
    found = await settled(world, f"{DEPLOYMENTS}/sonarr")
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
    assert (found["spec"]["replicas"], found["status"]["readyReplicas"]) == (1, 1)
    assert found["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/name"] == "apps"
    assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"]


async def test_a_workload_points_at_the_claim_of_its_site(world: World) -> None:
    spec = (await get(world, f"{DEPLOYMENTS}/sonarr"))["spec"]["template"]["spec"]
    assert spec["nodeSelector"] == {"role": "primary"}
    assert spec["volumes"][0] == {"name": "sonarr-data", "persistentVolumeClaim": {"claimName": "pvc-sonarr"}}


async def test_a_pod_says_where_it_runs_what_it_mounts_and_whose_it_is(world: World) -> None:
    (pod,) = await pods(world, "sonarr")
    assert (pod["spec"]["nodeName"], claims(pod), ready(pod)) == ("k3s-w1", {"pvc-sonarr"}, "True")
    assert pod["spec"]["terminationGracePeriodSeconds"] == 30
    (owner,) = pod["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["controller"]) == ("ReplicaSet", True)
    assert pod["metadata"]["labels"]["pod-template-hash"] == owner["name"].removeprefix("sonarr-")


async def test_a_mover_mounts_the_same_claim_and_can_be_told_from_the_app(world: World) -> None:
    selector = "app.kubernetes.io/component=syncthing-mover,app.kubernetes.io/name=sonarr-primary"
    found = (await world.kube("GET", PODS, query={"labelSelector": selector})).json["items"]
    assert [pod["metadata"]["name"].startswith("volsync-sonarr-primary-") for pod in found] == [True]
    assert "pvc-sonarr" in claims(found[0])


@pytest.mark.parametrize(("claim", "role"), [("pvc-sonarr", "primary"), ("pvc-paperless-media-backup", "backup")])
async def test_a_claim_leads_to_a_volume_that_one_node_admits(world: World, claim: str, role: str) -> None:
    found = await get(world, f"{MEDIA}/persistentvolumeclaims/{claim}")
    assert found["status"]["phase"] == "Bound"
    volume = await get(world, f"/api/v1/persistentvolumes/{found['spec']['volumeName']}")
    (term,) = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    (wanted,) = term["matchExpressions"]
    nodes = (await get(world, "/api/v1/nodes"))["items"]
    admitted = [n for n in nodes if n["metadata"]["labels"].get(wanted["key"]) in wanted["values"]]
    assert [n["metadata"]["labels"]["role"] for n in admitted] == [role]


async def test_a_source_names_its_claim_and_its_peer(world: World) -> None:
    source = await get(world, f"{SOURCES}/sonarr-primary")
    other = await get(world, f"{SOURCES}/sonarr-backup")
    assert (source["spec"]["sourcePVC"], other["spec"]["sourcePVC"]) == ("pvc-sonarr", "pvc-sonarr-backup")
    assert [peer["ID"] for peer in source["spec"]["syncthing"]["peers"]] == [other["status"]["syncthing"]["ID"]]


async def test_a_movers_secret_and_service_have_volsyncs_names(world: World) -> None:
    secret = await get(world, f"{MEDIA}/secrets/volsync-sonarr-backup")
    assert set(secret["data"]) == {"apikey", "username", "password", "httpsCertPEM", "httpsKeyPEM"}
    service = await get(world, f"{MEDIA}/services/volsync-sonarr-backup-api")
    assert [(port["name"], port["port"]) for port in service["spec"]["ports"]] == [("api", 8384)]


@pytest.mark.parametrize(
    ("path", "heads", "first"),
    [
        (DEPLOYMENTS, ["Name", "Ready", "Up-to-date", "Available", "Age"], {"sonarr": "1/1"}),
        (PODS, ["Name", "Ready", "Status", "Restarts", "Age"], {}),
        (f"{MEDIA}/persistentvolumeclaims", ["Name", "Status", "Age"], {"pvc-sonarr": "Bound"}),
        ("/api/v1/nodes", ["Name", "Status", "Age"], {"k3s-w2": "Ready"}),
        ("/api/v1/namespaces", ["Name", "Status", "Age"], {"media": "Active"}),
    ],
)
async def test_what_is_listed_can_be_had_as_a_table(
    world: World, path: str, heads: list[str], first: dict[str, str]
) -> None:
    await settled(world, f"{DEPLOYMENTS}/sonarr")
    answer = await world.kube("GET", path, headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"})
    found = answer.json
    assert (found["kind"], found["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    named = [column["name"] for column in found["columnDefinitions"] if not column["priority"]]
    assert [name for name in named if name in heads] == heads
    rows = {row["cells"][0]: row for row in found["rows"]}
    assert {name: rows[name]["cells"][1] for name in first} == first
    assert {row["object"]["kind"] for row in rows.values()} == {"PartialObjectMetadata"}


async def test_replicas_are_a_resource_of_their_own(world: World) -> None:
    found = await get(world, f"{DEPLOYMENTS}/sonarr/scale")
    assert (found["kind"], found["apiVersion"], found["spec"]) == ("Scale", "autoscaling/v1", {"replicas": 1})
    labels = (await get(world, f"{DEPLOYMENTS}/sonarr"))["spec"]["selector"]["matchLabels"]
    assert found["status"]["selector"] == ",".join(f"{name}={value}" for name, value in labels.items())


async def test_discovery_knows_short_names(world: World) -> None:
    resources = (await get(world, "/api/v1"))["resources"] + (await get(world, "/apis/apps/v1"))["resources"]
    short = {one["name"]: one["shortNames"] for one in resources if one.get("shortNames")}
    wanted = {"pods": "po", "nodes": "no", "persistentvolumeclaims": "pvc", "deployments": "deploy"}
    assert {name: short[name] for name in wanted} == {name: [word] for name, word in wanted.items()}
