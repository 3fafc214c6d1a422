"""The unmodified daemon, real guards on real folders with real databases, and a served world as the cluster.

What replication would bring of restore points is copied here; the raw copy at the backup is what it leaves of a busy
database: pieces that do not fit.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from failoverd.core.rules import Site
from failoverd.simulator.daemon_process import start
from failoverd.simulator.serve import Serve
from failoverd.simulator.world_faults import inject
from failoverd.simulator.world_spec import WorldSpec, simple_app, simple_rules
from tests.component.daemon import CONFIG, Status, deciding, moved, well
from tests.guard.databases import connect, database, numbers

APP = """
[guard]
enabled = true
interval = "1s"
share = 1.0
[[apps]]
name = "sonarr"
namespace = "media"
"""
CLAIMS = {Site.PRIMARY: "pvc-sonarr", Site.BACKUP: "pvc-sonarr-backup"}


def app(found: Status) -> Status:
    told: Status = found["apps"]["media/sonarr"]
    return told


def root(folder: Path, site: Site) -> Path:
    return folder / CLAIMS[site]


@asynccontextmanager
async def guard(served: Serve, folder: Path, site: Site) -> AsyncIterator[Process]:
    scratch = folder / f"scratch-{site}"
    scratch.mkdir()
    copy = f"--copy=media/{CLAIMS[site]}={root(folder, site)}"
    where = ("--kubeconfig", str(served.kubeconfig), "--scratch", str(scratch))
    process = await start("guard", "--site", site.value, copy, *where, output=DEVNULL)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def replicate(folder: Path) -> None:
    """Every finished point of the primary, its manifest last, as Syncthing renames files into place."""
    here, there = (root(folder, site) / ".failoverd" / "points" for site in Site)
    found = [path for path in here.rglob("*") if path.is_file() and not path.name.startswith(".syncthing.")]
    for path in sorted(found, key=lambda one: one.suffix == ".json"):
        target = there / path.relative_to(here)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_name(f".syncthing.{target.name}.tmp")
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(path, draft)
                draft.rename(target)


async def living(folder: Path, written: list[int], replicating: asyncio.Event) -> None:
    """The app at the primary, and replication, until cancelled."""
    with closing(connect(root(folder, Site.PRIMARY) / "app.db")) as writer:
        while True:
            written.append(written[-1] + 1)
            writer.execute("INSERT INTO t VALUES(?, randomblob(100))", (written[-1],))
            if replicating.is_set():
                replicate(folder)
            await asyncio.sleep(0.1)


def broken(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path)) as opened:
            return bool(opened.execute("PRAGMA quick_check").fetchall() != [("ok",)])
    except sqlite3.DatabaseError:
        return True


@pytest.mark.timeout(200)
async def test_a_failover_starts_from_the_newest_point_that_opens_and_keeps_the_raw_copy(tmp_path: Path) -> None:
    volumes, work = tmp_path / "volumes", tmp_path / "work"
    work.mkdir()
    for site in Site:
        (root(volumes, site) / ".stfolder").mkdir(parents=True)
    database(root(volumes, Site.PRIMARY) / "app.db")
    raw = root(volumes, Site.BACKUP) / "app.db"
    raw.write_bytes((root(volumes, Site.PRIMARY) / "app.db").read_bytes()[:4096] + b"x" * 4096)
    assert broken(raw)
    written, replicating = [10], asyncio.Event()
    spec = WorldSpec(rules=simple_rules((simple_app(),)), shared_access=True, seed=1)
    async with (
        Serve(spec, work) as served,
        guard(served, volumes, Site.PRIMARY) as lost,
        guard(served, volumes, Site.BACKUP),
        deciding(CONFIG.format(served=served, via="proxy") + APP, work) as until,
    ):
        life = asyncio.create_task(living(volumes, written, replicating))
        try:
            found = await until(lambda one: app(one)["phase"] == "watching" and app(one)["standby"] is not None)
            found = await until(lambda one: "app.db" in str(app(one)["standby"]["missing"]))
            assert app(found)["volumes"]["data"]["age_seconds"] is None
            replicating.set()
            found = await until(lambda one: well(app(one)) and app(one)["standby"]["missing"] == [])
            assert app(found)["volumes"]["data"]["origin"].startswith(("app.db: point ", "scan of "))
            await asyncio.sleep(11)  # a lease moves every 10 s: until then the guest is not known to be the right one
        finally:
            life.cancel()
        lost.kill()
        inject(served.world, "power_off k3s-w1")
        found = await until(lambda one: moved(app(one)))
    move = app(found)["moves"][0]
    assert not broken(raw)
    rows = numbers(raw)
    assert rows == list(range(1, len(rows) + 1))
    assert len(rows) > 10
    (displaced,) = (root(volumes, Site.BACKUP) / ".failoverd" / "moves").glob("*/0000/app.db")
    assert broken(displaced)
    assert "place" in move["parts"]
    assert any("placed from points: app.db; displaced and kept: .failoverd/moves/" in one for one in move["evidence"])
