"""What daemon and guards say to each other, over HTTP: orders against a version, and what is read."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from failoverd.adapters.kubernetes import events, guards, lease, memory, rbac, read, shared, write
from failoverd.adapters.kubernetes.client import KubeError
from failoverd.adapters.kubernetes.lease import LeaseLeadership
from failoverd.adapters.kubernetes.read import KubeReader
from failoverd.clock import SystemClock
from failoverd.core.filed import Filed, Trouble
from failoverd.core.model import GuardReading, Unknown
from failoverd.core.points import Duty, Observed, Wanted
from failoverd.core.rules import Guarding, Site
from failoverd.core.stock import Aside, Lying, stock
from tests.adapters.apiserver import status
from tests.adapters.cluster import rules
from tests.adapters.test_kubernetes_rbac import asked, covers

pytestmark = pytest.mark.usefixtures("populated")
MAPS = "/api/v1/namespaces/failoverd/configmaps"
NAME = "failoverd-guard.media.pvc-sonarr"
KEY = ("media/sonarr", "sonarr-data", Site.PRIMARY)
WANTED = Wanted(duty=Duty.MAKE, epoch=3, active=Site.PRIMARY)
SAID = Observed(site=Site.PRIMARY, at=datetime(2026, 11, 26, 12, tzinfo=UTC), duty=Duty.MAKE, epoch=3)
GUARDED = replace(rules(), guard=Guarding())


async def order(client, wanted: Wanted, version: str) -> str:
    return await guards.order(client, "failoverd", NAME, wanted, version)


async def test_an_order_makes_the_object_and_then_changes_it_against_its_version(client, server):
    assert await order(client, WANTED, "") == "made, ordered to make"
    made = server.objects[f"{MAPS}/{NAME}"]
    assert guards.reading(made, "it").wanted == WANTED
    rest = replace(WANTED, duty=Duty.REST)
    await order(client, rest, made["metadata"]["resourceVersion"])
    assert guards.reading(server.objects[f"{MAPS}/{NAME}"], "it").wanted == rest


async def test_an_order_against_a_version_of_before_changes_nothing(client, server):
    await order(client, WANTED, "")
    version = server.objects[f"{MAPS}/{NAME}"]["metadata"]["resourceVersion"]
    await order(client, replace(WANTED, epoch=4), version)
    with pytest.raises(KubeError) as refused:
        await order(client, replace(WANTED, move="an old leader's"), version)
    assert refused.value.status == 409
    assert guards.reading(server.objects[f"{MAPS}/{NAME}"], "it").wanted == replace(WANTED, epoch=4)


async def test_an_object_that_somebody_made_is_labelled_and_not_ordered_unread(client, server):
    server.put(f"{MAPS}/{NAME}", {"metadata": {"name": NAME}, "data": {"observed": guards.observed_text(SAID)}})
    assert "there already" in await order(client, WANTED, "")
    made = server.objects[f"{MAPS}/{NAME}"]
    assert made["metadata"]["labels"] == guards.LABELS
    assert "wanted" not in made["data"]


def test_what_is_not_there_is_nothing_and_what_cannot_be_understood_is_said():
    assert guards.reading(None, "it") == GuardReading()
    told: dict[str, Any] = {"metadata": {"resourceVersion": "5"}, "data": {"wanted": "{", "observed": "{"}}
    found = guards.reading(told, "it")
    assert (found.version, found.wanted, found.observed) == ("5", None, None)
    assert found.trouble.startswith("it: observed")
    text = guards.observed_text(replace(SAID, at=SAID.at.replace(tzinfo=None)))
    assert "without a zone" in guards.reading({**told, "data": {"observed": text}}, "it").trouble


@pytest.fixture
def wake():
    return asyncio.Event()


@pytest.fixture
async def reader(client, wake):
    leadership = LeaseLeadership(client, SystemClock(), namespace="failoverd", holder="one")
    reader = KubeReader(client, lambda: GUARDED, leadership, clock=SystemClock(), namespace="failoverd", wake=wake)
    yield reader
    await reader.close()


async def until(reader: KubeReader, wanted) -> dict[Any, Any]:
    async with asyncio.timeout(8):
        while not wanted(found := (await reader.read()).guards):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.02)
    return dict(found)


async def test_every_copy_has_a_reading_and_follows_what_its_guard_says(client, server, reader):
    found = await until(reader, lambda one: not any(isinstance(read, Unknown) for read in one.values()))
    assert found == {KEY: GuardReading(), (*KEY[:2], Site.BACKUP): GuardReading()}
    await order(client, WANTED, "")
    found = await until(reader, lambda one: one[KEY].wanted is not None)
    assert (found[KEY].wanted, found[KEY].observed) == (WANTED, None)
    await guards.GuardObject(client, "failoverd", NAME).write(SAID)
    found = await until(reader, lambda one: one[KEY].observed is not None)
    assert found[KEY].observed == SAID
    assert found[KEY].version == server.objects[f"{MAPS}/{NAME}"]["metadata"]["resourceVersion"]


async def test_what_a_guard_says_wakes_the_loop(client, reader, wake):
    await order(client, WANTED, "")
    await until(reader, lambda one: isinstance(one[KEY], GuardReading) and one[KEY].wanted is not None)
    await asyncio.sleep(1.2)  # nothing of the order is on its way any more
    wake.clear()
    await guards.GuardObject(client, "failoverd", NAME).write(SAID)
    await asyncio.wait_for(wake.wait(), 5)


def kept(number: int, path: str = "app.db") -> Aside:
    return Aside(kind=Lying.SET, path=path, lies=path, at=SAID.at + timedelta(seconds=number), size=7, move="m")


async def test_what_is_kept_is_named_apart_and_written_only_when_it_changed(client, server, reader):
    await order(client, WANTED, "")
    thing = guards.GuardObject(client, "failoverd", NAME)
    stocked = replace(SAID, stock=stock(map(kept, range(3)), SAID.at, 2))
    for _ in range(2):
        await thing.write(stocked)
    await thing.write(replace(stocked, stock=stock(map(kept, range(4)), SAID.at, 2)))
    written = [body["data"].get("stock") for body in server.sent("PATCH", NAME)]
    assert [text is not None for text in written] == [True, False, True]
    assert guards.stock_of(written[0], "it") == stocked.stock
    found = await until(reader, lambda one: one[KEY].observed is not None and one[KEY].observed.stock is not None)
    said = found[KEY].observed.stock
    assert (said.displaced, said.newest) == (28, ())


def test_a_list_has_as_many_of_the_newest_names_as_there_is_room_for():
    long = stock((kept(number, f"{number:04d}" * 500) for number in range(100)), SAID.at, 100)
    text = guards.stock_text(long)
    assert len(text) <= guards.STOCK_LIMIT
    found = guards.stock_of(text, "it")
    assert found.counts == long.counts
    assert 0 < len(found.newest) < 100
    assert found.newest == long.newest[: len(found.newest)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "it: stock: it can't be understood"),
        ('{"at": "2026-11-26T12:00:00"}', "a time without a zone"),
        ('{"at": "2026-11-26T12:00:00Z", "schema": 2}', "it: stock is of a newer failoverd"),
    ],
)
def test_a_list_that_is_none_is_said(text, why):
    with pytest.raises(guards.Unreadable, match=why):
        guards.stock_of(text, "it")


async def test_without_the_right_to_watch_every_copy_is_unknown(server, reader):
    def fault(request):
        if "labelSelector" in request.query:
            return web.json_response(status(403, "configmaps is forbidden"), status=403)
        return None

    server.fault = fault
    found = await until(reader, lambda one: one and "forbidden" in getattr(one[KEY], "why", ""))
    assert all(isinstance(read, Unknown) for read in found.values())


DAEMON = read.NEEDS + write.NEEDS + events.NEEDS + memory.NEEDS + lease.NEEDS + shared.NEEDS


async def test_what_the_guards_cost_in_rights_is_granted_and_only_with_them(client, server, reader):
    assert guards.daemon_needs(rules()) == ()
    grants = rbac.expand(DAEMON + guards.daemon_needs(GUARDED), GUARDED, "failoverd")
    await until(reader, lambda one: not any(isinstance(read, Unknown) for read in one.values()))
    await order(client, WANTED, "")
    await order(client, WANTED, server.objects[f"{MAPS}/{NAME}"]["metadata"]["resourceVersion"])
    made = {asked(method, path, query) for method, path, query, _ in server.requests if path.startswith(MAPS)}
    assert [one for one in made if not any(covers(grant, one) for grant in grants)] == []
    more = {(g.resource, g.names, g.verbs) for g in set(grants) - set(rbac.expand(DAEMON, GUARDED, "failoverd"))}
    assert ("configmaps", (), ("create", "list", "watch")) in more
    assert {names for _, names, verbs in more if "patch" in verbs} == {
        ("failoverd-guard.media.pvc-sonarr", "failoverd-guard.media.pvc-sonarr-backup")
    }


def test_what_a_later_version_says_or_wants_beyond_this_does_no_harm_to_an_older_one():
    """So an older daemon reads what a guard says of files, and an older guard an order that names some."""
    raw = {"metadata": {"resourceVersion": "1"}, "data": {}}
    for name, text in (("wanted", guards.wanted_text(WANTED)), ("observed", guards.observed_text(SAID))):
        raw["data"][name] = json.dumps({**json.loads(text), "later": {"files": ["a"]}})
    assert guards.reading(raw, "here") == GuardReading(version="1", wanted=WANTED, observed=SAID)


def test_what_is_said_and_wanted_of_files_comes_back_as_it_was():
    filed = Filed(made=1, files=2, points=1, oldest=SAID.at, troubles=(Trouble(file="a%0Ab", text="unreadable"),))
    said, wanted = replace(SAID, filed=filed), replace(WANTED, files=("*.json", "Backups/**"))
    raw = {"data": {"wanted": guards.wanted_text(wanted), "observed": guards.observed_text(said)}}
    assert (guards.reading(raw, "here").wanted, guards.reading(raw, "here").observed) == (wanted, said)
