"""What an app is applied from: suspended before the workload is touched, resumed exactly once the app is home."""

import copy
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from failoverd.core import names
from failoverd.core.memory import Phase
from failoverd.core.model import CommandKind, PatchApplier, PatchWorkload, Suspension, Why
from failoverd.core.rules import Applier, ApplierKind, Failback, Site
from tests.core.build import KEY, W1, B, P, an_app
from tests.core.life import Life, at_rest, command, healthy, kinds
from tests.core.objects import application, helm_release

HELM, ARGO = helm_release("media/apps"), application("argocd/apps")


@pytest.fixture(params=[HELM, ARGO], ids=lambda one: one.kind)
def which(request: pytest.FixtureRequest) -> Applier:
    found: Applier = request.param
    return found


def begun(which: Applier, *keys: str, **changes) -> Life:
    apps = [an_app(key, applier=which, failback=Failback.MANUAL, **changes) for key in keys or (KEY,)]
    return healthy(*apps)


def applied(life: Life):
    (found,) = life.world.appliers.values()
    return found


def notes(life: Life) -> dict[str, str]:
    found: dict[str, str] = applied(life)["metadata"].setdefault("annotations", {})
    return found


def marks(life: Life) -> set[str]:
    return set(applied(life)["metadata"].get("annotations", {}))


def ours(which: Applier) -> set[str]:
    """The annotations that a suspension leaves."""
    return {names.SUSPENDED, names.HOLD} | ({names.SKIP} if which.kind is ApplierKind.APPLICATION else set())


def switch(life: Life) -> str | None:
    """What stands where it is suspended, in words."""
    suspend = applied(life)["spec"].get("suspend")
    held = applied(life)["metadata"].get("annotations", {}).get(names.SKIP)
    found: str | None = held if suspend is None else str(suspend).lower()
    return found


def turn(life: Life, which: Applier, text: str | None) -> None:
    """Somebody sets the switch by hand."""
    argo = which.kind is ApplierKind.APPLICATION
    there: dict[str, Any] = notes(life) if argo else applied(life)["spec"]
    key, value = (names.SKIP, text) if argo else ("suspend", text == "true")
    there.pop(key, None)
    if text is not None:
        there[key] = value


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


def test_it_is_suspended_before_its_workload_is_touched_and_what_it_was_is_noted(which):
    life = begun(which)
    before = len(life.world.did)
    away(life)
    patches = [one for one in life.world.did[before:] if isinstance(one, PatchApplier | PatchWorkload)]
    assert kinds(patches) == ["PatchApplier", "PatchWorkload", "PatchWorkload"]
    assert switch(life) == "true"
    assert marks(life) == ours(which)
    note = Suspension.of(notes(life)[names.SUSPENDED])
    assert replace(note, since=None) == Suspension(
        kind=which.kind, app=KEY, epoch=1, why="switchover to backup", before=None, held=False
    )
    assert (note.since is None) == (which is HELM)


def test_what_helm_renders_is_held_against_drift_correction_as_well():
    life = begun(HELM)
    away(life)
    assert life.world.raw[KEY]["metadata"]["annotations"][names.HELM_HOLD] == names.HOLD_VALUE


@pytest.mark.parametrize("before", [None, "false", "true"])
@pytest.mark.parametrize("annotations", [None, {"a": "b"}, {names.HOLD: names.HOLD_VALUE}])
def test_there_and_back_workload_and_applier_are_what_they_were(which, before, annotations):
    life = begun(which)
    if annotations is not None:
        applied(life)["metadata"]["annotations"] = dict(annotations)
    if before is not None:
        turn(life, which, before)
    was = copy.deepcopy((life.world.raw[KEY], applied(life)))
    away(life)
    assert switch(life) == "true"
    home(life)
    life.run(10)
    for then, now in zip(was, (life.world.raw[KEY], applied(life)), strict=True):
        for one in (then, now):
            one["metadata"].pop("resourceVersion")
        assert now == then


@pytest.mark.parametrize("before", ["", "no", '"x", hold absent', "a\nb; ö", "False"])
def test_an_annotation_of_any_text_that_does_not_suspend_is_what_it_was_at_home(before):
    life = begun(ARGO)
    turn(life, ARGO, before)
    away(life)
    assert switch(life) == "true"
    home(life)
    life.run(5)
    assert notes(life) == {names.SKIP: before}


@pytest.mark.parametrize("before", ["1", "t", "T", "TRUE", "True"])
def test_what_go_takes_for_true_suspends_an_application_too_and_is_not_written_over(before):
    life = begun(ARGO)
    turn(life, ARGO, before)
    away(life)
    assert notes(life) == {names.SKIP: before}


