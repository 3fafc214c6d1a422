"""What disks, apps and clocks do to a guard at the active side: each is said, and no good point is lost by it."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from failoverd.core.points import Ailment, Duty
from failoverd.core.rules import Site
from failoverd.guard import shelf
from failoverd.guard.pace import Pace
from failoverd.guard.points import Maker
from failoverd.guard.proof import Prover
from tests.guard.databases import Clock, connect, database, wanted

FREE = Pace()
AT_ONCE = timedelta(0)


def change(path: Path) -> None:
    with closing(connect(path)) as live:
        live.execute("INSERT INTO t SELECT max(n) + 1, 'x' FROM t")


def serials(root: Path, name: str) -> list[int]:
    return sorted(one.point.serial for one in shelf.lying(root, [], name))


def disk_of(monkeypatch: pytest.MonkeyPatch, root: Path, size: int) -> None:
    """A disk with nothing on it but points."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=size - shelf.taken(root)))


def test_all_points_together_take_no_more_than_they_leave_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = database(tmp_path / "small.db"), database(tmp_path / "large.db", rows=1000, width=100)
    maker, clock = Maker(tmp_path, Site.PRIMARY), Clock()
    size = 8 * large.stat().st_size
    disk_of(monkeypatch, tmp_path, size)
    for _ in range(8):
        change(small)
        change(large)
        maker.turn(wanted(interval=AT_ONCE), clock, FREE)
        assert maker.sick == ()
        assert shelf.taken(tmp_path) <= size / 2
    assert serials(tmp_path, "large.db")[-3:] == [6, 7, 8]
    assert serials(tmp_path, "small.db")[-3:] == [6, 7, 8]


def test_a_disk_that_fills_gets_room_back_and_the_newest_point_of_each_database_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = database(tmp_path / "app.db")
    maker, clock = Maker(tmp_path, Site.PRIMARY), Clock()
    for _ in range(4):
        change(path)
        maker.turn(wanted(interval=AT_ONCE), clock, FREE)
    assert serials(tmp_path, "app.db") == [1, 2, 3, 4]
    disk_of(monkeypatch, tmp_path, shelf.taken(tmp_path))
    clock.pass_(seconds=61)
    maker.turn(wanted(interval=AT_ONCE), clock, FREE)
    assert serials(tmp_path, "app.db") == [3, 4]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    for _ in range(2):
        clock.pass_(seconds=61)
        maker.turn(wanted(interval=AT_ONCE), clock, FREE)
        assert serials(tmp_path, "app.db") == [4]


def test_a_file_that_cannot_be_read_is_said_by_its_name_and_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("app.db", "other.db"):
        database(tmp_path / name)
    real = os.open

    def failing(path: os.PathLike[str], *args: int, **more: int) -> int:
        if Path(path).name == "app.db":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **more)

    monkeypatch.setattr(os, "open", failing)
    maker = Maker(tmp_path, Site.PRIMARY)
    maker.turn(wanted(), Clock(), FREE)
    (sick,) = maker.sick
    assert (sick.database, sick.ailment) == ("app.db", Ailment.UNREADABLE)
    assert "Permission denied" in sick.text
    assert [one.database for one in maker.kept] == ["other.db"]


def test_a_database_that_is_locked_for_minutes_keeps_its_point_and_its_age_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("failoverd.guard.sqlite.LOCK_WAIT", 0.05)
    path = database(tmp_path / "app.db", wal=False)
    maker, clock = Maker(tmp_path, Site.PRIMARY), Clock()
    maker.turn(wanted(), clock, FREE)
    (first,) = maker.kept
    change(path)
    with closing(connect(path)) as live:
        live.execute("BEGIN EXCLUSIVE")
        for _ in range(4):
            clock.pass_(minutes=1)
            maker.turn(wanted(), clock, FREE)
            assert [one.ailment for one in maker.sick] == [Ailment.LOCKED]
            assert maker.kept == (first,)
        live.execute("COMMIT")
    clock.pass_(minutes=1)
    maker.turn(wanted(), clock, FREE)
    assert (maker.sick, serials(tmp_path, "app.db")) == ((), [1, 2])
    assert maker.kept[0].age > timedelta(minutes=4)


@pytest.mark.parametrize("off", [-600, 600])
def test_a_nodes_clock_that_is_ten_minutes_off_changes_no_time_and_no_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off: int
) -> None:
    """Whatever a file's times say: moments come from the API server, and the order from the guard's count."""
    path = database(tmp_path / "active" / "app.db")
    maker, clock = Maker(tmp_path / "active", Site.PRIMARY), Clock()
    for number in range(3):
        change(path)
        maker.turn(wanted(interval=AT_ONCE), clock, FREE)
        for one in shelf.lying(tmp_path / "active", []):
            then = 1.7e9 + off * (number + 1)
            os.utime(one.file, (then, then))
        os.utime(path, (1.7e9 + off, 1.7e9 + off))
        clock.pass_(seconds=5)
    shutil.copytree(tmp_path / "active" / ".failoverd", tmp_path / "standby" / ".failoverd")
    (tmp_path / "scratch").mkdir()
    prover = Prover(tmp_path / "standby", tmp_path / "scratch")
    prover.turn(wanted(duty=Duty.PROVE), clock, FREE)
    assert [(one.serial, one.made_at) for one in prover.proven] == [(3, maker.kept[0].made_at)]
    assert timedelta(0) < clock().wall - prover.proven[0].made_at < timedelta(seconds=30)
