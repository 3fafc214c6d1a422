"""Fences: begun only while the silence is certain, confirmed, given up or called off, and ended."""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from failoverd import execute
from failoverd.core import nodes, say
from failoverd.core.memory import UNTOUCHED, Phase
from failoverd.core.model import (
    CommandKind,
    FenceOff,
    FenceOn,
    Guest,
    GuestState,
    PatchWorkload,
    Receipt,
    Scan,
    Unknown,
    Why,
)
from failoverd.core.rules import AfterFence, FenceWhen, Require
from tests.core.build import KEY, W1, W2, B, P, an_app
from tests.core.life import at_rest, command, healthy, kinds
from tests.core.test_moves import arrived, powered_off, switch


def fenced_case(require=Require.SILENCE, **rules):
    life = healthy(an_app(require=require), **rules)
    life.world.cut.add(W1)
    return life


def test_a_silent_node_is_fenced_once_confirmed_and_only_then_left():
    life = fenced_case(Require.PROOF)
    life.until(arrived(B))
    assert kinds(life.world.did).count("FenceOff") == 1
    order = [name for name in kinds(life.world.did) if name in ("FenceOff", "PatchWorkload")]
    assert order[0] == "FenceOff"
    assert Phase.FENCING in life.seen
    assert {"dead", "fenced"} <= {name for name, _ in life.app().moves[-1].marks}


@pytest.mark.parametrize("lost", ["cut", "off"])
def test_the_parts_of_an_rto_add_up_from_the_first_missed_renewal_to_ready(lost):
    life = healthy(an_app(require=Require.PROOF))
    began = life.world.now.wall
    getattr(life.world, lost).add(W1)
    life.until(arrived(B))
    move = life.app().moves[-1]
    parts, marks = say.rto(move), dict(move.marks)
    assert (
        timedelta(0) <= marks["silent"] - began <= timedelta(seconds=11)
    )  # a renewal every 10 s, looked at each second
    assert sum(parts.values()) == (marks["ready"] - marks["silent"]).total_seconds()
    assert list(parts) == ["detect and decide", *(["fence"] if lost == "cut" else []), "move", "ready"]
    silence = life.world.rules.timings.silence_after if lost == "cut" else life.world.rules.timings.proof_after
    assert parts["detect and decide"] >= silence.total_seconds() - 10


def test_a_node_whose_stop_was_read_late_was_lost_when_it_fell_silent():
    life = healthy(an_app(require=Require.PROOF))
    began = life.world.now.wall
    life.world.off.add(W1)
    life.world.nodes[W1] = {"guest": Unknown("the hypervisor does not answer")}
    life.run(120)
    del life.world.nodes[W1]
    life.until(arrived(B))
    assert dict(life.app().moves[-1].marks)["silent"] - began <= timedelta(seconds=11)


def test_the_loss_is_stated_anew_when_the_fence_has_ended_the_writing():
    life = fenced_case(Require.PROOF)
    life.until(lambda one: one.phase() is Phase.FENCING)
    early = life.app().move
    life.until(lambda one: one.phase() is Phase.STOPPING)
    late = life.app().move
    assert late.last_write_at >= early.last_write_at
    assert late.losses[0].age_seconds >= early.losses[0].age_seconds


def test_a_node_that_comes_back_before_the_fence_is_not_fenced():
    life = fenced_case()
    life.until(lambda one: one.phase() is Phase.FENCING)
    life.world.cut.clear()
    life.run(20)
    assert "FenceOff" not in kinds(life.world.did)
    assert life.app().moves[-1].outcome.startswith(UNTOUCHED)
    assert life.standings()["data"] == ("active", "clean")
    assert life.app().undo is None


def test_a_pause_after_the_intent_and_before_the_first_act_calls_the_move_off():
    for life in (fenced_case(), healthy()):
        if not life.world.cut:
            powered_off(life)
        life.until(lambda one: one.app().move is not None)
        life.commands = (command(CommandKind.PAUSE),)
        life.until(at_rest, 20)
        assert life.app().moves[-1].outcome == f"{UNTOUCHED}, paused"
        assert life.world.raw[KEY]["spec"]["replicas"] == 1


def test_a_failed_fence_is_given_up_where_silence_is_enough_and_the_hypervisor_has_fallen_silent_too():
    life = fenced_case(Require.SILENCE)
    life.world.deaf.add(FenceOff)
    life.until(lambda one: one.phase() is Phase.FENCING)
    life.run(5)
    life.world.nodes[W1] = {"guest": Unknown("no answer within 2 s")}
    life.until(arrived(B))
    assert life.app().moves[-1].outcome == "done"
    assert "dead" not in {name for name, _ in life.app().moves[-1].marks}


def test_silence_alone_is_enough_where_the_hypervisor_cannot_be_asked():
    life = fenced_case(Require.SILENCE)
    life.world.nodes[W1] = {"guest": Unknown("no answer within 2 s")}
    life.until(arrived(B))
    assert "FenceOff" not in kinds(life.world.did)


