"""Schedules that somebody thought of who wanted to break the promises, with guards and without; each once did."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from failoverd.core.memory import Phase
from failoverd.core.model import Kubelet, Scan, SetRole, Unknown, Want
from failoverd.core.points import Ailment, Duty, Observed, Sickness
from failoverd.core.rules import AfterFence
from tests.core.build import KEY, W1, B, P, an_app
from tests.core.guarded import BROKEN, HERE, THERE, age, broken, force, guarded, marks, order, unusable
from tests.core.guards import DATABASE
from tests.core.life import healthy
from tests.core.test_moves import arrived, powered_off, switch
from tests.core.test_out_of_service import tainting


def test_placing_that_left_a_proven_database_out_does_not_start_the_app():
    life = guarded()
    powered_off(life)
    life.until(lambda one: one.phase() is Phase.FLIPPING)
    broken(life)  # its points do not open any more; the raw copy never arrived (live is empty)
    life.run(60)
    assert life.phase() is Phase.FLIPPING, life.app().moves and life.app().moves[-1].evidence


def test_a_live_copy_whose_points_have_gone_since_the_gate_is_not_started_on():
    life = guarded()
    powered_off(life)
    life.until(lambda one: one.phase() is Phase.FLIPPING)
    gone = Sickness(database=DATABASE, ailment=Ailment.NONE, text="manifests have arrived, none of their copies")
    life.world.guards.sick[THERE] = (gone,)
    round_ = life.world.guards._round

    def live(key, wanted, date, writing):
        said = round_(key, wanted, date, writing)
        return replace(said, placed=replace(said.placed, live=(DATABASE,))) if said.placed else said

    life.world.guards._round = live
    life.run(60)
    assert life.phase() is Phase.FLIPPING, life.app().moves and life.app().moves[-1].evidence


def test_an_active_side_that_only_receives_makes_no_proof():
    life = healthy(an_app(), seconds=60)
    life.world.pinned[HERE] = {"type": "receiveonly", "receive_only": 3}
    life.world.deaf.add(SetRole)
    before, began = life.watch.volumes[KEY, "data"].proven_at, life.world.date
    assert before is not None
    life.run(120)
    after = life.watch.volumes[KEY, "data"].proven_at
    assert after is not None
    assert after <= began


def test_what_an_active_side_kept_to_itself_is_stated_as_lost():
    life = healthy(an_app(), seconds=60)
    life.world.pinned[HERE] = {"type": "receiveonly", "receive_only": 3}
    life.world.deaf.add(SetRole)
    life.run(200)
    life.world.deaf.clear()  # the target can be promoted; the source dies before it was mended
    life.world.off.add(W1)
    life.until(arrived(B))
    (loss,) = life.app().moves[-1].losses
    assert loss.age_seconds > 190


def test_the_barrier_does_not_call_equal_what_a_receiving_source_keeps_to_itself():
    life = healthy(an_app(), seconds=60)
    switch(life)
    life.until(lambda one: one.app().move is not None)
    life.world.pinned[HERE] = {"type": "receiveonly", "receive_only": 3}
    life.world.deaf.add(SetRole)
    life.run(30)
    assert "equal" not in marks(life.app().move or life.app().moves[-1])


def missing_for_a_moment(life):
    """The active side's guard looked while the app was replacing its database."""
    round_ = life.world.guards._round

    def blinked(key, wanted, date, writing):
        said = round_(key, wanted, date, writing)
        return replace(said, kept=()) if key == HERE and wanted.duty is Duty.MAKE else said

    life.world.guards._round = blinked


def old_points(life, minutes):
    """The newest point that has arrived is so old."""
    round_ = life.world.guards._round
    made = life.world.date - timedelta(minutes=minutes)

    def old(key, wanted, date, writing):
        said = round_(key, wanted, date, writing)
        if key == THERE and wanted.duty is Duty.PROVE:
            return replace(said, proven=tuple(replace(one, made_at=made) for one in said.proven))
        return said

    life.world.guards._round = old


def test_a_file_in_the_place_of_a_deleted_database_is_not_hidden_by_its_old_points():
    life = guarded()
    old_points(life, 60)
    missing_for_a_moment(life)  # the guard beside it: no database there any more, for an hour
    life.world.pinned[THERE] = {"need_items": 1, "need_files": (DATABASE,)}  # an ordinary file now, never arrived
    life.run(120)
    assert age(life) is None or age(life) >= timedelta(seconds=100), age(life)


