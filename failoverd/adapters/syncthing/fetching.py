"""Versions of one side: which there are, and how they are put where their files are.

The one rule of this file: of files that belong together all are fetched or none. Where that cannot be had, nor told,
it is said by an error of its own, for nothing may start on a part of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from failoverd.adapters.syncthing import parse
from failoverd.adapters.syncthing.calls import CONFIG, IN_FOLDER, LIST_TIMEOUT, SCAN_TIMEOUT, Calls, Missing, Refused
from failoverd.adapters.syncthing.choose import PARTS, PLAYED, choose, like, listed, newest, refused
from failoverd.adapters.syncthing.parse import Config, Fields, Kept, Malformed
from failoverd.adapters.syncthing.transport import Unreachable
from failoverd.clock import sleep
from failoverd.core.memory import Version
from failoverd.core.model import Role
from failoverd.hands import Half, Leads

ANOTHER_SECOND = timedelta(seconds=1.1)
"""Versions of one file that were put aside within a second have one name, and one content."""

Contents = Mapping[str, Version | None]
"""What lies there of each file; None where it does not."""


class Fetching(Calls):
    """What is asked of one side's versions."""

    async def versions(self) -> tuple[Kept, ...]:
        """What versioning has put aside at this side. Raises SyncthingError, also where versioning is off."""
        async with self._act("list versions"):
            return await self._versions()

    async def listed(self) -> tuple[Kept, ...] | None:
        """The same for whoever only looks; None where versioning is off, and it cannot say. Raises SyncthingError."""
        async with self._act("list versions"):
            if not parse.config(await self._get(CONFIG), device="").versioning:
                return None
            return await self._versions()

    async def find(self, path: str, at: datetime | None) -> tuple[Version, ...] | str:
        """The versions to fetch back for one file, put aside at `at` or last; a text says why there are none.

        Raises SyncthingError.
        """
        if text := refused(path):
            return text
        async with self._act(f"find {path}"):
            live = await self._contents([path + part for part in PARTS])
            found = [name for name, content in live.items() if content is not None]
            return choose(path, at, await self._versions(), found)

    async def fetch(self, files: tuple[Version, ...], *, unsure: bool, leads: Leads) -> str:
        """Put versions where their files are, all or none; what is there becomes a version.

        Asked for a version that is gone already Syncthing puts aside what is there and then finds nothing to put in
        its place; twice within one second that overwrites what the first request put aside (both measured, 1.29.5).
        So it is asked only for what it lists, in one request, longer than that after the look before. A file is there
        once its version is listed no more, for fetching uses it up, and its content is like it: by second and size
        alone a database that is written in place is soon like any of its versions.

        `unsure`: an earlier request may have fetched a part. `leads` is asked right before each request: a scan
        takes up to 300 s. Raises SyncthingError where what lay there lies there, Half where a part may be fetched.
        """
        async with self._act("restore"):
            try:
                setup = await self._must_be(Role.SEND_ONLY)
                before = await self._contents([one.path for one in files])
                if not setup.versioning:  # nothing is to be fetched any more: a last look at what was
                    unsure = any(not like(before[one.path], one) for one in files)
                    return _still_there(files, before)
                kept = await self._versions()
                missing = _missing(files, before, kept)
                if not missing:
                    return "there already"
                unsure = unsure and not (all(listed(one, kept) for one in files) and None not in before.values())
                whole = not unsure
                await self._alone(files)
                wanted = {one.path: newest(one, kept) for one in missing}
                await self._ready(leads)
                unsure = True
                why = await self._ask(wanted)
                now, kept = await self._contents(before), await self._versions()
                if not (left := _missing(files, now, kept)):
                    return "fetched, read back"
                if whole:
                    await self._put_back(missing, before, leads)
                    unsure = False
                raise Refused(why or f"{left[0].path} is not what it was asked to be")
            except (Unreachable, Malformed, Refused) as error:
                if not unsure:
                    raise
                raise Half(f"Syncthing of {self.name}: restore: {error}") from None

    async def _put_back(self, asked: Iterable[Version], before: Contents, leads: Leads) -> None:
        """Have in its place again what lay there before a request that was carried out in part."""
        now, kept = await self._contents(before), await self._versions()
        changed = {}
        for one in asked:
            was = before[one.path]
            if listed(one, kept) and (was is None or like(now[one.path], was)):
                continue
            if was is None:
                raise Refused(f"{one.path} was not there before, and is now, without what belongs to it")
            changed[one.path] = newest(was, kept)
        if not changed:
            return
        await self._ready(leads)
        why = await self._ask(changed)
        now = await self._contents(before)
        for path in changed:
            was = before[path]
            if was is None or not like(now[path], was):
                raise Refused(f"{path} could not be put back{why and f': {why}'}")

    async def _ready(self, leads: Leads) -> None:
        """Wait until what is put aside has a name of its own, and see that it is still ours to ask."""
        await sleep(ANOTHER_SECOND)
        if not await leads():
            raise Refused("not done: a look at our Lease does not show that we lead")

    async def _ask(self, wanted: Mapping[str, str]) -> str:
        """Ask for the versions of these times; what Syncthing says against it, empty for nothing."""
        path = "/rest/folder/versions"
        try:
            reply = await self._send("POST", path, query=IN_FOLDER, body=dict(wanted), within=SCAN_TIMEOUT)
            errors = parse.decoded("folder/versions", reply.body).data
        except (Malformed, Refused) as error:
            return str(error)
        return "; ".join(f"folder/versions: {name}: {why}" for name, why in errors.items() if why)

    async def _alone(self, files: tuple[Version, ...]) -> None:
        """Nothing lies there that would be played into what is fetched: it may have come since that was found."""
        wanted = {one.path for one in files}
        beside = [path + part for path in sorted(wanted) for part in PLAYED if path + part not in wanted]
        for path in beside:
            if await self._local(path) is not None:
                raise Refused(f"{path} lies there, and would be played into what is fetched")

    async def _contents(self, paths: Iterable[str]) -> Contents:
        """Scan what lies beside these files, and say what they hold."""
        wanted = sorted(set(paths))
        for where in sorted({path.rpartition("/")[0] for path in wanted}):
            await self._post("/rest/db/scan", within=SCAN_TIMEOUT, query={"sub": where} if where else {})
        return {path: await self._local(path) for path in wanted}

    async def _local(self, path: str) -> Version | None:
        """What this side's index says of a file; None for one that is not there."""
        try:
            found: Fields = (await self._get("/rest/db/file", IN_FOLDER | {"file": path})).object("local")
        except Missing:
            return None
        if found.flag("deleted"):
            return None
        return Version(path=path, at="", modified=found.text("modified"), size=found.count("size"))

    async def _versions(self) -> tuple[Kept, ...]:
        return parse.versions(await self._get("/rest/folder/versions", IN_FOLDER, within=LIST_TIMEOUT))

    async def _must_be(self, role: Role) -> Config:
        found = parse.config(await self._get(CONFIG), device="")
        if found.type != role:
            raise Refused(f"refused: the folder is {found.type}, not {role}")
        return found


def _missing(files: tuple[Version, ...], now: Contents, kept: tuple[Kept, ...]) -> list[Version]:
    return [one for one in files if listed(one, kept) or not like(now[one.path], one)]


def _still_there(files: tuple[Version, ...], now: Contents) -> str:
    gone = [one.path for one in files if not like(now[one.path], one)]
    if gone:
        raise Refused(f"{', '.join(gone)} not there as it was fetched, and versions are off")
    return "there already"
