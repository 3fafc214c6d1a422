"""Points of files in decisions: told, announced and said, and without any say in age, placing or a move."""

from __future__ import annotations

import pytest

from failoverd.core.filed import Filed, Trouble
from failoverd.core.model import ScanPoints, Why
from failoverd.core.rules import Guarding
from tests.core.build import KEY, W1, B, P, an_app
from tests.core.guarded import HERE, THERE, age, alarms, guarded, order
from tests.core.life import at_rest, ended, healthy, last
from tests.core.test_alarms import change
from tests.core.test_recalling import ask

FILES = ("config.xml", "*.json")


def filed(**other):
    return healthy(an_app(), seconds=90, guard=Guarding(files=FILES), **other)


def test_every_guard_is_told_what_files_are_meant_and_by_default_none():
    life = filed()
    assert (order(life, HERE).files, order(life, THERE).files) == (FILES, FILES)
    assert order(guarded(), HERE).files == ()


def test_points_of_files_are_announced_once_also_where_there_is_no_database():
    life = filed()
    life.world.guards.databases = ()
    life.run(30)
    before = len(life.world.did)
    life.world.guards.filed[HERE] = Filed(made=3, files=3, points=3)
    life.run(30)
    scans = [act for act in life.world.did[before:] if isinstance(act, ScanPoints)]
    assert [act.site for act in scans] == [P]
    life.world.guards.filed[HERE] = Filed(made=4, files=3, points=3)
    life.run(10)
    assert len([act for act in life.world.did[before:] if isinstance(act, ScanPoints)]) == 2


@pytest.mark.parametrize(
    ("key", "said", "text"),
    [
        (HERE, Trouble(file="a.json", text="unreadable"), "data at primary: file: a.json: unreadable"),
        (THERE, Trouble(file="a.json", text="x has 5 bytes"), "data at backup: the point of a file: a.json: x has 5"),
        (HERE, Trouble(file="", text="1001 files match"), "data at primary: file: 1001 files match"),
    ],
)
def test_what_is_not_well_is_said_and_holds_nothing(key, said, text):
    life = filed()
    life.world.guards.filed[key] = Filed(troubles=(said,), unnamed=4)
    life.run(40)
    told = [one.text for one in life.decision.apps[KEY].alarms if one.why is Why.NO_POINTS]
    assert any(one.startswith(text) for one in told)
    assert any("4 more are not well" in one for one in told)
    life.world.off.add(W1)
    life.until(lambda one: at_rest(one) and one.app().active is B)
    assert last(life).outcome == "done"


def test_files_have_no_say_in_the_age_of_the_data_nor_in_what_is_placed():
    life, plain = filed(), guarded()
    for one in (life, plain):
        one.run(30)
    life.world.guards.filed[HERE] = Filed(files=1000, points=0)
    life.world.guards.filed[THERE] = Filed(files=1000, points=0, troubles=(Trouble(file="a", text="x"),))
    for one in (life, plain):
        one.run(120)
    assert age(life) == age(plain)
    for one in (life, plain):
        one.world.off.add(W1)
        one.until(lambda each: at_rest(each) and each.app().active is B)
    assert last(life).as_of == last(plain).as_of
    assert [told[0] for told in life.world.guards.placing] == [told[0] for told in plain.world.guards.placing]
    assert "file" not in " ".join(last(life).evidence)


def test_files_are_put_back_with_the_databases_and_the_history_says_which():
    life = filed()
    life.world.guards.files, life.world.guards.of_files = 2, "files put back: a.json, b.json"
    ask(life)
    life.until(lambda one: order(one, HERE).move != "")
    assert order(life, HERE).files == FILES
    life.until(ended)
    assert ": app.db; files put back: a.json, b.json; displaced and kept: " in last(life).evidence[-1]


def test_files_alone_are_put_back_too():
    life = filed()
    life.world.guards.databases = ()
    life.world.guards.files, life.world.guards.of_files = 1, "files put back: a.json"
    life.run(30)
    ask(life, database="a.json")
    asked = life.commands[-1].restore.recall.at
    life.until(ended)
    assert last(life).outcome == "done"
    assert f"put back as of {asked:%Y-%m-%d %H:%M:%S}: no database; files put back: a.json" in last(life).evidence[-1]


def grown(life, app, ours):
    """The active side's index and its guard's word on how much of that is points of files."""
    life.world.guards.filed[HERE] = Filed(lying=ours)
    change(life, HERE, local_files=app + ours)
    life.run(40)


def test_points_of_files_are_no_files_of_the_volume_where_mass_deletions_are_looked_for():
    life = filed()
    grown(life, 100, 4000)
    grown(life, 100, 20)  # a folder that was backed up has gone, and its points after it
    assert Why.DELETED not in alarms(life)
    grown(life, 100, 4000)
    grown(life, 40, 4000)
    assert Why.DELETED in alarms(life)


def test_a_guard_of_before_is_said_to_make_none():
    life = filed()
    life.run(120)
    (text,) = {one.text for one in life.decision.apps[KEY].alarms}
    assert text == "data at primary: its guard is of a version that makes no points of files (guard.files)"
    life.world.guards.filed[HERE] = Filed()
    life.run(40)
    assert alarms(life) == set()
