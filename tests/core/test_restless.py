"""Under a writer that never pauses: copies are made equal without its raw database, and nothing old is lost by it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failoverd.core.clearing import PATIENCE
from failoverd.core.memory import Kind, Phase
from failoverd.core.model import Override, Pod, Scan, SetRole, Want, Why
from failoverd.core.points import Ahead, Ailment, Duty, Sickness
from failoverd.core.rules import Failback, Guarding, Placing
from tests.core.build import KEY, W1, B, P, World, an_app, some_rules
from tests.core.guarded import HERE, THERE, age, guarded, order
from tests.core.guards import DATABASE
from tests.core.life import Life
from tests.core.test_moves import arrived, powered_off

HOT = (DATABASE, f"{DATABASE}-wal")
LOCKED = Sickness(database=DATABASE, ailment=Ailment.LOCKED, text="by the app, for longer than 2 s")
BACK, LOST = "back-1", "lost-1"


def never_arrives(life, key, files=HOT, **changes):
    """The raw database at one side is always behind: its writer has changed it again before it was pulled."""
    life.world.pinned[key] = {"state": "syncing", "need_items": len(files), "need_files": files, **changes}


def fresh(app=None, **rules):
    """A daemon that has seen nothing yet, under a writer that never pauses."""
    life = Life(World(some_rules(app or an_app(), guard=Guarding(), **rules)))
    never_arrives(life, THERE)
    return life


def is_adopted(life):
    return life.phase() is Phase.WATCHING and life.standings()["data"][1] == "clean"


# -------------------------------------------------------------------- adoption


def test_a_copy_is_adopted_though_its_raw_database_never_arrives():
    life = fresh()
    life.run(60)
    assert is_adopted(life)
    assert age(life) is not None


def locked(life):
    life.world.guards.sick[HERE] = (LOCKED,)


def mute(life):
    life.world.guards.mute.add(HERE)


def another_file(life):
    never_arrives(life, THERE, (DATABASE, "config.xml"))


def not_named(life):
    never_arrives(life, THERE, (DATABASE,), need_items=2)


def failed_folder(life):
    never_arrives(life, THERE, error="folder marker missing")


@pytest.mark.parametrize("fault", [locked, mute, another_file, not_named, failed_folder])
def test_a_copy_that_lacks_more_than_databases_with_points_is_not_adopted(fault):
    life = fresh()
    fault(life)
    life.run(120)
    assert not is_adopted(life)


def test_where_points_have_no_say_the_raw_copy_is_waited_for():
    life = fresh(an_app(place=Placing.LIVE))
    life.run(120)
    assert not is_adopted(life)


def test_without_guards_the_raw_copy_is_waited_for():
    life = Life(World(some_rules(an_app())))
    never_arrives(life, THERE)
    life.run(120)
    assert not is_adopted(life)


def test_a_copy_adopted_without_its_database_is_not_promoted_before_a_point_is_proven():
    life = fresh()
    life.world.guards.mute.add(THERE)
    life.run(60)
    assert is_adopted(life)
    assert age(life) is None
    powered_off(life)
    life.run(120)
    assert life.app().active is P
    assert Why.AGE_UNKNOWN in life.why()


def test_a_copy_adopted_without_its_database_has_no_age_once_guards_are_off():
    life = fresh()
    life.run(60)
    life.world.rules = replace(life.world.rules, guard=None)
    life.restart()
    life.run(60)
    written = life.app().volumes["data"].proven_at
    powered_off(life)
    life.run(60)
    assert life.watch.volumes[KEY, "data"].proven_at is None, written


# -------------------------------------------------------------------- take-back


def returned(fault=lambda life: None):
    """The app lives at the backup under that writer, and the primary is back with an old database."""
    life = guarded(an_app(failback=Failback.MANUAL))
    powered_off(life)
    life.until(arrived(B))
    life.world.off.clear()
    never_arrives(life, HERE)
    fault(life)
    return life


def is_back(life):
    return life.standings()["data"] == ("clean", "active")


def first(acts, kind, **fields):
    """Where in `acts` the first action of a kind stands."""
    return next(
        at
        for at, act in enumerate(acts)
        if isinstance(act, kind) and all(getattr(act, name) == value for name, value in fields.items())
    )


def aside(acts, move=BACK):
    return next(at for at, act in enumerate(acts) if isinstance(act, Want) and act.wanted.move == move)


def test_a_returned_side_is_taken_back_though_its_raw_database_never_arrives():
    life = returned()
    before = len(life.world.did)
    life.until(is_back, 400)
    acts = life.world.did[before:]
    kept = first(acts, SetRole, site=P, keep=True)
    ended = first(acts, SetRole, site=P, keep=False)
    scanned = first(acts, Scan, site=P)
    assert aside(acts, LOST) < kept < aside(acts) < scanned < first(acts, Override) < ended
    assert [(where, move, writing) for where, move, writing in life.world.guards.placing if move == BACK] == [
        (HERE, BACK, False)
    ]
    assert len([act for act in acts if isinstance(act, Override)]) == 1


def receives(life):
    return [act for act in life.world.did if isinstance(act, SetRole) and act.site is P and act.keep]


def test_nothing_is_received_before_the_lost_side_s_databases_are_moved_aside():
    """Else Syncthing replaces them one by one, and an old log comes to lie beside the survivor's database."""
    life = returned(lambda one: one.world.guards.stuck.update({HERE: "read only file system"}))
    life.run(400)
    assert receives(life) == []
    assert life.decision.apps[KEY].waiting == (
        "data: take-back of primary: the guard at primary to move databases aside: read only file system"
    )
    assert order(life, HERE).clear
    life.world.guards.stuck.clear()
    life.until(is_back, 200)
    (_, move, writing), *_ = [one for one in life.world.guards.placing if one[0] == HERE]
    assert (move, writing) == (LOST, False)


