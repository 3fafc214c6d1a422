import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from failoverd.adapters.kubernetes.memory import HISTORY_KEEP, LIMIT, NEWER, History, MemoryStore, decode, encode
from failoverd.core.memory import (
    AppMemory,
    CopyMemory,
    Kind,
    Loss,
    Memory,
    Move,
    NodeMemory,
    Pause,
    Phase,
    Standing,
    TakeBackStep,
    Undo,
    VolumeMemory,
)
from failoverd.core.model import Unknown
from failoverd.core.rules import Site
from failoverd.ports import Conflict, StoreError
from tests.adapters.apiserver import status

MEMORY = "/api/v1/namespaces/failoverd/configmaps/failoverd-memory"
HISTORY = "/api/v1/namespaces/failoverd/configmaps/failoverd-history"
AT = datetime(2026, 11, 23, 12, 0, 0, 500000, tzinfo=UTC)


def full() -> Memory:
    move = Move(
        id="m1",
        app="media/sonarr",
        kind=Kind.FAILOVER,
        source=Site.PRIMARY,
        target=Site.BACKUP,
        epoch=1,
        reason="dead",
        began_at=AT,
        evidence=("stopped",),
        marks=(("decided", AT),),
        losses=(Loss(volume="data", age_seconds=None), Loss(volume="b", age_seconds=3)),
        scanned=(("data", Site.PRIMARY, 7, "then"),),
    )
    copies = {
        Site.PRIMARY: CopyMemory(standing=Standing.TAKING_BACK, step=TakeBackStep.REVERT),
        Site.BACKUP: CopyMemory(standing=Standing.ACTIVE, device="ID"),
    }
    app = AppMemory(
        phase=Phase.STARTING,
        active=Site.BACKUP,
        epoch=1,
        volumes={"data": VolumeMemory(copies=copies, proven_at=AT, proven_sequence=3)},
        move=move,
        moves=(move, move),
        undo=Undo(replicas=1, claims=(("data", "pvc"),), selector=(("role", "primary"), ("x", None))),
    )
    return Memory(
        apps={app.move.app if app.move else "": app},
        nodes={"k3s-w1": NodeMemory(mapped="h", fenced_at=AT)},
        commands=("c1",),
        pauses={"*": Pause(by="me", why="work", since=AT)},
    )


def test_what_is_written_is_read_back_to_the_last_field():
    assert decode(encode(full()), "it") == full()
    assert decode(encode(Memory()), "it") == Memory()


def test_newer_fields_that_hold_nothing_are_not_written_and_one_that_does_is():
    assert not [name for name in NEWER if f'"{name}"' in encode(full())]
    memory = full()
    app = memory.apps["media/sonarr"]
    volumes = {"data": replace(app.volumes["data"], displaced={Site.PRIMARY: 5}, taken_back={Site.PRIMARY: AT})}
    memory = replace(memory, apps={"media/sonarr": replace(app, volumes=volumes)})
    assert '"displaced":{"primary":5},"taken_back":{"primary":"2' in encode(memory)
    assert '"restore"' not in encode(memory)
    assert decode(encode(memory), "it") == memory