def test_a_failover_suspends_it_as_well(which):
    life = begun(which)
    life.world.off.add(W1)
    life.until(is_at(B))
    assert switch(life) == "true"


def test_it_is_resumed_only_once_the_app_is_home_and_ready(which):
    life = begun(which)
    away(life)
    send(life, CommandKind.FAILBACK, KEY, P, 9)
    while not is_at(P)(life):
        life.tick()
        assert switch(life) == "true"
    life.run(5)
    assert switch(life) is None


def test_what_somebody_commits_to_it_meanwhile_stays(which):
    life = begun(which)
    away(life)
    applied(life)["spec"]["values"] = {"image": "2.0"}
    home(life)
    life.run(5)
    assert applied(life)["spec"] == {"interval": "30m", "values": {"image": "2.0"}}


@pytest.mark.parametrize("gone", ["suspend", "hold", "everything"])
def test_a_suspension_that_vanishes_is_an_alarm_and_put_back_in_the_same_tick(which, gone):
    life = begun(which)
    away(life)
    life.run(10)
    if gone in ("suspend", "everything"):
        turn(life, which, "false")
    if gone in ("hold", "everything"):
        del applied(life)["metadata"]["annotations"][names.HOLD]
    made = life.tick()
    (alarm,) = [one for one in made.apps[KEY].alarms if one.why is Why.RESUMED]
    assert str(which) in alarm.text
    assert "PatchApplier" in kinds(made.actions)
    assert switch(life) == "true"
    assert marks(life) == ours(which)
    home(life)
    life.run(5)
    assert applied(life)["spec"] == {"interval": "30m", "values": {"image": "1.0"}}


@pytest.mark.parametrize("phase", [Phase.BARRIER, Phase.FLIPPING, Phase.STARTING])
def test_a_suspension_that_vanishes_in_mid_move_is_put_back_before_the_move_goes_on(which, phase):
    life = begun(which)
    send(life, CommandKind.SWITCHOVER, KEY, B)
    life.until(lambda life: life.phase() is phase, 30)
    turn(life, which, "false")
    began = len(life.world.did)
    life.until(is_at(B))
    patches = [one for one in life.world.did[began:] if isinstance(one, PatchApplier | PatchWorkload)]
    assert kinds(patches)[0] == "PatchApplier"
    assert switch(life) == "true"


def test_a_stop_that_was_called_off_leaves_it_resumed(which):
    life = begun(which)
    life.world.deaf.add(PatchWorkload)
    send(life, CommandKind.SWITCHOVER, KEY, B)
    life.until(lambda life: switch(life) == "true", 30)
    life.until(at_rest, 300)
    life.run(10)
    assert "aborted" in life.app().moves[-1].outcome
    assert (switch(life), marks(life)) == (None, set())


def test_of_two_apps_of_one_release_the_last_one_home_resumes_it(which):
    life = begun(which, KEY, "media/radarr")
    away(life)
    away(life, "media/radarr", 2)
    home(life, KEY, 3)
    life.run(20)
    assert switch(life) == "true"
    home(life, "media/radarr", 4)
    life.run(5)
    assert switch(life) is None


def test_an_app_given_back_leaves_no_release_suspended(which):
    life = begun(which)
    away(life)
    life.world.deaf.add(PatchApplier)
    home(life)
    send(life, CommandKind.RELEASE, KEY, None, 10)
    life.run(10)
    assert life.phase() is Phase.RELEASED
    assert switch(life) == "true"
    life.world.deaf.clear()
    life.until(lambda life: switch(life) is None, 30)
    assert marks(life) == set()


def test_memory_lost_away_from_home_resumes_nothing(which):
    life = begun(which)
    away(life)
    life.memory = None
    life.restart()
    life.run(60)
    assert life.phase() is Phase.FROZEN
    assert switch(life) == "true"


def test_memory_lost_between_home_and_resuming_leaves_it_to_the_note_on_the_release(which):
    life = begun(which)
    away(life)
    life.world.deaf.add(PatchApplier)
    home(life)
    life.world.deaf.clear()
    life.memory = None
    life.restart()
    life.run(60)
    assert (switch(life), marks(life)) == (None, set())


def test_what_somebody_else_suspended_is_left_as_it_is_even_resumed_by_hand_at_home(which):
    life = begun(which)
    away(life)
    home(life)
    life.run(5)
    turn(life, which, "true")
    before = len(life.world.did)
    life.run(30)
    assert "PatchApplier" not in kinds(life.world.did[before:])


