"""What an idle tick carries on is what `decide` makes of it; a world that was tried out can be taken back."""

from datetime import timedelta

import pytest

from failoverd.core.model import Scan, ScanPoints
from failoverd.core.points import Duty, Wanted
from failoverd.core.rules import Site
from failoverd.simulator.clock import run, until
from failoverd.simulator.daemons import Daemons
from failoverd.simulator.idle_tick import Held, carry, guards, pairs
from failoverd.simulator.leap import Leaper
from failoverd.simulator.ports import Recorder
from failoverd.simulator.scenario_world import spec_of
from failoverd.simulator.world import World
from failoverd.simulator.world_faults import inject

TWO = "world seed=5 apps=sonarr,radarr volumes=data,config access=many fence=k3s-w1"


class Heard:
    """A `Recording` that keeps what went in and what came out."""

    def __init__(self):
        self.ticks = []

    def saw(self, *inputs):
        self.inputs = inputs

    def decided(self, decision):
        self.ticks.append((self.inputs, decision))


def ticks(text, ms, fault=""):
    """Every tick of a world in which one thing happens after a minute."""
    world, heard = World(spec_of(text)), Heard()

    async def live():
        daemons = Daemons(world, Recorder(), 1)
        daemons.start()
        loop = daemons._all["failoverd-0"].loop
        assert loop is not None
        loop.recording = heard
        await until(world, 60_000)
        if fault:
            inject(world, fault)
        await until(world, ms)
        daemons.check()

    run(world, live())
    return heard.ticks


def test_what_is_carried_on_is_what_decide_carries_on():
    compared, saved, scans = 0, 0, 0
    for inputs, decision in ticks(TWO, 240_000):
        if inputs[4].mono < timedelta(seconds=30):
            continue  # roles are being given
        assert not decision.notes
        memory, watch, asked = carry(*inputs)
        assert (memory, watch, asked) == (decision.memory, decision.watch, decision.actions)
        compared, saved, scans = compared + 1, saved + (memory != inputs[1]), scans + len(asked)
    assert compared > 80
    assert saved > 3
    assert scans > 40


def test_where_guards_run_the_scans_of_their_points_are_carried_on_too():
    compared, points, both = 0, 0, 0
    for inputs, decision in ticks(f"{TWO} guard=yes", 300_000):
        if inputs[4].mono < timedelta(seconds=60):
            continue  # guards are told what to do
        assert not decision.notes
        memory, watch, asked = carry(*inputs)
        assert (memory, watch, asked) == (decision.memory, decision.watch, decision.actions)
        kinds = {type(act) for act in asked}
        compared, points, both = compared + 1, points + (ScanPoints in kinds), both + (kinds == {Scan, ScanPoints})
    assert compared > 80
    assert points > 20
    assert both > 3


def test_without_an_api_server_only_what_was_seen_is_carried_on():
    silent = [one for one in ticks(TWO, 100_000, "stall_api 60s") if one[0][4].mono.total_seconds() > 80]
    assert silent
    for inputs, decision in silent:
        memory, watch, asked = carry(*inputs)
        assert asked == ()
        assert memory is inputs[1]
        assert watch.nodes == decision.watch.nodes
        assert watch.volumes == decision.watch.volumes


def seen(world):
    """Everything of a world that beats change."""
    copies = [
        (side.sequence, side.remote_sequence, dict(side.index), dict(side.remote), dict(side.errors))
        for pair in pairs(world)
        for side in pair.sides.values()
    ]
    files = [dict(side.disk.files) for pair in pairs(world) for side in pair.sides.values()]
    links = [(pair.pulling, pair.real, set(pair._planned)) for pair in pairs(world)]
    said = [guard.state for guard in guards(world)]
    return world.time.now_ms, world.time.planned(), copies, files, links, said, world.stored.version, world.revision


@pytest.mark.parametrize("guard", ["no", "yes"])
def test_a_world_that_was_tried_out_is_taken_back(guard):
    world = World(spec_of(f"world seed=3 guard={guard}"))
    for found in guards(world):
        assert world.guards is not None
        duty = Duty.MAKE if found.key[2] is Site.PRIMARY else Duty.PROVE
        assert world.guards.order(found.key, Wanted(duty=duty, epoch=0, active=Site.PRIMARY), "")
    world.advance(30_500)
    before, held = seen(world), Held.of(world, pairs(world))
    for at_ms in range(31_000, 62_000, 1_000):
        world.advance(at_ms)
        for pair in pairs(world):
            for site in pair.sides:
                pair.scan(site)
    assert seen(world) != before
    held.back(world, pairs(world))
    assert seen(world) == before


def test_a_quiet_day_needs_few_ticks_with_two_instances_too():
    world, count = World(spec_of("world seed=6 instances=2")), []

    async def live():
        daemons = Daemons(world, Recorder(lambda *_: count.append(1)), 2, Leaper(world))
        daemons.start()
        await until(world, 24 * 3_600_000)
        daemons.check()

    run(world, live())
    assert 10 < len(count) < 100
