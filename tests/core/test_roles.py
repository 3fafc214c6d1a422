"""Roles, adoption and take-back, step by step: who sends, who receives, and when a copy counts again."""

from dataclasses import replace

import pytest

from failoverd.core.memory import Phase, Standing
from failoverd.core.model import (
    Revert,
    Role,
    Scan,
    SetIgnores,
    SetRole,
    Why,
)
from failoverd.core.rules import Mode
from tests.core.build import KEY, W1, B, P, World, some_rules
from tests.core.life import Life, healthy, kinds

HERE, THERE = (KEY, "data", P), (KEY, "data", B)


def newborn(**rules):
    """An app never seen before, with VolSync's default roles."""
    life = Life(World(some_rules(**rules)))
    for key in (HERE, THERE):
        life.world.folders[key] = replace(life.world.folders[key], type="sendreceive", ignores=())
    return life


def roles(life):
    return [(act.site, act.role) for act in life.world.did if isinstance(act, SetRole)]


def copy_of(life, site=P):
    return life.app().volumes["data"].copies[site]


# ---------------------------------------------------------------- adoption


def test_adoption_gives_the_active_side_its_role_at_once_and_scans_the_standby_first():
    life = newborn()
    life.run(30)
    assert roles(life) == [(P, Role.SEND_ONLY), (B, Role.RECEIVE_ONLY)]
    did = kinds(life.world.did)
    standby = [at for at, act in enumerate(life.world.did) if isinstance(act, Scan) and act.site is B]
    last = max(at for at, name in enumerate(did) if name == "SetRole")
    assert standby
    assert standby[0] < last
    assert life.phase() is Phase.WATCHING


def test_the_shm_pattern_is_added_to_what_is_ignored_on_both_sides_once():
    life = newborn()
    life.world.folders[HERE] = replace(life.world.folders[HERE], ignores=("lost+found",))
    life.run(30)
    acts = [act for act in life.world.did if isinstance(act, SetIgnores)]
    assert {act.site for act in acts} == {P, B}
    assert len(acts) == 2
    assert life.world.folders[HERE].ignores == ("lost+found", "(?d)*-shm")


UNEQUAL = {
    "the standby lacks something": (B, {"need_items": 1}),
    "the standby only heard half": (B, {"remote_sequence": 50}),
    "the standby has errors": (B, {"errors": 2}),
    "the active side has errors": (P, {"errors": 1}),
    "only the standby has a file": (P, {"need_items": 1}),
    "the active side heard only half": (P, {"remote_sequence": 50}),
    "nobody knows what the active side heard": (P, {"remote_sequence": None}),
    "a paused standby": (B, {"paused": True, "state": ""}),
}


@pytest.mark.parametrize(("site", "changes"), UNEQUAL.values(), ids=UNEQUAL)
def test_nothing_receives_only_before_both_were_proven_equal(site, changes):
    life = newborn()
    life.world.pinned[KEY, "data", site] = changes
    life.run(60)
    assert (B, Role.RECEIVE_ONLY) not in roles(life)
    assert life.phase() is Phase.ADOPTING
    assert "adopting" in life.decision.apps[KEY].waiting


def test_a_change_that_only_a_scan_of_the_standby_finds_keeps_it_from_receiving_only():
    life = newborn()
    carry_out = life.world.do

    def found(action):
        receipt = carry_out(action)
        if isinstance(action, Scan) and action.site is B:
            return replace(receipt, scanned=replace(receipt.scanned, sequence=101))
        return receipt

    life.do = found
    life.run(60)
    assert roles(life) == [(P, Role.SEND_ONLY)]


def test_an_app_being_adopted_is_not_moved():
    life = newborn()
    life.world.pinned[HERE] = {"need_items": 1}
    life.run(60)
    life.world.off.add(W1)
    life.run(60)
    assert Why.NOT_ADOPTED in life.why()
    assert life.app().moves == ()


def test_observing_sets_no_role_and_asks_for_no_scan_unless_told_so():
    life = newborn(mode=Mode.OBSERVE)
    life.run(60)
    assert life.world.did == []
    life = newborn(mode=Mode.OBSERVE, observe_scan=True)
    life.run(60)
    assert set(kinds(life.world.did)) == {"Scan"}


TRACES = {
    "an epoch on the workload": lambda world: world.raw[KEY]["metadata"]["annotations"].update(
        {"failoverd.io/epoch": "4"}
    ),
    "the active side receives only": lambda world: world.folders.update(
        {HERE: replace(world.folders[HERE], type="receiveonly")}
    ),
    "the standby sends": lambda world: world.folders.update({THERE: replace(world.folders[THERE], type="sendonly")}),
}


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
def test_no_memory_beside_a_trace_of_ours_is_frozen_and_touches_nothing(trace):
    life = Life(World(some_rules()))
    trace(life.world)
    life.run(60)
    assert life.phase() is Phase.FROZEN
    assert life.why() == {Why.FROZEN}
    assert life.world.did == []


