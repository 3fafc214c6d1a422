"""Moves, one step at a time: what each one waits for, resumption after every step, and what is harmless twice."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from failoverd.core.memory import Phase, Standing
from failoverd.core.model import (
    CommandKind,
    PatchWorkload,
    Pod,
    Receipt,
    Scan,
    SetRole,
    Watch,
    Why,
)
from failoverd.core.rules import Require
from tests.core.build import KEY, TWO, W1, W2, B, P, an_app
from tests.core.life import at_rest, command, ended, healthy, kinds, last
from tests.core.objects import deployment

SOON = timedelta(seconds=20)
DOUBLE = an_app(TWO, ("data", "media"))


def arrived(site):
    return lambda life: at_rest(life) and life.app().active is site and life.app().move is None


def killed_or_arrived(done):
    return lambda life: len(life.world.did) >= done or arrived(B)(life)


def switch(life, target=B, kind=CommandKind.SWITCHOVER, key=KEY, number="c1"):
    life.commands = (command(kind, key, target=target, id=number),)


def powered_off(life):
    life.world.off.add(W1)


def asked(life):
    switch(life, key=life.world.rules.apps[0].key)


WAYS = {"failover": powered_off, "switchover": asked}


@pytest.mark.parametrize("app", [an_app(), DOUBLE], ids=["one volume", "two volumes"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_move_ends_with_the_target_sending_and_the_app_ready_there(app, way):
    life = healthy(app)
    way(life)
    life.until(arrived(B))
    for one in app.volumes:
        assert life.world.folders[app.key, one.name, B].type == "sendonly"
        source = life.world.folders[app.key, one.name, P].type
        assert source == ("sendonly" if way is powered_off else "receiveonly")
    lost = "outdated" if way is powered_off else "clean"
    assert set(life.standings().values()) == {(lost, "active")}
    assert [pod.node for pod in life.world.pods[app.key]] == [W2]
    assert life.app().moves[-1].outcome == "done"


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_forgetting_the_watch_after_every_tick_of_the_move_changes_nothing(way):
    life = healthy(DOUBLE)
    way(life)
    life.until(lambda one: one.app().move is not None)
    for _ in range(120):
        life.tick()
        life.watch = Watch()
        if at_rest(life):
            break
    assert life.app().active is B
    assert life.app().moves[-1].outcome == "done"


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_killed_after_each_action_another_instance_finishes_the_move(way):
    whole = healthy(DOUBLE)
    way(whole)
    whole.until(lambda one: one.app().move is not None)
    before = len(whole.world.did)
    whole.until(arrived(B))
    steps = len(whole.world.did) - before
    assert steps >= 5
    for killed_after in range(steps):
        life = healthy(DOUBLE)
        way(life)
        life.until(lambda one: one.app().move is not None)
        done = len(life.world.did) + killed_after
        carry_out = life.world.do

        def until_killed(action, life=life, done=done, carry_out=carry_out):
            if len(life.world.did) >= done:
                return Receipt(action=action, ok=False, detail="killed")
            return carry_out(action)

        life.do = until_killed
        life.until(killed_or_arrived(done))
        life.do = carry_out
        life.restart()
        life.until(arrived(B))
        assert life.world.raw[TWO]["spec"]["replicas"] == 1, killed_after


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_killed_between_saving_and_acting_at_every_step_the_move_is_finished(way):
    life = healthy(DOUBLE)
    way(life)
    life.until(lambda one: one.app().move is not None)
    for number in range(200):
        life.acts = bool(number % 2)  # every other daemon dies with its intent saved and nothing done
        life.tick()
        life.restart()
        if life.app().phase is Phase.STOPPING and life.world.off:
            life.run(15)  # death has to be seen anew
        life.tick(0.3)
        if arrived(B)(life):
            break
    assert life.app().active is B


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_action_of_a_move_done_twice_harms_nothing(way):
    life = healthy(DOUBLE)
    way(life)
    carry_out = life.world.do

    def twice(action):
        carry_out(action)
        return carry_out(action)

    life.do = twice
    life.until(arrived(B))
    assert {one.type for key, one in life.world.folders.items() if key[2] is B} == {"sendonly"}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_move_writes_memory_a_handful_of_times_and_repeats_no_patch(way):
    life = healthy()
    saves, before = life.saves, len(life.world.did)
    way(life)
    life.until(arrived(B))
    assert life.saves - saves <= 10
    did = Counter(act.key for act in life.world.did[before:] if not isinstance(act, Scan))
    patches = did.pop(f"PatchWorkload {KEY}")
    assert patches == 2
    assert set(did.values()) <= {1}


def test_the_intent_is_in_memory_before_the_first_act_and_the_loser_outdated_with_it():
    life = healthy()
    powered_off(life)
    life.until(lambda one: one.app().move is not None)
    assert life.decision.actions == ()
    assert life.standings()["data"] == ("outdated", "clean")
    assert life.app().epoch == 1


def test_a_planned_move_leaves_the_standings_alone_until_the_flip():
    life = healthy()
    switch(life)
    life.until(lambda one: one.phase() is Phase.BARRIER)
    assert life.standings()["data"] == ("active", "clean")
    life.until(lambda one: one.phase() is Phase.FLIPPING)
    assert life.standings()["data"] == ("clean", "active")


def test_after_a_planned_move_the_data_age_is_known_at_once():
    life = healthy()
    switch(life)
    life.until(arrived(B))
    assert life.app().volumes["data"].proven_at is not None
    life.tick()
    assert life.decision.apps[KEY].ages["data"] is not None


def test_pods_on_a_living_node_are_waited_for_and_never_deleted():
    life = healthy()
    switch(life)
    life.until(lambda one: one.phase() is Phase.STOPPING)
    stuck = life.world.pods[KEY][0]
    life.world.cut.add(W1)
    life.run(20)
    assert life.world.raw[KEY]["spec"]["replicas"] == 0
    assert life.phase() is Phase.STOPPING
    assert stuck in life.world.pods[KEY]
    assert "DeletePod" not in kinds(life.world.did)
    life.world.cut.clear()
    life.until(arrived(B))


def test_the_app_is_not_started_before_its_controller_has_seen_replicas_0():
    life = healthy()
    switch(life)
    life.world.updated = False
    life.run(20)
    assert life.phase() is Phase.STOPPING
    life.world.updated = True
    life.until(arrived(B))


def test_a_scan_from_before_the_stop_is_no_barrier_scan():
    life = healthy()
    switch(life)
    life.until(lambda one: any(isinstance(act, PatchWorkload) for act in one.world.did))
    life.snapshot["in_flight"] = frozenset({f"Scan {KEY} data primary"})
    life.run(10)
    assert life.phase() is Phase.STOPPING
    life.snapshot.clear()
    life.until(arrived(B))


def test_a_planned_move_stops_nothing_while_a_scan_goes_on():
    """A scan that is not answered takes five minutes: the app was stopped for one of them, and started again."""
    life = healthy()
    life.snapshot["in_flight"] = frozenset({f"Scan {KEY} data primary"})
    switch(life)
    life.until(lambda one: one.phase() is Phase.STOPPING)
    life.until(ended)
    assert last(life).outcome == "aborted: before anything was done, it waited in vain for a scan under way to end"
    assert not [act for act in life.world.did if isinstance(act, PatchWorkload)]
    life.snapshot.clear()
    switch(life, number="c2")
    life.until(arrived(B))


def test_a_scan_that_hangs_at_the_dead_side_does_not_delay_the_failover():
    life = healthy()
    life.snapshot["in_flight"] = frozenset({f"Scan {KEY} data primary"})
    powered_off(life)
    life.until(arrived(B))


def test_another_pod_on_the_claims_holds_the_flip():
    life = healthy()
    switch(life)
    life.until(lambda one: one.phase() is Phase.BARRIER)
    backup = Pod(name="debug", uid="d", node=W1, claims=("pvc-sonarr",), owned=False)
    life.world.pods[KEY].append(backup)
    life.run(10)
    assert life.phase() is Phase.BARRIER
    life.world.pods[KEY].remove(backup)
    life.until(arrived(B))


def test_a_pod_that_appears_before_the_flip_holds_it():
    life = healthy()
    switch(life)
    life.until(lambda one: one.phase() is Phase.FLIPPING)
    debug = Pod(name="debug", uid="d", node=W2, claims=("pvc-sonarr-backup",), owned=False)
    life.world.pods[KEY].append(debug)
    life.run(10)
    assert SetRole not in {type(act) for act in life.world.did}
    life.world.pods[KEY].remove(debug)
    life.until(arrived(B))


@pytest.mark.parametrize("phase", [Phase.BARRIER, Phase.FLIPPING, Phase.STARTING])
def test_replicas_set_by_somebody_in_the_middle_are_set_back_and_the_move_ends(phase):
    life = healthy()
    switch(life)
    life.until(lambda one: one.phase() is phase)
    if life.world.raw[KEY]["spec"]["replicas"] == 0:
        life.world.raw[KEY]["spec"]["replicas"] = 1
    life.until(arrived(B))
    assert life.app().moves[-1].outcome == "done"


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_home_again_everything_is_as_before_and_gitops_owns_it(way):
    life = healthy(an_app(), DOUBLE)
    before = {app.key: deployment(app)["spec"] for app in life.world.rules.apps}
    way(life)
    life.until(arrived(B))
    life.world.off.clear()
    life.commands = ()
    if way is asked:  # where an operator sent it, it stays until an operator brings it back
        switch(life, target=P, kind=CommandKind.FAILBACK, key=life.world.rules.apps[0].key, number="c2")
    life.until(arrived(P), 1500)
    life.run(60)
    assert {key: raw["spec"] for key, raw in life.world.raw.items()} == before
    assert life.app().undo is None
    assert life.phase(TWO) is Phase.WATCHING


def test_an_app_that_an_operator_switched_over_is_not_brought_back_by_itself():
    life = healthy()
    switch(life)
    life.until(arrived(B))
    life.commands = ()
    life.run(1800)
    assert life.app().active is B
    assert life.decision
    assert life.decision.apps[KEY].wanted is None


def test_what_gitops_changed_before_the_stop_is_what_is_restored():
    life = healthy()
    life.world.deaf.add(PatchWorkload)
    switch(life)
    life.until(lambda one: one.phase() is Phase.STOPPING)
    life.run(3)
    life.world.raw[KEY]["spec"]["replicas"] = 2
    life.world.raw[KEY]["spec"]["template"]["spec"]["nodeSelector"]["gpu"] = "yes"
    life.world.deaf.clear()
    life.until(arrived(B))
    undo = life.app().undo
    assert undo
    assert undo.replicas == 2
    assert life.world.raw[KEY]["spec"]["replicas"] == 2


def test_a_target_lost_before_ready_at_home_leaves_nothing_to_undo():
    life = healthy()
    switch(life)
    life.until(arrived(B))
    switch(life, P, number="c2")
    life.until(lambda one: one.phase() is Phase.STARTING)
    powered_off(life)
    life.until(lambda one: one.app().move is None)
    assert life.app().moves[-1].outcome.startswith("failed")
    assert life.app().undo is None
    assert life.world.raw[KEY]["metadata"]["annotations"].keys() == {"deployment.kubernetes.io/revision"}


def test_symmetric_the_same_failover_the_other_way():
    life = healthy(an_app(require=Require.SILENCE), fence="")
    switch(life)
    life.until(arrived(B))
    life.run(60)
    life.world.off.add(W2)
    life.until(arrived(P))
    assert life.app().moves[-1].kind == "failover"
    assert life.standings()["data"] == ("active", "outdated")


def test_only_a_clean_copy_ever_became_active():
    life = healthy()
    powered_off(life)
    life.until(arrived(B))
    life.world.off.clear()
    life.run(10)
    assert life.app().volumes["data"].copies[P].standing is not Standing.CLEAN
    life.world.cut.add(W2)
    life.run(200)
    assert life.app().active is B


def test_a_move_after_memory_was_lost_has_an_id_of_its_own():
    life = healthy()
    switch(life)
    life.until(arrived(B))
    switch(life, target=P, number="c2")
    life.until(arrived(P))
    before = life.app().moves
    life.memory, life.commands = None, ()
    life.restart()
    life.run(60)
    switch(life, number="c3")
    life.until(arrived(B))
    (after,) = life.app().moves
    assert after.epoch in {move.epoch for move in before}
    assert after.id not in {move.id for move in before}


def test_an_app_that_is_not_ready_in_time_is_an_alarm_until_it_is():
    life = healthy()
    switch(life)
    life.until(lambda one: one.phase() is Phase.STARTING)
    life.world.rules = replace(life.world.rules, timings=replace(life.world.rules.timings, ready_timeout=SOON))
    life.world.raw[KEY]["spec"]["template"]["spec"]["nodeSelector"] = {"role": "nowhere"}
    life.tick()
    life.world.raw[KEY]["spec"]["template"]["spec"]["nodeSelector"] = {"role": "nowhere"}
    life.run(10)
    assert life.phase() is Phase.STARTING
    assert life.decision.apps[KEY].alarms == ()
    life.run(20)
    assert {one.why for one in life.decision.apps[KEY].alarms} == {Why.NOT_READY}
    life.world.raw[KEY]["spec"]["template"]["spec"]["nodeSelector"] = {"role": "backup"}
    life.until(arrived(B))
    assert life.decision.apps[KEY].alarms == ()