def test_an_unread_release_starts_no_move_and_is_no_alarm_away_from_home(which):
    life = begun(which)
    life.world.unread[which] = "403 forbidden"
    life.world.off.add(W1)
    life.run(60)
    assert life.why() == {Why.GITOPS}
    assert "403 forbidden" in life.told()
    life.world.unread.clear()
    life.until(is_at(B))
    life.world.unread[which] = "403 forbidden"
    made = life.tick()
    assert [one.why for one in made.apps[KEY].alarms] == []


def test_a_release_that_cannot_be_read_any_more_keeps_a_move_from_its_first_patch(which):
    life = begun(which)
    send(life, CommandKind.SWITCHOVER, KEY, B)
    life.until(lambda life: life.phase() is Phase.STOPPING, 30)
    life.world.unread[which] = "403 forbidden"
    before = len(life.world.did)
    life.run(30)
    assert not {"PatchWorkload", "PatchApplier"} & set(kinds(life.world.did[before:]))
    assert "403 forbidden" in life.decision.apps[KEY].waiting


def test_a_release_that_does_not_become_suspended_is_an_alarm_and_touches_nothing(which):
    life = begun(which)
    life.world.deaf.add(PatchApplier)
    life.world.off.add(W1)
    life.until(lambda life: life.phase() is Phase.STOPPING, 60)
    life.run(35)
    (alarm,) = life.decision.apps[KEY].alarms
    assert str(alarm) == f"failover of {KEY} waits for {which} to be suspended"
    assert "PatchWorkload" not in kinds(life.world.did)
    life.world.deaf.clear()
    life.until(is_at(B))


def refused(life: Life) -> str:
    send(life, CommandKind.SWITCHOVER, KEY, B)
    life.run(5)
    return "; ".join(life.memory.refusals.values())


def test_a_planned_move_waits_for_what_runs_and_a_failover_does_not(which):
    life = begun(which)
    applied(life)["busy"] = "Running 'upgrade' action with timeout of 5m0s"
    assert "at work: Running 'upgrade'" in refused(life)
    life.world.off.add(W1)
    life.until(is_at(B))


def test_what_began_right_before_it_was_suspended_is_waited_for(which):
    life = begun(which)
    send(life, CommandKind.SWITCHOVER, KEY, B)
    life.until(lambda life: switch(life) == "true", 30)
    applied(life)["busy"] = "Running 'upgrade' action with timeout of 5m0s"
    life.run(5)
    assert "PatchWorkload" not in kinds(life.world.did)
    del applied(life)["busy"]
    life.until(is_at(B))


def test_what_an_application_said_of_an_operation_before_it_was_suspended_keeps_no_app_away_from_home():
    life = begun(ARGO)
    life.world.off.add(W1)
    applied(life)["busy"] = "operation Running"
    life.until(is_at(B))
    life.world.off.clear()
    life.run(120)
    home(life)
    life.run(5)
    assert switch(life) is None


def test_an_application_made_anew_while_its_app_is_away_is_suspended_and_keeps_the_app_from_nothing():
    life = begun(ARGO)
    away(life)
    applied(life)["metadata"].update(uid="another", annotations={})
    applied(life).update(applies=False, heeds=False)  # its status is empty, and stays so while it is suspended
    life.run(5)
    assert marks(life) == ours(ARGO)
    home(life)
    life.run(5)
    assert marks(life) == set()


def heedless(life: Life) -> None:
    """Argo CD compares the Application as if nothing had been said to it."""
    since = Suspension.of(notes(life)[names.SUSPENDED]).since
    assert since is not None
    applied(life)["reconciled"] = since + timedelta(seconds=185)


def test_an_application_that_is_reconciled_although_it_is_suspended_is_an_alarm_that_says_so():
    life = begun(ARGO)
    away(life)
    since = Suspension.of(notes(life)[names.SUSPENDED]).since
    assert since is not None
    applied(life)["reconciled"] = since + timedelta(seconds=5)
    assert life.tick().apps[KEY].alarms == ()
    heedless(life)
    (alarm,) = life.tick().apps[KEY].alarms
    assert str(alarm) == (
        f"{ARGO} was reconciled 185 s after it was suspended: its Argo CD does not heed {names.SKIP}, "
        "and will undo the patch"
    )
    home(life)


def test_no_other_app_of_such_an_application_is_moved_by_plan():
    life = begun(ARGO, KEY, "media/radarr")
    away(life)
    heedless(life)
    send(life, CommandKind.SWITCHOVER, "media/radarr", B, 2)
    life.run(5)
    assert f"does not heed {names.SKIP}" in "; ".join(life.memory.refusals.values())
    assert life.app("media/radarr").active is P
