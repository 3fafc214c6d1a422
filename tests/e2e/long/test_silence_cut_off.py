"""No fence, and the node that fell silent lives on: its pods write beside the new ones, each to their own copy."""

from __future__ import annotations

import time

import pytest

from tests.e2e.daemon import until
from tests.e2e.test_silence import MIXED, SILENT, purely
from tests.e2e.world import World, figure
from tests.lab.timeline import Line


@pytest.mark.timeout(600)
def test_nothing_of_a_cut_off_pod_flows_into_the_live_copy(world: World) -> None:
    world.begin(fence=False, apps=MIXED, failback={"policy": "manual"})
    for name in SILENT:
        world.daemon.cli("switchover", name, "--why", "the other way round")
        world.settled(name, "backup")
    until(lambda: world.daemon.status()["nodes"]["k3s-w2"]["verdict"] == "UP", 30, "k3s-w2 is UP")
    cut = time.time()
    world.lab.cut("k3s-w2")
    until(lambda: {world.ready_on(name) for name in SILENT} == {"k3s-w1"}, 120, "the apps are Ready on k3s-w1")
    moved = time.time()

    def stray(name: str) -> list[Line]:
        """What the cut off pod wrote beside the new one."""
        return [line for line in world.events(name, "k3s-w2", "write") if line.t > moved]

    # They write in bursts, with pauses of 10 s between.
    until(lambda: all(stray(name) for name in SILENT), 30, "the cut off pods go on writing")
    world.lab.heal("k3s-w2")
    for name in SILENT:
        world.settled(name, "primary", 240)
        purely(world, name, "k3s-w1", "k3s-w2", cut)
        figure(
            f"{name}: the cut off pod wrote for {world.two_writers(name):.0f} s beside the new one, to its own copy"
        )
    assert world.conflicts() == []
