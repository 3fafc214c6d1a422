"""The served world: when a client sends this, the cluster does that. Real sockets on loopback."""

import asyncio
import json
import ssl
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from failoverd.core import names
from failoverd.simulator.serve import Serve
from failoverd.simulator.serve_faults import WireFault
from failoverd.simulator.serve_objects import API_KEY
from failoverd.simulator.world_faults import inject
from failoverd.simulator.world_spec import WorldSpec, simple_rules

DEPLOYMENT = "/apis/apps/v1/namespaces/media/deployments/sonarr"
PODS = "/api/v1/namespaces/media/pods"
MAPS = "/api/v1/namespaces/failoverd/configmaps"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/failoverd/leases"
MOVER = "/api/v1/namespaces/media/services/https:volsync-sonarr-primary-api:8384/proxy/rest"
JSON_PATCH = {"Content-Type": "application/json-patch+json"}
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}


@pytest.fixture
async def served(tmp_path):
    async with Serve(WorldSpec(rules=simple_rules()), tmp_path, factor=20) as made:
        await settled(made, 5)
        yield made


@pytest.fixture
async def kube(served):
    headers = {"Authorization": f"Bearer {served.kube.token}"}
    async with httpx.AsyncClient(
        base_url=served.kube_url, headers=headers, verify=served.trust(), trust_env=False, timeout=5
    ) as client:
        yield client


async def settled(made, seconds):
    """Let so many seconds of the world pass."""
    end = made.world.time.now_ms + seconds * 1000
    while made.world.time.now_ms < end:  # noqa: ASYNC110 - time is what is waited for
        await asyncio.sleep(0.02)


async def patch(kube, path, *operations):
    return await kube.patch(path, content=json.dumps(operations), headers=JSON_PATCH)


def op(kind, path, value=None):
    return {"op": kind, "path": path, "value": value}


# -------------------------------------------------------------------- reading


async def test_without_the_token_nothing_is_answered(served):
    async with httpx.AsyncClient(verify=served.trust(), trust_env=False) as stranger:
        assert (await stranger.get(f"{served.kube_url}/api/v1/nodes")).status_code == 401


async def test_nodes_leases_and_dates(served, kube):
    nodes = (await kube.get("/api/v1/nodes")).json()
    assert {node["metadata"]["name"] for node in nodes["items"]} == {"k3s-cp1", "k3s-w1", "k3s-w2"}
    path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/k3s-w1"
    first = (await kube.get(path)).json()["spec"]["renewTime"]
    await settled(served, 11)
    answer = await kube.get(path)
    assert answer.json()["spec"]["renewTime"] > first
    assert answer.headers["Date"].endswith("GMT")


async def test_what_is_not_there_is_a_404_status(kube):
    answer = await kube.get(f"{PODS}/nobody")
    assert (answer.status_code, answer.json()["reason"]) == (404, "NotFound")
    assert (await kube.get("/api/v1/namespaces/media/unicorns")).status_code == 404


async def test_discovery_names_what_is_served(kube):
    groups = {group["name"] for group in (await kube.get("/apis")).json()["groups"]}
    assert {"apps", "coordination.k8s.io", "volsync.backube"} <= groups
    resources = (await kube.get("/apis/apps/v1")).json()["resources"]
    assert {resource["name"] for resource in resources} >= {"deployments", "statefulsets"}


async def test_field_selectors_select(kube):
    found = await kube.get("/api/v1/nodes", params={"fieldSelector": "metadata.name=k3s-w2"})
    assert [item["metadata"]["name"] for item in found.json()["items"]] == ["k3s-w2"]


# -------------------------------------------------------------------- watching


@asynccontextmanager
async def watching(kube, path, **query):
    async with kube.stream("GET", path, params={"watch": "true", **query}) as answer:
        lines = answer.aiter_lines()

        async def following():
            async with asyncio.timeout(5):
                return json.loads(await anext(lines))

        yield following


async def test_a_watch_begins_where_the_list_ended(served, kube):
    version = (await kube.get(PODS)).json()["metadata"]["resourceVersion"]
    inject(served.world, "stranger media/sonarr data primary")
    async with watching(kube, PODS, resourceVersion=version) as following:
        event = await following()
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "debug")


