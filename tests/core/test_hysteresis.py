"""Thresholds of UP, DOWN and UNKNOWN: what counts as evidence, what resets nothing, and when we doubt ourselves."""

from dataclasses import replace
from datetime import timedelta

import pytest

from failoverd.core.memory import NodeMemory
from failoverd.core.model import Guest, GuestState, Health, Kubelet, NodeObject, Unknown, Why
from failoverd.core.rules import Require
from tests.core.build import CP, KEY, W1, W2, B, P, World, an_app, some_rules
from tests.core.life import Life, at_rest, healthy

SILENCE = an_app(require=Require.SILENCE)


def health(life, node=W1):
    return life.decision.verdicts[node].health


def next_three(life):
    return [life.tick().verdicts[W1].health for _ in range(3)]


def never_moves(life, seconds):
    life.run(seconds)
    assert life.app().moves == ()
    assert life.app().move is None
    assert life.app().active is P


def test_a_node_is_up_after_its_dwell_and_not_before():
    life = Life(World(some_rules()))
    life.run(18)
    assert health(life) is Health.UNKNOWN
    life.run(6)
    assert health(life) is Health.UP


def test_a_lease_that_was_never_seen_because_it_may_not_be_read_says_so():
    world = World(some_rules())
    world.nodes[W1] = {"lease": Unknown("403 leases is forbidden")}
    life = Life(world)
    life.run(18)
    assert life.decision.verdicts[W1].evidence == ("not seen yet", "lease unknown: 403 leases is forbidden")
    assert life.decision.verdicts[W2].evidence[0].startswith("lease moved")


def test_one_bad_reading_changes_nothing_and_three_do():
    life = healthy()
    life.world.nodes[W1] = {"node": NodeObject(ready="False")}
    assert next_three(life) == [Health.UP, Health.UP, Health.UNKNOWN]
    life = healthy()
    life.world.nodes[W1] = {"node": NodeObject(ready="False")}
    life.tick()
    life.world.nodes.clear()
    assert next_three(life) == [Health.UP] * 3


def test_a_failed_reading_is_unknown_for_that_tick_and_neither_counts_nor_resets():
    life = healthy()
    for broken in ({"node": Unknown("403")}, {"lease": Unknown("timeout")}):
        life.world.nodes[W1] = broken
        life.tick()
        assert health(life) is Health.UNKNOWN
        life.world.nodes.clear()
        life.tick()
        assert health(life) is Health.UP


def test_readings_that_fail_for_ever_never_become_down():
    life = healthy(SILENCE)
    life.world.nodes[W1] = {name: Unknown("403") for name in ("lease", "node", "kubelet", "guest")}
    never_moves(life, 600)
    assert health(life) is Health.UNKNOWN


def test_silence_stands_still_while_the_lease_cannot_be_read():
    life = healthy(SILENCE, fence="")
    life.world.off.add(W1)
    life.run(40)
    life.world.nodes[W1] = {"lease": Unknown("timeout")}
    before = life.decision.verdicts[W1].silent_for
    life.run(100)
    assert life.decision.verdicts[W1].silent_for - before < timedelta(seconds=4)
    assert life.app().active is P


@pytest.mark.parametrize("stall", [5, 14, 28, 45])
def test_an_api_stall_is_nobodys_death(stall):
    life = healthy(SILENCE, fence="")
    life.world.api = False
    life.run(stall)
    assert health(life) is Health.UNKNOWN
    life.world.api = True
    never_moves(life, 120)


def test_a_node_that_died_during_an_api_outage_is_not_up_when_it_is_over():
    life = healthy()
    life.world.api = False
    life.run(30)
    life.world.off.add(W2)
    life.world.api = True
    life.tick()
    assert health(life, W2) is not Health.UP
    life.run(15)
    assert health(life, W2) is not Health.UP


def test_a_network_gone_for_45_seconds_is_no_death():
    life = healthy(SILENCE, fence="")
    life.world.cut.add(W1)
    life.run(45)
    life.world.cut.clear()
    never_moves(life, 120)


def test_silence_without_proof_moves_after_silence_after_and_not_before():
    life = healthy(SILENCE, fence="")
    life.world.off.add(W1)
    life.run(48)
    assert life.app().active is P
    assert life.until(lambda one: one.app().active is B, 30) < 22


