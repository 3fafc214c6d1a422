"""Ordinary files put back with the databases: as of the moment that is meant, what they replace is kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from failoverd.core.points import Duty, Observed, Placed, Wanted
from failoverd.core.recall import Recall, Recalled
from failoverd.core.rules import Site
from failoverd.core.stock import Lying
from failoverd.guard import copies, shelf, stock
from failoverd.guard.filing_proof import meant
from failoverd.guard.pace import Pace
from failoverd.guard.place import Placer
from failoverd.guard.proof import Prover
from failoverd.guard.recall import Recaller
from tests.guard.databases import database, killed_after, wanted
from tests.guard.test_filing import at_once
from tests.guard.test_recall import MOVE, Side, grow, rows

__all__ = ["at_once"]  # a fixture
FREE = Pace()
FILES = ("config.xml", "*.json", "Backups/**")
ODD = "Backups/\udcff new\nline"


class Filed(Side):
    """The same side, where files get points as well."""

    def work(self, order: Wanted) -> Observed:
        return super().work(replace(order, files=FILES))

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(exist_ok=True)
        (self.root / name).write_text(text)

    def read(self, name: str) -> str:
        return (self.root / name).read_text()


pytestmark = pytest.mark.usefixtures("at_once")


@pytest.fixture
def here(tmp_path: Path) -> Filed:
    """A database and two files, each another one at every point; one file that came later than the first."""
    root = tmp_path / "data"
    database(root / "app.db")
    (root / ".stfolder").mkdir()
    made = Filed(root)
    for number in (11, 12, 13):
        made.write("config.xml", f"config {number - 10}")
        made.write(ODD, f"odd {number - 10}")
        if number > 11:
            made.write("late.json", f"late {number - 10}")
        made.times.append(made.make(after=61))
        grow(root / "app.db", number)
    made.write("config.xml", "config now")
    return made


def back(here: Filed, at: datetime, **recall: Any) -> Placed:
    said = here.ask(at=at, **recall)
    assert said.why == ""
    laid = here.order(lay=True, at=at, as_of=said.moment, **recall)
    assert (laid.laid, laid.done, laid.displaced) == (True, False, ())
    return here.order(at=at, as_of=said.moment, **recall)


def test_files_come_back_with_the_databases_and_what_they_replace_is_kept(here: Filed) -> None:
    said = back(here, here.times[1])
    assert (said.done, said.databases, said.files) == (True, ("app.db",), 3)
    assert rows(here, "app.db") == list(range(1, 12))
    assert (here.read("config.xml"), here.read("late.json"), here.read(ODD)) == ("config 2", "late 2", "odd 2")
    found = stock.look(here.root, here.clock().wall, FREE)
    folder = here.root / ".failoverd" / "moves" / quote(MOVE, safe="")
    assert sorted(path.read_text() for path in folder.glob("*/config.xml")) == ["config now"]
    assert {one.path for one in found.named(Lying.SET)} >= {"app.db", "config.xml", "late.json"}
    assert {one.move for one in found.named(Lying.SET)} == {MOVE}
    assert "files put back: Backups/" in said.told


def test_a_file_without_a_point_of_then_stays_and_that_is_said(here: Filed) -> None:
    here.write("new.json", "just now")
    said = back(here, here.times[0])
    assert (here.read("config.xml"), here.read("late.json"), here.read("new.json")) == (
        "config 1",
        "late 3",
        "just now",
    )
    assert "files left as they are: late.json: its points begin at 2026-01-01 12:02:0" in said.told
    assert "new.json: there is no point of it" in said.told


def test_a_file_that_is_what_it_was_is_not_displaced(here: Filed) -> None:
    here.write("config.xml", "config 3")
    said = back(here, here.times[2])
    assert said.files == 0
    assert said.told == "3 files are what they were"
    assert here.ask(at=here.times[2], database="config.xml").why == "config.xml is what it was then"


def test_a_deleted_file_comes_back(here: Filed) -> None:
    shutil.rmtree(here.root / "Backups")
    assert back(here, here.times[2]).done
    assert here.read(ODD) == "odd 3"


def test_one_file_alone_comes_back(here: Filed) -> None:
    said = back(here, here.times[1], database="config.xml")
    assert (said.databases, said.files) == ((), 1)
    assert (here.read("config.xml"), here.read("late.json")) == ("config 2", "late 3")
    assert max(rows(here, "app.db")) == 13


def test_one_database_alone_brings_no_file(here: Filed) -> None:
    said = back(here, here.times[1], database="app.db")
    assert (said.databases, said.files, here.read("config.xml")) == (("app.db",), 0, "config now")


@pytest.mark.parametrize("database_too", [True, False])
def test_a_point_that_is_not_what_its_manifest_says_is_never_offered_nor_is_an_older_one(
    here: Filed, database_too: bool
) -> None:
    points = sorted(copies.lying(here.root, [], "config.xml"), key=lambda one: one.point.order)
    points[1].file.write_text("xxxxxxxx")
    if database_too:
        said = back(here, here.times[1])
        assert (said.done, said.databases, here.read("config.xml")) == (True, ("app.db",), "config now")
        assert "config.xml: its point of 2026-01-01 12:02:0" in said.told
        assert "SHA-256" in said.told
    else:
        assert "SHA-256" in here.ask(at=here.times[1], database="config.xml").why


def recall_told(here: Filed) -> str:
    """What would be said of files, before the guard has walked anew."""
    found = meant(here.root, wanted(files=FILES), here.times[1], 3, "", FREE)
    return "; ".join(str(one) for one in found.stay)


@pytest.mark.parametrize("what", ["database", "folder", "link", "folder link"])
def test_what_is_no_ordinary_file_any_more_stays(here: Filed, what: str, tmp_path: Path) -> None:
    name = ODD if what == "folder link" else "config.xml"
    path = here.root / name
    path.unlink()
    if what == "database":
        database(path, wal=False)
    elif what == "folder":
        path.mkdir()
    elif what == "link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        (here.root / "Backups").rmdir()
        (here.root / "Backups").symlink_to(tmp_path)
    if what == "database":
        assert "config.xml: it is a database" in recall_told(here)
        here.make(after=61)
        assert "config.xml" in here.ask(at=here.times[1]).why  # it has no point of then: as with any database
        return
    said = back(here, here.times[1])
    assert said.done
    assert "files left as they are: " in said.told
    assert not (tmp_path / "elsewhere").exists()
    assert not [path for path in tmp_path.iterdir() if "new" in path.name]


def test_files_that_no_pattern_matches_any_more_stay(here: Filed) -> None:
    here.write("config.xml", "config now")
    order = wanted(files=("late.json",), recall=Recall(since=3, at=here.times[1]))
    here.keeper.order(order, here.clock().wall)
    said = here.keeper.work(order).recalled
    assert isinstance(said, Recalled)
    assert said.files == 1


def test_points_of_before_the_app_lived_here_or_of_the_other_side_stay(here: Filed) -> None:
    assert here.ask(at=here.times[1], since=4, database="config.xml").why != ""
    for one in list(copies.lying(here.root, [], "config.xml")):
        text = one.manifest.read_text().replace('"primary"', '"backup"')
        one.manifest.unlink()
        one.file.rename(str(one.file).replace("primary", "backup"))
        Path(str(one.manifest).replace("primary", "backup")).write_text(text)
    assert "config.xml: there is no point of it" in back(here, here.times[1]).told


def test_points_that_are_asked_for_are_kept_meanwhile(here: Filed) -> None:
    at = here.times[0]
    for number in range(20):
        here.write("config.xml", f"more {number}")
        here.clock.pass_(seconds=10)
        here.work(wanted(keep=2, recall=Recall(since=3, at=at)))
    assert back(here, at).done
    assert here.read("config.xml") == "config 1"


def test_what_is_named_as_if_it_belonged_to_a_file_stays_where_it_is(here: Filed) -> None:
    here.write("config.xml-wal", "another file")
    assert back(here, here.times[1]).done
    assert here.read("config.xml-wal") == "another file"


def test_a_set_brings_files_back_as_they_were_displaced(here: Filed) -> None:
    assert back(here, here.times[0]).done
    folder = quote(MOVE, safe="")
    recall = Recall(since=3, moved=folder)
    said = here.ask(moved=folder)
    assert (said.why, said.databases, said.files) == ("", ("app.db",), 2)
    order = wanted(duty=Duty.PROVE, move=f"{MOVE}+", recall=recall)
    placed = here.work(order).placed
    assert placed is not None
    assert (placed.why, placed.done, placed.files) == ("", True, 2)
    assert here.read("config.xml") == "config now"
    assert max(rows(here, "app.db")) == 13


def act(here: Filed, at: datetime, still: Callable[[], None]) -> bool:
    """Both steps of it, in a process that may die before any operation."""
    scratch, pace = here.root.parent / "scratch", Pace(still=still)
    placer, recall = Placer(here.root, Site.PRIMARY, scratch), Recall(at=at, since=3)
    recaller = Recaller(here.root, scratch, placer, Prover(here.root, scratch).prove)

    def step(lay: bool) -> Placed:
        order = wanted(duty=Duty.PROVE, move=MOVE, recall=recall, lay=lay, as_of=at, files=FILES)
        return placer.carry(order, lambda: recaller.plan(order, recall, pace), pace)

    step(True)
    return step(False).done


def test_killed_anywhere_it_ends_with_every_file_put_back_and_every_one_kept(here: Filed, tmp_path: Path) -> None:
    at, whole = here.times[1], tmp_path / "whole"
    shutil.copytree(here.root, whole)
    for count in range(0, 1000, 3):
        shutil.rmtree(here.root)
        shutil.copytree(whole, here.root)
        died = killed_after(count, lambda still: act(here, at, still))
        left = {path.read_text() for path in here.root.rglob("config.xml") if ".stfolder" not in path.parts}
        assert "config now" in left
        assert act(here, at, lambda: None)
        assert (here.read("config.xml"), here.read("late.json"), here.read(ODD)) == ("config 2", "late 2", "odd 2")
        folder = here.root / ".failoverd" / "moves"
        assert [path.read_text() for path in folder.rglob("config.xml")] == ["config now"]
        assert rows(here, "app.db") == list(range(1, 12))
        assert not list(here.root.rglob(".syncthing.failoverd-*"))
        if not died:
            assert count > 20
            return
    pytest.fail("it never ended")


def test_points_of_databases_are_untouched_by_all_of_this(here: Filed) -> None:
    before = sorted(one.file.name for one in shelf.lying(here.root, []))
    back(here, here.times[1], database="config.xml")
    assert sorted(one.file.name for one in shelf.lying(here.root, [])) == before
    assert here.clock().wall - here.times[0] > timedelta(0)


def test_the_points_of_a_deleted_file_stay_while_somebody_asks_for_them(here: Filed) -> None:
    at = here.times[0]
    (here.root / "config.xml").unlink()
    here.make(after=61)
    here.clock.pass_(hours=2)
    for _ in range(10):
        here.clock.pass_(seconds=61)
        here.work(wanted(recall=Recall(since=3, at=at)))
    assert back(here, at).done
    assert here.read("config.xml") == "config 1"
