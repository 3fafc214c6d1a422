"""Sets put back whole, and databases put back by a guard that is killed at any of its operations."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from failoverd.core.points import Duty, Wanted
from failoverd.core.recall import Recall
from failoverd.core.rules import Site
from failoverd.guard.pace import Pace
from failoverd.guard.place import Placer
from failoverd.guard.proof import Prover
from failoverd.guard.recall import Recaller
from tests.guard.databases import connect, killed_after, numbers, wanted
from tests.guard.test_recall import MOVE, Side, here, rows

__all__ = ["here"]  # a fixture


def displaced(here: Side) -> str:
    """A set of both databases, with what only their `-wal` holds; the folder it lies in."""
    folder = "media%2Fsonarr%23"
    for number, name in enumerate(("app.db", "logs.db")):
        slot = here.root / ".failoverd" / "moves" / folder / f"{number:04d}"
        slot.mkdir(parents=True)
        with closing(connect(here.root / name)) as live:
            live.execute("PRAGMA wal_autocheckpoint=0")
            live.execute("INSERT INTO t VALUES(500, 'only in the -wal')")
            for part in ("", "-wal", "-shm"):
                shutil.copy(f"{here.root / name}{part}", f"{slot / name}{part}")
    journal = (
        '{"move":"media/sonarr#","site":"primary","live":[],"done":true,"entries":['
        + ",".join(
            f'{{"database":"{name}","point":"p","sha256":"","size":1,"mode":420,"had":["","-wal","-shm"]}}'
            for name in ("app.db", "logs.db")
        )
        + "]}"
    )
    (here.root / ".failoverd" / "moves" / folder / "primary.json").write_text(journal)
    for name in ("app.db", "logs.db"):
        with closing(connect(here.root / name)) as live:
            live.execute("DELETE FROM t")
            live.execute("INSERT INTO t VALUES(1000, 'newer')")
    return folder


SET = [*range(1, 14), 500]


def test_a_set_comes_back_whole_and_stays_where_it_lies(here: Side) -> None:
    folder = displaced(here)
    lies = here.root / ".failoverd" / "moves" / folder / "0000"
    before = {path.name: path.read_bytes() for path in lies.iterdir()}
    assert here.ask(moved=folder).databases == ("app.db", "logs.db")
    assert here.order(lay=True, moved=folder).laid
    assert rows(here, "app.db") == [1000]
    said = here.order(moved=folder)
    assert (said.done, said.databases) == (True, ("app.db", "logs.db"))
    assert numbers(here.root / "app.db") == SET
    assert {path.name: path.read_bytes() for path in lies.iterdir()} == before
    assert [path.name for path in here.root.glob("app.db*")] == ["app.db"]


def test_one_database_of_a_set_is_named_by_its_folder(here: Side) -> None:
    said = here.order(moved=f"{displaced(here)}/0001")
    assert said.databases == ("logs.db",)
    assert (numbers(here.root / "logs.db"), rows(here, "app.db")) == (SET, [1000])


def test_a_set_that_does_not_open_is_refused_by_name(here: Side) -> None:
    folder = displaced(here)
    lies = here.root / ".failoverd" / "moves" / folder / "0001" / "logs.db"
    Path(f"{lies}-wal").unlink()
    lies.write_bytes(lies.read_bytes()[:5000])
    said = here.ask(moved=folder)
    assert "the set in .failoverd/moves/media%2Fsonarr%23/0001/logs.db does not open: " in said.why
    placed = here.order(lay=True, moved=folder)
    assert (placed.laid, "does not open" in placed.why) == (False, True)


@pytest.mark.parametrize("name", ["nothing", "..", "../..", ""])
def test_a_folder_that_is_no_set_has_none(here: Side, name: str) -> None:
    said = here.ask(moved=name)
    assert said.databases == ()


def test_a_set_of_a_move_that_is_not_done_is_not_taken_for_whole(here: Side) -> None:
    folder = displaced(here)
    journal = here.root / ".failoverd" / "moves" / folder / "primary.json"
    journal.write_text(journal.read_text().replace('"done":true', '"done":false'))
    assert "primary.json is not done: what was displaced lies beside it, perhaps not all of it" in (
        here.ask(moved=folder).why
    )


def test_where_two_sites_moved_databases_of_one_name_nobody_guesses(here: Side) -> None:
    folder = displaced(here)
    journal = here.root / ".failoverd" / "moves" / folder / "primary.json"
    text = journal.read_text().replace('"database":"app.db"', '"database":"sub/app.db"')
    journal.with_name("backup.json").write_text(text.replace('"site":"primary"', '"site":"backup"'))
    assert "two sites moved databases there" in here.ask(moved=folder).why


# -------------------------------------------------------------------- killed


def put_back(here: Side, order: Wanted, still: Callable[[], None]) -> bool:
    scratch = here.root.parent / "scratch"
    placer = Placer(here.root, Site.PRIMARY, scratch)
    recaller = Recaller(here.root, scratch, placer, Prover(here.root, scratch).prove)
    pace, recall = Pace(still=still), order.recall
    assert recall is not None
    for one in (replace(order, lay=True), order):
        placer.carry(one, lambda one=one: recaller.plan(one, recall, pace), pace)  # type: ignore[misc]
    return True


@pytest.mark.parametrize("what", ["point", "set"])
def test_killed_after_any_operation_it_is_resumed_and_never_stands_beside_a_foreign_wal(
    here: Side, tmp_path: Path, what: str
) -> None:
    folder = displaced(here)
    at = here.times[0] + timedelta(seconds=1)
    recall = Recall(at=at, since=3) if what == "point" else Recall(moved=folder, since=3)
    order = wanted(duty=Duty.PROVE, move=MOVE, recall=recall, as_of=here.ask(at=at).moment)
    meant = list(range(1, 11)) if what == "point" else SET
    original, count = tmp_path / "original", 0
    shutil.copytree(here.root, original)
    while True:
        shutil.rmtree(here.root)
        shutil.copytree(original, here.root)
        died = killed_after(count, partial(put_back, here, order))
        for name in ("app.db", "logs.db"):
            path = here.root / name
            if path.exists() and numbers_of(path, tmp_path) == meant:
                assert not [part for part in ("-wal", "-shm", "-journal") if Path(f"{path}{part}").exists()]
        here.again()
        assert here.work(order).placed == here.work(order).placed
        assert numbers(here.root / "app.db") == numbers(here.root / "logs.db") == meant
        assert list(here.root.glob(".syncthing.*")) == []
        if not died:
            break
        count += 7 if count > 40 else 3
    assert count > 20


def numbers_of(path: Path, tmp_path: Path) -> list[int]:
    """The rows of a copy of a database and what lies beside it."""
    place = tmp_path / "look"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for part in ("", "-wal", "-shm"):
        if Path(f"{path}{part}").exists():
            shutil.copy(f"{path}{part}", f"{place / path.name}{part}")
    with closing(connect(place / path.name)) as opened:
        return [n for (n,) in opened.execute("SELECT n FROM t ORDER BY n")]
