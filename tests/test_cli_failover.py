"""`failoverd failover`: what it names before it does anything, and what it may cost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from failoverd.cli.cluster import Cluster
from failoverd.cli.exits import Exit
from failoverd.core.memory import CopyMemory, Loss, Memory, Standing, VolumeMemory
from failoverd.core.model import CommandKind
from failoverd.core.rules import Site
from tests.test_cli_cluster import Bench, bench, ending, remembered
from tests.test_cli_displaced import lost

__all__ = ["bench"]
KEY = "media/sonarr"


def clean(standing: Standing = Standing.CLEAN) -> Memory:
    """On primary, what is at the backup being worth this."""
    known = remembered()
    app = known.apps[KEY]
    volumes = {name: at_backup(volume, standing) for name, volume in app.volumes.items()}
    return replace(known, apps={KEY: replace(app, volumes=volumes)})


def at_backup(volume: VolumeMemory, standing: Standing) -> VolumeMemory:
    return replace(volume, copies={**volume.copies, Site.BACKUP: CopyMemory(standing=standing, epoch=3)})


def alive(
    monkeypatch: pytest.MonkeyPatch, verdicts: dict[str, str], *, ready: bool = True, leader: bool = True
) -> None:
    """A daemon answers, and says this of the nodes."""

    async def live(_: Cluster) -> dict[str, Any]:
        nodes = {name: {"verdict": verdict} for name, verdict in verdicts.items()}
        return {"instance": {"leader": leader}, "nodes": nodes, "apps": {KEY: {"standby": {"ready": ready}}}}

    monkeypatch.setattr(Cluster, "live", live)


async def test_a_forced_failover_names_the_loss_and_does_nothing_unasked(bench: Bench) -> None:
    bench.remember(clean())
    said = await bench.run("failover", "sonarr")
    assert said.status == Exit.REFUSED
    assert said.err == "failoverd: nobody is there to ask: confirm with --yes\n"
    assert "config: data age unknown; both copies were last proven equal 1 min " in said.out
    assert "media: data age unknown; the copies were never proven equal" in said.out
    assert bench.commands() == ()


async def test_a_forced_failover_from_a_node_that_is_up_names_the_move_that_loses_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.remember(clean())
    alive(monkeypatch, {"k3s-w1": "UP", "k3s-w2": "UP"})
    said = await bench.run("failover", "sonarr")
    assert (
        said.out.splitlines()[0]
        == "k3s-w1 is UP: `failoverd switchover sonarr` moves it from there and loses nothing."
    )
    alive(monkeypatch, {"k3s-w1": "UNKNOWN", "k3s-w2": "UP"})
    assert "switchover" not in (await bench.run("failover", "sonarr")).out
    alive(monkeypatch, {"k3s-w1": "UP", "k3s-w2": "UP"}, ready=False)
    assert "switchover" not in (await bench.run("failover", "sonarr")).out


@pytest.mark.parametrize(
    ("standing", "verdict", "why"),
    [
        (
            Standing.OUTDATED,
            "DOWN",
            "k3s-w2 is DOWN, config at backup is outdated, media at backup is outdated. Wait until k3s-w2 is UP "
            "again and its copy has been taken back, which happens by itself; ",
        ),
        (Standing.CLEAN, "UNKNOWN", "k3s-w2 is UNKNOWN. Wait until k3s-w2 is UP again; "),
        (
            Standing.UNPROVEN,
            "UP",
            "config at backup is unproven, media at backup is unproven. Wait until the copies have been proven "
            "equal, which happens by itself; ",
        ),
    ],
)
async def test_what_no_force_sets_aside_is_refused_at_once_with_what_to_wait_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, standing: Standing, verdict: str, why: str
) -> None:
    bench.remember(clean(standing))
    alive(monkeypatch, {"k3s-w1": "UP", "k3s-w2": verdict})
    said = await bench.run("failover", "sonarr", "--yes")
    assert (said.status, said.out, bench.commands()) == (Exit.REFUSED, "", ())
    first = f"failoverd: {KEY} cannot be moved to backup now, not by force either: "
    assert said.err == f"{first}{why}`failoverd why sonarr` tells how far it is\n"


async def test_a_node_that_only_a_follower_calls_down_is_left_to_the_leader(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.remember(clean())
    alive(monkeypatch, {"k3s-w1": "UP", "k3s-w2": "DOWN"}, leader=False)
    said = await bench.run("failover", "sonarr", "--yes", "--no-wait")
    assert (said.status, len(bench.commands())) == (Exit.OK, 1)


async def test_copies_that_were_equal_before_the_last_move_are_not_called_never_proven(bench: Bench) -> None:
    known = clean()
    app = known.apps[KEY]
    move = lost()
    bench.remember(replace(known, apps={KEY: replace(app, moves=(move,))}))
    said = await bench.run("failover", "sonarr")
    since = f"not proven equal since the failover of {move.began_at:%Y-%m-%d %H:%M} UTC"
    assert f"media: data age unknown; the copies were {since}" in said.out


async def test_a_forced_failover_with_yes_reports_what_may_be_lost(bench: Bench) -> None:
    bench.remember(clean())
    losses = (Loss(volume="config", age_seconds=93.0), Loss(volume="media", age_seconds=None))
    async with bench.leader(ending("done", losses)):
        said = await bench.run("failover", "media/sonarr", "--yes")
    assert (said.status, said.err) == (Exit.OK, "")
    assert (
        "lost so far: config: data age 93 s, media: data age unknown; the lost side was not proven dead" in said.out
    )
    assert bench.commands()[0].kind is CommandKind.FAILOVER
