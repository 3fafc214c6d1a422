"""Right before a copy is promoted it is read again: what was fit when the move was decided may not be any more."""

from datetime import timedelta

import pytest

from failoverd.core.memory import UNTOUCHED, Phase
from failoverd.core.model import FenceOff, PatchWorkload, Receipt, Role, SetRole, Why
from failoverd.core.rules import Require
from tests.core.build import KEY, W1, B, P, an_app
from tests.core.life import at_rest, healthy, kinds
from tests.core.test_moves import arrived, powered_off, switch

THERE = (KEY, "data", B)
UNMOUNTED = {"error": "folder marker missing", "state": "error", "local_files": 0}
NOT_FIT = {
    "its disk is not mounted": UNMOUNTED,
    "it holds no files": {"local_files": 0},
    "its mover came back wiped": {"device": "ANOTHER-ID", "type": "sendreceive"},
}


def promoted(life):
    return (B, Role.SEND_ONLY) in [(act.site, act.role) for act in life.world.did if isinstance(act, SetRole)]


def alarms(life):
    return {one.why for one in life.decision.apps[KEY].alarms}


@pytest.mark.parametrize("changes", NOT_FIT.values(), ids=NOT_FIT)
def test_a_target_that_breaks_while_pods_are_waited_for_is_not_promoted_and_the_app_waits_stopped(changes):
    life = healthy()
    powered_off(life)
    life.until(lambda one: one.world.raw[KEY]["spec"]["replicas"] == 0)
    life.world.pinned[THERE] = changes
    life.run(60)
    assert life.phase() is Phase.STOPPING
    assert not promoted(life)
    assert alarms(life) & {Why.FOLDER_ERROR, Why.NOT_CLEAN}
    life.world.pinned.clear()
    life.until(arrived(B), 30)
    assert alarms(life) == set()


@pytest.mark.parametrize("phase", [Phase.FLIPPING, Phase.STARTING])
@pytest.mark.parametrize("way", [powered_off, switch])
def test_a_target_that_breaks_at_the_flip_is_neither_promoted_nor_started_on(phase, way):
    life = healthy()
    way(life)
    life.until(lambda one: one.phase() is phase)
    life.world.pinned[THERE] = UNMOUNTED
    life.run(60)
    assert life.phase() is phase
    assert promoted(life) is (phase is Phase.STARTING)
    assert life.world.raw[KEY]["spec"]["replicas"] == 0
    assert alarms(life) == {Why.FOLDER_ERROR}
    life.world.pinned.clear()
    life.until(arrived(B), 30)


def test_a_target_that_breaks_during_the_barrier_makes_a_planned_move_end_where_it_was():
    life = healthy()
    switch(life)
    life.until(lambda one: one.phase() is Phase.BARRIER)
    life.world.pinned[THERE] = {"local_files": 0}
    life.until(at_rest, 200)
    assert life.app().active is P
    assert life.world.raw[KEY]["spec"]["replicas"] == 1


def test_a_target_that_breaks_before_the_first_patch_calls_the_move_off_and_the_fenced_node_starts_again():
    life = healthy(an_app(require=Require.PROOF))
    life.world.cut.add(W1)
    life.until(lambda one: one.phase() is Phase.FENCING)
    life.world.pinned[THERE] = UNMOUNTED
    life.until(lambda one: "FenceOff" in kinds(one.world.did), 60)
    life.until(at_rest, 60)
    assert life.app().moves[-1].outcome.startswith(UNTOUCHED)
    assert "marker missing" in life.app().moves[-1].outcome
    life.world.cut.clear()
    life.until(lambda one: "FenceOn" in kinds(one.world.did), 60)
    life.run(60)
    assert PatchWorkload not in {type(act) for act in life.world.did}
    assert life.standings()["data"] == ("active", "clean")


def test_a_mover_that_restarts_right_before_the_stop_is_waited_for_without_an_alarm():
    life = healthy()
    powered_off(life)
    life.until(lambda one: one.phase() is Phase.STOPPING)
    life.world.unread[THERE] = "connection refused"
    life.run(5)
    assert life.phase() is Phase.STOPPING
    assert alarms(life) == set()
    life.world.unread.clear()
    life.until(arrived(B), 30)


def test_a_source_that_lives_again_takes_its_app_back_from_a_target_that_cannot_be_promoted():
    life = healthy()
    powered_off(life)
    life.until(lambda one: one.world.raw[KEY]["spec"]["replicas"] == 0)
    life.world.pinned[THERE] = UNMOUNTED
    life.run(20)
    life.world.off.clear()
    life.until(at_rest, 120)
    assert life.app().active is P
    assert not promoted(life)
    assert life.app().moves[-1].outcome == "aborted: the target's copy was not fit any more"
    assert life.standings()["data"] == ("active", "clean")
    assert life.world.raw[KEY]["spec"]["replicas"] == 1
    assert life.app().undo is None


def test_what_a_node_wrote_until_it_was_fenced_counts_against_the_limit_of_the_age():
    life = healthy(an_app(require=Require.PROOF, max_data_age=timedelta(seconds=80)))
    life.world.cut.add(W1)
    carry_out, refused_until = life.world.do, life.world.s + 90

    def late(action):
        refused = isinstance(action, FenceOff) and life.world.s < refused_until
        return Receipt(action=action, ok=False, detail="busy") if refused else carry_out(action)

    life.do = late
    life.until(lambda one: W1 in one.world.off, 200)
    life.until(at_rest, 30)
    assert life.app().active is P
    assert "limit 80 s" in life.app().moves[-1].outcome
    life.run(30)
    assert "FenceOn" in kinds(life.world.did)
