"""Schedules and objects that nobody means to make: whoever owns the workload has its object back as it was."""

from dataclasses import replace
from typing import Any

import pytest

from failoverd.core import names
from failoverd.core.memory import Phase
from failoverd.core.model import CommandKind, PatchApplier, Suspension, Unknown, Why
from failoverd.core.rules import Applier, ApplierKind, Failback
from tests.core.build import KEY, W1, B, P, an_app
from tests.core.life import Life, healthy, kinds
from tests.core.objects import TRACKING
from tests.core.objects import applied as new
from tests.core.test_gitops import (
    ARGO,
    applied,
    away,
    begun,
    home,
    is_at,
    marks,
    notes,
    ours,
    send,
    switch,
    turn,
    which,
)

__all__ = ["which"]  # a fixture
RADARR = "media/radarr"
FIRST = "failoverd: media/sonarr, epoch 3, failover to backup; before: suspend absent, hold absent"
"""As it was written while HelmReleases were all there was."""


def configure(life: Life, *keys: str, **changes: Any) -> None:
    """The configuration is read anew: of these apps alone, and with these changes."""
    apps = tuple(replace(app, **changes) for app in life.world.rules.apps if app.key in keys)
    life.world.rules = replace(life.world.rules, apps=apps)


def test_a_note_of_the_time_before_applications_is_understood_and_written_the_same():
    note = Suspension.of(FIRST)
    assert (note.kind, note.before, note.held, note.hold) == (ApplierKind.HELM_RELEASE, None, False, None)
    assert str(note) == FIRST


@pytest.mark.parametrize("before", ["truest", "true, hold absent", "false; x"])
def test_a_note_about_a_helm_release_says_one_of_three_things(before):
    note = Suspension(kind=ApplierKind.HELM_RELEASE, app="a/b", epoch=7, why="failover", before=before, held=False)
    with pytest.raises(ValueError, match="not what failoverd writes"):
        Suspension.of(str(note))


@pytest.mark.parametrize("before", ["absent", "present", "x, hold absent", '", hold "', "\\x3b", "\u2028 \U0001f600"])
@pytest.mark.parametrize("hold", [None, "", "absent", 'a", hold "b', "enabled; since never"])
def test_whatever_stood_at_switch_and_hold_is_read_back(before, hold):
    note = Suspension(
        kind=ApplierKind.APPLICATION, app="a/b", epoch=7, why="failover", before=before, held=False, hold=hold
    )
    assert Suspension.of(str(note)) == note


def test_an_annotation_that_says_absent_is_what_it_was_at_home():
    life = begun(ARGO)
    turn(life, ARGO, "absent")
    away(life)
    home(life)
    life.run(5)
    assert notes(life) == {names.SKIP: "absent"}


@pytest.mark.parametrize("text", ["enabled", "", "a;b,\nc"])
def test_a_hold_that_holds_nothing_is_what_it_was_at_home(which, text):
    life = begun(which)
    notes(life)[names.HOLD] = text
    away(life)
    assert notes(life)[names.HOLD] == names.HOLD_VALUE
    home(life)
    life.run(5)
    assert notes(life) == {names.HOLD: text}


def test_a_hold_that_somebody_wrote_over_ours_stays_and_keeps_nothing_suspended(which, monkeypatch):
    life = begun(which)
    away(life)
    notes(life)[names.HOLD] = "Disabled"
    read = life.world.applier

    def folded(one: Applier):  # the adapter looks at no case
        found = read(one)
        return found if isinstance(found, Unknown) else replace(found, held=names.HOLD in notes(life))

    monkeypatch.setattr(life.world, "applier", folded)
    home(life)
    life.run(5)
    assert (switch(life), notes(life)) == (None, {names.HOLD: "Disabled"})


