"""Fetching versions back through Syncthing: a database whole or not at all, and never asked for twice."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from failoverd.adapters.syncthing import Access, Kept, Syncthing, SyncthingError
from failoverd.adapters.syncthing.choose import choose, refused
from failoverd.core.memory import Version
from failoverd.hands import Half, Leads
from tests.adapters.mover import Mover, recorded, serving

NOON = "2026-11-26T12:00:00Z"


def kept(path: str, at: str = NOON, size: int = 5, modified: str = "2026-11-26T11:00:00Z") -> Kept:
    return Kept(path=path, at=at, size=size, modified=modified)


def minute(number: int, second: int = 0) -> str:
    return f"2026-11-26T12:{number:02d}:{second:02d}+00:00"


# ---------------------------------------------------------------- which


def chosen(path: str, at: datetime | None, versions: list[Kept], live: set[str] = frozenset()) -> Any:  # type: ignore[assignment]
    found = choose(path, at, versions, live)
    return found if isinstance(found, str) else [(one.path, one.at) for one in found]


def test_the_newest_version_or_the_one_of_that_second() -> None:
    versions = [kept("a", minute(1)), kept("a", minute(3)), kept("a", minute(2)), kept("b", minute(9))]
    assert chosen("a", None, versions) == [("a", minute(3))]
    assert chosen("a", datetime(2026, 11, 26, 12, 1, tzinfo=UTC), versions) == [("a", minute(1))]
    assert chosen("a", datetime(2026, 11, 26, 12, 4, tzinfo=UTC), versions) == (
        "no version of a was put aside at 2026-11-26 12:04:00 UTC"
    )
    assert chosen("c", None, versions) == "no version of c is kept"


def test_a_database_comes_with_what_was_put_aside_with_it() -> None:
    versions = [kept("a.db", minute(1)), kept("a.db-wal", minute(1, 30)), kept("a.db-wal", minute(9))]
    assert chosen("a.db", None, versions) == [("a.db", minute(1)), ("a.db-wal", minute(1, 30))]


@pytest.mark.parametrize(
    ("versions", "live", "why"),
    [
        ([kept("a.db"), kept("a.db-wal", minute(9))], set(), "none was put aside about then: it would not be whole"),
        ([kept("a.db"), kept("a.db-wal"), kept("a.db-wal", minute(0, 9))], set(), "which belongs to it is not known"),
        ([kept("a.db")], {"a.db-wal"}, "a.db-wal lies there, and would be played into what is fetched"),
        ([kept("a.db")], {"a.db-journal"}, "a.db-journal lies there"),
        (  # two generations of it: which of them the -wal is of is not to be told
            [kept("a.db"), kept("a.db-wal"), kept("a.db", minute(0, 20))],
            set(),
            "2 versions of a.db were put aside about then: which its parts belong to is not known",
        ),
        (
            [kept("a.db"), kept(".failoverd/moves/back-5/0000/a.db-wal", minute(0, 10))],
            set(),
            "its -wal was put aside by the guard, as .failoverd/moves/back-5/0000/a.db-wal: it would not be whole",
        ),
        (
            [kept("x/a.db"), kept(".failoverd/moves/back-5/0000/a.db-journal", minute(9))],
            set(),
            "versions of x/a.db-journal are kept, and none was put aside about then",
        ),
    ],
)
def test_a_database_that_would_not_be_whole_is_not_fetched(versions: list[Kept], live: set[str], why: str) -> None:
    assert why in chosen(versions[0].path, None, versions, live)


def test_a_database_that_was_put_aside_twice_within_a_minute_is_not_paired_with_a_wal_of_either() -> None:
    versions = [kept("a.db", minute(1)), kept("a.db", minute(1, 20)), kept("a.db-wal", minute(1, 20))]
    at = datetime(2026, 11, 26, 12, 1, tzinfo=UTC)
    assert "2 versions of a.db were put aside about then" in chosen("a.db", at, versions)
    assert "2 versions of a.db were put aside about then" in chosen("a.db", None, versions)
    assert chosen("a.db", at, versions[:2]) == [("a.db", minute(1))]  # where no part is kept there is nothing to pair


def test_a_live_wal_is_no_matter_where_its_own_takes_its_place() -> None:
    versions = [kept("a.db"), kept("a.db-wal")]
    assert chosen("a.db", None, versions, {"a.db-wal", "a.db-shm"}) == [("a.db", NOON), ("a.db-wal", NOON)]


@pytest.mark.parametrize("path", ["a.db-wal", "a.db-shm", "a.db-journal", ".failoverd/moves/m/0000/a.db"])
def test_parts_and_the_guards_own_are_none_to_fetch(path: str) -> None:
    assert refused(path)
    assert refused("a.db") == ""


# ---------------------------------------------------------------- how


class Disk:
    """What a real Syncthing does when it is asked to restore: what is there goes first, whatever follows."""

    def __init__(self, mover: Mover) -> None:
        self.mover = mover
        self.port, self.second = 0, 0
        self.live: dict[str, tuple[str, int]] = {}
        """(time, size) of every file's content."""
        self.versions: list[Kept] = []
        self.asked: list[dict[str, str]] = []
        self.deaf = False
        """Requests to restore are carried out, and their answers lost."""

    def access(self) -> Access:
        self.mover.port = self.port
        return self.mover.access()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        if path == "rest/db/file":
            name = request.query["file"]
            if name not in self.live:
                return web.Response(status=404, text="no such object in the index\n")
            modified, size = self.live[name]
            local = {"name": name, "modified": modified, "size": size, "deleted": False}
            return web.json_response({"local": local, "global": local})
        if path == "rest/folder/versions":
            if request.method == "POST":
                wanted = json.loads(await request.text())
                self.asked.append(wanted)
                if self.deaf:
                    assert request.transport
                    request.transport.abort()
                return web.json_response(
                    {name: why for name, at in wanted.items() if (why := self._restore(name, at))}
                )
            listed: dict[str, Any] = {}
            for one in self.versions:
                entry = {"versionTime": one.at, "modTime": one.modified, "size": one.size}
                listed.setdefault(one.path, []).append(entry)
            return web.json_response(listed)
        return await self.mover.handle(request)

    def _restore(self, name: str, at: str) -> str:
        if name in self.live:
            modified, size = self.live.pop(name)
            self.second += 1
            self.versions.append(kept(name, minute(50, self.second), size, modified))
        found = next((one for one in self.versions if (one.path, one.at) == (name, at)), None)
        if found is None:
            return "version not found"
        self.versions.remove(found)
        self.live[name] = (found.modified, found.size)
        return ""


