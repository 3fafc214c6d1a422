"""The loop's ports over the world: time that leaps, acts that fail as real ones do, Memory by compare-and-swap."""

import asyncio
from datetime import timedelta

import pytest

from failoverd.core import model
from failoverd.core.memory import Memory
from failoverd.core.model import (
    DeletePod,
    FenceOff,
    Instance,
    Now,
    PatchOp,
    PatchWorkload,
    Role,
    Scan,
    SetRole,
    Unknown,
)
from failoverd.core.rules import Site
from failoverd.ports import Conflict, StoreError
from failoverd.simulator import ports
from failoverd.simulator.clock import Stuck, WorldClock, run
from failoverd.simulator.ports import WorldExecutor, WorldObserver, WorldStore
from failoverd.simulator.world import Host, World
from failoverd.simulator.world_faults import inject
from failoverd.simulator.world_lead import WorldLeadership
from failoverd.simulator.world_spec import BEGINNING, WorldSpec, simple_rules

APP = "media/sonarr"


def world():
    made = World(WorldSpec(rules=simple_rules()))
    made.advance(30_000)
    return made


def host(made):
    return made.hosts.setdefault("failoverd-0", Host(name="failoverd-0"))


def now(made):
    return WorldClock(made, host(made)).now()


def do(made, action):
    return run(made, WorldExecutor(made, host(made)).execute(action))


def look(made):
    watching = WorldObserver(made, host(made), made.spec.rules)
    return run(made, watching.observe(now(made), frozenset(), Instance(leader=True)))


def test_an_hour_of_waiting_costs_nothing_and_sleepers_wake_in_order():
    made, woken = world(), []

    async def sleeper(seconds):
        await asyncio.sleep(seconds)
        woken.append((seconds, made.time.now_ms))

    async def main():
        await asyncio.gather(sleeper(3600), sleeper(1), sleeper(60))

    run(made, main())
    assert woken == [(1, 31_000), (60, 90_000), (3600, 3_630_000)]


def test_waiting_for_nothing_is_an_error_and_not_for_ever():
    made = World(WorldSpec(rules=simple_rules(())))
    made.time.advance(10_000_000)
    made.time._future.clear()
    with pytest.raises(Stuck):
        run(made, asyncio.Event().wait())


def test_a_sleeping_clock_is_woken_early():
    made = world()
    clock, wake = WorldClock(made, host(made)), asyncio.Event()

    async def main():
        made.time.after(2_000, wake.set)
        await clock.sleep_until(timedelta(hours=1), wake)
        return clock.now()

    assert run(made, main()) == Now(timedelta(seconds=32), BEGINNING + timedelta(seconds=32))
    assert not wake.is_set()


def test_every_kind_of_action_has_a_handler():
    kinds = {kind.__name__ for kind in model.Action.__subclasses__() if kind.__module__.startswith("failoverd.core")}
    assert kinds == {kind.__name__ for kind in ports._HANDLERS}


def test_a_failing_test_operation_is_a_422_receipt():
    made = world()
    ops = (
        PatchOp(op="test", path="/metadata/uid", value="other"),
        PatchOp(op="replace", path="/spec/replicas", value=0),
    )
    receipt = do(made, PatchWorkload(reason="", app=APP, ops=ops))
    assert (receipt.ok, receipt.detail[:3]) == (False, "422")
    assert made.apps[APP].raw["spec"]["replicas"] == 1


def test_a_pod_of_another_uid_is_left_alone():
    made = world()
    name = made.apps[APP].pods[0].name
    assert do(made, DeletePod(reason="", app=APP, pod=name, uid="other")).ok
    assert made.apps[APP].pods[0].listed


def test_nothing_is_done_without_the_lead_or_the_api_server():
    made = world()
    inject(made, "leader failoverd-1")
    role = SetRole(reason="", app=APP, volume="data", site=Site.PRIMARY, role=Role.SEND_ONLY)
    assert "leader" in do(made, role).detail
    inject(made, "leader failoverd-0")
    inject(made, "stall_api 10s")
    assert "API server" in do(made, role).detail
    assert made.apps[APP].pairs["data"].sides[Site.PRIMARY].kind is Role.SEND_RECEIVE


def test_a_scan_reports_what_it_could_not_read():
    made = world()
    made.advance(32_000)
    receipt = do(made, Scan(reason="", app=APP, volume="data", site=Site.PRIMARY))
    assert receipt.scanned is not None
    assert receipt.scanned.error_files == ("app.db",)


def test_a_fence_is_confirmed_or_says_why_not():
    made = world()
    inject(made, "guest_refuses k3s-w1 CT is locked (backup)")
    refused = do(made, FenceOff(reason="", node="k3s-w1"))
    assert (refused.ok, refused.detail) == (False, "CT is locked (backup)")
    inject(made, "guest_refuses k3s-w1")
    assert do(made, FenceOff(reason="", node="k3s-w1")).ok
    assert not made.nodes["k3s-w1"].powered


def test_a_lost_answer_belongs_to_a_deed_that_was_done():
    made = world()
    inject(made, "lose_answers 1")
    ops = (PatchOp(op="replace", path="/spec/replicas", value=0),)
    assert not do(made, PatchWorkload(reason="", app=APP, ops=ops)).ok
    assert made.apps[APP].raw["spec"]["replicas"] == 0


def test_memory_is_written_only_over_what_was_read():
    made = world()
    one, other = WorldStore(made, host(made)), WorldStore(made, host(made))
    assert run(made, one.load()) is None
    assert run(made, other.load()) is None
    run(made, one.save(Memory()))
    with pytest.raises(Conflict):
        run(made, other.save(Memory()))
    assert run(made, other.load()) == Memory()
    run(made, other.save(Memory(commands=("c",))))
    inject(made, "stall_api 10s")
    with pytest.raises(StoreError):
        run(made, other.save(Memory()))
    assert isinstance(run(made, other.load()), Unknown)


def test_nobody_leads_12_s_after_the_last_answer():
    made = world()
    leading = WorldLeadership(made, host(made))
    assert leading.instance(now(made)).leader
    inject(made, "stall_api 60s")
    made.advance(41_000)
    assert leading.instance(now(made)).leader
    made.advance(42_001)
    assert not leading.instance(now(made)).leader


def test_what_does_not_answer_is_unknown_and_costs_two_seconds_once():
    made = world()
    inject(made, "power_off k3s-w1")
    watching = WorldObserver(made, host(made), made.spec.rules)
    took, snapshot = [], look(world())
    for _ in range(2):
        began = made.time.now_ms
        snapshot = run(made, watching.observe(now(made), frozenset(), Instance(leader=True)))
        took.append(made.time.now_ms - began)
    assert took == [2_000, 100]
    assert isinstance(snapshot.folders[APP, "data", Site.PRIMARY], Unknown)
    assert not isinstance(snapshot.folders[APP, "data", Site.BACKUP], Unknown)


def test_without_the_api_server_nothing_of_kubernetes_is_known():
    made = world()
    inject(made, "stall_api 10s")
    snapshot = look(made)
    kubernetes = [snapshot.api, *snapshot.workloads.values(), *snapshot.claims.values()]
    kubernetes += [part for node in snapshot.nodes.values() for part in (node.lease, node.node)]
    assert all(isinstance(reading, Unknown) for reading in kubernetes)
    assert not any(isinstance(folder, Unknown) for folder in snapshot.folders.values())
