"""A node that is cut off but alive is fenced before anything moves; a killed daemon takes up its move."""

from __future__ import annotations

import time

from tests.e2e.daemon import until
from tests.e2e.world import APPS, World, figure

SILENT = 39
"""`silence_after` of the short durations, seconds."""


def test_cut_off_node_is_fenced_and_a_killed_daemon_finishes_the_move(world: World) -> None:
    world.begin()
    before = {name: world.workload(name) for name in APPS}
    cut = time.monotonic()
    world.lab.cut("k3s-w1")
    until(lambda: world.lab.power_state("k3s-w1") == "stopped", 3 * SILENT, "k3s-w1 is fenced")
    fenced = time.monotonic() - cut
    assert fenced >= SILENT - 10, "fenced during a silence that may pass"

    def on_its_way() -> bool:
        phases = {app["phase"] for app in world.daemon.status()["apps"].values()}
        return bool({"stopping", "flipping", "starting"} & phases)

    until(on_its_way, 20, "the apps are on their way", every=0.02)
    world.daemon.kill()
    phases = {name: world.daemon.memory()["apps"][f"media/{name}"]["phase"] for name in APPS}
    killed = time.monotonic()
    assert set(phases.values()) != {"watching"}, "the kill came too late to mean anything"
    world.daemon.start()
    for name in APPS:
        world.ready(name, "k3s-w2", 90)
    figure(
        f"network cut, silence of {SILENT} s: fenced after {fenced:.0f} s; killed while {', '.join(phases.values())},"
        f" Ready {time.monotonic() - killed:.1f} s after the next start"
    )

    # The fenced node is started again by the daemon; its cable is put back, and everything goes home.
    until(lambda: world.lab.power_state("k3s-w1") == "running", 60, "the fenced node is started again")
    world.lab.heal("k3s-w1")
    for name in APPS:
        world.settled(name, "primary", 200)
        assert world.workload(name) == before[name]
        assert world.two_writers(name) == 0, f"{name}: two writers although fenced"
        moves = world.moves(name)
        assert [(one["kind"], one["outcome"]) for one in moves] == [("failover", "done"), ("failback", "done")], moves
        assert "fenced" in moves[0]["marks"], moves[0]
    assert world.conflicts() == []
