"""Planned moves and an operator's commands: nothing lost, little waited for, every word by the real CLI."""

from __future__ import annotations

import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.e2e.daemon import until
from tests.e2e.stopwatch import Stopwatch
from tests.e2e.world import APPS, NODE, World, figure
from tests.lab.layout import NODE_IMAGE
from tests.lab.manifests.apps import repo_files
from tests.lab.standins.deploy import wire

BY_HAND = {"policy": "manual"}
"""Or an app that was sent away would come home by itself in the middle of a test."""
BUMPED = NODE_IMAGE.removeprefix("docker.io/")
"""The same image by another name: another image for Git and the API server, and there on every node."""
BEYOND = 2
"""Seconds an app may be down beyond its pod's stop and start, as the benchmark judges them; here three times that."""


def switched(world: World, name: str, source: str, target: str, before: dict[tuple[str, str], set[int]]) -> None:
    """Nothing was lost on the way: the new pod began with the very number with which the old one had ended."""
    for volume in APPS[name].volumes:
        ended = world.events(name, NODE[source], "stop", volume.name)[-1]
        began = world.events(name, NODE[target], "start", volume.name)[-1]
        assert (began.n, began.more.get("check"), began.more["fresh"]) == (
            ended.n,
            "ok" if volume.kind == "sqlite" else "none",
            False,
        ), f"{name} {volume.name}: {ended} then {began}"
        now = world.missing(NODE[target], name, volume)
        assert now <= before[name, volume.name], f"{name} {volume.name}: lost on the way"


def asked(world: World, verb: str, name: str) -> None:
    """Have it done, asking again where it was refused: a mover may just be following its app."""
    said = ""
    for _ in range(4):
        done = world.daemon.cli(verb, name, "--why", "works on the node", check=False)
        if done.returncode == 0:
            return
        said = done.stderr.strip()
        time.sleep(5)
    raise AssertionError(f"{verb} of {name} is refused again and again: {said}")


def test_switchover_and_back_under_the_writer_lose_nothing(world: World) -> None:
    world.begin(failback=BY_HAND)
    before = {name: world.workload(name) for name in APPS}
    without = world.all_missing("primary")
    beyond = []
    for verb, source, target in (("switchover", "primary", "backup"), ("failback", "backup", "primary")):
        with Stopwatch(world, APPS, NODE[target]) as watch:
            with ThreadPoolExecutor(len(APPS)) as pool:
                list(pool.map(partial(asked, world, verb), APPS))
            until(lambda: len(watch.ready) == len(APPS), 90, f"{verb}: every app Ready on {target}")
        beyond += [watch.came[name] - watch.gone[name] for name in APPS]
        for name in APPS:
            world.settled(name, target)
            switched(world, name, source, target, without)
            assert world.two_writers(name) == 0
            move = world.daemon.history(name)[-1]
            assert (move["kind"], move["outcome"], move["losses"]) == (verb, "done", []), move
    usual = statistics.median(beyond)
    figure(
        f"planned, {len(beyond)} moves: down beyond pod stop and start {usual:.1f} s in the median (bar {BEYOND}),"
        f" {max(beyond):.1f} s at most"
    )
    assert usual <= 3 * BEYOND
    assert {name: world.workload(name) for name in APPS} == before
    assert world.conflicts() == []


def test_commands_of_an_operator(world: World) -> None:
    world.begin(failback=BY_HAND)
    cli = world.daemon.cli
    assert "nothing calls for a move" in cli("why", "sonarr").stdout
    assert cli("pause", "sonarr", "--why", "a visit").returncode == 0
    assert "paused by" in cli("why", "sonarr").stdout
    refused = cli("switchover", "sonarr", check=False)
    assert (refused.returncode, "refused" in refused.stderr) == (1, True), refused
    assert world.ready_on("sonarr") == "k3s-w1"
    found = json.loads(cli("status", "-o", "json").stdout)
    assert found["apps"]["media/sonarr"]["paused"]["why"] == "a visit"
    assert found["apps"]["media/radarr"]["paused"] is None
    assert cli("resume", "sonarr").returncode == 0
    done = cli("switchover", "sonarr", "--why", "works on the node")
    assert "media/sonarr is on backup after" in done.stdout
    line = next(one for one in cli("status").stdout.splitlines() if one.startswith("media/sonarr"))
    assert "backup" in line
    again = cli("switchover", "sonarr", "--to", "backup")
    assert "is on backup already" in again.stdout
    world.settled("sonarr", "backup")
    assert "media/sonarr is on primary after" in cli("failback", "sonarr").stdout
    world.settled("sonarr", "primary")
    table = cli("history", "sonarr").stdout
    assert "switchover primary -> backup" in table
    assert "failback backup -> primary" in table
    assert cli("switchover", "sonar", check=False).returncode == 2


def test_daemon_killed_in_the_middle_of_a_switchover_finishes_it_once(world: World) -> None:
    world.begin(failback=BY_HAND)
    before = world.workload("paperless")
    known = len(world.daemon.history("paperless"))
    for target, verb in (("backup", "switchover"), ("primary", "failback")):
        world.daemon.cli(verb, "paperless", "--no-wait")
        phase = until(
            lambda: found if (found := world.daemon.app("paperless")["phase"]) != "watching" else None,
            30,
            "the move has begun",
            every=0.02,
        )
        world.daemon.kill()
        world.daemon.start()
        world.settled("paperless", target)
        figure(f"killed while {phase}: finished after a new start")
    moves = world.daemon.history("paperless")[known:]
    assert [(one["kind"], one["outcome"]) for one in moves] == [("switchover", "done"), ("failback", "done")], moves
    assert world.workload("paperless") == before
    assert world.two_writers("paperless") == 0
    assert world.conflicts() == []


def test_a_commit_made_while_an_app_is_away_is_honoured_once_it_is_home(world: World) -> None:
    """Only our own fields are restored: whatever else Git has come to say meanwhile, Flux applies at home."""
    world.begin(failback=BY_HAND)
    before = world.workload("radarr")
    files = repo_files(APPS.values(), NODE_IMAGE, wire(world.lab, APPS.values()))
    bumped = files["radarr/app.yaml"].replace(f'"{NODE_IMAGE}"', f'"{BUMPED}"')
    assert bumped != files["radarr/app.yaml"]
    asked(world, "switchover", "radarr")
    world.settled("radarr", "backup")
    try:
        world.lab.flux_commit({**files, "radarr/app.yaml": bumped})
        world.reconcile()
        away = world.workload("radarr")
        assert f'"{BUMPED}"' not in away
        assert "pvc-radarr-backup" in away
        world.settled("radarr", "backup")
        asked(world, "failback", "radarr")
        world.reconcile()
        wanted = before.replace(f'"{NODE_IMAGE}"', f'"{BUMPED}"')
        until(lambda: world.workload("radarr") == wanted, 60, "Flux has applied what was committed meanwhile")
        world.settled("radarr", "primary")
        assert world.two_writers("radarr") == 0
        assert world.conflicts() == []
    finally:
        world.lab.flux_commit(files, wait=True)
    until(lambda: world.workload("radarr") == before, 60, "Git is as it was")
    world.settled("radarr", "primary")
