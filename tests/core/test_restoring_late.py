"""A restore whose requests are slow, late, or carried out in part: nothing starts on that, nor waits for good."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from failoverd.core.memory import Kind, Phase
from failoverd.core.model import CommandKind, FetchVersions, FindVersions, Pod, Receipt, SetRole, Want, Why
from tests.core.build import KEY, W1, B
from tests.core.guarded import guarded
from tests.core.life import Life, at_rest, command, ended, last
from tests.core.test_restoring import FILE, HERE, OTHER, ask, keeping

DB, WAL = replace(FILE, path="app.db"), replace(FILE, path="app.db-wal")


def slow(life: Life, kind: Any, seconds: float) -> None:
    """Acts of this kind are answered after so long, as the loop carries them: one task a key, a receipt once done."""
    running: dict[str, tuple[float, Any]] = {}
    ticks = life.tick

    def tick(*arguments: Any) -> Any:
        done = {key: act for key, (due, act) in running.items() if due <= life.world.s}
        for key in done:
            del running[key]
        life.receipts = (*life.receipts, *(life.world.do(act) for act in done.values()))
        life.snapshot["in_flight"] = frozenset(running)
        made = ticks(*arguments)
        life.receipts = tuple(one for one in life.receipts if one.detail != "in flight")
        life.snapshot["in_flight"] = frozenset(running)
        return made

    def do(action: Any) -> Receipt:
        if not isinstance(action, kind):
            return life.world.do(action)
        running.setdefault(action.key, (life.world.s + seconds, action))
        return Receipt(action=action, ok=False, detail="in flight")

    life.do, life.tick = do, tick  # type: ignore[assignment,method-assign]


def answering(life: Life, kind: Any, **answer: Any) -> None:
    """Acts of this kind are not carried out, and answered so."""

    def do(action: Any) -> Receipt:
        return Receipt(action=action, ok=False, **answer) if isinstance(action, kind) else life.world.do(action)

    life.do = do


def runs(life: Life) -> bool:
    return bool(life.world.raw[KEY]["spec"]["replicas"])


def under_way(life: Life) -> bool:
    return bool(life.snapshot.get("in_flight"))


def in_the_folder(life: Life) -> None:
    """A restore that waits for its search."""
    life.world.deaf.add(FindVersions)
    ask(life)
    life.until(lambda one: one.phase() is Phase.RESTORING)
    life.world.deaf.clear()


def after_a_search_given_up() -> Life:
    """A restore of another file is asked for, and the search of the one before it goes on."""
    life = keeping()
    life.world.versions[HERE]["secrets.xml"] = (OTHER,)
    slow(life, FindVersions, 145)
    ask(life, number="r1")
    life.until(ended)
    assert "not fetched in time" in last(life).outcome
    ask(life, path="secrets.xml", number="r2")
    return life


# ---------------------------------------------------------------- whose answer it is


def test_the_answer_to_an_earlier_search_does_not_choose_the_file_of_the_next_restore():
    life = after_a_search_given_up()
    life.until(lambda one: at_rest(one) and len(one.app().moves) == 2, within=600)
    assert life.world.fetched in ([], [(OTHER,)])


def test_a_search_that_is_on_its_way_is_waited_for_before_the_next_begins():
    life = after_a_search_given_up()
    life.until(lambda one: one.decision.apps[KEY].waiting == "a search for versions to end")
    life.until(lambda one: isinstance(one.decision.actions[:1] and one.decision.actions[0], FindVersions))
    assert life.decision.actions[0].path == "secrets.xml"


@pytest.mark.parametrize("wrong", [{"path": "secrets.xml"}, {"at": None}, {"site": B}])
def test_only_what_was_found_for_this_very_wish_is_fetched(wrong: dict[str, Any]):
    life = keeping()
    in_the_folder(life)
    move = life.app().move
    moment = life.world.now.wall
    wanted = replace(move.restore, at=moment)
    life.memory = replace(life.memory, apps={KEY: replace(life.app(), move=replace(move, restore=wanted))})
    about = {"app": KEY, "volume": "data", "site": move.target, "path": "config.xml", "at": moment, "reason": ""}
    life.receipts = (Receipt(action=FindVersions(**{**about, **wrong}), ok=True, found=(OTHER,)),)
    life.tick(0)
    assert life.app().move.restore.files == ()
    life.receipts = (Receipt(action=FindVersions(**about), ok=True, found=(FILE,)),)
    life.tick(0)
    assert life.app().move.restore.files == (FILE,)
    earlier = FetchVersions(app=KEY, volume="data", site=move.target, files=(OTHER,), reason="")
    life.receipts = (Receipt(action=earlier, ok=True),)
    life.tick(0)
    assert "fetched" not in dict(life.app().move.marks)


# ---------------------------------------------------------------- while it is on its way


def unreadable(life: Life) -> None:
    life.world.unread[HERE] = "no complete answer within 3 s"


def powered_off(life: Life) -> None:
    life.world.off.add(W1)


def configured_no_more(life: Life) -> None:
    (app,) = life.world.rules.apps
    (volume,) = app.volumes
    life.world.rules = replace(life.world.rules, apps=(replace(app, volumes=(replace(volume, name="other"),)),))
    life.world.folders.update({(KEY, "other", site): one for (_, _, site), one in life.world.folders.items()})


@pytest.mark.parametrize("happens", [unreadable, powered_off, configured_no_more])
def test_nothing_starts_on_files_that_a_request_on_its_way_may_be_replacing(happens: Any):
    life = keeping()
    slow(life, FetchVersions, 300)
    ask(life)
    life.until(under_way)
    began = life.world.s
    happens(life)
    while under_way(life):
        life.tick()
        assert not runs(life) or not under_way(life), "it replaces the files of the running app"
    assert life.world.s - began > 290


# ---------------------------------------------------------------- a part of it


def test_on_half_of_a_database_nothing_is_started_and_the_alarm_says_what_to_do():
    life = keeping()
    life.world.versions[HERE]["app.db"] = (DB, WAL)
    answering(life, FetchVersions, detail="a.db-wal: no space left on device", unsure=True)
    ask(life, path="app.db")
    life.until(lambda one: one.phase() is Phase.RESTORING)
    life.run(900)
    assert (life.phase(), runs(life)) == (Phase.RESTORING, False)
    (alarm,) = life.decision.apps[KEY].alarms
    assert alarm.why is Why.NOT_READY
    assert "of app.db (put aside 2026-01-05T11:00:00Z), app.db-wal (put aside" in alarm.text
    assert "once its Syncthing answers and has room; or put all of them there by hand" in alarm.text
    life.restart()  # it is remembered
    life.run(60)
    assert not runs(life)
    life.do = None
    life.until(ended)
    assert (last(life).outcome, life.world.fetched) == ("done", [(DB, WAL)])


def test_nor_where_its_node_dies_meanwhile_for_the_standby_holds_what_was_fetched():
    life = keeping()
    answering(life, FetchVersions, detail="lost", unsure=True)
    ask(life)
    life.until(lambda one: one.app().move is not None and one.app().move.restore.unsure)
    life.world.off.add(W1)
    life.run(600)
    assert (life.phase(), runs(life)) == (Phase.RESTORING, False)
    life.world.off.clear()
    life.do = None
    life.until(ended)
    assert last(life).outcome == "done"


def test_a_daemon_that_is_killed_before_the_answer_leaves_it_open_whether_a_part_was_fetched():
    life = keeping()
    answering(life, FetchVersions, detail="never heard")
    ask(life)
    life.until(lambda one: any(isinstance(act, FetchVersions) for act in one.decision.actions))
    life.receipts = ()
    assert life.app().move.restore.unsure
    answering(life, (FetchVersions, FindVersions), detail="cannot tell", unsure=True)
    life.restart()
    life.run(600)
    assert not runs(life)
    assert all(act.unsure for act in life.decision.actions if isinstance(act, FetchVersions))
    answering(life, FetchVersions, detail="nothing of it is fetched")
    life.until(ended)
    assert "nothing of it is fetched" in last(life).outcome


# ---------------------------------------------------------------- too late


def test_a_request_that_lands_after_the_last_look_leaves_no_hole_for_the_app_to_start_on():
    life = keeping()
    ask(life)
    life.until(lambda one: bool(one.world.fetched))
    life.world.gone.add(HERE)
    life.until(lambda one: one.decision.apps[KEY].waiting == "it to be fetched again: it is gone")
    assert life.world.folders[HERE].versioning == ""
    life.until(ended)
    assert (last(life).outcome, life.world.gone, life.world.fetched) == ("done", set(), [(FILE,), (FILE,)])
    assert life.world.folders[HERE].versioning == ""


# ---------------------------------------------------------------- without an end


def test_a_pod_that_stays_does_not_keep_the_app_down_for_good():
    life = keeping()
    in_the_folder(life)
    life.world.pods[KEY].append(Pod(name="backup-job", uid="j", node=W1, claims=("pvc-sonarr",), owned=False))
    life.until(ended)
    assert last(life).outcome == "aborted: it was not fetched in time: pods to go: backup-job"
    assert (life.world.folders[HERE].versioning, life.world.fetched) == ("", [])


@pytest.mark.parametrize("replicas", [0, 1])
def test_a_workload_that_was_made_anew_is_not_waited_for_for_good_nor_fetched_under(replicas: int):
    life = keeping()
    in_the_folder(life)
    raw = life.world.raw[KEY]
    raw["metadata"].update(uid="another", annotations={})
    raw["spec"]["replicas"] = replicas
    life.run(300)
    assert life.world.fetched == []
    raw["spec"]["replicas"] = 1
    life.until(ended)
    assert "made anew, or changed by hand" in last(life).outcome
    life.commands = (command(CommandKind.SWITCHOVER, id="x", target=B),)
    life.until(lambda one: at_rest(one) and one.app().active is B)
    assert last(life).kind is Kind.SWITCHOVER


@pytest.mark.parametrize("path", ["config.xml", "missing.txt"])
def test_versions_that_cannot_be_turned_off_do_not_keep_the_app_down_and_are_said_to_be_on(path: str):
    life = keeping()
    ask(life, path=path)

    def do(action: Any) -> Receipt:
        if isinstance(action, SetRole) and action.keep is False:
            return Receipt(action=action, ok=False, detail="config: 500 no space left on device")
        return life.world.do(action)

    life.do = do
    life.until(lambda one: one.app().move is not None and "returned" in dict(one.app().move.marks), within=600)
    life.tick()
    alarms = [str(one) for one in life.decision.apps[KEY].alarms]
    life.until(ended)
    said = "versions of data at primary may be on still: set File Versioning of its folder to none in Syncthing"
    outcome = last(life).outcome
    assert outcome == "done" if path == "config.xml" else said in outcome
    assert said in last(life).evidence[-1]
    assert any(said in one for one in alarms)


def test_a_last_look_that_is_not_to_be_had_does_not_either():
    life = keeping()
    ask(life)
    life.until(lambda one: bool(one.world.fetched))
    answering(life, FetchVersions, detail="db/scan: 500 sick")
    life.until(ended)
    assert (last(life).outcome, life.world.folders[HERE].versioning) == ("done", "")
    assert "whether it still lies there was not to be seen" in last(life).evidence[-1]


def test_nothing_is_fetched_while_the_guard_beside_it_may_still_open_databases():
    life = guarded()
    life.world.versions[HERE] = {"config.xml": (FILE,)}
    life.world.deaf.add(Want)
    ask(life)
    life.run(60)
    assert life.world.fetched == []
    assert "the guard of data at primary to rest" in life.decision.apps[KEY].waiting
    life.world.deaf.clear()
    life.until(ended)
    assert (last(life).outcome, life.world.fetched) == ("done", [(FILE,)])