def test_silence_is_not_enough_while_the_hypervisor_says_that_the_guest_runs_and_will_not_be_fenced():
    life = fenced_case(Require.SILENCE)
    life.world.nodes[W1] = {"guest": Guest(state=GuestState.RUNNING, managed="managed by HA")}
    life.run(300)
    assert life.app().active is P
    assert Why.NOT_DEAD in life.why()
    assert Why.FENCE_FAILED in life.why()
    life.commands = (command(CommandKind.FAILOVER, target=B),)
    life.until(arrived(B), 200)
    assert any("set aside: w1 is not proven dead" in one for one in life.app().moves[-1].evidence)


def test_never_fencing_leaves_silence_to_the_roles():
    life = fenced_case(Require.SILENCE, fence_when=FenceWhen.NEVER)
    life.until(arrived(B))
    assert "FenceOff" not in kinds(life.world.did)


@pytest.mark.parametrize("require", Require)
def test_a_failed_fence_of_a_guest_that_runs_calls_the_move_off(require):
    life = fenced_case(require)
    life.world.deaf.add(FenceOff)
    life.run(600)
    assert life.app().active is P
    assert {move.outcome for move in life.app().moves} == {f"{UNTOUCHED}, the fence failed"}
    assert 2 <= len(life.app().moves) <= 6  # each try is later than the last


def test_a_called_off_fence_while_away_from_home_keeps_the_way_home_and_later_moves_possible():
    life = healthy(an_app(require=Require.PROOF))
    switch(life)
    life.until(arrived(B))
    app = life.app()
    life.world.rules = replace(
        life.world.rules,
        pairs=(replace(life.world.rules.pairs[0], backup=replace(life.world.rules.pairs[0].backup, fence="nas")),),
    )
    life.run(40)
    life.world.cut.add(W2)
    life.until(lambda one: one.phase() is Phase.FENCING)
    life.world.unread[KEY] = "timeout"
    life.world.cut.clear()
    life.run(10)
    life.world.unread.clear()
    assert life.app().moves[-1].outcome.startswith(UNTOUCHED)
    assert life.app().undo == app.undo
    assert life.app().epoch == app.epoch + 1
    life.run(60)
    life.world.off.add(W2)
    life.until(arrived(P), 200)


@pytest.mark.parametrize("after", AfterFence)
def test_a_fenced_node_is_started_again_when_configured_and_only_after_its_moves(after):
    life = healthy(an_app(require=Require.PROOF), after_fence=after)
    life.world.cut.add(W1)
    life.until(arrived(B))
    life.run(30)
    started = kinds(life.world.did).count("FenceOn")
    assert started == (1 if after is AfterFence.START else 0)
    if started:
        order = kinds(life.world.did)
        assert order.index("FenceOn") > max(at for at, name in enumerate(order) if name == "PatchWorkload")


def test_a_start_that_was_lost_is_asked_for_again_later():
    life = healthy(an_app(require=Require.PROOF))
    life.world.cut.add(W1)
    life.world.deaf.add(FenceOn)
    life.until(arrived(B))
    life.run(150)
    assert 2 <= kinds(life.world.did).count("FenceOn") <= 3


def test_a_guest_that_comes_back_in_the_middle_is_fenced_again():
    life = healthy(an_app(require=Require.PROOF))
    powered_off(life)
    life.world.deaf.add(PatchWorkload)
    life.until(lambda one: one.phase() is Phase.STOPPING)
    life.world.off.clear()
    life.world.cut.add(W1)
    life.world.deaf.clear()
    life.world.pods[KEY].clear()
    life.until(arrived(B))
    assert "FenceOff" in kinds(life.world.did)


def test_each_mark_of_a_move_comes_after_the_one_before():
    life = fenced_case(Require.PROOF)
    life.until(arrived(B))
    times = [at for _, at in life.app().moves[-1].marks]
    assert all(one <= other for one, other in pairwise(times))


@pytest.mark.parametrize("restarted", [False, True])
def test_a_cut_that_comes_true_after_its_move_was_called_off_is_still_ours_to_undo(restarted):
    life = fenced_case(Require.PROOF)
    carry_out, hanging = life.world.do, []

    def hang(action):
        if not isinstance(action, FenceOff):
            return carry_out(action)
        hanging.append(action)
        life.snapshot["in_flight"] = frozenset({action.key})
        return None

    def act(action):
        made = hang(action)
        return made if made is not None else Receipt(action=Scan(app="", volume="", site=P, reason=""), ok=False)

    life.do = act
    life.until(lambda one: bool(one.app().moves), 200)
    assert life.app().moves[-1].outcome == f"{UNTOUCHED}, the fence failed"
    life.do = carry_out
    if restarted:
        life.restart()
        life.snapshot.clear()
    life.run(20)
    carry_out(hanging[0])
    life.world.cut.clear()
    life.snapshot.clear()
    life.run(20)
    assert "FenceOn" in kinds(life.world.did)
    life.run(60)
    assert W1 not in life.world.off
    assert life.app().active is P


def test_a_node_switched_off_by_hand_after_a_fence_was_refused_is_left_off():
    life = fenced_case(Require.PROOF)
    life.world.deaf.add(FenceOff)
    life.until(lambda one: bool(one.app().moves), 200)
    powered_off(life)
    life.run(5)
    assert "FenceOn" not in kinds(life.world.did)


def test_what_a_late_cut_is_waited_for_is_what_an_action_may_take():
    assert nodes.LATE == execute.LONGEST
