"""Syncthing's REST API at one side of one volume: what it says, and the few things that are ever asked of it.

The rule of this package: what can't be read is Unknown and says which side, call and field; every act reads
back what it wrote. Completion percentages are never looked at, they stay at 100 while data is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt

from failoverd.adapters.syncthing import parse
from failoverd.adapters.syncthing.choose import PARTS, choose, refused, same
from failoverd.adapters.syncthing.parse import Fields, Kept, Link, Malformed
from failoverd.adapters.syncthing.transport import (
    Access,
    AccessSource,
    Direct,
    Proxied,
    Reply,
    Transport,
    Unreachable,
)
from failoverd.clock import sleep
from failoverd.core.memory import Version
from failoverd.core.model import Folder, Role, Scanned, Unknown
from failoverd.core.names import FOLDER, GUARD_FOLDER

__all__ = [
    "Access", "AccessSource", "Direct", "Kept", "Proxied", "Reply", "Syncthing",
    "SyncthingError", "Transport", "Unreachable",
]  # fmt: skip

CALL_TIMEOUT = timedelta(seconds=2)
"""For a plain reading: a mover of a healthy node answers in milliseconds."""
READ_TIMEOUT = timedelta(seconds=3)
"""For all calls of one reading together."""
ACT_TIMEOUT = timedelta(seconds=5)
"""For a write. A config PATCH is on disk when it is answered (measured by SIGKILL right after)."""
SCAN_TIMEOUT = timedelta(seconds=300)
"""A scan is answered when it has ended; hashing 300 MB took 5 s on two busy cores."""
LIST_TIMEOUT = timedelta(seconds=30)
"""For a list of versions, which Syncthing reads from the disk file by file."""
RESTART_TIMEOUT = timedelta(seconds=30)
"""For a restart: its monitor has it back in 1.5 s (measured); without one the kubelet does, 10 s late at worst."""
ANOTHER_SECOND = timedelta(seconds=1.1)
"""Versions of one file that were put aside within a second have one name, and one content."""
ASK_AGAIN = timedelta(milliseconds=200)
REREAD_AFTER = timedelta(seconds=10)
"""Ignore patterns and a standing connection are read this rarely: nothing decides on them within seconds."""
NAMED = 50
"""Needed files are named up to this many; more are no busy databases."""
KEEP_ALL = "1000000"
"""Versions to keep of each file; the `simple` versioner has no word for all of them."""

_CONFIG = f"/rest/config/folders/{FOLDER}"
_IN_FOLDER = {"folder": FOLDER}


class SyncthingError(Exception):
    """An act failed or could not be confirmed; the text names the side and says why."""


class _Refused(Exception):
    """Syncthing answered, but not with what was asked for."""


class _Missing(_Refused):
    """There is no such thing, or not yet."""


@dataclass(frozen=True, slots=True)
class _Rare:
    """Readings that are not repeated every time, and for which process and moment they hold."""

    started: str
    read_at: timedelta
    link: Link
    patterns: tuple[str, ...]


class Syncthing:
    """One side of one volume. `name` is how people are told of it: `media/sonarr data at primary`."""

    def __init__(self, name: str, transport: Transport, *, naming: bool = False) -> None:
        """`naming`: whether what it needs is asked for by name, where that is little."""
        self.name = name
        self._naming = naming
        self._transport = transport
        self._rare: _Rare | None = None
        self._written = 0

    async def read(self, now: timedelta) -> Folder | Unknown:
        """What this side says at the monotonic time `now`, within READ_TIMEOUT. Never raises."""
        try:
            async with asyncio.timeout(READ_TIMEOUT.total_seconds()):
                return await self._read(now)
        except TimeoutError:
            why = f"no complete answer within {READ_TIMEOUT.total_seconds():g} s"
        except (Unreachable, Malformed, _Refused) as error:
            why = str(error)
        return Unknown(f"Syncthing of {self.name}: {why}")

    async def set_type(self, role: Role, keep: bool | None = None) -> None:
        """Set the folder's type in one PATCH, and read it back. Raises SyncthingError.

        `keep` True also keeps every version of what is replaced or deleted, False turns versioning off.
        """
        wanted: dict[str, object] = {"type": role.value}
        if keep is True:
            wanted["versioning"] = {"type": "simple", "params": {"keep": KEEP_ALL, "cleanoutDays": "0"}}
        elif keep is False:
            wanted["versioning"] = {"type": ""}
        async with self._act(f"set to {role}"):
            await self._send("PATCH", _CONFIG, body=wanted)
            found = parse.config(await self._get(_CONFIG), device="")
            if found.type != role:
                raise _Refused(f"it was asked to be {role} and is {found.type}")
            if keep is not None and found.versioning != ("simple" if keep else ""):
                raise _Refused(f"its versioning is '{found.versioning}' after it was set")

    async def set_ignores(self, patterns: tuple[str, ...]) -> None:
        """Replace all ignore patterns of this side, and read them back. Raises SyncthingError."""
        async with self._act("set ignore patterns"):
            # Answered only after a scan of its own.
            await self._post("/rest/db/ignores", body={"ignore": list(patterns)}, within=SCAN_TIMEOUT)
            found = parse.ignores(await self._get("/rest/db/ignores", _IN_FOLDER))
            if found != patterns:
                raise _Refused(f"its ignore patterns are {list(found)} after they were set")

    async def scan(self, at: datetime) -> Scanned:
        """Scan everything; `at` is the API server's time now. Raises SyncthingError.

        Also when the process restarted meanwhile: what the sequence then stands for is unknown.
        """
        async with self._act("scan"):
            before = parse.status(await self._get("/rest/system/status"))
            await self._post("/rest/db/scan", within=SCAN_TIMEOUT)
            found = parse.local(await self._get("/rest/db/status", _IN_FOLDER))
            listed = await self._errors() if found.errors else None
            after = parse.status(await self._get("/rest/system/status"))
            if before != after:
                raise _Refused("it was restarted during the scan")
            if found.error or not found.state:
                raise _Refused(f"the folder is in error: {found.error or 'no state'}")
        return Scanned(
            at=at, sequence=found.sequence, errors=found.errors, started=after.started, device=after.device,
            error_files=parse.error_files(listed) if listed else (),
            changing=parse.changing(listed) if listed else (),
        )  # fmt: skip

    async def scan_points(self) -> None:
        """Scan the guard's folder alone, which proves nothing of the rest. Raises SyncthingError."""
        async with self._act("scan its points"):
            await self._post("/rest/db/scan", within=SCAN_TIMEOUT, query={"sub": GUARD_FOLDER})

    async def override(self) -> None:
        """Make this side's version of everything the newest. Raises SyncthingError.

        It deletes at the peer whatever this side lacks, so an empty or broken side is refused.
        """
        async with self._act("override"):
            await self._must_be(Role.SEND_ONLY)
            found = parse.local(await self._get("/rest/db/status", _IN_FOLDER))
            if found.error or found.files == 0:
                raise _Refused(f"refused: {found.error or 'it has no files, and the peer would lose its own'}")
            await self._post("/rest/db/override")

    async def revert(self) -> None:
        """Drop the local changes of this `receiveonly` side. Raises SyncthingError."""
        async with self._act("revert"):
            await self._must_be(Role.RECEIVE_ONLY)
            await self._post("/rest/db/revert")

    async def drop_connection(self, started: str) -> str:
        """Restart the process that began at `started`, so that a connection it holds to a dead peer is gone.

        One call: killed before or after it, nothing is half done; what is configured is on disk already. A process
        that began at another time is left alone. Raises SyncthingError, also where no other process was seen.
        """
        async with self._act("restart"):
            if parse.status(await self._get("/rest/system/status")).started != started:
                return "restarted already"
            await self._send("POST", "/rest/system/restart")
            try:
                async with asyncio.timeout(RESTART_TIMEOUT.total_seconds()):
                    while not await self._restarted(started):
                        await sleep(ASK_AGAIN)
            except TimeoutError:
                within = RESTART_TIMEOUT.total_seconds()
                raise _Refused(f"asked to, and no other process was seen within {within:g} s") from None
        return "restarted, read back"

    async def _restarted(self, started: str) -> bool:
        try:
            return parse.status(await self._get("/rest/system/status")).started != started
        except (Unreachable, Malformed, _Refused):  # it is away, which is what it was asked for
            return False

    async def versions(self) -> tuple[Kept, ...]:
        """What versioning has put aside at this side. Raises SyncthingError, also where versioning is off."""
        async with self._act("list versions"):
            return await self._versions()

    async def listed(self) -> tuple[Kept, ...] | None:
        """The same for whoever only looks; None where versioning is off, and it cannot say. Raises SyncthingError."""
        async with self._act("list versions"):
            if not parse.config(await self._get(_CONFIG), device="").versioning:
                return None
            return await self._versions()

    async def _versions(self) -> tuple[Kept, ...]:
        return parse.versions(await self._get("/rest/folder/versions", _IN_FOLDER, within=LIST_TIMEOUT))

    async def find(self, path: str, at: datetime | None) -> tuple[Version, ...] | str:
        """The versions to fetch back for one file, put aside at `at` or last; a text says why there are none.

        Raises SyncthingError.
        """
        if text := refused(path):
            return text
        async with self._act(f"find {path}"):
            await self._scan_beside((path,))
            live = [path + part for part in PARTS if await self._local(path + part) is not None]
            return choose(path, at, await self._versions(), live)

    async def fetch(self, files: tuple[Version, ...]) -> str:
        """Put versions where their files are; what is there becomes a version. Raises SyncthingError.

        Asked for a version that is gone already Syncthing puts aside what is there and then finds nothing to put in
        its place; twice within one second that overwrites what the first request put aside (both measured, 1.29.5).
        So it is asked only for what it lists, longer than that after the look before, and a file is known by what is
        in it.
        """
        async with self._act("restore"):
            await self._must_be(Role.SEND_ONLY)
            await self._scan_beside(tuple(one.path for one in files))
            missing = [one for one in files if not await self._is_there(one)]
            if missing:
                await sleep(ANOTHER_SECOND)
            for one in missing:
                await self._fetch(one)
            await self._scan_beside(tuple(one.path for one in files))
            for one in files:
                if not await self._is_there(one):
                    raise _Refused(f"{one.path} is not what it was asked to be")
        return "fetched, read back" if missing else "there already"

    async def _fetch(self, wanted: Version) -> None:
        listed = [one for one in await self._versions() if one.path == wanted.path and one.size == wanted.size]
        alike = [one for one in listed if same(one.modified, wanted.modified)]
        if not alike:
            raise _Refused(f"the version of {wanted.path} is gone")
        best = max(alike, key=lambda one: (same(one.at, wanted.at), one.at))
        body = {wanted.path: best.at}
        query = _IN_FOLDER
        reply = await self._send("POST", "/rest/folder/versions", query=query, body=body, within=SCAN_TIMEOUT)
        answer = parse.decoded("folder/versions", reply.body)
        if answer.data.get(wanted.path):
            raise _Refused(f"folder/versions: {wanted.path}: {answer.data[wanted.path]}")

    async def _is_there(self, wanted: Version) -> bool:
        found = await self._local(wanted.path)
        if found is None:
            return False
        return found.count("size") == wanted.size and same(found.text("modified"), wanted.modified)

    async def _local(self, path: str) -> Fields | None:
        """What this side's index says of a file; None for one that is not there."""
        try:
            found = (await self._get("/rest/db/file", _IN_FOLDER | {"file": path})).object("local")
        except _Missing:
            return None
        return None if found.flag("deleted") else found

    async def _scan_beside(self, paths: tuple[str, ...]) -> None:
        """Scan what lies in the folders of these files."""
        for where in sorted({path.rpartition("/")[0] for path in paths}):
            await self._post("/rest/db/scan", within=SCAN_TIMEOUT, query={"sub": where} if where else {})

    async def close(self) -> None:
        """Close connections."""
        await self._transport.close()

    async def _read(self, now: timedelta) -> Folder:
        written = self._written
        raw = await self._get(_CONFIG)
        here = parse.local(await self._get("/rest/db/status", _IN_FOLDER))
        # Asked last: a restart in between shows a new start with old numbers, which at worst costs a scan.
        who = parse.status(await self._get("/rest/system/status"))
        setup = parse.config(raw, who.device)
        rare = self._rare
        stale = rare is None or rare.started != who.started or now - rare.read_at >= REREAD_AFTER
        if rare is None or stale or not rare.link.connected:
            links = await self._get("/rest/system/connections")
            patterns = parse.ignores(await self._get("/rest/db/ignores", _IN_FOLDER))
            rare = _Rare(who.started, now, parse.link(links, setup.peers), patterns)
            if written == self._written:
                self._rare = rare
        files = parse.error_files(await self._errors()) if here.errors else ()
        found = parse.folder(who, setup, here, peer_link=rare.link, patterns=rare.patterns, files=files)
        if self._naming and 0 < here.need_items <= NAMED:
            query = _IN_FOLDER | {"page": "1", "perpage": str(2 * NAMED)}
            found = replace(found, need_files=parse.needed(await self._get("/rest/db/need", query)))
        return found

    async def _errors(self) -> Fields:
        query = _IN_FOLDER | {"page": "1", "perpage": "100"}
        return await self._get("/rest/folder/errors", query)

    async def _must_be(self, role: Role) -> None:
        found = parse.config(await self._get(_CONFIG), device="")
        if found.type != role:
            raise _Refused(f"refused: the folder is {found.type}, not {role}")

    def _act(self, what: str) -> _Act:
        return _Act(self, what)

    def written(self) -> None:
        """Something was, or may have been, changed: nothing read before counts any more."""
        self._written += 1
        self._rare = None

    async def _get(
        self, path: str, query: Mapping[str, str] | None = None, *, within: timedelta = CALL_TIMEOUT
    ) -> Fields:
        retrying = AsyncRetrying(
            stop=stop_after_attempt(2), reraise=True,
            retry=retry_if_exception(lambda error: isinstance(error, Unreachable) and error.again),
        )  # fmt: skip
        reply: Reply = await retrying(self._send, "GET", path, query=query, within=within)
        return parse.decoded(_short(path), reply.body)

    async def _post(
        self, path: str, *, body: object = None, within: timedelta = ACT_TIMEOUT,
        query: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        await self._send("POST", path, query=_IN_FOLDER | dict(query or {}), body=body, within=within)

    async def _send(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: object = None,
        within: timedelta = ACT_TIMEOUT,
    ) -> Reply:  # fmt: skip
        call = _short(path)
        try:
            reply = await self._transport.send(method, path, query=query or {}, body=body, within=within)
        except Unreachable as error:
            raise Unreachable(f"{call}: {error}", again=error.again) from None
        if 200 <= reply.status < 300:
            return reply
        text = reply.body.decode("utf-8", "replace").strip().partition("\n")[0][:200]
        if reply.status in (401, 403):
            # The Secret may have been made anew together with its ReplicationSource.
            self._transport.refused()
            raise _Refused(f"{call}: the API key from its Secret is refused ({reply.status} {text})")
        if reply.status == 404:
            raise _Missing(f"{call}: folder '{FOLDER}' is not to be had (404 {text})")
        raise _Refused(f"{call}: {reply.status} {text}")


@dataclass(slots=True)
class _Act:
    """Around an act: forget what was read, and turn every failure into one that names the side."""

    side: Syncthing
    what: str

    async def __aenter__(self) -> None:
        self.side.written()

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.side.written()
        if isinstance(error, (Unreachable, Malformed, _Refused)):
            raise SyncthingError(f"Syncthing of {self.side.name}: {self.what}: {error}") from None


def _short(path: str) -> str:
    return path.removeprefix("/rest/").replace(f"/{FOLDER}", "")
