"""Displaced files over their budget are an alarm that holds nothing, and ends by itself once there are less."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from failoverd.core.memory import TakeBackStep
from failoverd.core.model import Action, CommandKind, Displaced, Receipt, Revert, SetRole, Why
from failoverd.core.rules import Site
from failoverd.core.stock import Aside, Lying, stock
from tests.core.build import EPOCH_OF_TESTS, KEY, W1, B, P
from tests.core.guarded import guarded
from tests.core.life import Life, at_rest, command, healthy
from tests.core.test_alarms import acknowledge, alarms
from tests.core.test_moves import switch
from tests.core.test_take_back import lost_and_back

BUDGET = 1000
OVER = Why.DISPLACED


def keeping(life: Life, size: int) -> None:
    """Every take-back that ends from now on lists so many bytes in the versions of its side."""

    def do(action: Action) -> Receipt:
        receipt = life.world.do(action)
        if isinstance(action, SetRole) and action.keep is False:
            return replace(receipt, displaced=Displaced(files=2, size=size, names=("a", "b")))
        return receipt

    life.do = do


def budgeted(life: Life, budget: int = BUDGET) -> Life:
    life.world.rules = replace(life.world.rules, displaced_budget=budget)
    return life


def taken_back(size: int) -> Life:
    """The primary has lost, and was taken back with so many bytes put aside."""
    life = budgeted(lost_and_back())
    keeping(life, size)
    life.until(lambda one: one.standings()["data"] == ("clean", "active"), 120)
    life.run(10)
    return life


def told(life: Life) -> list[str]:
    return [str(one) for one in life.decision.apps[KEY].alarms if one.why is OVER]


def again(life: Life, size: int) -> None:
    """Somebody changes the standby, and it is taken back once more."""
    keeping(life, size)
    where = (KEY, "data", P)
    life.world.folders[where] = replace(life.world.folders[where], receive_only=1)
    life.run(120)
    acknowledged = tuple(one.mark for one in life.app().alarms if one.why == Why.LOCAL_CHANGES)
    life.commands = (*life.commands, command(CommandKind.ACK, id=f"changed-{size}", seen=acknowledged))
    life.run(6)


def test_what_a_take_back_displaced_is_remembered_and_over_the_budget_an_alarm():
    life = taken_back(BUDGET + 1)
    assert life.app().volumes["data"].displaced == {P: BUDGET + 1}
    (text,) = told(life)
    assert text.startswith(f"data at primary: {OVER}: 1001B of 1000B (failover.displaced_budget_mb); none is")


def ended_with(life: Life) -> SetRole:
    """The act that ended the last take-back."""
    return [act for act in life.world.did if isinstance(act, SetRole) and act.keep is False][-1]


def test_the_list_is_of_the_move_by_which_the_side_lost_and_a_later_take_back_is_of_none():
    life = taken_back(1)
    (lost,) = life.app().moves
    act = ended_with(life)
    assert (act.site, act.move, act.since) == (P, lost.id, lost.began_at)
    again(life, 2)
    assert ended_with(life) is not act
    assert (ended_with(life).move, ended_with(life).since) == ("", None)


@pytest.mark.parametrize("size", [0, BUDGET])
def test_within_the_budget_there_is_no_alarm(size: int):
    life = taken_back(size)
    assert life.app().volumes["data"].displaced == {P: size}
    assert told(life) == []


def test_it_keeps_nothing_from_moving():
    life = taken_back(BUDGET + 1)
    assert told(life)
    switch(life, target=P)
    life.until(lambda one: at_rest(one) and one.app().active is P)
    life.run(4)
    assert told(life)  # where the files lie is no matter of where the app runs


def test_it_outlives_the_process_and_is_told_once():
    life = taken_back(BUDGET + 1)
    life.restart()
    life.run(30)
    assert told(life)
    notes = [note.text for _ in range(20) for note in life.tick().notes]
    assert not [text for text in notes if "displaced" in text]


def test_acknowledged_it_is_silent_until_there_is_more():
    life = taken_back(BUDGET + 1)
    acknowledge(life)
    assert alarms(life) == set()
    again(life, BUDGET + 1)
    assert told(life) == []
    again(life, BUDGET + 2)
    assert "1002B" in told(life)[0]


def test_it_ends_by_itself_once_a_take_back_finds_less():
    life = taken_back(BUDGET + 1)
    again(life, BUDGET)
    assert told(life) == []
    assert [one for one in life.app().alarms if one.why == OVER] == []


def test_a_take_back_that_could_list_nothing_changes_nothing():
    life = taken_back(BUDGET + 1)
    life.do = None
    where = (KEY, "data", P)
    life.world.folders[where] = replace(life.world.folders[where], receive_only=1)
    life.run(120)
    assert life.app().volumes["data"].displaced == {P: BUDGET + 1}
    assert told(life)


def test_a_larger_budget_ends_it():
    life = taken_back(BUDGET + 1)
    budgeted(life, BUDGET + 1)
    life.run(4)
    assert told(life) == []


def test_never_listed_is_not_nothing_and_no_alarm_either():
    life = healthy(displaced_budget=1)
    assert life.app().volumes["data"].displaced == {}
    assert alarms(life) == set()


# ---------------------------------------------------------------- with guards


def counted(life: Life, site: Site, size: int, kind: Lying = Lying.SET) -> None:
    one = Aside(kind=kind, path="app.db", lies="x", at=EPOCH_OF_TESTS, size=size)
    life.world.guards.stock[KEY, "data", site] = stock([one], EPOCH_OF_TESTS, 1)


def run(life: Life) -> list[str]:
    life.run(40)  # a guard speaks every 30 s
    return told(life)


def test_what_a_guard_counts_is_what_counts_at_either_side():
    life = guarded(displaced_budget=BUDGET)
    assert told(life) == []
    counted(life, B, BUDGET + 1)
    counted(life, P, BUDGET + 2)
    assert [text.partition(":")[0] for text in run(life)] == ["data at primary", "data at backup"]
    counted(life, P, BUDGET)
    assert [text.partition(":")[0] for text in run(life)] == ["data at backup"]


def test_it_holds_no_failover():
    life = guarded(displaced_budget=BUDGET)
    counted(life, B, BUDGET + 1)
    assert run(life)
    life.world.off.add(W1)
    life.until(lambda one: at_rest(one) and one.app().active is B)


def test_restore_points_are_no_displaced_files():
    life = guarded(displaced_budget=BUDGET)
    counted(life, P, 10 * BUDGET, Lying.POINT)
    assert run(life) == []


def test_a_guard_that_is_gone_neither_raises_nor_ends_it():
    life = guarded(displaced_budget=BUDGET)
    counted(life, B, BUDGET + 1)
    assert run(life)
    life.world.guards.read.pop((KEY, "data", B))
    life.world.guards.mute.add((KEY, "data", B))
    life.run(10)
    assert told(life)


def since(life: Life) -> dict[Site, datetime]:
    return dict(life.app().volumes["data"].taken_back)


def test_it_is_remembered_when_a_take_back_had_displaced_all_no_later_than_it_lists_that():
    life = budgeted(lost_and_back())
    listed, reverted = [], []

    def do(action: Action) -> Receipt:
        if isinstance(action, SetRole) and action.keep is False:
            listed.append(life.world.date)
        if isinstance(action, Revert):
            reverted.append(life.world.date)
        return life.world.do(action)

    life.do = do
    life.until(lambda one: one.standings()["data"] == ("clean", "active"), 120)
    first = since(life)
    assert set(first) == {P}
    assert reverted[-1] < first[P] <= listed[0]
    life.run(60)
    assert since(life) == first
    again(life, 6)
    life.until(lambda one: one.standings()["data"] == ("clean", "active"), 120)
    assert since(life)[P] > first[P]


def test_a_list_from_before_more_was_displaced_is_from_before_what_is_remembered():
    life = budgeted(lost_and_back())

    def do(action: Action) -> Receipt:
        if isinstance(action, SetRole) and action.keep is False:
            return Receipt(action=action, ok=False, detail="config: 500 no space left on device")
        return life.world.do(action)

    life.do = do
    life.until(lambda one: one.app().volumes["data"].copies[P].step is TakeBackStep.FINISH, 120)
    life.run(20)
    listed = life.world.date
    assert since(life)[P] <= listed - timedelta(seconds=20)
    where = (KEY, "data", P)
    life.world.folders[where] = replace(life.world.folders[where], receive_only=1)
    life.run(10)
    life.do = None
    life.until(lambda one: one.standings()["data"] == ("clean", "active"), 120)
    assert since(life)[P] > listed
