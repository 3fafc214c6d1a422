"""Every request the adapter makes is covered by the needs it declares, and nothing it declares is unused."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from failoverd.adapters.kubernetes import commands, events, lease, memory, rbac, read, shared, taint, write
from failoverd.adapters.kubernetes.client import Client
from failoverd.adapters.kubernetes.rbac import Grant
from failoverd.clock import SystemClock
from failoverd.config import load
from failoverd.core.memory import Memory
from failoverd.core.model import PatchOp
from failoverd.core.rules import WorkloadKind
from tests.adapters.apiserver import kubeconfig, serving
from tests.adapters.cluster import (
    APPLICATION,
    ARGO_APPLICATION,
    DEPLOYMENT,
    HELM_RELEASE,
    RELEASE,
    app,
    deployment,
    populate,
    rules,
    statefulset,
)
from tests.core.objects import application, helm_release
from tests.test_cli_cluster import Bench, bench, remembered

__all__ = ["bench"]  # a fixture
LEASE = "/apis/coordination.k8s.io/v1/namespaces/failoverd/leases/failoverd"

STATEFULSET = DEPLOYMENT.replace("deployments/sonarr", "statefulsets/db")
BOTH = rules(app(applier=HELM_RELEASE), app(WorkloadKind.STATEFULSET, name="db", applier=ARGO_APPLICATION))
APPS = replace(BOTH, out_of_service=("k3s-w1",), kured="kube-system/kured")
DAEMON = read.NEEDS + write.NEEDS + events.NEEDS + memory.NEEDS + lease.NEEDS + shared.NEEDS + taint.NEEDS


def asked(method: str, path: str, query: dict[str, str]) -> tuple[str, str, str, str, str]:
    """(namespace, group, resource, name, verb) as the API server's authoriser sees a request."""
    parts = path.strip("/").split("/")
    group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
    namespace = ""
    if rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    resource, name = "/".join([rest[0], *rest[2:3]]), rest[1] if len(rest) > 1 else ""
    if not name and "fieldSelector" in query:
        name = query["fieldSelector"].removeprefix("metadata.name=")
    verbs = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    reading = "get" if len(rest) > 1 else "watch" if "watch" in query else "list"
    verb = verbs.get(method, reading)
    return namespace, group, resource, name, verb


def covers(grant: Grant, request: tuple[str, str, str, str, str]) -> bool:
    namespace, group, resource, name, verb = request
    return (
        (grant.namespace, grant.group, grant.resource) == (namespace, group, resource)
        and verb in grant.verbs
        and (not grant.names or name in grant.names)
    )


async def everything(client: Client, server) -> None:
    """Whatever a daemon does in its life, once."""
    clock, configured = SystemClock(), APPS
    leadership = lease.LeaseLeadership(client, clock, namespace="failoverd", holder="one")
    await leadership.turn()
    await leadership.turn()
    await leadership.fresh(clock.now())
    reader = read.KubeReader(client, lambda: configured, leadership, clock=clock, namespace="failoverd")
    assert await reader.ready(timedelta(seconds=8)) == ""
    for path, held in ((DEPLOYMENT, deployment()), (STATEFULSET, statefulset())):
        held["spec"]["replicas"] = 0
        held["metadata"]["annotations"]["failoverd.io/epoch"] = "1"
        server.put(path, held)
    async with asyncio.timeout(8):
        while not all(server.count("GET", path) for path in (DEPLOYMENT, STATEFULSET, RELEASE, APPLICATION)):
            await reader.read(frozenset({"k3s-w1"}))
    await reader.close()
    store = memory.MemoryStore(client, "failoverd")
    await store.load()
    await store.save(Memory())
    await store.save(Memory())
    for _ in range(2):
        await memory.History(client, "failoverd").append([{"id": "a"}])
    await commands.read(client, "failoverd")
    assert await shared.read(client, "failoverd", "failoverd-config") == "mode"
    one = PatchOp(op="replace", path="/spec/replicas", value=1)
    for moved in configured.apps:
        await write.patch_workload(client, moved, (one,))
    for applier in (HELM_RELEASE, ARGO_APPLICATION):
        await write.patch_applier(client, applier, (PatchOp(op="add", path="/spec/suspend", value=True),))

    async def off() -> None:
        pass

    assert await taint.Taints(client).set("k3s-w1", "dead", off) == "tainted"
    assert await taint.Taints(client).clear("k3s-w1") == "taken off"
    await write.delete_pod(client, "media", "sonarr-abc12-x", "u-sonarr-abc12-x")
    told, at = events.Events(client), datetime.now(UTC)
    for _ in range(2):
        await told.write(events.Event(app=app(), uid="u", reason="R", text="t", at=at))


