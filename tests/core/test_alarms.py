"""Alarms that stand until acknowledged: what raises them, what they keep from moving, and what ends them."""

from dataclasses import replace
from typing import Any

import pytest

from failoverd.core.alarms import FEW, LONGEST
from failoverd.core.memory import Phase
from failoverd.core.model import CommandKind, Note, SetIgnores, Unknown, Why
from failoverd.core.names import SHM_PATTERN
from failoverd.core.points import Ailment, Sickness
from tests.core.build import KEY, W1, B, P
from tests.core.guarded import guarded
from tests.core.guards import DATABASE
from tests.core.life import Life, at_rest, command, healthy
from tests.core.test_moves import switch

HERE, THERE = (KEY, "data", P), (KEY, "data", B)
MANY = 1000


def change(life: Life, where: Any, **changes: Any) -> None:
    life.world.folders[where] = replace(life.world.folders[where], **changes)


def alarms(life: Life) -> set[Why]:
    return {one.why for one in life.decision.apps[KEY].alarms}


def acknowledge(life: Life, number: int = 1) -> None:
    """What `failoverd ack` does: everything that is shown at this moment."""
    seen = tuple(one.mark for one in life.app().alarms if one.acknowledged_at is None)
    life.commands = (*life.commands, command(CommandKind.ACK, id=f"ack{number}", seen=seen))
    life.run(6)


def full(count: int = MANY, **rules: Any) -> Life:
    life = healthy(**rules)
    change(life, HERE, local_files=count)
    life.run(6)
    return life