def test_a_reboot_with_a_task_is_no_death_however_long_the_task_is_seen():
    life = healthy()
    life.world.off.add(W1)
    life.world.nodes[W1] = {"guest": Guest(state=GuestState.STOPPED, busy="task qmreboot")}
    life.run(25)
    assert life.why() == {Why.GUEST_BUSY}
    life.world.off.clear()
    life.world.nodes.clear()
    never_moves(life, 60)


def test_the_dwell_of_a_stopped_guest_begins_when_its_task_has_ended():
    life = healthy()
    life.world.off.add(W1)
    life.world.nodes[W1] = {"guest": Guest(state=GuestState.STOPPED, busy="vzdump")}
    life.run(30)
    life.world.nodes.clear()
    took = life.until(lambda one: one.app().move is not None, 30)
    assert took >= 9


def test_a_reboot_from_inside_is_no_death():
    life = healthy()
    life.world.off.add(W1)
    life.run(6)
    life.world.off.clear()
    never_moves(life, 60)


@pytest.mark.parametrize("moment", range(10))
def test_a_power_cut_with_proof_is_decided_within_15_seconds_wherever_the_lease_was(moment):
    life = healthy(seconds=60 + moment)
    life.world.off.add(W1)
    assert life.until(lambda one: one.app().move is not None, 20) <= 15


def test_unknown_guest_readings_in_between_lose_no_proof_and_make_none():
    life = healthy()
    life.world.off.add(W1)
    life.run(6)
    life.world.nodes[W1] = {"guest": Unknown("hypervisor: timeout")}
    life.run(70)
    assert life.app().move is None
    assert Why.NOT_DEAD in life.why()
    life.world.nodes.clear()
    life.until(lambda one: one.app().active is B, 10)


def test_a_stopped_guest_whose_lease_moves_is_the_wrong_guest():
    life = healthy()
    life.world.nodes[W1] = {"guest": Guest(state=GuestState.STOPPED)}
    never_moves(life, 200)
    assert {one.why for one in life.decision.verdicts[W1].doubts} == {Why.CONTRADICTION}


@pytest.mark.parametrize("answer", [Kubelet.ALIVE, Kubelet.REFUSED])
def test_a_stopped_guest_whose_host_answers_contradicts_itself(answer):
    life = healthy()
    life.world.cut.add(W1)
    life.world.nodes[W1] = {"guest": Guest(state=GuestState.STOPPED), "kubelet": answer}
    never_moves(life, 200)
    assert Why.CONTRADICTION in life.why()


def test_a_stopped_guest_whose_folder_moves_on_contradicts_itself():
    life = healthy()
    world, key = life.world, (KEY, "data", P)
    world.nodes[W1] = {"lease": world.reading(W1, frozenset()).lease, "guest": Guest(state=GuestState.STOPPED)}
    for _ in range(60):
        world.folders[key] = replace(world.folders[key], sequence=world.folders[key].sequence + 1)
        life.tick()
        assert not life.decision.verdicts[W1].proven
    assert Why.CONTRADICTION in life.why()
    assert life.app().moves == ()


def test_what_was_written_shortly_before_a_proven_death_is_no_sign_of_life():
    life = healthy(seconds=68)
    key = (KEY, "data", P)
    for _ in range(3):
        life.world.folders[key] = replace(life.world.folders[key], sequence=life.world.folders[key].sequence + 1)
        life.tick()
    life.world.off.add(W1)
    assert life.until(lambda one: one.app().move is not None, 20) <= 15
    assert not life.decision.verdicts[W1].isolated


def test_a_guest_once_seen_stopped_that_lived_on_unseen_is_dead_only_from_when_it_really_is():
    life = healthy()
    life.world.nodes[W1] = {"guest": Guest(state=GuestState.STOPPED)}
    life.tick()
    life.world.nodes[W1] = {"guest": Unknown("hypervisor: timeout")}
    life.run(100)
    life.world.nodes.clear()
    life.world.off.add(W1)
    died = life.world.date
    assert 10 <= life.until(lambda one: one.app().move is not None, 60) <= 15
    assert life.app().move.last_write_at >= died
    assert life.app().move.losses[0].age_seconds is not None


def test_a_guest_that_says_stopped_all_along_while_its_node_lived_wrote_until_its_lease_fell_silent():
    life = healthy(an_app(max_data_age=timedelta(hours=1)))
    life.world.nodes[W1] = {"guest": Guest(state=GuestState.STOPPED)}
    life.run(100)
    life.world.off.add(W1)
    died = life.world.date
    life.until(lambda one: one.app().move is not None, 120)
    assert life.app().move.last_write_at >= died


