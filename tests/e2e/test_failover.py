"""A node dies, with the default configuration: the apps move, lose no more than was said, and go home."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.e2e.daemon import READER, SCRIPT, Table, until
from tests.e2e.stopwatch import Stopwatch
from tests.e2e.world import APPS, NODE, Row, World, figure
from tests.lab.manifests.apps import Volume

DECIDED, READY = 15, 20
"""Seconds after the cut, as the benchmark judges them; here three times as much is allowed."""
LAST = "last.txt"
SET = ("old.db", "old.db-wal")
"""Files that are fetched back together or not at all."""
"""A file that the dead side wrote and nobody else has ever had."""
ELECTIVE: dict[str, Table] = {
    "failback": {"stable_for": "20s"},
    "failover": {"cooldown": "1s", "max_moves": {"count": 100, "per": "1h"}},
}
"""What binds only the way home is shortened; everything that decides about a failover is the default."""


def lost(world: World, name: str, volume: Volume) -> list[Row]:
    """What the survivor did not have of the dead side's disk when the app started there."""
    had = world.events(name, "k3s-w2", "start", volume.name)[0].n
    come = {row.n for row in world.rows("k3s-w2", name, volume) if row.n <= had}
    return [row for row in world.rows("k3s-w1", name, volume) if row.n not in come]


def no_older_than_stated(name: str, move: Table, gone: dict[str, list[Row]]) -> None:
    """What was lost is not older than the data age that the history states."""
    ages = {one["volume"]: one["age_seconds"] for one in move["losses"]}
    last = datetime.fromisoformat(move["last_write_at"]).timestamp()
    for volume, rows in gone.items():
        assert ages[volume] is not None, f"{name} {volume}: no age was stated"
        times = sorted(row.at for row in rows)
        oldest = last - (times or [last])[0]
        figure(f"{name}/{volume}: lost {len(rows)} rows of the last {oldest:.1f} s, stated {ages[volume]:.1f} s")
        # A row tells when it was begun. That it was committed is known once the next one is begun.
        committed = last - (times[1:2] or times or [last])[0]
        assert committed <= ages[volume], f"{name} {volume}: lost {committed:.1f} s, stated {ages[volume]:.1f} s"
        assert all(row.at <= last for row in rows), f"{name} {volume}: it wrote after its last possible write"


def alone(world: World, name: str) -> None:
    """The survivor's copy holds what it had when it started, then its own rows only."""
    for volume in APPS[name].volumes:
        had = world.events(name, "k3s-w2", "start", volume.name)[0].n
        rows = world.rows("k3s-w2", name, volume)
        assert world.gone("k3s-w2", name, volume) == set(), f"{name} {volume.name}: gone without a trace"
        assert {row.host for row in rows if row.n > had} <= {"k3s-w2"}, f"{name} {volume.name}: the dead side's rows"


def put_aside(world: World, name: str, volume: Volume, gone: list[Row]) -> None:
    """Whatever the dead side alone had is among its versions after the take-back."""
    kept = world.kept("k3s-w1", name, volume)
    if volume.kind == "files":
        left = set(gone) - set(world.kept_rows("k3s-w1", name, volume))
        assert left == set(), f"{name} {volume.name}: gone without a trace: {left}"
    elif gone:
        assert [path for path in kept if "-wal" in path.name], f"{name} {volume.name}: no version of its log"


def in_a_burst(world: World, name: str) -> bool:
    """Whether the app has been writing for two seconds."""
    last = [str(line.more.get("event")) for line in world.lines(name)][-4:]
    return last == ["idle", "write", "write", "write"]


def told_on_the_workload(world: World, name: str) -> None:
    """What `kubectl describe` shows of it: both moves, by failoverd."""
    path = f"/api/v1/namespaces/media/events?fieldSelector=involvedObject.name%3D{name}"
    events = world.lab.api("GET", path)[1]["items"]
    texts = [one["message"] for one in events if one["source"].get("component") == "failoverd"]
    for kind in ("failover", "failback"):
        assert [text for text in texts if kind in text], f"no Event tells of the {kind} of {name}: {texts}"