def test_fifty_busy_apps_fit_with_room_to_spare():
    app = full().apps["media/sonarr"]
    volumes = {"data": app.volumes["data"], "more": app.volumes["data"]}
    assert app.move is not None
    busy = AppMemory(
        phase=app.phase, active=app.active, epoch=1, volumes=volumes, move=app.move, moves=(app.move,) * 10
    )
    assert len(encode(Memory(apps={f"media/a{n}": busy for n in range(50)}))) < LIMIT / 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ('{"schema":1,"apps"', "is not JSON"),
        ("[]", "has no schema version"),
        ('{"apps":{}}', "has no schema version"),
        ('{"schema":2}', "has schema 2, this version knows up to 1: run a newer failoverd"),
        ('{"schema":1,"apps":{"a":{"phase":"dancing"}}}', "at apps.a.phase"),
        ('{"schema":1,"apps":{"a":{"phase":"watching","active":"primary","volumes":{}}}}', "at apps.a.epoch"),
        ('{"schema":1,"nodes":{"n":{"fenced_at":"2026-11-23T12:00:00"}}}', "without a time zone"),
        ('{"schema":1,"nodes":{"n":{"mapped":7}}}', "at nodes.n.mapped"),
        ('{"schema":1,"fancy":true}', "holds fancy, which this version does not know: run a newer failoverd"),
        ('{"schema":1,"nodes":{"n":{"fancy":1}}}', "holds nodes.n.fancy, which this version does not know"),
    ],
)
def test_memory_that_cannot_be_understood_is_unknown_and_says_where(text, said):
    found = decode(text, "ConfigMap a/b")
    assert isinstance(found, Unknown)
    assert found.why.startswith("ConfigMap a/b")
    assert said in found.why


async def test_there_is_none_at_first_and_then_what_was_saved(client):
    store = MemoryStore(client, "failoverd")
    assert await store.load() is None
    await store.save(full())
    await store.save(Memory())
    await store.save(full())
    assert await MemoryStore(client, "failoverd").load() == full()


async def test_whoever_saves_second_gets_a_conflict_and_must_load_again(client):
    one, two = MemoryStore(client, "failoverd"), MemoryStore(client, "failoverd")
    await one.load()
    await two.load()
    await one.save(Memory())
    with pytest.raises(Conflict):
        await two.save(full())
    with pytest.raises(StoreError, match="has not been loaded"):
        await two.save(full())
    assert await two.load() == Memory()
    await two.save(full())
    with pytest.raises(Conflict):
        await one.save(Memory())
    assert await one.load() == full()


async def test_memory_that_has_vanished_is_unknown_never_a_first_start(server, client):
    store = MemoryStore(client, "failoverd")
    await store.load()
    await store.save(full())
    server.drop(MEMORY)
    found = await store.load()
    assert isinstance(found, Unknown)
    assert "ConfigMap failoverd/failoverd-memory has vanished" in found.why
    with pytest.raises(StoreError):
        await store.save(full())
    assert MEMORY not in server.objects


@pytest.mark.parametrize("code", [401, 403, 500, 503])
async def test_a_refused_read_is_unknown_and_a_refused_write_an_error(server, client, code):
    store = MemoryStore(client, "failoverd")
    await store.load()
    server.fault = lambda _: web.json_response(status(code, "no"), status=code)
    with pytest.raises(StoreError, match=str(code)):
        await store.save(full())
    assert isinstance(await store.load(), Unknown)


async def test_a_write_that_was_cut_off_is_loaded_before_anything_else_is_written(server, client):
    store = MemoryStore(client, "failoverd")
    await store.load()

    async def carried_out_but_not_answered(request):
        body = await request.json()
        server.put(MEMORY, body)
        request.transport.abort()

    server.fault = carried_out_but_not_answered
    with pytest.raises(StoreError):
        await store.save(full())
    server.fault = None
    assert await store.load() == full()
    await store.save(Memory())


@pytest.mark.parametrize("text", ['{"schema": 9}', '{"schema": 1, "fancy": true}'])
async def test_newer_memory_is_left_alone(server, client, text):
    server.put(MEMORY, {"data": {"memory.json": text}})
    store = MemoryStore(client, "failoverd")
    assert isinstance(await store.load(), Unknown)
    with pytest.raises(StoreError):
        await store.save(full())
    assert server.objects[MEMORY]["data"] == {"memory.json": text}


async def test_what_others_put_beside_memory_stays(server, client):
    server.put(MEMORY, {"metadata": {"labels": {"a": "b"}}, "data": {"memory.json": '{"schema": 1}', "x": "y"}})
    store = MemoryStore(client, "failoverd")
    assert await store.load() == Memory()
    await store.save(full())
    assert server.objects[MEMORY]["data"]["x"] == "y"
    assert server.objects[MEMORY]["metadata"]["labels"] == {"a": "b"}


