"""After a failover databases are placed before the app starts; a planned move waits until guards rest."""

from __future__ import annotations

from datetime import datetime

import pytest

from failoverd.core.memory import Phase
from failoverd.core.model import PatchWorkload, Scan, SetRole, Want, Why
from failoverd.core.points import Ailment, Duty, Observed, Sickness
from tests.core.build import KEY, B, P, an_app
from tests.core.guarded import (
    HERE,
    THERE,
    age,
    alarms,
    broken,
    force,
    guarded,
    marks,
    muted,
    order,
)
from tests.core.guards import DATABASE
from tests.core.test_moves import arrived, powered_off, switch

LOCKED = Sickness(database=DATABASE, ailment=Ailment.LOCKED, text="by the app, for longer than 2 s")


def test_a_failover_places_the_points_before_the_app_starts():
    life = guarded()
    powered_off(life)
    life.until(arrived(B))
    (placed,) = life.world.guards.placing
    move = life.app().moves[-1]
    assert placed == (THERE, move.id, False)
    assert [name for name in marks(move) if name in ("flipped", "placed", "started")] == [
        "flipped",
        "placed",
        "started",
    ]
    assert any("displaced and kept: .failoverd/moves/m/0000/app.db" in text for text in move.evidence)


def test_no_order_that_places_stands_when_the_app_starts():
    life = guarded()
    powered_off(life)
    seen = []
    do = life.world.do

    def watched(action):
        if isinstance(action, PatchWorkload) and action.reason.startswith("start at"):
            seen.append((order(life, THERE).duty, order(life, THERE).move))
        return do(action)

    life.do = watched
    life.until(arrived(B))
    assert seen
    assert set(seen) == {(Duty.REST, "")}


def test_nothing_is_placed_before_the_target_sends():
    life = guarded()
    powered_off(life)
    acts = []
    do = life.world.do

    def watched(action):
        if isinstance(action, SetRole):
            acts.append("role")
        if isinstance(action, Want) and action.wanted.move:
            assert "flipped" in marks(life.app().move)
            acts.append("place")
        return do(action)

    life.do = watched
    life.world.deaf.add(SetRole)
    life.until(lambda one: one.phase() is Phase.FLIPPING)
    life.run(20)
    assert set(acts) == {"role"}
    life.world.deaf.clear()
    life.until(arrived(B))
    assert acts[-2:] == ["role", "place"]


def test_the_order_that_places_names_the_points_of_before_the_move():
    life = guarded()
    powered_off(life)
    told = []
    do = life.world.do

    def watched(action):
        if isinstance(action, Want) and action.wanted.move:
            told.append(action.wanted)
        return do(action)

    life.do = watched
    life.until(arrived(B))
    assert [(one.epoch, one.active, one.duty) for one in told] == [(0, P, Duty.PROVE)]
    life.run(30)
    assert (order(life, THERE).duty, order(life, THERE).move) == (Duty.MAKE, "")


def test_two_volumes_are_both_placed():
    life = guarded(an_app(volumes=("data", "config")))
    powered_off(life)
    life.until(arrived(B))
    assert {key[1] for key, _, _ in life.world.guards.placing} == {"data", "config"}


def test_a_daemon_that_dies_in_every_tick_places_once_and_arrives():
    life = guarded()
    powered_off(life)
    life.until(lambda one: one.app().move is not None)
    for _ in range(400):
        life.restart()
        life.tick(1)
        if life.phase() is Phase.STARTING:
            break
    life.until(arrived(B), 200)
    assert [move for _, move, _ in life.world.guards.placing] == [life.app().moves[-1].id]
    assert not any(writing for _, _, writing in life.world.guards.placing)


@pytest.mark.parametrize("kind", [Want, SetRole, PatchWorkload])
def test_an_act_that_fails_for_a_while_only_delays_the_placing(kind):
    life = guarded()
    powered_off(life)
    life.until(lambda one: one.app().move is not None)
    life.world.deaf.add(kind)
    life.run(40)
    life.world.deaf.clear()
    life.until(arrived(B), 120)
    assert len(life.world.guards.placing) == 1


def test_an_app_waits_stopped_while_its_databases_cannot_be_placed():
    life = guarded()
    life.world.guards.stuck[THERE] = "placing needs 9 bytes, 3 are free"
    powered_off(life)
    life.until(lambda one: one.phase() is Phase.FLIPPING)
    life.run(60)
    assert life.phase() is Phase.FLIPPING
    assert Why.NOT_OPEN in alarms(life)
    assert "3 are free" in life.decision.apps[KEY].waiting
    life.world.guards.stuck.clear()
    life.until(arrived(B), 60)


def test_a_live_copy_that_was_left_and_does_not_open_is_not_started_on():
    life = guarded()
    life.world.guards.databases = (DATABASE,)
    life.world.guards.live = (DATABASE,)
    powered_off(life)
    life.until(lambda one: one.phase() is Phase.FLIPPING)
    broken(life)
    life.run(60)
    assert life.phase() is Phase.FLIPPING
    assert life.world.raw[KEY]["spec"]["replicas"] == 0
    life.world.guards.sick.clear()
    life.until(arrived(B), 60)


