import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from aiohttp import web

from failoverd.adapters.kubernetes import commands, events, lease, memory, rbac, read, write
from failoverd.adapters.kubernetes.client import KubeError
from failoverd.adapters.kubernetes.events import Event, Events
from failoverd.adapters.kubernetes.memory import MemoryStore
from failoverd.adapters.kubernetes.write import delete_pod, patch_workload
from failoverd.clock import SystemClock
from failoverd.core.memory import Memory
from failoverd.core.model import Command, CommandKind, PatchOp
from failoverd.core.rules import App, Copy, Mode, Rules, Site, Volume, WorkloadKind
from tests.adapters.apiserver import status

AT = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
DEPLOYMENT = "/apis/apps/v1/namespaces/media/deployments/sonarr"
POD = "/api/v1/namespaces/media/pods/sonarr-abc-1"
COMMANDS = "/api/v1/namespaces/failoverd/configmaps/failoverd-commands"


def app(name: str = "sonarr", kind: WorkloadKind = WorkloadKind.DEPLOYMENT, space: str = "media") -> App:
    copies = (
        Copy(claim=f"pvc-{name}", source=f"{name}-primary"),
        Copy(claim=f"pvc-{name}-backup", source=f"{name}-backup"),
    )
    volume = Volume(name=f"{name}-data", primary=copies[0], backup=copies[1])
    return App(key=f"{space}/{name}", namespace=space, name=name, kind=kind, pair="p", volumes=(volume,))


async def test_a_patch_is_one_json_patch_under_our_name_with_every_operation(server, client):
    server.put(DEPLOYMENT, {"spec": {"replicas": 1}, "metadata": {"annotations": {"x": "y"}}})
    hold = "/metadata/annotations/kustomize.toolkit.fluxcd.io~1reconcile"
    ops = (
        PatchOp(op="test", path="/spec/replicas", value=1),
        PatchOp(op="add", path=hold, value="disabled"),
        PatchOp(op="replace", path="/spec/replicas", value=0),
        PatchOp(op="remove", path="/metadata/annotations/x"),
    )
    await patch_workload(client, app(), ops)
    found = server.objects[DEPLOYMENT]
    assert found["spec"]["replicas"] == 0
    assert found["metadata"]["annotations"] == {"kustomize.toolkit.fluxcd.io/reconcile": "disabled"}
    assert server.requests[-1][2] == {"fieldManager": "failoverd"}
    assert "value" not in server.sent("PATCH")[0][3]


async def test_a_failed_test_changes_nothing_and_is_not_worth_repeating(server, client):
    before = server.put(DEPLOYMENT, {"spec": {"replicas": 1}})
    ops = (
        PatchOp(op="replace", path="/spec/replicas", value=0),
        PatchOp(op="test", path="/spec/replicas", value=7),
    )
    with pytest.raises(KubeError) as caught:
        await patch_workload(client, app(), ops)
    assert (caught.value.status, caught.value.retryable) == (422, False)
    assert server.objects[DEPLOYMENT]["spec"] == before["spec"]


async def test_a_statefulset_is_patched_where_statefulsets_are(server, client):
    path = DEPLOYMENT.replace("deployments", "statefulsets")
    server.put(path, {"spec": {"replicas": 1}})
    op = PatchOp(op="replace", path="/spec/replicas", value=0)
    await patch_workload(client, app(kind=WorkloadKind.STATEFULSET), (op,))
    assert server.objects[path]["spec"]["replicas"] == 0


async def test_a_pod_is_deleted_at_once_and_only_by_its_uid(server, client):
    server.put(POD, {"metadata": {"uid": "u1"}})
    assert await delete_pod(client, "media", "sonarr-abc-1", "u1") == "deleted"
    assert POD not in server.objects
    assert server.sent("DELETE")[0]["gracePeriodSeconds"] == 0


async def test_another_pod_of_that_name_is_left_alone_and_counts_as_done(server, client):
    server.put(POD, {"metadata": {"uid": "u2"}})
    assert "another pod" in await delete_pod(client, "media", "sonarr-abc-1", "u1")
    assert POD in server.objects


async def test_a_pod_that_is_gone_counts_as_done(client):
    assert "gone" in await delete_pod(client, "media", "sonarr-abc-1", "u1")


async def test_a_refused_deletion_is_an_error(server, client):
    server.fault = lambda _: web.json_response(status(403, "no"), status=403)
    with pytest.raises(KubeError):
        await delete_pod(client, "media", "sonarr-abc-1", "u1")


async def test_the_same_words_become_one_event_that_counts_up(server, client):
    told = Events(client)
    event = Event(app=app(), uid="u", reason="Failover", text="k3s-w1 is dead", at=AT, warning=True)
    await told.write(event)
    later = Event(**{f: getattr(event, f) for f in ("app", "uid", "reason", "text")}, at=AT + timedelta(hours=1))
    await told.write(later)
    found = [body for path, body in server.objects.items() if "/media/events/" in path]
    assert [(e["count"], e["type"], e["message"]) for e in found] == [(2, "Warning", "k3s-w1 is dead")]
    assert (found[0]["firstTimestamp"], found[0]["lastTimestamp"]) == (
        "2026-11-23T12:00:00Z",
        "2026-11-23T13:00:00Z",
    )
    assert found[0]["involvedObject"]["kind"] == "Deployment"


async def test_an_event_that_has_expired_is_made_anew_and_a_long_one_is_cut(server, client):
    told = Events(client)
    event = Event(app=app(), uid="u", reason="Failover", text="ä" * 2000, at=AT)
    await told.write(event)
    (path,) = server.objects
    server.drop(path)
    await told.write(event)
    assert server.objects[path]["count"] == 1
    assert len(server.objects[path]["message"].encode()) == 1024


