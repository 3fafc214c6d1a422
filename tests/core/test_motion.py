"""Bounded motion, and who may cut the power: budget, back-off, cooldown, `fence_when`."""

from dataclasses import replace
from datetime import timedelta

import pytest

from failoverd.core.model import (
    ClaimReading,
    CommandKind,
    FenceOff,
    Kubelet,
    PatchWorkload,
    Why,
)
from failoverd.core.rules import FenceWhen
from tests.core.build import EPOCH_OF_TESTS, KEY, TWO, W1, B, P, an_app
from tests.core.life import command, healthy
from tests.core.test_policy import away, budget_spent, move_done


def test_budget_and_cooldown_survive_a_restart_and_a_new_leader():
    life = budget_spent()
    life.restart()
    life.run(60)
    assert Why.BUDGET in life.why()
    assert life.app().active is P


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
def test_one_app_that_may_not_move_keeps_its_node_from_the_fence_unless_any_is_enough(when, fenced):
    life = healthy(an_app(), an_app(TWO), fence_when=when)
    life.world.claims[TWO, "data", B] = ClaimReading(bound=False)
    life.world.cut.add(W1)
    life.run(75)
    assert (FenceOff in {type(act) for act in life.world.did}) is fenced


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
