"""What a guard says is kept: Syncthing's versions, sets that a placing displaced, points; none of it is changed."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from failoverd.core.points import Duty
from failoverd.core.rules import Site
from failoverd.core.stock import Lying, Stock
from failoverd.guard import stock
from failoverd.guard.files import quoted, unquoted
from failoverd.guard.keeper import Keeper
from failoverd.guard.pace import Halt
from failoverd.guard.points import Maker
from failoverd.guard.stock import NAMED, look, untagged
from tests.guard.databases import T0, Clock, database, wanted
from tests.guard.test_place import BARE, FREE, MOVE, ODD, place, target

__all__ = ["target"]  # a fixture
AT = datetime(2026, 11, 26, 15, 3, 1, tzinfo=UTC)


def put(root: Path, name: str, content: bytes = b"old") -> Path:
    path = root / ".stversions" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def seen(root: Path) -> Stock:
    return look(root, T0, lambda: None)


def named(root: Path, kind: Lying) -> list[tuple[str, datetime, int, str]]:
    return [(one.path, one.at, one.size, one.move) for one in seen(root).named(kind)]


@pytest.mark.parametrize(
    ("name", "was", "at"),
    [
        ("config~20261126-150301.xml", "config.xml", AT),
        ("sub/sonarr~20261126-150301.db-wal", "sub/sonarr.db-wal", AT),
        ("Makefile~20261126-150301", "Makefile", AT),
        ("a.tar~20261126-150301.gz", "a.tar.gz", AT),
        ("odd~~20261126-150301.x", "odd~.x", AT),
        ("line\nbreak~20261126-150301.db", "line\nbreak.db", AT),
        ("plain.xml", "plain.xml", None),
        ("month~20261326-150301.xml", "month~20261326-150301.xml", None),
        ("early~20261126-150301.d/file", "early~20261126-150301.d/file", None),
    ],
)
def test_a_version_has_the_name_it_had_and_the_moment_it_was_put_aside(name: str, was: str, at: datetime) -> None:
    assert untagged(name) == (was, at)


def test_versions_are_named_newest_first_with_their_sizes(tmp_path: Path) -> None:
    put(tmp_path, "config~20261126-150301.xml", b"12345")
    put(tmp_path, "sub/new\nline~20261126-150302.db", b"123")
    aside = ".failoverd/moves/a%23b/0000/app~20261126-150303.db"
    put(tmp_path, aside, b"1")
    os.utime(put(tmp_path, "by hand.txt"), (T0.timestamp(),) * 2)
    second = timedelta(seconds=1)
    assert named(tmp_path, Lying.VERSION) == [
        (".failoverd/moves/a%2523b/0000/app.db", AT + 2 * second, 1, "a#b"),
        ("sub/new%0Aline.db", AT + second, 3, ""),
        ("config.xml", AT, 5, ""),
        ("by%20hand.txt", T0, 3, ""),
    ]
    found = seen(tmp_path)
    assert (found.of(Lying.VERSION).files, found.displaced, found.trouble) == (4, 12, "")
    assert {unquoted(one.lies) for one in found.newest} == {
        str(path.relative_to(tmp_path)) for path in (tmp_path / ".stversions").rglob("*") if path.is_file()
    }


def test_a_name_that_is_no_text_is_told_byte_by_byte(tmp_path: Path) -> None:
    put(tmp_path, os.fsdecode(b"\xff~20261126-150301.db"))
    assert [one.path for one in seen(tmp_path).newest] == ["%FF.db"]


def test_sets_carry_the_database_and_the_move_that_displaced_them(target: Path) -> None:
    assert place(target).done
    found = {(one.path, one.move) for one in seen(target).named(Lying.SET)}
    parts = ("", "-wal", "-shm", "-journal")
    assert found == {(quoted(name) + part, MOVE) for name in ("app.db", ODD) for part in parts}
    assert BARE not in {path for path, _ in found}  # there was nothing in its place
    for one in seen(target).named(Lying.SET):
        assert (target / unquoted(one.lies)).stat().st_size == one.size


def test_a_journal_that_is_none_leaves_its_set_in_the_list(target: Path) -> None:
    place(target)
    (journal,) = (target / ".failoverd" / "moves").glob("*/*.json")
    journal.write_text("{}")
    sets = seen(target).named(Lying.SET)
    assert len(sets) == 8
    assert {one.path for one in sets} >= {"app.db", "app.db-wal"}
    assert {one.move for one in sets} == {MOVE}  # the folder is named by it


def test_points_are_named_by_their_database_and_moment(tmp_path: Path) -> None:
    database(tmp_path / "app.db")
    Maker(tmp_path, Site.PRIMARY).turn(wanted(), Clock(), FREE)
    (point,) = seen(tmp_path).named(Lying.POINT)
    assert (point.path, (tmp_path / unquoted(point.lies)).stat().st_size) == ("app.db", point.size)
    assert seen(tmp_path).displaced == 0  # a copy displaces nothing


def test_many_are_counted_and_only_the_newest_named(tmp_path: Path) -> None:
    for number in range(3 * NAMED):
        put(tmp_path, f"f~20261126-15{number // 60:02d}{number % 60:02d}.txt")
    found = seen(tmp_path)
    assert (found.of(Lying.VERSION).files, found.of(Lying.VERSION).size) == (3 * NAMED, 9 * NAMED)
    first = datetime(2026, 11, 26, 15, tzinfo=UTC)
    assert [one.at for one in found.newest] == [
        first + timedelta(seconds=number) for number in range(3 * NAMED - 1, 2 * NAMED - 1, -1)
    ]


def test_links_are_not_followed_and_nothing_is_changed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    put(outside, "secret~20261126-150301.txt")
    root = tmp_path / "root"
    put(root, "mine~20261126-150301.txt")
    (root / ".stversions" / "link").symlink_to(outside)
    (root / ".failoverd").symlink_to(outside)
    before = sorted((str(path), path.lstat().st_mtime_ns) for path in root.rglob("*"))
    assert [one.path for one in seen(root).newest] == ["mine.txt"]
    assert sorted((str(path), path.lstat().st_mtime_ns) for path in root.rglob("*")) == before
    shutil.rmtree(root / ".stversions")
    (root / ".stversions").symlink_to(outside / ".stversions")
    assert seen(root).newest == ()


def test_a_folder_that_cannot_be_read_is_said_and_never_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a/one~20261126-150301.txt")
    put(tmp_path, "b/two~20261126-150301.txt")
    real = Path.iterdir

    def failing(self: Path) -> object:
        if self.name == "a":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self)

    monkeypatch.setattr(Path, "iterdir", failing)
    found = seen(tmp_path)
    assert [one.path for one in found.newest] == ["b/two.txt"]
    assert "Permission denied" in found.trouble


def test_a_look_ends_where_the_order_does(tmp_path: Path) -> None:
    put(tmp_path, "a~20261126-150301.txt")

    def halt() -> None:
        raise Halt("told to stop")

    with pytest.raises(Halt):
        look(tmp_path, T0, halt)


def test_a_guard_looks_at_first_after_a_rest_and_once_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, root = Clock(), tmp_path / "root"
    root.mkdir()
    (tmp_path / "scratch").mkdir()
    one = Keeper(root, Site.BACKUP, tmp_path / "scratch", lambda: clock().mono)
    looks: list[datetime] = []

    def looked(root: Path, at: datetime, pace: object) -> Stock:
        looks.append(at)
        return look(root, at, lambda: None)

    monkeypatch.setattr(stock, "look", looked)

    def work(duty: Duty, **other: object) -> Stock | None:
        want = wanted(duty=duty, **other)
        one.order(want, clock().wall)
        return one.work(want).stock

    first = work(Duty.PROVE)
    assert work(Duty.PROVE) == first
    work(Duty.PROVE, move="m")
    assert work(Duty.REST) == first  # whoever rests says what it last saw, and looks at nothing
    assert len(looks) == 1
    put(root, "config~20261126-150301.xml")
    after = work(Duty.PROVE)
    assert (len(looks), after.newest[0].path if after else "") == (2, "config.xml")
    clock.pass_(hours=23)
    work(Duty.PROVE)
    assert len(looks) == 2
    clock.pass_(hours=1)
    work(Duty.PROVE)
    assert len(looks) == 3
    one.close()
