"""The tick: what is decided is remembered before it is begun, and what could not be remembered never happens."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from failoverd.core.memory import Memory, Phase
from failoverd.core.model import FenceOff, Instance, Receipt, Unknown
from failoverd.loop import Loop
from failoverd.ports import Conflict, StoreError
from tests.core.build import KEY, W1, B, P, World, some_rules


@dataclass
class Fakes:
    """Clock, observer, executor, store, leadership and voice of one instance in a `World`."""

    world: World
    leads: bool = True
    kept: Memory | Unknown | None = None
    fault: Exception | None = None
    order: list[str] = field(default_factory=list)
    said: list[Any] = field(default_factory=list)
    loads: int = 0
    slow: asyncio.Event | None = None
    lose_on_save: bool = False

    def now(self):
        return self.world.now

    async def sleep_until(self, mono, wake):
        self.world.advance(max((mono - self.world.now.mono).total_seconds(), 0))
        await asyncio.sleep(0)
        wake.clear()

    async def observe(self, now, confirm, instance):
        return self.world.snapshot(confirm, instance=instance)

    async def execute(self, action):
        self.order.append(action.key)
        if self.slow is not None:
            await self.slow.wait()
        return self.world.do(action)

    async def load(self):
        self.loads += 1
        return self.kept

    async def save(self, memory):
        self.order.append("save")
        if self.fault:
            raise self.fault
        self.kept = memory
        self.leads = self.leads and not self.lose_on_save

    def instance(self, now):
        return Instance(leader=self.leads, holder="me" if self.leads else "other")

    def say(self, decision, snapshot, now):
        self.said.append((decision, snapshot))

    def loop(self):
        return Loop(
            rules=lambda: self.world.rules,
            clock=self,
            observer=self,
            executor=self,
            store=self,
            leadership=self,
            voice=self,
        )


async def turn(loop, fakes, seconds):
    until = fakes.world.s + seconds
    while fakes.world.s < until:
        decision = await loop.step()
        await fakes.sleep_until(decision.wake_at, loop.wake)


async def ready(**changes):
    fakes = Fakes(World(some_rules()), **changes)
    loop = fakes.loop()
    await turn(loop, fakes, 60)
    return fakes, loop


def app_of(memory):
    assert isinstance(memory, Memory)
    return memory.apps[KEY]


async def test_a_move_goes_through_and_each_new_intent_is_saved_before_its_acts():
    fakes, loop = await ready()
    fakes.world.off.add(W1)
    fakes.order.clear()
    await turn(loop, fakes, 30)
    assert app_of(fakes.kept).active is B
    assert fakes.order.index("save") < fakes.order.index(f"PatchWorkload {KEY}")


async def test_when_saving_fails_nothing_is_done_and_nothing_of_it_is_said():
    for fault in (StoreError("500"), Conflict()):
        fakes, loop = await ready()
        fakes.world.off.add(W1)
        fakes.fault = fault
        before, spoken = len(fakes.world.did), len(fakes.said)
        await turn(loop, fakes, 40)
        assert not [act for act in fakes.world.did[before:] if type(act).__name__ != "Scan"]
        notes = [note.text for decision, _ in fakes.said[spoken:] for note in decision.notes]
        assert not [text for text in notes if "stopping" in text]
        assert app_of(fakes.kept).phase is Phase.WATCHING
        fakes.fault = None
        await turn(loop, fakes, 30)
        assert app_of(fakes.kept).active is B


async def test_leadership_lost_while_saving_begins_nothing():
    fakes, loop = await ready()
    fakes.lose_on_save = True
    saved = 0
    for _ in range(100):  # long enough for a save and a scan to fall into one tick
        fakes.leads = True
        fakes.order.clear()
        decision = await loop.step()
        if "save" in fakes.order:
            saved += 1
            assert fakes.order[-1] == "save"
        await fakes.sleep_until(decision.wake_at, loop.wake)
    assert saved >= 3


async def test_a_follower_reads_memory_every_tick_and_writes_nothing():
    fakes, _ = await ready(leads=False)
    assert fakes.loads >= 25
    assert fakes.order == []


async def test_a_new_leader_reads_memory_before_it_believes_anything():
    fakes, loop = await ready()
    fakes.leads = False
    await turn(loop, fakes, 4)
    moved = replace(app_of(fakes.kept), active=B, epoch=1)
    assert isinstance(fakes.kept, Memory)
    fakes.kept = replace(fakes.kept, apps={KEY: moved})  # the other one acted after our last look
    fakes.leads = True
    loads = fakes.loads
    await loop.step()
    assert fakes.loads == loads + 1
    assert app_of(loop.memory).epoch == 1
    await loop.step()
    assert fakes.loads == loads + 1


async def test_memory_that_cannot_be_loaded_is_tried_again_every_tick_and_nothing_is_done():
    fakes = Fakes(World(some_rules()), kept=Unknown("403"))
    loop = fakes.loop()
    await turn(loop, fakes, 20)
    assert fakes.loads >= 9
    assert fakes.order == []
    fakes.kept = None
    await turn(loop, fakes, 30)
    assert app_of(fakes.kept).active is P


async def test_an_action_in_flight_is_not_begun_again_and_its_receipt_comes_later():
    fakes, loop = await ready()
    fakes.slow = asyncio.Event()
    fakes.order.clear()
    await turn(loop, fakes, 14)
    scans = [name for name in fakes.order if name.startswith("Scan")]
    assert len(scans) == 1
    assert loop.snapshot is not None
    assert loop.snapshot.in_flight == {f"Scan {KEY} data primary"}
    fakes.slow.set()
    await asyncio.sleep(0)
    fakes.slow = None
    await loop.step()
    assert [receipt.ok for receipt in loop.snapshot.receipts] == [True]
    assert isinstance(loop.snapshot.receipts[0], Receipt)


async def test_what_several_apps_ask_for_in_one_tick_is_begun_once():
    fakes, loop = await ready()
    fakes.order.clear()
    cut = FenceOff(node="w1", reason="one"), FenceOff(node="w1", reason="another"), FenceOff(node="w2", reason="one")
    await loop._act(cut)
    assert [name for name in fakes.order if name.startswith("FenceOff")] == ["FenceOff w1", "FenceOff w2"]


async def test_a_late_wake_up_and_a_clock_that_jumped_are_noticed():
    fakes, loop = await ready()
    decision = await loop.step()
    loop._due = decision.wake_at
    fakes.world.advance(30)
    await loop.step()
    assert loop.snapshot is not None
    assert loop.snapshot.instance.late >= timedelta(seconds=27)


async def test_run_ends_when_told_and_leaves_nothing_running():
    fakes = Fakes(World(some_rules()))
    loop = fakes.loop()
    running = asyncio.create_task(loop.run())
    for _ in range(50):
        await asyncio.sleep(0)
    loop.stop.set()
    await asyncio.wait_for(running, 5)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith(("Scan", "SetRole"))]
