"""`failoverd simulate` answers first and shows how it came to that afterwards."""

import pytest

from failoverd.simulator import simulate
from failoverd.simulator.simulate import main
from tests.simulator.test_sweep import CONFIG


def test_the_summary_comes_before_what_happened(capsys, monkeypatch):
    monkeypatch.delenv("FAILOVERD_CONFIG", raising=False)
    assert main(["--apart", "5m"]) == 0
    summary, _, details = capsys.readouterr().out.partition("\n\n")
    lines = summary.splitlines()
    assert lines[0] == "1 move"
    assert lines[1].startswith("  failover of media/sonarr from primary to backup: done; RTO ")
    assert "media/sonarr is at backup; data: " in summary
    assert "media/sonarr was down for 1" in summary
    assert not [line for line in lines if line.startswith((">>>", "00:"))]
    heading, _, transcript = details.partition("\n")
    assert heading == "What happened, line by line (minutes and seconds):"
    assert transcript.startswith("00:00.0 verdict ")
    assert ">>> fault power_off k3s-w1\n" in transcript
    assert ">>> truth\n" in transcript


def test_what_led_to_a_move_was_a_wait_and_no_refusal(capsys, monkeypatch):
    monkeypatch.delenv("FAILOVERD_CONFIG", raising=False)
    assert main(["--apart", "5m", "--summary"]) == 0
    lines = capsys.readouterr().out.splitlines()
    wait = lines.index("1 wait before a move:")
    assert lines[wait + 1].startswith("  media/sonarr is not moved: k3s-w1 is not proven dead: guest stopped for ")
    assert lines[wait + 2 :] == ["0 refusals"]


def test_without_a_fence_it_is_said_how_long_the_app_was_down_and_what_would_help(capsys, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text(CONFIG.replace('require = "silence"', ""))
    assert main(["--config", str(config), "--apart", "15m", "--summary"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "0 moves"
    assert lines[2].startswith("media/sonarr was down for 10 min ")
    assert lines[4:] == [
        "1 refusal:",
        "  media/sonarr is not moved: k3s-w1 is not proven dead: no fence is configured for it",
        '  what would let media/sonarr move: add a [[fencing]] for k3s-w1, or set require = "silence",'
        " at the price that docs/fencing.md names",
    ]


def test_a_way_home_that_the_budget_keeps_closed_is_a_refusal(capsys, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    twice = ["--fault", "primary loses power", "--fault", "primary loses power"]
    assert main(["--config", str(config), "--apart", "60m", *twice]) == 0
    summary = capsys.readouterr().out.partition("\n\n")[0].splitlines()
    assert summary.count("  media/sonarr: no failback: 3 moves in 24 h, 3 allowed, one failover is kept back") == 1


def test_a_fault_that_turns_out_impossible_is_one_line_below_what_happened_until_then(capsys, monkeypatch):
    monkeypatch.delenv("FAILOVERD_CONFIG", raising=False)
    monkeypatch.setattr(simulate, "check", lambda spec, lines: None)
    assert main(["--fault", "fault bogus"]) == 2
    told = capsys.readouterr()
    assert told.out.startswith("\nWhat happened, line by line")
    assert told.out.endswith(">>> fault bogus\n")
    assert told.err.startswith("failoverd simulate: no fault is called bogus")
    assert told.err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("fault bogus", "no fault is called bogus; `failoverd simulate --list` has their names"),
        ("fault powr_off", 'no fault is called powr_off; did you mean "power_off"? `failoverd simulate --list` has'),
        ("fault stall_api", "'fault stall_api': write fault stall_api TAKES"),
        ("fault reboot k3s-w1 25s now", "'fault reboot k3s-w1 25s now': write fault reboot NODE [TAKES]"),
        ("fault stall_api soon", "'soon' is not a duration like 28s or 1m30s"),
        ("fault lose_answers x", "'fault lose_answers x' cannot be understood: write fault lose_answers [COUNT]"),
        ("fault cordon k3s-w9", "'fault cordon k3s-w9': no node is called k3s-w9; there are k3s-"),
        ("fault wipe_disk media/x data backup", "no app is called media/x; there are media/sonarr"),
        ("fault wipe_disk media/sonarr data hell", "no site is called hell; there are primary, backup"),
        ("fault guard_silent media/sonarr data backup", "no guard is configured in this world"),
        ("command switchover media/sonarr", "'command switchover media/sonarr': write command switchover APP SITE"),
        ("command move media/sonarr backup", "write command KIND APP [SITE]; kinds are switchover, "),
        ("command pause media/x", "no app is called media/x"),
        ("restart daemon later", "write restart daemon [now|save|act|receipt [INSTANCE]]; instances are failoverd-0"),
    ],
)
def test_a_wrong_command_is_found_before_anything_is_played(capsys, monkeypatch, command, said):
    monkeypatch.delenv("FAILOVERD_CONFIG", raising=False)
    assert main(["--fault", command]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert said in told.err
    assert told.err.count("\n") == 1


def test_a_wrong_command_of_a_file_is_found_before_it_is_played(capsys, tmp_path):
    story = tmp_path / "story.txt"
    story.write_text("world\nrun 60s\n----\n\nfault cut\nrun\n----\n")
    assert main([str(story)]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", f"failoverd simulate: {story}: 'fault cut': write fault cut NODE\n")


def test_a_fault_that_needs_a_fence_names_the_nodes_that_have_none(capsys, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    assert main(["--config", str(config), "--fault", "hypervisor is gone and primary loses power"]) == 2
    assert "there is no [[fencing]] for k3s-w1 or k3s-w2\n" in capsys.readouterr().err


def test_faults_that_have_a_name_are_listed(capsys):
    assert main(["--list"]) == 0
    said = capsys.readouterr().out
    assert "primary loses power\n" in said
    assert "fault reboot NODE [TAKES]\n" in said
    assert "fault room NODE [GIVEN...]\n" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seed", "x"], "argument --seed: invalid int value: 'x'; see failoverd simulate --help"),
        (["--scenario", "nowhere.txt"], "nowhere.txt: No such file or directory"),
        (["--trouble", "cut=52"], "--trouble belongs to --sweep; see failoverd simulate --help"),
        (["--points", "2", "--years", "2"], "--points and --years belong to --sweep; see failoverd simulate --help"),
        (["--sweep", "silence_after=60s..90s", "--fault", "x"],
         "--fault belongs to faults of your own choice, not to --sweep; see failoverd simulate --help"),
        (["story.txt", "--seed", "3"],
         "--seed belongs to faults of your own choice, not to scenario files; see failoverd simulate --help"),
    ],
)  # fmt: skip
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