def command(name: str, expires: datetime = AT + timedelta(minutes=5)) -> Command:
    return Command(
        id=name, kind=CommandKind.SWITCHOVER, app="media/sonarr", target=Site.BACKUP, epoch=3, expires=expires
    )


async def test_commands_are_read_as_they_were_written_and_old_ones_are_swept(server, client):
    assert (await commands.read(client, "failoverd")).commands == ()
    await commands.write(client, "failoverd", command("a"), AT)
    await commands.write(client, "failoverd", command("b"), AT)
    assert (await commands.read(client, "failoverd")).commands == (command("a"), command("b"))
    late = AT + timedelta(hours=2)
    await commands.write(client, "failoverd", command("c", late), late)
    assert set(server.objects[COMMANDS]["data"]) == {"c"}


async def test_two_who_command_first_at_once_both_succeed(server, client):
    async def race(request):
        if request.method == "POST" and COMMANDS not in server.objects:
            server.put(COMMANDS, {"data": {"a": json.dumps("x")}})

    server.fault = race
    await commands.write(client, "failoverd", command("b"), AT)
    assert set(server.objects[COMMANDS]["data"]) == {"a", "b"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "it can't be understood"),
        ('{"id":"a","kind":"dance","app":"x","expires":"2026-11-23T12:00:00Z"}', "kind can't be understood"),
        ('{"id":"a","kind":"pause","app":"x"}', "expires can't be understood"),
        ('{"id":"b","kind":"pause","app":"x","expires":"2026-11-23T12:00:00Z"}', "its id says 'b'"),
        ('{"id":"a","kind":"pause","app":"x","expires":"2026-11-23T12:00:00"}', "no time zone"),
        (
            '{"id":"a","kind":"restore","app":"x","expires":"2026-11-23T12:00:00Z",'
            '"restore":{"recall":{"at":"2026-11-23T12:00:00"}}}',
            "no time zone",
        ),
    ],
)
def test_a_command_that_cannot_be_understood_is_named_and_the_others_stand(text, said):
    good = '{"id":"z","kind":"pause","app":"*","expires":"2026-11-23T12:00:00Z"}'
    found = commands.parse({"data": {"a": text, "z": good}})
    assert [c.id for c in found.commands] == ["z"]
    assert len(found.malformed) == 1
    assert found.malformed[0].startswith("command a: ")
    assert said in found.malformed[0]


async def test_an_id_that_can_be_no_key_is_refused_before_anything_is_sent(server, client):
    with pytest.raises(ValueError, match="command id"):
        await commands.write(client, "failoverd", command("a/b"), AT)
    assert server.requests == []


async def test_whoever_waits_for_a_command_gets_memory_once_it_is_done(client):
    daemon, clock = MemoryStore(client, "failoverd"), SystemClock()
    await daemon.load()
    await daemon.save(Memory())
    reader, moment = MemoryStore(client, "failoverd"), timedelta(milliseconds=200)
    assert await commands.wait(reader, "a", clock, moment) is None
    await daemon.save(Memory(commands=("a",)))
    assert await commands.wait(reader, "a", clock, moment) == Memory(commands=("a",))


ALL = read.NEEDS + write.NEEDS + events.NEEDS + memory.NEEDS + lease.NEEDS


def rules(*apps: App) -> Rules:
    return Rules(mode=Mode.ACTIVE, pairs=(), apps=apps)


def test_the_grants_name_the_configured_workloads_and_nothing_broader_is_written():
    stateful = app("db", WorkloadKind.STATEFULSET, "data")
    grants = rbac.expand(ALL, rules(app(), app("radarr"), stateful), "failoverd")
    writes = {
        (g.namespace, g.resource, g.names, verb)
        for g in grants
        for verb in g.verbs
        if verb not in {"get", "list", "watch"}
    }
    assert writes == {
        ("media", "deployments", ("radarr", "sonarr"), "patch"),
        ("data", "statefulsets", ("db",), "patch"),
        ("media", "pods", (), "delete"),
        ("data", "pods", (), "delete"),
        ("media", "events", (), "create"),
        ("media", "events", (), "patch"),
        ("data", "events", (), "create"),
        ("data", "events", (), "patch"),
        ("failoverd", "configmaps", (), "create"),
        ("failoverd", "configmaps", ("failoverd-history", "failoverd-memory"), "update"),
        ("failoverd", "leases", (), "create"),
        ("failoverd", "leases", ("failoverd",), "update"),
    }
    assert not any(g.resource == "statefulsets" for g in grants if g.namespace == "media")
    assert all(one < other for one, other in pairwise(grants))


def test_no_grant_reaches_for_secrets_or_everything():
    for grant in rbac.expand(ALL + commands.OPERATOR_NEEDS, rules(app()), "failoverd"):
        assert "*" not in {*grant.verbs, grant.resource, grant.group}
        assert grant.resource != "secrets"


def test_names_of_sources_become_names_of_their_secrets_and_services():
    needs = [
        rbac.Need(where=rbac.Where.APPS, group="", resource=resource, verbs=("get",), named=named)
        for resource, named in (
            ("secrets", rbac.Named.SOURCE_SECRETS),
            ("services/proxy", rbac.Named.SOURCE_PROXIES),
        )
    ]
    found = {g.resource: g.names for g in rbac.expand(needs, rules(app()), "failoverd")}
    assert found == {
        "secrets": ("volsync-sonarr-backup", "volsync-sonarr-primary"),
        "services/proxy": (
            "https:volsync-sonarr-backup-api:8384",
            "https:volsync-sonarr-primary-api:8384",
        ),
    }
