"""Schedules written to have points of ordinary files break what is promised of databases, or of files themselves."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import namedtuple
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from failoverd.core.filed import FilePoint, Trouble
from failoverd.core.points import Duty, Observed, Wanted
from failoverd.core.recall import Recall
from failoverd.core.rules import Site
from failoverd.guard import copies, filing, points, recall, shelf
from failoverd.guard.filing_proof import Meant
from failoverd.guard.pace import Halt
from failoverd.replay_sweep import Begun, Silence, Value
from tests.guard.databases import T0, connect, database, wanted
from tests.guard.test_filing import Side as Making
from tests.guard.test_filing import at_once
from tests.guard.test_recall import MOVE, Side, grow, rows

__all__ = ["at_once"]  # a fixture
pytestmark = pytest.mark.usefixtures("at_once")
ROOM = namedtuple("ROOM", "total used free")


class Here(Side):
    """The active side, where every file gets points."""

    def work(self, order: Wanted) -> Observed:
        return super().work(replace(order, files=("**",)))


@pytest.fixture
def here(tmp_path: Path) -> Here:
    root = tmp_path / "data"
    database(root / "app.db")
    (root / ".stfolder").mkdir()
    return Here(root)


def unmerged(path: Path, number: int) -> bytes:
    """A row that only the `-wal` beside a database holds, as a killed app leaves it; what that `-wal` is."""
    with closing(connect(path)) as live:
        live.execute("PRAGMA wal_autocheckpoint=0")
        live.execute("INSERT INTO t VALUES(?, 'only in the -wal')", (number,))
        kept = {part: Path(f"{path}{part}").read_bytes() for part in ("", "-wal")}
    for part, content in kept.items():
        Path(f"{path}{part}").write_bytes(content)
    return kept["-wal"]


def once_empty(here: Here) -> tuple[Path, datetime]:
    """A database of whose place there is a file's point from before, and a moment of which it has one itself."""
    path = here.root / "library"
    path.touch()
    here.make(after=61)
    path.unlink()
    database(path)
    return path, here.make(after=61)


def back(here: Here, at: Any, **more: Any) -> Any:
    said = here.ask(at=at, **more)
    assert said.why == ""
    assert here.order(lay=True, at=at, as_of=said.moment, **more).laid
    return here.order(at=at, as_of=said.moment, **more)


# -------------------------------------------------------------------- databases held up


def test_a_file_that_grows_while_it_is_read_holds_up_no_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup being written: small when it was found, and longer with every piece that is read of it."""
    monkeypatch.setattr(filing, "LARGEST", 4 * 1024 * 1024)
    side = Making(tmp_path / "data", "Backups/**")
    path = side.write("Backups/new.zip", b"x")
    side.turn()
    path.write_bytes(b"y" * 1024 * 1024)
    read = 0

    def pace() -> None:
        nonlocal read
        read += 1
        if read > 100:
            raise Halt("it would never have ended")
        with path.open("ab") as growing:
            growing.write(b"z" * 1024 * 1024)

    side.turn(after=6, pace=pace)  # type: ignore[arg-type]
    assert read < 20


@pytest.mark.parametrize("duty", [Duty.MAKE, Duty.PROVE])
def test_a_folder_of_file_points_that_cannot_be_read_silences_no_guard(
    here: Here, duty: Duty, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here.root / "config.xml").write_text("one")
    here.make(after=61)
    sick = copies.folder(here.root, "config.xml")
    real = Path.iterdir

    def iterdir(path: Path) -> Any:
        if path == sick:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    here.clock.pass_(seconds=61)
    grow(here.root / "app.db", 99)
    said = here.work(wanted(duty=duty))  # raises: what of databases was done is never said
    assert said.kept or said.proven
    assert not said.sick


def test_files_that_find_no_room_keep_no_database_from_being_put_back(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here.root / "big").write_bytes(b"1" * 300_000)
    at = here.make(after=61)
    (here.root / "big").write_bytes(b"2")
    grow(here.root / "app.db", 99)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: ROOM(1_000_000, 800_000, 200_000))
    assert here.ask(at=at).why == ""


def test_room_that_newest_points_of_files_take_costs_no_points_of_databases(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here.root / "big").write_bytes(b"1" * 300_000)
    for number in range(20, 26):
        here.make(after=61)
        grow(here.root / "app.db", number)
    before = len(list(shelf.lying(here.root, [])))
    # without files, points of that database take less than half of what is free
    monkeypatch.setattr(shutil, "disk_usage", lambda _: ROOM(1_000_000, 800_000, 200_000))
    points.thin(here.root)
    assert len(list(shelf.lying(here.root, []))) == before


def test_points_of_files_that_come_and_go_leave_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each the one point is its newest, which is never thinned: within `keep_for` they fill any disk."""
    side = Making(tmp_path / "data", "**")

    def usage(_: object) -> ROOM:
        taken = shelf.taken(side.root)
        return ROOM(6_000_000, taken, 6_000_000 - taken)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    for number in range(12):
        path = side.write(f"segment-{number}.ts", bytes([number]) * 350_000)
        side.turn()
        path.unlink()
        points.thin(side.root)
    assert shelf.taken(side.root) <= usage("").free


def test_files_that_come_and_go_leave_room_for_points_of_databases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    database(root / "app.db", rows=5000)
    here = Here(root)

    def usage(_: object) -> ROOM:
        taken = shelf.taken(root)
        return ROOM(6_000_000, taken, 6_000_000 - taken)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    for number in range(18):
        path = root / f"segment-{number}.ts"
        path.write_bytes(bytes([number]) * 350_000)
        here.make(after=61)
        path.unlink()
    grow(root / "app.db", 9999)
    here.clock.pass_(seconds=61)
    assert [str(one) for one in here.work(wanted()).sick] == []