async def test_every_request_is_granted_and_every_verb_that_changes_something_is_used(tmp_path):
    grants = rbac.expand(DAEMON, APPS, "failoverd")
    async with serving() as server:
        populate(server)
        server.put("/api/v1/namespaces/failoverd/configmaps/failoverd-config", {"data": {"config.toml": "mode"}})
        client = await Client.load(kubeconfig(tmp_path, server.port))
        await everything(client, server)
        await client.close()
        made = {asked(method, path, query) for method, path, query, _ in server.requests}
    assert [request for request in made if not any(covers(grant, request) for grant in grants)] == []
    unused = [
        (grant.namespace, grant.resource, verb)
        for grant in grants
        for verb in grant.verbs
        if not any(covers(grant, request) and request[4] == verb for request in made)
    ]
    assert unused == []


def test_helm_releases_are_granted_where_an_app_names_one_and_nowhere_else():
    without = rbac.expand(DAEMON, rules(app(), app(WorkloadKind.STATEFULSET, name="db")), "failoverd")
    assert [grant for grant in without if grant.resource == "helmreleases"] == []
    elsewhere = rbac.expand(
        DAEMON, rules(app(applier=helm_release("flux-system/sonarr")), app(name="db")), "failoverd"
    )
    found = [(g.namespace, g.names, g.verbs) for g in elsewhere if g.resource == "helmreleases"]
    assert found == [("flux-system", (), ("list", "watch")), ("flux-system", ("sonarr",), ("get", "patch"))]


def test_of_argo_cd_only_the_named_applications_may_be_changed():
    without = rbac.expand(DAEMON, rules(app(applier=HELM_RELEASE)), "failoverd")
    assert [grant for grant in without if grant.group == "argoproj.io"] == []
    configured = rules(*(app(name=name, applier=application(f"argocd/{name}")) for name in ("sonarr", "db")))
    found = [g for g in rbac.expand(DAEMON, configured, "failoverd") if g.group == "argoproj.io"]
    assert {(g.namespace, g.resource) for g in found} == {("argocd", "applications")}
    assert [(g.names, g.verbs) for g in found] == [((), ("list", "watch")), (("db", "sonarr"), ("get", "patch"))]


def test_of_kured_the_one_daemon_set_is_read_where_it_is_configured():
    def granted(configured):
        grants = rbac.expand(DAEMON, configured, "failoverd")
        return [(g.namespace, g.names, g.verbs) for g in grants if g.resource == "daemonsets"]

    assert granted(rules()) == []
    assert granted(replace(rules(), kured="ops/reboots")) == [("ops", ("reboots",), ("list", "watch"))]


def test_nodes_may_be_written_where_a_taint_is_configured_and_nowhere_else():
    def patched(configured):
        grants = rbac.expand(DAEMON, configured, "failoverd")
        return [grant.names for grant in grants if grant.resource == "nodes" and "patch" in grant.verbs]

    assert patched(rules()) == []
    assert patched(replace(rules(), out_of_service=("k3s-w1",))) == [("k3s-w1",)]


VERBS = (
    ("status",), ("status", "sonarr"), ("why", "sonarr"), ("history",), ("pause", "--for", "1h", "--no-wait"),
    ("resume", "--no-wait"), ("switchover", "sonarr", "--no-wait"), ("failover", "sonarr", "--yes", "--no-wait"),
    ("release", "sonarr", "--yes", "--no-wait"), ("switchover", "sonarr", "--timeout", "1s"),
)  # fmt: skip


async def test_every_request_of_an_operator_is_granted_and_no_grant_is_idle(bench: Bench):
    bench.server.put(LEASE, {"spec": {"holderIdentity": "failoverd-0_0123abcd"}})
    bench.remember(remembered())
    for verb in VERBS:
        await bench.run(*verb)
    grants = rbac.expand(commands.OPERATOR_NEEDS, load(bench.folder / "config.toml").rules, "failoverd")
    made = {asked(method, path, query) for method, path, query, _ in bench.server.requests if path != "/version"}
    assert [request for request in made if not any(covers(grant, request) for grant in grants)] == []
    unused = [
        (grant.resource, name, verb)
        for grant in grants
        for verb in grant.verbs
        for name in grant.names or ("",)
        if not any(covers(grant, one) and one[4] == verb and name in ("", one[3]) for one in made)
    ]
    assert unused == []


async def test_from_afar_the_leading_pod_is_asked_for_what_only_it_knows(bench: Bench):
    bench.remember(remembered())
    page = json.loads((Path(__file__).parent / "status.json").read_text())
    bench.server.put(LEASE, {"spec": {"holderIdentity": "failoverd-0_0123abcd"}})
    bench.server.objects["/api/v1/namespaces/failoverd/pods/failoverd-0/proxy/status"] = page
    said = await bench.run("why", "sonarr")
    assert said.err == ""
    for objection in page["apps"]["media/sonarr"]["objections"]:
        assert objection["text"] in said.out
    bench.server.put(LEASE, {"spec": {"holderIdentity": ""}})
    assert (await bench.run("why", "sonarr")).err.startswith("note: no daemon's web server was reached")
    bench.server.put(LEASE, {"spec": {"holderIdentity": "failoverd-0_0123abcd"}})
    away = await bench.run("why", "sonarr", "--url", "http://127.0.0.1:1")
    assert away.err.startswith("note: no daemon's web server was reached")
