"""`failoverd ack` against a small API server and a small leader."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from failoverd.cli.exits import Exit
from failoverd.core.memory import Alarm, Memory
from failoverd.core.model import CommandKind
from tests.test_cli_cluster import Bench, bench, remembered
from tests.test_cli_failover import KEY, clean

__all__ = ["bench"]


def alarmed(**changes: Any) -> Memory:
    seen = Alarm(
        why="mass deletion", volume="config", amount=750, text="config at primary: 750 of 1000 files were deleted",
        seen_at=datetime(2026, 1, 5, 12, 0, tzinfo=UTC),
    )  # fmt: skip
    known = clean()
    return replace(known, apps={KEY: replace(known.apps[KEY], alarms=(replace(seen, **changes),))})


async def test_ack_shows_what_it_acknowledges_and_names_it_to_the_leader(bench: Bench) -> None:
    bench.remember(alarmed())
    async with bench.leader(lambda *_: alarmed(acknowledged_at=datetime.now(UTC))):
        said = await bench.run("ack", "sonarr", "--why", "I cleaned up")
    assert (said.status, said.err) == (Exit.OK, "")
    assert said.out.splitlines()[0] == (
        "  config at primary: 750 of 1000 files were deleted (first seen 2026-01-05 12:00 UTC)"
    )
    assert said.out.splitlines()[-1] == "ack: done"
    (command,) = bench.commands()
    assert (command.kind, command.app, command.why) == (CommandKind.ACK, "media/sonarr", "I cleaned up")
    assert command.seen == ("mass deletion|config||750",)


async def test_an_ack_that_is_refused_says_why(bench: Bench) -> None:
    bench.remember(alarmed())
    why = "what is to be acknowledged has changed since it was shown: look again"
    async with bench.leader(lambda command, _: replace(alarmed(amount=900), refusals={command.id: why})):
        said = await bench.run("ack", "sonarr")
    assert (said.status, said.err) == (Exit.REFUSED, f"failoverd: ack of media/sonarr was refused: {why}\n")


async def test_a_forced_failover_names_the_alarms_it_sets_aside(bench: Bench) -> None:
    bench.remember(alarmed())
    said = await bench.run("failover", "sonarr")
    assert said.status == Exit.REFUSED
    lines = said.out.splitlines()
    at = lines.index("It sets aside what nobody has acknowledged:")
    assert lines[at + 1] == ("  config at primary: 750 of 1000 files were deleted (first seen 2026-01-05 12:00 UTC)")
    bench.remember(alarmed(acknowledged_at=datetime.now(UTC)))
    assert "acknowledged" not in (await bench.run("failover", "sonarr")).out


async def test_where_no_alarm_waits_ack_sends_nothing(bench: Bench) -> None:
    for memory in (remembered(), alarmed(acknowledged_at=datetime.now(UTC))):
        bench.remember(memory)
        said = await bench.run("ack", "sonarr")
        assert (said.status, said.out) == (Exit.OK, "media/sonarr has no alarm to acknowledge\n")
    assert bench.commands() == ()