def test_a_guard_of_another_version_that_leaves_them_where_they_are_is_waited_for():
    def older(life):
        life.world.guards.left = (DATABASE,)

    life = returned(older)
    life.run(400)
    assert receives(life) == []
    assert life.decision.apps[KEY].waiting.endswith(f"to move databases aside: it left {DATABASE} where they are")


def test_a_guard_that_comes_up_late_is_waited_for_and_one_that_never_comes_is_not():
    life = returned(lambda one: one.world.guards.mute.add(HERE))
    life.until(lambda one: one.standings()["data"][0] == "taking back", 400)
    life.run(PATIENCE.total_seconds() - 10)
    assert receives(life) == []
    life.run(40)
    assert len(receives(life)) == 1


def test_the_order_that_moves_them_aside_stands_while_their_syncthing_cannot_be_read():
    life = returned(lambda one: one.world.guards.stuck.update({HERE: "busy"}))
    life.until(lambda one: order(one, HERE).clear, 400)
    life.world.unread[HERE] = "no answer within 2 s"
    life.run(10)
    assert order(life, HERE).clear


def failover(life):
    return next(move for move in life.app().moves if move.kind is Kind.FAILOVER)


def test_what_the_returned_side_had_beyond_its_point_stands_with_the_failover_in_the_history():
    life = returned()
    guards = life.world.guards
    guards.ahead = (Ahead(database=DATABASE, transactions=38), Ahead(database="old.db", transactions=None))
    guards.compared = {failover(life).id}
    life.until(is_back, 400)
    text = (
        f"data at primary: lost there and kept: of {DATABASE} at most 38 transactions; "
        "of old.db an unknown number of transactions"
    )
    assert failover(life).evidence.count(text) == 1
    assert failover(life).evidence[-1] == text


def test_where_its_guard_compares_nothing_the_history_says_nothing_of_it():
    life = returned()
    before = failover(life).evidence
    life.until(is_back, 400)
    assert failover(life).evidence == before


def test_the_order_that_puts_aside_is_taken_back_before_anything_is_overridden():
    life = returned()
    told = []

    def watched(act):
        if isinstance(act, Override):
            told.append(order(life, HERE))
        return life.world.do(act)

    life.do = watched
    life.until(is_back, 400)
    assert [(one.duty, one.move) for one in told] == [(Duty.REST, "")]


def test_while_that_order_cannot_be_taken_back_nothing_is_overridden():
    life = returned()
    life.until(lambda one: bool(one.app().volumes["data"].copies[P].aside), 400)
    life.world.deaf.add(Want)
    before = len(life.world.did)
    life.run(60)
    assert not any(isinstance(act, Override) for act in life.world.did[before:])
    life.world.deaf.clear()
    life.until(is_back, 100)


def test_a_survivor_that_can_never_read_its_busy_log_takes_the_returned_side_back():
    life = returned(lambda one: never_arrives(one, THERE, HOT[1:], state="idle"))
    life.until(is_back, 400)


def test_a_survivor_that_lacks_an_ordinary_file_too_overrides_again_and_says_which():
    life = returned(lambda one: never_arrives(one, THERE, (HOT[1], "config.xml"), state="idle"))
    life.run(400)
    assert not is_back(life)
    said = life.decision.apps[KEY].waiting
    assert said == f"data: take-back of primary: overriding 2 items ({HOT[1]}, config.xml)"
    assert len([act for act in life.world.did if isinstance(act, Override)]) > 1


