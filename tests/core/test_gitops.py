"""A HelmRelease that renders a workload of ours: suspended before it is touched, resumed exactly once it is home."""

import copy
from dataclasses import replace

import pytest

from failoverd.core import names
from failoverd.core.memory import Phase
from failoverd.core.model import CommandKind, PatchRelease, PatchWorkload, Suspension, Why
from failoverd.core.rules import Failback, Site
from tests.core.build import KEY, W1, B, P, an_app
from tests.core.life import Life, at_rest, command, healthy, kinds

NAME = "media/apps"


def helm(*keys: str, **changes):
    apps = [an_app(key, helm_release=NAME, failback=Failback.MANUAL, **changes) for key in keys or (KEY,)]
    return healthy(*apps)


def release(life: Life):
    return life.world.releases[NAME]


def marks(life: Life) -> set[str]:
    return set(release(life)["metadata"].get("annotations", {}))


def send(life: Life, kind: CommandKind, key: str = KEY, target: Site | None = None, number: int = 1) -> None:
    life.commands = (*life.commands, command(kind, key, id=f"c{number}", target=target))


def is_at(site: Site, key: str = KEY):
    return lambda life: life.app(key).active is site and life.phase(key) is Phase.WATCHING


def away(life: Life, key: str = KEY, number: int = 1) -> None:
    send(life, CommandKind.SWITCHOVER, key, B, number)
    life.until(is_at(B, key))


def home(life: Life, key: str = KEY, number: int = 9) -> None:
    send(life, CommandKind.FAILBACK, key, P, number)
    life.until(is_at(P, key))


def test_it_is_suspended_before_its_workload_is_touched_and_what_it_was_is_noted():
    life = helm()
    before = len(life.world.did)
    away(life)
    patches = [one for one in life.world.did[before:] if isinstance(one, PatchRelease | PatchWorkload)]
    assert kinds(patches) == ["PatchRelease", "PatchWorkload", "PatchWorkload"]
    assert release(life)["spec"]["suspend"] is True
    assert marks(life) == {names.SUSPENDED, names.HOLD}
    note = Suspension.of(release(life)["metadata"]["annotations"][names.SUSPENDED])
    assert note == Suspension(app=KEY, epoch=1, why="switchover to backup", suspend=None, held=False)
    assert life.world.raw[KEY]["metadata"]["annotations"][names.HELM_HOLD] == names.HOLD_VALUE


@pytest.mark.parametrize("before", [{}, {"suspend": False}, {"suspend": True}])
@pytest.mark.parametrize("annotations", [None, {"a": "b"}, {names.HOLD: names.HOLD_VALUE}])
def test_there_and_back_workload_and_release_are_what_they_were(before, annotations):
    life = helm()
    release(life)["spec"] |= before
    if annotations is not None:
        release(life)["metadata"]["annotations"] = dict(annotations)
    was = copy.deepcopy((life.world.raw[KEY], release(life)))
    away(life)
    assert release(life)["spec"]["suspend"] is True
    home(life)
    life.run(10)
    for then, now in zip(was, (life.world.raw[KEY], release(life)), strict=True):
        for one in (then, now):
            one["metadata"].pop("resourceVersion")
        assert now == then


def test_a_failover_suspends_it_as_well():
    life = helm()
    life.world.off.add(W1)
    life.until(is_at(B))
    assert release(life)["spec"]["suspend"] is True


def test_it_is_resumed_only_once_the_app_is_home_and_ready():
    life = helm()
    away(life)
    send(life, CommandKind.FAILBACK, KEY, P, 9)
    while not is_at(P)(life):
        life.tick()
        assert release(life)["spec"]["suspend"] is True
    life.run(5)
    assert "suspend" not in release(life)["spec"]


def test_what_somebody_commits_to_it_meanwhile_stays():
    life = helm()
    away(life)
    release(life)["spec"]["values"] = {"image": "2.0"}
    home(life)
    life.run(5)
    assert release(life)["spec"] == {"interval": "30m", "values": {"image": "2.0"}}


