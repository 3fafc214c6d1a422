"""Planned work on the active node is no failure: said, waited for, and by policy left before it begins."""

from dataclasses import replace
from datetime import timedelta

import pytest

from failoverd.core.memory import Kind
from failoverd.core.model import CommandKind, FenceOff, NodeObject, Unknown, Why
from failoverd.core.rules import Drain, Mode, Require
from tests.core.build import CP, KEY, ROOM, W1, W2, B, P, an_app
from tests.core.life import at_rest, command, healthy
from tests.core.test_room import run_notes

CORDONED = NodeObject(ready="True", allocatable=ROOM, unschedulable=True)
LEAVING = NodeObject(ready="True", allocatable=ROOM, deleting=True)
KURED = NodeObject(ready="True", allocatable=ROOM, rebooting="kured")
PATIENCE = 240


def in_work(node=CORDONED, app=None, **rules):
    life = healthy(app or an_app(), **rules)
    life.world.nodes[W1] = {"node": node}
    return life


@pytest.mark.parametrize(
    ("node", "words"), [(CORDONED, "cordoned"), (LEAVING, "being deleted"), (KURED, "being rebooted by kured")]
)
def test_it_is_said_with_the_way_out_and_said_again_when_it_is_over(node, words):
    life = in_work(node)
    told = [one for one in run_notes(life, 100) if one.incident == "planned w1"]
    assert [(one.level, one.resolved) for one in told] == [("warning", False)]
    assert f"w1 is {words}: planned work, not a failure" in told[0].text
    assert f"`failoverd switchover {KEY}`" in told[0].text
    life.world.nodes.clear()
    told = run_notes(life, 100)
    assert [one.resolved for one in told if one.incident == "planned w1"] == [True]
    assert life.app().active is P


def test_it_is_said_of_no_node_without_an_active_app():
    life = healthy()
    life.world.nodes[W2] = {"node": CORDONED}
    life.world.nodes[CP] = {"node": CORDONED}
    assert not [one for one in run_notes(life, 100) if one.incident.startswith("planned")]


def test_a_reading_that_fails_does_not_end_it():
    life = in_work()
    run_notes(life, 10)
    life.world.nodes[W1] = {"node": Unknown("500")}
    assert not [one for one in run_notes(life, 10) if one.incident.startswith("planned")]


def test_the_way_out_ends_nothing_while_the_node_is_still_cordoned():
    life = in_work()
    run_notes(life, 10)
    life.commands = (command(CommandKind.SWITCHOVER, target=B),)
    assert not [one for one in run_notes(life, 60) if one.incident.startswith("planned")]
    assert life.app().active is B


def test_a_reboot_during_it_moves_nothing_though_the_guest_says_stopped():
    life = in_work(KURED)
    life.run(4)
    life.world.off.add(W1)
    life.run(PATIENCE - 30)
    assert life.why() == {Why.PLANNED}
    assert "being rebooted by kured: planned work, waited for until it has been silent for 240 s" in life.told()
    life.world.off.clear()
    life.world.nodes.clear()
    life.run(60)
    assert (life.app().active, life.app().moves) == (P, ())


def test_work_that_took_too_long_ends_in_a_failover_and_the_age_did_not_grow():
    life = in_work()
    life.run(4)
    life.world.off.add(W1)
    life.run(PATIENCE - 30)
    assert life.app().active is P
    life.until(lambda one: at_rest(one) and one.app().active is B, 60)
    (loss,) = life.app().moves[-1].losses
    assert loss.age_seconds < 30


def test_no_fence_begins_within_the_patience_and_one_does_after_it():
    app = an_app(max_data_age=timedelta(minutes=10))
    life = in_work(replace(CORDONED, ready="Unknown"), app)
    life.run(4)
    life.world.cut.add(W1)
    assert not [act for act in life.run(PATIENCE - 30) if isinstance(act, FenceOff)]
    assert life.why() >= {Why.PLANNED}
    life.until(lambda one: at_rest(one) and one.app().active is B, 90)
    assert FenceOff in map(type, life.world.did)


def test_silence_alone_is_waited_for_as_well():
    life = in_work(app=an_app(require=Require.SILENCE), fence="")
    life.run(4)
    life.world.cut.add(W1)
    life.run(PATIENCE - 30)
    assert (life.app().active, life.why()) == (P, {Why.PLANNED})
    life.until(lambda one: at_rest(one) and one.app().active is B, 90)


def test_without_planned_work_nothing_is_waited_for():
    life = healthy()
    life.world.off.add(W1)
    life.until(lambda one: at_rest(one) and one.app().active is B, 60)


def test_an_operator_who_knows_better_need_not_wait():
    life = in_work()
    life.run(4)
    life.world.off.add(W1)
    life.run(30)
    life.commands = (command(CommandKind.FAILOVER, target=B),)
    life.until(lambda one: at_rest(one) and one.app().active is B, 60)
    assert any("planned work" in one for one in life.app().moves[-1].evidence)