def receiving(life):
    return life.world.folders[HERE].type == "receiveonly"


def test_what_its_guard_left_in_its_place_is_waited_for():
    def left(life):
        life.world.guards.live = (DATABASE,)

    life = returned(left)
    life.run(400)
    assert not is_back(life)
    assert life.world.folders[HERE].versioning


def test_a_database_of_which_no_point_opens_there_is_not_overridden():
    def broken(life):
        life.world.guards.sick[HERE] = (replace(LOCKED, ailment=Ailment.CORRUPT),)

    life = returned(broken)
    before = len(life.world.did)
    life.run(400)
    assert not any(isinstance(act, Override) for act in life.world.did[before:])


def test_without_the_guard_of_the_returned_side_the_raw_copy_is_waited_for():
    life = returned(lambda one: one.world.guards.mute.add(HERE))
    life.run(400)
    assert not is_back(life)
    assert life.world.folders[HERE].versioning


@pytest.mark.parametrize("seconds", [1, 3, 8])
def test_however_often_the_daemon_restarts_a_take_back_ends(seconds):
    life = returned()
    life.until(lambda one: one.standings()["data"][0] == "taking back", 400)
    for _ in range(40):
        if is_back(life):
            break
        life.run(seconds)
        life.restart()
    assert is_back(life)
    assert [move for _, move, _ in life.world.guards.placing].count(BACK) == 1


def test_what_was_put_aside_for_an_earlier_take_back_does_not_count_for_the_next():
    life = returned()
    life.until(lambda one: bool(one.app().volumes["data"].copies[P].aside), 400)
    life.world.guards.mute.add(HERE)  # its last word stays: placed
    life.until(is_back, 400)
    life.world.folders[HERE] = replace(life.world.folders[HERE], device="another installation")
    began = life.world.s
    life.until(lambda one: one.standings()["data"][0] == "taking back", 100)
    life.until(lambda one: one.app().volumes["data"].copies[P].aside is not None or one.world.s - began > 100, 400)
    assert life.app().volumes["data"].copies[P].aside is None


def mounts(life, owned):
    pod = Pod(name="looks-on", uid="u9", node=W1, claims=("pvc-sonarr",), owned=owned)
    life.world.pods[KEY].append(pod)


def leaves(life):
    life.world.pods[KEY] = [pod for pod in life.world.pods[KEY] if pod.name != "looks-on"]


def orders_that_place(life):
    return [act for act in life.world.did if isinstance(act, Want) and act.wanted.move == BACK]


@pytest.mark.parametrize("owned", [True, False], ids=["of the app", "a stranger"])
def test_databases_are_not_put_aside_under_a_pod_that_mounts_the_returned_copy(owned):
    life = returned()
    life.until(lambda one: one.standings()["data"][0] == "taking back", 400)
    mounts(life, owned)
    life.run(120)
    assert orders_that_place(life) == []
    assert not any(isinstance(act, Override) for act in life.world.did)
    assert life.decision.apps[KEY].waiting == (
        "data: take-back of primary: pods to go that mount pvc-sonarr, whose databases are to be put aside: "
        f"looks-on on {W1}"
    )
    leaves(life)
    life.until(is_back, 200)
    assert [(where, move) for where, move, _ in life.world.guards.placing if move == BACK] == [(HERE, BACK)]


@pytest.mark.parametrize("begun", [lambda _: True, receiving], ids=["sends", "receives"])
@pytest.mark.parametrize("owned", [True, False], ids=["of the app", "a stranger"])
def test_an_order_to_put_databases_aside_is_taken_back_when_a_pod_comes_to_mount_them(owned, begun):
    life = returned()
    life.until(begun, 400)
    life.world.guards.stuck[HERE] = "no space left on device"
    life.until(lambda one: order(one, HERE).move in (LOST, BACK) and receiving(one) == (begun is receiving), 400)
    mounts(life, owned)
    life.run(30)
    assert (order(life, HERE).duty, order(life, HERE).move) == (Duty.PROVE, "")
    assert "looks-on" in life.decision.apps[KEY].waiting
    life.world.guards.stuck.clear()
    leaves(life)
    life.until(is_back, 200)


def test_a_workload_that_cannot_be_read_may_have_such_a_pod():
    life = returned()
    life.until(lambda one: one.standings()["data"][0] == "taking back", 400)
    life.world.unread[KEY] = "watch: 500"
    life.run(60)
    assert orders_that_place(life) == []