@pytest.mark.parametrize("gone", ["suspend", "hold", "everything"])
def test_a_suspension_that_vanishes_is_an_alarm_and_put_back_in_the_same_tick(gone):
    life = helm()
    away(life)
    life.run(10)
    if gone in ("suspend", "everything"):
        release(life)["spec"]["suspend"] = False
    if gone in ("hold", "everything"):
        del release(life)["metadata"]["annotations"][names.HOLD]
    made = life.tick()
    (alarm,) = [one for one in made.apps[KEY].alarms if one.why is Why.RESUMED]
    assert f"HelmRelease {NAME}" in alarm.text
    assert "PatchRelease" in kinds(made.actions)
    assert release(life)["spec"]["suspend"] is True
    assert marks(life) == {names.SUSPENDED, names.HOLD}
    home(life)
    life.run(5)
    assert release(life)["spec"] == {"interval": "30m", "values": {"image": "1.0"}}


@pytest.mark.parametrize("phase", [Phase.BARRIER, Phase.FLIPPING, Phase.STARTING])
def test_a_suspension_that_vanishes_in_mid_move_is_put_back_before_the_move_goes_on(phase):
    life = helm()
    send(life, CommandKind.SWITCHOVER, KEY, B)
    life.until(lambda life: life.phase() is phase, 30)
    release(life)["spec"]["suspend"] = False
    began = len(life.world.did)
    life.until(is_at(B))
    patches = [one for one in life.world.did[began:] if isinstance(one, PatchRelease | PatchWorkload)]
    assert kinds(patches)[0] == "PatchRelease"
    assert release(life)["spec"]["suspend"] is True


def test_a_stop_that_was_called_off_leaves_it_resumed():
    life = helm()
    life.world.deaf.add(PatchWorkload)
    send(life, CommandKind.SWITCHOVER, KEY, B)
    life.until(lambda life: release(life)["spec"].get("suspend") is True, 30)
    life.until(at_rest, 300)
    life.run(10)
    assert "aborted" in life.app().moves[-1].outcome
    assert ("suspend" in release(life)["spec"], marks(life)) == (False, set())


def test_of_two_apps_of_one_release_the_last_one_home_resumes_it():
    life = helm(KEY, "media/radarr")
    away(life)
    away(life, "media/radarr", 2)
    home(life, KEY, 3)
    life.run(20)
    assert release(life)["spec"]["suspend"] is True
    home(life, "media/radarr", 4)
    life.run(5)
    assert "suspend" not in release(life)["spec"]


def test_an_app_given_back_leaves_no_release_suspended():
    life = helm()
    away(life)
    life.world.deaf.add(PatchRelease)
    home(life)
    send(life, CommandKind.RELEASE, KEY, None, 10)
    life.run(10)
    assert life.phase() is Phase.RELEASED
    assert release(life)["spec"]["suspend"] is True
    life.world.deaf.clear()
    life.until(lambda life: "suspend" not in release(life)["spec"], 30)
    assert marks(life) == set()


def test_memory_lost_away_from_home_resumes_nothing():
    life = helm()
    away(life)
    life.memory = None
    life.restart()
    life.run(60)
    assert life.phase() is Phase.FROZEN
    assert release(life)["spec"]["suspend"] is True


def test_memory_lost_between_home_and_resuming_leaves_it_to_the_note_on_the_release():
    life = helm()
    away(life)
    life.world.deaf.add(PatchRelease)
    home(life)
    life.world.deaf.clear()
    life.memory = None
    life.restart()
    life.run(60)
    assert ("suspend" in release(life)["spec"], marks(life)) == (False, set())


def test_what_somebody_else_suspended_is_left_as_it_is_even_resumed_by_hand_at_home():
    life = helm()
    away(life)
    home(life)
    life.run(5)
    release(life)["spec"]["suspend"] = True
    before = len(life.world.did)
    life.run(30)
    assert "PatchRelease" not in kinds(life.world.did[before:])


