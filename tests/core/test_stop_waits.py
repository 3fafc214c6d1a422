"""A planned move that waits before it stops the app: what happens meanwhile counts, and holds nothing else up."""

from dataclasses import replace
from datetime import timedelta

import pytest

from failoverd.core.memory import UNTOUCHED, Kind, Phase
from failoverd.core.model import ClaimReading, FenceOff, PatchWorkload
from tests.core.build import KEY, TWO, W1, W2, B, P, an_app
from tests.core.life import at_rest, healthy
from tests.core.objects import helm_release
from tests.core.test_moves import switch
from tests.core.test_policy import move_done

SCAN = frozenset({f"Scan {KEY} data {P}"})


def waiting(life):
    """A switchover that waits for a scan before it stops the app."""
    life.snapshot["in_flight"] = SCAN
    switch(life)
    life.run(10)
    life.commands = ()
    assert life.phase() is Phase.STOPPING
    assert stops(life) == []
    return life


def over(life):
    del life.snapshot["in_flight"]
    return life


def stops(life):
    return [act for act in life.world.did if isinstance(act, PatchWorkload)]


def test_an_app_is_not_stopped_for_a_target_that_died_while_its_stop_was_waited_for():
    life = waiting(healthy())
    life.world.off.add(W2)
    life.run(80)
    over(life).run(2)
    assert stops(life) == []


def test_an_app_scaled_to_zero_by_hand_while_its_stop_was_waited_for_is_not_started_by_us():
    life = waiting(healthy())
    life.world.raw[KEY]["spec"]["replicas"] = 0
    life.run(20)
    over(life).run(120)
    assert life.world.raw[KEY]["spec"]["replicas"] == 0
    assert life.app().active is P


def test_an_app_whose_node_fell_silent_while_its_stop_was_waited_for_is_not_stopped_by_plan():
    """A planned move needs both sides: of a silent node's pod nobody hears the end, and a failover has to wait."""
    life = waiting(healthy())
    life.world.cut.add(W1)
    life.run(30)
    over(life).run(2)
    assert stops(life) == []


@pytest.mark.parametrize("nothing", [1, 7])
def test_planned_moves_that_came_to_nothing_hold_up_no_failover(nothing):
    """An operator asked again and again, in vain; then the node dies."""
    life = healthy()
    vain = tuple(
        replace(
            move_done(life, number, life.world.date - timedelta(minutes=2 * (nothing - 1 - number))),
            kind=Kind.SWITCHOVER,
            command=f"c{number}",
            epoch=number + 1,
            outcome=f"{UNTOUCHED}, it was in vain to wait for a scan from before the stop to end",
        )
        for number in range(nothing)
    )
    life.memory = replace(life.memory, apps={KEY: replace(life.app(), moves=vain, epoch=nothing)})
    life.world.off.add(W1)
    life.until(lambda one: at_rest(one) and one.app().active is B, within=20)


def test_a_planned_move_called_off_because_its_node_died_says_so_and_holds_up_no_failover():
    life = waiting(healthy())
    life.world.off.add(W1)
    life.until(lambda one: one.app().moves != ())
    assert "in vain to wait for a scan" not in life.app().moves[0].outcome
    life.until(lambda one: at_rest(one) and one.app().active is B, within=15)


def test_an_app_is_not_stopped_when_hardly_any_of_its_deadline_is_left():
    """Stopped after a long wait it has to have time to stop: else it is started again where it was, for nothing."""
    life = waiting(healthy())
    life.run(105)
    over(life)
    ends = life.world._reconcile
    life.world._reconcile = lambda _: None  # a pod takes ten seconds to end
    life.run(10)
    life.world._reconcile = ends
    life.until(at_rest)
    outcome = life.app().moves[-1].outcome
    assert stops(life) == [] or outcome == "done", outcome


def test_a_suspension_asked_for_just_now_is_no_alarm_yet():
    life = waiting(healthy(an_app(applier=helm_release("media/apps"))))
    life.run(60)
    life.acts = False
    alarms = over(life).tick().apps[KEY].alarms
    assert [str(one) for one in alarms] == []


@pytest.mark.parametrize("wait", [False, True])
def test_an_app_that_waits_to_be_stopped_and_may_not_be_moved_keeps_its_node_from_the_fence(wait):
    life = healthy(an_app(), an_app(TWO))
    if wait:
        waiting(life)
    life.world.claims[KEY, "data", B] = ClaimReading(bound=False)
    life.world.cut.add(W1)
    life.run(75)
    assert [act for act in life.world.did if isinstance(act, FenceOff)] == []
