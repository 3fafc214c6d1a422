"""`failoverd restore --point` and `--set`: what is asked of the leader, and what needs no leader to be refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from failoverd.adapters.kubernetes import guards
from failoverd.cli.exits import Exit
from failoverd.core.filed import Filed
from failoverd.core.memory import Restore
from failoverd.core.model import CommandKind
from failoverd.core.points import Duty, Kept, Observed
from failoverd.core.recall import Recall
from failoverd.core.rules import Site
from tests.test_cli_cluster import CONFIG, MAPS, Bench, bench
from tests.test_cli_displaced import BEGAN, CLAIM, ENDED, KEY, listed, lost, mover, remember

__all__ = ["bench"]  # a fixture
AT = datetime(2026, 11, 26, 15, 0, 7, 999_999, tzinfo=UTC)
"""A second that is named means all of it: points are shown by their second."""
MOVE = "media/sonarr#4@20260105T090050Z"
FOLDER = "media%2Fsonarr%234%4020260105T090050Z"


@pytest.fixture
def guarded(bench: Bench) -> Bench:
    """On backup since a failover, with guards."""
    (bench.folder / "config.toml").write_text(f"{CONFIG}[guard]\nenabled = true\n")
    remember(bench, lost())
    return bench


async def run(bench: Bench, *more: str) -> Any:
    return await bench.run("restore", "sonarr", *more, "--no-wait")


@pytest.mark.parametrize(
    ("more", "recall"),
    [
        (("--point", "2026-11-26T15:00:07"), Recall(at=AT)),
        (("--point", "2026-11-26T15:00:07.25"), Recall(at=AT.replace(microsecond=250_000))),
        (("--point", "2026-11-26T16:00:07+01:00", "--volume", "config"), Recall(at=AT, volume="config")),
        (
            ("--volume", "config", "--point", "2026-11-26T15:00:07", "sub/a b.db"),
            Recall(at=AT, volume="config", database="sub/a%20b.db"),
        ),
        (("--set", MOVE), Recall(moved=FOLDER)),
        (("--set", f"{MOVE}/0001"), Recall(moved=f"{FOLDER}/0001")),
        (("--set", FOLDER), Recall(moved=FOLDER)),
        (("--set", f".failoverd/moves/{FOLDER}/0001/app.db"), Recall(moved=f"{FOLDER}/0001")),
        (("--set", "back-3/0000"), Recall(moved="back-3/0000")),
    ],
)
async def test_it_is_asked_for_where_the_app_lives(guarded: Bench, more: tuple[str, ...], recall: Recall) -> None:
    said = await run(guarded, *more, "--why", "bad import")
    assert said.status == Exit.OK
    (command,) = guarded.commands()
    assert (command.kind, command.app, command.target, command.epoch) == (CommandKind.RESTORE, KEY, Site.BACKUP, 1)
    assert command.restore == Restore(recall=recall)
    assert command.why == "bad import"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ((), "say what to restore: PATH, --point TIME or --set NAME"),
        (("--point", "2026-11-26T15:00", "--set", "m"), "--point and --set are two ways to say which databases"),
        (("--point", "2026-11-26T15:00", "--at", "2026-11-26T15:00"), "--at is of a PATH that was put aside"),
        (("--point", "2026-11-26T15:00", "--volume", "nope"), 'media/sonarr has no volume "nope"'),
        (("--point", "2226-11-26T15:00"), "2226-11-26 15:00:00 UTC is still to come"),
        (("--set", "a/b/c"), '"a/b/c" is no folder of a move, as `failoverd displaced` shows them'),
    ],
)
async def test_what_cannot_be_meant_is_no_request(guarded: Bench, more: tuple[str, ...], why: str) -> None:
    said = await run(guarded, *more)
    assert said.status == Exit.USAGE
    assert why in said.err
    assert guarded.commands() == ()


async def test_without_a_guard_nothing_is_asked_of_anybody(bench: Bench) -> None:
    remember(bench, lost())
    said = await run(bench, "--point", "2026-11-26T15:00")
    assert said.status == Exit.REFUSED
    assert "restore points and sets are the guard's, and there is none" in said.err
    assert bench.commands() == ()


def making(bench: Bench, site: Site, *oldest: int | None, duty: Duty = Duty.MAKE) -> None:
    """A guard that makes points, of each database an oldest one of so many seconds after BEGAN."""
    kept = tuple(
        Kept(
            database=f"{number}.db", size=1, serial=9, made_at=ENDED, current_at=ENDED + timedelta(seconds=number),
            every=timedelta(0), age=timedelta(0), oldest=None if at is None else BEGAN + timedelta(seconds=at),
        )
        for number, at in enumerate(oldest)
    )  # fmt: skip
    said = guards.observed_text(Observed(site=site, at=ENDED, duty=duty, epoch=1, kept=kept))
    path = f"{MAPS}/failoverd-guard.media.{CLAIM['config', site]}"
    bench.server.put(path, {"data": {"observed": said, "stock": guards.stock_text(listed(at=ENDED), guards.LIMIT)}})


@pytest.mark.parametrize(
    ("oldest", "duty", "shown"),
    [
        ((10, 30), Duty.MAKE, True),
        ((10, None), Duty.MAKE, False),
        ((), Duty.MAKE, False),
        ((10, 30), Duty.REST, False),
    ],
)
async def test_where_points_are_made_it_says_as_of_when_all_databases_can_be_put_back(
    bench: Bench, oldest: tuple[int | None, ...], duty: Duty, shown: bool
) -> None:
    (bench.folder / "config.toml").write_text(f"{CONFIG}[guard]\nenabled = true\n")
    remember(bench, lost())
    for site in Site:
        mover(bench, site)
    making(bench, Site.BACKUP, *oldest, duty=duty)
    said = await bench.run("displaced", "sonarr", "--volume", "config")
    line = "config at backup: databases can be put back as of 2026-11-26 15:00:30 to 2026-11-26 15:05:00 UTC"
    assert (line in said.out) is shown
    (_, backup) = json.loads((await bench.run("displaced", "sonarr", "--volume", "config", "-o", "json")).out)[
        "sides"
    ]
    assert (backup["points"] is not None) is shown


@pytest.mark.parametrize(
    ("since", "shown"),
    [
        (20, "; all 3 of them as of 2026-11-26 15:00:20 UTC or later"),
        (None, "; 3 of 4 have one"),
    ],
)
async def test_it_says_from_when_on_files_can_be_put_back(bench: Bench, since: int | None, shown: str) -> None:
    (bench.folder / "config.toml").write_text(f"{CONFIG}[guard]\nenabled = true\n")
    remember(bench, lost())
    for site in Site:
        mover(bench, site)
    at = BEGAN.replace(second=10)
    all_of_them = at.replace(second=since) if since is not None else None
    filed = Filed(files=3 if since else 4, points=3, oldest=at, since=all_of_them)
    said = Observed(site=Site.BACKUP, at=ENDED, duty=Duty.MAKE, epoch=1, filed=filed)
    name = f"failoverd-guard.media.{CLAIM['config', Site.BACKUP]}"
    bench.server.put(f"{MAPS}/{name}", {"data": {"observed": guards.observed_text(said)}})
    out = (await bench.run("displaced", "sonarr", "--volume", "config")).out
    line = "config at backup: files can be put back as of 2026-11-26 15:00:10 UTC or later, those that have points of"
    assert f"{line} then{shown}" in out
    assert "databases can be put back" not in out
    told = json.loads((await bench.run("displaced", "sonarr", "--volume", "config", "-o", "json")).out)["sides"]
    assert [one["file_points"] for one in told] == [
        None,
        {
            "files": filed.files,
            "with_points": 3,
            "oldest": at.isoformat(),
            "all_since": all_of_them.isoformat() if all_of_them else None,
        },
    ]
