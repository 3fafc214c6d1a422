"""Whatever an app does between and during copies, a point is one state it committed; also of a killed guard."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from failoverd.core.points import Ailment, Sickness
from failoverd.core.rules import Site
from failoverd.guard import shelf
from failoverd.guard.files import hashed
from failoverd.guard.pace import Pace
from failoverd.guard.points import Maker
from tests.guard.databases import Clock, connect, database, killed_after, wanted

FREE = Pace()
STEPS = (
    "insert",
    "change",
    "delete",
    "grow",
    "vacuum",
    "checkpoint",
    "truncate",
    "rollback",
    "table",
    "mode",
    "point",
)


class App:
    """An app that keeps a count of its commits in its database, and the test what each of them held."""

    def __init__(self, path: Path, wal: bool, seed: int) -> None:
        self._random = random.Random(seed)
        self.path = path
        self.live = connect(path)
        # It runs in the guard's own thread: what the guard's copy keeps from it comes no sooner for waiting.
        self.live.execute("PRAGMA busy_timeout = 0")
        self.live.execute(f"PRAGMA journal_mode={'WAL' if wal else 'DELETE'}")
        self.live.execute("CREATE TABLE t(n INTEGER PRIMARY KEY, x BLOB)")
        self.live.execute("CREATE TABLE commits(n INTEGER)")
        self.live.execute("INSERT INTO commits VALUES(0)")
        self.commits = 0
        self.states = {0: content(self.live)}

    def do(self, what: str) -> None:
        live, chance = self.live, self._random
        if what in ("vacuum", "checkpoint", "truncate", "mode"):
            mode = chance.choice(["WAL", "DELETE"])
            live.execute(
                {
                    "vacuum": "VACUUM",
                    "checkpoint": "PRAGMA wal_checkpoint",
                    "truncate": "PRAGMA wal_checkpoint(TRUNCATE)",
                    "mode": f"PRAGMA journal_mode={mode}",
                }[what]
            ).fetchall()
            return
        live.execute("BEGIN IMMEDIATE")
        rows = 200 if what == "grow" else chance.randint(1, 5)
        if what in ("insert", "grow"):
            live.executemany("INSERT INTO t(x) VALUES(?)", [(chance.randbytes(900),) for _ in range(rows)])
        elif what == "change":
            live.execute("UPDATE t SET x = ? WHERE n % 7 = ?", (chance.randbytes(300), chance.randint(0, 6)))
        elif what == "delete":
            live.execute("DELETE FROM t WHERE n % 5 = ?", (chance.randint(0, 4),))
        elif what == "table":
            live.execute(f"CREATE TABLE t{self.commits}(a, b UNIQUE)")
        live.execute("UPDATE commits SET n = n + 1")
        if what == "rollback":
            live.execute("ROLLBACK")
            return
        live.execute("COMMIT")
        self.commits += 1
        self.states[self.commits] = content(live)


def content(opened) -> tuple[object, ...]:
    tables = opened.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
    return (tables, opened.execute("SELECT n, x FROM t ORDER BY n").fetchall())


def judge(app: App, one: shelf.Lying, earliest: int) -> int:
    """That a point is a state the app committed, no older than when it was begun; which one."""
    assert hashed(one.file, FREE) == one.point.sha256
    with closing(connect(one.file, "?mode=ro&immutable=1")) as opened:
        assert opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (n,) = opened.execute("SELECT n FROM commits").fetchone()
        assert content(opened) == app.states[n]
    assert n >= earliest
    return int(n)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    wal=st.booleans(),
    seed=st.integers(0, 2**32),
    before=st.lists(st.sampled_from(STEPS), max_size=12),
    during=st.lists(st.sampled_from(STEPS[:-1]), max_size=6),
)
def test_a_point_is_always_one_committed_state(wal: bool, seed: int, before: list[str], during: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        app = App(root / "app.db", wal, seed)
        maker, clock = Maker(root, Site.PRIMARY), Clock()
        quick = wanted(interval=timedelta(0), keep=99)
        seen = []
        for step in [*before, "grow", "point"]:
            if step == "point":
                waiting = list(during)
                at = app.commits

                def still(waiting: list[str] = waiting) -> None:
                    if waiting:
                        app.do(waiting.pop(0))

                there = {one.file for one in shelf.lying(root, [])}
                maker.turn(quick, clock, Pace(still=still))
                new = [one for one in shelf.lying(root, []) if one.file not in there]
                seen += [judge(app, one, at) for one in new]
            else:
                app.do(step)
        # With the app quiet the next round ends in a point of its last state, or the one there is already holds it.
        maker.turn(quick, clock, FREE)
        assert maker.sick == ()
        newest = max(shelf.lying(root, []), key=lambda one: one.point.order)
        assert judge(app, newest, 0) == app.commits
        assert seen == sorted(seen)
        app.live.close()


def test_a_guard_killed_anywhere_leaves_only_points_that_are_true(tmp_path: Path) -> None:
    root = tmp_path / "volume"
    path = database(root / "app.db", rows=500, width=4000)
    Maker(root, Site.PRIMARY).turn(wanted(), Clock(), FREE)
    with closing(connect(path)) as live:
        live.execute("INSERT INTO t VALUES(501, 'x')")
    first = [one.point for one in shelf.lying(root, [])]
    count, died = 0, True
    while died:
        again = tmp_path / "again"
        shutil.copytree(root, again)
        died = killed_after(count, partial(make, again))
        wrong: list[Sickness] = []
        there = list(shelf.lying(again, wrong))
        assert wrong == []
        assert [one.point for one in there][:1] == first
        for one in there:
            assert hashed(one.file, FREE) == one.point.sha256
        # Whoever comes next makes the next one, and takes away what was left.
        Maker(again, Site.PRIMARY).turn(wanted(), Clock(), FREE)
        files = sorted(p.suffix for p in shelf.folder(again, "app.db").iterdir())
        assert files == sorted([".json", ".sqlite"] * (len(files) // 2))
        shutil.rmtree(again)
        count += 1
    # Among them the moment between the copy and its manifest.
    assert count > 8


def make(root: Path, still: Callable[[], None]) -> bool:
    Maker(root, Site.PRIMARY).turn(wanted(), Clock(), Pace(still=still))
    return True


@pytest.mark.skipif(os.getuid() != 0, reason="needs a small filesystem of its own, which only root may mount")
def test_a_full_disk_is_said_and_costs_no_good_point(tmp_path: Path) -> None:
    root = tmp_path / "small"
    root.mkdir()
    if os.system(f"mount -t tmpfs -o size=4m none {root} 2>/dev/null"):
        pytest.skip("mounting is not allowed here")
    try:
        path = database(root / "app.db", rows=200, width=1000)
        maker, clock = Maker(root, Site.PRIMARY), Clock()
        maker.turn(wanted(), clock, FREE)
        good = [one.point for one in shelf.lying(root, [])]
        with closing(connect(path)) as live:
            live.execute("UPDATE t SET x = 'y' WHERE n = 1")
        (root / "filler").write_bytes(b"x" * (shutil.disk_usage(root).free - 100_000))
        clock.pass_(seconds=9)
        maker.turn(replace(wanted(), keep=1), clock, FREE)
        assert [one.ailment for one in maker.sick] == [Ailment.NO_ROOM]
        assert [one.point for one in shelf.lying(root, [])] == good
        assert shutil.disk_usage(root).free > 50_000
    finally:
        os.system(f"umount {root}")
