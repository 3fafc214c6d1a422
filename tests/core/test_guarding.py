"""The guards' part in decisions: what they are told, and what of theirs holds a move."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from failoverd.core.databases import points_of
from failoverd.core.memory import Kind, Move, Phase
from failoverd.core.model import ScanPoints, Want, Why
from failoverd.core.points import Ailment, Duty
from failoverd.core.rules import EXPERIMENTAL, Guarding, Mode
from tests.core.build import KEY, W1, B, P
from tests.core.guarded import (
    BROKEN,
    HELD,
    HERE,
    THERE,
    age,
    alarms,
    broken,
    guarded,
    marks,
    muted,
    order,
)
from tests.core.life import at_rest, ended, healthy
from tests.core.test_moves import arrived, powered_off, switch
from tests.core.test_restoring import FILE, ask


def test_only_without_guards_it_is_said_that_nothing_proves_a_database():
    rules = guarded(seconds=60).world.rules
    assert rules.experimental == 'mode "active" is experimental'
    assert replace(rules, guard=None).experimental == EXPERIMENTAL


def test_without_a_guard_nobody_is_told_anything_and_nothing_more_is_remembered_or_decided():
    life = healthy()
    assert not any(isinstance(act, Want | ScanPoints) for act in life.world.did)
    assert life.watch.guards == {}
    assert life.decision.apps[KEY].origins == {}


def test_at_rest_the_active_side_makes_points_and_a_clean_standby_proves_them():
    life = guarded()
    assert (order(life, HERE).duty, order(life, THERE).duty) == (Duty.MAKE, Duty.PROVE)
    assert {(order(life, key).epoch, order(life, key).active, order(life, key).move) for key in (HERE, THERE)} == {
        (0, P, "")
    }


def test_an_order_that_stands_is_not_given_again():
    life = guarded()
    before = len(life.world.did)
    life.run(60)
    assert not any(isinstance(act, Want) for act in life.world.did[before:])


def test_an_order_that_somebody_changed_is_given_again():
    life = guarded()
    life.world.guards._put(HERE, wanted=replace(order(life, HERE), keep=1))
    life.run(6)
    assert order(life, HERE).keep == Guarding().keep


def test_in_observe_mode_nothing_is_ordered():
    life = guarded()
    life.world.rules = replace(life.world.rules, mode=Mode.OBSERVE)
    life.world.guards._put(HERE, wanted=None)
    life.run(30)
    assert life.world.guards.reading(HERE).wanted is None


@pytest.mark.parametrize("standing", ["outdated", "taking back"])
def test_while_the_standby_is_made_equal_again_the_active_side_alone_makes_points(standing):
    life = guarded()
    powered_off(life)
    life.until(arrived(B))
    life.world.off.clear()
    told = set()
    life.until(lambda one: one.app().phase is Phase.WATCHING and one.standings()["data"][0] == standing, 300)
    life.tick()
    for _ in range(3):
        if life.standings()["data"][0] == standing:
            told.add(order(life, HERE).duty)
            assert order(life, THERE).duty is Duty.MAKE
            life.tick()
    assert told <= {Duty.REST, Duty.PROVE}


def test_a_new_point_is_announced_once():
    life = guarded()
    before = len(life.world.did)
    life.run(30)
    scans = [act for act in life.world.did[before:] if isinstance(act, ScanPoints)]
    assert 2 <= len(scans) <= 4
    assert {act.site for act in scans} == {P}


def test_what_was_called_off_leaves_the_points_counting():
    life = guarded()
    was = life.app()

    def move(number, outcome, kind=Kind.FAILOVER):
        return Move(
            id=str(number),
            app=KEY,
            kind=kind,
            source=P,
            target=P if kind is Kind.RESTORE else B,
            epoch=number,
            reason="",
            began_at=life.world.date,
            outcome=outcome,
        )

    ended = (move(3, "done"), move(4, "aborted: a"), move(5, "aborted: b"))
    assert points_of(replace(was, epoch=5, moves=ended)) == (3, P)
    assert points_of(replace(was, epoch=5, moves=ended[1:])) == (3, P)
    assert points_of(replace(was, epoch=6, moves=ended, move=move(6, ""), active=B)) == (3, P)
    assert points_of(replace(was, epoch=7, moves=())) == (7, P)
    restored = (*ended[:2], move(5, "done", Kind.RESTORE), move(6, "failed: the node was lost", Kind.RESTORE))
    assert points_of(replace(was, epoch=6, moves=restored)) == (3, P)
    assert points_of(replace(was, epoch=6, moves=restored[2:])) == (4, P)
    assert points_of(replace(was, epoch=7, moves=restored, move=move(7, "", Kind.RESTORE))) == (3, P)


def fetched(life):
    move = life.app().move
    return move is not None and "fetched" in marks(move)


@pytest.mark.parametrize("dies", [fetched, ended], ids=["in the midst of it", "after it"])
def test_a_node_that_dies_around_a_restore_is_failed_over_from_with_the_points_of_before_it(dies):
    life = guarded(seconds=120)
    life.world.versions[HERE] = {FILE.path: (FILE,)}
    before = len(life.world.did)
    ask(life)
    life.until(dies)
    powered_off(life)
    life.until(arrived(B), 300)
    orders = [act.wanted for act in life.world.did[before:] if isinstance(act, Want)]
    assert {(one.epoch, one.active) for one in orders} == {(0, P)}
    assert [(where, writing) for where, _, writing in life.world.guards.placing] == [(THERE, False)]
    (loss,) = life.app().moves[-1].losses
    assert loss.age_seconds is not None


def test_after_a_restore_points_go_on_and_count_as_before():
    life = guarded(seconds=120)
    life.world.versions[HERE] = {FILE.path: (FILE,)}
    ask(life)
    life.until(ended)
    life.run(30)
    assert (life.app().epoch, order(life, HERE).epoch, order(life, HERE).duty) == (1, 0, Duty.MAKE)
    assert age(life) <= timedelta(seconds=20)


def test_a_failover_that_was_called_off_can_still_be_made_from_the_points_of_before():
    life = guarded()
    life.world.cut.add(W1)
    life.until(lambda one: one.phase() is Phase.FENCING)
    life.world.cut.clear()
    life.world.deaf.clear()
    life.until(at_rest, 200)
    life.run(60)
    assert order(life, HERE).epoch == 0 or life.app().active is B


@pytest.mark.parametrize(("fault", "why"), HELD.values(), ids=HELD)
def test_what_the_targets_guard_says_holds_a_failover_and_is_known_before(fault, why):
    life = guarded()
    fault(life)
    life.run(90)
    assert why in {one.why for one in life.decision.apps[KEY].standby.missing}
    powered_off(life)
    life.run(90)
    assert why in life.why()
    assert (life.phase(), life.app().active, life.app().epoch) == (Phase.WATCHING, P, 0)


def test_a_standby_that_does_not_open_is_an_alarm_while_all_is_well():
    life = guarded()
    assert alarms(life) == set()
    broken(life)
    life.run(20)
    assert Why.NOT_OPEN in alarms(life)


def test_what_a_guard_said_before_this_process_began_counts_for_no_longer_than_if_it_had_heard_it():
    life = guarded()
    muted(life)
    life.run(36)
    life.restart()
    life.run(8)
    assert Why.GUARD_SILENT not in {one.why for one in life.decision.apps[KEY].standby.missing}
    life.run(30)
    assert Why.GUARD_SILENT in {one.why for one in life.decision.apps[KEY].standby.missing}
    life.restart()
    life.run(30)
    assert Why.GUARD_SILENT in {one.why for one in life.decision.apps[KEY].standby.missing}


@pytest.mark.parametrize(("fault", "why"), [HELD["silent"], HELD["found"]])
def test_a_planned_move_needs_the_guard_as_well(fault, why):
    life = guarded()
    fault(life)
    life.run(90)
    switch(life)
    life.run(30)
    assert life.app().active is P
    assert why in {one.why for one in life.decision.apps[KEY].standby.missing}


def test_an_alarm_says_what_ails_the_source():
    life = guarded()
    life.world.guards.sick[HERE] = (replace(BROKEN, ailment=Ailment.NOT_A_DATABASE),)
    life.run(20)
    assert Why.NO_POINTS in alarms(life)
