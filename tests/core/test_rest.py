"""An app at rest: the monitor of the last patch, stability before going home, configuration that changes."""

from dataclasses import replace
from datetime import timedelta

import pytest

from failoverd.core import names
from failoverd.core.memory import Phase
from failoverd.core.model import CommandKind, Health, NodeObject, Pod, Receipt, Unknown, Verify, Why
from failoverd.core.rules import Failback
from tests.core.build import KEY, TWO, W1, W2, B, P, an_app, volume
from tests.core.life import at_rest, command, healthy, kinds
from tests.core.objects import deployment


def away(**app):
    life = healthy(an_app(**app))
    life.world.off.add(W1)
    life.until(lambda one: at_rest(one) and one.app().active is B)
    life.world.off.clear()
    life.until(lambda one: one.standings()["data"] == ("clean", "active"), 100)
    return life


def alarms(life):
    return {alarm.why for alarm in life.decision.apps[KEY].alarms}


def annotations(life):
    return life.world.raw[KEY]["metadata"]["annotations"]


def test_a_hold_that_vanished_is_an_alarm_and_put_back_once():
    life = away(failback=Failback.MANUAL)
    del annotations(life)[names.HOLD]
    life.tick()
    assert Why.DIVERGED in alarms(life)
    assert annotations(life)[names.HOLD] == names.HOLD_VALUE
    assert "PatchWorkload" not in kinds(life.run(30))


def test_claims_that_gitops_put_back_are_an_alarm_and_changed_again():
    life = away(failback=Failback.MANUAL)
    life.world.raw[KEY]["spec"] = deployment(an_app())["spec"]
    del annotations(life)[names.HOLD]
    life.run(4)
    assert life.world.runs_at(an_app(), B)
    assert life.world.raw[KEY]["spec"]["template"]["spec"]["nodeSelector"] == {"role": "backup"}


def test_at_home_nothing_is_patched_whatever_stands_there():
    life = healthy()
    spec = life.world.raw[KEY]["spec"]["template"]["spec"]
    spec["volumes"][0]["persistentVolumeClaim"]["claimName"] = "pvc-sonarr-backup"
    life.run(20)
    assert Why.DIVERGED in alarms(life)
    assert "PatchWorkload" not in kinds(life.world.did)


def test_a_pod_at_the_standby_is_an_alarm():
    life = healthy()
    life.world.pods[KEY].append(Pod(name="two", uid="2", node=W2, claims=("pvc-sonarr-backup",), owned=True))
    life.tick()
    assert Why.DIVERGED in alarms(life)


def test_home_after_everything_was_well_for_stable_for():
    life = away()
    began = life.app().stable_since
    life.until(lambda one: one.app().move is not None, 1000)
    assert (life.world.date - began).total_seconds() >= 600


def test_what_is_unwell_begins_the_wait_anew_and_a_failed_reading_does_not():
    life = away()
    life.run(10)
    began = life.app().stable_since
    assert began
    saves = life.saves
    for broken in ({"node": Unknown("403")}, {"lease": Unknown("timeout")}):
        life.world.nodes[W1] = broken
        life.run(6)
        life.world.nodes.clear()
        life.run(6)
    life.world.unread[KEY, "data", P] = "connection refused"
    life.run(6)
    life.world.unread.clear()
    life.run(4)
    assert life.app().stable_since == began
    assert life.saves - saves <= 3
    life.world.nodes[W1] = {"node": NodeObject(ready="False")}
    life.run(10)
    assert life.app().stable_since is None


def test_a_volume_added_to_a_known_app_is_unproven_until_compared():
    life = healthy()
    app = replace(an_app(), volumes=(volume("sonarr", "data"), volume("sonarr", "media")))
    world = life.world
    world.rules = replace(world.rules, apps=(app,))
    world.raw[KEY] = deployment(app)
    for site in (P, B):
        world.folders[KEY, "media", site] = replace(world.folders[KEY, "data", site], device=f"media-{site}")
    world.pinned[KEY, "media", P] = {"need_items": 1}
    life.run(10)
    assert life.standings()["media"] == ("active", "unproven")
    world.off.add(W1)
    life.run(30)
    assert Why.NOT_CLEAN in life.why()
    assert life.app().active is P


def test_a_volume_taken_out_of_the_configuration_is_forgotten():
    life = healthy(an_app(volumes=("data", "media")))
    life.world.rules = replace(life.world.rules, apps=(an_app(),))
    life.run(4)
    assert life.standings().keys() == {"data"}


