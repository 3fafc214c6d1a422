"""Clearing a lost side: whatever state its databases are in, and whichever guard began."""

from __future__ import annotations

from pathlib import Path

import pytest

from failoverd.core.rules import Site
from failoverd.guard.files import quoted
from failoverd.guard.points import Maker
from tests.guard.databases import Clock, database, wanted
from tests.guard.test_place import FREE, ODD, clear, content, lost_side, moved, place, stale


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
