"""Restore points of real databases: under writers, in every mode, of odd names; what is said where none is made."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from failoverd.clock import spent
from failoverd.core.points import Ailment, Sickness
from failoverd.core.rules import Site
from failoverd.guard import shelf, sqlite
from failoverd.guard.files import hashed, quoted
from failoverd.guard.pace import Halt, Pace
from failoverd.guard.points import Maker, find
from tests.guard.databases import Clock, connect, database, numbers, uri, wanted, writing

FREE = Pace()


def found(root: Path) -> tuple[list[str], list[Sickness]]:
    wrong: list[Sickness] = []
    return [one.database for one in find(root, wrong, FREE)], wrong


def lying(root: Path) -> list[shelf.Lying]:
    wrong: list[Sickness] = []
    there = sorted(shelf.lying(root, wrong), key=lambda one: (one.point.database, one.point.order))
    assert wrong == []
    return there


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_databases_are_found_by_their_header_and_nothing_else_is(tmp_path: Path) -> None:
    database(tmp_path / "app.db")
    database(tmp_path / "deep" / "er" / "no-suffix", wal=False)
    (tmp_path / "notes.txt").write_text("SQLite format 3 is what this is about" * 99)
    for hidden in (".stversions", ".failoverd/points/x"):
        database(tmp_path / hidden / "old.db")
    database(tmp_path / ".syncthing.app.db.tmp")
    database(tmp_path / "app.sync-conflict-20260101-120000-ABCDEFG.db")
    (tmp_path / "link.db").symlink_to(tmp_path / "app.db")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.db")
    assert found(tmp_path) == (["app.db", "deep/er/no-suffix"], [])


def test_a_database_whose_rows_are_all_in_the_wal_is_found_and_copied_whole(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "app.db")) as live:
        live.execute("PRAGMA journal_mode=WAL")
        live.execute("CREATE TABLE t(n INTEGER PRIMARY KEY)")
        live.execute("INSERT INTO t VALUES(1), (2)")
        assert (tmp_path / "app.db").stat().st_size == 4096
        Maker(tmp_path, Site.PRIMARY).turn(wanted(), Clock(), FREE)
    (one,) = lying(tmp_path)
    assert numbers(one.file) == [1, 2]


@pytest.mark.parametrize("name", [b"new\nline.db", b"\xff\xfe no text.db", b"%41 ? # & '\".db", "Füße.db".encode()])
@pytest.mark.parametrize("wal", [True, False])
def test_any_name_a_file_can_have_is_copied(tmp_path: Path, name: bytes, wal: bool) -> None:
    path = database(tmp_path / os.fsdecode(name), wal=wal)
    maker = Maker(tmp_path, Site.PRIMARY)
    maker.turn(wanted(), Clock(), FREE)
    (one,) = lying(tmp_path)
    assert (one.point.database, maker.sick) == (quoted(os.fsdecode(name)), ())
    assert one.manifest.read_bytes().isascii()
    assert numbers(one.file) == list(range(1, 11))
    assert one.point.wal is wal
    assert path.exists()


def test_a_manifest_says_what_the_point_is(tmp_path: Path) -> None:
    path = database(tmp_path / "app.db", wal=False)
    path.chmod(0o640)
    clock = Clock()
    before = clock().wall
    Maker(tmp_path, Site.BACKUP).turn(wanted(epoch=7), clock, FREE)
    (one,) = lying(tmp_path)
    point = one.point
    assert before <= point.made_at <= clock().wall
    assert (point.site, point.epoch, point.serial, point.wal) == (Site.BACKUP, 7, 1, False)
    assert (point.size, point.sha256) == (one.file.stat().st_size, hashed(one.file, FREE))
    head = sqlite.header(path)
    assert head is not None
    assert point.counter_before == point.counter_after == head.counter > 0
    assert one.file.stat().st_mode & 0o777 == point.mode == 0o640
    assert one.file.name == "00000007-00000001-backup.sqlite"


def test_the_change_counter_counts_in_rollback_mode_and_stands_still_in_wal_mode(tmp_path: Path) -> None:
    moved = {}
    for wal in (False, True):
        path = database(tmp_path / f"{wal}.db", wal=wal)
        before = sqlite.state(path)
        with closing(connect(path)) as live:
            for n in range(100, 150):
                live.execute("INSERT INTO t VALUES(?, 'x')", (n,))
            after = sqlite.state(path)
            moved[wal] = (after.counter - before.counter, after.changes >= 50)
    assert moved == {False: (50, False), True: (0, True)}


@pytest.mark.parametrize(("wal", "pause", "rows"), [(True, 0.0, 2000), (True, 0.002, 20), (False, 0.002, 500)])
def test_every_point_made_under_a_writer_opens_and_is_a_prefix_of_what_was_committed(
    tmp_path: Path, wal: bool, pause: float, rows: int
) -> None:
    path = database(tmp_path / "app.db", wal=wal, rows=rows, width=1000)
    maker, clock = Maker(tmp_path, Site.PRIMARY), Clock()
    with writing(path, pause) as writer:
        # In rollback mode a writer that never rests may leave no gap for a reader; that is said, and tried again.
        while not maker.kept or maker.kept[0].serial < 12:
            maker.turn(wanted(interval=timedelta(0), keep=99), clock, FREE)
            assert {one.ailment for one in maker.sick} <= ({Ailment.LOCKED} if not wal else set())
            time.sleep(0.02)
        last = writer.committed()
    there = lying(tmp_path)
    assert len(there) == 12
    held = [numbers(one.file) for one in there]
    for rows_held in held:
        assert rows_held == list(range(1, len(rows_held) + 1))
    counts = [len(rows_held) for rows_held in held]
    assert counts == sorted(counts)
    # A commit whose answer was never read may be there; nothing beyond it, and not always the same.
    assert rows <= counts[0] < counts[-1] <= last + 1
    assert [one.point.serial for one in there] == list(range(1, 13))


def test_a_writer_goes_on_while_a_database_in_wal_mode_is_copied_slowly(tmp_path: Path) -> None:
    path = database(tmp_path / "app.db", rows=3000, width=4000)
    seen: list[int] = []

    with closing(connect(path)) as live:

        def still() -> None:
            n = 3001 + len(seen)
            live.execute("INSERT INTO t VALUES(?, 'x')", (n,))
            seen.append(n)

        Maker(tmp_path, Site.PRIMARY).turn(wanted(), Clock(), Pace(still=still))
    (one,) = lying(tmp_path)
    rows = numbers(one.file)
    # One snapshot: what was committed while it was copied is not in it, and nothing began anew.
    assert len(seen) > 10
    assert rows == list(range(1, len(rows) + 1))
    assert len(rows) < 3000 + len(seen)


def test_the_live_database_is_not_touched(tmp_path: Path) -> None:
    for wal in (True, False):
        database(tmp_path / f"{wal}.db", wal=wal)
    before = tree(tmp_path)
    stats = {name: (tmp_path / name).stat() for name in before}
    Maker(tmp_path, Site.PRIMARY).turn(wanted(), Clock(), FREE)
    after = {name: content for name, content in tree(tmp_path).items() if not name.startswith(".failoverd/")}
    assert after == before
    for name, old in stats.items():
        new = (tmp_path / name).stat()
        assert (new.st_mtime_ns, new.st_ino, new.st_ctime_ns) == (old.st_mtime_ns, old.st_ino, old.st_ctime_ns)


def test_an_unchanged_database_gets_no_second_point_and_counts_as_current(tmp_path: Path) -> None:
    path = database(tmp_path / "app.db")
    maker, clock = Maker(tmp_path, Site.PRIMARY), Clock()
    for _ in range(3):
        maker.turn(wanted(), clock, FREE)
        clock.pass_(seconds=6)
    (kept,) = maker.kept
    assert (len(lying(tmp_path)), kept.serial) == (1, 1)
    assert kept.current_at - kept.made_at >= timedelta(seconds=11)
    with closing(connect(path)) as live:
        live.execute("INSERT INTO t VALUES(99, 'x')")
    maker.turn(wanted(), clock, FREE)
    # Nothing was lost by the old point while nothing changed: its age counts from the last look.
    assert [(one.serial, one.age < timedelta(seconds=12)) for one in maker.kept] == [(2, True)]


def test_points_are_kept_by_count_and_age_and_the_newest_always(tmp_path: Path) -> None:
    path = database(tmp_path / "app.db")
    maker, clock = Maker(tmp_path, Site.PRIMARY), Clock()

    def more(count: int, **other: object) -> list[int]:
        for _ in range(count):
            with closing(connect(path)) as live:
                live.execute("INSERT INTO t SELECT max(n) + 1, 'x' FROM t")
            maker.turn(wanted(interval=timedelta(0), **other), clock, FREE)
        return [one.point.serial for one in lying(tmp_path)]

    assert more(5, keep=3) == [3, 4, 5]
    clock.pass_(hours=2)
    assert more(1, keep=3) == [6]
    clock.pass_(hours=2)
    maker.turn(wanted(interval=timedelta(0)), clock, FREE)
    assert [one.point.serial for one in lying(tmp_path)] == [6]


CIPHERED = bytes(range(256)) * 64


def overwrite(path: Path, offset: int) -> None:
    """One page of noise, which only a check of the whole file finds."""
    with path.open("r+b") as opened:
        opened.seek(offset)
        opened.write(os.urandom(4096))


@pytest.mark.parametrize(
    ("spoil", "ailment", "words"),
    [
        (lambda path: path.write_bytes(CIPHERED), Ailment.NOT_A_DATABASE, "encrypted, or overwritten"),
        (lambda path: overwrite(path, 8192), Ailment.CORRUPT, ""),
        (lambda path: path.write_bytes(path.read_bytes()[:9000]), Ailment.CORRUPT, ""),
    ],
)
@pytest.mark.parametrize("wal", [True, False])
def test_a_broken_or_encrypted_database_is_said_at_once_and_replaces_no_good_point(
    tmp_path: Path, spoil, ailment: Ailment, words: str, wal: bool
) -> None:
    path = database(tmp_path / "app.db", wal=wal, rows=400)
    maker, clock = Maker(tmp_path, Site.PRIMARY), Clock()
    maker.turn(wanted(), clock, FREE)
    good = tree(tmp_path / ".failoverd")
    spoil(path)
    clock.pass_(hours=5)
    maker.turn(wanted(keep=1), clock, FREE)
    (sick,) = maker.sick
    assert (sick.database, sick.ailment) == ("app.db", ailment)
    assert words in sick.text
    assert tree(tmp_path / ".failoverd") == good


def test_an_encrypted_database_that_never_had_a_point_is_said(tmp_path: Path) -> None:
    (tmp_path / "vault.sqlite").write_bytes(CIPHERED)
    (tmp_path / "photo.jpg").write_bytes(CIPHERED)
    names, wrong = found(tmp_path)
    assert (names, [(one.database, one.ailment) for one in wrong]) == (
        [],
        [("vault.sqlite", Ailment.NOT_A_DATABASE)],
    )


@pytest.mark.parametrize("wal", [True, False])
def test_a_database_that_is_locked_exclusively_is_said_within_seconds(tmp_path: Path, wal: bool) -> None:
    path = database(tmp_path / "app.db", wal=wal)
    maker, clock = Maker(tmp_path, Site.PRIMARY), Clock()
    with closing(connect(path)) as live:
        if wal:
            live.execute("PRAGMA locking_mode=EXCLUSIVE")
        live.execute("BEGIN EXCLUSIVE")
        live.execute("INSERT INTO t VALUES(99, 'x')")
        began = time.monotonic()
        maker.turn(wanted(), clock, FREE)
        assert time.monotonic() - began < 5
        assert [one.ailment for one in maker.sick] == [Ailment.LOCKED]
        assert lying(tmp_path) == []
        live.execute("COMMIT")
    clock.pass_(seconds=6)
    maker.turn(wanted(), clock, FREE)
    assert (maker.sick, len(lying(tmp_path))) == ((), 1)


def test_a_transaction_that_a_crash_left_in_rollback_mode_is_left_to_the_app(tmp_path: Path) -> None:
    path = database(tmp_path / "app.db", wal=False, rows=2000, width=1000)
    with closing(connect(path)) as live:
        live.execute("PRAGMA cache_size=2")
        live.execute("BEGIN")
        live.execute("UPDATE t SET x = randomblob(1000)")
        crashed = {name: Path(f"{path}{name}").read_bytes() for name in ("", "-journal")}
        live.execute("ROLLBACK")
    for name, content in crashed.items():
        Path(f"{path}{name}").write_bytes(content)
    maker = Maker(tmp_path, Site.PRIMARY)
    maker.turn(wanted(), Clock(), FREE)
    assert [one.ailment for one in maker.sick] == [Ailment.INTERRUPTED]
    assert {name: Path(f"{path}{name}").read_bytes() for name in crashed} == crashed


def test_an_empty_database_with_a_wal_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "app.db").touch()
    (tmp_path / "app.db-wal").write_bytes(CIPHERED)
    maker = Maker(tmp_path, Site.PRIMARY)
    maker.turn(wanted(), Clock(), FREE)
    assert [(one.database, one.ailment) for one in maker.sick] == [("app.db", Ailment.CORRUPT)]
    assert (tmp_path / "app.db-wal").read_bytes() == CIPHERED


def test_rows_that_break_a_rule_of_the_app_are_no_damage(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "app.db")) as live:
        live.execute("CREATE TABLE t(n CHECK(n > 0))")
        live.execute("PRAGMA ignore_check_constraints=ON")
        live.execute("INSERT INTO t VALUES(-1)")
    maker = Maker(tmp_path, Site.PRIMARY)
    maker.turn(wanted(), Clock(), FREE)
    assert (maker.sick, len(lying(tmp_path))) == ((), 1)


def test_points_of_a_later_epoch_stop_whoever_knows_less_than_the_disk(tmp_path: Path) -> None:
    database(tmp_path / "app.db")
    Maker(tmp_path, Site.PRIMARY).turn(wanted(epoch=9), Clock(), FREE)
    late = Maker(tmp_path, Site.PRIMARY)
    late.turn(wanted(epoch=8), Clock(), FREE)
    assert [one.ailment for one in late.sick] == [Ailment.FOREIGN]
    assert [one.point.order for one in lying(tmp_path)] == [(9, 1)]


def test_serials_go_on_after_a_restart_of_the_guard(tmp_path: Path) -> None:
    database(tmp_path / "app.db")
    for _ in range(2):
        Maker(tmp_path, Site.PRIMARY).turn(wanted(), Clock(), FREE)
    assert [one.point.serial for one in lying(tmp_path)] == [1, 2]


def test_without_room_nothing_is_written_and_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database(tmp_path / "app.db")
    monkeypatch.setattr("failoverd.guard.points.SPARE", 10**15)
    maker = Maker(tmp_path, Site.PRIMARY)
    maker.turn(wanted(), Clock(), FREE)
    assert [one.ailment for one in maker.sick] == [Ailment.NO_ROOM]
    assert lying(tmp_path) == []


def test_a_guard_stopped_in_the_middle_leaves_no_point_and_no_rubbish(tmp_path: Path) -> None:
    database(tmp_path / "app.db", rows=2000, width=2000)
    calls = 0

    def still() -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise Halt("told to stop")

    with pytest.raises(Halt):
        Maker(tmp_path, Site.PRIMARY).turn(wanted(), Clock(), Pace(still=still))
    assert calls == 4
    assert [name for name in tree(tmp_path) if name != "app.db"] == []


def test_what_a_killed_guard_left_is_swept(tmp_path: Path) -> None:
    database(tmp_path / "app.db")
    place = shelf.folder(tmp_path, "app.db")
    place.mkdir(parents=True)
    for name in (".syncthing.00000003-00000001-primary.sqlite.tmp", "00000003-00000009-primary.sqlite"):
        (place / name).write_bytes(b"half")
    Maker(tmp_path, Site.PRIMARY).turn(wanted(), Clock(), FREE)
    assert sorted(path.name for path in place.iterdir()) == [
        "00000003-00000001-primary.json",
        "00000003-00000001-primary.sqlite",
    ]


def test_at_most_the_share_of_a_core_is_used_and_the_age_that_means_is_shown(tmp_path: Path) -> None:
    path = database(tmp_path / "app.db", rows=6000, width=4000)
    pace = Pace(share=0.2)
    maker, clock = Maker(tmp_path, Site.PRIMARY), Clock()
    before = spent()
    for n in (1, 2):
        with closing(connect(path)) as live:
            live.execute("UPDATE t SET x = 'x' WHERE n = ?", (n,))
        maker.turn(wanted(interval=timedelta(seconds=0.01), share=0.2), clock, pace)
    pace()
    after = spent()
    used, took = after.cpu - before.cpu, after.mono - before.mono
    assert used / took < 0.22
    assert took > 0.3
    (kept,) = maker.kept
    # Asked for every 10 ms; what it takes at this share is what is shown.
    assert timedelta(seconds=took / 4) < kept.every < kept.age < timedelta(seconds=took)


def test_a_busy_database_in_rollback_mode_that_is_too_large_for_one_lock_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = database(tmp_path / "app.db", wal=False, rows=2000, width=2000)
    monkeypatch.setattr(sqlite, "AT_ONCE", 0)
    with closing(connect(path)) as live:

        def still() -> None:
            live.execute("UPDATE t SET x = randomblob(9) WHERE n = 1")

        maker = Maker(tmp_path, Site.PRIMARY)
        maker.turn(wanted(), Clock(), Pace(still=still))
    assert [one.ailment for one in maker.sick] == [Ailment.CHANGING]
    assert "rollback mode" in maker.sick[0].text


def test_a_copy_never_opened_by_sqlite_leaves_no_lock_behind(tmp_path: Path) -> None:
    path = database(tmp_path / "app.db", wal=False)
    Maker(tmp_path, Site.PRIMARY).turn(wanted(), Clock(), FREE)
    with closing(sqlite3.connect(uri(path), uri=True, timeout=0)) as live:
        live.execute("BEGIN EXCLUSIVE")
