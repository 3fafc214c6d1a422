"""Databases of one app are placed as of one moment, from points that were made at many."""

from __future__ import annotations

import shutil
from contextlib import closing
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failoverd.core.points import Duty, Point
from failoverd.core.rules import Site
from failoverd.guard import shelf
from failoverd.guard.files import unquoted
from failoverd.guard.pace import Pace
from failoverd.guard.place import Placer
from failoverd.guard.points import Maker
from failoverd.guard.proof import Prover
from failoverd.guard.shelf import Lying, in_turn
from tests.guard.databases import T0, Clock, connect, database, numbers, wanted

FREE = Pace()
LOOK = timedelta(seconds=5)


def insert(path: Path) -> None:
    with closing(connect(path)) as live:
        live.execute("INSERT INTO t SELECT max(n) + 1, 'x' FROM t")


def history(active: Path) -> list[datetime]:
    """Four looks, 10 s apart: `busy.db` changes before each, `calm.db` before the last. When each look began."""
    busy, calm = database(active / "busy.db"), database(active / "calm.db", wal=False)
    maker, clock, looks = Maker(active, Site.PRIMARY), Clock(), []
    for number in range(4):
        insert(busy)
        if number == 3:
            insert(calm)
        looks.append(clock().wall)
        maker.turn(wanted(interval=timedelta(0)), clock, FREE)
        assert maker.sick == ()
        clock.pass_(seconds=10)
    return looks


def placed(tmp_path: Path, as_of: datetime | None) -> dict[str, int]:
    """The last row of each database after placing."""
    root, scratch = tmp_path / "target", tmp_path / "scratch"
    scratch.mkdir()
    order = wanted(duty=Duty.PROVE, move="m", as_of=as_of)
    prover = Prover(root, scratch)
    prover.turn(order, Clock(), FREE)
    said = Placer(root, Site.BACKUP, scratch).turn(order, prover, FREE)
    assert (said.done, said.why) == (True, "")
    return {name: numbers(root / unquoted(name))[-1] for name in (*said.databases, *said.live)}


@pytest.mark.parametrize(
    ("look", "rows"),
    [
        (None, {"busy.db": 14, "calm.db": 11}),
        (1, {"busy.db": 12, "calm.db": 10}),
        (2, {"busy.db": 13, "calm.db": 10}),  # its next point says that it had not changed until then
        (3, {"busy.db": 14, "calm.db": 11}),
    ],
)
def test_every_database_is_placed_as_of_the_moment_that_is_named(
    tmp_path: Path, look: int | None, rows: dict[str, int]
) -> None:
    looks = history(tmp_path / "active")
    shutil.copytree(tmp_path / "active" / ".failoverd", tmp_path / "target" / ".failoverd")
    assert placed(tmp_path, looks[look] if look is not None else None) == rows


def test_a_live_copy_that_is_newer_than_the_moment_gives_way_too(tmp_path: Path) -> None:
    looks = history(tmp_path / "active")
    shutil.copytree(tmp_path / "active" / ".failoverd", tmp_path / "target" / ".failoverd")
    shutil.copy(tmp_path / "active" / "calm.db", tmp_path / "target" / "calm.db")
    assert placed(tmp_path, looks[2])["calm.db"] == 10


def test_where_the_point_of_that_moment_does_not_open_the_next_one_is_taken(tmp_path: Path) -> None:
    looks = history(tmp_path / "active")
    shutil.copytree(tmp_path / "active" / ".failoverd", tmp_path / "target" / ".failoverd")
    second = sorted(shelf.folder(tmp_path / "target", "busy.db").glob("*.sqlite"))[1]
    second.write_bytes(bytes(second.stat().st_size))
    assert placed(tmp_path, looks[1]) == {"busy.db": 13, "calm.db": 10}


def looked(changed: list[bool]) -> list[Lying]:
    """The points of a database looked at every `LOOK`; the last one holds everything until the last look."""
    made: list[Lying] = []
    current = None
    for number, change in enumerate([True, *changed]):
        at = T0 + number * LOOK
        if change:
            point = Point(
                database="x.db", site=Site.PRIMARY, epoch=1, serial=len(made) + 1, made_at=at, size=1, sha256="",
                wal=True, counter_before=0, counter_after=0, last_held=current,
            )  # fmt: skip
            made.append(Lying(point, Path("x"), Path("x.json")))
        current = at
    return made


@given(
    st.lists(st.lists(st.booleans(), min_size=12, max_size=12), min_size=2, max_size=4),
    st.floats(min_value=0, max_value=60),
)
def test_nothing_placed_is_older_than_the_moment_and_none_further_from_it_than_a_look(
    histories: list[list[bool]], seconds: float
) -> None:
    as_of = T0 + timedelta(seconds=seconds)
    for changed in histories:
        points = looked(changed)
        point = in_turn(points, as_of)[0].point
        ends = [later.point.last_held for one, later in pairwise(points) if one.point is point]
        held_until = ends[0] if ends else T0 + 12 * LOOK
        assert held_until is not None
        assert held_until >= as_of, "something of that moment is lost"
        assert point.made_at - as_of < LOOK, "and this has more than a look's time beyond it"
