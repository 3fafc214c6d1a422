"""The calls of one side's REST API, and their errors: what went wrong is said with side, call and reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt

from failoverd.adapters.syncthing import parse
from failoverd.adapters.syncthing.parse import Fields, Malformed
from failoverd.adapters.syncthing.transport import Reply, Transport, Unreachable
from failoverd.core.names import FOLDER

CALL_TIMEOUT = timedelta(seconds=2)
"""For a plain reading: a mover of a healthy node answers in milliseconds."""
ACT_TIMEOUT = timedelta(seconds=5)
"""For a write. A config PATCH is on disk when it is answered (measured by SIGKILL right after)."""
SCAN_TIMEOUT = timedelta(seconds=300)
"""A scan is answered when it has ended; hashing 300 MB took 5 s on two busy cores."""
LIST_TIMEOUT = timedelta(seconds=30)
"""For a list of versions, which Syncthing reads from the disk file by file."""

CONFIG = f"/rest/config/folders/{FOLDER}"
IN_FOLDER = {"folder": FOLDER}


class SyncthingError(Exception):
    """An act failed or could not be confirmed; the text names the side and says why."""


class Refused(Exception):
    """Syncthing answered, but not with what was asked for."""


class Missing(Refused):
    """There is no such thing, or not yet."""


class Calls:
    """One side and its calls. `name` is how people are told of it: `media/sonarr data at primary`."""

    def __init__(self, name: str, transport: Transport) -> None:
        self.name = name
        self._transport = transport
        self._written = 0

    async def close(self) -> None:
        """Close connections."""
        await self._transport.close()

    def written(self) -> None:
        """Something was, or may have been, changed: nothing read before counts any more."""
        self._written += 1

    def _act(self, what: str) -> _Act:
        return _Act(self, what)

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
        await self._send("POST", path, query=IN_FOLDER | dict(query or {}), body=body, within=within)

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
            raise Refused(f"{call}: the API key from its Secret is refused ({reply.status} {text})")
        if reply.status == 404:
            raise Missing(f"{call}: folder '{FOLDER}' is not to be had (404 {text})")
        raise Refused(f"{call}: {reply.status} {text}")


@dataclass(slots=True)
class _Act:
    """Around an act: forget what was read, and turn every failure into one that names the side."""

    side: Calls
    what: str

    async def __aenter__(self) -> None:
        self.side.written()

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.side.written()
        if isinstance(error, (Unreachable, Malformed, Refused)):
            raise SyncthingError(f"Syncthing of {self.side.name}: {self.what}: {error}") from None


def _short(path: str) -> str:
    return path.removeprefix("/rest/").replace(f"/{FOLDER}", "")
