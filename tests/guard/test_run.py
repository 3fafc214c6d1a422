"""The process at the disk, whole: the small API server, real folders, real databases."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from failoverd.adapters.kubernetes import guards
from failoverd.adapters.kubernetes.client import Client
from failoverd.adapters.kubernetes.guards import Unreadable
from failoverd.adapters.kubernetes.rbac import expand
from failoverd.clock import SystemClock
from failoverd.core.points import Ailment, Duty, Observed, Obstacle, Wanted
from failoverd.core.rules import Site
from failoverd.guard import keeper, run
from failoverd.guard.keeper import Keeper
from failoverd.guard.pace import Halt
from failoverd.guard.run import Copy, Setting, guard
from tests.adapters.apiserver import ApiServer, kubeconfig, serving
from tests.adapters.apiserver import until as until_within
from tests.adapters.cluster import app, rules
from tests.adapters.test_kubernetes_rbac import asked, covers
from tests.guard.databases import connect, database, numbers, wanted

MAPS = "/api/v1/namespaces/failoverd/configmaps"
OBJECTS = {site: guards.objects((app(),), "media", site)[0] for site in Site}


def put(server: ApiServer, site: Site, want: Wanted) -> None:
    old = server.objects.get(f"{MAPS}/{OBJECTS[site]}", {"data": {}})
    server.put(f"{MAPS}/{OBJECTS[site]}", {"data": {**old["data"], "wanted": guards.wanted_text(want)}})


def said(server: ApiServer, site: Site) -> Observed | None:
    data = server.objects.get(f"{MAPS}/{OBJECTS[site]}", {}).get("data", {})
    return guards.observed(data["observed"], "it") if "observed" in data else None


def claim(site: Site) -> str:
    return OBJECTS[site].removeprefix("failoverd-guard.media.")


class Running:
    """An API server, and guards of one site each on folders of their own."""

    def __init__(self, server: ApiServer, client: Client, folder: Path) -> None:
        self.server = server
        self._client = client
        self._folder = folder

    def root(self, site: Site) -> Path:
        root = self._folder / site.value
        root.mkdir(exist_ok=True)
        (root / ".stfolder").mkdir(exist_ok=True)
        return root

    @asynccontextmanager
    async def guarding(self, site: Site) -> AsyncIterator[None]:
        scratch = self._folder / f"scratch-{site}"
        scratch.mkdir(exist_ok=True)
        one = Copy(namespace="media", claim=claim(site), root=self.root(site))
        stop = asyncio.Event()
        setting = Setting(site=site, copies=(one,), scratch=scratch)
        task = asyncio.create_task(guard(setting, self._client, SystemClock(), stop))
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait_for(task, 5)


@pytest.fixture
async def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    monkeypatch.setattr(run, "READ_EVERY", timedelta(seconds=0.1))
    monkeypatch.setattr(run, "WORK_EVERY", timedelta(seconds=0.05))
    monkeypatch.setattr(run, "SAY_AT_MOST", timedelta(seconds=0.1))
    async with serving() as server:
        client = await Client.load(kubeconfig(tmp_path, server.port))
        yield Running(server, client, tmp_path)
        await client.close()


QUICK = timedelta(seconds=0.1)
until = partial(until_within, within=25)  # databases are copied in between, on machines that may be busy


async def test_a_database_is_copied_replicated_proven_and_placed_through_the_cluster_alone(running: Running) -> None:
    server, active, target = running.server, running.root(Site.PRIMARY), running.root(Site.BACKUP)
    database(active / "app.db", rows=100)
    make = wanted(interval=QUICK)
    put(server, Site.PRIMARY, make)
    async with running.guarding(Site.PRIMARY):
        await until(lambda: (s := said(server, Site.PRIMARY)) and s.kept)
        with closing(connect(active / "app.db")) as live:
            live.execute("INSERT INTO t VALUES(101, 'x')")
        await until(lambda: (s := said(server, Site.PRIMARY)) and s.kept[0].serial == 2)
        # The object says when a loss would have been how old, by the API server's clock.
        first = said(server, Site.PRIMARY)
        assert first is not None
        assert abs(first.at - datetime.now(UTC)) < timedelta(seconds=10)
        assert (first.kept[0].database, first.sick) == ("app.db", ())
    shutil.copytree(active / ".failoverd", target / ".failoverd")
    database(target / "app.db", rows=7)
    prove = wanted(duty=Duty.PROVE, interval=QUICK)
    put(server, Site.BACKUP, prove)
    async with running.guarding(Site.BACKUP):
        await until(lambda: (s := said(server, Site.BACKUP)) and s.proven)
        seen = said(server, Site.BACKUP)
        assert seen is not None
        assert [(one.database, one.serial) for one in seen.proven] == [("app.db", 2)]
        assert seen.proven[0].made_at == first.kept[0].made_at
        assert seen.findings == ()
        put(server, Site.BACKUP, replace(prove, move="media/sonarr#4"))
        await until(lambda: (s := said(server, Site.BACKUP)) and s.placed and s.placed.done)
    placed = said(server, Site.BACKUP)
    assert placed is not None
    assert placed.placed is not None
    assert (placed.placed.move, placed.placed.databases) == ("media/sonarr#4", ("app.db",))
    assert len(placed.placed.displaced) == 1
    assert numbers(target / "app.db") == list(range(1, 102))


async def test_every_request_of_a_guard_is_granted_and_no_grant_is_idle(running: Running) -> None:
    database(running.root(Site.PRIMARY) / "app.db")
    put(running.server, Site.PRIMARY, wanted(interval=QUICK))
    async with running.guarding(Site.PRIMARY):
        await until(lambda: said(running.server, Site.PRIMARY))
    grants = expand(guards.needs((OBJECTS[Site.PRIMARY],)), rules(), "failoverd")
    made = {asked(method, path, query) for method, path, query, _ in running.server.requests}
    assert [request for request in made if not any(covers(grant, request) for grant in grants)] == []
    assert {verb for grant in grants for verb in grant.verbs} == {request[4] for request in made}


async def test_nothing_is_done_before_anything_is_wanted_or_by_what_cannot_be_understood(running: Running) -> None:
    root = running.root(Site.PRIMARY)
    database(root / "app.db")
    path = f"{MAPS}/{OBJECTS[Site.PRIMARY]}"
    async with running.guarding(Site.PRIMARY):
        await until(lambda: running.server.count("GET", path) > 3)
        good = json.loads(guards.wanted_text(wanted(interval=QUICK)))
        for wrong in ({"share": 0.0}, {"io_share": 1.5}, {"schema": 99}, {"duty": "delete"}, {"epoch": "3"}):
            running.server.put(path, {"data": {"wanted": json.dumps(good | wrong)}})
            before = running.server.count("GET", path)
            await until(lambda seen=before: running.server.count("GET", path) > seen + 3)  # type: ignore[misc]
        running.server.put(path, {"data": {"wanted": "{"}})
        await asyncio.sleep(0.3)
        assert not (root / ".failoverd").exists()
        running.server.put(path, {"data": {"wanted": json.dumps(good)}})
        await until((root / ".failoverd").exists)


async def test_a_guard_that_is_told_to_rest_rests(running: Running) -> None:
    root = running.root(Site.PRIMARY)
    database(root / "app.db")
    put(running.server, Site.PRIMARY, wanted(duty=Duty.REST))
    async with running.guarding(Site.PRIMARY):
        await until(lambda: said(running.server, Site.PRIMARY))
        await asyncio.sleep(0.3)
    assert not (root / ".failoverd").exists()


async def test_a_guard_that_is_cut_off_stops_and_goes_on_when_it_hears_again(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "BELIEVED", timedelta(seconds=0.5))
    root = running.root(Site.PRIMARY)
    database(root / "app.db")
    put(running.server, Site.PRIMARY, wanted(interval=QUICK))

    def points() -> int:
        return len(list(root.rglob("*.sqlite")))

    async def write(rows: int) -> None:
        for _ in range(rows):
            with closing(connect(root / "app.db")) as live:
                live.execute("INSERT INTO t SELECT max(n) + 1, 'x' FROM t")
            await asyncio.sleep(0.1)

    async with running.guarding(Site.PRIMARY):
        await until(points)
        running.server.fault = lambda request: asyncio.sleep(99)
        await asyncio.sleep(0.8)
        before = points()
        await write(5)
        assert points() == before
        running.server.fault = None
        await until(lambda: points() > before)


async def test_two_guards_never_work_at_one_copy(running: Running) -> None:
    root = running.root(Site.PRIMARY)
    database(root / "app.db")
    put(running.server, Site.PRIMARY, wanted(interval=QUICK))
    first = Keeper(root, Site.PRIMARY, root.parent / "elsewhere", lambda: SystemClock().now().mono)
    first.order(wanted(), datetime.now(UTC))
    first.work(wanted())
    count = len(list(root.rglob("*.sqlite")))
    async with running.guarding(Site.PRIMARY):
        with closing(connect(root / "app.db")) as live:
            live.execute("INSERT INTO t VALUES(99, 'x')")
        await asyncio.sleep(0.6)
        assert (len(list(root.rglob("*.sqlite"))), said(running.server, Site.PRIMARY)) == (count, None)
        first.close()
        await until(lambda: len(list(root.rglob("*.sqlite"))) > count)


class Hand:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.mono = timedelta(seconds=100)

    def __call__(self) -> timedelta:
        return self.mono


def kept(tmp_path: Path, clock: Hand) -> Keeper:
    (tmp_path / "root").mkdir()
    (tmp_path / "scratch").mkdir()
    return Keeper(tmp_path / "root", Site.PRIMARY, tmp_path / "scratch", clock)


def believed(one: Keeper) -> Wanted | None:
    return one.wanted


def test_an_order_is_believed_for_thirty_seconds_after_it_was_read(tmp_path: Path) -> None:
    clock = Hand()
    one = kept(tmp_path, clock)
    one.order(wanted(), datetime.now(UTC))
    clock.mono += timedelta(seconds=30)
    assert believed(one) == wanted()
    one.work(wanted())
    clock.mono += timedelta(seconds=1)
    assert believed(one) is None
    with pytest.raises(Halt, match="not read for too long"):
        one.work(wanted())
    one.order(wanted(epoch=4), datetime.now(UTC))
    with pytest.raises(Halt, match="something else is wanted"):
        one.work(wanted())
    one.close()


def test_the_api_servers_clock_goes_on_with_ours(tmp_path: Path) -> None:
    clock = Hand()
    one = kept(tmp_path, clock)
    date = datetime(2026, 1, 1, tzinfo=UTC)
    one.order(wanted(), date)
    clock.mono += timedelta(seconds=7)
    assert one.now().wall == date + timedelta(seconds=7)
    one.close()


def test_what_was_asked_for_is_proven_anew_and_the_answer_names_the_question(tmp_path: Path) -> None:
    clock = Hand()
    one = kept(tmp_path, clock)
    prove = wanted(duty=Duty.PROVE, ask="now")
    one.order(prove, datetime.now(UTC))
    answer = one.work(prove)
    assert answer.asked == "now"
    assert {one.obstacle for one in answer.findings} == {Obstacle.EMPTY, Obstacle.MARKER}
    (tmp_path / "root" / "app.xml").touch()
    assert one.work(prove).findings == answer.findings
    again = replace(prove, ask="again")
    one.order(again, datetime.now(UTC))
    assert {one.obstacle for one in one.work(again).findings} == {Obstacle.MARKER}
    one.close()


def test_an_observed_fits_its_object_whatever_is_in_the_volume(tmp_path: Path) -> None:
    one = kept(tmp_path, Hand())
    for number in range(1500):
        (tmp_path / "root" / ("\n" * 200 + f"-{number}.db")).write_bytes(b"encrypted" * 99)
    one.order(wanted(), datetime.now(UTC))
    answer = one.work(wanted())
    assert (len(answer.sick), answer.sick[0].ailment) == (1500, Ailment.NOT_A_DATABASE)
    text = guards.observed_text(answer)
    assert len(text) <= 900_000
    short = guards.observed(text, "it")
    assert (len(short.sick), short.left_out) == (1000, 500)
    assert guards.observed_text(replace(answer, sick=answer.sick[:9])).count("%0A-") == 9
    one.close()


async def test_a_new_point_is_said_long_before_other_news_would_be(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "SAY_AT_MOST", timedelta(hours=1))
    monkeypatch.setattr(run, "SAY_POINTS_AT_MOST", timedelta(seconds=0.1))
    root = running.root(Site.PRIMARY)
    database(root / "app.db")
    put(running.server, Site.PRIMARY, wanted(interval=QUICK))
    async with running.guarding(Site.PRIMARY):
        await until(lambda: (s := said(running.server, Site.PRIMARY)) and s.kept)
        with closing(connect(root / "app.db")) as live:
            live.execute("INSERT INTO t VALUES(101, 'x')")
        await until(lambda: (s := said(running.server, Site.PRIMARY)) and s.kept[0].serial == 2)


async def test_an_idle_database_costs_no_write_of_its_own(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    root = running.root(Site.PRIMARY)
    database(root / "app.db")
    put(running.server, Site.PRIMARY, wanted(interval=QUICK))
    async with running.guarding(Site.PRIMARY):
        await until(lambda: (s := said(running.server, Site.PRIMARY)) and s.kept)
        before = running.server.count("PATCH")
        await asyncio.sleep(0.8)
        assert running.server.count("PATCH") == before
        monkeypatch.setattr(run, "SAY_AT_LEAST", timedelta(seconds=0.2))
        first = said(running.server, Site.PRIMARY)
        assert first is not None
        await until(lambda: (s := said(running.server, Site.PRIMARY)) and s.kept[0].current_at > first.at)
        assert len(list(root.rglob("*.sqlite"))) == 1


@pytest.mark.parametrize("text", ["", "[]", '{"site": "primary"}', "{"])
def test_what_a_guard_said_is_not_guessed_at(text: str) -> None:
    with pytest.raises(Unreadable, match=r"^it: observed: "):
        guards.observed(text, "it")