def test_the_standbys_planned_work_is_no_reason_to_wait():
    life = healthy()
    life.world.nodes[CP] = {"node": CORDONED}
    life.world.off.add(W1)
    life.until(lambda one: at_rest(one) and one.app().active is B, 60)


def test_by_policy_a_cordon_is_a_switchover_and_the_way_home_comes_by_itself():
    life = in_work(drain=Drain.SWITCHOVER)
    life.until(lambda one: at_rest(one) and one.app().active is B, 60)
    (move,) = life.app().moves
    assert (move.kind, move.reason, move.command) == (Kind.SWITCHOVER, "w1 is cordoned", "")
    life.run(1500)
    assert life.app().active is B
    life.world.nodes.clear()
    life.until(lambda one: at_rest(one) and one.app().active is P, 1500)


def test_a_switchover_that_an_operator_asked_for_still_stays_where_it_was_sent():
    life = healthy()
    life.commands = (command(CommandKind.SWITCHOVER, target=B),)
    life.until(lambda one: at_rest(one) and one.app().active is B, 60)
    life.commands = ()
    life.run(2000)
    assert life.app().active is B


def test_a_switchover_by_policy_that_is_held_says_why():
    life = in_work(drain=Drain.SWITCHOVER)
    life.world.unread[KEY, "data", P] = "connection refused"
    told = run_notes(life, 100)
    assert any("connection refused" in one.text for one in told if one.incident == f"hold {KEY}")
    assert life.app().active is P


def test_a_switchover_by_policy_is_bound_by_the_budget_and_leaves_one_failover_in_it():
    life = in_work(drain=Drain.SWITCHOVER)
    timings = replace(life.world.rules.timings, max_moves=1)
    life.world.rules = replace(life.world.rules, timings=timings)
    life.run(60)
    assert (life.app().active, life.why()) == (P, {Why.BUDGET})


def test_with_both_nodes_cordoned_nothing_moves():
    life = in_work(drain=Drain.SWITCHOVER)
    life.world.nodes[W2] = {"node": CORDONED}
    life.run(100)
    assert (life.app().active, life.why()) == (P, {Why.TARGET_CORDONED})


def test_nothing_is_taken_by_plan_to_a_node_that_is_about_to_be_rebooted_and_a_failover_is():
    life = in_work(KURED, drain=Drain.SWITCHOVER)
    life.world.nodes[W2] = {"node": KURED}
    life.run(120)
    assert life.app().active is P
    assert "target w2 is being rebooted by kured" in life.told()
    life.world.off.add(W1)
    life.until(lambda life: life.app().active is B, PATIENCE + 200)


def test_observe_mode_offers_and_moves_nothing():
    life = healthy()
    life.world.rules = replace(life.world.rules, drain=Drain.SWITCHOVER, mode=Mode.OBSERVE)
    life.world.nodes[W1] = {"node": CORDONED}
    told = [one.text for one in run_notes(life, 100) if one.incident == "planned w1"]
    assert len(told) == 1
    assert "failoverd switchover" in told[0]
    assert life.app().active is P


def test_ignored_it_is_neither_said_nor_left_but_still_waited_for():
    life = in_work(drain=Drain.IGNORE)
    assert run_notes(life, 60) == []
    life.world.off.add(W1)
    life.run(100)
    assert (life.app().active, life.why()) == (P, {Why.PLANNED})


GONE = {"node": Unknown("Node w1 does not exist", gone=True), "lease": Unknown("no such lease", gone=True)}


def test_a_node_that_was_deleted_and_may_run_on_is_said_and_left_by_force_alone():
    life = healthy()
    life.world.nodes[W1] = GONE
    told = [one for one in run_notes(life, 600) if one.incident == "planned w1"]
    assert len(told) == 1
    assert "w1 is deleted from the cluster: planned work, not a failure" in told[0].text
    assert f"`failoverd failover {KEY}`" in told[0].text
    assert (life.app().active, life.app().moves) == (P, ())
    life.commands = (command(CommandKind.FAILOVER, target=B),)
    life.until(lambda one: at_rest(one) and one.app().active is B, 60)
    assert FenceOff in map(type, life.world.did)


def test_a_node_that_was_deleted_and_is_off_is_dead_like_any_other_after_the_patience():
    life = healthy()
    life.world.nodes[W1] = GONE
    life.world.off.add(W1)
    life.run(PATIENCE - 30)
    assert (life.app().active, life.why()) == (P, {Why.PLANNED})
    life.until(lambda one: at_rest(one) and one.app().active is B, 60)


def test_a_deleted_node_is_no_witness():
    life = healthy(an_app(require=Require.SILENCE), fence="", own_domain="nas")
    life.world.nodes[CP] = GONE
    life.run(60)
    life.world.cut.add(W1)
    life.run(90)
    assert Why.NO_WITNESS in life.why()
    assert life.app().active is P


def test_a_deleted_node_is_no_silent_domain():
    life = healthy(an_app(require=Require.SILENCE), fence="")
    life.world.nodes[CP] = GONE
    life.run(60)
    life.world.cut.add(W1)
    life.until(lambda one: at_rest(one) and one.app().active is B, 120)
