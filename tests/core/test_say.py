"""What is said when something ends: what was, and what is now."""

from datetime import timedelta

import pytest

from failoverd.core import say
from failoverd.core.memory import Memory
from failoverd.core.model import Health, Verdict, Watch
from tests.core.build import W1, World, some_rules


def a_verdict(health, silent=1):
    return Verdict(health=health, silent_for=timedelta(seconds=silent), evidence=("lease moved", "Ready=True"))


def told(*verdicts):
    """Every note, while the node is judged so one after the other."""
    world, watch, found = World(some_rules()), Watch(), []
    for verdict in verdicts:
        scene = say.Scene(
            rules=world.rules, snapshot=world.snapshot(), verdicts={W1: verdict}, apps={}, memory=Memory()
        )
        watch, notes = say.speak(scene, watch, world.now)
        found += notes
    return found


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (Health.DOWN, Health.UNKNOWN, "w1 was DOWN and is now UNKNOWN, not UP yet: lease moved, Ready=True"),
        (Health.DOWN, Health.UP, "w1 was DOWN and is now UP: lease moved, Ready=True"),
        (Health.UNKNOWN, Health.UNKNOWN, "w1 was silent and is now UNKNOWN, not UP yet: lease moved, Ready=True"),
        (Health.UNKNOWN, Health.UP, "w1 was silent and is now UP: lease moved, Ready=True"),
    ],
)
def test_a_node_that_is_no_longer_spoken_of_is_said_to_be_what_it_was_and_what_it_is(before, after, text):
    first, second = told(a_verdict(before, silent=20), a_verdict(before, silent=22), a_verdict(after))
    assert first.text == f"w1 is {before}: lease moved, Ready=True"
    assert (second.text, second.resolved, second.incident) == (text, True, first.incident)
