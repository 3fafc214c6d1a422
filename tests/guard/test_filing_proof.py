"""Points of files at the standby: proven by hash on the schedule of databases, and without any say of theirs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from failoverd.core.filed import Filed
from failoverd.core.points import Duty, Observed
from failoverd.core.rules import Site
from failoverd.guard import copies, filing, filing_proof
from failoverd.guard.filing import FileMaker
from failoverd.guard.filing_proof import FileProver
from failoverd.guard.keeper import Keeper
from failoverd.guard.pace import Pace
from failoverd.guard.points import Maker
from tests.guard.databases import Clock, database, wanted
from tests.guard.test_filing import at_once, said

__all__ = ["at_once"]  # a fixture
FREE = Pace()
FILES = ("config.xml", "*.json")


class Pair:
    """Two volumes, and a replication that copies when it is told to."""

    def __init__(self, base: Path) -> None:
        self.here, self.there, self.scratch = base / "here", base / "there", base / "scratch"
        for folder in (self.here, self.there, self.scratch):
            folder.mkdir()
        (self.here / "config.xml").write_text("one")
        (self.here / "a.json").write_text("{}")
        self.clock = Clock()
        self.files, self.databases = FileMaker(self.here, Site.PRIMARY), Maker(self.here, Site.PRIMARY)
        self.prover = FileProver(self.there)

    def make(self, **other: Any) -> None:
        self.clock.pass_(seconds=61)
        order = wanted(files=FILES, **other)
        self.databases.turn(order, self.clock, FREE)
        self.files.turn(order, self.clock, FREE)

    def replicate(self) -> None:
        shutil.rmtree(self.there)
        shutil.copytree(self.here, self.there)

    def prove(self, after: float = 5, anew: bool = False, **other: Any) -> Filed:
        self.clock.pass_(seconds=after)
        return self.prover.turn(wanted(duty=Duty.PROVE, files=FILES, **other), self.clock, FREE, anew)

    def keeper(self, **other: Any) -> Observed:
        keeper = Keeper(self.there, Site.BACKUP, self.scratch, lambda: self.clock().mono)
        order = wanted(duty=Duty.PROVE, **{"files": FILES, **other})
        keeper.order(order, self.clock().wall)
        try:
            return keeper.work(order)
        finally:
            keeper.close()

    def copy(self, name: str = "config.xml") -> Path:
        (one,) = copies.lying(self.there, [], name)
        return one.file


pytestmark = pytest.mark.usefixtures("at_once")


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    made = Pair(tmp_path)
    made.make()
    made.replicate()
    return made


def test_points_of_files_are_proven_by_their_hash(pair: Pair) -> None:
    found = pair.prove()
    assert (found.files, found.points, found.troubles) == (2, 2, ())


@pytest.mark.parametrize(("content", "why"), [("two", "SHA-256"), ("twice", "has 5 bytes, its manifest says 3")])
def test_a_point_that_is_not_what_its_manifest_says_is_said(pair: Pair, content: str, why: str) -> None:
    pair.copy().write_text(content)
    found = pair.prove()
    assert (found.files, found.points) == (2, 1)
    assert why in said(found)[0]
    assert said(found)[0].startswith("config.xml: 00000003-00000001-primary of 2026-01-01 12:01:01 UTC ")


def test_an_older_point_does_where_the_newest_does_not_and_it_is_said_all_the_same(pair: Pair) -> None:
    (pair.here / "config.xml").write_text("two")
    pair.make()
    pair.replicate()
    newest = max(copies.lying(pair.there, [], "config.xml"), key=lambda one: one.point.order)
    newest.file.write_text("xxx")
    found = pair.prove()
    assert (found.points, len(found.troubles)) == (2, 1)


def test_what_was_proven_is_read_again_when_it_changed_when_asked_and_when_it_is_time(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    true = copies.differs

    def differs(one: copies.Lying, pace: Pace) -> str:
        read.append(one.point.file)
        return true(one, pace)

    monkeypatch.setattr(copies, "differs", differs)
    pair.prove()
    pair.prove()
    assert sorted(read) == ["a.json", "config.xml"]
    pair.copy().write_text("xxx")
    assert pair.prove().points == 1
    assert read[2:] == ["config.xml"]
    pair.prove(anew=True)
    assert len(read) == 5
    pair.prove(after=3601)
    assert len(read) == 7


def test_one_round_reads_only_so_much(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filing_proof, "ROUND", 1)
    assert [pair.prove().points for _ in range(2)] == [1, 2]
    assert pair.prove(anew=True).points == 2


def test_points_of_another_epoch_or_site_do_not_count_and_one_whose_copy_is_to_come_is_none(pair: Pair) -> None:
    assert pair.prove(epoch=4).files == 0
    assert pair.prove(active=Site.BACKUP).files == 0
    pair.copy().unlink()
    found = pair.prove()
    assert (found.files, found.points, found.troubles) == (2, 1, ())


def test_a_manifest_that_is_not_to_be_believed_is_said(pair: Pair) -> None:
    manifest = pair.copy().with_suffix(".json")
    text = manifest.read_text()
    for wrong in ("{", text.replace('"file"', '"fil"', 1), text.replace('"kind":"file"', '"kind":"database"')):
        manifest.write_text(wrong.replace('"kind": "file"', '"kind": "database"'))
        found = pair.prove()
        assert (found.files, len(found.troubles)) == (1, 1)
        assert found.troubles[0].file.startswith(".failoverd/files/")
    manifest.write_text(text.replace('"schema": 1', '"schema": 2'))
    assert said(pair.prove())[0].endswith("written by a newer failoverd: run that")


def test_the_keeper_says_of_files_apart_from_databases(pair: Pair) -> None:
    database(pair.here / "app.db")
    pair.make()
    pair.replicate()
    pair.copy().write_text("xxx")
    said = pair.keeper()
    assert ([one.database for one in said.proven], said.sick) == (["app.db"], ())
    assert said.filed is not None
    assert (said.filed.points, len(said.filed.troubles)) == (1, 1)
    assert pair.keeper(files=()).filed is None


def test_a_failover_places_no_file_and_waits_for_none(pair: Pair) -> None:
    database(pair.here / "app.db")
    pair.make()
    pair.replicate()
    (pair.there / "config.xml").write_text("as replication left it")
    said = pair.keeper(move="media/sonarr#4@20260105T090050Z")
    assert said.placed is not None
    assert (said.placed.done, said.placed.databases, said.placed.files) == (True, ("app.db",), 0)
    assert said.filed is None
    assert (pair.there / "config.xml").read_text() == "as replication left it"


def test_a_guard_without_patterns_does_as_before(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> Filed:
        raise AssertionError

    monkeypatch.setattr(FileMaker, "turn", never)
    monkeypatch.setattr(FileProver, "turn", never)
    assert pair.keeper(files=()).filed is None
    keeper = Keeper(pair.here, Site.PRIMARY, pair.scratch, lambda: pair.clock().mono)
    keeper.order(wanted(), pair.clock().wall)
    assert keeper.work(wanted()).filed is None
    keeper.close()
    assert filing.MOST == 1000
