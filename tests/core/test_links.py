"""Dead connections: noticed after a dwell, dropped by the side that holds them, seldom, and never in doubt."""

from dataclasses import replace

import pytest

from failoverd.core.links import AGAIN_AFTER, APART_FOR
from failoverd.core.memory import Phase
from failoverd.core.model import CommandKind, DropConnection, Receipt, Why
from failoverd.core.rules import Mode
from tests.core.build import KEY, W1, B, P, an_app
from tests.core.life import command, healthy

HERE, THERE = (KEY, "data", P), (KEY, "data", B)
DWELL, REST = APART_FOR.total_seconds(), AGAIN_AFTER.total_seconds()


def apart(life, holder=B, volume="data"):
    """The primary's node was away for a moment: one side holds the dead connection, the other is turned away."""
    life.world.pinned[KEY, volume, holder] = {"connected": True}
    life.world.pinned[KEY, volume, holder.other] = {"connected": False}
    return life


def answering(life, ok):
    """Restarts that change nothing: made in vain, or refused."""

    def do(action):
        if not isinstance(action, DropConnection):
            return life.world.do(action)
        life.world.did.append(action)
        return Receipt(action=action, ok=ok)

    life.do = do


def drops(life):
    return [act for act in life.world.did if isinstance(act, DropConnection)]


def alarms(life):
    return {alarm.why for alarm in life.decision.apps[KEY].alarms}


@pytest.mark.parametrize("holder", [P, B])
def test_the_side_that_says_connected_is_restarted_once_the_other_has_denied_it_for_long_enough(holder):
    life = apart(healthy(), holder)
    life.run(DWELL - 1)
    assert drops(life) == []
    life.run(8)
    (act,) = drops(life)
    assert (act.site, act.volume, act.started) == (holder, "data", "boot-1")
    assert f"{holder} says connected" in act.reason
    assert f"{DWELL:.0f} s" in act.reason


def test_it_is_an_alarm_that_names_the_side_until_it_is_over():
    life = apart(healthy())
    notes = []
    for _ in range(40):
        notes += [note.text for note in life.tick().notes]
    assert [text for text in notes if "dead connection" in text] == [
        f"{KEY}: data: backup holds a dead connection, and primary is turned away: "
        "nothing replicates until it is dropped",
        f"{KEY} dead connection: alarm is over",
    ]
    assert alarms(life) == set()


def test_sides_that_agree_are_left_alone():
    life = healthy()
    life.world.pinned = {HERE: {"connected": False}, THERE: {"connected": False}}
    life.run(200)
    assert drops(life) == []
    assert alarms(life) == set()


def test_what_heals_within_the_dwell_is_left_alone():
    life = apart(healthy())
    life.run(DWELL - 4)
    life.world.pinned.clear()
    life.run(4)
    apart(life).run(DWELL - 4)
    assert drops(life) == []


@pytest.mark.parametrize("key", [HERE, THERE])
def test_readings_that_fail_in_between_neither_hide_a_dead_connection_nor_are_acted_on(key):
    """On a busy node reads fail now and then: a dwell that began anew with each left a copy to age for minutes."""
    life = apart(healthy())
    for well, ill in ((8, 4), (DWELL - 16, 12)):
        life.run(well)
        life.world.unread[key] = "no answer within 2 s"
        life.run(ill)
        assert drops(life) == []
        life.world.unread.clear()
    life.run(2)
    assert [act.site for act in drops(life)] == [B]


@pytest.mark.parametrize("key", [HERE, THERE])
def test_a_side_unread_for_as_long_as_the_dwell_begins_it_anew(key):
    life = apart(healthy())
    for _ in range(4):
        life.run(DWELL - 10)
        life.world.unread[key] = "no answer within 2 s"
        life.run(DWELL + 4)
        assert alarms(life) & {Why.DEAD_CONNECTION} == set()
        life.world.unread.clear()
    assert drops(life) == []


@pytest.mark.parametrize("key", [HERE, THERE])
def test_one_look_at_a_connection_that_lives_begins_it_anew(key):
    life = apart(healthy())
    for _ in range(4):
        life.run(DWELL - 10)
        life.world.unread[key] = "no answer within 2 s"
        life.run(2)
        life.world.unread.clear()
        life.world.pinned.clear()
        life.run(2)
        apart(life)
    assert drops(life) == []


@pytest.mark.parametrize("key", [HERE, THERE])
def test_another_process_begins_it_anew_too(key):
    life = apart(healthy())
    for number in range(6):
        life.run(DWELL - 10)
        life.world.folders[key] = replace(life.world.folders[key], started=f"boot-{number + 2}")
    assert drops(life) == []


def test_what_a_restart_did_not_mend_is_not_restarted_again_for_minutes():
    life = apart(healthy())
    answering(life, ok=True)
    life.run(DWELL + 10)
    assert len(drops(life)) == 1
    life.run(REST - 20)
    assert len(drops(life)) == 1
    assert alarms(life) == {Why.DEAD_CONNECTION}
    life.run(40)
    assert len(drops(life)) == 2


