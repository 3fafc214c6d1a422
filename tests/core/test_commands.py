"""What operators ask for: done once, refused with every reason, never twice and never too late."""

from dataclasses import replace
from datetime import timedelta

import pytest

from failoverd.core.commands import REFUSALS
from failoverd.core.memory import Phase
from failoverd.core.model import CommandKind
from tests.core.build import EPOCH_OF_TESTS, KEY, W1, W2, B, P
from tests.core.life import at_rest, command, healthy


def answers(decision):
    return [note.text for note in decision.notes if note.incident.startswith("command")]


def ask(life, kind, key=KEY, **changes):
    life.commands = (command(kind, key, **changes),)
    return answers(life.tick())


REFUSED = {
    "expired": ({"expires": EPOCH_OF_TESTS}, "it has expired"),
    "meant for another epoch": ({"epoch": 7}, "meant for epoch 7, the app is at 0"),
    "an unknown app": ({"app": "media/radarr"}, "not an app of ours"),
    "where it is already": ({"target": P}, "at primary already"),
}


@pytest.mark.parametrize(("changes", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_command_that_cannot_be_meant_is_refused_and_done_with(changes, reason):
    life = healthy()
    told = ask(life, CommandKind.SWITCHOVER, **({"target": B} | changes))
    assert len(told) == 1
    assert reason in told[0]
    assert life.memory.commands == ("c1",)
    assert life.run(10) is not None
    assert life.app().move is None
    assert answers(life.tick()) == []


def test_a_command_is_carried_out_once_however_often_it_is_read():
    life = healthy()
    assert ask(life, CommandKind.SWITCHOVER, target=B, epoch=0) == [f"switchover {KEY}: begun"]
    life.until(lambda one: at_rest(one) and one.app().active is B)
    life.restart()
    life.run(60)
    assert life.app().active is B
    assert life.app().epoch == 1
    assert life.memory.commands == ("c1",)


def test_its_id_is_remembered_in_the_write_that_saves_the_intent():
    life = healthy()
    saves = life.saves
    ask(life, CommandKind.SWITCHOVER, target=B)
    assert life.saves == saves + 1
    assert life.app().move.command == "c1"
    assert life.memory.commands == ("c1",)


def test_a_command_is_refused_with_every_reason():
    life = healthy()
    life.world.nodes[W2] = {}
    life.world.unread[KEY, "data", B] = "connection refused"
    life.world.raw[KEY]["spec"]["replicas"] = 0
    [told] = ask(life, CommandKind.SWITCHOVER, target=B)
    assert "connection refused" in told
    assert "scaled to 0" in told


def test_a_command_that_meets_a_restarting_mover_waits_for_it():
    life = healthy()
    life.world.unread[KEY, "data", P] = "connection refused"
    life.run(15)
    assert ask(life, CommandKind.SWITCHOVER, target=B) == []
    life.world.unread.clear()
    life.until(lambda one: one.app().active is B)


def test_a_command_during_another_move_is_refused_at_once_and_not_kept_for_later():
    life = healthy()
    ask(life, CommandKind.SWITCHOVER, target=B)
    life.until(lambda one: one.phase() is Phase.BARRIER)
    [told] = ask(life, CommandKind.SWITCHOVER, target=B, id="c2")
    assert "another move" in told
    life.until(at_rest)
    life.run(20)
    assert life.app().active is B
    assert len(life.app().moves) == 1


def test_two_commands_for_one_app_at_once_are_one_move_and_one_refusal():
    life = healthy()
    life.commands = (
        command(CommandKind.SWITCHOVER, target=B),
        command(CommandKind.FAILOVER, target=B, id="c2"),
    )
    told = answers(life.tick())
    assert sorted(text.split(": ", 1)[1] for text in told) == [
        "begun",
        "refused: another command of the same app is pending",
    ]


@pytest.mark.parametrize("key", [KEY, "*"])
def test_a_pause_holds_every_move_until_it_is_resumed_or_over(key):
    life = healthy()
    ask(life, CommandKind.PAUSE, key, until=life.world.date + timedelta(seconds=60))
    life.world.off.add(W1)
    life.run(50)
    assert life.app().active is P
    assert "paused by anna" in life.told()
    life.until(lambda one: at_rest(one) and one.app().active is B, 40)


def test_resume_ends_a_pause_and_survives_nothing_it_should_not():
    life = healthy()
    ask(life, CommandKind.PAUSE)
    assert life.memory.pauses.keys() == {KEY}
    ask(life, CommandKind.RESUME, id="c2")
    assert life.memory.pauses == {}


def frozen():
    life = healthy()
    there = (KEY, "data", B)
    life.world.folders[there] = replace(life.world.folders[there], type="sendonly")
    life.run(4)
    assert life.phase() is Phase.FROZEN
    life.world.folders[there] = replace(life.world.folders[there], type="receiveonly")
    return life


def test_the_end_of_a_pause_for_all_thaws_no_frozen_app():
    life = frozen()
    ask(life, CommandKind.RESUME, "*")
    life.run(20)
    assert life.phase() is Phase.FROZEN


def test_a_frozen_app_resumed_by_name_is_adopted_again():
    life = frozen()
    ask(life, CommandKind.RESUME)
    life.until(at_rest, 60)
    assert life.standings()["data"] == ("active", "clean")


def test_a_frozen_app_is_not_moved():
    assert "frozen" in ask(frozen(), CommandKind.SWITCHOVER, target=B)[0]


def test_a_follower_answers_nothing():
    life = healthy()
    life.leader = False
    assert ask(life, CommandKind.SWITCHOVER, target=B) == []
    assert life.memory.commands == ()


def test_nothing_is_answered_while_the_api_server_is_silent():
    life = healthy()
    life.world.api = False
    assert ask(life, CommandKind.SWITCHOVER, target=B) == []
    assert life.memory.commands == ()


def test_a_failback_goes_home_by_hand_whatever_the_hours():
    life = healthy()
    ask(life, CommandKind.SWITCHOVER, target=B)
    life.until(lambda one: at_rest(one) and one.app().active is B)
    life.snapshot["hours_open"] = False
    life.run(30)
    assert ask(life, CommandKind.FAILBACK, id="c2") == [f"failback {KEY}: begun"]
    life.until(lambda one: at_rest(one) and one.app().active is P)


def test_a_forced_failover_of_a_living_node_loses_only_what_it_says():
    life = healthy()
    ask(life, CommandKind.FAILOVER, target=B)
    life.until(lambda one: at_rest(one) and one.app().active is B)
    move = life.app().moves[-1]
    assert move.forced
    assert move.losses[0].age_seconds is not None
    assert life.standings()["data"][0] in ("outdated", "taking back")


def test_why_the_last_commands_were_refused_is_remembered_and_no_more():
    life = healthy()
    for number in range(REFUSALS + 5):
        ask(life, CommandKind.SWITCHOVER, target=P, id=f"c{number}")
    assert list(life.memory.refusals) == [f"c{number}" for number in range(5, REFUSALS + 5)]
    assert set(life.memory.refusals.values()) == {f"{KEY} is at primary already"}
    ask(life, CommandKind.PAUSE, id="p")
    assert "p" not in life.memory.refusals
    life.memory = replace(life.memory, pauses={})
    life.world.folders[KEY, "data", B] = replace(life.world.folders[KEY, "data", B], error="disk full")
    ask(life, CommandKind.SWITCHOVER, target=B, id="last")
    assert "disk full" in life.memory.refusals["last"]
