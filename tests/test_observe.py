"""The observer: side by side, in time, and nothing asked twice while a first question is open."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failoverd import observe
from failoverd.clock import SystemClock
from failoverd.core.model import (
    Api,
    Command,
    CommandKind,
    Folder,
    Guest,
    GuestState,
    Instance,
    Kubelet,
    Lease,
    NodeObject,
    NodeReading,
    Now,
    Unknown,
)
from failoverd.core.rules import App, Copy, Mode, Pair, Place, Rules, Site, Volume, WorkloadKind
from failoverd.observe import ApiTime, Probe, WorldObserver

DATE = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
APP = App(
    key="media/sonarr", namespace="media", name="sonarr", kind=WorkloadKind.DEPLOYMENT, pair="main",
    volumes=(
        Volume(
            name="data",
            primary=Copy(claim="pvc-sonarr", source="sonarr-primary"),
            backup=Copy(claim="pvc-sonarr-backup", source="sonarr-backup"),
        ),
    ),
)  # fmt: skip
RULES = Rules(
    mode=Mode.ACTIVE,
    pairs=(
        Pair(
            name="main",
            primary=Place(node="k3s-w1", selector=(("role", "primary"),), domain="pve", fence="w1"),
            backup=Place(node="k3s-w2", selector=(("role", "backup"),), domain="unraid"),
        ),
    ),
    apps=(APP,),
    witnesses=(("k3s-cp1", "pve"),),
)
PRIMARY = ("media/sonarr", "data", Site.PRIMARY)
BACKUP = ("media/sonarr", "data", Site.BACKUP)
NODES = ("k3s-w1", "k3s-w2", "k3s-cp1")
FOLDER = Folder(device="A", started="s", type="sendonly", state="idle", sequence=1, remote_sequence=1, connected=True)
COMMAND = Command(id="1", kind=CommandKind.PAUSE, app="*", expires=DATE)


@dataclass(slots=True)
class Inbox:
    commands: tuple[Command, ...] = (COMMAND,)


@dataclass(slots=True)
class Readings:
    api: Api | Unknown
    nodes: dict[str, NodeReading]
    workloads: dict[str, Unknown] = field(default_factory=dict)
    claims: dict[tuple[str, str, Site], Unknown] = field(default_factory=dict)
    guards: dict[tuple[str, str, Site], Unknown] = field(default_factory=dict)
    commands: Inbox | Unknown = field(default_factory=Inbox)


@dataclass(slots=True)
class World:
    """All that is observed, and how each part behaves."""

    stamps: dict[str, str] = field(default_factory=lambda: dict.fromkeys(NODES, "1"))
    date: datetime = DATE
    hang: dict[str, asyncio.Event] = field(default_factory=dict)
    fail: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    late: str = ""
    mono: timedelta = timedelta(0)
    """Added to the machine's clock."""

    async def _met(self, what: str) -> None:
        self.asked.append(what)
        if what in self.hang:
            await self.hang[what].wait()
        if what in self.fail:
            raise RuntimeError("broken")

    async def kube(self, confirm: frozenset[str]) -> Readings:
        await self._met("kube")
        nodes = {
            name: NodeReading(lease=Lease(stamp=stamp), node=NodeObject(ready="True"), uncached=name in confirm)
            for name, stamp in self.stamps.items()
        }
        return Readings(Api(date=self.date), nodes)

    async def folder(self, key: observe.Key) -> Folder | Unknown:
        await self._met(str(key[2]))
        return Unknown(self.late) if self.late else FOLDER

    async def guest(self) -> Guest:
        await self._met("guest")
        return Guest(state=GuestState.RUNNING)

    async def kubelet(self, node: str) -> Kubelet:
        await self._met(f"kubelet {node}")
        return Kubelet.ALIVE

    def now(self) -> Now:
        now = SystemClock().now()
        return Now(now.mono + self.mono, now.wall)

    async def sleep_until(self, mono: timedelta, wake: asyncio.Event) -> None:
        raise NotImplementedError


