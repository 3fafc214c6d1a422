"""Bounded motion, and who may cut the power: budget, back-off, cooldown, `fence_when`."""

from dataclasses import replace
from datetime import timedelta

import pytest

from failoverd.core.databases import points_of
from failoverd.core.memory import UNTOUCHED, Kind, Phase
from failoverd.core.model import (
    ClaimReading,
    CommandKind,
    FenceOff,
    Kubelet,
    PatchWorkload,
    Why,
)
from failoverd.core.names import EPOCH
from failoverd.core.rules import FenceWhen, Mode
from tests.core.build import EPOCH_OF_TESTS, KEY, TWO, W1, W2, B, P, an_app
from tests.core.life import at_rest, command, healthy, kinds
from tests.core.test_policy import away, budget_spent, move_done
from tests.core.test_restoring import ask


def test_budget_and_cooldown_survive_a_restart_and_a_new_leader():
    life = budget_spent()
    life.restart()
    life.run(60)
    assert Why.BUDGET in life.why()
    assert life.app().active is P


def test_a_budget_of_more_moves_than_are_kept_whole_still_binds():
    life = healthy()
    life.world.rules = replace(life.world.rules, timings=replace(life.world.rules.timings, max_moves=30))
    done = tuple(
        replace(move_done(life, number, life.world.date), evidence=("lease silent",)) for number in range(30)
    )
    life.memory = replace(life.memory, apps={KEY: replace(life.app(), moves=done)})
    life.commands = (command(CommandKind.SWITCHOVER, target=B),)
    life.until(lambda one: at_rest(one) and one.app().active is B)
    assert len(life.app().moves) == 31
    assert life.app().moves[0].evidence == ()
    assert life.app().moves[-2].evidence != ()
    life.world.off.add(W2)
    life.world.rules = replace(
        life.world.rules,
        pairs=(replace(life.world.rules.pairs[0], backup=replace(life.world.rules.pairs[0].backup, fence="nas")),),
    )
    life.run(30)
    assert Why.BUDGET in life.why()


def test_what_an_operator_asked_for_leaves_the_budget_whole_but_not_the_cooldown():
    life = budget_spent()
    asked = tuple(replace(move, command=f"c{number}") for number, move in enumerate(life.app().moves))
    life.memory = replace(life.memory, apps={KEY: replace(life.app(), moves=asked)})
    life.until(lambda one: at_rest(one) and one.app().active is B)
    life.world.off.discard(W1)
    life.run(30)
    assert Why.BUDGET not in life.why()
    assert Why.COOLDOWN in life.why()


def test_however_many_an_operator_asks_for_our_own_are_not_forgotten():
    life = healthy()
    own = tuple(move_done(life, number, life.world.date) for number in range(3))
    asked = tuple(replace(move_done(life, number, life.world.date), command=f"c{number}") for number in range(3, 30))
    life.memory = replace(life.memory, apps={KEY: replace(life.app(), moves=(*own, *asked))})
    life.commands = (command(CommandKind.SWITCHOVER, target=B),)
    life.until(lambda one: at_rest(one) and one.app().active is B)
    assert {"m0", "m1", "m2"} <= {move.id for move in life.app().moves}
    assert len(life.app().moves) < 30


def test_moves_the_budget_no_longer_counts_make_room_and_what_came_to_nothing_goes_first():
    life = healthy()
    old = tuple(move_done(life, number, life.world.date - timedelta(days=2)) for number in range(20))
    nothing = tuple(
        replace(move_done(life, number, life.world.date), outcome=f"{UNTOUCHED}, paused", epoch=number + 1)
        for number in range(20, 30)
    )
    life.memory = replace(life.memory, apps={KEY: replace(life.app(), moves=(*old, *nothing), epoch=30)})
    life.commands = (command(CommandKind.SWITCHOVER, target=B),)
    life.until(lambda one: at_rest(one) and one.app().active is B)
    kept = life.app().moves
    assert len(kept) == 20
    assert kept[-1].outcome == "done"
    assert nothing[0] in kept


def restored(life, number, outcome="done", site=P):
    move = replace(move_done(life, number, life.world.date), kind=Kind.RESTORE, source=site, target=site)
    return replace(move, epoch=number, command=f"c{number}", outcome=outcome)


