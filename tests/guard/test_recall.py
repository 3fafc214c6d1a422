"""Databases put back where their app lives: the moment that is meant, the set that is meant, or neither and why."""

from __future__ import annotations

import shutil
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from failoverd.core.points import Duty, Observed, Placed, Wanted
from failoverd.core.recall import Recall, Recalled
from failoverd.core.rules import Site
from failoverd.guard import shelf
from failoverd.guard.keeper import Keeper
from failoverd.guard.pace import Pace
from failoverd.guard.place import Placer
from failoverd.guard.proof import Prover
from failoverd.guard.recall import Recaller
from tests.guard.databases import Clock, connect, database, wanted

FREE = Pace()
MOVE = "media/sonarr#4@20260105T090050Z"


def grow(path: Path, number: int) -> None:
    with closing(connect(path)) as live:
        live.execute("INSERT INTO t VALUES(?, 'x')", (number,))


class Side:
    """The active side: a keeper under orders of its own, and the API server's clock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = Clock()
        self.times: list[datetime] = []
        """Each after a point of everything and before a row more."""
        (root.parent / "scratch").mkdir(exist_ok=True)
        self.keeper = self._new()

    def _new(self) -> Keeper:
        return Keeper(self.root, Site.PRIMARY, self.root.parent / "scratch", lambda: self.clock().mono)

    def again(self) -> None:
        """Its process begins anew."""
        self.keeper.close()
        self.keeper = self._new()

    def work(self, order: Wanted) -> Observed:
        self.keeper.order(order, self.clock().wall)
        return self.keeper.work(order)

    def make(self, after: float = 10, **other: object) -> datetime:
        """A moment of which there are points of everything."""
        self.clock.pass_(seconds=after)
        self.work(wanted(**other))
        return self.clock().wall

    def ask(self, **recall: object) -> Recalled:
        said = self.work(wanted(recall=Recall(**{"since": 3, **recall}))).recalled  # type: ignore[arg-type]
        assert said is not None
        return said

    def order(self, lay: bool = False, as_of: datetime | None = None, **recall: object) -> Placed:
        meant = Recall(**{"since": 3, **recall})  # type: ignore[arg-type]
        said = self.work(wanted(duty=Duty.PROVE, move=MOVE, recall=meant, lay=lay, as_of=as_of)).placed
        assert said is not None
        return said


@pytest.fixture
def here(tmp_path: Path) -> Side:
    """Two databases, each with a row more at every point: 10, 11 and 12 rows."""
    root = tmp_path / "data"
    for name in ("app.db", "logs.db"):
        database(root / name)
    (root / ".stfolder").mkdir()
    made = Side(root)
    for number in (11, 12, 13):
        made.times.append(made.make())
        for name in ("app.db", "logs.db"):
            grow(root / name, number)
    return made


def rows(here: Side, name: str) -> list[int]:
    with closing(connect(here.root / name)) as opened:
        return [n for (n,) in opened.execute("SELECT n FROM t ORDER BY n")]


def back(here: Side, at: datetime, **recall: object) -> Placed:
    said = here.ask(at=at, **recall)
    assert said.why == ""
    return here.order(at=at, as_of=said.moment, **recall)  # type: ignore[arg-type]


@pytest.mark.parametrize(("nth", "last"), [(0, 10), (1, 11), (2, 12)])
def test_all_databases_are_put_back_as_of_the_moment_that_is_meant(here: Side, nth: int, last: int) -> None:
    said = back(here, here.times[nth] + timedelta(seconds=1))
    assert (said.done, said.databases) == (True, ("app.db", "logs.db"))
    assert (rows(here, "app.db"), rows(here, "logs.db")) == (list(range(1, last + 1)),) * 2
    aside = here.root / ".failoverd" / "moves"
    assert sorted(path.name for path in aside.rglob("*.db")) == ["app.db", "logs.db"]
    assert len(said.displaced) >= 2


def test_nothing_newer_than_the_wanted_moment_is_put_back(here: Side) -> None:
    at = here.times[1] - timedelta(seconds=1)
    said = here.ask(at=at)
    assert said.moment is not None
    assert said.moment <= at
    assert here.order(at=at, as_of=said.moment).done
    assert rows(here, "app.db") == list(range(1, 11))


def test_a_database_that_did_not_change_is_current_until_it_was_seen_to(here: Side) -> None:
    grow(here.root / "app.db", 14)
    here.make()
    at = here.make()  # nothing changed since: current until now
    said = here.ask(at=at)
    assert said.moment is not None
    assert at - said.moment < timedelta(seconds=5)


def test_the_moment_is_that_of_the_database_whose_points_lag(here: Side) -> None:
    logs = here.root / "logs.db"
    hidden = logs.rename(logs.with_name("hidden"))
    hidden.rename(logs)
    (here.root / "app.db").touch()
    grow(here.root / "app.db", 20)
    early = here.times[2]
    with closing(connect(logs, "?mode=rw")) as held:
        held.execute("PRAGMA locking_mode=EXCLUSIVE")
        held.execute("BEGIN EXCLUSIVE")
        held.execute("INSERT INTO t VALUES(99, 'x')")
        here.make()
        said = here.ask(at=here.clock().wall)
        held.execute("ROLLBACK")
    assert said.moment is not None
    assert said.moment - early < timedelta(seconds=1)


def test_a_moment_before_the_oldest_kept_point_is_refused_with_the_times_there_are(here: Side) -> None:
    said = here.ask(at=here.times[0] - timedelta(hours=1))
    assert "no point of app.db from" in said.why
    for at in here.times:
        assert f"{at:%H:%M}" in said.why
    assert said.why.count("2026-01-01 12:") == 3


def test_a_point_that_no_longer_opens_is_refused_and_no_other_takes_its_place(here: Side) -> None:
    points = sorted(shelf.lying(here.root, [], "app.db"), key=lambda one: one.point.order)
    points[1].file.write_bytes(b"rotten" + points[1].file.read_bytes()[6:])
    at = here.times[1] + timedelta(seconds=1)
    said = here.ask(at=at)
    assert "the point of app.db of" in said.why
    assert "does not open" in said.why
    assert said.why.count("2026-01-01 12:") == 2
    placed = here.order(at=at, as_of=points[1].point.made_at, lay=True)
    assert (placed.done, placed.laid) == (False, False)
    assert "does not open" in placed.why
    assert rows(here, "app.db")[-1] == 13


def test_a_manifest_that_cannot_be_read_may_be_the_one_that_is_meant(here: Side) -> None:
    manifest = sorted(here.root.glob(".failoverd/points/app.db-*/*.json"))[1]
    manifest.write_text("{")
    asked = {"at": here.times[1] + timedelta(seconds=1)}
    assert f"{manifest.name}: does not match its manifest: " in here.ask(**asked).why
    assert "remove it if it is of no use" in here.ask(**asked, database="app.db").why
    assert here.ask(**asked, database="logs.db").why == ""


def test_the_oldest_moment_that_can_be_had_is_said_beside_the_newest_point(here: Side) -> None:
    said = here.work(wanted())
    first = min(one.point.made_at for one in shelf.lying(here.root, [], "app.db"))
    assert next(one.oldest for one in said.kept if one.database == "app.db") == first
    here.make(keep=1)
    said = here.work(wanted(keep=1))
    assert all(one.oldest == one.made_at for one in said.kept)


def test_one_database_alone_may_be_meant(here: Side) -> None:
    said = back(here, here.times[0] + timedelta(seconds=1), database="app.db")
    assert said.databases == ("app.db",)
    assert (len(rows(here, "app.db")), len(rows(here, "logs.db"))) == (10, 13)


def test_points_of_a_past_that_is_not_this_one_are_none(here: Side) -> None:
    assert "there is no point of it at all" in here.ask(at=here.clock().wall, since=4).why


def test_points_of_before_an_earlier_restore_can_still_be_had(here: Side) -> None:
    first = here.times[0] + timedelta(seconds=1)
    assert back(here, here.times[1] + timedelta(seconds=1)).done
    here.make(epoch=4)
    said = here.work(wanted(epoch=4, recall=Recall(at=first, since=3))).recalled
    assert said is not None
    assert (said.why, said.databases) == ("", ("app.db", "logs.db"))
    order = wanted(duty=Duty.PROVE, epoch=4, move="second", recall=said.recall, as_of=said.moment)
    placed = here.work(order).placed
    assert placed is not None
    assert placed.done
    assert rows(here, "app.db") == list(range(1, 11))


def test_a_database_that_was_deleted_since_comes_back_and_says_nothing_of_the_moment(here: Side) -> None:
    for part in ("", "-wal", "-shm"):
        Path(f"{here.root / 'logs.db'}{part}").unlink(missing_ok=True)
    here.make(after=70)
    at = here.clock().wall
    said = here.ask(at=at)
    assert said.moment is not None
    assert at - said.moment < timedelta(seconds=5)
    assert here.order(at=at, as_of=said.moment).done
    assert rows(here, "logs.db") == list(range(1, 13))


def test_laid_ready_nothing_has_moved_and_what_was_given_up_is_tidied(here: Side) -> None:
    at = here.times[0] + timedelta(seconds=1)
    said = here.order(lay=True, at=at, as_of=here.ask(at=at).moment)
    assert (said.done, said.laid, said.databases) == (False, True, ("app.db", "logs.db"))
    assert (len(rows(here, "app.db")), len(list(here.root.glob(".syncthing.*")))) == (13, 2)
    here.make(after=70)
    assert list(here.root.glob(".syncthing.*")) == []
    assert list((here.root / ".failoverd" / "moves").iterdir()) == []
    assert here.work(wanted()).placed is None


def test_laid_ready_and_then_told_it_is_put_back_without_asking_the_points_again(here: Side) -> None:
    at = here.times[0] + timedelta(seconds=1)
    moment = here.ask(at=at).moment
    assert here.order(lay=True, at=at, as_of=moment).laid
    here.again()
    shutil.rmtree(here.root / ".failoverd" / "points")
    assert here.order(at=at, as_of=moment).done
    assert rows(here, "app.db") == list(range(1, 11))


def test_no_room_is_said_and_nothing_is_laid(here: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(here.root)._replace(free=10)
    at = here.times[0] + timedelta(seconds=1)
    moment = here.ask(at=at).moment
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    said = here.order(lay=True, at=at, as_of=moment)
    assert (said.laid, "10 are free" in said.why) == (False, True)
    assert list(here.root.glob(".syncthing.*")) == []
    recaller = Recaller(
        here.root, here.root.parent / "scratch", Placer(here.root, Site.PRIMARY, here.root.parent / "scratch"),
        Prover(here.root, here.root.parent / "scratch").prove,
    )  # fmt: skip
    asked = recaller.look(wanted(recall=Recall(at=at, since=3)), ("app.db",), (), FREE)
    assert asked is not None
    assert asked.why.startswith("no room: ")