def test_what_runs_is_no_news_of_an_application_that_was_suspended_for_another_app():
    life = begun(ARGO, KEY, RADARR)
    away(life)
    applied(life)["busy"] = "operation Running"  # and nothing will ever say that it has ended
    assert Suspension.of(notes(life)[names.SUSPENDED]).epoch == life.app(RADARR).epoch + 1
    away(life, RADARR, 2)


@pytest.mark.parametrize("mark", [None, "false"])
def test_a_workload_that_has_lost_every_trace_is_watched_like_any_other_while_away(mark):
    life = begun(ARGO)
    away(life)
    del life.world.raw[KEY]["metadata"]["annotations"][TRACKING]
    turn(life, ARGO, mark)
    made = life.tick()
    assert [one.why for one in made.apps[KEY].alarms] == [Why.RESUMED]
    assert (switch(life), marks(life)) == ("true", ours(ARGO))


def test_a_setting_that_names_another_one_while_away_is_an_alarm_and_touches_no_stranger(which):
    life = begun(which)
    away(life)
    stranger = replace(which, name=f"{which.namespace}/stranger")
    life.world.appliers[stranger] = new(stranger)
    configure(life, KEY, applier=stranger)
    before = len(life.world.did)
    life.run(10)
    assert "PatchApplier" not in kinds(life.world.did[before:])
    (alarm,) = life.decision.apps[KEY].alarms
    assert "the configuration names" in str(alarm)
    assert "nothing sees to it that it stays suspended" in str(alarm)
    del life.world.appliers[stranger]
    configure(life, KEY, applier=which)
    assert life.tick().apps[KEY].alarms == ()
    home(life)
    life.run(5)
    assert (switch(life), marks(life)) == (None, set())


def test_a_setting_that_is_dropped_while_away_is_an_alarm(which):
    life = begun(which)
    away(life)
    configure(life, KEY, applier=None)
    (alarm,) = life.tick().apps[KEY].alarms
    assert "the configuration names none: nothing sees to it that it stays suspended" in str(alarm)


def test_a_workload_that_is_gone_keeps_no_other_app_from_having_it_resumed(which, monkeypatch):
    life = begun(which, KEY, RADARR)
    away(life, RADARR)
    read = life.world.workload
    gone = Unknown(f"Deployment {KEY} does not exist", gone=True)
    monkeypatch.setattr(life.world, "workload", lambda key: gone if key == KEY else read(key))
    home(life, RADARR)
    life.run(5)
    assert (switch(life), marks(life)) == (None, set())


def test_a_workload_that_is_gone_while_its_app_is_away_or_that_is_unread_keeps_it_suspended(which, monkeypatch):
    life = begun(which, KEY, RADARR)
    away(life, RADARR)
    read, found = life.world.workload, Unknown("403 forbidden")
    monkeypatch.setattr(life.world, "workload", lambda key: found if key == KEY else read(key))
    home(life, RADARR)
    life.run(5)
    assert switch(life) == "true"
    monkeypatch.setattr(life.world, "workload", read)
    life.until(lambda life: switch(life) is None, 30)
    away(life, KEY, 11)
    found = Unknown(f"Deployment {KEY} does not exist", gone=True)
    monkeypatch.setattr(life.world, "workload", lambda key: found if key == KEY else read(key))
    away(life, RADARR, 12)
    home(life, RADARR, 13)
    life.run(5)
    assert switch(life) == "true"


def test_it_stays_suspended_with_an_alarm_for_an_app_that_is_no_longer_configured(which):
    life = begun(which, KEY, RADARR)
    away(life, KEY, 1)
    away(life, RADARR, 2)
    both = life.world.rules.apps
    configure(life, RADARR)
    kept = life.world.raw.pop(KEY)
    there = dict(life.world.folders)
    for key in there:
        if key[0] == KEY:
            del life.world.folders[key]
    home(life, RADARR, 3)
    life.run(5)
    assert switch(life) == "true"
    (alarm,) = life.decision.apps[RADARR].alarms
    assert str(alarm) == f"{which} stays suspended: {KEY} is away from home and not configured any more"
    life.world.raw[KEY] = kept
    life.world.folders.update({key: folder for key, folder in there.items() if key[0] == KEY})
    life.world.rules = replace(life.world.rules, apps=both)
    home(life, KEY, 4)
    life.run(5)
    assert (switch(life), marks(life)) == (None, set())