def remember(life, *moves):
    """As if these had been made after all that is remembered, each with an epoch of its own."""
    epoch = moves[-1].epoch
    app = replace(life.app(), moves=(*life.app().moves, *moves), epoch=epoch)
    life.memory = replace(life.memory, apps={KEY: app})
    annotations = life.world.raw[KEY]["metadata"].get("annotations", {})
    if EPOCH in annotations:
        annotations[EPOCH] = str(epoch)


@pytest.mark.parametrize("outcome", ["done", "aborted: no version of fence.xml"])
def test_restores_hold_neither_a_failover_nor_the_way_home(outcome):
    life = healthy()
    remember(life, *(restored(life, number, outcome) for number in range(1, 8)))
    life.world.off.add(W1)
    life.until(lambda one: at_rest(one) and one.app().active is B, 60)
    life.world.off.clear()
    began = life.world.s
    life.until(lambda one: one.why() == {Why.COOLDOWN}, 3600)
    remember(life, *(restored(life, number, outcome, B) for number in range(9, 12)))
    life.until(lambda one: one.app().active is P, 7200)
    assert life.world.s - began < life.world.rules.timings.cooldown.total_seconds() + 120


def done_with(moves):
    return lambda life: at_rest(life) and len(life.app().moves) == moves


def test_names_mistyped_in_restores_do_not_hold_the_failover_after_them():
    life = healthy()
    for number in range(4):
        ask(life, path=f"typo{number}.xml", number=f"r{number}")
        life.until(done_with(number + 1))
    life.world.off.add(W1)
    life.until(lambda one: at_rest(one) and one.app().active is B, 60)


@pytest.mark.parametrize("outcome", ["done", "aborted: no version of it"])
def test_however_many_restores_follow_what_an_operator_decided_is_not_forgotten(outcome):
    life = healthy()
    life.commands = (command(CommandKind.SWITCHOVER, id="away", target=B),)
    life.until(lambda one: one.app().active is B and at_rest(one))
    away_by_hand = life.app().moves[-1]
    restores = [restored(life, number, outcome, B) for number in range(2, 32)]
    remember(life, *restores)
    ask(life, target=B, path="typo.xml")
    life.until(lambda one: at_rest(one) and one.app().epoch == 32)
    kept = life.app().moves
    assert len(kept) == 20
    assert kept[:2] == (away_by_hand, restores[0])
    life.run(2 * 3600)
    assert life.app().active is B


def test_of_too_many_that_led_nowhere_those_stay_that_tell_which_points_count_and_what_was_written():
    life = healthy()
    nothing = (restored(life, number, UNTOUCHED) for number in range(6, 30))
    remember(life, restored(life, 4), restored(life, 5), *nothing)
    before = life.app()
    ask(life, path="typo.xml")
    life.until(lambda one: at_rest(one) and one.app().epoch == 30)
    after = replace(life.app(), moves=life.app().moves[:-1], epoch=29)
    assert len(after.moves) == 19
    assert (points_of(after), after.written_epoch) == (points_of(before), before.written_epoch) == ((3, P), 5)


def test_one_failover_is_kept_back_from_failbacks():
    life = away(seconds=0)
    ended = EPOCH_OF_TESTS - timedelta(hours=3)
    moves = (move_done(life, 1, ended), *life.app().moves)
    life.memory = replace(life.memory, apps={KEY: replace(life.app(), moves=moves)})
    life.run(1500)
    assert life.app().active is B
    assert "one failover is kept back" in life.told()


def test_a_failback_that_cannot_reach_its_barrier_is_tried_ever_more_rarely():
    life = away()
    life.world.pinned[KEY, "data", B] = {"errors": 1}
    began = life.world.s
    life.run(4 * 3600)
    tries = [move for move in life.app().moves if move.outcome.startswith("aborted")]
    assert life.world.s - began >= 4 * 3600
    assert 2 <= len(tries) <= 6


def test_a_forced_failover_never_cuts_the_power_of_an_unproven_guest_nor_where_fencing_is_off():
    for never in (True, False):
        life = healthy(fence_when=FenceWhen.NEVER if never else FenceWhen.ALL)
        if not never:
            life.world.rules = replace(life.world.rules, fence_hash="another config")
        life.world.cut.add(W1)
        life.run(20)
        life.commands = (command(CommandKind.FAILOVER, target=B),)
        life.run(60)
        assert FenceOff not in {type(act) for act in life.world.did}