def test_a_first_look_waits_until_everything_could_be_read():
    life = newborn()
    life.world.unread[THERE] = "connection refused"
    life.run(20)
    assert life.memory.apps == {}
    assert "connection refused" in life.told()
    life.world.unread.clear()
    life.run(30)
    assert life.phase() is Phase.WATCHING


# ---------------------------------------------------------------- mending


def test_an_active_side_that_lost_its_role_is_mended_at_once_even_when_the_standby_is_silent():
    life = healthy()
    life.world.folders[HERE] = replace(life.world.folders[HERE], type="sendreceive")
    life.world.unread[THERE] = "timeout"
    life.tick()
    assert roles(life) == [(P, Role.SEND_ONLY)]
    life.run(10)
    assert len(roles(life)) == 1


def test_an_active_side_that_only_receives_waits_for_the_standbys_word_unless_the_workload_bears_memory_out():
    life = healthy()
    life.world.folders[HERE] = replace(life.world.folders[HERE], type="receiveonly")
    life.world.folders[THERE] = replace(life.world.folders[THERE], type="sendonly")
    life.world.unread[THERE] = "timeout"  # a control plane restored from before a move looks like this
    life.run(20)
    assert roles(life) == []
    assert Why.DIVERGED in {one.why for one in life.decision.apps[KEY].alarms}
    life.world.unread.clear()
    life.run(5)
    assert life.phase() is Phase.FROZEN
    life = healthy()
    life.world.folders[HERE] = replace(life.world.folders[HERE], type="receiveonly")
    life.world.unread[THERE] = "timeout"
    life.run(5)
    assert roles(life) == []
    life.world.unread.clear()
    life.run(5)
    assert roles(life) == [(P, Role.SEND_ONLY)]


def test_a_survivor_that_only_receives_is_mended_beside_a_dead_peer_when_the_workload_carries_our_epoch():
    life = healthy()
    life.world.off.add(W1)
    life.until(lambda one: one.phase() is Phase.WATCHING and one.app().active is B)
    before = len(roles(life))
    life.world.folders[THERE] = replace(life.world.folders[THERE], type="receiveonly")
    life.run(5)
    assert roles(life)[before:] == [(B, Role.SEND_ONLY)]


def test_two_sides_of_which_the_wrong_one_sends_are_frozen_for_a_human():
    life = healthy()
    life.world.folders[HERE] = replace(life.world.folders[HERE], type="receiveonly")
    life.world.folders[THERE] = replace(life.world.folders[THERE], type="sendonly")
    life.run(20)
    assert life.phase() is Phase.FROZEN
    assert roles(life) == []


def test_a_clean_standby_that_sends_is_frozen_not_overridden():
    life = healthy()
    life.world.folders[THERE] = replace(life.world.folders[THERE], type="sendonly")
    life.run(20)
    assert life.phase() is Phase.FROZEN
    assert roles(life) == []
    assert "Override" not in kinds(life.world.did)


def test_a_workload_of_a_newer_epoch_means_memory_is_from_the_past_and_freezes():
    life = healthy()
    life.world.raw[KEY]["metadata"]["annotations"]["failoverd.io/epoch"] = "3"
    life.run(10)
    assert life.phase() is Phase.FROZEN
    assert "memory is from the past" in life.told()


def test_a_standby_that_sends_and_receives_must_be_taken_back():
    life = healthy()
    life.world.folders[THERE] = replace(life.world.folders[THERE], type="sendreceive")
    life.tick()
    assert life.standings()["data"] == ("active", "outdated")
    life.until(lambda one: one.standings()["data"][1] == "clean", 30)


def test_a_standby_that_is_another_installation_must_be_taken_back():
    life = healthy()
    life.world.folders[THERE] = replace(life.world.folders[THERE], device="WIPED")
    life.tick()
    assert life.standings()["data"] == ("active", "outdated")
    life.until(lambda one: one.standings()["data"][1] == "clean", 30)
    assert copy_of(life, B).device == "WIPED"


def test_local_changes_on_a_standby_are_an_alarm_and_are_taken_back_keeping_them():
    life = healthy()
    life.world.folders[THERE] = replace(life.world.folders[THERE], receive_only=2)
    life.tick()
    assert "2 local changes" in str(life.decision.apps[KEY].alarms[0])
    assert life.app().volumes["data"].copies[B].standing is Standing.OUTDATED
    kept = []
    carry = life.world.do

    def do(action):
        if isinstance(action, Revert):
            kept.append(life.world.folders[THERE].versioning)
        return carry(action)

    life.do = do
    life.until(lambda one: one.app().volumes["data"].copies[B].standing is Standing.CLEAN, 60)
    assert life.world.folders[THERE].receive_only == 0
    assert kept
    assert all(kept)
