"""What is written down beside the decisions reaches the cluster, however often it fails on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from failoverd.adapters.kubernetes.client import Client, KubeError
from failoverd.core.memory import Kind, Memory
from failoverd.core.model import Api, Displaced, Note, Objection, Receipt, Role, SetRole
from failoverd.core.rules import Site
from failoverd.scribe import QUEUED, Scribe
from failoverd.voice import Speaker
from tests.adapters import apiserver
from tests.adapters.apiserver import ApiServer, until
from tests.adapters.board import (
    APP,
    AT,
    NOT_CLEAN,
    TOO_OLD,
    HandClock,
    decision,
    finished,
    later,
    memory,
    rules,
    snapshot,
)

HOLD = f"hold {APP}"
EVENTS = f"/api/v1/namespaces/{APP.partition('/')[0]}/events"


class Book:
    """A history in memory that can be out of reach."""

    def __init__(self, entries: Sequence[Mapping[str, Any]] = ()) -> None:
        self.entries = {str(entry["id"]): dict(entry) for entry in entries}
        self.broken = False
        self.writes = 0

    async def read(self) -> tuple[Mapping[str, Any], ...]:
        if self.broken:
            raise KubeError(0, "GET history: no answer")
        return tuple(self.entries.values())

    async def append(self, entries: Sequence[Mapping[str, Any]]) -> None:
        if self.broken:
            raise KubeError(0, "PUT history: no answer")
        self.writes += 1
        for entry in entries:
            self.entries.pop(str(entry["id"]), None)
            self.entries[str(entry["id"])] = dict(entry)

    @property
    def holds(self) -> list[dict[str, Any]]:
        return [entry for entry in self.entries.values() if entry["kind"] == "hold"]


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with apiserver.serving() as serving:
        yield serving


@pytest.fixture
async def client(server: ApiServer, tmp_path: Path) -> AsyncIterator[Client]:
    made = await Client.load(apiserver.kubeconfig(tmp_path, server.port))
    yield made
    await made.close()


@asynccontextmanager
async def writing(client: Client, book: Book) -> AsyncIterator[Scribe]:
    scribe = Scribe(client, book, rules(), again=timedelta(milliseconds=50))
    task = asyncio.create_task(scribe.run())
    try:
        yield scribe
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def tick(scribe: Scribe, seconds: float, *, held: bool, why: tuple[Objection, ...] = (TOO_OLD,)) -> None:
    """One tick of the leader, so many seconds after AT."""
    known = replace(memory(moves=()), incidents=(HOLD,) if held else ())
    shown = decision(memory=known)
    shown = replace(shown, apps={APP: replace(shown.apps[APP], objections=why)})
    scribe.see(shown, snapshot(api=Api(date=later(seconds))))


async def settled(scribe: Scribe) -> None:
    """Nothing is waiting to be written."""
    await until(lambda: not (scribe._moves or scribe._holds or scribe._notes or not scribe._taken_over))


async def test_a_hold_is_one_entry_from_its_beginning_to_its_end(client: Client) -> None:
    book = Book()
    async with writing(client, book) as scribe:
        tick(scribe, 0, held=True)
        await settled(scribe)
        tick(scribe, 30, held=True)
        await settled(scribe)
        assert book.holds == []  # every failover waits for its proof
        tick(scribe, 61, held=True)
        await settled(scribe)
        assert [(one["at"], one["until"], one["outcome"]) for one in book.holds] == [(AT.isoformat(), None, "held")]
        for second in range(62, 90):
            older = replace(TOO_OLD, text=f"data of config is {second} s old")
            tick(scribe, second, held=True, why=(older,))
        tick(scribe, 90, held=True, why=(NOT_CLEAN,))
        await settled(scribe)
        assert book.writes == 2  # growing numbers are no news
        tick(scribe, 100, held=False)
        await settled(scribe)
        tick(scribe, 130, held=True)
        tick(scribe, 160, held=False)
        await settled(scribe)
    (hold,) = book.holds
    assert (hold["app"], hold["wanted"], hold["outcome"]) == (APP, "failover", "over")
    assert (hold["at"], hold["until"]) == (AT.isoformat(), later(160).isoformat())
    assert [one["why"] for one in hold["objections"]] == ["data too old", "standing not clean"]


@pytest.mark.parametrize("still", [True, False])
async def test_the_next_leader_goes_on_with_a_hold_or_ends_it(client: Client, still: bool) -> None:
    book = Book()
    async with writing(client, book) as scribe:
        tick(scribe, 0, held=True)
        await settled(scribe)
        tick(scribe, 70, held=True)
        await settled(scribe)
    async with writing(client, book) as scribe:
        for second in (100, 102):
            tick(scribe, second, held=still)
            await settled(scribe)
        tick(scribe, 300, held=still)
        await settled(scribe)
    (hold,) = book.holds
    assert (hold["at"], hold["until"]) == (AT.isoformat(), None if still else later(100).isoformat())


async def test_an_event_that_fails_is_written_later_and_a_refused_one_is_given_up(
    client: Client, server: ApiServer
) -> None:
    answers = [503, 503]

    def stumble(request: web.Request) -> web.Response | None:
        return web.json_response({"kind": "Status"}, status=answers.pop()) if answers else None

    async with writing(client, Book()) as scribe:
        speaker = Speaker(show=lambda seen, snap, _: scribe.see(seen, snap), events=scribe.note)
        speaker.say(decision(memory=Memory()), snapshot(), HandClock().now())
        await settled(scribe)
        server.fault = stumble
        note = Note(incident=HOLD, text="not moved", level="warning", app=APP)
        speaker.say(decision(memory=Memory(), notes=(note,)), snapshot(), HandClock().now())
        await settled(scribe)
        assert any(path.startswith(EVENTS) for path in server.objects)
        server.fault = lambda request: web.json_response({"kind": "Status", "code": 403}, status=403)
        scribe.note(replace(note, text="forbidden"), AT)
        await settled(scribe)
        server.fault = None
        scribe.note(replace(note, text="and on"), AT)
        await settled(scribe)
    told = [body["message"] for path, body in server.objects.items() if path.startswith(EVENTS)]
    assert told == ["not moved", "and on"]


async def test_of_too_many_events_the_oldest_are_dropped(client: Client) -> None:
    scribe = Scribe(client, Book(), rules())
    scribe.see(decision(memory=Memory()), snapshot())
    for number in range(QUEUED + 3):
        scribe.note(Note(incident=HOLD, text=str(number), app=APP), AT)
    assert [note.text for note, _ in scribe._notes][:: QUEUED - 1] == ["3", str(QUEUED + 2)]


async def test_an_instance_that_does_not_lead_writes_nothing(client: Client) -> None:
    book = Book()
    async with writing(client, book) as scribe:
        follower = snapshot(instance=replace(snapshot().instance, leader=False))
        scribe.see(decision(), follower)
        scribe.note(Note(incident=HOLD, text="x", app=APP), AT)
        await asyncio.sleep(0.2)
        assert not scribe._notes
    assert book.writes == 0


async def test_a_finished_move_waits_for_a_history_that_is_out_of_reach(client: Client) -> None:
    book = Book()
    book.broken = True
    async with writing(client, book) as scribe:
        scribe.see(decision(), snapshot())
        await asyncio.sleep(0.2)
        assert book.entries == {}
        book.broken = False
        await settled(scribe)
    (move,) = book.entries.values()
    assert (move["app"], move["outcome"]) == (APP, "done")


async def test_what_became_of_its_patch_is_added_to_the_entry_of_a_move(client: Client) -> None:
    book = Book()
    was = finished(ended_at=later(18))
    watched = replace(was, marks=(*was.marks, ("stood", later(138))))
    async with writing(client, book) as scribe:
        for move in (was, was, watched, watched):
            scribe.see(decision(memory=memory(moves=(move,))), snapshot())
            await settled(scribe)
    (entry,) = book.entries.values()
    assert entry["marks"]["stood"] == later(138).isoformat()
    assert book.writes == 2


async def test_a_leader_that_begins_writes_the_moves_of_the_one_before_at_once(client: Client) -> None:
    book, move = Book(), replace(memory().apps[APP].moves[0], outcome="done")
    scribe = Scribe(client, book, rules())  # what nothing else wakes would wait for half a minute
    task = asyncio.create_task(scribe.run())
    remembered = Memory(apps={APP: replace(memory().apps[APP], moves=(move,))})
    scribe.see(decision(memory=remembered), snapshot())
    await until(lambda: move.id in book.entries)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_what_the_lost_side_keeps_stands_in_the_entry_of_its_move_and_survives_a_restart(
    client: Client,
) -> None:
    book = Book()
    async with writing(client, book) as scribe:
        scribe.see(decision(), snapshot(receipts=(listed(finished().id),)))
        await settled(scribe)
    async with writing(client, book) as scribe:
        scribe.see(decision(), snapshot())
        await settled(scribe)
    (move,) = book.entries.values()
    assert move["displaced"] == {"config": {"files": 2, "size": 9, "names": ["a", "b"]}}


def listed(move: str) -> Receipt:
    """Versions end at the primary; four files of before lay there already."""
    act = SetRole(
        app=APP, volume="config", site=Site.PRIMARY, role=Role.RECEIVE_ONLY, keep=False, move=move, reason="ended"
    )
    found = Displaced(files=6, size=4009, names=("a", "b"), older_files=4, older_size=4000)
    return Receipt(action=act, ok=True, displaced=found)


async def test_a_list_stands_in_the_entry_of_its_own_move_alone(client: Client) -> None:
    book = Book()
    late = finished(id="mv-2", kind=Kind.SWITCHOVER, epoch=5)
    restore = finished(id="mv-3", kind=Kind.RESTORE, source=Site.PRIMARY, target=Site.PRIMARY, epoch=6)
    after = memory(moves=(finished(), late))
    async with writing(client, book) as scribe:
        scribe.see(decision(memory=after), snapshot(receipts=(listed("mv-3"),)))  # it is under way still
        scribe.see(decision(memory=after), snapshot(receipts=(listed(""),)))  # nobody knows whose it is
        await settled(scribe)
        assert not any("displaced" in entry for entry in book.entries.values())
        scribe.see(decision(memory=memory(moves=(finished(), late, restore))), snapshot())
        await settled(scribe)
    assert [key for key, entry in book.entries.items() if "displaced" in entry] == ["mv-3"]
    assert book.entries["mv-3"]["displaced"]["config"] == {"files": 2, "size": 9, "names": ["a", "b"]}
