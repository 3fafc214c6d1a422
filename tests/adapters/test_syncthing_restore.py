"""Fetching versions back through Syncthing: a database whole or not at all, and never asked for twice."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from failoverd.adapters.syncthing import Access, Kept, Syncthing, SyncthingError
from failoverd.adapters.syncthing.choose import choose, refused
from failoverd.core.memory import Version
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
    ],
)
def test_a_database_that_would_not_be_whole_is_not_fetched(versions: list[Kept], live: set[str], why: str) -> None:
    assert why in chosen("a.db", None, versions, live)


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


OLD, NEW = ("2026-11-26T11:00:00Z", 5), ("2026-11-26T13:00:00.123456789Z", 7)
FILE = Version(path="sub/a", at=NOON, modified=OLD[0], size=5)


async def test_a_file_is_fetched_once_and_what_it_replaces_is_a_version() -> None:
    async with disk() as (made, side):
        made.live["sub/a"], made.versions = NEW, [kept("sub/a")]
        assert await side.find("sub/a", None) == (FILE,)
        assert await side.fetch((FILE,)) == "fetched, read back"
        assert made.live == {"sub/a": OLD}
        assert [(one.path, one.modified) for one in made.versions] == [("sub/a", NEW[0])]
        assert await side.fetch((FILE,)) == "there already"
        assert len(made.asked) == 1


async def test_what_a_second_request_put_aside_again_is_found_by_what_is_in_it() -> None:
    async with disk() as (made, side):
        made.live["sub/a"], made.versions = NEW, [kept("sub/a")]
        await side.fetch((FILE,))
        assert made._restore("sub/a", NOON) == "version not found"  # the one that came late: the file is gone now
        assert made.live == {}
        await side.fetch((FILE,))
        assert made.live == {"sub/a": OLD}


async def test_a_version_that_is_gone_is_not_asked_for_so_that_nothing_is_put_aside() -> None:
    async with disk() as (made, side):
        made.live["sub/a"] = NEW
        with pytest.raises(SyncthingError, match="the version of sub/a is gone"):
            await side.fetch((FILE,))
        assert (made.live, made.asked) == ({"sub/a": NEW}, [])


async def test_only_a_side_that_sends_is_restored_to() -> None:
    async with disk("receiveonly") as (made, side):
        made.versions = [kept("sub/a")]
        with pytest.raises(SyncthingError, match="refused: the folder is receiveonly, not sendonly"):
            await side.fetch((FILE,))
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
            await side.fetch((FILE,))