@pytest.mark.parametrize("lost", [False, True])
def test_a_resumption_on_its_way_is_waited_for_before_another_app_is_stopped(which, lost):
    life = begun(which, KEY, RADARR)
    away(life)
    life.world.deaf.add(PatchApplier)
    home(life)
    life.snapshot["in_flight"] = frozenset({f"PatchApplier {which}"})
    if lost:
        life.world.off.add(W1)
    else:
        send(life, CommandKind.SWITCHOVER, RADARR, B, 10)
    life.until(lambda life: life.phase(RADARR) is Phase.STOPPING, 120)
    before = len(life.world.did)
    life.run(10)
    assert "PatchWorkload" not in kinds(life.world.did[before:])
    assert life.app(RADARR).active is P
    assert "on its way to be answered" in life.decision.apps[RADARR].waiting
    life.snapshot.clear()
    life.until(is_at(B, RADARR))


@pytest.mark.parametrize("phase", [Phase.STOPPING, Phase.BARRIER, Phase.STARTING])
def test_a_setting_that_names_another_one_in_mid_move_has_no_stranger_suspended(which, phase):
    life = begun(which)
    send(life, CommandKind.SWITCHOVER, KEY, B)
    life.until(lambda life: life.phase() is phase, 30)
    stranger = replace(which, name=f"{which.namespace}/stranger")
    before = life.world.appliers[stranger] = new(stranger)
    configure(life, KEY, applier=stranger)
    life.run(60)
    assert life.world.appliers.pop(stranger) == before
    configure(life, KEY, applier=which)
    life.until(lambda life: life.phase() is Phase.WATCHING)
    life.run(20)
    assert switch(life) == (None if life.app().active is P else "true")


def test_no_workload_is_stopped_while_another_one_is_named_that_is_suspended_by_chance(which):
    life = begun(which)
    life.world.deaf.add(PatchApplier)
    send(life, CommandKind.SWITCHOVER, KEY, B)
    life.until(lambda life: life.phase() is Phase.STOPPING, 30)
    stranger = replace(which, name=f"{which.namespace}/stranger")
    life.world.appliers[stranger] = new(stranger)
    del life.world.appliers[stranger]["metadata"]["labels"]
    life.world.appliers[stranger]["metadata"]["annotations"] = {names.SKIP: "true"}
    life.world.appliers[stranger]["spec"]["suspend"] = True
    configure(life, KEY, applier=stranger)
    before = len(life.world.did)
    life.run(10)
    assert "PatchWorkload" not in kinds(life.world.did[before:])
    assert "the configuration names" in life.decision.apps[KEY].waiting


@pytest.mark.parametrize(("labels", "text"), [({names.HOLD: "disabled"}, None), ({}, "Disabled")])
def test_a_workload_that_somebody_holds_in_other_words_starts_again_and_keeps_their_hold(labels, text, monkeypatch):
    life = healthy(an_app(failback=Failback.MANUAL))
    meta = life.world.raw[KEY]["metadata"]
    meta["labels"] |= labels
    meta["annotations"] |= {names.HOLD: text} if text else {}
    read = life.world.workload

    def folded(key: str):  # the adapter looks at both places, and at no case
        found = read(key)
        return found if isinstance(found, Unknown) else replace(found, held=True)

    monkeypatch.setattr(life.world, "workload", folded)
    was = life.world.raw[KEY]
    away(life)
    home(life)
    life.run(5)
    for one in (was, life.world.raw[KEY]):
        one["metadata"].pop("resourceVersion", None)
    assert life.world.raw[KEY] == was