def deleted(life: Life) -> None:
    change(life, HERE, local_files=MANY // 4)


def touched(life: Life) -> None:
    change(life, THERE, receive_only=3)


def ignored(life: Life) -> None:
    change(life, THERE, ignores=("*.log",))


SEEN = {"deleted": (deleted, Why.DELETED), "touched": (touched, Why.LOCAL_CHANGES), "ignored": (ignored, Why.IGNORES)}


@pytest.mark.parametrize(("cause", "why"), SEEN.values(), ids=SEEN)
def test_an_alarm_outlives_its_cause_and_the_process_until_it_is_acknowledged(cause: Any, why: Why):
    life = full()
    well = dict(life.world.folders)
    cause(life)
    life.run(6)
    assert why in alarms(life)
    life.world.folders.update(well)
    life.restart()
    life.run(60)
    assert alarms(life) == {why}
    acknowledge(life)
    assert alarms(life) == set()
    assert life.app().alarms == ()


@pytest.mark.parametrize(("cause", "why"), SEEN.values(), ids=SEEN)
def test_it_holds_back_a_failover_until_it_is_acknowledged(cause: Any, why: Why):
    life = full()
    well = dict(life.world.folders)
    cause(life)
    life.run(6)
    life.world.folders.update(well)
    life.run(12)
    life.world.off.add(W1)
    life.run(60)
    assert life.why() == {why}
    assert life.app().active is P
    acknowledge(life)
    life.until(lambda life: life.app().active is B)


def test_it_holds_back_an_operators_switchover_and_a_forced_failover_records_it():
    life = full()
    deleted(life)
    life.run(6)
    switch(life)
    life.run(6)
    assert (life.app().move, life.app().moves) == (None, ())
    assert "250" not in life.memory.refusals["c1"]
    assert "750 of 1000 files were deleted" in life.memory.refusals["c1"]
    life.commands = (command(CommandKind.FAILOVER, id="c2", target=B),)
    life.until(lambda life: bool(life.app().move or life.app().moves))
    move = life.app().move or life.app().moves[-1]
    assert any(text.startswith("set aside:") and "files were deleted" in text for text in move.evidence)


def test_it_is_seen_in_the_very_tick_in_which_a_move_would_begin():
    life = full()
    life.world.off.add(W1)
    life.until(lambda life: Why.NOT_DEAD in life.why())
    change(life, THERE, receive_only=3)
    life.run(60)
    assert Why.LOCAL_CHANGES in life.why()


def test_more_of_it_or_something_else_alarms_anew_and_the_same_does_not():
    life = full()
    ignored(life)
    life.run(6)
    acknowledge(life)
    life.run(30)
    assert Why.IGNORES not in alarms(life)
    change(life, THERE, ignores=("*.tmp",))
    life.run(6)
    assert Why.IGNORES in alarms(life)
    touched(life)
    life.run(6)
    acknowledge(life, 2)
    assert alarms(life) & {Why.IGNORES, Why.LOCAL_CHANGES} == set()


def test_what_was_over_and_comes_back_alarms_anew():
    life = full()
    for number in (1, 2):
        touched(life)
        life.run(6)
        assert Why.LOCAL_CHANGES in alarms(life)
        acknowledge(life, number)
        life.run(60)  # what it was changed to is taken back
        assert life.app().alarms == ()


def test_files_that_go_after_an_acknowledgement_are_counted_from_what_was_left():
    life = full()
    deleted(life)
    life.run(6)
    acknowledge(life)
    change(life, HERE, local_files=MANY // 4 * 2 // 3)
    life.run(6)
    assert alarms(life) == set()
    change(life, HERE, local_files=MANY // 4 // 3)
    life.run(6)
    assert alarms(life) == {Why.DELETED}


def test_an_acknowledgement_of_less_than_stands_by_now_is_refused():
    life = full()
    deleted(life)
    life.run(6)
    shown = tuple(one.mark for one in life.app().alarms)
    change(life, HERE, local_files=0)
    life.run(6)
    life.commands = (command(CommandKind.ACK, seen=shown),)
    life.run(6)
    assert "look again" in life.memory.refusals["c1"]
    assert Why.DELETED in alarms(life)


def test_what_came_up_since_it_was_shown_stays():
    life = full()
    deleted(life)
    life.run(6)
    shown = tuple(one.mark for one in life.app().alarms)
    touched(life)
    life.run(6)
    life.commands = (command(CommandKind.ACK, seen=shown),)
    life.run(60)
    assert alarms(life) == {Why.LOCAL_CHANGES}


def test_it_is_told_once_by_whoever_sees_it_first():
    life, told = full(), []
    deleted(life)
    for _ in range(2):
        for _ in range(20):
            told += [note.text for note in life.tick(2).notes if note.incident == f"alarm {KEY} {Why.DELETED}"]
        life.restart()
    assert len(told) == 1
    assert "750 of 1000 files were deleted" in told[0]
    assert f"failoverd ack {KEY}" in told[0]


def test_it_outlives_a_freeze():
    life = full()
    deleted(life)
    life.run(6)
    was = replace(life.app(), phase=Phase.FROZEN, frozen_why="for a test")
    life.memory = replace(life.memory, apps={KEY: was})
    life.commands = (command(CommandKind.RESUME),)
    life.until(at_rest, 60)
    life.run(6)
    assert Why.DELETED in alarms(life)


def acknowledgements(life: Life, cause: Any, **said: Any) -> list[Note]:
    """What is told of an alarm from its acknowledgement on."""
    cause(life)
    life.run(6)
    (one,) = [one for one in life.app().alarms if one.acknowledged_at is None]
    life.commands = (command(CommandKind.ACK, id="ack1", seen=(one.mark,), **said),)
    told: list[Note] = []
    for _ in range(20):
        told += [note for note in life.tick(2).notes if note.incident == f"alarm {KEY} {one.why}"]
    return told


@pytest.mark.parametrize(("cause", "why"), SEEN.values(), ids=SEEN)
def test_who_acknowledged_what_and_why_is_told_once_and_never_that_it_is_over(cause: Any, why: Why):
    life = full()
    (note,) = acknowledgements(life, cause, by="anna", why="it was me")
    assert note.text.startswith(f"{KEY}: {why}: acknowledged by anna (it was me): data")
    assert (note.resolved, note.app) == (True, KEY)


def test_what_is_still_seen_is_kept_with_who_acknowledged_it_and_why():
    life = full()
    acknowledgements(life, ignored, by="anna", why="it was me")
    assert [(one.acknowledged_by, one.acknowledged_why) for one in life.app().alarms] == [("anna", "it was me")]


def test_an_acknowledgement_without_a_reason_says_so_and_a_long_one_is_cut():
    (note,) = acknowledgements(full(), deleted, by="", why="")
    assert ": acknowledged by somebody (no reason given): data at primary: 750 of 1000 files" in note.text
    life = full()
    acknowledgements(life, ignored, why="x" * (LONGEST + 1))
    (one,) = life.app().alarms
    assert one.acknowledged_why == "x" * LONGEST


def test_an_acknowledgement_told_by_a_new_leader_is_as_heavy_as_the_alarm():
    life = full()
    deleted(life)
    life.run(6)
    life.restart()
    seen = tuple(one.mark for one in life.app().alarms)
    life.commands = (command(CommandKind.ACK, id="ack1", seen=seen),)
    told = [note for _ in range(20) for note in life.tick(2).notes if note.incident == f"alarm {KEY} {Why.DELETED}"]
    assert [(note.level, note.resolved) for note in told] == [("error", True)]


def test_of_two_alarms_of_a_kind_the_first_acknowledgement_ends_nothing():
    life = full()
    ignored(life)
    life.run(6)
    first = tuple(one.mark for one in life.app().alarms)
    change(life, THERE, ignores=("*.tmp",))
    life.run(6)
    life.commands = (command(CommandKind.ACK, id="ack1", seen=first),)
    incident = f"alarm {KEY} {Why.IGNORES}"
    told = [note for _ in range(9) for note in life.tick(2).notes if note.incident == incident]
    assert [note.resolved for note in told] == [False]
    assert "acknowledged by anna" in told[0].text
    assert "*.log" in told[0].text
    acknowledge(life, 2)
    assert alarms(life) <= {Why.NOT_CLEAN}


def test_an_alarm_is_not_called_over_while_its_app_moves_is_frozen_or_memory_cannot_be_read():
    life = full()
    deleted(life)
    life.run(6)
    told: list[str] = []

    def listen(seconds: int) -> None:
        for _ in range(seconds // 2):
            told.extend(note.text for note in life.tick(2).notes if str(Why.DELETED) in note.incident)

    life.commands = (command(CommandKind.FAILOVER, target=B),)
    listen(120)
    assert life.app().moves
    was = life.app()
    life.memory = replace(life.memory, apps={KEY: replace(was, phase=Phase.FROZEN, frozen_why="for a test")})
    listen(12)
    kept, life.memory = life.memory, Unknown("for a test")
    listen(12)
    life.memory = kept
    life.commands = (*life.commands, command(CommandKind.RESUME, id="c2"))
    listen(60)
    assert told == []
    assert [Why(one.why) for one in life.app().alarms] == [Why.DELETED]


def test_an_alarm_that_stays_speaks_of_the_past():
    life = full()
    ignored(life)
    life.run(6)
    (one,) = life.app().alarms
    assert one.text == "data: the two sides ignored different files (*.log)"


def test_nothing_to_acknowledge_is_refused():
    life = healthy()
    acknowledge(life)
    assert life.memory.refusals["ack1"] == "there is nothing to acknowledge"


def test_what_cannot_be_read_neither_raises_an_alarm_nor_ends_one():
    life = full()
    change(life, HERE, local_files=0, state="scanning")
    life.run(6)
    assert Why.DELETED not in alarms(life)
    change(life, HERE, local_files=MANY, state="idle")
    ignored(life)
    life.run(6)
    acknowledge(life)
    seen = life.app().alarms
    life.snapshot = {"folders": {HERE: Unknown("no answer"), THERE: Unknown("no answer")}}
    life.run(12)
    assert life.app().alarms == seen
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("before", "after", "share", "alarm"),
    [
        (FEW, 0, 0.5, False),
        (FEW + 1, 0, 0.5, True),
        (MANY, MANY // 2, 0.5, False),
        (MANY, MANY // 2 - 1, 0.5, True),
        (MANY, MANY // 2 - 1, 0.9, False),
        (MANY, 0, 1.0, False),
    ],
)
def test_what_a_mass_deletion_is(before: int, after: int, share: float, *, alarm: bool):
    life = full(before, max_deleted=share)
    change(life, HERE, local_files=after)
    life.run(6)
    assert (Why.DELETED in alarms(life)) is alarm


def test_a_volume_that_grows_writes_memory_seldom():
    life = full()
    before = life.saves
    for count in range(MANY, MANY + 50):
        change(life, HERE, local_files=count)
        life.tick(1)
    assert life.app().volumes["data"].files == MANY
    assert life.saves - before <= 3  # proofs


def test_a_database_that_stopped_opening_where_it_runs_stands_until_acknowledged():
    life = guarded()
    assert alarms(life) == set()
    life.world.guards.sick[HERE] = (Sickness(database=DATABASE, ailment=Ailment.CORRUPT, text="malformed"),)
    life.run(15)
    assert Why.SICK_SOURCE in alarms(life)
    life.world.guards.sick.clear()
    life.run(15)
    assert alarms(life) == {Why.SICK_SOURCE}
    acknowledge(life)
    assert alarms(life) == set()


def test_a_locked_database_is_none_that_stopped_opening():
    life = guarded()
    life.world.guards.sick[HERE] = (Sickness(database=DATABASE, ailment=Ailment.LOCKED, text="locked"),)
    life.run(15)
    assert Why.SICK_SOURCE not in alarms(life)


def test_a_side_whose_disk_is_away_ignores_nothing_and_that_is_no_alarm():
    life = full()
    for where in (HERE, THERE):
        change(life, where, ignores=("*.log",))
    change(life, THERE, error="folder marker missing", state="error", ignores=())
    life.run(30)
    assert Why.IGNORES not in {Why(one.why) for one in life.app().alarms}


def test_a_stignore_that_is_gone_with_all_it_said_is_no_alarm():
    life = full()
    for where in (HERE, THERE):
        change(life, where, ignores=("*.log", SHM_PATTERN))
    life.world.deaf.add(SetIgnores)
    change(life, THERE, ignores=())
    life.run(30)
    assert Why.IGNORES not in {Why(one.why) for one in life.app().alarms}
