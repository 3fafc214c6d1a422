"""Points of ordinary files: made when a file rested, never of a database, kept and thinned like those of these."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from failoverd.core.filed import Filed
from failoverd.core.rules import Site
from failoverd.core.stock import Lying
from failoverd.guard import copies, files, filing, points, shelf, stock
from failoverd.guard.files import hashed, quoted, unquoted
from failoverd.guard.filing import FileMaker
from failoverd.guard.pace import Pace
from failoverd.guard.points import Maker
from tests.guard.databases import Clock, connect, database, killed_after, wanted

FREE = Pace()


class Side:
    """The active side's maker of file points, with a clock that a test turns."""

    def __init__(self, root: Path, *patterns: str) -> None:
        root.mkdir(exist_ok=True)
        self.root = root
        self.patterns = patterns
        self.clock = Clock()
        self.maker = FileMaker(root, Site.PRIMARY)

    def write(self, name: str, content: bytes | str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def turn(self, after: float = 61, pace: Pace = FREE, **other: Any) -> Filed:
        self.clock.pass_(seconds=after)
        return self.maker.turn(wanted(files=self.patterns, **other), self.clock, pace)

    def lying(self, name: str = "") -> list[copies.Lying]:
        found = copies.lying(self.root, [], quoted(name) if name else "")
        return sorted(found, key=lambda one: (one.point.file, one.point.order))

    def names(self) -> set[str]:
        return {unquoted(one.point.file) for one in self.lying()}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points of several files in one round."""
    monkeypatch.setattr(filing, "APART", timedelta(0))


@pytest.fixture
def here(tmp_path: Path) -> Side:
    return Side(tmp_path / "data", "config.xml", "*.json", "Backups/**")


def said(found: Filed) -> list[str]:
    return [str(one) for one in found.troubles]


def test_every_file_that_matches_gets_a_point_and_no_other(here: Side) -> None:
    for name in ("config.xml", "a.json", "Backups/one/two.zip", "other.xml", "deep/a.json", "Backups.txt"):
        here.write(name, f"this is {name}")
    found = here.turn()
    assert here.names() == {"config.xml", "a.json", "Backups/one/two.zip"}
    assert (found.made, found.files, found.points, found.troubles) == (3, 3, 3, ())
    for one in here.lying():
        path = here.root / unquoted(one.point.file)
        assert one.file.read_bytes() == path.read_bytes()
        assert (one.point.size, one.point.sha256) == (path.stat().st_size, hashed(path, FREE))
        assert (one.point.kind, one.point.mode, one.file.stat().st_mode & 0o777) == ("file", 0o644, 0o644)
        assert one.file.parent.parent == here.root / ".failoverd" / "files"


def test_a_point_is_made_when_the_content_has_changed_and_not_otherwise(here: Side) -> None:
    path = here.write("config.xml", "one")
    assert [here.turn().made for _ in range(3)] == [1, 1, 1]
    os.utime(path, (1, 1))  # touched, and the same
    assert here.turn().made == 1
    path.write_text("two")
    assert here.turn().made == 2
    path.chmod(0o600)
    assert here.turn().made == 3
    assert [one.point.serial for one in here.lying()] == [1, 2, 3]
    assert [one.file.read_text() for one in here.lying()] == ["one", "two", "two"]


def test_a_guard_that_begins_anew_makes_no_point_of_what_has_one(here: Side) -> None:
    here.write("config.xml", "one")
    here.turn()
    here.maker = FileMaker(here.root, Site.PRIMARY)
    found = here.turn()
    assert (found.made, found.points, len(here.lying())) == (0, 1, 1)
    assert found.oldest == found.since == here.lying()[0].point.made_at
    assert here.turn(epoch=4).made == 1  # those of another epoch do not count
    assert here.turn(epoch=3, after=1).troubles[0].text.startswith("points of epoch 4 lie here")


def test_a_file_that_changes_while_it_is_read_gets_no_point_and_that_is_said(here: Side) -> None:
    path = here.write("config.xml", b"x" * 100)
    here.write("a.json", "{}")
    count = 0

    class Busy(Pace):
        def __call__(self) -> None:
            nonlocal count
            count += 1
            path.write_bytes(str(count).encode() * 100)

    for _ in range(filing.RESTLESS - 1):
        assert here.turn(after=6, pace=Busy()).troubles == ()
    found = here.turn(after=6, pace=Busy())
    assert here.names() == {"a.json"}
    assert said(found) == ["config.xml: it never rests for as long as it takes to read it twice: no new point"]
    assert (found.files, found.points, found.since) == (2, 1, None)
    assert not list(here.root.glob(".failoverd/files/*/.syncthing*"))
    assert here.turn(after=6).troubles == ()
    assert here.names() == {"a.json", "config.xml"}


@pytest.mark.parametrize("when", ["before the copy", "never"])
def test_a_change_that_leaves_no_trace_in_the_times_is_seen_by_reading_twice(
    here: Side, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """A file mapped into memory may change without its times; only its content tells then."""
    path = here.write("config.xml", b"x" * 100)
    same = filing.look(path)
    monkeypatch.setattr(filing, "look", lambda _: same)
    reads = 0
    true_copy: Callable[..., str] = files.copied

    def copied(source: Path, target: Path, pace: Pace, most: int) -> str:
        nonlocal reads
        reads += 1
        if when == "before the copy":
            source.write_bytes(str(reads).encode() * 100)
        return true_copy(source, target, pace, most)

    monkeypatch.setattr(filing, "copied", copied)
    here.turn(after=6)
    assert len(here.lying()) == (0 if when == "before the copy" else 1)


def test_a_database_and_what_belongs_to_it_is_never_copied_as_a_file(tmp_path: Path) -> None:
    here = Side(tmp_path / "data", "**")
    database(here.root / "app.data")
    with closing(connect(here.root / "app.data")) as live:
        live.execute("INSERT INTO t VALUES(11, 'x')")
        assert (here.root / "app.data-wal").exists()
        here.write("app.data-journal", "left")
        here.write("odd.db", "encrypted, perhaps")
        here.write("plain", "x")
        found = here.turn()
    assert here.names() == {"plain"}
    assert said(found) == [
        "odd.db: it is named as a database or was one, and none that can be read: not copied as a file"
    ]


def test_a_file_that_becomes_a_database_while_it_is_copied_is_no_point(
    here: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.write("config.xml", "x")
    here.turn()
    made = database(here.root.parent / "other.db").read_bytes()
    here.write("config.xml", made)  # between two walks
    found = here.turn(after=6)
    assert said(found) == ["config.xml: it is a database"]
    assert len(here.lying()) == 1
    assert here.turn().files == 0


def test_neither_links_nor_what_is_ours_or_syncthings_is_copied(tmp_path: Path) -> None:
    here = Side(tmp_path / "data", "**")
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "x").write_text("not of this volume")
    (here.root / "link").symlink_to(secret / "x")
    (here.root / "folder").symlink_to(secret)
    os.mkfifo(here.root / "pipe")
    for name in (".stfolder/x", ".stversions/x", ".stignore", ".failoverd/moves/x", ".syncthing.a.tmp", "real"):
        here.write(name, "x")
    here.turn()
    assert here.names() == {"real"}


@given(raw=st.binary(min_size=1, max_size=40).filter(lambda raw: not set(raw) & {0, 47} and raw not in (b".", b"..")))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_name_a_disk_can_hold_is_copied_and_found_again(tmp_path: Path, raw: bytes) -> None:
    root = tmp_path / "data"
    shutil.rmtree(root, ignore_errors=True)
    here = Side(root, "Backups/**")
    name = "Backups/" + os.fsdecode(raw)
    if name.endswith(points.SUFFIXES) or name.endswith(("-wal", "-shm", "-journal")):
        return
    if name.split("/")[1].startswith((".syncthing.", "~syncthing~")):
        return
    here.write(name, raw)
    assert here.turn().troubles == ()
    (one,) = here.lying()
    assert (unquoted(one.point.file), one.file.read_bytes()) == (name, raw)
    assert shelf.called(one.point.file) == one.file.parent.name


def test_points_are_kept_by_count_and_age_and_the_newest_whatever_its_age(here: Side) -> None:
    for number in range(6):
        here.write("config.xml", str(number))
        here.turn(keep=3)
    assert [one.file.read_text() for one in here.lying()] == ["3", "4", "5"]
    here.write("config.xml", "6")
    here.turn(after=7200, keep=3)
    assert [one.file.read_text() for one in here.lying()] == ["6"]


def test_a_deleted_files_points_are_kept_for_as_long_as_any_are_and_no_longer(here: Side) -> None:
    path = here.write("config.xml", "one")
    here.turn()
    path.unlink()
    assert here.turn().files == 0
    here.turn(after=3000)
    assert here.names() == {"config.xml"}
    for _ in range(3):
        assert here.turn(after=1000).lying == 0 or here.names()
    assert here.names() == set()
    assert list(here.root.glob(".failoverd/files/*")) == []


def test_a_folder_that_cannot_be_read_is_no_deletion(here: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    here.write("Backups/a", "one")
    here.turn()
    true = os.scandir

    def scandir(path: Path) -> Any:
        if Path(path).name == "Backups":
            raise PermissionError(13, "Permission denied")
        return true(path)

    monkeypatch.setattr(os, "scandir", scandir)
    for _ in range(3):
        assert said(here.turn(after=3000)) == ["Backups: unreadable: Permission denied"]
    assert here.names() == {"Backups/a"}


def test_what_is_beyond_the_bounds_is_said(here: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filing, "LARGEST", 10)
    monkeypatch.setattr(filing, "TOGETHER", 14)
    here.write("Backups/0", b"x" * 11)
    for name in ("1", "2"):
        here.write(f"Backups/{name}", b"x" * 8)
    here.write("a.json", b"{}")
    found = here.turn()
    assert here.names() == {"Backups/1", "a.json"}
    assert said(found) == [
        "Backups/0: it has 11 bytes, and files of up to 10 get points",
        "Backups/2: beyond the 14 bytes that all files of a volume may have together",
    ]
    monkeypatch.setattr(filing, "MOST", 1)
    (here.root / "Backups/0").unlink()
    found = here.turn()
    assert said(found) == ["3 files match, and points are made of the first 1 by name"]
    assert here.names() == {"Backups/1", "a.json"}  # what is beyond is not gone


def test_without_room_for_it_there_is_no_point_and_that_is_said(here: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    here.write("config.xml", b"x" * 100)
    usage = shutil.disk_usage(here.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=150))
    assert said(here.turn())[0].startswith("config.xml: no room: a copy needs 100 bytes")
    assert here.names() == set()


def test_older_points_of_files_make_room_like_those_of_databases(here: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        here.write("config.xml", str(number) * 1000)
        here.turn()
    usage = shutil.disk_usage(here.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1500))
    points.thin(here.root)
    assert [one.file.read_text()[0] for one in here.lying()] == ["1", "2"]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    points.thin(here.root)
    assert [one.file.read_text()[0] for one in here.lying()] == ["2"]  # whatever it takes


def test_one_round_reads_only_so_much_and_the_next_ones_go_on(here: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filing, "ROUND", 10)
    for number in range(4):
        here.write(f"Backups/{number}", b"x" * 8)
    assert [here.turn(after=0.2).made for _ in range(3)] == [2, 4, 4]


def test_makers_of_databases_and_of_files_see_nothing_of_each_other(here: Side) -> None:
    database(here.root / "app.db")
    here.write("config.xml", "x")
    maker = Maker(here.root, Site.PRIMARY)
    here.turn()
    maker.turn(wanted(), here.clock, FREE)
    assert [one.database for one in maker.kept] == ["app.db"]
    wrong: list[Any] = []
    assert [one.point.database for one in shelf.lying(here.root, wrong)] == ["app.db"]
    assert (wrong, here.names()) == ([], {"config.xml"})


def test_a_manifest_of_a_file_among_those_of_databases_is_no_database(here: Side) -> None:
    here.write("config.xml", "x")
    here.turn()
    (one,) = here.lying()
    stray = shelf.folder(here.root, "config.xml")
    stray.mkdir(parents=True)
    shutil.copy(one.manifest, stray / one.manifest.name)
    shutil.copy(one.file, stray / f"{one.file.stem}.sqlite")
    wrong: list[Any] = []
    assert list(shelf.lying(here.root, wrong)) == []
    assert [each.database.startswith(".failoverd/") for each in wrong] == [True]


def test_a_guard_killed_anywhere_leaves_no_half_a_point(tmp_path: Path) -> None:
    for count in range(100):
        here = Side(tmp_path / str(count), "*.xml")
        here.write("config.xml", b"x" * 3_000_000)

        def act(still: Callable[[], None], here: Side = here) -> bool:
            return here.turn(pace=Pace(still=still)).made == 1

        died = killed_after(count, act)
        for one in here.lying():
            assert copies.differs(one, FREE) == ""
        here.maker = FileMaker(here.root, Site.PRIMARY)
        assert here.turn().points == 1
        assert {path.suffix for path in here.lying()[0].file.parent.iterdir()} == {".copy", ".json"}
        if not died:
            assert count > 6
            return
    pytest.fail("it never ended")


def test_a_moment_passes_between_two_looks(here: Side) -> None:
    path = here.write("config.xml", "one")
    here.turn()
    path.write_text("two")
    assert here.turn(after=1).made == 1
    assert here.turn(after=5).made == 2
    assert here.turn(after=1, interval=timedelta(seconds=5)).made == 2


def test_points_come_and_go_one_in_two_seconds_and_what_lies_there_is_said(
    here: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies there is taken off the files of the volume where mass deletions are looked for."""
    monkeypatch.setattr(filing, "APART", timedelta(seconds=2))
    for number in range(4):
        here.write(f"Backups/{number}", "one")
    said = [here.turn(after=0.5) for _ in range(20)]
    assert [one.made for one in said][::4] == [1, 2, 3, 4, 4]
    assert all(one.lying == 2 * one.made for one in said)
    for path in sorted((here.root / "Backups").iterdir()):
        path.unlink()
    here.turn(after=61)
    here.turn(after=3600)
    lying = [here.turn(after=0.5).lying for _ in range(60)]
    assert all(before - after in (0, 2) for before, after in itertools.pairwise(lying))
    assert [path.name for path in here.root.glob(".failoverd/files/*")] == []
    assert lying[-1] == 0


def test_the_files_that_wait_for_their_turn_get_one(here: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filing, "APART", timedelta(seconds=2))
    for number in range(30):  # all the time
        for name in ("Backups/a", "Backups/b", "Backups/c"):
            here.write(name, str(number))
        here.turn(after=2.1)
    counts = [len(here.lying(name)) for name in ("Backups/a", "Backups/b", "Backups/c")]
    assert min(counts) >= 9


def test_points_of_files_are_listed_as_points_which_a_daemon_of_before_can_read(here: Side) -> None:
    here.write("Backups/a b.zip", "one")
    here.turn()
    found = stock.look(here.root, here.clock().wall, FREE)
    (one,) = found.named(Lying.POINT)
    assert (one.path, one.size) == ("Backups/a%20b.zip", 3)
    assert (here.root / unquoted(one.lies)).read_text() == "one"
    assert found.displaced == 0