async def test_a_watch_without_a_version_shows_everything_first(kube):
    async with watching(kube, "/api/v1/nodes") as following:
        shown = {(await following())["object"]["metadata"]["name"] for _ in range(3)}
    assert shown == {"k3s-cp1", "k3s-w1", "k3s-w2"}


async def test_a_watch_from_too_long_ago_is_gone(served, kube):
    version = (await kube.get(PODS)).json()["metadata"]["resourceVersion"]
    inject(served.world, "stranger media/sonarr data primary")
    await settled(served, 2)
    served.kube.store.compact()
    async with watching(kube, PODS, resourceVersion=version) as following:
        event = await following()
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


async def test_a_watch_ends_when_it_was_asked_to(kube):
    async with kube.stream("GET", PODS, params={"watch": "true", "timeoutSeconds": "0.2"}) as answer:
        async with asyncio.timeout(3):
            assert [line async for line in answer.aiter_lines()]


# -------------------------------------------------------------------- writing


async def test_a_failing_test_is_422_and_changes_nothing(kube):
    before = (await kube.get(DEPLOYMENT)).json()
    answer = await patch(kube, DEPLOYMENT, op("replace", "/spec/replicas", 0), op("test", "/metadata/uid", "other"))
    assert (answer.status_code, answer.json()["reason"]) == (422, "Invalid")
    assert (await kube.get(DEPLOYMENT)).json()["spec"] == before["spec"]


async def test_the_version_can_be_tested(kube):
    version = (await kube.get(DEPLOYMENT)).json()["metadata"]["resourceVersion"]
    done = await patch(
        kube, DEPLOYMENT, op("test", "/metadata/resourceVersion", version), op("replace", "/spec/replicas", 0)
    )
    assert done.status_code == 200
    again = await patch(
        kube, DEPLOYMENT, op("test", "/metadata/resourceVersion", version), op("replace", "/spec/replicas", 1)
    )
    assert again.status_code == 422


async def test_replicas_0_ends_the_pod_and_the_controller_says_it_has_seen_it(served, kube):
    changed = (await patch(kube, DEPLOYMENT, op("replace", "/spec/replicas", 0))).json()
    assert changed["status"]["observedGeneration"] < changed["metadata"]["generation"]
    await settled(served, 5)
    assert (await kube.get(DEPLOYMENT)).json()["status"]["observedGeneration"] == changed["metadata"]["generation"]
    left = [pod["metadata"]["name"] for pod in (await kube.get(PODS)).json()["items"]]
    assert all(name.startswith("volsync-") for name in left)


async def test_flux_puts_back_what_is_not_held(served, kube):
    await patch(kube, DEPLOYMENT, op("replace", "/spec/replicas", 0))
    await settled(served, 61)
    assert (await kube.get(DEPLOYMENT)).json()["spec"]["replicas"] == 1


async def test_nonsense_is_refused(kube):
    assert (await patch(kube, DEPLOYMENT, op("replace", "/spec/replicas", "many"))).status_code == 422
    assert (await kube.patch(DEPLOYMENT, content="{", headers=MERGE_PATCH)).status_code == 400
    assert (await kube.patch(DEPLOYMENT, content="{}", headers={"Content-Type": "text/plain"})).status_code == 415


async def test_a_pod_is_deleted_only_under_its_own_uid(kube):
    pod = next(p for p in (await kube.get(PODS)).json()["items"] if not p["metadata"]["name"].startswith("volsync-"))
    path = f"{PODS}/{pod['metadata']['name']}"
    options: dict[str, Any] = {"gracePeriodSeconds": 0, "preconditions": {"uid": "other"}}
    assert (await kube.request("DELETE", path, json=options)).status_code == 409
    options["preconditions"]["uid"] = pod["metadata"]["uid"]
    assert (await kube.request("DELETE", path, json=options)).status_code == 200
    assert (await kube.get(path)).status_code == 404
    assert (await kube.request("DELETE", path, json=options)).status_code == 404


async def test_compare_and_swap(kube):
    made = await kube.post(MAPS, json={"metadata": {"name": "m"}, "data": {"a": "1"}})
    assert made.status_code == 201
    assert (await kube.post(MAPS, json={"metadata": {"name": "m"}})).status_code == 409
    old = made.json()
    assert (await kube.put(f"{MAPS}/m", json={**old, "data": {"a": "2"}})).status_code == 200
    late = await kube.put(f"{MAPS}/m", json={**old, "data": {"a": "3"}})
    assert (late.status_code, late.json()["reason"]) == (409, "Conflict")
    assert (await kube.get(f"{MAPS}/m")).json()["data"] == {"a": "2"}