@asynccontextmanager
async def disk(kind: str = "sendonly") -> AsyncIterator[tuple[Disk, Syncthing]]:
    mover = recorded("1.29.5/01_healthy/primary")
    mover.config.update({"type": kind, "versioning": {"type": "simple"}})
    made = Disk(mover)
    async with serving(made) as side:  # type: ignore[arg-type]
        yield made, side


async def leading() -> bool:
    return True


async def fetch(side: Syncthing, *files: Version, unsure: bool = False, leads: Leads = leading) -> str:
    return await side.fetch(files, unsure=unsure, leads=leads)


OLD, NEW = ("2026-11-26T11:00:00Z", 5), ("2026-11-26T13:00:00.123456789Z", 7)
FILE = Version(path="sub/a", at=NOON, modified=OLD[0], size=5)


async def test_a_file_is_fetched_once_and_what_it_replaces_is_a_version() -> None:
    async with disk() as (made, side):
        made.live["sub/a"], made.versions = NEW, [kept("sub/a")]
        assert await side.find("sub/a", None) == (FILE,)
        assert await fetch(side, FILE) == "fetched, read back"
        assert made.live == {"sub/a": OLD}
        assert [(one.path, one.modified) for one in made.versions] == [("sub/a", NEW[0])]
        assert await fetch(side, FILE) == "there already"
        assert len(made.asked) == 1


async def test_what_a_second_request_put_aside_again_is_found_by_what_is_in_it() -> None:
    async with disk() as (made, side):
        made.live["sub/a"], made.versions = NEW, [kept("sub/a")]
        await fetch(side, FILE)
        assert made._restore("sub/a", NOON) == "version not found"  # the one that came late: the file is gone now
        assert made.live == {}
        await fetch(side, FILE)
        assert made.live == {"sub/a": OLD}