def test_one_that_was_refused_is_made_again_after_the_dwell():
    """At a real API server one refused request left a returned copy without replication for five minutes."""
    life = apart(healthy())
    answering(life, ok=False)
    life.run(DWELL + 8)
    assert len(drops(life)) == 1
    life.run(DWELL - 10)
    assert len(drops(life)) == 1
    life.do = None
    life.run(20)
    assert len(drops(life)) == 2
    assert alarms(life) == set()


def test_after_one_that_was_mended_the_next_dead_connection_waits_no_longer_than_the_first():
    life = apart(healthy())
    life.run(DWELL + 10)
    assert len(drops(life)) == 1
    apart(life).run(DWELL + 10)
    assert len(drops(life)) == 2


@pytest.mark.parametrize("key", [HERE, THERE])
def test_one_that_was_not_seen_to_be_mended_at_both_sides_still_holds_the_next_back(key):
    life = apart(healthy())
    answering(life, ok=True)
    life.run(DWELL + 10)
    life.world.pinned.clear()
    life.world.unread[key] = "no answer within 2 s"
    life.run(4)
    life.world.unread.clear()
    apart(life).run(DWELL + 10)
    assert len(drops(life)) == 1


def test_each_volume_has_its_own():
    life = healthy(an_app(volumes=("data", "media")))
    apart(life)
    apart(life, P, "media")
    life.run(DWELL + 10)
    assert {(act.volume, act.site) for act in drops(life)} == {("data", B), ("media", P)}
    assert len(drops(life)) == 2


def test_one_alarm_names_all_volumes():
    life = healthy(an_app(volumes=("data", "media")))
    life.world.deaf.add(DropConnection)
    apart(life)
    apart(life, P, "media")
    life.run(DWELL + 10)
    (alarm,) = life.decision.apps[KEY].alarms
    assert str(alarm) == (
        "data: backup holds a dead connection, and primary is turned away; "
        "media: primary holds a dead connection, and backup is turned away: nothing replicates until it is dropped"
    )


def test_a_process_that_is_asked_something_is_not_restarted_meanwhile():
    life = apart(healthy(), P)
    life.snapshot["in_flight"] = frozenset({f"Scan {KEY} data primary"})
    life.run(DWELL + 30)
    assert drops(life) == []
    life.snapshot["in_flight"] = frozenset({f"Scan {KEY} data backup"})
    life.run(4)
    assert [act.site for act in drops(life)] == [P]


def test_observing_restarts_nothing():
    life = apart(healthy())
    life.world.rules = replace(life.world.rules, mode=Mode.OBSERVE)
    life.run(DWELL * 3)
    assert drops(life) == []


def test_only_the_leader_restarts_anything():
    life = apart(healthy())
    life.leader = False
    life.run(DWELL * 3)
    assert drops(life) == []


def test_nothing_is_restarted_in_the_middle_of_a_move():
    life = apart(healthy(), P)
    life.commands = (command(CommandKind.SWITCHOVER, target=B),)
    life.world.pinned[THERE] = {"connected": False, "need_items": 1}  # the barrier waits, and gives up by itself
    life.until(lambda one: one.phase() is Phase.BARRIER)
    before = len(drops(life))
    life.run(DWELL * 2)
    assert life.phase() is Phase.BARRIER
    assert len(drops(life)) == before == 0


@pytest.mark.parametrize("site", [P, B])
def test_a_paused_peer_is_an_alarm_that_names_the_side_and_nobody_is_restarted(site):
    life = healthy()
    life.world.pinned = {HERE: {"connected": False}, THERE: {"connected": True}}
    life.world.pinned[KEY, "data", site]["peer_paused"] = True
    life.run(DWELL * 2)
    assert drops(life) == []
    (alarm,) = life.decision.apps[KEY].alarms
    assert alarm.why is Why.PEER_PAUSED
    assert str(alarm) == (
        f"data: peer paused in the Syncthing of {site}: nothing replicates until somebody resumes it"
    )


def test_after_a_reboot_without_a_move_the_age_is_small_again():
    life = healthy()
    life.world.off.add(W1)
    life.run(4)
    life.world.off.clear()
    apart(life)
    life.world.pinned[THERE]["remote_sequence"] = 50
    life.world.folders[HERE] = replace(life.world.folders[HERE], started="boot-2")

    def carry_out(action):
        if isinstance(action, DropConnection):
            life.world.pinned.clear()
        return type(life.world).do(life.world, action)

    life.do = carry_out
    life.run(DWELL + 30)
    assert life.decision.apps[KEY].ages["data"].total_seconds() < 15


def test_one_that_took_place_though_its_answer_says_otherwise_is_not_made_again_for_minutes():
    """Slow to come back, or its answer lost: the process is another one, and what was tried has mended nothing."""
    life = apart(healthy())

    def do(action):
        if not isinstance(action, DropConnection):
            return life.world.do(action)
        life.world.did.append(action)
        key = (KEY, "data", action.site)
        life.world.folders[key] = replace(life.world.folders[key], started=f"boot-{len(drops(life)) + 1}")
        return Receipt(action=action, ok=False, detail="asked to, and no other process was seen within 30 s")

    life.do = do
    life.run(DWELL + REST - 10)
    assert len(drops(life)) == 1