def test_an_unread_release_starts_no_move_and_is_no_alarm_away_from_home():
    life = helm()
    life.world.unread[NAME] = "403 forbidden"
    life.world.off.add(W1)
    life.run(60)
    assert life.why() == {Why.GITOPS}
    assert "403 forbidden" in life.told()
    life.world.unread.clear()
    life.until(is_at(B))
    life.world.unread[NAME] = "403 forbidden"
    made = life.tick()
    assert [one.why for one in made.apps[KEY].alarms] == []


def test_a_release_that_cannot_be_read_any_more_keeps_a_move_from_its_first_patch():
    life = helm()
    send(life, CommandKind.SWITCHOVER, KEY, B)
    life.until(lambda life: life.phase() is Phase.STOPPING, 30)
    life.world.unread[NAME] = "403 forbidden"
    before = len(life.world.did)
    life.run(30)
    assert not {"PatchWorkload", "PatchRelease"} & set(kinds(life.world.did[before:]))
    assert "403 forbidden" in life.decision.apps[KEY].waiting


def test_a_release_that_does_not_become_suspended_is_an_alarm_and_touches_nothing():
    life = helm()
    life.world.deaf.add(PatchRelease)
    life.world.off.add(W1)
    life.until(lambda life: life.phase() is Phase.STOPPING, 60)
    life.run(35)
    (alarm,) = life.decision.apps[KEY].alarms
    assert str(alarm) == f"failover of {KEY} waits for HelmRelease {NAME} to be suspended"
    assert "PatchWorkload" not in kinds(life.world.did)
    life.world.deaf.clear()
    life.until(is_at(B))


def refused(life: Life) -> str:
    send(life, CommandKind.SWITCHOVER, KEY, B)
    life.run(5)
    return "; ".join(life.memory.refusals.values())


def test_a_planned_move_waits_for_an_upgrade_that_runs_and_a_failover_does_not():
    life = helm()
    release(life)["busy"] = "Running 'upgrade' action with timeout of 5m0s"
    assert "at work: Running 'upgrade'" in refused(life)
    life.world.off.add(W1)
    life.until(is_at(B))


def test_an_upgrade_that_began_right_before_it_was_suspended_is_waited_for():
    life = helm()
    send(life, CommandKind.SWITCHOVER, KEY, B)
    life.until(lambda life: release(life)["spec"].get("suspend") is True, 30)
    release(life)["busy"] = "Running 'upgrade' action with timeout of 5m0s"
    life.run(5)
    assert "PatchWorkload" not in kinds(life.world.did)
    del release(life)["busy"]
    life.until(is_at(B))


@pytest.mark.parametrize(
    ("labels", "configured", "said"),
    [
        ({names.HELM_NAME: "sonarr", names.HELM_NAMESPACE: "media"}, "",
         'belongs to HelmRelease media/sonarr, which would undo the patch: set helm_release = "media/sonarr"'),
        ({names.HELM_NAME: "sonarr", names.HELM_NAMESPACE: "media"}, NAME,
         f"belongs to HelmRelease media/sonarr, the configuration names {NAME}"),
        ({}, NAME, f"carries no label of HelmRelease {NAME}, which the configuration names"),
    ],
)  # fmt: skip
def test_the_configuration_and_the_labels_must_name_the_same_release(labels, configured, said):
    life = healthy(an_app(helm_release=configured))
    life.world.raw[KEY]["metadata"]["labels"] = labels
    assert said in refused(life)


def test_a_release_that_something_else_would_resume_is_an_objection():
    life = helm()
    life.world.release = lambda name: replace(
        type(life.world).release(life.world, name), owner="unsupported", owner_name="Argo CD application apps"
    )
    assert "belongs to Argo CD application apps, which would resume it" in refused(life)


def test_the_note_says_back_what_it_was_told_and_nothing_else_passes_for_one():
    for suspend in (None, True, False):
        for held in (True, False):
            note = Suspension(app="a/b", epoch=7, why="failover; before: x", suspend=suspend, held=held)
            assert Suspension.of(str(note)) == note
    note = Suspension(app="a/b", epoch=7, why="failover", suspend=None, held=False)
    for text in ("", "true", str(note).replace("7", "x"), f"{note} "):
        with pytest.raises(ValueError, match="not what failoverd writes"):
            Suspension.of(text)