def test_an_api_stall_at_the_moment_of_death_is_no_contradiction():
    life = healthy()
    life.world.api = False
    life.world.off.add(W1)
    life.run(28)
    life.world.api = True
    life.run(4)
    assert life.decision.verdicts[W1].doubts == ()
    life.until(lambda one: one.app().active is B, 40)


def test_a_mapping_is_proven_by_a_lease_that_moves_not_by_its_first_sight():
    life = Life(World(some_rules()))
    life.tick()
    assert life.memory.nodes.get(W1, NodeMemory()).mapped == ""
    life.run(12)
    assert life.memory.nodes[W1].mapped == "f1"


def test_a_guest_mapped_under_another_config_proves_nothing():
    life = healthy()
    life.world.off.add(W1)
    life.world.rules = replace(life.world.rules, fence_hash="f2")
    never_moves(life, 100)
    assert Why.MAPPING in life.why()


def test_a_token_that_sees_only_its_own_tasks_proves_nothing():
    life = healthy()
    life.world.off.add(W1)
    life.world.nodes[W1] = {"guest": Guest(state=GuestState.STOPPED, tasks_visible=False)}
    never_moves(life, 100)
    assert Why.TASKS_HIDDEN in life.why()


def test_a_restarted_daemon_begins_to_observe_from_zero():
    life = healthy(SILENCE, fence="")
    life.world.off.add(W1)
    life.run(50)
    life.restart()
    life.run(50)
    assert life.app().active is P
    life.until(lambda one: one.app().active is B, 30)


def test_when_every_lease_is_silent_we_doubt_ourselves():
    life = healthy(SILENCE, fence="")
    life.world.stalled = True
    never_moves(life, 300)
    assert {Why.NO_WITNESS, Why.TOO_MANY_SILENT} <= life.why()


def test_a_witness_in_our_own_domain_is_none():
    life = healthy(SILENCE, fence="", own_domain="cp")
    life.world.cut.update({W1, W2})
    never_moves(life, 200)
    assert Why.NO_WITNESS in life.why()


def test_more_silent_domains_than_allowed_stop_even_a_proven_death():
    life = healthy()
    life.world.off.update({W1, CP})
    life.world.cut.add(W2)
    life.run(60)
    assert life.app().move is None
    assert Why.TOO_MANY_SILENT in life.why()


def test_a_process_that_did_not_run_for_a_while_has_seen_nothing_meanwhile():
    life = healthy(SILENCE, fence="")
    life.world.stalled = True
    life.tick(70)
    life.world.stalled = False
    life.world.nodes[W1] = {"lease": life.world.reading(W1, frozenset()).lease}
    life.run(40)
    assert life.app().active is P


@pytest.mark.parametrize("answer", [Kubelet.ALIVE, Kubelet.REFUSED])
def test_cut_off_but_serving_is_not_down(answer):
    life = healthy(SILENCE, fence="")
    life.world.cut.add(W1)
    life.world.nodes[W1] = {"kubelet": answer}
    never_moves(life, 200)
    assert life.decision.verdicts[W1].isolated
    assert Why.NOT_DEAD in life.why()


def test_a_folder_that_moves_on_says_the_node_lives():
    life = healthy(SILENCE, fence="")
    world = life.world
    world.nodes[W1] = {"lease": world.reading(W1, frozenset()).lease}
    for _ in range(60):
        key = (KEY, "data", P)
        world.folders[key] = replace(world.folders[key], sequence=world.folders[key].sequence + 1)
        life.tick()
    assert life.decision.verdicts[W1].silent_for > timedelta(seconds=60)
    assert life.app().active is P


def test_nothing_is_down_before_lease_and_node_were_read_uncached():
    life = healthy(SILENCE, fence="")
    life.world.off.add(W1)
    life.world.nodes[W1] = {"uncached": False}
    never_moves(life, 200)


def test_up_again_after_its_dwell_and_at_rest_all_along():
    life = healthy()
    life.world.cut.add(W1)
    life.run(45)
    life.world.cut.clear()
    took = life.until(lambda one: health(one) is Health.UP, 60)
    assert 18 <= took <= 34
    assert at_rest(life)


def test_why_a_running_guest_cannot_be_fenced_is_said():
    life = healthy()
    life.world.nodes[W1] = {"guest": Guest(state=GuestState.RUNNING, managed="HA would start it again")}
    life.world.cut.add(W1)
    life.run(120)
    assert "w1 cannot be fenced: HA would start it again" in life.told()
