"""A daemon killed at any moment of a move: the next one finishes or abandons it, and no promise is broken."""

import re

import pytest

from failoverd.simulator.scenario import parse, play

STORIES = {
    "failover": "world stable_for=1h\nrun 40s\nfault power_off k3s-w1\nrun 6s\n",
    "switchover": "world failback=manual\nrun 60s\ncommand switchover media/sonarr backup\n",
    "helm release": "world helm=yes failback=manual\nrun 60s\ncommand switchover media/sonarr backup\n",
    "silence": "world require=silence fence=none stable_for=1h\nrun 40s\nfault cut k3s-w1\nrun 50s\n",
}
"""Each up to shortly before the move begins."""


def told(story, killed_ms):
    text = f"# killed\n{STORIES[story]}run {killed_ms}ms\nrestart daemon\nrun 3m\ntruth\n----\n"
    return play(parse(text)).text()


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("killed_ms", range(100, 12_000, 700))
def test_killed_at_any_moment_it_still_ends_well(story, killed_ms):
    seen = told(story, killed_ms)
    assert "VIOLATION" not in seen
    assert "live at backup" in seen, seen
    assert re.findall(r"^\S+ phase media/sonarr .*", seen, re.M)[-1].endswith("watching"), seen


def test_a_daemon_killed_again_and_again_gets_there():
    again = "run 1700ms\nrestart daemon\n" * 12
    seen = play(parse(f"# again\n{STORIES['switchover']}{again}run 3m\ntruth\n----\n")).text()
    assert "VIOLATION" not in seen
    assert "live at backup" in seen, seen
    assert "lost 0 s" in seen
