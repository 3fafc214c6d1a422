"""Placing, interrupted after each of its operations: never a database beside the -wal of another, nothing lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from failoverd.core.points import Ailment, Duty, Placed, Wanted
from failoverd.core.rules import Placing, Site
from failoverd.guard import proof
from failoverd.guard.files import unquoted
from failoverd.guard.pace import Halt, Pace
from failoverd.guard.place import Placer
from failoverd.guard.points import Maker
from failoverd.guard.proof import Prover
from tests.guard.databases import Clock, connect, database, killed_after, numbers, wanted

FREE = Pace()
MOVE = "media/sonarr#4@20260105T090050Z"
ODD = "sub/new\nline.db"
BARE = "gone/only-a-point.db"


def order(**other: object) -> Wanted:
    return wanted(duty=Duty.PROVE, move=MOVE, **other)


def stale(path: Path) -> None:
    """What replication leaves of a busy database: an older file, and a -wal that goes with it."""
    shutil.rmtree(path.parent / "tmp", ignore_errors=True)
    source = database(path.parent / "tmp" / path.name, rows=5)
    with closing(connect(source)) as live:
        live.execute("INSERT INTO t VALUES(6, 'x')")
        for part in ("", "-wal", "-shm"):
            shutil.copy(f"{source}{part}", f"{path}{part}")
    Path(f"{path}-journal").write_bytes(b"left behind")
    shutil.rmtree(path.parent / "tmp")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A target with points of three databases; stale live copies of two, none of the third."""
    active, root = tmp_path / "active", tmp_path / "target"
    for name in ("app.db", ODD, BARE):
        database(active / name, rows=50)
    Maker(active, Site.PRIMARY).turn(wanted(), Clock(), FREE)
    shutil.copytree(active / ".failoverd", root / ".failoverd")
    (root / "sub").mkdir()
    for name in ("app.db", ODD):
        stale(root / name)
    (tmp_path / "scratch").mkdir()
    return root


def place(root: Path, still: Callable[[], None] = lambda: None, **other: object) -> Placed:
    scratch, want = root.parent / "scratch", order(**other)
    prover = Prover(root, scratch)
    prover.turn(want, Clock(), FREE)
    return Placer(root, Site.BACKUP, scratch).turn(want, prover, Pace(still=still))


