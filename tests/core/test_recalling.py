"""Databases put back as of a moment or out of a set: asked for before the app is stopped, placed in one go."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from failoverd.core.databases import points_of
from failoverd.core.memory import Kind, Phase, Restore, Standing
from failoverd.core.model import CommandKind, Pod, Why
from failoverd.core.points import Duty
from failoverd.core.recall import Recall
from failoverd.core.rules import Site
from tests.core.build import KEY, W1, B, P, an_app
from tests.core.guarded import HERE, THERE, age, guarded, marks, order
from tests.core.life import Life, at_rest, command, ended, healthy, last, spec

CONFIG = (KEY, "config", P)


def ask(life: Life, number: str = "r1", before: float = 7, **recall: Any) -> None:
    wanted = {"at": life.world.date - timedelta(seconds=before)} if "moved" not in recall else {}
    restore = Restore(recall=Recall(**{**wanted, **recall}))
    made = command(CommandKind.RESTORE, id=number, target=life.app().active, restore=restore)
    life.commands = (*life.commands, made)


def until_marked(life: Life, name: str) -> None:
    life.until(lambda one: one.app().move is not None and name in marks(one.app().move))


def test_it_is_asked_for_first_then_laid_ready_then_placed_and_the_app_starts_where_it_was():
    life = guarded()
    before = spec(life)
    ask(life)
    asked = life.commands[-1].restore.recall.at
    life.until(lambda one: one.app().move is not None)
    assert (order(life, HERE).duty, order(life, HERE).recall.at) == (Duty.MAKE, asked)
    assert life.app().move.as_of == asked
    until_marked(life, "ordered")
    assert order(life, HERE).duty is Duty.REST
    life.until(lambda one: order(one, HERE).move != "")
    told = order(life, HERE)
    assert (told.duty, told.lay, told.as_of, told.move) == (Duty.PROVE, True, asked, life.app().move.id)
    until_marked(life, "laid")
    life.until(lambda one: not order(one, HERE).lay)
    life.until(ended)
    assert [name for name, _ in last(life).marks if name != "decided"] == [
        "halted", "stopped", "ordered", "laid", "placed", "returned", "started", "ready",
    ]  # fmt: skip
    assert life.world.guards.placing == [(HERE, last(life).id, False)]
    assert (last(life).kind, last(life).outcome, last(life).source, last(life).target) == (Kind.RESTORE, "done", P, P)
    assert f"put back as of {asked:%Y-%m-%d %H:%M:%S}: app.db; displaced and kept: " in last(life).evidence[-1]
    assert spec(life) == before
    assert life.seen[-3:] == [Phase.STOPPING, Phase.RESTORING, Phase.WATCHING]
    life.run(2)
    assert order(life, HERE).recall is None


def test_points_of_before_it_are_of_no_use_to_a_failover_right_after_it():
    life = guarded()
    old = points_of(life.app())
    ask(life)
    life.until(ended)
    assert old[0] < points_of(life.app())[0] == last(life).epoch
    life.world.guards.mute.add(HERE)  # no new point is made before the node dies
    life.world.off.add(W1)
    life.run(150)
    assert (life.app().active, age(life)) == (P, None)
    assert Why.AGE_UNKNOWN in life.why()


def test_a_failover_after_the_first_new_point_places_what_was_put_back_or_newer():
    life = guarded()
    ask(life)
    life.until(ended)
    life.until(lambda one: age(one) is not None)
    life.world.off.add(W1)
    life.until(lambda one: at_rest(one) and one.app().active is B)
    told = life.world.guards.placing[-1]
    assert told[:2] == (THERE, last(life).id)
    assert age_of_order(life) == life.app().moves[0].epoch


def age_of_order(life: Life) -> int:
    return points_of(replace(life.app(), moves=life.app().moves[:1], epoch=life.app().moves[0].epoch))[0]


def test_change_counters_tell_nothing_once_databases_were_put_back():
    life = guarded()
    assert not order(life, THERE).rewound
    ask(life)
    life.until(ended)
    life.run(10)
    assert order(life, THERE).rewound


def test_a_restore_of_a_file_or_one_that_came_to_nothing_leaves_the_points_as_good_as_they_were():
    life = guarded()
    old = points_of(life.app())
    life.world.guards.stuck[HERE] = "placing needs 9 bytes, 5 are free"
    ask(life)
    life.until(ended)
    assert last(life).outcome == "aborted: data at primary: placing needs 9 bytes, 5 are free"
    life.world.guards.stuck.clear()
    restore = command(CommandKind.RESTORE, id="r2", target=P, restore=Restore(volume="data", path="missing"))
    life.commands = (*life.commands, restore)
    life.until(lambda one: ended(one) and len(one.app().moves) == 2)
    assert points_of(life.app()) == old
    life.run(10)
    assert not order(life, THERE).rewound


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda guards: guards.cannot.update({HERE: "no point of app.db is that old"}), "no point of app.db is that"),
        (lambda guards: guards.mute.add(HERE), "its guard is silent: last heard"),
        (lambda guards: guards.deaf.add(HERE), "its guard has not said what can be had"),
        (
            lambda guards: setattr(guards, "databases", ()),
            "nothing of it lies at primary: failoverd displaced sonarr",
        ),
    ],
)
def test_what_cannot_be_had_is_refused_by_name_and_stops_no_app(spoil: Any, why: str):
    life = guarded()
    spoil(life.world.guards)
    life.run(70)
    ask(life)
    life.until(lambda one: "r1" in one.memory.refusals, within=110)
    assert why in life.memory.refusals["r1"]
    assert life.app().moves == ()
    assert life.seen[-1] is Phase.WATCHING
    life.run(5)
    assert order(life, HERE).recall is None


def test_without_a_guard_it_is_refused():
    life = healthy()
    ask(life)
    life.run(6)
    assert "restore points and sets are the guard's, and there is none" in life.memory.refusals["r1"]


def test_an_object_that_cannot_be_read_just_now_is_waited_for():
    life = guarded()
    life.world.guards.unread.add(HERE)
    ask(life)
    life.run(20)
    assert life.memory.refusals == {}
    life.world.guards.unread.clear()
    life.until(ended)
    assert last(life).outcome == "done"


@pytest.mark.parametrize("standing", [Standing.TAKING_BACK])
def test_while_a_copy_is_taken_back_it_is_refused(standing: Standing):
    life = guarded()
    volume = life.app().volumes["data"]
    copies = {**volume.copies, B: replace(volume.copies[B], standing=standing)}
    life.memory = replace(
        life.memory, apps={KEY: replace(life.app(), volumes={"data": replace(volume, copies=copies)})}
    )
    life.world.folders[THERE] = replace(life.world.folders[THERE], need_items=1)
    ask(life)
    life.tick()
    assert "taking back: wait until that has ended" in life.memory.refusals["r1"]


def both() -> Life:
    life: Life = guarded(an_app(volumes=("data", "config")))
    return life


def test_all_volumes_are_placed_as_of_the_one_moment_that_the_slowest_can_be_had_as_of():
    life = both()
    slow = life.world.date - timedelta(seconds=30)
    life.world.guards.moments[CONFIG] = slow
    ask(life)
    life.until(ended)
    assert last(life).as_of == slow
    assert [(key[1], move) for key, move, _ in life.world.guards.placing] == [
        ("data", last(life).id), ("config", last(life).id),
    ]  # fmt: skip


def test_one_volume_that_cannot_lay_its_copies_ready_leaves_the_other_as_it_was():
    life = both()
    life.world.guards.stuck[CONFIG] = "no room"
    ask(life)
    life.until(ended)
    assert last(life).outcome == "aborted: config at primary: no room"
    assert life.world.guards.placing == []


def test_volumes_whose_points_do_not_reach_each_other_are_refused():
    life = both()
    life.world.guards.moments[CONFIG] = life.world.date - timedelta(seconds=50)
    life.world.guards.oldest[HERE] = life.world.date - timedelta(seconds=40)
    ask(life)
    life.until(lambda one: "r1" in one.memory.refusals)
    assert "data at primary: its points begin at" in life.memory.refusals["r1"]


def test_one_volume_may_be_named_and_the_other_guard_is_asked_nothing():
    life = both()
    ask(life, volume="config")
    life.until(ended)
    assert [key for key, _, _ in life.world.guards.placing] == [CONFIG]
    assert last(life).outcome == "done"


def test_a_set_is_put_back_by_the_name_of_its_folder():
    life = guarded()
    ask(life, moved="m/0000")
    life.until(ended)
    assert (last(life).outcome, last(life).as_of) == ("done", None)
    assert "put back out of m/0000: app.db" in last(life).evidence[-1]
    assert points_of(life.app())[0] == last(life).epoch


def test_a_guard_that_falls_silent_before_anything_is_laid_is_given_up():
    life = guarded()
    life.world.guards.lays = False
    ask(life)
    until_marked(life, "ordered")
    life.world.guards.mute.add(HERE)
    life.until(ended)
    assert "not laid ready in time" in last(life).outcome or "its guard is silent" in last(life).outcome
    assert life.world.guards.placing == []


def test_a_node_that_dies_before_anything_is_moved_ends_it_and_its_failover_begins():
    life = guarded()
    life.world.guards.lays = False
    ask(life)
    until_marked(life, "ordered")
    life.world.off.add(W1)
    life.until(lambda one: at_rest(one) and one.app().active is B)
    assert [move.kind for move in life.app().moves] == [Kind.RESTORE, Kind.FAILOVER]
    assert life.app().moves[0].outcome.startswith("aborted: ")


def test_once_something_may_be_moved_the_app_waits_stopped_with_an_alarm_until_all_is_placed():
    life = guarded()
    ask(life)
    until_marked(life, "laid")
    life.world.guards.mute.add(HERE)
    life.run(400)
    assert life.phase() is Phase.RESTORING
    assert life.world.raw[KEY]["spec"]["replicas"] == 0
    assert {one.why for one in life.decision.apps[KEY].alarms} == {Why.NOT_READY}
    life.world.guards.mute.clear()
    life.until(ended)
    assert last(life).outcome == "done"


def test_nothing_is_ordered_beside_a_pod_that_mounts_the_copy():
    life = guarded()
    ask(life)
    life.until(lambda one: one.phase() is Phase.RESTORING)
    job = Pod(name="backup-job", uid="j", node=W1, claims=("pvc-sonarr",), owned=False)
    life.world.pods[KEY].append(job)
    life.run(20)
    assert (life.phase(), order(life, HERE).move) == (Phase.RESTORING, "")
    life.world.pods[KEY].remove(job)
    life.until(ended)
    assert last(life).outcome == "done"


def test_somebody_who_scales_it_up_in_the_midst_is_undone():
    life = guarded()
    life.world.guards.lays = False
    ask(life)
    until_marked(life, "ordered")
    life.world.raw[KEY]["spec"]["replicas"] = 1
    life.tick()
    life.tick()
    assert life.world.raw[KEY]["spec"]["replicas"] == 0
    life.world.guards.lays = True
    life.until(ended)
    assert last(life).outcome == "done"


def test_the_app_does_not_start_while_a_guard_may_act_on_the_order():
    life = guarded()
    ask(life)
    until_marked(life, "placed")
    life.world.guards.mute.add(HERE)
    life.run(25)
    assert life.phase() is Phase.RESTORING
    life.until(ended)


@pytest.mark.parametrize("site", [P, B])
def test_killed_at_every_tick_it_is_done_once_by_the_next(site: Site):
    for death in range(1, 40, 1 if site is P else 4):
        life = guarded()
        if site is B:
            life.commands = (command(CommandKind.SWITCHOVER, id="away", target=B),)
            life.until(lambda one: one.app().active is B and at_rest(one))
        before, count = spec(life), len(life.app().moves)
        ask(life)
        for _ in range(death):
            life.tick()
        life.restart()
        begun = life.app().move is not None or len(life.app().moves) > count
        life.until(lambda one, n=count: "r1" in one.memory.commands and at_rest(one))
        if not begun:  # whoever is new has not watched the node yet, and refuses: the app was never stopped
            assert ("r1" in life.memory.refusals, len(life.app().moves)) == (True, count)
            continue
        assert (last(life).kind, last(life).outcome) == (Kind.RESTORE, "done")
        assert life.world.guards.placing == [((KEY, "data", site), last(life).id, False)]
        if site is P:
            assert spec(life) == before
