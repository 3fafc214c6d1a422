"""Syncthing's REST API at one side of one volume: what it says, and the few things that are ever asked of it.

The rule of this package: what can't be read is Unknown and says which side, call and field; every act reads
back what it wrote. Completion percentages are never looked at, they stay at 100 while data is missing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from failoverd.adapters.syncthing import parse
from failoverd.adapters.syncthing.calls import CONFIG, IN_FOLDER, SCAN_TIMEOUT, Refused, SyncthingError
from failoverd.adapters.syncthing.fetching import Fetching
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
from failoverd.core.model import Folder, Role, Scanned, Unknown
from failoverd.core.names import GUARD_FOLDER

__all__ = [
    "Access", "AccessSource", "Direct", "Kept", "Proxied", "Reply", "Syncthing",
    "SyncthingError", "Transport", "Unreachable",
]  # fmt: skip

READ_TIMEOUT = timedelta(seconds=3)
"""For all calls of one reading together."""
RESTART_TIMEOUT = timedelta(seconds=30)
"""For a restart: its monitor has it back in 1.5 s (measured); without one the kubelet does, 10 s late at worst."""
ASK_AGAIN = timedelta(milliseconds=200)
REREAD_AFTER = timedelta(seconds=10)
"""Ignore patterns and a standing connection are read this rarely: nothing decides on them within seconds."""
NAMED = 50
"""Needed files are named up to this many; more are no busy databases."""
KEEP_ALL = "1000000"
"""Versions to keep of each file; the `simple` versioner has no word for all of them."""


@dataclass(frozen=True, slots=True)
class _Rare:
    """Readings that are not repeated every time, and for which process and moment they hold."""

    started: str
    read_at: timedelta
    link: Link
    patterns: tuple[str, ...]


class Syncthing(Fetching):
    """One side of one volume. `name` is how people are told of it: `media/sonarr data at primary`."""

    def __init__(self, name: str, transport: Transport, *, naming: bool = False) -> None:
        """`naming`: whether what it needs is asked for by name, where that is little."""
        super().__init__(name, transport)
        self._naming = naming
        self._rare: _Rare | None = None

    async def read(self, now: timedelta) -> Folder | Unknown:
        """What this side says at the monotonic time `now`, within READ_TIMEOUT. Never raises."""
        try:
            async with asyncio.timeout(READ_TIMEOUT.total_seconds()):
                return await self._read(now)
        except TimeoutError:
            why = f"no complete answer within {READ_TIMEOUT.total_seconds():g} s"
        except (Unreachable, Malformed, Refused) as error:
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
            await self._send("PATCH", CONFIG, body=wanted)
            found = parse.config(await self._get(CONFIG), device="")
            if found.type != role:
                raise Refused(f"it was asked to be {role} and is {found.type}")
            if keep is not None and found.versioning != ("simple" if keep else ""):
                raise Refused(f"its versioning is '{found.versioning}' after it was set")

    async def set_ignores(self, patterns: tuple[str, ...]) -> None:
        """Replace all ignore patterns of this side, and read them back. Raises SyncthingError."""
        async with self._act("set ignore patterns"):
            # Answered only after a scan of its own.
            await self._post("/rest/db/ignores", body={"ignore": list(patterns)}, within=SCAN_TIMEOUT)
            found = parse.ignores(await self._get("/rest/db/ignores", IN_FOLDER))
            if found != patterns:
                raise Refused(f"its ignore patterns are {list(found)} after they were set")

    async def scan(self, at: datetime) -> Scanned:
        """Scan everything; `at` is the API server's time now. Raises SyncthingError.

        Also when the process restarted meanwhile: what the sequence then stands for is unknown.
        """
        async with self._act("scan"):
            before = parse.status(await self._get("/rest/system/status"))
            await self._post("/rest/db/scan", within=SCAN_TIMEOUT)
            found = parse.local(await self._get("/rest/db/status", IN_FOLDER))
            listed = await self._errors() if found.errors else None
            after = parse.status(await self._get("/rest/system/status"))
            if before != after:
                raise Refused("it was restarted during the scan")
            if found.error or not found.state:
                raise Refused(f"the folder is in error: {found.error or 'no state'}")
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
            found = parse.local(await self._get("/rest/db/status", IN_FOLDER))
            if found.error or found.files == 0:
                raise Refused(f"refused: {found.error or 'it has no files, and the peer would lose its own'}")
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
                raise Refused(f"asked to, and no other process was seen within {within:g} s") from None
        return "restarted, read back"

    async def _restarted(self, started: str) -> bool:
        try:
            return parse.status(await self._get("/rest/system/status")).started != started
        except (Unreachable, Malformed, Refused):  # it is away, which is what it was asked for
            return False

    def written(self) -> None:
        """Something was, or may have been, changed: nothing read before counts any more."""
        super().written()
        self._rare = None

    async def _read(self, now: timedelta) -> Folder:
        written = self._written
        raw = await self._get(CONFIG)
        here = parse.local(await self._get("/rest/db/status", IN_FOLDER))
        # Asked last: a restart in between shows a new start with old numbers, which at worst costs a scan.
        who = parse.status(await self._get("/rest/system/status"))
        setup = parse.config(raw, who.device)
        rare = self._rare
        stale = rare is None or rare.started != who.started or now - rare.read_at >= REREAD_AFTER
        if rare is None or stale or not rare.link.connected:
            links = await self._get("/rest/system/connections")
            patterns = parse.ignores(await self._get("/rest/db/ignores", IN_FOLDER))
            rare = _Rare(who.started, now, parse.link(links, setup.peers), patterns)
            if written == self._written:
                self._rare = rare
        files = parse.error_files(await self._errors()) if here.errors else ()
        found = parse.folder(who, setup, here, peer_link=rare.link, patterns=rare.patterns, files=files)
        if self._naming and 0 < here.need_items <= NAMED:
            query = IN_FOLDER | {"page": "1", "perpage": str(2 * NAMED)}
            found = replace(found, need_files=parse.needed(await self._get("/rest/db/need", query)))
        return found

    async def _errors(self) -> Fields:
        query = IN_FOLDER | {"page": "1", "perpage": "100"}
        return await self._get("/rest/folder/errors", query)