class Reader:
    def __init__(self, world: World) -> None:
        self.world = world

    async def read(self, confirm: frozenset[str]) -> Readings:
        return await self.world.kube(confirm)


class Side:
    def __init__(self, world: World, key: observe.Key) -> None:
        self.world, self.key = world, key

    async def read(self, now: timedelta) -> Folder | Unknown:
        return await self.world.folder(self.key)


class Power:
    def __init__(self, world: World) -> None:
        self.world = world

    async def state(self) -> Guest | Unknown:
        return await self.world.guest()


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setattr(observe, "DEADLINE", timedelta(seconds=0.2))
    return World()


@pytest.fixture
async def observer(world):
    sides = {key: Side(world, key) for key in (PRIMARY, BACKUP)}
    made = WorldObserver(RULES, world, Reader(world), sides, {"k3s-w1": Power(world)}, world.kubelet)
    yield made
    await made.close()
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert left == []


async def look(observer, world, confirm=()):
    began = time.monotonic()
    snapshot = await observer.observe(world.now(), frozenset(confirm), Instance(leader=True))
    assert time.monotonic() - began < 5
    return snapshot


async def test_one_look_holds_every_reading(observer, world):
    seen = await look(observer, world, confirm=["k3s-w2"])
    assert isinstance(seen.api, Api)
    assert seen.folders == {PRIMARY: FOLDER, BACKUP: FOLDER}
    assert set(seen.nodes) == {"k3s-w1", "k3s-w2", "k3s-cp1"}
    assert [name for name, node in seen.nodes.items() if node.uncached] == ["k3s-w2"]
    assert seen.nodes["k3s-w1"].guest == Guest(state=GuestState.RUNNING)
    assert seen.nodes["k3s-w2"].guest is None
    assert seen.nodes["k3s-w1"].kubelet == Unknown("not probed")
    assert seen.commands == (COMMAND,)
    assert seen.instance.leader


async def test_a_slow_side_is_unknown_and_holds_nothing_else_up(observer, world):
    world.hang["primary"] = asyncio.Event()
    seen = await look(observer, world)
    assert seen.folders[PRIMARY] == Unknown("Syncthing of media/sonarr data at primary: no answer within 0.2 s")
    assert seen.folders[BACKUP] == FOLDER
    assert isinstance(seen.api, Api)


async def test_an_open_question_is_not_asked_again_and_its_late_answer_is_not_used(observer, world):
    world.hang["primary"] = asyncio.Event()
    for _ in range(3):
        await look(observer, world)
    assert world.asked.count("primary") == 1
    assert world.asked.count("backup") == 3
    asyncio.get_running_loop().call_later(0.05, world.hang["primary"].set)
    seen = await look(observer, world)
    assert isinstance(seen.folders[PRIMARY], Unknown)  # asked in an older look
    await asyncio.sleep(0.1)
    del world.hang["primary"]
    seen = await look(observer, world)
    assert world.asked.count("primary") == 2
    assert seen.folders[PRIMARY] == FOLDER


async def test_nobody_waits_for_a_side_that_did_not_answer_last_time_until_it_answers_again(observer, world):
    world.hang["primary"] = asyncio.Event()
    await look(observer, world)
    before = world.asked.count("backup")
    began = time.monotonic()
    for _ in range(3):
        await look(observer, world)
    assert time.monotonic() - began < 0.5  # three times the deadline is 0.6 s
    assert world.asked.count("backup") == before + 3
    world.hang["primary"].set()
    await asyncio.sleep(0.05)
    assert (await look(observer, world)).folders[PRIMARY] == FOLDER


async def test_what_a_late_answer_complained_of_is_told_with_the_next_silence(observer, world):
    world.hang["primary"] = asyncio.Event()
    world.late = "the token is refused"
    await look(observer, world)
    world.hang["primary"].set()
    await asyncio.sleep(0)
    world.hang["primary"] = asyncio.Event()
    await asyncio.sleep(0)
    seen = await look(observer, world)
    assert "(before that: the token is refused)" in seen.folders[PRIMARY].why