def test_a_name_with_many_dashes_is_matched_in_time() -> None:
    for pattern in ("*-*-*-*-*-*-*.json", "*-*-*.json"):  # one that is refused, the worst that is taken
        code = f"from failoverd.core.patterns import Patterns;assert not Patterns(['{pattern}']).match('-' * 250)"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=3)


# -------------------------------------------------------------------- foreign -wal, half a database


def test_a_database_that_was_an_empty_file_first_is_put_back_as_a_database(here: Here) -> None:
    """Every database is an empty file until its first transaction, and its name need not end in .db."""
    path, at = once_empty(here)
    path.unlink()  # by mistake
    here.make(after=61)
    said = back(here, at, database="library")
    assert (said.databases, said.files) == (("library",), 0)


def test_no_file_is_put_in_the_place_of_a_database_whose_wal_stays_beside_it(here: Here) -> None:
    """The same, with its first page overwritten: an empty file beside a -wal has SQLite delete that."""
    path, at = once_empty(here)
    wal = unmerged(path, 500)
    path.write_bytes(b"\0" * 100 + path.read_bytes()[100:])
    here.make(after=61)
    said = here.ask(at=at, database="library")
    here.order(at=at, as_of=said.moment, database="library")
    with closing(connect(path)) as app:  # what the app does
        app.execute("PRAGMA user_version").fetchone()
    assert wal in [one.read_bytes() for one in here.root.rglob("library-wal")]


def test_an_encrypted_database_is_never_put_beside_a_later_wal(here: Here) -> None:
    """Nothing but the -wal beside it tells it from a file."""
    path, wal = here.root / "vault", here.root / "vault-wal"
    path.write_bytes(b"page of 12:00" * 400)
    wal.write_bytes(b"frames on top of 12:00")
    at = here.make(after=61)
    path.write_bytes(b"page of 13:00" * 400)  # a checkpoint
    wal.write_bytes(b"frames on top of 13:00")
    here.make(after=61)
    back(here, at)
    assert not (b"12:00" in path.read_bytes() and wal.exists() and b"13:00" in wal.read_bytes())


@pytest.mark.parametrize("how", ["set", "laid"])
def test_a_database_that_makes_room_for_a_file_keeps_its_wal(here: Here, how: str) -> None:
    """What was displaced as a file, or laid as one, finds a database in its place."""
    path = here.root / "state"
    path.write_text("one")
    at = here.make(after=61)
    path.write_text("two")
    here.make(after=61)
    meant: dict[str, Any] = {"at": at, "database": "state"}
    if how == "set":
        assert back(here, **meant).done
        meant = {"moved": next((here.root / ".failoverd" / "moves").iterdir()).name}
    else:
        assert here.order(lay=True, **meant).laid
    path.unlink()
    database(path)
    wal = unmerged(path, 500)
    if how == "set":
        here.make(after=61)
        assert here.ask(**meant).why == ""
    asked = Recall(since=3, **meant)
    order = wanted(duty=Duty.PROVE, move=f"{MOVE}+" if how == "set" else MOVE, recall=asked)
    here.work(order)
    assert Path(f"{path}-wal").exists() == (path.read_bytes()[:6] == b"SQLite")
    if path.read_bytes()[:6] == b"SQLite":
        return
    aside = [one.parent for one in here.root.rglob("state-wal") if one.read_bytes() == wal]
    assert [one for one in aside if (one / "state").read_bytes()[:6] == b"SQLite"]


# -------------------------------------------------------------------- put back


def test_a_file_that_was_a_folder_before_it_was_deleted_blocks_no_restore(here: Here) -> None:
    (here.root / "x").mkdir()
    (here.root / "x" / "y").write_text("in the folder")
    here.make(after=61)
    shutil.rmtree(here.root / "x")
    (here.root / "x").write_text("a file")
    at = here.make(after=61)
    (here.root / "x").unlink()
    grow(here.root / "app.db", 99)
    here.make(after=61)
    said = back(here, at)
    assert max(rows(here, "app.db")) == 10  # so far it got
    assert (said.done, said.why) == (True, "")


def test_of_when_a_file_is_that_was_put_back_is_said(here: Here) -> None:
    (here.root / "config.xml").write_text("one")
    here.make(after=61)
    here.clock.pass_(minutes=40)
    at = here.make(after=61)
    (here.root / "config.xml").write_text("two")
    grow(here.root / "app.db", 99)
    made = next(one.point.made_at for one in copies.lying(here.root, [], "config.xml"))
    assert f"{made:%H:%M}" in back(here, at).told


def test_what_is_told_of_files_stays_small() -> None:
    """It goes into what the daemon remembers of a move, of which all apps together have 1 MB."""
    names = [f"{number:02d}/" + "/".join(["%D0%B6" * 127] * 16) for number in range(40)]
    point = FilePoint(file="", site=Site.PRIMARY, epoch=1, serial=1, made_at=T0, size=0, sha256="", mode=0)
    lies = {name: copies.Lying(replace(point, file=name), Path("x"), Path("y")) for name in names[:20]}
    stay = tuple(Trouble(file=name, text="there is no point of it") for name in names[20:])
    assert len(recall._told(Meant(lies, (), stay))) < 100_000


# -------------------------------------------------------------------- said


def test_a_silence_that_two_instances_recorded_came_back_once() -> None:
    silences = [Silence(node="a", since=T0, lasted=timedelta(minutes=5), over=True) for _ in range(2)]
    value = Value(timedelta(minutes=1), None, lambda _: True)  # type: ignore[arg-type]
    at = T0 + timedelta(minutes=1)
    value.begun.append(Begun(app="x/y", node="a", at=at, silent=timedelta(minutes=1), at_risk=1.0))
    assert value.point(silences).came_back == 1