async def test_memory_too_large_for_a_configmap_is_refused_before_it_is_sent(server, client):
    store = MemoryStore(client, "failoverd")
    await store.load()
    with pytest.raises(StoreError, match="can hold"):
        await store.save(Memory(commands=("x" * LIMIT,)))
    assert server.count("POST") == 0


async def test_history_keeps_the_last_entries_and_replaces_by_id(client):
    history = History(client, "failoverd")
    await history.append([{"id": "a", "n": 1}])
    await history.append([{"id": "b", "n": 2}, {"id": "a", "n": 3}])
    assert await history.read() == ({"id": "b", "n": 2}, {"id": "a", "n": 3})
    await history.append([{"n": number} for number in range(HISTORY_KEEP)])
    assert [entry["n"] for entry in await history.read()] == list(range(HISTORY_KEEP))


async def test_history_is_in_order_of_beginning_whenever_an_entry_was_written_last(server, client):
    def began(name, second, **more):
        return {"id": name, "began_at": f"2026-01-02T03:04:0{second}+00:00", **more}

    hold = {"id": "hold", "kind": "hold", "at": "2026-01-02T03:04:02.5+00:00"}
    old = [began("c", 3), {"id": "a", "began_at": "2026-01-02T04:04:01+01:00"}, hold, began("odd", "x")]
    server.put(HISTORY, {"data": {"history.jsonl": "\n".join(json.dumps(one) for one in old)}})
    history = History(client, "failoverd")
    assert [entry["id"] for entry in await history.read()] == ["odd", "a", "hold", "c"]
    await history.append([began("b", 2), began("a", 1, outcome="done")])
    assert [entry["id"] for entry in await history.read()] == ["odd", "a", "b", "hold", "c"]
    kept = [entry["id"] for entry in map(json.loads, server.objects[HISTORY]["data"]["history.jsonl"].splitlines())]
    assert kept == ["odd", "a", "b", "hold", "c"]
    await history.append([began(f"n{number}", 9) for number in range(HISTORY_KEEP - 2)])
    assert [entry["id"] for entry in await history.read()][:3] == ["hold", "c", "n0"]


async def test_history_of_two_writers_loses_nothing(server, client):
    one, two = History(client, "failoverd"), History(client, "failoverd")
    await one.append([{"id": "a"}])
    raced: list[int] = []

    async def race(request):
        if request.method == "PUT" and not raced:
            raced.append(1)
            await two.append([{"id": "b"}])

    server.fault = race
    await one.append([{"id": "c"}])
    assert [entry["id"] for entry in await one.read()] == ["a", "b", "c"]


async def test_history_drops_the_oldest_rather_than_overflow_and_forgives_a_broken_line(server, client):
    server.put(HISTORY, {"data": {"history.jsonl": '{"id":"a"}\nnonsense\n[]\n{"id":"b"}'}})
    history = History(client, "failoverd")
    assert [entry["id"] for entry in await history.read()] == ["a", "b"]
    await history.append([{"id": str(n), "text": "x" * (LIMIT // 4)} for n in range(5)])
    assert [entry["id"] for entry in await history.read()] == ["2", "3", "4"]


async def test_history_gives_up_at_once_on_what_does_not_pass(server, client):
    server.fault = lambda _: web.json_response(status(403, "no"), status=403)
    with pytest.raises(Exception, match="403"):
        await History(client, "failoverd").append([{"id": "a"}])
    assert len(server.requests) == 1


def test_a_time_is_kept_to_the_microsecond():
    memory = Memory(pauses={"*": Pause(by="me", why="x", since=AT + timedelta(microseconds=1))})
    assert decode(encode(memory), "it") == memory