async def test_writing_the_same_again_is_no_change(kube):
    old = (await kube.post(MAPS, json={"metadata": {"name": "m"}, "data": {"a": "1"}})).json()
    same = (await kube.put(f"{MAPS}/m", json=old)).json()
    assert same["metadata"]["resourceVersion"] == old["metadata"]["resourceVersion"]


async def test_merge_patch_adds_and_removes_keys(kube):
    await kube.post(MAPS, json={"metadata": {"name": "m"}, "data": {"a": "1", "b": "2"}})
    body = json.dumps({"data": {"a": None, "c": "3"}})
    assert (await kube.patch(f"{MAPS}/m", content=body, headers=MERGE_PATCH)).json()["data"] == {"b": "2", "c": "3"}


@pytest.mark.parametrize(("stamp", "status"), [("2026-01-05T09:00:00.000000Z", 201), ("2026-01-05T09:00:00Z", 400)])
async def test_a_leases_times_have_six_decimals(kube, stamp, status):
    body = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "me", "renewTime": stamp}}
    assert (await kube.post(LEASES, json=body)).status_code == status


async def test_permissions_are_reviewed_and_enforced(served, kube):
    served.kube.denied.add(("list", "pods"))
    spec = {"spec": {"resourceAttributes": {"verb": "list", "resource": "pods"}}}
    review = await kube.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", json=spec)
    assert (review.status_code, review.json()["status"]["allowed"]) == (201, False)
    assert (await kube.get(PODS)).status_code == 403


# -------------------------------------------------------------------- Syncthing by the proxy


async def test_syncthing_wants_its_key(kube):
    answer = await kube.get(f"{MOVER}/system/status")
    assert (answer.status_code, answer.text.strip()) == (403, "CSRF Error")


async def test_a_scan_a_role_and_its_reading_back(kube):
    key = {"X-API-Key": API_KEY}
    folder = f"{MOVER}/config/folders/{names.FOLDER}"
    assert (await kube.get(folder, headers=key)).json()["type"] == "sendreceive"
    changed = await kube.patch(folder, json={"type": "sendonly", "versioning": {"type": "simple"}}, headers=key)
    assert changed.status_code == 200
    found = (await kube.get(folder, headers=key)).json()
    assert (found["type"], found["versioning"]["type"]) == ("sendonly", "simple")
    assert (await kube.patch(folder, json={"type": "sideways"}, headers=key)).status_code == 400
    where = {"folder": names.FOLDER}
    assert (await kube.post(f"{MOVER}/db/scan", params=where, headers=key)).status_code == 200
    assert (await kube.get(f"{MOVER}/db/status", params=where, headers=key)).json()["sequence"] > 0
    assert (await kube.get(f"{MOVER}/db/status", params={"folder": "other"}, headers=key)).status_code == 404


async def test_a_mover_that_is_down_has_no_endpoints(served, kube):
    inject(served.world, "syncthing_restart media/sonarr data primary")
    answer = await kube.get(f"{MOVER}/system/status", headers={"X-API-Key": API_KEY})
    assert (answer.status_code, answer.json()["reason"]) == (503, "ServiceUnavailable")


async def test_a_mover_on_a_dead_node_does_not_answer_at_first(served, kube):
    inject(served.world, "power_off k3s-w1")
    with pytest.raises(httpx.ReadTimeout):
        await kube.get(f"{MOVER}/system/status", headers={"X-API-Key": API_KEY}, timeout=0.5)
    await settled(served, 60)
    assert (await kube.get(f"{MOVER}/system/status", headers={"X-API-Key": API_KEY})).status_code == 503


# -------------------------------------------------------------------- faults of the wire


@pytest.mark.parametrize("status", ["409", "410", "429", "500", "503"])
async def test_injected_statuses_come_once(served, kube, status):
    served.kube.faults.append(WireFault(kind=status, path="/pods", method="GET"))
    assert (await kube.get(PODS)).status_code == int(status)
    assert (await kube.get(PODS)).status_code == 200


