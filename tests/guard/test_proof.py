"""What counts as a point that opens, at a standby whose folder is never written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from failoverd.core.points import Ailment, Duty
from failoverd.core.rules import Site
from failoverd.guard import shelf
from failoverd.guard.files import hashed
from failoverd.guard.pace import Pace
from failoverd.guard.points import Maker
from failoverd.guard.proof import Prover
from tests.guard.databases import Clock, connect, database, wanted

FREE = Pace()
PROVE = wanted(duty=Duty.PROVE)


@pytest.fixture
def standby(tmp_path: Path) -> Path:
    """A standby's volume that holds three points of `app.db`, made at the primary in epoch 3."""
    points(tmp_path / "active", 3)
    shutil.copytree(tmp_path / "active" / ".failoverd", tmp_path / "standby" / ".failoverd")
    return tmp_path / "standby"


def points(root: Path, count: int, epoch: int = 3, site: Site = Site.PRIMARY) -> None:
    path = root / "app.db"
    if not path.exists():
        database(path, rows=300)
    maker, clock = Maker(root, site), Clock()
    for _ in range(count):
        with closing(connect(path)) as live:
            live.execute("INSERT INTO t SELECT max(n) + 1, 'x' FROM t")
        maker.turn(wanted(epoch=epoch, interval=timedelta(0)), clock, FREE)
        assert maker.sick == ()


def prover(root: Path) -> Prover:
    scratch = root.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return Prover(root, scratch)


def files(root: Path) -> list[Path]:
    return sorted(shelf.folder(root, "app.db").glob("*.sqlite"))


def serials(found: Prover) -> list[int]:
    return [one.serial for one in found.proven]


def test_the_newest_point_that_opens_is_reported_with_its_time(standby: Path) -> None:
    found = prover(standby)
    found.turn(PROVE, Clock(), FREE)
    (one,) = found.proven
    (lying,) = [one for one in shelf.lying(standby, []) if one.point.serial == 3]
    assert (one.database, one.serial, one.made_at, found.sick) == ("app.db", 3, lying.point.made_at, ())


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (flip, "SHA-256"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes"),
        (lambda path: (path.unlink(), path.symlink_to(path.with_name("00000003-00000001-primary.sqlite"))), ""),
    ],
)
def test_a_point_that_is_not_what_its_manifest_says_does_not_count(
    standby: Path, spoil: Callable[[Path], object], why: str
) -> None:
    spoil(files(standby)[-1])
    found = prover(standby)
    found.turn(PROVE, Clock(), FREE)
    assert serials(found) == [2]
    (sick,) = found.sick
    assert sick.database == "app.db"
    assert "00000003-00000003-primary" in sick.text
    assert why in sick.text


def test_a_point_that_matches_its_manifest_and_does_not_open_does_not_count(standby: Path) -> None:
    last = files(standby)[-1]
    raw = last.read_bytes()
    last.write_bytes(raw[:8192] + os.urandom(len(raw) - 8192))
    manifest = last.with_suffix(".json")
    (lying,) = [one for one in shelf.lying(standby, []) if one.file == last]
    manifest.write_text(manifest.read_text().replace(lying.point.sha256, hashed(last, FREE)))
    found = prover(standby)
    found.turn(PROVE, Clock(), FREE)
    assert serials(found) == [2]
    assert [one.ailment for one in found.sick] == [Ailment.CORRUPT]


def test_only_points_of_the_epochs_active_site_count_whatever_their_time(standby: Path) -> None:
    stale = standby.parent / "stale"
    points(stale, 5, epoch=2, site=Site.BACKUP)
    points(stale, 5, epoch=3, site=Site.BACKUP)
    shutil.copytree(stale / ".failoverd", standby / ".failoverd", dirs_exist_ok=True)
    for path in files(standby):
        if "backup" in path.name:
            os.utime(path, (4e9, 4e9))
    found = prover(standby)
    found.turn(PROVE, Clock(), FREE)
    assert (serials(found), found.sick) == ([3], ())
    found.turn(wanted(duty=Duty.PROVE, epoch=4), Clock(), FREE)
    assert found.proven == ()
    (sick,) = found.sick
    assert (sick.ailment, sick.text) == (
        Ailment.NONE,
        "no point of epoch 4 from primary; the newest here is of epoch 3 from backup",
    )


def test_points_are_ordered_by_serial_not_by_any_time(standby: Path) -> None:
    for number, path in enumerate(reversed(files(standby))):
        os.utime(path, (1e9 + number, 1e9 + number))
    manifest = files(standby)[-1].with_suffix(".json")
    (lying,) = [one for one in shelf.lying(standby, []) if one.manifest == manifest]
    stamp = lying.point.made_at.isoformat().replace("+00:00", "Z")
    text = manifest.read_text()
    assert stamp in text
    manifest.write_text(text.replace(stamp, "2001-01-01T00:00:00Z"))
    found = prover(standby)
    found.turn(PROVE, Clock(), FREE)
    assert serials(found) == [3]


