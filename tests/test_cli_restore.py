"""`failoverd restore`: what is asked of the leader, and what is refused before the app is stopped for nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from failoverd.cli.cluster import Cluster
from failoverd.cli.exits import Exit
from failoverd.core import names
from failoverd.core.memory import Kind, Memory, Move, Phase, Restore, Standing
from failoverd.core.model import Command, CommandKind
from failoverd.core.rules import Site
from tests.test_cli_cluster import CONFIG, MAPS, Bench, Leader, bench
from tests.test_cli_displaced import BEGAN, ENDED, KEY, aside, listed, lost, mover, put, remember

__all__ = ["bench"]  # a fixture
FILE = "sub/a b.xml"


@pytest.fixture
def kept(bench: Bench) -> Bench:
    """On backup since a failover; one version at backup, another at primary."""
    remember(bench, lost())
    for site in Site:
        mover(bench, site)
    put(bench, "displaced", Site.BACKUP, listed(aside("sub/a%20b.xml", 70), aside("sub/a%20b.xml", 10)))
    put(bench, "displaced", Site.PRIMARY, listed(aside("old.xml", 60)))
    return bench


async def run(bench: Bench, *more: str) -> Any:
    return await bench.run("restore", "sonarr", "--volume", "config", *more)


def restoring(outcome: str) -> Leader:
    def end(command: Command, memory: Memory) -> Memory:
        app = memory.apps[KEY]
        move = Move(
            id="m", app=KEY, kind=Kind.RESTORE, source=app.active, target=app.active, epoch=2, reason="r",
            began_at=BEGAN, command=command.id, outcome=outcome, evidence=("config at backup: fetched sub/a b.xml",),
            marks=(("decided", BEGAN), ("ready", BEGAN + timedelta(seconds=5))),
        )  # fmt: skip
        return replace(memory, apps={KEY: replace(app, moves=(*app.moves, move), phase=Phase.WATCHING)})

    return end


async def test_it_is_asked_for_where_the_app_lives_with_the_epoch_it_was_meant_for(kept: Bench) -> None:
    said = await run(kept, FILE, "--no-wait", "--why", "lost settings")
    assert said.status == Exit.OK
    (command,) = kept.commands()
    assert (command.kind, command.app, command.target, command.epoch) == (CommandKind.RESTORE, KEY, Site.BACKUP, 1)
    assert command.restore == Restore(volume="config", path=FILE)
    assert command.why == "lost settings"


async def test_a_version_is_meant_by_its_second(kept: Bench) -> None:
    said = await run(kept, FILE, "--no-wait", "--at", "2026-11-26T15:00:10")
    assert said.status == Exit.OK
    (command,) = kept.commands()
    assert command.restore is not None
    assert command.restore.at == BEGAN + timedelta(seconds=10)


async def test_it_is_followed_to_its_end_and_says_what_was_fetched(kept: Bench) -> None:
    async with kept.leader(restoring("done")):
        said = await run(kept, FILE)
    assert said.status == Exit.OK
    assert "config at backup: fetched sub/a b.xml" in said.out


async def test_one_that_came_to_nothing_is_an_error(kept: Bench) -> None:
    async with kept.leader(restoring("aborted: no version of it")):
        said = await run(kept, FILE)
    assert said.status == Exit.REFUSED
    assert "restore aborted: no version of it" in said.err


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("old.xml",), "old.xml of 2026-11-26 15:01:00 lies at primary, and the app lives at backup: move it there"),
        ((FILE, "--site", "primary"), f"{FILE} lies at primary, and the app lives at backup: move it there first"),
        (("nothing.txt",), "no such version is kept at backup: failoverd displaced sonarr"),
        ((FILE, "--at", "2026-11-26T15:00:11"), "no such version is kept at backup"),
        (("app.db-wal",), "app.db-wal belongs to a database: restore app.db, and it comes with it"),
        ((".failoverd/moves/m/0000/app.db",), "is the guard's own"),
    ],
)
async def test_what_cannot_be_had_there_stops_no_app(kept: Bench, more: tuple[str, ...], why: str) -> None:
    said = await run(kept, *more, "--no-wait")
    assert said.status == Exit.REFUSED
    assert why in said.err
    assert kept.commands() == ()


@pytest.mark.parametrize(
    ("standing", "verdict", "why"),
    [
        (Standing.OUTDATED, None, "media at primary is outdated. Wait until its copy has been taken back"),
        (Standing.CLEAN, "DOWN", "k3s-w1 is DOWN. Wait until k3s-w1 is UP again; `failoverd why sonarr`"),
    ],
)
async def test_nobody_is_sent_to_a_side_that_cannot_take_the_app(
    kept: Bench, monkeypatch: pytest.MonkeyPatch, standing: Standing, verdict: str | None, why: str
) -> None:
    async def live(_: Cluster) -> dict[str, Any] | None:
        return {"nodes": {"k3s-w1": {"verdict": verdict}}, "apps": {}} if verdict else None

    remember(kept, lost(), standing=standing)
    monkeypatch.setattr(Cluster, "live", live)
    said = await run(kept, "old.xml", "--site", "primary", "--no-wait")
    assert said.status == Exit.REFUSED
    assert "lies at primary, and the app lives at backup: media/sonarr cannot be moved to primary now" in said.err
    assert why in said.err
    assert "switchover" not in said.err


async def test_where_the_side_is_unknown_the_leader_looks(kept: Bench) -> None:
    unreadable(kept)
    said = await run(kept, FILE, "--no-wait")
    assert said.status == Exit.OK
    assert "note: config at backup: unknown:" in said.err
    assert len(kept.commands()) == 1


def unreadable(bench: Bench) -> None:
    """What was displaced where the app lives cannot be read."""
    bench.server.put(
        f"{MAPS}/{names.displaced_object('media', 'pvc-sonarr-config-backup')}", {"data": {"stock": "{"}}
    )


@pytest.mark.parametrize("more", [(), ("--site", "backup")])
async def test_a_side_that_cannot_be_read_is_not_passed_over_for_the_other(
    kept: Bench, more: tuple[str, ...]
) -> None:
    unreadable(kept)
    said = await run(kept, "old.xml", *more, "--no-wait")
    assert said.status == Exit.OK
    (command,) = kept.commands()
    assert command.target is Site.BACKUP


async def test_a_version_that_is_only_counted_is_not_denied(kept: Bench) -> None:
    files = [aside(f"f{number}", 100 + number) for number in range(60)]
    put(kept, "displaced", Site.BACKUP, listed(*files, aside("old.xml", 1), most=40))
    said = await run(kept, "old.xml", "--no-wait")
    assert said.status == Exit.OK
    assert "note: config at backup: 21 of its versions are not named; it is looked for there" in said.err
    assert len(kept.commands()) == 1


async def test_nor_is_one_after_a_hand_has_removed_others_and_the_guard_counts_otherwise(kept: Bench) -> None:
    (kept.folder / "config.toml").write_text(f"{CONFIG}[guard]\nenabled = true\n")
    files = [aside(f"f{number}", 100 + number) for number in range(200)]
    put(kept, "displaced", Site.BACKUP, listed(*files, aside("removed", 1), most=10_000))
    for site in Site:
        put(kept, "guard", site, listed(*files, at=ENDED + timedelta(days=1), most=40))
    said = await run(kept, "f10", "--no-wait")
    assert said.status == Exit.OK
    assert "160 of its versions are not named" in said.err


async def test_a_path_is_restored_as_displaced_shows_it_or_as_the_disk_has_it(kept: Bench) -> None:
    put(kept, "displaced", Site.BACKUP, listed(aside("a%0Ab%5C.txt", 70)))
    lines = (await kept.run("displaced", "sonarr")).out.splitlines()
    shown = next(line for line in lines if "backup   version " in line)
    for path in (shown.split()[-1], "a\nb\\.txt"):
        said = await run(kept, path, "--no-wait")
        assert said.status == Exit.OK
    assert [one.restore.path for one in kept.commands() if one.restore] == ["a\nb\\.txt"] * 2


async def test_of_two_files_that_are_shown_alike_none_is_restored(kept: Bench) -> None:
    put(kept, "displaced", Site.BACKUP, listed(aside("a%0Ab", 70), aside("a%5Cx0ab", 60)))
    said = await run(kept, r"a\x0ab", "--no-wait")
    assert said.status == Exit.REFUSED
    assert r"config at backup: 2 files are shown as a\x0ab: copy the one that is meant by hand" in said.err
    assert kept.commands() == ()


@pytest.mark.parametrize(("path", "status"), [("caf\udce9.txt", Exit.USAGE), (r"caf\xe9.txt", Exit.REFUSED)])
async def test_a_name_that_is_no_text_is_refused_in_words(kept: Bench, path: str, status: Exit) -> None:
    put(kept, "displaced", Site.BACKUP, listed(aside("caf%E9.txt")))
    said = await run(kept, path, "--no-wait")
    assert said.status == status
    assert r"caf\xe9.txt can't be restored: its name is no UTF-8" in said.err
    assert kept.commands() == ()


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-10:00"])
async def test_a_time_out_of_the_calendar_is_one_at_which_nothing_was_put_aside(kept: Bench, at: str) -> None:
    said = await run(kept, FILE, "--at", at, "--no-wait")
    assert said.status == Exit.REFUSED
    assert "no such version is kept at backup" in said.err


async def test_of_several_volumes_one_must_be_named(kept: Bench) -> None:
    said = await kept.run("restore", "sonarr", FILE)
    assert said.status == Exit.USAGE
    assert "media/sonarr has several volumes: say which by --volume (config, media)" in said.err
