"""A take-back that has begun to clear the lost side, and what comes in between."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failoverd.core.memory import Phase
from failoverd.core.model import Role, Want
from failoverd.core.points import Duty
from tests.core.build import KEY, P
from tests.core.guarded import HERE, THERE, order
from tests.core.test_restless import LOST, is_back, receives, returned


def clearing():
    """The order stands, and its guard is not done."""
    life = returned(lambda one: one.world.guards.stuck.update({HERE: "busy"}))
    life.until(lambda one: order(one, HERE).clear, 400)
    return life


def watched(life):
    pass


def restarted(life):
    life.restart()


@pytest.mark.parametrize("by", [watched, restarted])
def test_a_guard_s_object_that_cannot_be_read_for_a_moment_is_no_leave_to_receive(by):
    """A daemon that has just been started, or a new leader, has read none of them yet."""
    life = clearing()
    by(life)
    life.world.guards.unread.add(HERE)
    life.tick()
    life.tick()
    assert life.decision.apps[KEY].waiting.endswith("the order for data at primary can be read: no answer within 3 s")
    life.world.guards.unread.clear()
    life.run(30)
    assert receives(life) == []
    life.world.guards.stuck.clear()
    life.until(is_back, 400)


def test_frozen_in_the_middle_nothing_more_is_moved_or_received():
    life = clearing()
    life.memory = replace(life.memory, apps={KEY: replace(life.app(), phase=Phase.FROZEN, frozen_why="for a test")})
    life.run(20)
    assert (order(life, HERE).duty, order(life, HERE).move, receives(life)) == (Duty.REST, "", [])


def test_the_order_is_taken_back_while_the_survivor_may_receive():
    """That the lost side's databases are gone must not reach it."""
    life = clearing()
    life.world.folders[THERE] = replace(life.world.folders[THERE], type=Role.SEND_RECEIVE)
    life.tick()
    life.tick()
    told = [act.wanted.move for act in life.world.did if isinstance(act, Want) and act.site is P]
    assert "" in told[told.index(LOST) :]
    life.world.guards.stuck.clear()
    life.until(is_back, 400)
