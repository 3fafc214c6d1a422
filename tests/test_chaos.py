"""Seeded bad days: no promise is broken; and where the core is broken on purpose, chaos says so."""

import os
import signal
import time

import pytest

from failoverd.core import hysteresis, moves, patch, policy
from failoverd.simulator import chaos_main
from failoverd.simulator.chaos import judge, shrink
from failoverd.simulator.chaos_schedule import Schedule, draw
from failoverd.simulator.scenario import parse, play

SECONDS = 40
"""Real time given to schedules here; `make chaos` plays fresh ones for as long as you like."""
SEEDS = range(260)
"""Played in order as time allows: the same on every machine, so that a failure is one of the change at hand."""
KNOWN = range(6)
"""Always played, however slow the machine."""

CUT = (100_000, "fault power_off k3s-w1")
AWAY = (130_000, "fault power_on k3s-w1")
WORLD = "world seed=7 stable_for=60s cooldown=60s"


def day(*events, world=WORLD):
    return Schedule(0, world, events, 200_000, 200_000 + 900_000)


@pytest.mark.timeout(SECONDS + 240)
def test_no_promise_is_broken_on_a_bad_day():
    began, played = time.monotonic(), 0
    for seed in SEEDS:
        verdict = judge(draw(seed))
        assert not verdict.accused, chaos_main.explain(verdict)
        played += 1
        if played >= len(KNOWN) and time.monotonic() - began > SECONDS:
            break
    print(f"chaos: seeds 0 to {played - 1} in {time.monotonic() - began:.0f} s")


def test_the_same_seed_is_the_same_day():
    assert draw(5) == draw(5)
    assert judge(draw(5)) == judge(draw(5))
    assert draw(5) != draw(6)


def test_a_day_is_a_scenario_that_can_be_played():
    text = draw(3).text("a day")
    assert text.startswith("# a day\nworld ")
    assert "fault mend" in play(parse(text)).text()


def test_a_plain_power_cut_breaks_nothing_and_moves_the_app_and_brings_it_home():
    verdict = judge(day(CUT, AWAY))
    assert verdict.accused == ()
    assert verdict.moves == 2


def test_a_flip_that_is_left_out_is_noticed(monkeypatch):
    monkeypatch.setattr(moves, "_flip", lambda case, move, volume: (None, ""))
    monkeypatch.setattr(moves, "_unflipped_outdated", lambda case, was, move: was)
    verdict = judge(day((100_000, "command switchover media/sonarr backup"), world=f"{WORLD} failback=manual"))
    assert "I7" in verdict.promises


def test_silence_taken_for_death_is_two_writers_and_chaos_says_so(monkeypatch):
    def gullible(timings, remembered, reading, seen, now):
        return hysteresis.silent_for(seen, now) > hysteresis.MISSED

    monkeypatch.setattr(hysteresis, "_stopped_long_enough", gullible)
    monkeypatch.setattr(hysteresis, "_proof_doubts", lambda *_: [])
    verdict = judge(day((100_000, "fault cut k3s-w1"), (150_000, "fault heal k3s-w1")))
    assert verdict.promises & {"I2", "I3"}


def test_a_workload_not_restored_is_seen_at_home(monkeypatch):
    monkeypatch.setattr(patch, "is_home", lambda app, undo, site: False)
    assert "I8" in judge(day(CUT, AWAY)).promises


HELM = f"{WORLD} helm=yes failback=manual"
THERE, COMMIT = (100_000, "command switchover media/sonarr backup"), (130_000, "fault commit media/sonarr")


def test_an_upgrade_of_a_release_that_nobody_suspended_is_seen(monkeypatch):
    monkeypatch.setattr("failoverd.core.gitops.is_suspended", lambda workload: True)
    assert "I1" in judge(day(THERE, COMMIT, world=HELM)).promises


def test_a_release_that_stays_suspended_at_home_is_seen(monkeypatch):
    back = (160_000, "command failback media/sonarr")
    assert judge(day(THERE, COMMIT, back, world=HELM)).accused == ()
    monkeypatch.setattr("failoverd.core.gitops.resume", lambda case: ())
    assert "I8" in judge(day(THERE, COMMIT, back, world=HELM)).promises


def test_a_budget_not_kept_is_seen(monkeypatch):
    monkeypatch.setattr(policy, "GUARDS", tuple(guard for guard in policy.GUARDS if guard is not policy.motion))
    verdict = judge(day(CUT, AWAY, world=f"{WORLD} max_moves=1"))
    assert "I6" in verdict.promises


def test_a_dead_node_that_nobody_leaves_is_seen(monkeypatch):
    monkeypatch.setattr("failoverd.core.rest.wish_of", lambda case: None)
    verdict = judge(day(CUT, (400_000, "fault power_on k3s-w1")))
    assert "I9" in verdict.promises


def test_a_violation_is_made_small(monkeypatch):
    monkeypatch.setattr(patch, "is_home", lambda app, undo, site: False)
    noise = [(at, "fault lose_answers 1") for at in range(20_000, 90_000, 10_000)]
    small = shrink(judge(day(*noise, CUT, AWAY)), tries=40)
    assert len(small.schedule.events) <= 2
    assert "I8" in small.promises


def test_seeds_played_once_are_not_played_again(tmp_path, capsys):
    state = tmp_path / "chaos.json"
    for _ in range(2):
        assert chaos_main.main(["--seeds", "1", "--jobs", "1", "--state", str(state)]) == 0
    tally = chaos_main.load(state)
    assert (tally.next_seed, tally.played, tally.failed) == (2, 2, [])
    assert "2 schedules" in capsys.readouterr().out


def test_a_run_that_is_stopped_goes_on_after_the_last_day_it_counted(tmp_path, monkeypatch):
    state, save = tmp_path / "chaos.json", chaos_main.save

    def saved(path, tally):
        save(path, tally)
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(chaos_main, "save", saved)
    monkeypatch.setattr(chaos_main, "SAVED_EVERY", 2)
    assert chaos_main.main(["--seeds", "9000", "--jobs", "1", "--state", str(state)]) == 130
    tally = chaos_main.load(state)
    assert tally.next_seed == tally.played == 2


def test_a_state_file_that_cannot_be_read_is_named(tmp_path, capsys):
    state = tmp_path / "chaos.json"
    state.write_text("{", encoding="utf-8")
    assert chaos_main.main(["--seeds", "1", "--state", str(state)]) == 2
    assert str(state) in capsys.readouterr().err