def test_what_a_dead_guard_said_of_a_deletion_does_not_hide_the_database_for_ever():
    life = guarded()
    missing_for_a_moment(life)
    old_points(life, 5)
    life.run(30)
    life.world.guards.mute.add(HERE)
    life.world.pinned[THERE] = {"need_items": 1, "need_files": (DATABASE,)}
    life.run(600)
    assert age(life) is None or age(life) > timedelta(minutes=5), age(life)


def test_a_lease_that_moves_takes_the_taint_off_though_the_hypervisor_is_silent():
    life = tainting()
    powered_off(life)
    life.until(arrived(B))
    life.run(20)
    assert W1 in life.world.tainted
    life.world.nodes[W1] = {"guest": Unknown("no answer within 2 s")}
    life.world.off.clear()
    life.run(14)  # one renewal at least
    assert W1 not in life.world.tainted


def test_a_kubelet_that_answers_takes_the_taint_off_though_the_hypervisor_is_silent():
    life = tainting(after_fence=AfterFence.LEAVE)
    powered_off(life)
    life.until(arrived(B))
    life.run(20)
    life.world.nodes[W1] = {"guest": Unknown("no answer within 2 s"), "kubelet": Kubelet.ALIVE}
    life.run(10)
    assert W1 not in life.world.tainted


def test_forced_failover_into_a_broken_copy_names_it_as_lost():
    life = guarded()
    broken(life)
    life.run(30)
    powered_off(life)
    life.run(30)
    force(life)
    life.until(arrived(B), 300)
    move = life.app().moves[-1]
    assert any(DATABASE in text and ("open" in text or "malformed" in text) for text in move.evidence), move.evidence
    # and the app was not started beside nothing without a word
    assert any("app.db" in text and "not placed" in text for text in move.evidence), move.evidence


def test_two_volumes_one_of_which_loses_its_points_in_mid_move():
    life = guarded(an_app(volumes=("data", "config")))
    powered_off(life)
    life.until(lambda one: one.phase() is Phase.FLIPPING)
    life.world.guards.sick[KEY, "config", B] = (BROKEN,)
    life.run(60)
    assert life.phase() is Phase.FLIPPING


def test_a_target_that_became_unusable_before_placing_is_not_started_on():
    life = guarded()
    powered_off(life)
    life.until(lambda one: one.phase() is Phase.FLIPPING)
    unusable(life)
    life.run(60)
    assert life.phase() is Phase.FLIPPING


def test_a_rest_that_was_said_before_the_last_order_is_no_rest():
    life = guarded()
    life.world.guards.mute.add(HERE)
    key = HERE
    read = life.world.guards.read[key]
    # what it said last is REST, of before it was told to make points; its writes fail, its reads do not
    life.world.guards.read[key] = replace(
        read, observed=Observed(site=P, at=life.world.date, duty=Duty.REST, epoch=0)
    )
    switch(life)
    t = []
    do = life.world.do
    told = []

    def watched(action):
        if isinstance(action, Want) and action.site is P and action.wanted.duty is Duty.REST:
            told.append(life.world.s)
        if isinstance(action, Scan) and action.reason == "barrier":
            t.append(life.world.s)
        return do(action)

    life.do = watched
    life.run(60)
    assert told
    assert t
    assert t[0] - told[0] >= 30, (told, t)


def test_an_order_that_places_does_not_outlive_a_lost_memory():
    """Frozen, a person starts the app by hand; the guard, whose disk has room again, places beneath it."""
    life = guarded()
    life.world.guards.stuck[THERE] = "placing needs 9 bytes, 3 are free"
    powered_off(life)
    life.until(lambda one: one.phase() is Phase.FLIPPING and bool(order(one, THERE).move))
    life.memory = None
    life.restart()
    life.run(60)
    assert life.phase() is Phase.FROZEN
    # the operator does what the page says: scales it up at the backup
    raw = life.world.raw[KEY]
    spec = raw["spec"]["template"]["spec"]
    for one in spec["volumes"]:
        claim = one.get("persistentVolumeClaim")
        if claim and claim["claimName"] == "pvc-sonarr":
            claim["claimName"] = "pvc-sonarr-backup"
    spec["nodeSelector"] = {"role": "backup"}
    raw["spec"]["replicas"] = 1
    life.world.pods[KEY].clear()
    life.run(20)
    life.world.guards.stuck.clear()
    life.run(20)
    assert not any(writing for _, _, writing in life.world.guards.placing), life.world.guards.placing