def test_what_has_not_arrived_yet_is_no_damage(standby: Path) -> None:
    newest = files(standby)[-1]
    newest.rename(newest.with_name(f".syncthing.{newest.name}.tmp"))
    found = prover(standby)
    found.turn(PROVE, Clock(), FREE)
    assert (serials(found), found.sick) == ([2], ())
    for path in files(standby):
        path.unlink()
    found.turn(PROVE, Clock(), FREE)
    assert (found.proven, [one.ailment for one in found.sick]) == ((), [Ailment.NONE])


def test_a_database_without_any_point_is_named(standby: Path) -> None:
    database(standby / "odd\nname.db")
    found = prover(standby)
    found.turn(PROVE, Clock(), FREE)
    assert serials(found) == [3]
    assert [(one.database, one.ailment) for one in found.sick] == [("odd%0Aname.db", Ailment.NONE)]


def test_nothing_is_written_into_the_replicated_folder(standby: Path) -> None:
    database(standby / "app.db")
    before = {path: (path.lstat().st_mtime_ns, path.lstat().st_ctime_ns) for path in standby.rglob("*")}
    root = {standby: (standby.stat().st_mtime_ns, standby.stat().st_ctime_ns)}
    found = prover(standby)
    found.turn(PROVE, Clock(), FREE)
    assert {path: (path.lstat().st_mtime_ns, path.lstat().st_ctime_ns) for path in standby.rglob("*")} == before
    assert {standby: (standby.stat().st_mtime_ns, standby.stat().st_ctime_ns)} == root
    assert list((standby.parent / "scratch").iterdir()) == []


def test_scratch_inside_the_volume_is_refused(standby: Path) -> None:
    (standby / "x").mkdir()
    with pytest.raises(ValueError, match="must not be replicated"):
        Prover(standby, standby / "x")


def test_what_was_proven_is_proven_again_when_it_changed_or_when_it_is_time(standby: Path) -> None:
    found, clock = prover(standby), Clock()
    found.turn(PROVE, clock, FREE)
    newest = files(standby)[-1]
    look = newest.stat()
    flip(newest)
    os.utime(newest, ns=(look.st_atime_ns, look.st_mtime_ns))
    # The disk lost a bit and the file's size and times tell nothing: seen at the next full check.
    found.turn(PROVE, clock, FREE)
    assert serials(found) == [3]
    clock.pass_(hours=1)
    found.turn(PROVE, clock, FREE)
    assert serials(found) == [2]
    flip(newest)
    found.turn(PROVE, clock, FREE)
    assert serials(found) == [3]
    flip(newest)
    os.utime(newest, ns=(look.st_atime_ns, look.st_mtime_ns))
    found.turn(PROVE, clock, FREE, anew=True)
    assert serials(found) == [2]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"database": "app.db"', '"database": "../../etc/passwd"', "not a path inside the volume"),
        ('"database": "app.db"', '"database": "other.db"', "manifest of another point"),
        ('"serial": 3', '"serial": 30', "manifest of another point"),
        ('"schema": 1', '"schema": 2', "newer failoverd"),
        ('"epoch": 3', '"epoch": "3"', "epoch"),
        ("{", "", "JSON"),
    ],
)
def test_a_manifest_that_cannot_be_believed_is_said_and_skipped(standby: Path, old: str, new: str, why: str) -> None:
    manifest = files(standby)[-1].with_suffix(".json")
    text = manifest.read_text()
    assert old in text
    manifest.write_text(text.replace(old, new, 1))
    found = prover(standby)
    found.turn(PROVE, Clock(), FREE)
    assert serials(found) == [2]
    assert any(why in one.text for one in found.sick), found.sick


def test_of_a_database_deleted_before_this_epoch_only_its_old_points_are_left(tmp_path: Path) -> None:
    root, clock = tmp_path / "data", Clock()
    for name in ("kept.db", "raw.db", "deleted.db"):
        database(root / name)
    Maker(root, Site.PRIMARY).turn(wanted(), clock, Pace())
    (root / "deleted.db").unlink()
    prover = Prover(root, tmp_path)
    prover.turn(wanted(duty=Duty.PROVE, epoch=4), clock, Pace())
    found = {one.database: (one.ailment, one.earlier) for one in prover.sick}
    none = Ailment.NONE
    assert found == {"kept.db": (none, False), "raw.db": (none, False), "deleted.db": (none, True)}
