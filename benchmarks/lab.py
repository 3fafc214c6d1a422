"""Moves on the real cluster of `tests/lab`, under the default configuration unless a benchmark says otherwise."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bars import Figure
from tests.e2e.daemon import until
from tests.e2e.stopwatch import Stopwatch
from tests.e2e.world import APPS, NODE, World
from tests.lab.lab import REPOSITORY, Lab

STATE = REPOSITORY / ".cache" / "bench"
LEASE_PERIOD = 10.0
"""Between two renewals of a node's lease: how long its silence takes to show depends on when it begins."""
PATIENCE = 240
"""Seconds any move may take before the benchmark gives up."""
Measure = Callable[[World, int], dict[str, float]]
"""One run; seconds by figure. The second argument is the run's number."""


@contextmanager
def furnished() -> Iterator[World]:
    """A lab of our own with apps, gone afterwards; or the running one that FAILOVERD_LAB_STATE names."""
    running = os.environ.get("FAILOVERD_LAB_STATE")
    if not running:
        Lab.take_down(STATE)
    lab = Lab.attach(Path(running)) if running else Lab.up(STATE, flux_interval="30s")
    try:
        world = World(lab)
        world.furnish()
        try:
            yield world
        finally:
            world.daemon.stop()
            lab.stop("pve", "chat")
            lab.restore()
    finally:
        if not running:
            lab.down()


def power_cut(world: World, run: int) -> dict[str, float]:
    """The primary loses power; Proxmox says that it is off."""
    world.begin(fast=False)
    return cut(world, run)


def silence(world: World, run: int) -> dict[str, float]:
    """The primary loses power, nothing can prove it, and silence is enough."""
    world.begin(fast=False, fence=False, failover={"require": "silence"})
    return cut(world, run)


def cut(world: World, run: int) -> dict[str, float]:
    """Cut the primary's power at another moment of its lease in each run; seconds until decided and until Ready."""
    time.sleep(run * LEASE_PERIOD / 5 % LEASE_PERIOD)
    with Stopwatch(world, APPS, NODE["backup"]) as watch:
        world.lab.power_cut(NODE["primary"])
        until(lambda: len(watch.ready) == len(APPS), PATIENCE, "every app Ready on the backup")
    for name in APPS:
        assert world.two_writers(name) == 0, f"{name} had two writers"
    return {"decided": max(watch.decided.values()), "ready": max(watch.ready.values())}


def switchover(world: World, _: int) -> dict[str, float]:
    """A planned move under the writer and back: how long no pod of the app was there."""
    world.begin()
    app = "sonarr"
    outages = []
    for verb, target in (("switchover", "backup"), ("failback", "primary")):
        with Stopwatch(world, (app,), NODE[target]) as watch:
            world.daemon.cli(verb, app, "--no-wait")
            until(lambda: app in watch.ready, PATIENCE, f"{verb}: {app} Ready on {target}")
        outages.append(watch.came[app] - watch.gone[app])
        world.settled(app, target)
    assert world.conflicts() == [], "there are conflicts"
    return {"outage": sum(outages) / len(outages)}


BENCHES: dict[str, tuple[Measure, dict[str, tuple[str, float]]]] = {
    "power_cut": (
        power_cut,
        {
            "decided": ("power cut, proof by Proxmox: decided", 15),
            "ready": ("power cut, proof by Proxmox: every app Ready", 20),
        },
    ),
    "silence": (silence, {"ready": ("power cut, no fence, silence: every app Ready", 90)}),
    "switchover": (switchover, {"outage": ("planned move: down beyond the pod's stop and start", 2)}),
}
"""Name -> (one run, its figures: words and bar in seconds)."""


def figures(world: World, name: str, runs: int) -> list[Figure]:
    """Medians of so many runs. Raises AssertionError when a run did not end as it must."""
    measure, bars = BENCHES[name]
    samples: list[dict[str, float]] = []
    for run in range(runs):
        samples.append(measure(world, run))
        print(f"{name} {run + 1}/{runs}: {samples[-1]}", file=sys.stderr, flush=True)
    return [
        Figure(name=words, samples=tuple(one[key] for one in samples), unit="s", at_most=bar)
        for key, (words, bar) in bars.items()
    ]
