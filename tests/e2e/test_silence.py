"""No fence: an app that asks for proof stays, one that asks for silence moves, and nothing stale ever flows back."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.e2e.daemon import APPS as TABLES
from tests.e2e.daemon import until
from tests.e2e.stopwatch import Stopwatch
from tests.e2e.world import APPS, World, figure

READY = 90
"""Seconds after the cut with the default `silence_after`; three times as much is allowed here."""
SILENT = ("sonarr", "radarr")
PROVEN = ("paperless", "lidarr")
MIXED = tuple({**table, "require": "silence" if table["name"] in SILENT else "proof"} for table in TABLES)
SLOW: dict[str, Any] = {
    "failover": {
        "silence_after": "60s",
        "up_after": "6s",
        "cooldown": "1s",
        "max_moves": {"count": 100, "per": "1h"},
    },
    "failback": {"policy": "manual"},
    "timings": {"quiet_for": "50s"},
}
"""The defaults, but for what comes after the move."""


def purely(world: World, name: str, active: str, lost: str, since: float) -> None:
    """On the active node's copy nothing that the lost side wrote after `since`, and no number gone for good."""
    for volume in APPS[name].volumes:
        rows = world.rows(active, name, volume)
        assert world.gone(active, name, volume) == set(), f"{name} {volume.name}: gone without a trace"
        strays = [row for row in rows if row.host == lost and row.at > since]
        assert strays == [], f"{name} {volume.name}: {len(strays)} rows of {lost} came in after it was lost"


@pytest.mark.timeout(600)
def test_silence_moves_and_proof_stays(world: World) -> None:
    world.begin(fast=False, fence=False, apps=MIXED, **SLOW)
    before = {name: world.workload(name) for name in PROVEN}
    cut = time.time()
    with Stopwatch(world, SILENT, "k3s-w2") as watch:
        world.lab.power_cut("k3s-w1")
        until(lambda: len(watch.ready) == len(SILENT), 3 * READY, "the apps that need no proof are Ready on k3s-w2")
    figure(f"power cut, no fence, silence of 60 s: Ready after {max(watch.ready.values()):.1f} s (bar {READY})")
    assert min(watch.decided.values()) >= 45, "it moved during a silence that passes"

    # The others: no move, and everybody who asks is told which proof is missing.
    for name in PROVEN:
        assert world.workload(name) == before[name]
        assert world.daemon.why(name)["not proven dead"] == "k3s-w1 is not proven dead: no fence is configured for it"
        told = [one["text"] for one in world.daemon.chat() if one["app"] == f"media/{name}"]
        assert [text for text in told if "not proven dead: no fence is configured" in text], told
        held = world.daemon.metrics("failoverd_app_objections")
        assert [labels for labels in held if f"media/{name}" in labels and "not proven dead" in labels], held
        assert "not proven dead" in world.daemon.cli("why", name).stdout
    assert world.daemon.metrics("failoverd_node_proven_dead")['{node="k3s-w1"}'] == 0

    # The lost side returns, with rows of its own on its disk: they end among its versions, nowhere else.
    world.lab.power_on("k3s-w1")
    back = time.monotonic()
    for name in SILENT:
        world.settled(name, "backup", 240)
        purely(world, name, "k3s-w2", "k3s-w1", cut)
    figure(f"lost side taken back {time.monotonic() - back:.0f} s after its power (quiet_for 50 s + 30 s of grace)")

    world.daemon.configure(fence=False, apps=MIXED, failback={"policy": "manual"})
    until(lambda: "configuration changed" in {line["event"] for line in world.daemon.log()[-200:]}, 60, "reloaded")
    assert world.conflicts() == []
