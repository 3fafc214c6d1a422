"""What a lost side had beyond the point of it is counted in its WAL, and unknown wherever that does not tell."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from sqlite3 import Connection

import pytest

from failoverd.core.points import Ahead, Duty, Placed
from failoverd.core.rules import Site
from failoverd.guard.pace import Pace
from failoverd.guard.place import Placer
from failoverd.guard.points import Maker
from failoverd.guard.proof import Prover
from tests.guard.databases import Clock, connect, database, wanted

FREE = Pace()
LOST = "media/sonarr#4@20260105T090050Z"


def write(live: Connection, *numbers: int) -> None:
    """A transaction for each."""
    for number in numbers:
        live.execute("INSERT INTO t VALUES(?, randomblob(3000))", (number,))


def grown(live: Connection) -> None:
    """One transaction of many rows."""
    live.execute("BEGIN")
    write(live, *range(1000, 1050))
    live.execute("COMMIT")


class Pair:
    """The side that is lost, under an app that never closes its database, and the survivor."""

    def __init__(self, folder: Path, live: Connection) -> None:
        self.lost, self.survivor, self.live = folder / "lost", folder / "survivor", live
        self.maker, self.clock = Maker(self.lost, Site.PRIMARY), Clock()
        for name in ("scratch", "survivor"):
            (folder / name).mkdir()
        self.scratch = folder / "scratch"

    def point(self) -> None:
        self.maker.turn(wanted(interval=timedelta(0)), self.clock, FREE)

    def fail_over(self) -> None:
        """The newest point is placed at the survivor, and makes points of its own; both are replicated back."""
        shutil.copytree(self.lost / ".failoverd", self.survivor / ".failoverd")
        assert self.place(self.survivor, Site.BACKUP, 3, Site.PRIMARY, LOST, "").done
        Maker(self.survivor, Site.BACKUP).turn(wanted(epoch=4, active=Site.BACKUP), self.clock, FREE)
        shutil.copytree(self.survivor / ".failoverd", self.lost / ".failoverd", dirs_exist_ok=True)

    def place(
        self, root: Path, site: Site, epoch: int, active: Site, move: str, lost: str, *, clear: bool = False
    ) -> Placed:
        order = wanted(duty=Duty.PROVE, epoch=epoch, active=active, move=move, lost=lost, clear=clear)
        prover = Prover(root, self.scratch)
        prover.turn(order, self.clock, FREE)
        return Placer(root, site, self.scratch).turn(order, prover, FREE)

    def clear(self) -> Placed:
        """As it is done before the lost side receives anything."""
        return self.place(self.lost, Site.PRIMARY, 4, Site.BACKUP, "lost-4", "", clear=True)

    def put_aside(self, lost: str = LOST) -> Placed:
        return self.place(self.lost, Site.PRIMARY, 4, Site.BACKUP, "back-4", lost)


@pytest.fixture(params=[True])
def pair(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Pair]:
    path = database(tmp_path / "lost" / "app.db", wal=request.param)
    with ExitStack() as stack:
        live = stack.enter_context(closing(connect(path)))
        write(live, *range(100, 120))
        yield Pair(tmp_path, live)


def count(pair: Pair, lost: str = LOST) -> tuple[Ahead, ...]:
    pair.fail_over()
    said = pair.put_aside(lost)
    assert said.done
    assert pair.put_aside(lost) == said
    return said.ahead


def known(transactions: int | None) -> tuple[Ahead, ...]:
    return (Ahead(database="app.db", transactions=transactions),)


def test_every_transaction_after_the_point_is_counted_once(pair: Pair) -> None:
    pair.point()
    write(pair.live, *range(200, 237))
    grown(pair.live)
    assert count(pair) == known(38)


def test_it_is_counted_where_the_database_was_moved_aside_before(pair: Pair) -> None:
    pair.point()
    write(pair.live, *range(200, 237))
    pair.fail_over()
    assert pair.clear().done
    assert pair.put_aside().ahead == known(37)
    assert pair.put_aside(lost="").ahead == known(37), "the journal tells"


def test_a_lost_side_that_had_nothing_more_was_ahead_by_none(pair: Pair) -> None:
    pair.point()
    assert count(pair) == known(0)


def test_a_transaction_that_was_rolled_back_is_none(pair: Pair) -> None:
    pair.point()
    pair.live.execute("PRAGMA cache_size=5")
    pair.live.execute("BEGIN")
    write(pair.live, *range(300, 400))
    pair.live.execute("ROLLBACK")
    assert count(pair) == known(0)


def test_a_wal_that_began_anew_since_tells_nothing(pair: Pair) -> None:
    pair.point()
    pair.live.execute("PRAGMA wal_checkpoint(RESTART)")
    write(pair.live, *range(500, 600))  # longer than the one before
    assert count(pair) == known(None)


def test_a_wal_that_is_gone_or_shorter_than_the_point_knew_tells_nothing(pair: Pair) -> None:
    pair.point()
    write(pair.live, 500)
    wal = Path(f"{pair.lost / 'app.db'}-wal")
    wal.write_bytes(wal.read_bytes()[:10_000])
    assert count(pair) == known(None)


@pytest.mark.parametrize("pair", [False], indirect=True)
def test_in_rollback_mode_nothing_tells(pair: Pair) -> None:
    pair.point()
    write(pair.live, 500)
    assert count(pair) == ()  # its counter is as high: it stays where it is


def test_without_the_failover_that_it_lost_by_nothing_is_compared(pair: Pair) -> None:
    pair.point()
    write(pair.live, 500)
    assert count(pair, "") == ()


def test_of_a_failover_whose_journal_has_not_arrived_nothing_is_known(pair: Pair) -> None:
    pair.point()
    write(pair.live, 500)
    assert count(pair, "media/sonarr#9@20260105T090050Z") == known(None)