async def test_a_version_that_is_gone_is_not_asked_for_so_that_nothing_is_put_aside() -> None:
    async with disk() as (made, side):
        made.live["sub/a"] = NEW
        with pytest.raises(SyncthingError, match="the version of sub/a is gone"):
            await fetch(side, FILE)
        assert (made.live, made.asked) == ({"sub/a": NEW}, [])


async def test_only_a_side_that_sends_is_restored_to() -> None:
    async with disk("receiveonly") as (made, side):
        made.versions = [kept("sub/a")]
        with pytest.raises(SyncthingError, match="refused: the folder is receiveonly, not sendonly"):
            await fetch(side, FILE)
        assert made.asked == []


async def test_what_the_app_has_just_written_is_scanned_before_it_is_looked_for() -> None:
    async with disk() as (made, side):
        made.live["sub/a.db-wal"], made.versions = NEW, [kept("sub/a.db")]
        assert (
            await side.find("sub/a.db", None) == "sub/a.db-wal lies there, and would be played into what is fetched"
        )
        assert made.mover.seen[0][:2] == ("POST /rest/db/scan", {"folder": "syncthing-folder-id", "sub": "sub"})


async def test_a_syncthing_that_says_no_is_told_in_its_words() -> None:
    async with disk() as (made, side):
        made.live["sub/a"], made.versions = NEW, [kept("sub/a")]
        made._restore = lambda name, at: "cannot restore on top of a directory"  # type: ignore[method-assign]
        with pytest.raises(SyncthingError, match="folder/versions: sub/a: cannot restore on top of a directory"):
            await fetch(side, FILE)


# ---------------------------------------------------------------- all of it or nothing

DB, WAL = (Version(path=name, at=NOON, modified=OLD[0], size=5) for name in ("a.db", "a.db-wal"))
BEFORE = {"a.db": NEW, "a.db-wal": NEW}


def refusing(made: Disk, *names: str, times: int = 9) -> None:
    """The next requests for these files are refused; the file that is there may be put aside by then."""
    left, restore = dict.fromkeys(names, times), made._restore

    def some(name: str, at: str) -> str:
        if left.get(name, 0):
            left[name] -= 1
            return "no space left on device"
        return restore(name, at)

    made._restore = some  # type: ignore[method-assign]


async def test_a_database_and_its_wal_are_asked_for_at_once() -> None:
    async with disk() as (made, side):
        made.live, made.versions = dict(BEFORE), [kept("a.db"), kept("a.db-wal")]
        assert await fetch(side, DB, WAL) == "fetched, read back"
        assert made.live == {"a.db": OLD, "a.db-wal": OLD}
        assert made.asked == [{"a.db": NOON, "a.db-wal": NOON}]


async def test_a_database_whose_wal_cannot_be_fetched_is_put_back_beside_the_live_one() -> None:
    async with disk() as (made, side):
        made.live, made.versions = dict(BEFORE), [kept("a.db"), kept("a.db-wal")]
        refusing(made, "a.db-wal")
        with pytest.raises(SyncthingError, match=r"folder/versions: a.db-wal: no space left on device"):
            await fetch(side, DB, WAL)
        assert made.live == BEFORE


async def test_a_database_of_which_a_version_is_gone_is_not_asked_for_at_all() -> None:
    async with disk() as (made, side):
        made.live, made.versions = dict(BEFORE), [kept("a.db")]
        with pytest.raises(SyncthingError, match=r"the version of a.db-wal is gone"):
            await fetch(side, DB, WAL)
        assert (made.live, made.asked) == (BEFORE, [])


async def test_what_can_neither_be_fetched_whole_nor_put_back_is_said_to_be_half_and_tried_on() -> None:
    async with disk() as (made, side):
        made.live, made.versions = {"a.db-wal": NEW}, [kept("a.db"), kept("a.db-wal")]
        refusing(made, "a.db-wal", times=1)
        with pytest.raises(Half, match=r"a\.db was not there before, and is now, without what belongs to it"):
            await fetch(side, DB, WAL)
        assert made.live == {"a.db": OLD, "a.db-wal": NEW}
        assert await fetch(side, DB, WAL, unsure=True) == "fetched, read back"
        assert made.live == {"a.db": OLD, "a.db-wal": OLD}


