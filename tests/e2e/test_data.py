"""With guards, under writers that never pause: node after node is lost and comes back, and everybody comes home.

After each event every database opens, what is gone is no older than was stated, nothing of the lost side is in the
live copy, and what that side lost is kept. `make soak-data RUNS=30` plays thirty, each drawn by its seed. What has
passed is written to .cache/soak-data.jsonl, and a later run goes on after it. `make e2e` plays two, whatever was
played before.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import APPS as TABLES
from tests.e2e.daemon import until
from tests.e2e.guarded import Guards, restless
from tests.e2e.stopwatch import Stopwatch
from tests.e2e.test_failover import lost, no_older_than_stated, put_aside
from tests.e2e.world import APPS, NODE, Row, World, figure
from tests.lab.lab import REPOSITORY
from tests.lab.manifests.apps import Volume

ASKED = int(os.environ.get("SOAK_RUNS") or 0)
RUNS = ASKED or 2
SEED = int(os.environ.get("SOAK_SEED") or (random.SystemRandom().randrange(1_000_000) if ASKED else 4))
"""Drawn where runs are asked for; else always the same two: a cable with a fence, a power cut without one."""
PASSED = REPOSITORY / ".cache" / "soak-data.jsonl"
READY, HOME = 200, 420
"""Seconds to be Ready at the other side, and to be home with clean copies once the lost node is back."""
SILENCE = tuple({**table, "require": "silence"} for table in TABLES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """How the node of the primary is lost."""

    seed: int
    fenced: bool
    """Whether its hypervisor can be asked, and cut its power; else silence has to do."""
    cable: bool
    """Its cable is pulled and its pods go on, or its power is cut."""
    away: float
    """Seconds between the move and its return."""

    @classmethod
    def drawn(cls, seed: int) -> Event:
        """The event of a seed."""
        chance = random.Random(seed)
        return cls(
            seed=seed, fenced=chance.random() < 0.5, cable=chance.random() < 0.5, away=round(chance.uniform(0, 40), 1)
        )

    def __str__(self) -> str:
        what = "cable of k3s-w1 pulled" if self.cable else "power cut of k3s-w1"
        return f"seed {self.seed}: {what}, {'fenced' if self.fenced else 'silence'}, away {self.away:g} s more"

    def settings(self) -> dict[str, Any]:
        """The daemon's, for it."""
        return {"guard": {"enabled": True, "interval": "5s"}, "fence": self.fenced} | (
            {} if self.fenced else {"apps": SILENCE}
        )


def unknown(world: World) -> None:
    """No daemon has ever been there, and the writers do not pause: to be taken in like that."""
    world.daemon.stop()
    world.mend()
    world.daemon.configure()
    world.reset()
    restless(world)


def due() -> list[Event]:
    """Those of the wanted seeds that no earlier run has passed."""
    if not ASKED:
        return [Event.drawn(SEED + run) for run in range(RUNS)]
    done = {json.loads(line)["seed"] for line in PASSED.read_text().splitlines()} if PASSED.exists() else set()
    return [Event.drawn(seed) for seed in range(SEED, SEED + RUNS) if seed not in done]


@pytest.mark.timeout(300 + RUNS * (READY + HOME))
def test_nothing_is_lost_that_was_not_said(world: World, guards: Guards) -> None:
    print(f"SOAK_SEED={SEED} SOAK_RUNS={RUNS}")
    unknown(world)
    for event in due():
        world.daemon.configure(**event.settings())
        guards.apply()
        # A kubelet waits longer after each restart of a container. In life nodes are lost days apart.
        world.lab.kubectl("-n", "media", "delete", "pod", "-l", "app.kubernetes.io/component=syncthing-mover")
        world.daemon.start()
        until(lambda: ahead(world, "primary"), 240, "every app could be moved, its databases proven")
        play(world, event)
        world.daemon.stop()
        with PASSED.open("a") as passed:
            passed.write(json.dumps({**asdict(event), "at": time.strftime("%Y-%m-%dT%H:%M:%S")}) + "\n")


