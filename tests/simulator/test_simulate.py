"""`failoverd simulate` answers first and shows how it came to that afterwards."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from failoverd.simulator.simulate import main
from tests.simulator.test_sweep import CONFIG

ROOT = Path(__file__).parents[2]


def test_the_summary_comes_before_what_happened(capsys, monkeypatch):
    monkeypatch.delenv("FAILOVERD_CONFIG", raising=False)
    assert main(["--apart", "5m"]) == 0
    summary, _, details = capsys.readouterr().out.partition("\n\n")
    lines = summary.splitlines()
    assert lines[0] == "1 move"
    assert lines[1].startswith("  failover of media/sonarr from primary to backup: done; RTO ")
    assert "media/sonarr is at backup; data: " in summary
    assert "1 refusal:" in lines
    assert not [line for line in lines if line.startswith((">>>", "0"))]
    assert details.startswith("00:00.0 verdict ")
    assert ">>> fault power_off k3s-w1\n" in details
    assert ">>> truth\n" in details


def test_a_way_home_that_the_budget_keeps_closed_is_a_refusal(capsys, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    twice = ["--fault", "primary loses power", "--fault", "primary loses power"]
    assert main(["--config", str(config), "--apart", "60m", *twice]) == 0
    summary = capsys.readouterr().out.partition("\n\n")[0].splitlines()
    assert summary.count("  media/sonarr: no failback: 3 moves in 24 h, 3 allowed, one failover is kept back") == 1


def test_a_fault_that_cannot_be_played_is_one_line_below_what_happened_until_then():
    program = subprocess.run(
        [sys.executable, "-m", "failoverd", "simulate", "--fault", "fault bogus"],
        env={name: value for name, value in os.environ.items() if not name.startswith("FAILOVERD")},
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert program.returncode == 2
    assert program.stdout.startswith("00:00.0 verdict ")
    assert program.stdout.endswith(">>> fault bogus\n")
    assert program.stderr.startswith("failoverd simulate: no fault is called bogus")
    assert program.stderr.count("\n") == 1


def test_faults_that_have_a_name_are_listed(capsys):
    assert main(["--list"]) == 0
    assert "primary loses power\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seed", "x"], "argument --seed: invalid int value: 'x'; see failoverd simulate --help"),
        (["--scenario", "nowhere.txt"], "nowhere.txt: No such file or directory"),
        (["--trouble", "cut=52"], "--trouble and --plot belong to --sweep; see failoverd simulate --help"),
    ],
)
def test_a_wrong_command_line_is_one_line(capsys, arguments, said):
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main(arguments))
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"failoverd simulate: {said}\n"


def test_of_several_problems_each_has_a_line_that_says_who_speaks(capsys, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text("falover = 1\n[web]\nlisten = 3\n")
    assert main(["--config", str(config)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 1
    assert all(line.startswith("failoverd simulate: ") for line in lines)
