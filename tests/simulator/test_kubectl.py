"""The served API as kubectl uses it: over TLS by the kubeconfig that was written, by short names, as tables.

The requests are those that kubectl 1.37 was seen to send.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from failoverd.simulator.serve import Serve
from failoverd.simulator.world_faults import inject
from failoverd.simulator.world_spec import WorldSpec, simple_app, simple_rules
from tests.simulator.test_serve import settled

APPS = "/apis/apps/v1/namespaces/media"
MEDIA = "/api/v1/namespaces/media"
TABLE = ",".join(
    [
        "application/json;as=Table;v=v1;g=meta.k8s.io",
        "application/json;as=Table;v=v1beta1;g=meta.k8s.io",
        "application/json",
    ]
)
DISCOVERY = ",".join(
    [
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        "application/json",
    ]
)
MERGE = {"Content-Type": "application/merge-patch+json", "Accept": "application/json"}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serve]:
    apps = (simple_app("sonarr"), simple_app("paperless"))
    async with Serve(WorldSpec(rules=simple_rules(apps)), tmp_path, factor=20) as made:
        await settled(made, 5)
        yield made


@pytest.fixture
async def kubectl(served: Serve) -> AsyncIterator[httpx.AsyncClient]:
    """Who knows nothing but the kubeconfig."""
    config = json.loads(served.kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    trusted = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    headers = {"Authorization": f"Bearer {user['token']}"}
    async with httpx.AsyncClient(
        base_url=cluster["server"], headers=headers, verify=trusted, trust_env=False, timeout=5
    ) as client:
        yield client


async def table(kubectl: httpx.AsyncClient, path: str, **query: str) -> list[dict[str, Any]]:
    """The rows kubectl would print, by the column's heading, wide columns included."""
    answer = await kubectl.get(path, headers={"Accept": TABLE}, params={"limit": "500", **query})
    found = answer.json()
    assert (found["kind"], found["apiVersion"]) == ("Table", "meta.k8s.io/v1"), found
    heads = [column["name"].upper() for column in found["columnDefinitions"]]
    assert all(len(row["cells"]) == len(heads) for row in found["rows"])
    return [dict(zip(heads, row["cells"], strict=True)) | {"object": row["object"]} for row in found["rows"]]


async def test_the_kubeconfig_leads_to_a_server_that_proves_itself(served: Serve, kubectl: httpx.AsyncClient) -> None:
    assert str(kubectl.base_url).startswith("https://127.0.0.1:")
    assert (await kubectl.get("/version")).json()["gitVersion"].endswith("-simulated")
    async with httpx.AsyncClient(verify=ssl.create_default_context(), trust_env=False) as stranger:
        with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
            await stranger.get(f"{served.kube_url}/version")


async def test_discovery_leads_from_a_short_name_to_a_resource(kubectl: httpx.AsyncClient) -> None:
    groups = (await kubectl.get("/apis", headers={"Accept": DISCOVERY})).json()
    versions = ["/api/v1", *(f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups["groups"])]
    found: dict[str, str] = {}
    everything: set[str] = set()
    for version in versions:
        for resource in (await kubectl.get(version)).json()["resources"]:
            for name in (resource["name"], resource["singularName"], *resource.get("shortNames", ())):
                found[name] = f"{version}/{resource['name']}"
            everything |= {resource["name"]} if "all" in resource.get("categories", ()) else set()
    core = {"po": "pods", "no": "nodes", "ns": "namespaces", "pvc": "persistentvolumeclaims", "cm": "configmaps"}
    assert {short: found[short] for short in core} == {short: f"/api/v1/{name}" for short, name in core.items()}
    assert found["deploy"] == found["deployment"] == "/apis/apps/v1/deployments"
    assert "/apis/apps/v1/deployments/scale" in found.values()
    assert {"deployments", "pods"} <= everything


PODS, WORKLOADS = f"{MEDIA}/pods", f"{APPS}/deployments"
CLAIMS = f"{MEDIA}/persistentvolumeclaims"


@pytest.mark.parametrize(
    ("path", "name", "cells"),
    [
        (WORKLOADS, "sonarr", {"READY": "1/1", "UP-TO-DATE": 1, "AVAILABLE": 1}),
        ("/apis/apps/v1/deployments", "sonarr", {"READY": "1/1"}),
        (f"{WORKLOADS}/sonarr", "sonarr", {"READY": "1/1"}),
        (CLAIMS, "pvc-sonarr-backup", {"STATUS": "Bound", "VOLUME": "pv-media-sonarr-backup"}),
        ("/api/v1/nodes", "k3s-w1", {"STATUS": "Ready"}),
        ("/api/v1/namespaces", "media", {"STATUS": "Active"}),
        (f"{MEDIA}/services", "volsync-sonarr-backup-api", {"TYPE": "ClusterIP", "PORT(S)": "8384/TCP"}),
        (f"{MEDIA}/secrets", "volsync-sonarr-backup", {"TYPE": "Opaque", "DATA": 5}),
        ("/apis/coordination.k8s.io/v1/leases", "k3s-w1", {"HOLDER": "k3s-w1"}),
    ],
)
async def test_what_is_listed_is_a_table(
    kubectl: httpx.AsyncClient, path: str, name: str, cells: dict[str, Any]
) -> None:
    rows = {row["NAME"]: row for row in await table(kubectl, path)}
    row = rows[name]
    assert {heading: row[heading] for heading in cells} == cells
    assert row["AGE"].endswith("s")
    assert row["object"]["kind"] == "PartialObjectMetadata"
    assert row["object"]["metadata"]["name"] == name