def test_in_steady_state_every_decision_is_at_rest_and_sleeps_a_whole_tick():
    life = healthy()
    for _ in range(30):
        decision = life.tick()
        assert decision.wake_at - life.world.now.mono == life.world.rules.timings.tick
        assert decision.apps[KEY].phase is Phase.WATCHING
        assert decision.confirm == frozenset()


def test_a_dead_node_is_looked_at_every_second_only_as_long_as_an_app_lives_on_it():
    life = healthy(an_app(failback=Failback.MANUAL))
    life.world.off.add(W1)
    life.until(lambda one: one.decision.verdicts[W1].health is not Health.UP)
    life.tick()
    assert life.decision.wake_at - life.world.now.mono == timedelta(seconds=1)
    life.until(lambda one: at_rest(one) and one.app().active is B)
    life.run(60)
    assert life.decision.verdicts[W1].health is Health.DOWN
    assert life.decision.wake_at - life.world.now.mono == life.world.rules.timings.tick
    life.world.off.clear()
    life.until(lambda one: one.decision.verdicts[W1].health is Health.UNKNOWN)
    assert life.decision.wake_at - life.world.now.mono == timedelta(seconds=1)


@pytest.mark.parametrize("memory", [Unknown("timeout"), "newer"])
def test_memory_that_cannot_be_read_or_is_newer_freezes_and_writes_nothing(memory):
    life = healthy()
    known = life.memory
    life.memory = replace(known, schema=99) if memory == "newer" else memory
    before = len(life.world.did)
    life.world.off.add(W1)
    life.run(60)
    assert life.decision.actions == ()
    assert life.world.did[before:] == []
    assert life.why() == {Why.FROZEN}


def test_a_follower_decides_nothing():
    life = healthy()
    life.leader = False
    before, memory = len(life.world.did), life.memory
    life.world.off.add(W1)
    life.run(60)
    assert life.world.did[before:] == []
    assert life.memory == memory


def test_the_same_look_gives_the_same_answer():
    from failoverd.core.decide import decide  # noqa: PLC0415

    life = healthy()
    life.world.off.add(W1)
    life.run(10)
    snapshot = life.world.snapshot(frozenset({W1}))
    one, other = (decide(life.world.rules, life.memory, life.watch, snapshot, life.world.now) for _ in range(2))
    assert one == other


URL = "http://sonarr.media.svc/ping"


def verified(answer, url=URL):
    """An app that was just moved by hand; what its page answers, and every time it was asked."""
    life, asked = healthy(an_app(verify_url=url, failback=Failback.MANUAL)), []

    def do(action):
        if not isinstance(action, Verify):
            return life.world.do(action)
        asked.append(action.url)
        return Receipt(action=action, ok=not answer, detail=answer)

    life.do = do
    life.commands = (command(CommandKind.SWITCHOVER),)
    life.until(lambda one: at_rest(one) and one.app().active is B)
    life.run(20)
    return life, asked


def test_a_moved_apps_page_is_asked_once_and_only_where_one_is_configured():
    for url, times in ((URL, 1), ("", 0)):
        life, asked = verified("", url)
        life.run(200)
        assert asked == [URL] * times
        assert Why.VERIFY not in alarms(life)


def test_a_page_that_does_not_answer_is_an_alarm_until_the_next_move_and_never_a_rollback():
    life, asked = verified("HTTP 502")
    alarm = next(one for one in life.decision.apps[KEY].alarms if one.why is Why.VERIFY)
    assert alarm.text == f"verify_url of {KEY} after its move: HTTP 502"
    life.run(200)
    assert (life.app().active, asked) == (B, [URL])
    assert Why.VERIFY in alarms(life)
    life.commands = (command(CommandKind.FAILBACK, id="c2"),)
    life.until(lambda one: at_rest(one) and one.app().active is P)
    assert Why.VERIFY not in alarms(life)


def test_long_after_a_move_a_new_process_asks_no_page():
    life, asked = verified("")
    life.run(200)
    life.restart()
    life.run(60)
    assert asked == [URL]


def test_the_end_of_a_hold_names_its_app_and_an_app_taken_out_of_the_configuration_ends_it_too():
    for gone in (False, True):
        life = healthy(an_app(), an_app(TWO))
        life.world.off.add(W1)
        life.until(lambda one: bool(one.why()))
        if gone:
            life.world.rules = replace(life.world.rules, apps=(life.world.rules.app(TWO),))
            del life.world.raw[KEY]
            life.world.folders = {key: one for key, one in life.world.folders.items() if key[0] == TWO}
        else:
            life.world.off.clear()
        told = []
        for _ in range(20):
            life.tick()
            told += [note for note in life.decision.notes if note.incident == f"hold {KEY}" and note.resolved]
        assert [note.app for note in told] == [KEY]
