"""Several site pairs: what happens to one does not concern the apps of another."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from datetime import timedelta

from failoverd.core.memory import Memory, Phase
from failoverd.core.rules import Pair, Place, Site
from failoverd.simulator import ports
from failoverd.simulator.clock import run
from failoverd.simulator.world import World
from failoverd.simulator.world_faults import inject
from failoverd.simulator.world_spec import WorldSpec, simple_app, simple_rules


def place(node: str, role: str) -> Place:
    return Place(node=node, selector=(("kubernetes.io/hostname", node),), domain=f"host-{node}", fence=node)


def two_pairs() -> World:
    attic = Pair(name="attic", primary=place("k3s-w3", "primary"), backup=place("k3s-w4", "backup"))
    base = simple_rules((simple_app("sonarr"), replace(simple_app("mealie", "home"), pair="attic")))
    rules = replace(
        base,
        pairs=(*base.pairs, attic),
        witnesses=(*base.witnesses, ("k3s-w3", "host-k3s-w3"), ("k3s-w4", "host-k3s-w4")),
    )
    return World(WorldSpec(rules=rules, seed=3))


def places(memory: object) -> dict[str, tuple[Site, Phase]]:
    assert isinstance(memory, Memory)
    return {key: (was.active, was.phase) for key, was in memory.apps.items()}


def test_a_dead_node_moves_the_apps_of_its_own_pair_only():
    world = two_pairs()
    loop = ports.instance(world)
    home = (Site.PRIMARY, Phase.WATCHING)

    async def for_(span: timedelta) -> None:
        end = loop.clock.now().mono + span
        while loop.clock.now().mono < end:
            decision = await loop.step()
            await loop.clock.sleep_until(decision.wake_at, loop.wake)

    async def story() -> None:
        await for_(timedelta(seconds=60))
        assert places(loop.memory) == {"media/sonarr": home, "home/mealie": home}
        before = deepcopy(world.apps["home/mealie"].raw["spec"])
        inject(world, "power_off k3s-w3")
        await for_(timedelta(seconds=60))
        assert places(loop.memory) == {"media/sonarr": home, "home/mealie": (Site.BACKUP, Phase.WATCHING)}
        assert world.apps["home/mealie"].raw["spec"] != before

    run(world, story())
    assert world.apps["media/sonarr"].raw["spec"] == world.apps["media/sonarr"].git["spec"]
    assert world.accused == []