async def test_nothing_is_put_back_after_an_earlier_request_that_may_have_fetched_a_part() -> None:
    """What lies there then is no state of the app's: its own files are the versions that were made of them."""
    async with disk() as (made, side):
        made.live, made.versions = {"a.db": OLD, "a.db-wal": NEW}, [kept("a.db-wal")]
        refusing(made, "a.db-wal")
        with pytest.raises(Half, match="no space left on device"):
            await fetch(side, DB, WAL, unsure=True)
        assert made.live == {"a.db": OLD, "a.db-wal": NEW}


@pytest.mark.parametrize("live", [BEFORE, {"a.db": NEW}])
async def test_whether_an_earlier_request_fetched_a_part_is_known_by_what_is_left_of_the_versions(live: Any) -> None:
    async with disk() as (made, side):
        made.live, made.versions = dict(live), [kept("a.db"), kept("a.db-wal")]
        refusing(made, "a.db", "a.db-wal")
        error = SyncthingError if live == BEFORE else Half  # one that is missing may have been put aside by it
        with pytest.raises(error, match="no space left on device"):
            await fetch(side, DB, WAL, unsure=True)
        assert made.live == live


async def test_an_answer_that_is_lost_leaves_open_whether_a_part_was_fetched() -> None:
    async with disk() as (made, side):
        made.live, made.versions = dict(BEFORE), [kept("a.db"), kept("a.db-wal")]
        made.deaf = True
        with pytest.raises(Half, match="folder/versions"):
            await fetch(side, DB, WAL)


async def test_one_that_does_not_lead_any_more_after_a_long_scan_asks_for_nothing() -> None:
    async def following() -> bool:
        return False

    async with disk() as (made, side):
        made.live, made.versions = dict(BEFORE), [kept("a.db"), kept("a.db-wal")]
        with pytest.raises(SyncthingError, match="a look at our Lease does not show that we lead"):
            await fetch(side, DB, WAL, leads=following)
        assert (made.live, made.asked) == (BEFORE, [])


@pytest.mark.parametrize("part", ["a.db-wal", "a.db-journal"])
async def test_a_part_that_came_to_lie_there_after_the_search_is_not_played_into_what_is_fetched(part: str) -> None:
    async with disk() as (made, side):
        made.live, made.versions = {"a.db": NEW}, [kept("a.db")]
        assert await side.find("a.db", None) == (DB,)
        made.live[part] = NEW
        with pytest.raises(SyncthingError, match=rf"{part} lies there, and would be played into what is fetched"):
            await fetch(side, DB)
        assert (made.live, made.asked) == ({"a.db": NEW, part: NEW}, [])


async def test_another_content_of_the_same_size_and_second_is_not_taken_for_what_is_wanted() -> None:
    async with disk() as (made, side):
        made.live = {"sub/a": ("2026-11-26T11:00:00.900000000Z", 5)}
        made.versions = [kept("sub/a", modified="2026-11-26T11:00:00.100000000Z")]
        assert await side.find("sub/a", None) == (replace(FILE, modified="2026-11-26T11:00:00.100000000Z"),)
        assert await fetch(side, FILE) == "fetched, read back"
        assert made.live["sub/a"][0] == "2026-11-26T11:00:00.100000000Z"
        assert await fetch(side, FILE) == "there already"


async def test_with_versions_off_it_is_a_look_which_sees_what_a_late_request_put_aside_again() -> None:
    async with disk() as (made, side):
        made.live["sub/a"], made.versions = NEW, [kept("sub/a")]
        await fetch(side, FILE)
        made.mover.config["versioning"] = {"type": ""}
        assert await fetch(side, FILE) == "there already"
        made._restore("sub/a", NOON)
        with pytest.raises(Half, match="sub/a not there as it was fetched, and versions are off"):
            await fetch(side, FILE)
        made.mover.config["versioning"] = {"type": "simple"}
        assert await fetch(side, FILE, unsure=True) == "fetched, read back"
        assert made.live == {"sub/a": OLD}
