"""Roles off, guard off: with either of them the suite of tests/e2e/test_data.py fails, and says at what."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.e2e.daemon import SCRIPT, until
from tests.e2e.guarded import Guards
from tests.e2e.test_data import Event, ahead, play, unknown
from tests.e2e.world import APPS, NODE, World, figure

UNROLED = Path(__file__).with_name("unroled.py")
BESIDE = Event(seed=0, fenced=False, cable=True, away=20)
"""Both sides write for a while: what roles and points are there for."""


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("off", ["guard", "roles"])
def test_it_is_noticed_when_one_of_them_is_off(world: World, guards: Guards, off: str) -> None:
    unknown(world)
    over = {"guard": {"enabled": False}} if off == "guard" else {}
    world.daemon.configure(**BESIDE.settings() | over)
    guards.apply()
    world.daemon.program = (sys.executable, UNROLED) if off == "roles" else (SCRIPT,)
    try:
        world.daemon.start()
        if off == "roles":
            until(lambda: ahead(world, "primary"), 240, "every app could be moved, its databases proven")
        with pytest.raises(AssertionError) as noticed:
            play(world, BESIDE, home=180)
    finally:
        world.daemon.stop()
        world.daemon.program = (SCRIPT,)
    figure(f"{off} off: {noticed.value}")
    broken = [f"{name} on {node}" for name in APPS for node in NODE.values() if world.events(name, node, "broken")]
    figure(f"{off} off: databases that do not open: {', '.join(broken) or 'none'}")
