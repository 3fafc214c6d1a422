"""`failoverd replay`: the same rules decide the same, other rules say where they would not."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from asyncio.subprocess import PIPE
from dataclasses import replace
from pathlib import Path

import pytest

from failoverd.cli import main
from failoverd.cli.exits import Exit
from failoverd.core.model import Folder
from failoverd.core.rules import Mode, Require
from failoverd.recording import Recording
from failoverd.simulator.daemon_process import start
from failoverd.simulator.serve import Serve
from failoverd.simulator.world_spec import WorldSpec, simple_app, simple_rules
from tests.recorded import folder, record

ROOT = Path(__file__).parent.parent
OTHER = """\
mode = "{mode}"
[failover]
require = "silence"
silence_after = "{silence_after}"
[[pairs]]
name = "main"
[pairs.primary]
node = "k3s-w1"
node_selector = {{ role = "primary" }}
domain = "host-k3s-w1"
[pairs.backup]
node = "k3s-w2"
node_selector = {{ role = "backup" }}
domain = "host-k3s-w2"
[[witness]]
node = "k3s-cp1"
domain = "host-k3s-cp1"
[[apps]]
name = "sonarr"
namespace = "media"
"""
SILENT = ("60", "power_off k3s-w1", "90", "power_on k3s-w1", "60")


def other(tmp_path: Path, mode: str = "active", *, silence_after: str = "60s", extra: str = "") -> str:
    path = tmp_path / "other.toml"
    path.write_text(OTHER.format(mode=mode, silence_after=silence_after) + extra)
    return str(path)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    made = tmp_path / "recordings"
    made.mkdir()
    return made


def test_a_recorded_power_cut_is_decided_again_exactly_so(
    recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = record(folder(recordings, largest=100_000))
    assert len(list(recordings.iterdir())) > 1
    assert main(["replay", str(recordings)]) == Exit.OK
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.splitlines()[-1].startswith(f"{len(seen)} ticks from 2026-01-05 09:00:00 to ")
    assert said.out.endswith("UTC: every decision is the recorded one\n")
    assert "media/sonarr: stopping; wants a failover, nothing objects" in said.out
    assert "objects: k3s-w1 is not proven dead: guest stopped for" in said.out
    assert "recorded: 2026-01-05 09:01:10 failover of media/sonarr from primary to backup: k3s-w1 is proven dead" in (
        said.out
    )


def test_a_decision_that_is_not_the_recorded_one_is_named_with_place_and_field(
    recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(folder(recordings))
    (path,) = recordings.iterdir()
    lines = path.read_text().splitlines(keepends=True)
    number, line = next((at, one) for at, one in enumerate(lines, 1) if '"decision","wake_at"' in one and at > 20)
    tick = json.loads(line)
    for change in tick["out"]:
        if change[0] == ["decision", "wake_at"]:
            change[1] += 1_000_000
    lines[number - 1] = json.dumps(tick) + "\n"
    path.write_text("".join(lines))
    assert main(["replay", str(path)]) == Exit.REFUSED
    out = capsys.readouterr().out
    assert f" DIFFERS {path}:{number}: wake_at: recorded " in out
    assert f"decisions differ from the recorded ones, the first at {path}:{number}\n" in out


def test_other_rules_would_have_moved_where_the_recorded_ones_did_not(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(folder(recordings), simple_rules(fenced=()), SILENT)  # proof is required, and no fence could give it
    config = other(tmp_path, silence_after="45s")
    assert main(["replay", str(recordings), "--config", config]) == Exit.OK
    out = capsys.readouterr().out
    assert "#   apps media/sonarr require: proof -> silence\n" in out
    assert "#   timings.silence_after: 60 s -> 45 s\n" in out
    assert "media/sonarr: recorded: watching; wants a failover; objects: k3s-w1 is not proven dead" in out
    assert "              here: stopping; wants a failover, nothing objects" in out
    moves = [line for line in out.splitlines() if line.startswith(("here:", "recorded:"))]
    assert len(moves) == 1
    assert moves[0].startswith("here:     2026-01-05 09:01:3")
    assert "failover of media/sonarr from primary to backup: k3s-w1 is silent" in moves[0]
    assert "; wanted for " in moves[0]


def test_other_rules_that_wait_longer_would_not_have_moved(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = replace(simple_app(), require=Require.SILENCE)
    record(folder(recordings), simple_rules((app,), fenced=()), SILENT)
    assert main(["replay", str(recordings), "--config", other(tmp_path, silence_after="5m"), "-o", "json"]) == Exit.OK
    found = json.loads(capsys.readouterr().out)
    assert [(move["where"], move["kind"], move["app"]) for move in found["moves"]] == [
        ("recorded", "failover", "media/sonarr")
    ]
    assert found["differing"] > 0
    assert found["first_differing"].startswith(str(recordings))
    texts = [line["text"] for line in found["lines"] if line["app"] == "media/sonarr"]
    assert any(text.startswith("media/sonarr: recorded: stopping") for text in texts)
    assert not any("here: stopping" in text for text in texts[:2])


def test_a_recording_of_mode_observe_says_what_would_have_moved(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(folder(recordings), simple_rules(mode=Mode.OBSERVE, observe_scan=True), SILENT)
    assert main(["replay", str(recordings)]) == Exit.OK
    out = capsys.readouterr().out
    assert "mode is observe: nothing is moved" in out
    assert main(["replay", str(recordings), "--config", other(tmp_path, "observe")]) == Exit.OK
    assert "what is concluded differs in " in capsys.readouterr().out


def test_the_same_rules_written_as_a_configuration_conclude_the_same(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = replace(simple_app(), require=Require.SILENCE)
    record(folder(recordings), simple_rules((app,), fenced=()), SILENT)
    assert main(["replay", str(recordings), "--config", other(tmp_path)]) == Exit.OK
    out = capsys.readouterr().out
    assert out.splitlines()[-1].endswith("what is concluded differs in 0 of them")
    moves = [line.split(maxsplit=1) for line in out.splitlines() if line.startswith(("here:", "recorded:"))]
    assert {where for where, _ in moves} == {"here:", "recorded:"}
    assert len({text for _, text in moves}) == len(moves) / 2


def test_times_and_apps_narrow_what_is_told(recordings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(folder(recordings), simple_rules((simple_app("sonarr"), simple_app("radarr"))))
    arguments = ["replay", str(recordings), "--from", "2026-01-05T09:01", "--to", "2026-01-05T09:01:30"]
    assert main([*arguments, "--app", "radarr"]) == Exit.OK
    out = capsys.readouterr().out
    assert "media/radarr" in out
    assert "media/sonarr" not in out
    times = [line[:19] for line in out.splitlines() if line.startswith("2026")]
    assert "2026-01-05 09:01:00" <= min(times) <= max(times) <= "2026-01-05 09:01:30"
    assert main([*arguments, "--app", "lidarr"]) == Exit.USAGE
    assert 'no app is called "lidarr"' in capsys.readouterr().err
    assert main(["replay", str(recordings), "--from", "2027-01-01"]) == Exit.USAGE
    assert "nothing to replay" in capsys.readouterr().err
    assert main(["replay", str(recordings), "--from", "noon"]) == Exit.USAGE
    assert '"noon" is no time; write it as 2026-01-31T22:15' in capsys.readouterr().err


def test_a_file_that_is_damaged_or_cut_off_is_said_in_one_line(
    recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(folder(recordings), story=("20",))
    (path,) = recordings.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert main(["replay", str(path)]) == Exit.OK
    count = whole.count(b"\n")
    assert capsys.readouterr().err == (
        f"note: {path}:{count}: the last line is cut off (killed, or still writing): left out\n"
    )
    path.write_bytes(whole.replace(b'{"n":4', b'{"n"4', 1))
    assert main(["replay", str(path)]) == Exit.USAGE
    assert capsys.readouterr().err == f"failoverd: {path}:5: not JSON: the file is damaged or no recording\n"
    path.unlink()
    assert main(["replay", str(recordings)]) == Exit.USAGE
    assert capsys.readouterr().err == f"failoverd: {recordings}: holds no recording (*.jsonl, *.jsonl.gz)\n"


def written(path: Path) -> int:
    return sum(one.read_bytes().count(b"\n") for one in path.iterdir())


async def test_the_daemon_records_what_its_adapters_read(tmp_path: Path, recordings: Path) -> None:
    async with Serve(WorldSpec(rules=simple_rules(), seed=1), tmp_path) as served:
        extra = f'[kubernetes]\nkubeconfig = "{served.kubeconfig}"\n[syncthing]\nvia = "proxy"\n[web]\nlisten = ""\n'
        config = other(tmp_path, "observe", extra=f'{extra}[record]\nfolder = "{recordings}"\n')
        process = await start("run", "--config", config, output=PIPE)
        try:
            async with asyncio.timeout(40):
                while written(recordings) < 8:  # noqa: ASYNC110 - the writer is another process
                    await asyncio.sleep(0.2)
        finally:
            process.send_signal(signal.SIGTERM)
            output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    ticks = list(Recording((recordings,)).ticks())
    assert len(ticks) >= 7
    assert any(isinstance(one, Folder) for tick in ticks for one in tick.seen.snapshot.folders.values())
    assert main(["replay", str(recordings)]) == Exit.OK


CHANGED_SINCE = (
    # a mover that does not answer is named once
    r'/ waiting: recorded "(data: Syncthing at \w+: )Syncthing of media/sonarr data \w+: (.*)", here "\1\2"$',
    # an outdated copy knows by which move it lost, also where it is seen to be one only at the flip
    r"/ copies / primary / epoch: recorded 0, here 1$",
)
"""How decisions differ from those of before there were Applications, and no other way."""


def test_a_recording_of_before_there_were_applications_is_decided_again_exactly_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["replay", str(ROOT / "tests/data/recordings/before_appliers.jsonl.gz")])
    said = capsys.readouterr()
    assert said.err == ""
    differing = [line for line in said.out.splitlines() if " DIFFERS " in line]
    assert [line for line in differing if not any(re.search(one, line) for one in CHANGED_SINCE)] == []
    assert f"UTC: {len(differing)} decisions differ" in said.out
    assert "patch applier media/sonarr: failover to backup" in said.out
    assert "HelmRelease media/sonarr to be suspended" in said.out