@pytest.mark.parametrize(
    ("when", "isolated", "fenced"),
    [
        (FenceWhen.ALL, False, True),
        (FenceWhen.ANY, False, True),
        (FenceWhen.NEVER, False, False),
        (FenceWhen.ALL, True, False),
        (FenceWhen.ANY, True, False),
        (FenceWhen.ISOLATED, True, True),
        (FenceWhen.NEVER, True, False),
    ],
)
def test_when_a_silent_node_is_fenced(when, isolated, fenced):
    life = healthy(fence_when=when)
    life.world.cut.add(W1)
    if isolated:
        life.world.nodes[W1] = {"kubelet": Kubelet.ALIVE}
    life.run(75)
    assert (FenceOff in {type(act) for act in life.world.did}) is fenced


@pytest.mark.parametrize(("when", "fenced"), [(FenceWhen.ALL, False), (FenceWhen.ANY, True)])
def test_an_app_that_was_never_read_keeps_both_its_nodes_from_the_fence_unless_any_is_enough(when, fenced):
    life = healthy(an_app(), an_app(TWO), fence_when=when)
    life.memory = replace(life.memory, apps={KEY: life.app()})
    life.world.unread[TWO] = "403"
    life.world.cut.add(W1)
    life.run(75)
    assert (FenceOff in {type(act) for act in life.world.did}) is fenced
    assert fenced or f"not every app of ours on it may move: {TWO}" in life.told()


@pytest.mark.parametrize(("when", "fenced"), [(FenceWhen.ALL, False), (FenceWhen.ANY, True)])
def test_one_app_that_may_not_move_keeps_its_node_from_the_fence_unless_any_is_enough(when, fenced):
    life = healthy(an_app(), an_app(TWO), fence_when=when)
    life.world.claims[TWO, "data", B] = ClaimReading(bound=False)
    life.world.cut.add(W1)
    life.run(75)
    assert (FenceOff in {type(act) for act in life.world.did}) is fenced


@pytest.mark.parametrize("phase", [Phase.STOPPING, Phase.BARRIER, Phase.FLIPPING, Phase.STARTING])
def test_a_move_stands_still_in_observe_says_so_and_goes_on_afterwards(phase):
    life = healthy()
    life.commands = (command(CommandKind.SWITCHOVER, target=B),)
    life.until(lambda one: one.phase() is phase)
    life.world.rules = replace(life.world.rules, mode=Mode.OBSERVE)
    life.receipts = ()
    assert life.run(60) == []
    assert life.phase() is phase
    assert Why.OBSERVING in {one.why for one in life.decision.apps[KEY].alarms}
    assert "stands still" in life.decision.apps[KEY].waiting
    life.world.rules = replace(life.world.rules, mode=Mode.ACTIVE)
    life.until(lambda one: at_rest(one) and one.app().active is B, 200)


def test_observe_starts_no_fenced_node_and_gives_no_role_back():
    life = healthy()
    life.world.cut.add(W1)
    life.until(lambda one: at_rest(one) and one.app().active is B)
    life.world.rules = replace(life.world.rules, mode=Mode.OBSERVE)
    assert "FenceOn" not in kinds(life.run(60))
    life = healthy()
    life.commands = (command(CommandKind.RELEASE),)
    life.acts = False
    life.tick()
    assert life.phase() is Phase.RELEASED
    life.world.rules = replace(life.world.rules, mode=Mode.OBSERVE)
    life.acts = True
    assert life.run(20) == []


@pytest.mark.parametrize("first", [KEY, TWO])
def test_of_apps_that_leave_together_the_one_with_priority_begins(first):
    apps = [an_app(key, priority=10 if key == first else 0) for key in (KEY, TWO)]
    life = healthy(*apps)
    life.world.off.add(W1)
    life.until(lambda one: any(isinstance(act, PatchWorkload) for act in one.world.did))
    assert [act.app for act in life.world.did if isinstance(act, PatchWorkload)] == [
        first,
        ({KEY, TWO} - {first}).pop(),
    ]