def content(root: Path) -> dict[str, bytes]:
    """Every file of the app by its name, wherever it lies now but for the points."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".failoverd" not in path.parts and not path.name.startswith(".syncthing.")
    }


def kept(root: Path) -> list[bytes]:
    moves = root / ".failoverd" / "moves"
    return sorted(path.read_bytes() for path in moves.rglob("*") if path.is_file() and path.suffix != ".json")


def unharmed(root: Path, before: dict[str, bytes], points: set[bytes]) -> None:
    """The promise that holds at every moment."""
    now = content(root)
    for name in ("app.db", ODD, BARE):
        sidecars = {part: now.get(name + part) for part in ("-wal", "-shm", "-journal")}
        if now.get(name) in points:
            assert set(sidecars.values()) == {None}, f"{name}: a point beside somebody else's sidecars"
        elif name in now:
            assert now[name] == before[name]
            assert sidecars == {part: before.get(name + part) for part in sidecars}, f"{name} lost a sidecar"
    everything = [*now.values(), *kept(root)]
    for name, old in before.items():
        assert everything.count(old) >= list(before.values()).count(old), f"{name} is gone"


def placed(root: Path, still: Callable[[], None]) -> bool:
    return place(root, still).done


def point_files(root: Path) -> set[bytes]:
    return {path.read_bytes() for path in root.rglob("*.sqlite")}


def finished(root: Path, before: dict[str, bytes], said: Placed) -> None:
    assert (said.done, said.why) == (True, "")
    assert [unquoted(name) for name in said.databases] == ["app.db", BARE, ODD]
    for name in said.databases:
        assert numbers(root / unquoted(name)) == list(range(1, 51))
    assert sorted(content(root)) == sorted(["app.db", ODD, BARE])
    assert kept(root) == sorted(before.values())
    assert sorted((root / unquoted(name)).read_bytes() for name in said.displaced) == sorted(before.values())
    assert list(root.rglob(".syncthing.*")) == []


def test_the_newest_point_takes_the_place_of_a_stale_copy_and_what_it_displaces_is_listed(target: Path) -> None:
    before = content(target)
    assert sorted(before) == sorted(f"{n}{p}" for n in ("app.db", ODD) for p in ("", "-wal", "-shm", "-journal"))
    said = place(target)
    finished(target, before, said)
    # What was displaced opens where it lies, with the transaction that only its -wal held.
    (old,) = [target / unquoted(name) for name in said.displaced if name.endswith("/app.db")]
    Path(f"{old}-journal").unlink()
    with closing(connect(old)) as opened:
        assert opened.execute("SELECT count(*) FROM t").fetchone() == (6,)


def test_placing_killed_after_any_operation_is_resumed_and_never_pairs_a_database_with_a_foreign_wal(
    target: Path, tmp_path: Path
) -> None:
    before, points = content(target), point_files(target)
    count = 0
    while True:
        root = tmp_path / "again"
        shutil.copytree(target, root, symlinks=True)
        died = killed_after(count, partial(placed, root))
        unharmed(root, before, points)
        finished(root, before, place(root))
        shutil.rmtree(root)
        if not died:
            break
        count += 1
    # 3 databases, 8 files aside, and the journal twice.
    assert count > 30


def test_placing_that_is_killed_again_and_again_ends_all_the_same(target: Path) -> None:
    before, points = content(target), point_files(target)
    # Twice as far each time: the first operations are those of looking at what is there.
    for count in (12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32):
        killed_after(count, partial(placed, target))
        unharmed(target, before, points)
    finished(target, before, place(target))


def test_doing_it_again_changes_nothing(target: Path) -> None:
    first = place(target)
    with closing(connect(target / "app.db")) as app:
        app.execute("INSERT INTO t VALUES(51, 'x')")
    before = content(target)
    assert place(target) == first
    assert content(target) == before


def test_a_stale_order_stops_it_between_two_operations(target: Path) -> None:
    before, points = content(target), point_files(target)
    calls = 0

    def still() -> None:
        nonlocal calls
        calls += 1
        if calls > 14:
            raise Halt("the order is too old")

    with pytest.raises(Halt):
        place(target, still)
    unharmed(target, before, points)
    finished(target, before, place(target))


def test_live_leaves_everything_where_it_is_and_says_what_does_not_open(target: Path) -> None:
    (target / "app.db").write_bytes(os.urandom(9000))
    before = content(target)
    want, scratch = order(place=Placing.LIVE), target.parent / "scratch"
    prover = Prover(target, scratch)
    prover.turn(want, Clock(), FREE)
    placer = Placer(target, Site.BACKUP, scratch)
    said = placer.turn(want, prover, FREE)
    assert (said.done, said.databases, said.displaced) == (True, (), ())
    assert content(target) == before
    broken = {one.database: one.ailment for one in placer.sick}
    assert broken["app.db"] is Ailment.NOT_A_DATABASE
    # A guard that was restarted since says it too.
    again = Placer(target, Site.BACKUP, scratch)
    assert again.turn(want, prover, FREE) == said
    assert again.sick == placer.sick


@pytest.mark.parametrize(("more", "rewound", "live_stays"), [(1, False, True), (-1, False, False), (1, True, False)])
def test_a_live_copy_in_rollback_mode_stays_only_where_its_counter_is_as_far_and_was_never_put_back(
    tmp_path: Path, more: int, rewound: bool, live_stays: bool
) -> None:
    active, root = tmp_path / "active", tmp_path / "target"
    path = database(active / "app.db", wal=False)
    root.mkdir()
    (tmp_path / "scratch").mkdir()
    shutil.copy(path, root / "app.db")
    for count in range(2):
        with closing(connect(path)) as live:
            live.execute("INSERT INTO t VALUES(?, 'x')", (100 + count,))
        if more > 0 or count == 1:
            Maker(active, Site.PRIMARY).turn(wanted(interval=timedelta(0)), Clock(), FREE)
            if more > 0:
                break
    if more > 0:
        with closing(connect(path)) as live:
            live.execute("INSERT INTO t VALUES(200, 'x')")
        shutil.copy(path, root / "app.db")
    shutil.copytree(active / ".failoverd", root / ".failoverd")
    said = place(root, rewound=rewound)
    assert said.live == (("app.db",) if live_stays else ())
    assert said.databases == (() if live_stays else ("app.db",))
    assert numbers(root / "app.db")[-1] == (200 if live_stays else 100 if rewound else 101)


def test_an_app_that_was_started_meanwhile_blocks_it(target: Path) -> None:
    """Its new, empty database stands where the old one was moved away from: nobody may overwrite it unseen."""
    count = 0
    while True:
        killed_after(count, partial(placed, target))
        if not (target / "app.db").exists():
            break
        count += 1
    (target / "app.db").write_bytes(b"started")
    said = place(target)
    assert (said.done, (target / "app.db").read_bytes()) == (False, b"started")
    assert "was the app started?" in said.why


def test_a_wal_that_appears_meanwhile_blocks_it_too(target: Path) -> None:
    count = 0
    while not (target / "gone").exists():
        killed_after(count, partial(placed, target))
        count += 1
    (target / f"{BARE}-wal").write_bytes(b"of whom?")
    said = place(target)
    assert (said.done, "appeared after placing began" in said.why) == (False, True)
    assert not (target / BARE).exists()


def test_a_journal_of_the_other_site_means_nothing_here(target: Path) -> None:
    before = content(target)
    place(target)
    elsewhere = target.parent / "elsewhere"
    shutil.copytree(target, elsewhere)
    for name in ("app.db", ODD):
        (elsewhere / name).unlink()
        stale(elsewhere / name)
    now = content(elsewhere)
    scratch, want = target.parent / "scratch", order()
    prover = Prover(elsewhere, scratch)
    prover.turn(want, Clock(), FREE)
    said = Placer(elsewhere, Site.PRIMARY, scratch).turn(want, prover, FREE)
    assert said.done
    assert "app.db" in said.databases
    assert before.keys() < now.keys()


def test_an_unfinished_placing_of_an_earlier_move_is_finished_first(target: Path) -> None:
    before, points = content(target), point_files(target)
    assert killed_after(24, partial(placed, target))
    unharmed(target, before, points)
    scratch, want = target.parent / "scratch", wanted(duty=Duty.PROVE, move="media/sonarr#5@later")
    prover = Prover(target, scratch)
    prover.turn(want, Clock(), FREE)
    said = Placer(target, Site.BACKUP, scratch).turn(want, prover, FREE)
    assert (said.done, said.move) == (True, want.move)
    for name in ("app.db", ODD, BARE):
        assert numbers(target / name) == list(range(1, 51))
    assert [old for old in before.values() if old not in kept(target)] == []


def test_an_unfinished_placing_leaves_alone_what_came_after_it(target: Path) -> None:
    """Killed before it moved anything; then the app lived elsewhere, and replication brought what it wrote there."""
    count = 0
    while not list(target.rglob("backup.json")):
        count += 1
        assert killed_after(count, partial(placed, target))
    for part in ("", "-wal", "-shm", "-journal"):
        Path(f"{target / 'app.db'}{part}").unlink()
    database(target / "app.db", rows=99)
    scratch, want = target.parent / "scratch", wanted(duty=Duty.PROVE, epoch=8, move="media/sonarr#8@later")
    prover = Prover(target, scratch)
    prover.turn(want, Clock(), FREE)
    said = Placer(target, Site.BACKUP, scratch).turn(want, prover, FREE)
    assert (said.done, said.databases, numbers(target / "app.db")) == (True, (), list(range(1, 100)))
    assert "app.db" in said.live


def test_without_room_for_all_copies_nothing_is_begun(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(target)
    usage = shutil.disk_usage(target)
    monkeypatch.setattr("failoverd.guard.place.shutil.disk_usage", lambda path: usage._replace(free=1))
    said = place(target)
    assert (said.done, "1 are free" in said.why) == (False, True)
    assert content(target) == before
    assert not (target / ".failoverd" / "moves").exists()


def test_a_link_on_the_way_is_not_followed(target: Path) -> None:
    outside = target.parent / "outside"
    outside.mkdir()
    shutil.rmtree(target / "sub")
    (target / "sub").symlink_to(outside)
    said = place(target)
    assert (said.done, "link" in said.why) == (False, True)
    assert list(outside.iterdir()) == []
    assert not (target / ".failoverd" / "moves").exists()


def test_a_full_scratch_is_waited_for_and_no_plan_leaves_a_database_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard was restarted between the decision and the placing, and nothing else has ever arrived."""
    active, root, scratch = tmp_path / "active", tmp_path / "target", tmp_path / "scratch"
    scratch.mkdir()
    database(active / "app.db", rows=50)
    Maker(active, Site.PRIMARY).turn(wanted(), Clock(), FREE)
    shutil.copytree(active / ".failoverd", root / ".failoverd")

    def placed() -> Placed:
        prover = Prover(root, scratch)
        prover.turn(order(), Clock(), FREE)
        return Placer(root, Site.BACKUP, scratch).turn(order(), prover, FREE)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(proof, "copied", full)
        waits = placed()
    assert not waits.done
    assert waits.why.startswith("app.db: no room: ")
    assert placed().databases == ("app.db",)
