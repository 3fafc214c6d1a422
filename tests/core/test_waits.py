"""What only a hand can bring about is waited for by name."""

import pytest

from failoverd.core import names
from failoverd.core.memory import Phase
from failoverd.core.model import CommandKind
from failoverd.core.rules import Failback
from tests.core.build import KEY, B, P, an_app
from tests.core.life import healthy
from tests.core.test_moves import arrived, powered_off, switch


def waiting(life):
    return life.decision.apps[KEY].waiting


def sent_away(**changes):
    life = healthy(an_app(**changes))
    switch(life)
    life.until(arrived(B))
    life.commands = ()
    return life


def test_an_app_that_was_sent_away_says_that_it_stays_until_it_is_fetched():
    life = sent_away()
    life.run(3600)
    assert life.app().active is B
    assert waiting(life) == (
        f"an operator: a switchover is never undone by itself; `failoverd failback {KEY}` takes it home"
    )
    switch(life, P, CommandKind.FAILBACK, number="c2")
    life.until(arrived(P))
    life.run(10)
    assert waiting(life) == ""


def test_one_that_had_to_leave_or_never_goes_by_itself_waits_for_no_operator():
    life = healthy(an_app(failback=Failback.AUTO))
    powered_off(life)
    life.until(arrived(B))
    assert "operator" not in waiting(life)
    assert "operator" not in waiting(sent_away(failback=Failback.MANUAL))


def scaled_down(raw):
    raw["spec"]["replicas"] = 0


def held(raw):
    raw["metadata"]["annotations"][names.HOLD] = names.HOLD_VALUE


@pytest.mark.parametrize(
    ("by_hand", "told"),
    [
        (scaled_down, "somebody to scale it up again: it was started at home, and replicas are 0 now"),
        (held, f"somebody to take the hold off again ({names.HOLD}): it was started at home, and is held now"),
    ],
)
def test_a_start_at_home_that_somebody_stops_says_what_it_waits_for(by_hand, told):
    life = sent_away()
    switch(life, P, CommandKind.FAILBACK, number="c2")
    life.until(lambda one: one.phase() is Phase.STARTING)
    life.until(lambda one: names.EPOCH not in one.world.raw[KEY]["metadata"]["annotations"])
    by_hand(life.world.raw[KEY])
    life.run(60)
    assert (life.phase(), waiting(life)) == (Phase.STARTING, told)
    life.world.raw[KEY]["spec"]["replicas"] = 1
    life.world.raw[KEY]["metadata"]["annotations"].pop(names.HOLD, None)
    life.until(arrived(P))