async def test_a_lost_answer_belongs_to_a_deed_that_was_done(served, kube):
    served.kube.faults.append(WireFault(kind="500", method="PATCH", after=True))
    assert (await patch(kube, DEPLOYMENT, op("replace", "/spec/replicas", 0))).status_code == 500
    assert (await kube.get(DEPLOYMENT)).json()["spec"]["replicas"] == 0


async def test_cuts_hangs_and_garbage(served, kube):
    served.kube.faults += [WireFault(kind="cut"), WireFault(kind="truncate"), WireFault(kind="garbage")]
    with pytest.raises(httpx.TransportError):
        await kube.get(PODS)
    with pytest.raises(httpx.TransportError):
        await kube.get(PODS)
    with pytest.raises(ValueError, match="Expecting value"):
        (await kube.get(PODS)).json()
    served.kube.faults.append(WireFault(kind="hang"))
    with pytest.raises(httpx.ReadTimeout):
        await kube.get(PODS, timeout=0.3)
    assert (await kube.get(PODS)).status_code == 200


async def test_an_api_server_that_hangs_answers_when_it_is_over(served, kube):
    inject(served.world, "stall_api 10s")
    assert (await kube.get(PODS)).status_code == 200
    assert served.world.api_up


# -------------------------------------------------------------------- hypervisor, kubelets, chat


@pytest.fixture
async def hypervisor(served):
    headers = {"Authorization": f"PVEAPIToken={served.proxmox.token}"}
    url = f"{served.proxmox_url}/api2/json"
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=2) as client:
        yield client


async def test_the_hypervisor_cuts_the_power_and_says_so(served, hypervisor):
    guest = "/nodes/pve/lxc/101/status"
    assert (await hypervisor.get(f"{guest}/current")).json()["data"]["status"] == "running"
    upid = (await hypervisor.post(f"{guest}/stop")).json()["data"]
    assert (await hypervisor.get(f"/nodes/pve/tasks/{upid}/status")).json()["data"]["status"] == "running"
    await settled(served, 3)
    assert (await hypervisor.get(f"/nodes/pve/tasks/{upid}/status")).json()["data"]["exitstatus"] == "OK"
    assert (await hypervisor.get(f"{guest}/current")).json()["data"]["status"] == "stopped"
    assert not served.world.nodes["k3s-w1"].powered
    again = await hypervisor.post(f"{guest}/stop")
    assert (again.status_code, again.reason_phrase) == (500, "CT 101 not running")


async def test_a_stranger_and_a_silent_hypervisor(served, hypervisor):
    wrong = await hypervisor.get("/nodes/pve/lxc/101/status/current", headers={"Authorization": "PVEAPIToken=x"})
    assert wrong.status_code == 401
    inject(served.world, "hypervisor k3s-w1 down")
    with pytest.raises(httpx.ReadTimeout):
        await hypervisor.get("/nodes/pve/lxc/101/status/current", timeout=0.3)


async def kubelet(served, name, within=0.5):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with asyncio.timeout(within):
        reader, writer = await asyncio.open_connection(served.world.nodes[name].address, 10250, ssl=context)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        first = await reader.readline()
        writer.transport.abort()
        return first


async def test_a_kubelet_answers_refuses_or_is_silent(served):
    assert b"401" in await kubelet(served, "k3s-w1")
    inject(served.world, "kubelet_stop k3s-w1")
    await settled(served, 3)
    with pytest.raises(ConnectionRefusedError):
        await kubelet(served, "k3s-w1")
    inject(served.world, "cut k3s-w2")
    with pytest.raises(TimeoutError):
        await kubelet(served, "k3s-w2")


async def test_chat_messages_are_kept_in_order(served):
    async with httpx.AsyncClient(base_url=served.chat_url, trust_env=False) as daemon:
        await daemon.post("/hook", json={"event": "open", "text": "one"})
        served.chat.failing = 1
        assert (await daemon.post("/hook", json={"event": "update", "text": "lost"})).status_code == 500
        posted = await daemon.post("/api/webhooks/1/t", json={"embeds": [{"title": "t", "description": "two"}]})
        await daemon.patch(f"/api/webhooks/1/t/messages/{posted.json()['id']}", json={"embeds": [{"title": "u"}]})
    assert [(event, text) for _, event, text in served.chat.messages] == [
        ("open", "one"),
        ("open", "t: two"),
        ("update", "u: "),
    ]
