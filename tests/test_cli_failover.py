"""`failoverd failover`: what it names before it does anything, and what it may cost."""

from __future__ import annotations

from typing import Any

import pytest

from failoverd.cli.cluster import Cluster
from failoverd.cli.exits import Exit
from failoverd.core.memory import Loss
from failoverd.core.model import CommandKind
from tests.test_cli_cluster import Bench, bench, ending, remembered

__all__ = ["bench"]


async def test_a_forced_failover_names_the_loss_and_does_nothing_unasked(bench: Bench) -> None:
    bench.remember(remembered())
    said = await bench.run("failover", "sonarr")
    assert said.status == Exit.REFUSED
    assert said.err == "failoverd: nobody is there to ask: confirm with --yes\n"
    assert "config: data age unknown; both copies were last proven equal 1 min " in said.out
    assert "media: data age unknown; the copies were never proven equal" in said.out
    assert bench.commands() == ()


async def test_a_forced_failover_from_a_node_that_is_up_names_the_move_that_loses_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.remember(remembered())
    verdicts = {"k3s-w1": "UP"}

    async def live(_: Cluster) -> dict[str, Any]:
        return {"nodes": {name: {"verdict": verdict} for name, verdict in verdicts.items()}, "apps": {}}

    monkeypatch.setattr(Cluster, "live", live)
    said = await bench.run("failover", "sonarr")
    assert (
        said.out.splitlines()[0]
        == "k3s-w1 is UP: `failoverd switchover sonarr` moves it from there and loses nothing."
    )
    verdicts["k3s-w1"] = "UNKNOWN"
    assert "switchover" not in (await bench.run("failover", "sonarr")).out


async def test_a_forced_failover_with_yes_reports_what_may_be_lost(bench: Bench) -> None:
    bench.remember(remembered())
    losses = (Loss(volume="config", age_seconds=93.0), Loss(volume="media", age_seconds=None))
    async with bench.leader(ending("done", losses)):
        said = await bench.run("failover", "media/sonarr", "--yes")
    assert (said.status, said.err) == (Exit.OK, "")
    assert (
        "lost so far: config: data age 93 s, media: data age unknown; the lost side was not proven dead" in said.out
    )
    assert bench.commands()[0].kind is CommandKind.FAILOVER
