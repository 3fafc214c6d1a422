"""HTTP to one Docker Engine: unix socket or mTLS, API version, deadlines, and its answers as plain data."""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from failoverd.adapters.fencing.trust import TrustError, context, identify

CALL_TIMEOUT = timedelta(seconds=5)
"""An inspect takes milliseconds; a daemon that needs longer is stuck."""
_VERSION = re.compile(r"\d+\.\d+", re.ASCII)


class EngineError(Exception):
    """The daemon did not do what was asked; `status` is 0 when it did not answer at all."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerHost:
    """How to reach one Docker Engine."""

    url: str
    """`unix:///var/run/docker.sock`, or `https://host:2376`."""
    ca_file: Path | None = None
    fingerprint: str = ""
    """SHA-256 of the server's certificate, hexadecimal, instead of an authority."""
    cert_file: Path | None = None
    """Our own certificate; without one an `https` daemon should not let anybody in."""
    key_file: Path | None = None

    @property
    def socket(self) -> str:
        """Path of the unix socket; empty where it is none."""
        return self.url.removeprefix("unix://") if self.url.startswith("unix://") else ""

    @property
    def host(self) -> str:
        """Socket, or host and port, for people."""
        return self.socket or urlsplit(self.url).netloc or self.url


class Engine:
    """One daemon's API. Every failure is an EngineError."""

    def __init__(self, host: DockerHost) -> None:
        self.host = host
        self._http: httpx.AsyncClient | None = None
        self._version = ""

    async def inspect(self, container: str) -> dict[str, Any]:
        """Everything known of one container, by name or id. Raises EngineError, with status 404 for none."""
        answer = await self._call("GET", container, "json", 200)
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise EngineError(200, "the answer to an inspect is not what Docker sends")
        return found

    async def post(self, container: str, verb: str, wait: timedelta = timedelta(0), **query: str) -> None:
        """Stop, kill or start it; done at once when it already is. `wait`: how long that alone may take.

        Raises EngineError.
        """
        # 304 means that there was nothing to do.
        await self._call("POST", container, verb, 204, 304, query=query, wait=wait)

    async def close(self) -> None:
        """Close connections; the next request reads certificates and the API version anew."""
        if self._http is not None:
            await self._http.aclose()
        self._http, self._version = None, ""

    async def _call(
        self,
        method: str,
        container: str,
        verb: str,
        *good: int,
        query: dict[str, str] | None = None,
        wait: timedelta = timedelta(0),
    ) -> httpx.Response:
        within = CALL_TIMEOUT + wait
        prefix = await self._prefix()
        path = f"{prefix}/containers/{quote(container, safe='')}/{verb}"
        answer = await self._send(method, path, query or {}, within)
        if answer.status_code not in good:
            if answer.status_code == 400:
                # Perhaps the daemon is another version by now.
                self._version = ""
            raise EngineError(answer.status_code, f"{answer.status_code} {_message(answer)}".strip())
        return answer

    async def _prefix(self) -> str:
        """The daemon's own API version: no other is certain to be accepted, and none at all is deprecated."""
        if not self._version:
            answer = await self._send("GET", "/_ping", {}, CALL_TIMEOUT)
            version = answer.headers.get("api-version", "")
            if answer.status_code != 200 or not _VERSION.fullmatch(version):
                raise EngineError(answer.status_code, f"{answer.status_code} to a ping: this is no Docker Engine")
            self._version = version
        return f"/v{self._version}"

    async def _send(self, method: str, path: str, query: dict[str, str], within: timedelta) -> httpx.Response:
        try:
            async with asyncio.timeout(within.total_seconds()):
                return await self._client().request(method, path, params=query)
        except TimeoutError:
            await self.close()
            raise EngineError(0, f"no answer within {within.total_seconds():g} s") from None
        except (httpx.HTTPError, ssl.SSLError, RuntimeError) as error:
            # RuntimeError: a request beside this one has closed the client. Certificates may be renewed by now.
            await self.close()
            raise EngineError(0, f"no connection: {str(error) or type(error).__name__}") from None

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            host = self.host
            if host.socket:
                # Nothing to verify there; without this the system's CAs would be read.
                transport = httpx.AsyncHTTPTransport(uds=host.socket, verify=False)
            else:
                transport = httpx.AsyncHTTPTransport(verify=self._trust(), trust_env=False)
            self._http = httpx.AsyncClient(
                # A unix socket has no name; the daemon only wants some Host.
                base_url="http://docker" if host.socket else host.url.rstrip("/"),
                transport=transport,
                trust_env=False,
                timeout=None,  # noqa: S113 - `_send` bounds the whole request, not each read of it
            )
        return self._http

    def _trust(self) -> ssl.SSLContext:
        try:
            found = context(self.host.ca_file, self.host.fingerprint)
            if self.host.cert_file is not None and self.host.key_file is not None:
                identify(found, self.host.cert_file, self.host.key_file)
        except TrustError as error:
            raise EngineError(0, str(error)) from None
        return found


def _message(answer: httpx.Response) -> str:
    """Docker explains itself in a JSON body."""
    try:
        said = answer.json().get("message")
    except (ValueError, AttributeError):
        said = None
    text = said if isinstance(said, str) else answer.text
    return " ".join(text.split())[:200]
