"""Clearing a lost side: whatever state its databases are in, and whichever guard began."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from failoverd.core.points import Placed
from failoverd.core.rules import Site
from failoverd.guard.files import quoted, unquoted
from failoverd.guard.points import Maker
from tests.guard.databases import Clock, database, killed_after, wanted
from tests.guard.test_place import FREE, ODD, content, place, stale


def lost_side(folder: Path) -> tuple[Path, dict[str, bytes]]:
    """A side that lost, whose app died: two databases with what belongs to them; and these files."""
    root = folder / "lost"
    for name in ("app.db", ODD):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        stale(root / name)
    (root / "config.xml").write_text("mine")
    (folder / "scratch").mkdir()
    return root, {name: raw for name, raw in content(root).items() if name != "config.xml"}


def clear(root: Path, still: Callable[[], None] = lambda: None) -> Placed:
    return place(root, still, clear=True, epoch=9)


def cleared(root: Path, still: Callable[[], None]) -> bool:
    return clear(root, still).done


def moved(root: Path) -> dict[str, bytes]:
    folders = sorted((root / ".failoverd" / "moves").glob("*/[0-9]*"))
    named = dict(zip(folders, ("app.db", ODD), strict=False))
    return {
        str(Path(name).with_name(path.name)): path.read_bytes()
        for folder, name in named.items()
        for path in folder.iterdir()
    }


def test_clearing_moves_every_database_aside_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    root, had = lost_side(tmp_path)
    said = clear(root)
    assert (said.done, said.live) == (True, ())
    assert [unquoted(name) for name in said.databases] == ["app.db", ODD]
    assert moved(root) == had
    assert set(content(root)) == {"config.xml"}
    assert clear(root) == said


def test_clearing_killed_after_any_operation_is_resumed_and_leaves_no_wal_behind(tmp_path: Path) -> None:
    origin, had = lost_side(tmp_path)
    count, died = 0, True
    while died:
        root = tmp_path / "again"
        shutil.copytree(origin, root, symlinks=True)
        died = killed_after(count, partial(cleared, root))
        assert {**content(root), **moved(root)} == {**had, "config.xml": b"mine"}
        clear(root)
        assert moved(root) == had
        shutil.rmtree(root)
        count += 1
    assert count > 16


def test_what_comes_in_the_place_of_a_cleared_database_is_left_alone(tmp_path: Path) -> None:
    root, had = lost_side(tmp_path)
    # Far enough that the first file of the first database is away.
    count = next(n for n in range(60) if killed_after(n, partial(cleared, root)) and moved(root))
    assert count
    (root / "app.db").write_bytes(b"the survivor's")
    assert clear(root).done
    assert (root / "app.db").read_bytes() == b"the survivor's"
    assert moved(root) == had
    assert set(content(root)) == {"app.db", "config.xml"}


def test_what_an_older_guard_left_where_it_is_is_cleared_by_a_newer_one(tmp_path: Path) -> None:
    """An older one does not know `clear`: it found no point to place, and wrote that down as this order's plan."""
    root, had = lost_side(tmp_path)
    assert place(root, epoch=9).live == ("app.db", quoted(ODD))
    said = clear(root)
    assert (said.done, said.live) == (True, ())
    assert moved(root) == had


@pytest.mark.parametrize("left", ["empty", "overwritten", "gone"])
def test_a_wal_whose_database_is_none_any_more_is_cleared_too(tmp_path: Path, left: str) -> None:
    """The survivor's database is to come to lie there."""
    root, scratch = tmp_path / "lost", tmp_path / "scratch"
    scratch.mkdir()
    database(root / "app.db", rows=50)
    Maker(root, Site.BACKUP).turn(wanted(epoch=8, active=Site.BACKUP), Clock(), FREE)
    stale(root / "app.db")
    if left == "gone":
        (root / "app.db").unlink()
    else:
        (root / "app.db").write_bytes(b"" if left == "empty" else bytes(9000))
    assert clear(root).done
    assert set(content(root)) == set()