async def test_a_broken_adapter_is_unknown_not_an_exception(observer, world):
    world.fail |= {"primary", "guest"}
    seen = await look(observer, world)
    assert seen.folders[PRIMARY] == Unknown("Syncthing of media/sonarr data at primary: RuntimeError: broken")
    assert seen.nodes["k3s-w1"].guest == Unknown("guest of k3s-w1: RuntimeError: broken")


@pytest.mark.parametrize("how", ["hang", "fail"])
async def test_a_silent_kubernetes_leaves_everything_of_it_unknown(observer, world, how):
    if how == "hang":
        world.hang["kube"] = asyncio.Event()
    else:
        world.fail.add("kube")
    seen = await look(observer, world)
    assert isinstance(seen.api, Unknown)
    assert isinstance(seen.workloads["media/sonarr"], Unknown)
    assert {key for key, claim in seen.claims.items() if isinstance(claim, Unknown)} == {PRIMARY, BACKUP}
    assert all(isinstance(node.lease, Unknown) and isinstance(node.node, Unknown) for node in seen.nodes.values())
    assert seen.commands == ()
    assert seen.folders[PRIMARY] == FOLDER
    assert seen.nodes["k3s-w1"].guest == Guest(state=GuestState.RUNNING)


async def test_only_a_node_whose_lease_stands_still_is_probed(observer, world):
    await look(observer, world)
    world.mono = timedelta(seconds=11)
    world.stamps["k3s-w2"] = "2"
    await look(observer, world)
    world.mono = timedelta(seconds=13)
    seen = await look(observer, world)
    assert {ask for ask in world.asked if ask.startswith("kubelet")} == {"kubelet k3s-w1", "kubelet k3s-cp1"}
    assert seen.nodes["k3s-w1"].kubelet is Kubelet.ALIVE
    assert seen.nodes["k3s-w2"].kubelet == Unknown("not probed")
    world.stamps["k3s-w1"] = "2"
    await look(observer, world)
    seen = await look(observer, world)
    assert seen.nodes["k3s-w1"].kubelet == Unknown("not probed")


async def test_the_api_servers_time_grows_between_looks_although_its_date_has_whole_seconds(observer, world):
    assert observer.api_now() is None
    first = (await look(observer, world)).api.date
    between = observer.api_now()
    await asyncio.sleep(0.01)
    second = (await look(observer, world)).api.date
    assert DATE <= first <= between < second < DATE + timedelta(seconds=1)


def test_api_time_follows_a_clock_that_was_set_back_or_forward():
    clock = ApiTime()
    clock.heard(DATE, timedelta(seconds=10))
    clock.heard(DATE - timedelta(hours=1), timedelta(seconds=11))
    assert clock.at(timedelta(seconds=12)) == DATE - timedelta(hours=1) + timedelta(seconds=1)
    clock.heard(DATE + timedelta(hours=1), timedelta(seconds=13))
    assert clock.at(timedelta(seconds=13)) == DATE + timedelta(hours=1)


@given(st.lists(st.tuples(st.floats(0.01, 30), st.floats(0, 1.9)), min_size=1, max_size=40))
def test_api_time_is_never_ahead_never_backwards_and_at_most_a_second_and_a_trip_behind(steps):
    clock, mono, last = ApiTime(), 0.0, None
    for pause, trip in steps:
        mono += pause
        sent = DATE + timedelta(seconds=mono)
        mono += trip
        clock.heard(sent.replace(microsecond=0), timedelta(seconds=mono))
        real, known = DATE + timedelta(seconds=mono), clock.at(timedelta(seconds=mono))
        assert known is not None
        assert real - timedelta(seconds=1 + trip, milliseconds=1) <= known <= real
        assert last is None or last <= known
        last = known


async def test_a_probe_that_was_not_asked_says_so():
    probe: Probe[Folder] = Probe("Syncthing of x", SystemClock())
    assert probe.answer(timedelta(0), timedelta(0)) == Unknown("Syncthing of x: not asked")