def play(world: World, event: Event, home: float = HOME) -> None:
    """Lose the node, look at what runs elsewhere, have it back, and look again once everybody is home."""
    world.since = time.time()
    with Stopwatch(world, APPS, NODE["backup"]) as watch:
        world.lab.cut("k3s-w1") if event.cable else world.lab.power_cut("k3s-w1")
        until(lambda: len(watch.ready) == len(APPS), READY, f"{event}: every app Ready on k3s-w2")
    figure(f"{event}: every app Ready after {max(watch.ready.values()):.1f} s")
    gone: dict[tuple[str, str], list[Row]] = {}
    for name in APPS:
        move = world.daemon.history(name)[-1]
        assert (move["kind"], move["outcome"], move["forced"]) == ("failover", "done", False), move
        assert "placed" in move["marks"], move
        last = datetime.fromisoformat(move["last_write_at"]).timestamp()
        for volume in APPS[name].volumes:
            rows = lost(world, name, volume)
            # A pod that nobody could stop writes on beside the new one: no figure can bound that (README.md).
            said = [row for row in rows if row.at <= last] if event.cable and not event.fenced else rows
            gone[name, volume.name] = rows
            no_older_than_stated(name, move, {volume.name: said})
    time.sleep(event.away)
    world.lab.restore()
    back = time.monotonic()
    for name in APPS:
        world.settled(name, "primary", home)
    figure(f"{event}: everything home {time.monotonic() - back:.0f} s after its return")
    for name in APPS:
        for node in NODE.values():
            assert world.events(name, node, "broken") == [], f"{event}: {name}: a database does not open"
        if event.fenced:
            assert world.two_writers(name) == 0, f"{event}: {name}: two writers although fenced"
        for volume in APPS[name].volumes:
            rows = world.rows(NODE["primary"], name, volume)
            assert world.gone(NODE["primary"], name, volume) == set(), (
                f"{event}: {name} {volume.name}: no trace of these"
            )
            strays = {(row.n, row.at) for row in gone[name, volume.name]} & {(row.n, row.at) for row in rows}
            assert strays == set(), f"{event}: {name} {volume.name}: the lost side's rows are in the live copy"
            kept(world, name, volume, gone[name, volume.name])
    assert world.conflicts() == []


def kept(world: World, name: str, volume: Volume, gone: list[Row]) -> None:
    """Whatever the lost side alone had is among its versions."""
    versions = world.kept("k3s-w1", name, volume)
    if volume.kind == "files":
        put_aside(world, name, volume, gone)
    elif gone:
        found = {path: opened(path, versions) for path in versions if path.suffix == ".db"}
        # The survivor goes on with the same numbers: what it wrote itself is no trace of these.
        left = {(row.n, row.at) for row in gone} - set().union(*found.values())
        if left:
            shutil.copytree(world.copy("k3s-w1", name, volume), PASSED.parent / f"lost-{name}", dirs_exist_ok=True)
        held = {str(path): f"to {max(rows, default=0)}" for path, rows in found.items()}
        assert left == set(), f"{name} {volume.name}: gone without a trace; what is kept: {held}, {versions}"


def opened(path: Path, versions: list[Path]) -> set[tuple[int, float]]:
    """The rows of a database that was put aside, with each of the logs that were put aside beside it."""
    logs = [None, *(one for one in versions if one.parent == path.parent and one.suffix == ".db-wal")]
    found: set[tuple[int, float]] = set()
    for log in logs:
        with tempfile.TemporaryDirectory() as place, suppress(sqlite3.DatabaseError):
            shutil.copy(path, f"{place}/app.db")
            if log is not None:
                shutil.copy(log, f"{place}/app.db-wal")
            with closing(sqlite3.connect(f"{place}/app.db")) as db:
                found |= set(db.execute("SELECT n, at FROM t"))
    return found


def ahead(world: World, site: str) -> bool:
    """Whether nothing stands in the way of a failover from `site`, ages and databases included."""
    for name in APPS:
        app = world.daemon.app(name)
        world.well(app, site)
        assert app["standby"] is not None, f"{name}: not looked at yet"
        assert app["standby"]["missing"] == [], f"{name}: {app['standby']['missing']}"
    return True