def test_force_starts_with_the_live_copy_where_no_guard_was_there_and_only_when_none_can_place_any_more():
    life = guarded()
    muted(life)
    life.run(90)
    powered_off(life)
    life.run(60)
    assert life.app().active is P
    force(life)
    life.until(lambda one: one.phase() is Phase.FLIPPING, 200)
    took = life.until(lambda one: one.phase() is Phase.STARTING, 200)
    assert took >= 30
    life.until(arrived(B), 60)
    move = life.app().moves[-1]
    assert "unplaced" in marks(move)
    assert any("not placed, started with the live copy" in text for text in move.evidence)
    assert any("guard is silent" in text for text in move.evidence)


def test_force_waits_for_a_guard_that_falls_silent_while_it_places():
    life = guarded()
    life.world.guards.stuck[THERE] = "at it"
    powered_off(life)
    force(life)
    life.until(lambda one: one.phase() is Phase.FLIPPING, 200)
    life.run(20)
    muted(life)
    life.run(200)
    assert life.phase() is Phase.FLIPPING


def test_a_planned_move_places_nothing_and_its_barrier_waits_for_both_guards_to_rest():
    life = guarded()
    switch(life)
    resting = []
    do = life.world.do

    def watched(action):
        if isinstance(action, Scan) and action.reason == "barrier":
            resting.append({life.world.guards.reading(key).observed.duty for key in (HERE, THERE)})
        return do(action)

    life.do = watched
    life.until(arrived(B))
    assert resting
    assert all(duties == {Duty.REST} for duties in resting)
    assert life.world.guards.placing == []


def test_a_guard_that_says_nothing_holds_up_a_barrier_only_until_its_order_has_run_out():
    life = guarded()
    switch(life)
    life.tick()
    life.world.guards.mute.add(HERE)
    assert 30 <= life.until(arrived(B), 150) <= 100


def test_points_of_an_old_epoch_never_count():
    life = guarded()
    powered_off(life)
    life.until(arrived(B))
    life.world.off.clear()
    life.until(lambda one: one.standings()["data"] == ("clean", "active"), 400)
    life.run(30)
    life.world.guards.points = {key: one for key, one in life.world.guards.points.items() if key[2] == 0}
    life.world.guards.mute.add(THERE)  # the active side's: no point of this epoch is made any more
    life.run(30)
    assert age(life) is None
    said = life.world.guards.reading(HERE).observed
    assert isinstance(said, Observed)
    assert said.proven == ()


def told_while_placing(life):
    """The moment every order that places named, by volume, once the app has arrived."""
    told: dict[str, set[datetime | None]] = {}
    do = life.world.do

    def watched(action):
        if isinstance(action, Want) and action.wanted.move:
            told.setdefault(action.volume, set()).add(action.wanted.as_of)
        return do(action)

    life.do = watched
    life.until(arrived(B), 200)
    return told


def behind(life, seconds):
    """The database of one volume gets no points for so long, those of the other volume do."""
    life.world.guards.sick[HERE] = (LOCKED,)
    life.run(seconds)
    return min(made.made_at for key, made in life.world.guards.points.items() if key[1] == "data")


def test_all_databases_of_an_app_are_placed_as_of_the_moment_of_the_oldest_whoever_dies_meanwhile():
    life = guarded(an_app(volumes=("data", "config")))
    oldest = behind(life, 20)
    powered_off(life)
    life.until(lambda one: one.app().move is not None)
    for volume in ("data", "config"):
        life.world.guards.stuck[KEY, volume, B] = "at it"
    life.until(lambda one: one.phase() is Phase.FLIPPING)
    life.run(5)
    for _ in range(5):
        life.restart()
        life.tick(1)
    life.world.guards.stuck.clear()
    orders = {life.world.guards.reading((KEY, volume, B)).wanted.as_of for volume in ("data", "config")}
    assert orders == {oldest}
    life.until(arrived(B), 100)
    move = life.app().moves[-1]
    assert move.as_of == oldest
    assert f"databases placed as of {oldest:%H:%M:%S}, all of them" in move.evidence


def test_two_databases_of_one_volume_share_a_moment_and_one_alone_is_placed_at_its_newest():
    for databases, shared in (((DATABASE, "other.db"), True), ((DATABASE,), False)):
        life = guarded(seconds=1)
        life.world.guards.databases = databases
        life.run(90)
        powered_off(life)
        (moments,) = told_while_placing(life).values()
        assert (None not in moments) is shared
        assert len(moments) == 1


def test_the_moment_known_at_the_decision_stays_when_the_active_guard_is_told_to_rest():
    life = guarded(an_app(volumes=("data", "config")))
    oldest = behind(life, 20)
    force(life)
    assert told_while_placing(life) == {"data": {oldest}, "config": {oldest}}


def test_where_the_kept_points_do_not_reach_back_to_the_oldest_each_is_placed_at_its_newest():
    life = guarded(an_app(volumes=("data", "config")))
    behind(life, 60)
    powered_off(life)
    assert told_while_placing(life) == {"data": {None}, "config": {None}}
