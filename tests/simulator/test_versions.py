"""A rollout with two versions side by side: the older one freezes before what it cannot read, and leaves it alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from failoverd.core.memory import SCHEMA, Memory, Phase
from failoverd.core.model import Unknown
from failoverd.core.rules import Site
from failoverd.loop import Loop
from failoverd.simulator import ports
from failoverd.simulator.clock import run
from failoverd.simulator.ports import Recorder, WorldStore
from failoverd.simulator.world import World
from failoverd.simulator.world_faults import inject
from failoverd.simulator.world_spec import WorldSpec, simple_rules

APP = "media/sonarr"


class NewerStore(WorldStore):
    """The Store of the next version: what it writes has a schema that this version does not know."""

    async def load(self) -> Memory | Unknown | None:
        found = await super().load()
        return replace(found, schema=SCHEMA) if isinstance(found, Memory) else found

    async def save(self, memory: Memory) -> None:
        await super().save(replace(memory, schema=SCHEMA + 1))


async def pass_time(loops: list[Loop], span: timedelta) -> None:
    clock = loops[0].clock
    end = clock.now().mono + span
    while clock.now().mono < end:
        wakes = [(await loop.step()).wake_at for loop in loops]
        await clock.sleep_until(min(wakes), loops[0].wake)


def stored(world: World) -> Memory:
    assert world.stored.memory is not None
    return world.stored.memory


def test_an_older_version_that_comes_to_lead_freezes_says_so_and_leaves_memory_alone():
    world = World(WorldSpec(rules=simple_rules(), seed=5, instances=2))
    told: list[str] = []
    old = ports.instance(world, "failoverd-0", Recorder(lambda d, s, n: told.extend(note.text for note in d.notes)))
    new = ports.instance(world, "failoverd-1")
    new.store = NewerStore(world, world.hosts["failoverd-1"])

    async def story() -> None:
        await pass_time([old, new], timedelta(seconds=60))
        assert stored(world).apps[APP].phase is Phase.WATCHING

        world.leader = "failoverd-1"
        await pass_time([old, new], timedelta(seconds=60))
        assert stored(world).schema == SCHEMA + 1

        world.leader = "failoverd-0"
        await pass_time([old, new], timedelta(seconds=5))
        kept = stored(world)
        inject(world, "power_off k3s-w1")
        await pass_time([old, new], timedelta(seconds=90))
        assert stored(world) == kept
        assert world.apps[APP].raw["spec"] == world.apps[APP].git["spec"]
        assert any(f"schema {SCHEMA + 1}" in text for text in told)

        world.leader = "failoverd-1"
        await pass_time([old, new], timedelta(seconds=60))
        assert stored(world).apps[APP].active is Site.BACKUP

    run(world, story())
    assert world.accused == []
