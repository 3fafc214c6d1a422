"""The guards' part in decisions: what they are told, what holds a move, what is placed before an app starts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from failoverd.core.databases import GONE_AFTER, points_of
from failoverd.core.memory import Kind, Move, Phase
from failoverd.core.model import PatchWorkload, Scan, ScanPoints, SetRole, Want, Why
from failoverd.core.points import Ailment, Duty, Finding, Kept, Observed, Obstacle, Sickness
from failoverd.core.rules import EXPERIMENTAL, Guarding, Mode, Placing
from tests.core.build import KEY, W1, B, P, an_app
from tests.core.guards import DATABASE
from tests.core.life import at_rest, healthy
from tests.core.test_moves import arrived, powered_off, switch

HERE, THERE = (KEY, "data", P), (KEY, "data", B)
BROKEN = Sickness(database=DATABASE, ailment=Ailment.CORRUPT, text="malformed")
EMPTY = Finding(obstacle=Obstacle.EMPTY, text="/data holds nothing of the app")


def guarded(app=None, seconds=90, **rules):
    return healthy(app or an_app(), seconds=seconds, guard=Guarding(), **rules)


def order(life, key):
    found = life.world.guards.reading(key).wanted
    assert found
    return found


def alarms(life):
    return {one.why for one in life.decision.apps[KEY].alarms}


def age(life):
    return life.decision.apps[KEY].ages["data"]


def force(life):
    switch(life, kind="failover")


def marks(move):
    return [name for name, _ in move.marks]


def test_only_without_guards_it_is_said_that_nothing_proves_a_database():
    rules = guarded(seconds=60).world.rules
    assert rules.experimental == 'mode "active" is experimental'
    assert replace(rules, guard=None).experimental == EXPERIMENTAL


# -------------------------------------------------------------------- what they are told


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
def test_while_the_standby_is_made_equal_again_nobody_writes_points(standing):
    life = guarded()
    powered_off(life)
    life.until(arrived(B))
    life.world.off.clear()
    told = set()
    life.until(lambda one: one.standings()["data"][0] == standing, 300)
    for _ in range(3):
        if life.standings()["data"][0] == standing:
            told |= {order(life, key).duty for key in (HERE, THERE)}
            life.tick()
    assert told == {Duty.REST}


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

    def move(number, outcome):
        return Move(
            id=str(number),
            app=KEY,
            kind=Kind.FAILOVER,
            source=P,
            target=B,
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


def test_a_failover_that_was_called_off_can_still_be_made_from_the_points_of_before():
    life = guarded()
    life.world.cut.add(W1)
    life.until(lambda one: one.phase() is Phase.FENCING)
    life.world.cut.clear()
    life.world.deaf.clear()
    life.until(at_rest, 200)
    life.run(60)
    assert order(life, HERE).epoch == 0 or life.app().active is B


# -------------------------------------------------------------------- how old


def test_the_age_is_that_of_the_oldest_newest_proven_point():
    life = guarded()
    assert age(life) <= timedelta(seconds=25)
    life.world.guards.sick[HERE] = (Sickness(database=DATABASE, ailment=Ailment.LOCKED, text="for 3 s"),)
    life.run(60)
    assert age(life) >= timedelta(seconds=60)
    assert "point" in life.decision.apps[KEY].origins["data"]
    assert Why.NO_POINTS in alarms(life)


def test_a_database_that_has_not_changed_is_as_old_as_it_was_last_seen_unchanged():
    life = guarded()
    made = life.world.guards.points[f"{KEY} {DATABASE}", "data", 0, P]
    life.world.guards.mute |= {HERE, THERE}
    life.run(40)
    read = life.world.guards.reading(HERE)
    kept = Kept(
        database=DATABASE,
        size=1,
        serial=next(one.serial for one in life.world.guards.reading(THERE).observed.proven),
        made_at=made.made_at,
        current_at=life.world.date,
        every=timedelta(seconds=5),
        age=timedelta(seconds=5),
    )
    assert age(life) > timedelta(seconds=30)
    life.world.guards._put(HERE, observed=replace(read.observed, kept=(kept,), at=life.world.date))
    life.run(4)
    assert age(life) <= timedelta(seconds=25)
    other = replace(kept, serial=kept.serial + 1)  # what it says of another point is no word on this one
    life.world.guards._put(HERE, observed=replace(read.observed, kept=(other,), at=life.world.date))
    life.run(4)
    assert age(life) > timedelta(seconds=30)


def test_a_database_without_a_point_makes_the_age_unknown_and_is_named():
    life = guarded()
    life.world.guards.databases = (DATABASE, "logs.db")
    life.world.guards.mute.add(HERE)
    life.run(20)
    powered_off(life)
    life.run(60)
    assert Why.AGE_UNKNOWN in life.why()
    assert "logs.db: no point of it has ever arrived" in life.told()
    assert life.app().active is P


def test_what_the_app_has_deleted_has_no_age_any_more():
    life = guarded()
    life.world.guards.databases = (DATABASE, "backup.db")
    life.run(20)
    life.world.guards.databases = (DATABASE,)
    real = life.world.guards._round

    def with_old_point(key, wanted, date, writing):
        said = real(key, wanted, date, writing)
        if wanted.duty is not Duty.PROVE:
            return said
        old = life.world.guards.points[f"{KEY} backup.db", "data", 0, P]
        gone = replace(said.proven[0], database="backup.db", serial=old.serial, made_at=old.made_at)
        return replace(said, proven=(*said.proven, gone))

    life.world.guards._round = with_old_point
    life.run(60)
    assert age(life) > timedelta(seconds=55)
    life.run(GONE_AFTER.total_seconds())
    assert age(life) <= timedelta(seconds=25)


def test_without_a_word_from_the_standby_the_age_is_unknown():
    life = guarded()
    life.world.guards.unread.add(THERE)
    life.run(4)
    assert age(life) is None


def test_with_the_live_copy_as_the_start_points_have_no_say():
    life = guarded(an_app(place=Placing.LIVE))
    life.world.guards.sick[THERE] = (BROKEN,)
    life.run(20)
    assert age(life) is not None
    powered_off(life)
    life.until(arrived(B))
    assert life.world.guards.placing == []


def busy(folder):
    return replace(folder, errors=1, error_files=(DATABASE,))


@pytest.mark.parametrize(
    ("files", "proven"), [((DATABASE, f"{DATABASE}-wal"), True), ((DATABASE, "config.xml"), False), ((), False)]
)
def test_a_proof_leaves_out_the_files_of_databases_that_have_points_and_no_others(files, proven):
    life = guarded()
    life.world.folders[HERE] = busy(life.world.folders[HERE])
    life.world.pinned[THERE] = {"need_items": 2, "need_files": files, "need_bytes": 5, "errors": 1}
    life.world.pinned[THERE] |= {"error_files": (DATABASE,)}
    do = life.world.do

    def scans(action):
        receipt = do(action)
        if isinstance(action, Scan) and receipt.scanned:
            return replace(receipt, scanned=replace(receipt.scanned, error_files=(DATABASE,)))
        return receipt

    life.do = scans
    life.run(60)
    assert (age(life) <= timedelta(seconds=25)) is proven


# -------------------------------------------------------------------- what holds a move


def muted(life):
    life.world.guards.mute.add(THERE)


def broken(life):
    life.world.guards.sick[THERE] = (BROKEN,)


def unusable(life):
    life.world.guards.findings[THERE] = (EMPTY,)


HELD = {"silent": (muted, Why.GUARD_SILENT), "broken": (broken, Why.NOT_OPEN), "found": (unusable, Why.UNUSABLE)}


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


# -------------------------------------------------------------------- placing


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
    assert order(life, THERE).duty is Duty.REST  # no clean standby: no use for points


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
