"""Databases put back while points are pruned, databases deleted, and what was laid ready is lost or half written."""

from __future__ import annotations

import contextlib
import shutil
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from failoverd.core.points import Duty, Placed, Wanted
from failoverd.core.recall import Recall
from failoverd.core.rules import Site
from failoverd.guard.pace import Halt, Pace
from failoverd.guard.place import Placer
from failoverd.guard.proof import Prover
from failoverd.guard.recall import Recaller
from tests.guard.databases import connect, database, numbers, wanted
from tests.guard.test_recall import MOVE, Side, grow, here, rows
from tests.guard.test_recall_sets import SET, displaced, numbers_of

__all__ = ["here"]  # a fixture


def test_a_database_deleted_since_comes_back_no_newer_than_the_wanted_moment(here: Side) -> None:
    database(here.root / "idle.db")
    at = here.make(after=70) + timedelta(seconds=1)  # 13 rows, and the walk that finds it
    grow(here.root / "app.db", 14)
    here.make(after=20)
    for name in ("app.db", "logs.db"):
        for part in ("", "-wal", "-shm"):
            Path(f"{here.root / name}{part}").unlink(missing_ok=True)
    here.make(after=70)
    said = here.ask(at=at)
    assert (said.why, said.moment) == ("", at)
    assert here.order(at=at, as_of=said.moment).done
    assert rows(here, "app.db") == list(range(1, 14))


def test_points_that_are_asked_for_are_not_pruned_before_they_are_laid(here: Side) -> None:
    at = here.times[0] + timedelta(seconds=1)
    asked = wanted(recall=Recall(at=at, since=3), keep=3)
    first = said = here.work(asked).recalled
    for number in (14, 15, 16):
        here.clock.pass_(seconds=10)
        for name in ("app.db", "logs.db"):
            grow(here.root / name, number)
        said = here.work(asked).recalled
    assert said == first
    assert said is not None
    placed = here.order(lay=True, at=at, as_of=said.moment)
    assert (placed.laid, placed.databases, placed.why) == (True, ("app.db", "logs.db"), "")
    assert here.order(at=at, as_of=said.moment).done
    assert rows(here, "logs.db") == list(range(1, 11))


def test_no_more_points_are_kept_than_twice_as_many_for_as_long_as_somebody_asks(here: Side) -> None:
    asked = wanted(recall=Recall(at=here.clock().wall, since=3), keep=3)
    for number in range(14, 24):
        here.clock.pass_(seconds=10)
        grow(here.root / "app.db", number)
        here.work(asked)
    lie = list((here.root / ".failoverd" / "points").glob("app.db-*/*.json"))
    assert len(lie) == 6
    here.make(keep=3)
    grow(here.root / "app.db", 24)
    here.make(keep=3)
    assert len(list((here.root / ".failoverd" / "points").glob("app.db-*/*.json"))) == 3


def test_a_live_database_whose_points_are_gone_by_then_is_not_left_out(here: Side) -> None:
    at = here.times[0] + timedelta(seconds=1)
    moment = here.ask(at=at).moment
    for folder in (here.root / ".failoverd" / "points").glob("logs.db-*"):
        shutil.rmtree(folder)
    here.again()
    said = here.order(lay=True, at=at, as_of=moment)
    assert (said.laid, said.why) == (
        False,
        f"no point of logs.db from {at:%Y-%m-%d %H:%M:%S} UTC or before; there is no point of it at all",
    )
    assert list(here.root.glob(".syncthing.*")) == []


def test_the_same_question_after_a_restore_is_looked_at_anew(here: Side) -> None:
    at = here.times[0] + timedelta(seconds=1)
    moment = here.ask(at=at).moment
    assert here.order(at=at, as_of=moment).done
    shutil.rmtree(here.root / ".failoverd" / "points")
    assert here.ask(at=at).why.startswith("no point of app.db from ")


def test_a_set_laid_ready_that_was_cleared_away_is_laid_once_more(here: Side) -> None:
    folder = displaced(here)
    assert here.order(lay=True, moved=folder).laid
    for left in here.root.glob(".syncthing.*"):  # as Syncthing does after a day
        left.unlink()
    assert here.order(moved=folder).done
    assert numbers(here.root / "app.db") == numbers(here.root / "logs.db") == SET


class Fuse:
    """Says after so many operations that nothing more is wanted."""

    def __init__(self, left: int) -> None:
        self._left = left

    def __call__(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Halt("told to stop")


def carried(root: Path, order: Wanted, pace: Pace) -> Placed:
    scratch, recall = root.parent / "scratch", order.recall
    assert recall is not None
    placer = Placer(root, Site.PRIMARY, scratch)
    recaller = Recaller(root, scratch, placer, Prover(root, scratch).prove)
    return placer.carry(order, lambda: recaller.plan(order, recall, pace), pace)


@pytest.mark.parametrize("what", ["point", "set"])
def test_stopped_at_any_operation_a_database_has_the_permissions_it_had(here: Side, what: str) -> None:
    folder = displaced(here)
    for path in (*here.root.glob("*.db"), *(here.root / ".failoverd" / "moves" / folder).glob("*/*.db")):
        path.chmod(0o664)
    at = here.make()
    recall = Recall(at=at, since=3) if what == "point" else Recall(moved=folder, since=3)
    order = wanted(duty=Duty.PROVE, move=MOVE, recall=recall, as_of=here.ask(at=at).moment)
    original, count = here.root.parent / "original", 0
    shutil.copytree(here.root, original)
    stopped = True
    while stopped:
        shutil.rmtree(here.root)
        shutil.copytree(original, here.root)
        count += 1
        with contextlib.suppress(Halt):
            carried(here.root, order, Pace(still=Fuse(count)))
            stopped = False
        assert carried(here.root, order, Pace()).done
        modes = {path.name: path.stat().st_mode & 0o777 for path in here.root.glob("*.db")}
        assert modes == {"app.db": 0o664, "logs.db": 0o664}, count
    assert count > 10


def test_what_came_beside_a_database_after_it_was_laid_is_kept_with_it(here: Side) -> None:
    at = here.times[0] + timedelta(seconds=1)
    moment = here.ask(at=at).moment
    assert here.order(lay=True, at=at, as_of=moment).laid
    assert not (here.root / "app.db-wal").exists()
    with closing(connect(here.root / "app.db")) as live:  # a pod that came and went
        live.execute("INSERT INTO t VALUES(600, 'x')")
        left = {part: Path(f"{here.root / 'app.db'}{part}").read_bytes() for part in ("", "-wal")}
    for part, content in left.items():
        Path(f"{here.root / 'app.db'}{part}").write_bytes(content)
    said = here.order(at=at, as_of=moment)
    assert (said.done, said.why) == (True, "")
    assert rows(here, "app.db") == list(range(1, 11))
    kept = [here.root / one.replace("%23", "#") for one in said.displaced if "app.db" in one]
    assert sorted(path.name for path in kept) == ["app.db", "app.db-wal"]
    lies = here.root / ".failoverd" / "moves"
    assert numbers_of(next(lies.glob("*/*/app.db")), here.root.parent) == [*range(1, 14), 600]


def test_a_set_that_cannot_all_be_laid_leaves_nothing_of_it(here: Side) -> None:
    folder = displaced(here)
    lies = here.root / ".failoverd" / "moves" / folder / "0001" / "logs.db"
    Path(f"{lies}-wal").unlink()
    lies.write_bytes(lies.read_bytes()[:5000])
    said = here.order(lay=True, moved=folder)
    assert (said.laid, "does not open" in said.why) == (False, True)
    assert list(here.root.glob(".syncthing.*")) == []
