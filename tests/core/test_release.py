"""An app that is taken out of our hands: nothing of ours is left on it, and no stale copy flows back."""

import copy
from dataclasses import replace
from typing import Any

import pytest

from failoverd.core import names
from failoverd.core.memory import Phase
from failoverd.core.model import CommandKind
from tests.core.build import KEY, W1, W2, B, P
from tests.core.life import Life, at_rest, command, healthy
from tests.core.test_take_back import lost_and_back

HERE, THERE = (KEY, "data", P), (KEY, "data", B)


def test_a_released_app_sends_and_receives_again_and_is_left_alone():
    life = healthy()
    life.commands = (command(CommandKind.RELEASE),)
    life.run(10)
    assert life.phase() is Phase.RELEASED
    assert {(folder.type, folder.ignores) for folder in life.world.folders.values()} == {("sendreceive", ())}
    before = len(life.world.did)
    life.world.off.add(W1)
    life.run(60)
    assert life.world.did[before:] == []


def test_a_released_app_can_be_given_back_by_name_only():
    life = healthy()
    life.commands = (command(CommandKind.RELEASE),)
    life.run(6)
    life.commands = (command(CommandKind.RESUME, "*", id="c2"),)
    life.run(6)
    assert life.phase() is Phase.RELEASED
    life.commands = (command(CommandKind.RESUME, id="c3"),)
    life.until(at_rest, 60)
    assert life.world.folders[THERE].type == "receiveonly"


def as_git_has_it(life: Life) -> dict[str, Any]:
    """The workload without what the API server counts up."""
    raw = copy.deepcopy(life.world.raw[KEY])
    del raw["metadata"]["resourceVersion"]
    return raw


def test_after_a_move_there_and_back_a_release_leaves_nothing():
    life = healthy()
    git = as_git_has_it(life)
    for side in (HERE, THERE):
        life.world.folders[side] = replace(life.world.folders[side], ignores=("*.tmp", names.SHM_PATTERN))
    life.commands = (command(CommandKind.SWITCHOVER),)
    life.until(lambda one: one.app().active is B and at_rest(one))
    life.commands = (command(CommandKind.FAILBACK, id="c2"),)
    life.until(lambda one: one.app().active is P and at_rest(one))
    life.run(60)
    life.commands = (command(CommandKind.RELEASE, id="c3"),)
    life.run(10)
    assert as_git_has_it(life) == git
    assert life.world.folders[THERE].ignores == ("*.tmp",)
    assert not life.decision.apps[KEY].waiting


def test_with_memory_lost_away_from_home_the_app_is_resumed_brought_home_and_released():
    life = healthy()
    git = as_git_has_it(life)
    life.commands = (command(CommandKind.SWITCHOVER),)
    life.until(lambda one: one.app().active is B and at_rest(one))
    life.memory, life.commands = None, ()
    life.restart()
    life.run(6)
    assert life.phase() is Phase.FROZEN
    life.commands = (command(CommandKind.RELEASE, id="c2"),)
    life.run(6)
    assert life.phase() is Phase.FROZEN  # Flux would start it on a copy that nobody compared
    life.commands = (command(CommandKind.RESUME, id="c3"),)
    life.until(at_rest, 60)
    life.run(30)
    life.commands = (command(CommandKind.FAILBACK, id="c4"),)
    life.until(lambda one: one.app().active is P and at_rest(one))
    life.commands = (command(CommandKind.RELEASE, id="c5"),)
    life.until(lambda one: one.phase() is Phase.RELEASED, 20)
    life.run(10)
    assert as_git_has_it(life) == git
    assert {(folder.type, folder.ignores) for folder in life.world.folders.values()} == {("sendreceive", ())}


def test_a_frozen_app_at_home_is_released_once_everything_can_be_reached():
    life = healthy()
    git = as_git_has_it(life)
    marks = life.world.raw[KEY]["metadata"]["annotations"]
    marks |= {names.EPOCH: "7", names.ACTIVE: "primary", names.HOLD: names.HOLD_VALUE}
    life.memory = None
    life.restart()
    life.run(6)
    assert life.phase() is Phase.FROZEN
    life.world.unread[KEY, "data", B] = "no answer within 2 s"
    life.commands = (command(CommandKind.RELEASE),)
    life.run(10)
    assert life.decision.apps[KEY].waiting == "data at backup: no answer within 2 s"
    assert names.HOLD in life.world.raw[KEY]["metadata"]["annotations"]
    life.world.unread.clear()
    life.run(10)
    assert as_git_has_it(life) == git
    assert {(folder.type, folder.ignores) for folder in life.world.folders.values()} == {("sendreceive", ())}


def test_a_hold_that_is_not_ours_stays():
    life = healthy()
    life.world.raw[KEY]["metadata"]["annotations"][names.HOLD] = names.HOLD_VALUE
    life.commands = (command(CommandKind.RELEASE),)
    life.run(10)
    assert life.phase() is Phase.RELEASED
    assert life.world.raw[KEY]["metadata"]["annotations"][names.HOLD] == names.HOLD_VALUE


@pytest.mark.parametrize("why", ["outdated", "away"])
def test_an_app_whose_stale_copy_would_flow_back_is_not_released(why):
    life = lost_and_back()
    if why == "away":
        life.until(lambda one: one.standings()["data"] == ("clean", "active"), 60)
    life.commands = (command(CommandKind.RELEASE),)
    life.run(6)
    assert at_rest(life)
    assert life.world.folders[THERE].type == "sendonly"
    assert W2 in {pod.node for pod in life.world.pods[KEY]}
