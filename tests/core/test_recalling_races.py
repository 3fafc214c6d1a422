"""Databases put back while pods come, volumes leave the configuration, guards fall silent, what is meant is gone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failoverd.core.memory import Phase
from failoverd.core.model import Pod, Why
from failoverd.core.points import Duty
from tests.core.build import KEY, W1
from tests.core.guarded import HERE, guarded, order
from tests.core.life import Life, ended, last
from tests.core.test_recalling import CONFIG, ask, both, until_marked

JOB = Pod(name="backup-job", uid="j", node=W1, claims=("pvc-sonarr",), owned=False)


def test_nothing_is_moved_aside_under_a_pod_that_came_after_the_order():
    life = guarded()
    life.world.guards.lays = False
    ask(life)
    until_marked(life, "ordered")
    life.world.pods[KEY].append(JOB)
    life.world.guards.lays = True
    life.run(20)
    assert (life.phase(), life.world.guards.placing) == (Phase.RESTORING, [])
    life.world.pods[KEY].remove(JOB)
    life.until(ended)
    assert last(life).outcome == "done"


def test_a_guard_that_may_move_databases_rests_while_a_pod_has_come():
    life = guarded()
    ask(life)
    until_marked(life, "laid")
    life.world.guards.stuck[HERE] = "backup-job has it open"
    life.until(lambda one: order(one, HERE).move != "" and not order(one, HERE).lay)
    life.world.pods[KEY].append(JOB)
    life.run(3)
    assert order(life, HERE).duty is Duty.REST
    life.world.guards.stuck.clear()
    life.run(20)
    assert (life.phase(), life.world.guards.placing) == (Phase.RESTORING, [])
    assert JOB.name in life.decision.apps[KEY].waiting
    life.world.pods[KEY].remove(JOB)
    life.until(ended)
    assert last(life).outcome == "done"


def without_config(life: Life) -> None:
    rules = life.world.rules
    apps = tuple(replace(app, volumes=app.volumes[:1]) for app in rules.apps)
    life.world.rules = replace(rules, apps=apps)


def test_a_volume_that_leaves_the_configuration_before_anything_is_moved_ends_it():
    life = both()
    life.world.guards.lays = False
    ask(life)
    until_marked(life, "ordered")
    without_config(life)
    life.world.guards.lays = True
    life.until(ended)
    assert last(life).outcome == "aborted: config is configured no more"
    assert life.world.guards.placing == []


@pytest.mark.parametrize("volume", ["", "config"])
def test_an_app_does_not_start_without_a_volume_that_leaves_the_configuration_half_placed(volume: str):
    life = both()
    ask(life, volume=volume)
    life.world.guards.stuck[CONFIG] = ""
    life.until(lambda one: one.phase() is Phase.RESTORING)
    life.world.guards.stuck.clear()
    until_marked(life, "laid")
    rules = life.world.rules
    life.world.guards.mute.add(CONFIG)
    without_config(life)
    life.run(200)
    assert life.phase() is Phase.RESTORING
    assert "config is configured no more" in life.decision.apps[KEY].waiting
    assert {one.why for one in life.decision.apps[KEY].alarms} == {Why.NOT_READY}
    life.world.rules = rules
    life.world.guards.mute.clear()
    life.until(ended)
    assert last(life).outcome == "done"


def test_what_is_gone_when_it_is_to_be_laid_is_not_said_to_be_put_back():
    life = guarded()
    ask(life, moved="m")
    life.until(lambda one: one.app().move is not None)
    life.world.guards.databases = ()
    life.until(ended)
    assert last(life).outcome == "aborted: nothing of it lies there any more"
    assert not last(life).renewed


def _has_laid(life: Life) -> bool:
    said = life.world.guards.reading(HERE).observed
    return said is not None and said.placed is not None


def test_a_guard_that_fell_silent_after_laying_is_given_up_while_another_still_lays():
    life = both()
    ask(life)
    until_marked(life, "ordered")
    life.world.guards.mute.add(CONFIG)
    life.until(_has_laid)
    life.world.guards.lays = False
    life.world.guards.mute = {HERE}
    life.run(65)
    life.world.guards.lays = True
    life.until(ended)
    assert last(life).outcome.startswith("aborted: data at primary: its guard is silent")
    assert life.world.guards.placing == []