def fetched_back(world: World, name: str) -> None:
    """What the dead side alone had is listed, and an operator has it again; what that replaces is kept."""
    app, (volume, *_) = world.workload(name), APPS[name].volumes
    told = json.loads(world.daemon.cli("displaced", name, "-o", "json", who=READER).stdout)
    assert [one["unknown"] for one in told["sides"]] == [[], []]
    (here,) = [one for one in told["sides"] if one["site"] == "primary"]
    assert LAST in [one["path"] for one in here["files"]], f"{name}: {LAST} is not among the displaced files: {here}"
    file = world.copy("k3s-w1", name, volume) / LAST
    assert not file.exists()
    file.write_text("written since")
    for wanted in (LAST, SET[0]):
        world.daemon.cli("restore", name, wanted, "--why", "a look at what was lost")
        world.settled(name, "primary", 90)
    assert [(file.parent / each).read_text() for each in (LAST, *SET)] == [name, *SET]
    texts = [path.read_text() for path in world.kept("k3s-w1", name, volume) if path.suffix == ".txt"]
    assert "written since" in texts, f"what {LAST} replaced is not kept: {texts}"
    assert world.workload(name) == app
    move = world.daemon.history(name)[-1]
    assert (move["kind"], move["outcome"]) == ("restore", "done"), move
    figure(f"{name}: {LAST} of the dead side fetched back, down for {sum((move['rto'] or {}).values()):.1f} s")


def decided_again(recorded: Path) -> None:
    """What the daemon saw of all this leads to the same decisions once more."""
    argv: list[str | Path] = [SCRIPT, "replay", recorded]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    summary = done.stdout.strip().splitlines()[-1]
    figure(f"replayed: {summary}")
    assert (done.returncode, done.stderr) == (0, "")
    assert summary.endswith("every decision is the recorded one")


@pytest.mark.timeout(600)
def test_power_cut_by_default_and_the_way_home(world: World) -> None:
    recorded = world.daemon.folder / "recorded"
    shutil.rmtree(recorded, ignore_errors=True)
    recorded.mkdir()
    world.begin(fast=False, record={"folder": str(recorded)}, **ELECTIVE)
    before = {name: world.workload(name) for name in APPS}
    until(lambda: in_a_burst(world, "sonarr"), 40, "sonarr in the middle of a burst")

    with Stopwatch(world, APPS, "k3s-w2") as watch:
        world.lab.power_cut("k3s-w1")
        until(lambda: len(watch.ready) == len(APPS), 3 * READY, "every app Ready on k3s-w2")
    decided, ready = max(watch.decided.values()), max(watch.ready.values())
    figure(
        f"power cut, defaults: every app decided after {decided:.1f} s (bar {DECIDED}), Ready after {ready:.1f} s"
        f" (bar {READY})"
    )
    assert decided <= 3 * DECIDED
    assert ready <= 3 * READY

    # Flux, which compares every 30 s anyway, is asked twice more: it leaves the moved alone.
    for _ in range(2):
        done = world.reconcile()
        assert {done[f"{app.kind}/media/{app.name}"] for app in APPS.values()} == {"skipped"}
    gone: dict[str, dict[str, list[Row]]] = {}
    for name in APPS:
        (move,) = world.moves(name)
        assert (move["kind"], move["outcome"], move["forced"]) == ("failover", "done", False), move
        gone[name] = {volume.name: lost(world, name, volume) for volume in APPS[name].volumes}
        no_older_than_stated(name, move, gone[name])
        assert world.events(name, "k3s-w2", "broken") == []
        alone(world, name)

    for path, text in ((LAST, "sonarr"), *zip(SET, SET, strict=True)):
        (world.copy("k3s-w1", "sonarr", APPS["sonarr"].volumes[0]) / path).write_text(text)
    world.lab.power_on("k3s-w1")
    back = time.monotonic()
    for name in APPS:
        world.settled(name, "primary", 200)
    figure(f"everything home {time.monotonic() - back:.0f} s after power came back (stable_for 20 s)")
    pods = {name: [pod["metadata"]["uid"] for pod in world.pods(name)] for name in APPS}
    for name in APPS:
        assert world.workload(name) == before[name], f"{name} is not what it was"
        assert world.two_writers(name) == 0
        for volume in APPS[name].volumes:
            put_aside(world, name, volume, gone[name][volume.name])
        # The rows of the time away came home with it, and nothing else.
        there, here = world.rows(NODE["backup"], name), world.rows(NODE["primary"], name)
        assert here[: len(there)] == there[: len(here)]
        assert "k3s-w2" in {row.host for row in here}
    done = world.reconcile()
    assert {done[f"{app.kind}/media/{app.name}"] for app in APPS.values()} == {"unchanged"}, "Flux found a drift"
    time.sleep(3)
    assert {name: [pod["metadata"]["uid"] for pod in world.pods(name)] for name in APPS} == pods, "a rollout followed"
    assert world.conflicts() == []
    told = [line["text"] for line in world.daemon.chat()]
    for name in APPS:
        for kind in ("failover", "failback"):
            assert [text for text in told if f"media/{name}" in text and kind in text], f"chat: no {kind} of {name}"
        told_on_the_workload(world, name)
    fetched_back(world, "sonarr")
    decided_again(recorded)
