"""`failoverd replay --sweep`: what the values of one duration would have made of a recording."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from failoverd.cli import main
from failoverd.cli.exits import Exit
from failoverd.core.rules import Mode, Require
from failoverd.simulator.world_spec import simple_app, simple_rules
from tests.recorded import folder, record
from tests.test_replay import other

AWAY_AND_OFF = (
    *("60", "cut k3s-w1", "75", "heal k3s-w1", "240"),
    *("power_off k3s-w1", "170", "power_on k3s-w1", "120"),
)
"""Silent for 82 s, and for 189 s: a lease of up to 10 s ago counts, and a boot takes its time."""


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a daemon that only observes has seen of them."""
    made = tmp_path_factory.mktemp("recordings")
    record(folder(made), rules=replace(simple_rules(), mode=Mode.OBSERVE), story=AWAY_AND_OFF)
    return made


def swept(config: str, *words: str, key: str = "silence_after=60s..180s") -> int:
    return main(["--config", config, "replay", "--sweep", key, "--points", "4", *words])


def points(
    capsys: pytest.CaptureFixture[str], config: str, *words: str, key: str = "silence_after=60s..180s"
) -> dict[str, Any]:
    assert swept(config, *words, "-o", "json", key=key) == Exit.OK
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_each_value_tells_after_how_long_a_silence_it_moves_and_when_the_node_was_back(
    observed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert swept(other(tmp_path), str(observed)) == Exit.OK
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out in (Path(__file__).parent.parent / "docs/replay.md").read_text()
    assert said.out.splitlines() == [
        "486 ticks from 2026-01-05 09:00:00 to 2026-01-05 09:11:05 UTC",
        "  k3s-w1 silent from 2026-01-05 09:00:54 for 82 s, then heard again",
        "  k3s-w1 silent from 2026-01-05 09:06:16 for 189 s, then heard again",
        "",
        "   value   failovers   silent for   longest   came back   soonest   at risk",
        "    60 s           2         60 s      60 s           2      22 s   unknown",
        "   100 s           1        100 s     100 s           1      89 s   unknown",
        "   140 s           1        140 s     140 s           1      49 s   unknown",
        "   180 s           1        180 s     180 s           1       9 s   unknown",
    ]


def test_what_lies_outside_the_time_asked_for_does_not_count(
    observed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = other(tmp_path)
    early = points(capsys, config, str(observed), "--to", "2026-01-05T09:05")
    assert [one["failovers"] for one in early["points"]] == [1, 0, 0, 0]
    late = points(capsys, config, str(observed), "--from", "2026-01-05T09:05")
    assert [one["failovers"] for one in late["points"]] == [1, 1, 1, 1]
    assert [one["seconds"] for one in late["silences"]] == [189.0]


def test_a_node_that_is_not_heard_again_does_not_come_back(
    observed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = points(capsys, other(tmp_path), str(observed), "--from", "2026-01-05T09:05", "--to", "2026-01-05T09:09")
    assert [(one["node"], one["over"]) for one in found["silences"]] == [("k3s-w1", False)]
    assert [(one["failovers"], one["came_back"], one["soonest"]) for one in found["points"]] == [
        *[(1, 0, None)] * 3,
        (0, 0, None),
    ]


def test_what_the_recorded_daemon_moved_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = tmp_path / "recordings"
    made.mkdir()
    record(folder(made))
    assert swept(other(tmp_path), str(made)) == Exit.OK
    said = capsys.readouterr()
    assert "recorded: 2026-01-05 09:01:10 failover of media/sonarr from primary to backup" in said.out
    assert said.err == "note: apps were moved when this was recorded: from then on no value finds them there\n"


LED = replace(simple_rules(), apps=(replace(simple_app(), require=Require.SILENCE),))
"""What the leader goes by: it moves after a silence of 60 s."""


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a follower in mode observe has seen beside a leader that acts."""
    made = tmp_path_factory.mktemp("followed")
    rules = replace(LED, mode=Mode.OBSERVE)
    record(folder(made, instance="failoverd-1"), rules=rules, story=("90", "cut k3s-w1", "150"), led_by=LED)
    return made


def test_what_another_instance_moved_is_said_by_the_recording_of_a_follower(
    followed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(followed)]) == Exit.OK
    said = capsys.readouterr().out
    assert "media/sonarr: starting" in said or "media/sonarr: flipping" in said
    assert said.count("recorded: ") == 1
    assert "failover of media/sonarr from primary to backup" in said.partition("recorded: ")[2]
    assert "no move was begun" not in said
    found = points(capsys, other(tmp_path), str(followed), key="silence_after=40s..100s")
    assert [one["text"].partition(":")[0] for one in found["moves"]] == [
        "failover of media/sonarr from primary to backup"
    ]


def test_what_a_follower_saw_counts_though_another_instance_led(
    followed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = points(capsys, other(tmp_path), str(followed), key="silence_after=40s..100s")
    rows = [(one["value"], one["failovers"]) for one in found["points"]]
    assert (rows[0], rows[-1]) == ((40.0, 1), (100.0, 0))  # the leader had moved it by then


def test_a_configuration_with_none_of_the_recorded_apps_is_refused(
    observed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = other(tmp_path)
    Path(config).write_text(Path(config).read_text().replace('"sonarr"', '"radarr"'))
    said = f"failoverd: {config} has none of the recorded apps, which are media/sonarr\n"
    for words in (["--sweep", "silence_after=60s..180s"], []):
        assert main(["--config", config, "replay", str(observed), *words]) == Exit.USAGE
        assert capsys.readouterr() == ("", said)


def test_a_silence_does_not_go_on_in_another_run(
    observed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = tmp_path / "second"
    second.mkdir()
    record(folder(second, instance="another"), story=("60", "power_off k3s-w1", "60"))
    found = points(capsys, other(tmp_path), str(second), str(observed))
    assert [(round(one["seconds"]), one["over"]) for one in found["silences"]] == [
        (66, False),
        (82, True),
        (189, True),
    ]


def test_the_plot_is_written(observed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot = tmp_path / "sweep.svg"
    assert swept(other(tmp_path), str(observed), "--plot", str(plot)) == Exit.OK
    assert capsys.readouterr().err == f"{plot} shows it\n"
    assert "failover.silence_after" in plot.read_text()


def test_only_the_app_that_was_asked_for_counts(
    observed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = points(capsys, other(tmp_path), str(observed), "--app", "sonarr")
    assert [one["failovers"] for one in found["points"]] == [2, 1, 1, 1]
    assert swept(other(tmp_path), str(observed), "--app", "radarr") == Exit.USAGE
    assert 'no app is called "radarr"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sweep", "silence=30s..180s"], "silence is no duration of the configuration"),
        (["--sweep", "silence_after"], "is not a sweep like silence_after=30s..180s"),
        (["--plot", "x.svg"], "--plot belongs to --sweep"),
        (["--points", "3"], "--points belongs to --sweep"),
        (["--sweep", "silence_after=10s..20s"], "no value is left to try: the configuration would refuse every one"),
        (["--sweep", "silence_after=60s..180s", "--from", "2027-01-01T00:00"], "nothing to replay"),
        (["--sweep", "silence_after=60s..180s", "--plot", "/nowhere/x.svg"], "/nowhere/x.svg cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said(
    observed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["--config", other(tmp_path), "replay", str(observed), *words]) in (Exit.USAGE, Exit.REFUSED)
    assert said in capsys.readouterr().err


def test_a_sweep_needs_a_configuration(observed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(observed), "--sweep", "silence_after=60s..180s"]) == Exit.USAGE
    assert "name it with --config" in capsys.readouterr().err
