"""A displaced file is fetched back while the app is stopped, and the app starts where it was whatever comes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from failoverd.core.memory import Kind, Phase, Restore, Standing, Version
from failoverd.core.model import (
    CommandKind,
    FetchVersions,
    FindVersions,
    PatchWorkload,
    Pod,
    Role,
    SetRole,
    Why,
)
from failoverd.core.rules import Site
from tests.core.build import KEY, W1, B, P
from tests.core.life import Life, at_rest, command, ended, healthy, kinds, last, spec

HERE = (KEY, "data", P)
FILE = Version(path="config.xml", at="2026-01-05T11:00:00Z", modified="2026-01-05T10:00:00Z", size=5)
OTHER = Version(path="secrets.xml", at="2026-01-05T11:30:00Z", modified="2026-01-05T10:30:00Z", size=9)


def ask(life: Life, path: str = "config.xml", target: Site = P, volume: str = "data", number: str = "r1") -> None:
    wanted = Restore(volume=volume, path=path)
    made = command(CommandKind.RESTORE, id=number, target=target, restore=wanted)
    life.commands = (*life.commands, made)


def keeping(**rules: Any) -> Life:
    life = healthy(**rules)
    life.world.versions[HERE] = {"config.xml": (FILE,)}
    return life


def folder(life: Life, **changes: Any) -> None:
    life.world.folders[HERE] = replace(life.world.folders[HERE], **changes)


def test_the_file_is_fetched_between_a_stop_and_a_start_with_versions_on_and_off_around_it():
    life = keeping()
    before, did = spec(life), len(life.world.did)
    ask(life)
    life.until(ended)
    acts = [act for act in life.world.did[did:] if not kinds([act])[0].startswith("Scan")]
    assert kinds(acts) == [
        "PatchWorkload", "SetRole", "FindVersions", "FetchVersions", "SetRole", "FetchVersions", "PatchWorkload",
    ]  # fmt: skip
    assert [(act.role, act.keep) for act in acts if isinstance(act, SetRole)] == [
        (Role.SEND_ONLY, True),
        (Role.SEND_ONLY, False),
    ]
    whose = [(act.move, act.since) for act in acts if isinstance(act, SetRole)]
    assert whose == [("", None), (last(life).id, last(life).began_at)]  # what it replaced is of no other move
    assert life.world.fetched == [(FILE,)]
    assert (last(life).kind, last(life).outcome, last(life).source, last(life).target) == (Kind.RESTORE, "done", P, P)
    assert any("fetched config.xml (put aside 2026-01-05T11:00:00Z)" in text for text in last(life).evidence)
    assert spec(life) == before
    assert life.world.folders[HERE].versioning == ""
    assert life.standings()["data"] == ("active", "clean")


def test_phases_are_said_and_the_app_is_ready_before_it_ends():
    life = keeping()
    life.seen.clear()
    ask(life)
    life.until(ended)
    assert life.seen == [Phase.STOPPING, Phase.RESTORING, Phase.WATCHING]
    assert [name for name, _ in last(life).marks if name not in ("decided", "started")] == [
        "halted", "stopped", "fetched", "returned", "ready",
    ]  # fmt: skip


def test_a_file_of_which_nothing_is_kept_brings_the_app_back_unchanged():
    life = keeping()
    before = spec(life)
    ask(life, path="missing.txt")
    life.until(ended)
    assert last(life).outcome == "aborted: no version of missing.txt"
    assert (life.world.fetched, spec(life), life.world.folders[HERE].versioning) == ([], before, "")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"volume": "other"}, "it does not say what to restore of which volume"),
        ({"target": B}, "it lies at backup: `failoverd switchover media/sonarr` first"),
    ],
)
def test_what_cannot_be_is_refused_by_name(wrong: dict[str, Any], why: str):
    life = keeping()
    ask(life, **wrong)
    life.run(6)
    assert life.memory.refusals == {"r1": why}
    assert life.app().moves == ()


def test_while_a_copy_is_taken_back_nothing_is_restored():
    life = keeping()
    there = (KEY, "data", B)
    volume = life.app().volumes["data"]
    copies = {**volume.copies, B: replace(volume.copies[B], standing=Standing.TAKING_BACK)}
    app = replace(life.app(), volumes={"data": replace(volume, copies=copies)})
    life.memory = replace(life.memory, apps={KEY: app})
    life.world.folders[there] = replace(life.world.folders[there], need_items=1)
    ask(life)
    life.tick()
    assert "taking back: wait until that has ended" in life.memory.refusals["r1"]


def test_a_deletion_that_nobody_acknowledged_is_what_one_restores_after():
    life = keeping()
    folder(life, local_files=1000)
    life.run(6)
    folder(life, local_files=100)
    life.run(6)
    assert Why.DELETED in {one.why for one in life.decision.apps[KEY].alarms}
    ask(life)
    life.until(ended)
    assert last(life).outcome == "done"


def test_a_syncthing_that_does_not_do_it_is_given_up_and_the_app_starts():
    life = keeping()
    life.world.deaf.add(FetchVersions)
    ask(life)
    took = life.until(ended)
    assert last(life).outcome == "aborted: it was not fetched in time: refused"
    assert life.world.folders[HERE].versioning == ""
    assert took < 200


def test_a_syncthing_that_is_silent_keeps_the_app_down_no_longer_than_twice_the_time():
    life = keeping()
    ask(life)
    life.until(lambda one: one.phase() is Phase.RESTORING)
    life.world.unread[HERE] = "no answer within 2 s"
    life.run(300)
    assert ended(life)
    assert "no answer" in last(life).outcome


def test_nothing_starts_while_a_fetch_is_on_its_way():
    life = keeping()
    life.world.deaf.add(FetchVersions)
    ask(life)
    life.until(lambda one: FetchVersions in {type(act) for act in one.world.did})
    life.snapshot["in_flight"] = frozenset({f"FetchVersions {KEY} data primary"})
    life.run(600)
    assert life.phase() is Phase.RESTORING
    assert life.decision.apps[KEY].alarms  # it stands still, and says so
    life.snapshot.clear()
    life.until(ended)


def test_a_node_that_dies_ends_it_and_its_failover_begins():
    life = keeping()
    ask(life)
    life.until(lambda one: one.phase() is Phase.RESTORING)
    life.world.off.add(W1)
    life.until(lambda one: at_rest(one) and one.app().active is B)
    assert [move.kind for move in life.app().moves] == [Kind.RESTORE, Kind.FAILOVER]


def test_somebody_who_scales_it_up_in_the_midst_is_undone():
    life = keeping()
    life.world.deaf.add(FindVersions)
    ask(life)
    life.until(lambda one: one.phase() is Phase.RESTORING)
    life.world.raw[KEY]["spec"]["replicas"] = 1
    life.tick()
    life.tick()
    assert life.world.raw[KEY]["spec"]["replicas"] == 0
    life.world.deaf.clear()
    life.until(ended)
    assert last(life).outcome == "done"


def test_nothing_is_fetched_beside_a_pod_that_mounts_the_copy():
    life = keeping()
    life.world.deaf.add(FindVersions)
    ask(life)
    life.until(lambda one: one.phase() is Phase.RESTORING)
    life.world.deaf.clear()
    job = Pod(name="backup-job", uid="j", node=W1, claims=("pvc-sonarr",), owned=False)
    life.world.pods[KEY].append(job)
    life.run(20)
    assert (life.phase(), life.world.fetched) == (Phase.RESTORING, [])
    life.world.pods[KEY].remove(job)
    life.until(ended)
    assert last(life).outcome == "done"


@pytest.mark.parametrize("away", [False, True])
def test_killed_at_every_tick_it_is_done_once_by_the_next(away: bool):
    for death in range(1, 60):
        life = keeping()
        if away:
            where = (KEY, "data", B)
            life.commands = (command(CommandKind.SWITCHOVER, id="away", target=B),)
            life.until(lambda one: one.app().active is B and at_rest(one))
            life.world.versions[where] = {"config.xml": (FILE,)}
        before = spec(life)
        ask(life, target=B if away else P)
        for _ in range(death):
            life.tick()
        finished = ended(life) and last(life).kind is Kind.RESTORE
        life.restart()
        life.until(lambda one: ended(one) and last(one).kind is Kind.RESTORE)
        assert last(life).outcome == "done"
        assert set(life.world.fetched) == {(FILE,)}
        if not away:
            assert spec(life) == before
        life.run(4)
        assert life.world.folders[KEY, "data", B if away else P].versioning == ""
        if finished:
            break
    else:
        raise AssertionError("it never ended by itself")


def test_an_old_leader_that_acts_once_more_changes_nothing():
    life = keeping()
    ask(life)
    life.until(ended)
    acts = [act for act in life.world.did if isinstance(act, PatchWorkload)]
    before = spec(life)
    for act in acts:
        life.world.do(act)
    assert spec(life)[0]["replicas"] == before[0]["replicas"]
    late = next(act for act in life.world.did if isinstance(act, FetchVersions))
    life.world.do(late)
    assert life.world.fetched == [(FILE,)]  # versions are off: a request that comes late does nothing


def test_an_app_that_was_sent_away_by_hand_stays_there_after_a_restore():
    life = healthy(seconds=60)
    life.commands = (command(CommandKind.SWITCHOVER, id="away", target=B),)
    life.until(lambda one: one.app().active is B and at_rest(one))
    life.world.versions[KEY, "data", B] = {"config.xml": (FILE,)}
    ask(life, target=B)
    life.until(lambda one: ended(one) and last(one).kind is Kind.RESTORE)
    life.run(timedelta(hours=1).total_seconds())
    assert life.app().active is B
