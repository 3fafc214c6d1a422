"""What is past, told by the command line: moves, holds, and why a command was refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from failoverd.cli.exits import Exit
from failoverd.core import names
from failoverd.core.memory import Memory
from failoverd.core.model import Command
from tests.test_cli_cluster import MAPS, Bench, bench, remembered

__all__ = ["bench"]  # a fixture


async def test_history_shows_moves_with_what_they_took_and_lost(bench: Bench) -> None:
    entries = [
        {"id": "1", "app": "media/sonarr", "kind": "failover", "source": "primary", "target": "backup",
         "began_at": "2026-01-02T03:04:05+00:00", "outcome": "done", "rto": {"detect and decide": 13.0, "move": 5.4},
         "marks": {"ready": "2026-01-02T03:04:23+00:00", "stood": "2026-01-02T03:06:23+00:00"},
         "reason": "k3s-w1 is stopped",
         "losses": [{"volume": "config", "age_seconds": 7.0}, {"volume": "media", "age_seconds": None}]},
        {"id": "2", "app": "media/other", "kind": "switchover", "source": "primary", "target": "backup",
         "began_at": "2026-01-02T04:04:05+00:00", "outcome": "aborted: not equal", "reason": "asked for"},
    ]  # fmt: skip
    text = "\n".join(json.dumps(entry) for entry in entries)
    bench.server.put(f"{MAPS}/{names.HISTORY}", {"data": {"history.jsonl": text}})
    said = await bench.run("history", "sonarr")
    assert said.status == Exit.OK
    first, second = said.out.splitlines()[1:]
    assert first.split("  ")[0] == "2026-01-02 03:04:05"
    assert "failover primary -> backup" in first
    assert "  done; stood  " in first
    assert "18 s" in first
    assert "config: 7.0 s" in first
    assert second.strip() == "media: unknown"
    assert json.loads((await bench.run("history", "-o", "json", "-n", "1")).out) == entries[1:]


async def test_history_shows_holds_with_how_long_and_why(bench: Bench) -> None:
    hold = {"id": "hold media/sonarr x", "app": "media/sonarr", "kind": "hold", "wanted": "failover",
            "at": "2026-01-02T03:04:05+00:00", "until": "2026-01-02T03:09:05+00:00", "outcome": "over",
            "objections": [{"why": "data too old", "text": "data is 340 s old"},
                           {"why": "x", "text": "and more"}]}  # fmt: skip
    still = {**hold, "id": "hold 2", "until": None, "outcome": "held"}
    text = "\n".join(json.dumps(entry) for entry in (hold, still))
    bench.server.put(f"{MAPS}/{names.HISTORY}", {"data": {"history.jsonl": text}})
    _, over, more, held, _ = (await bench.run("history", "sonarr")).out.splitlines()
    assert over.split("  ")[0] == "2026-01-02 03:04:05"
    for word in ("hold of a failover", "over", "5 min", "data is 340 s old"):
        assert word in over
    assert more.strip() == "and more"
    assert "held" in held


async def test_history_shows_what_a_forced_move_set_aside(bench: Bench) -> None:
    move = {"id": "1", "app": "media/sonarr", "kind": "failover", "source": "primary", "target": "backup",
            "began_at": "2026-01-02T03:04:05+00:00", "outcome": "done", "forced": True, "reason": "asked for by anna",
            "evidence": ["guest running", "set aside: config: 750 files were deleted"]}  # fmt: skip
    bench.server.put(f"{MAPS}/{names.HISTORY}", {"data": {"history.jsonl": json.dumps(move)}})
    _, first, second = (await bench.run("history", "sonarr")).out.splitlines()
    assert "forced failover primary -> backup" in first
    assert first.endswith("  1     asked for by anna")  # its id, which `restore --set` takes
    assert second.strip() == "set aside: config: 750 files were deleted"


async def test_history_shows_how_many_transactions_the_lost_side_had_alone(bench: Bench) -> None:
    lost = "data at primary: lost there and kept: of app.db at most 38 transactions"
    move = {"id": "1", "app": "media/sonarr", "kind": "failover", "source": "primary", "target": "backup",
            "began_at": "2026-01-02T03:04:05+00:00", "outcome": "done", "reason": "dead",
            "losses": [{"volume": "data", "age_seconds": 4.0}], "evidence": ["guest stopped", lost]}  # fmt: skip
    bench.server.put(f"{MAPS}/{names.HISTORY}", {"data": {"history.jsonl": json.dumps(move)}})
    _, first, second = (await bench.run("history", "sonarr")).out.splitlines()
    assert "data: 4.0 s" in first
    assert second.strip() == lost


async def test_status_says_a_pause_with_its_end_and_why_and_everything_once(bench: Bench) -> None:
    page = json.loads((Path(__file__).parent / "adapters" / "status.json").read_text())
    app = page["apps"]["media/sonarr"]
    app["paused"] = {"by": "ada", "why": "disk swap", "since": "2026-01-05T11:00:00+00:00",
                     "until": "2026-01-05T12:00:00+00:00"}  # fmt: skip
    paused = "paused by ada until 2026-01-05 12:00 UTC: disk swap"
    twice = [{"why": "standing not clean", "text": "config: said by two"}]
    app["objections"] = [{"why": "paused", "text": paused}]
    app["alarms"], app["standby"]["missing"] = twice, twice
    bench.server.objects["/status"] = page
    said = (await bench.run("status", "--url", f"http://127.0.0.1:{bench.server.port}")).out
    assert said.count(paused) == 1
    assert said.count("config: said by two") == 1
    app["paused"]["until"] = None
    said = (await bench.run("why", "sonarr", "--url", f"http://127.0.0.1:{bench.server.port}")).out
    assert "  paused by ada: disk swap\n" in said


async def test_an_empty_history_is_said_in_words(bench: Bench) -> None:
    assert (await bench.run("history")).out == "nothing has moved or been held yet\n"


async def test_a_refused_command_says_why(bench: Bench) -> None:
    bench.remember(remembered())

    def refuse(command: Command, memory: Memory) -> Memory:
        return replace(memory, refusals={command.id: "data is 340 s old, the limit is 300 s"})

    async with bench.leader(refuse):
        said = await bench.run("switchover", "sonarr")
    assert said.status == Exit.REFUSED
    why = "data is 340 s old, the limit is 300 s"
    assert said.err == f"failoverd: switchover of media/sonarr was refused: {why}\n"