async def test_age_counts_from_the_beginning_whatever_changes_meanwhile(
    served: Serve, kubectl: httpx.AsyncClient
) -> None:
    await settled(served, 150)
    for path in ("/api/v1/nodes", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"):
        assert [row["AGE"][:2] for row in await table(kubectl, path)] == ["2m"] * 3


async def test_the_table_of_pods_tells_what_the_readme_shows(served: Serve, kubectl: httpx.AsyncClient) -> None:
    def own(rows: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
        return sorted((r["READY"], r["STATUS"], r["NODE"]) for r in rows if r["NAME"].startswith("sonarr-"))

    assert own(await table(kubectl, PODS)) == [("1/1", "Running", "k3s-w1")]
    inject(served.world, "power_off k3s-w1")
    await settled(served, 420)
    assert own(await table(kubectl, PODS)) == [("0/1", "Pending", "<none>"), ("1/1", "Terminating", "k3s-w1")]
    (node,) = await table(kubectl, "/api/v1/nodes", fieldSelector="metadata.name=k3s-w1")
    assert node["STATUS"] == "NotReady"


async def test_a_watch_prints_rows(served: Serve, kubectl: httpx.AsyncClient) -> None:
    query = {"watch": "true", "resourceVersion": "0", "fieldSelector": "metadata.name=sonarr"}
    async with kubectl.stream("GET", WORKLOADS, params=query, headers={"Accept": TABLE}) as answer:
        lines = answer.aiter_lines()
        first = json.loads(await anext(lines))
        assert first["object"]["kind"] == "Table"
        inject(served.world, "power_off k3s-w1")
        second = json.loads(await anext(lines))
        assert second["type"] == "MODIFIED"
        assert second["object"]["rows"][0]["cells"][:2] == ["sonarr", "0/1"]


async def test_a_watch_can_begin_with_everything_there_is_and_says_where_that_ends(
    kubectl: httpx.AsyncClient,
) -> None:
    """`kubectl wait`, `rollout status` and `delete` watch so since 1.35, and wait for ever without the end."""
    query = {"watch": "true", "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
    query["allowWatchBookmarks"] = "true"
    async with kubectl.stream("GET", WORKLOADS, params=query) as answer:
        lines = answer.aiter_lines()
        events = [json.loads(await anext(lines)) for _ in range(3)]
    assert [event["type"] for event in events] == ["ADDED", "ADDED", "BOOKMARK"]
    assert events[2]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"fieldSelector": "spec.nodeName=k3s-w2,status.phase!=Succeeded,status.phase!=Failed"}, set()),
        ({"labelSelector": "app in (sonarr,radarr)"}, {"sonarr"}),
        ({"labelSelector": "app,app notin (sonarr)"}, {"paperless"}),
        ({"labelSelector": "app!=sonarr,app"}, {"paperless"}),
        ({"labelSelector": "!app.kubernetes.io/component"}, {"sonarr", "paperless"}),
    ],
)
async def test_selectors_select(kubectl: httpx.AsyncClient, query: dict[str, str], names: set[str]) -> None:
    rows = await table(kubectl, PODS, **query)
    assert {row["NAME"].partition("-")[0] for row in rows} - {"volsync"} == names


async def test_annotate_writes_an_annotation(kubectl: httpx.AsyncClient) -> None:
    body = json.dumps({"metadata": {"annotations": {"example.org/note": "mine"}}})
    query = {"fieldManager": "kubectl-annotate"}
    written = await kubectl.patch(f"{WORKLOADS}/sonarr", content=body, headers=MERGE, params=query)
    assert written.status_code == 200
    found = (await kubectl.get(f"{WORKLOADS}/sonarr")).json()["metadata"]["annotations"]
    assert found["example.org/note"] == "mine"


async def test_scale_reads_and_writes_the_replicas(served: Serve, kubectl: httpx.AsyncClient) -> None:
    path = f"{WORKLOADS}/sonarr/scale"
    before = (await kubectl.get(path)).json()
    assert (before["kind"], before["apiVersion"], before["spec"]) == ("Scale", "autoscaling/v1", {"replicas": 1})
    assert before["status"] == {"replicas": 1, "selector": "app=sonarr"}
    patched = await kubectl.patch(path, content=json.dumps({"spec": {"replicas": 0}}), headers=MERGE)
    assert (patched.status_code, patched.json()["spec"]) == (200, {})
    assert (await kubectl.get(f"{WORKLOADS}/sonarr")).json()["spec"]["replicas"] == 0
    assert (await kubectl.put(path, json=before)).status_code == 409
    # Without a version it is for whichever there is: a status may be written at any moment.
    before["metadata"].pop("resourceVersion")
    assert (await kubectl.put(path, json={**before, "spec": {"replicas": 2}})).json()["spec"] == {"replicas": 2}
    assert served.world.apps["media/sonarr"].raw["spec"]["replicas"] == 2
    assert (await kubectl.get(f"{WORKLOADS}/nobody/scale")).status_code == 404
