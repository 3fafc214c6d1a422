"""Every file in `scenarios/` is played and compared with what it says; `pytest --rewrite` writes it anew."""

from pathlib import Path

import pytest

from failoverd.core.model import Why
from failoverd.simulator.scenario import differences, parse, play
from failoverd.simulator.scenario_world import BadScenario

FILES = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_is_seen_is_what_the_file_says_and_breaks_no_promise(path, request):
    written = path.read_text(encoding="utf-8")
    played = play(parse(written)).text()
    if request.config.getoption("--rewrite"):
        path.write_text(played, encoding="utf-8")
    else:
        assert played == written, differences(written.splitlines(), played.splitlines())
    assert "VIOLATION" not in played  # of the same play: it would be the same once more


def test_a_scenario_repeats_exactly():
    scenario = parse(FILES[0].read_text(encoding="utf-8"))
    assert play(scenario).text() == play(scenario).text()


def test_every_scenario_begins_with_its_story():
    silent = [path.name for path in FILES if not path.read_text(encoding="utf-8").startswith("# ")]
    assert silent == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("# story\nrun 5s\n----\n", "world"),
        ("# story\nworld\ndance\n----\n", "dance"),
        ("# story\nworld silliness=5s\nrun 1s\n----\n", "silliness"),
    ],
)
def test_what_cannot_be_understood_is_named(text, complaint):
    with pytest.raises(BadScenario, match=complaint):
        play(parse(text))


UNSEEN = {
    Why.API_UNREACHABLE, Why.CLOCK_JUMP, Why.LOOP_LATE, Why.CONTRADICTION, Why.WORKLOAD_UNKNOWN, Why.DIVERGED,
    Why.MOVING, Why.MANUAL, Why.HOURS, Why.SOURCE_ERRORS, Why.ROOM_UNKNOWN, Why.BARRED, Why.NO_IMAGE,
    Why.DELETED, Why.LOCAL_CHANGES, Why.SICK_SOURCE,
}  # fmt: skip
"""Objections that no scenario shows yet; whoever adds one takes it out of here."""


def test_every_objection_is_shown_by_a_scenario():
    told = "\n".join(
        line
        for path in FILES
        for line in path.read_text(encoding="utf-8").splitlines()
        if " objections " in line or " alarms " in line
    )
    assert {why for why in Why if why.value not in told} <= UNSEEN
