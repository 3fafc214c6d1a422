"""Schedules of somebody who wanted to break the promises, and broke them: failovers that lay, take-backs, alarms."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failoverd.core.model import Why
from failoverd.core.points import Ailment, Duty, Sickness
from failoverd.core.rules import Require
from tests.core.build import KEY, W2, B, P, an_app
from tests.core.guarded import HERE, THERE, alarms, guarded, order
from tests.core.guards import DATABASE
from tests.core.life import healthy, kinds
from tests.core.test_alarms import change, full
from tests.core.test_moves import arrived, powered_off
from tests.core.test_restless import HOT, is_back, never_arrives, returned

# -------------------------------------------------------------------- a failover of a source that lives again


def no_daemon(life):
    life.world.advance(600)  # no instance at all: the old pod writes on at the primary
    life.restart()


def no_api_server(life):
    life.world.api = False
    life.run(600)
    life.world.api = True


@pytest.mark.parametrize("require", [Require.PROOF, Require.SILENCE])
@pytest.mark.parametrize("away", [no_daemon, no_api_server])
def test_a_failover_of_which_nothing_was_done_is_not_gone_on_with_once_its_source_runs_again(away, require):
    """I3, I4: decided and saved; before the first patch ten minutes pass in which the primary comes back and writes.

    By proof its power is even cut, though it lives.
    """
    fence = "pve" if require is Require.PROOF else ""
    life = healthy(an_app(require=require), fence=fence)
    powered_off(life)
    life.acts = False
    life.until(lambda one: one.app().move is not None)
    life.acts = True
    life.world.off.clear()
    away(life)
    before = len(life.world.did)
    life.run(120)
    assert "FenceOff" not in kinds(life.world.did[before:])
    assert life.app().active is P or life.app().moves[-1].losses[0].age_seconds > 600, life.app().moves


def test_a_target_never_heard_since_a_restart_holds_no_failover_open_until_the_source_lives_again():
    """I4 (chaos seed 3000020): 'never heard' is not lasting, so the move is neither called off nor done."""
    life = healthy(an_app())
    powered_off(life)
    life.acts = False
    life.until(lambda one: one.app().move is not None)
    life.acts = True
    life.world.cut.add(W2)
    life.restart()
    life.run(100)
    life.world.off.clear()
    life.run(300)
    life.world.cut.clear()
    life.run(200)
    done = life.app().moves[-1] if life.app().moves else None
    assert life.app().active is P or (done and done.losses[0].age_seconds > 300), done


def test_what_a_volume_loses_by_the_moment_of_another_one_is_stated():
    """I4 (chaos seeds 3001224, 3001881): `data` is placed as of the moment of `config`, and its own age is stated."""
    life = guarded(an_app(volumes=("data", "config")))
    round_ = life.world.guards._round
    made = life.world.date

    def stale(key, wanted, date, writing):
        said = round_(key, wanted, date, writing)
        if key == (KEY, "config", B) and wanted.duty is Duty.PROVE:
            return replace(said, proven=tuple(replace(one, made_at=made, serial=0) for one in said.proven))
        return said

    life.world.guards._round = stale
    life.run(35)
    powered_off(life)
    life.until(arrived(B))
    move = life.app().moves[-1]
    assert move.as_of is not None
    lost = (move.last_write_at - move.as_of).total_seconds()
    stated = {one.volume: one.age_seconds for one in move.losses}
    assert all(age >= lost for age in stated.values()), (lost, stated)


# -------------------------------------------------------------------- take-backs under a writer that never pauses


def until_prepared(life):
    life.until(lambda one: one.standings()["data"][0] == "taking back", 400)


LOCKED = Sickness(database=DATABASE, ailment=Ailment.LOCKED, text="by the app, for longer than 2 s")


def test_a_survivor_whose_database_was_locked_for_a_moment_is_taken_back_to_in_the_end():
    """I7 (chaos seed 3000292): nothing is put aside while it is locked, and nobody asks for it ever again."""
    life = returned()
    until_prepared(life)
    life.world.guards.sick[THERE] = (LOCKED,)
    life.run(30)
    life.world.guards.sick.clear()
    life.until(is_back, 1200)


def test_a_returned_guard_that_was_silent_for_two_minutes_puts_aside_once_it_speaks():
    """I7: it fell silent in PREPARE; the take-back overrode without it and never asks again."""
    life = returned()
    until_prepared(life)
    life.world.guards.mute.add(HERE)
    life.run(150)
    life.world.guards.mute.clear()
    life.until(is_back, 1200)


def test_a_survivors_guard_that_was_silent_for_minutes_does_not_end_the_take_back_for_good():
    """I7: the same, by the guard beside the data."""
    life = returned(lambda one: one.world.guards.mute.add(THERE))
    until_prepared(life)
    life.run(120)
    life.world.guards.mute.clear()
    life.until(is_back, 1200)


def test_a_changed_standby_is_taken_back_under_a_writer_that_never_pauses():
    """I7: a standby that is never idle is never found outdated: no failover for good, and nothing mends it."""
    life = guarded()
    never_arrives(life, THERE, receive_only=3)
    life.run(30)
    life.world.pinned[THERE] = {"state": "syncing", "need_items": len(HOT), "need_files": HOT}
    life.world.folders[THERE] = replace(life.world.folders[THERE], receive_only=3)  # what a revert ends
    life.run(600)
    assert life.world.folders[THERE].receive_only == 0, life.standings()


# -------------------------------------------------------------------- alarms


def two_databases():
    life = guarded(seconds=5)
    life.world.guards.databases = ("a.db", "b.db")
    life.run(90)
    return life


def corrupt(name):
    return Sickness(database=name, ailment=Ailment.CORRUPT, text="malformed")


def test_an_alarm_of_one_database_is_not_lost_to_that_of_another():
    """I9: an alarm nobody has acknowledged is overwritten by the next one of its kind and volume."""
    life = two_databases()
    life.world.guards.sick[HERE] = (corrupt("a.db"),)
    life.run(30)
    assert Why.SICK_SOURCE in alarms(life)
    life.world.guards.sick[HERE] = (corrupt("b.db"),)
    life.run(30)
    said = "; ".join(one.text for one in life.decision.apps[KEY].alarms)
    assert "a.db" in said, said


def test_an_alarm_of_patterns_is_not_lost_to_that_of_others():
    """I9: the same with `.stignore`."""
    life = full()
    change(life, THERE, ignores=("*.mkv",))
    life.run(6)
    change(life, THERE, ignores=("*.tmp",))
    life.run(6)
    said = "; ".join(one.text for one in life.app().alarms)
    assert "*.mkv" in said, said


def test_a_target_whose_role_was_lost_while_databases_are_placed_gets_it_back_and_the_app_is_started():
    """I7 (chaos seed 3004779): the flip gives roles only after `unfit`, which objects to the role that is missing."""
    life = guarded()
    powered_off(life)
    life.until(lambda one: bool(order(one, THERE).move))
    change(life, THERE, type="sendreceive")
    life.until(arrived(B), 600)
