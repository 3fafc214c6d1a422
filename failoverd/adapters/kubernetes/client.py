"""HTTP to the API server: raw JSON in and out.

Rules of this file: every request has a deadline, nothing is retried behind the caller's back, and the only
exception that leaves is `KubeError`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio.client.rest import RESTResponse

from failoverd.adapters.kubernetes import transport
from failoverd.adapters.kubernetes.errors import LIBRARY, KubeError, no_answer, refusal, status_object, words
from failoverd.clock import SystemClock
from failoverd.ports import Clock

__all__ = ["JSON", "JSON_PATCH", "MERGE_PATCH", "Answer", "Client", "KubeError", "ProxyAnswer", "WatchEvent"]

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"

CONNECT = timedelta(seconds=2)
"""A living API server on the same network accepts within milliseconds."""
TIMEOUT = timedelta(seconds=5)
"""A whole request, connecting and reading included."""
RELOAD_EVERY = timedelta(seconds=10)
"""How often a refused identity (401) makes us read the credentials again."""
CLOSED = "the Kubernetes client is closed"

Query = Mapping[str, str | int | bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A successful answer. `date` is the server's `Date` header, None when it sent none that can be read."""

    status: int
    body: dict[str, Any]
    date: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyAnswer:
    """What a service answered through the API server, whatever its status; `date` may be the service's own."""

    status: int
    body: bytes
    content_type: str
    date: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchEvent:
    """One event: `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK`, or our own `OPENED` once a watch is accepted."""

    type: str
    object: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    method: str
    path: str
    body: object = None
    headers: Mapping[str, str]
    query: Query | None = None
    fresh: bool = False


class Client:
    """One identity at one API server. Made by `Client.load`, ended by `close`."""

    def __init__(self, kubeconfig: Path | None, context: str | None, clock: Clock) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._clock = clock
        self._now: transport.Transports | None = None
        self._retired: list[transport.Transports] = []
        self._loaded_at = timedelta(0)
        self._refused = False
        self._closed = False
        self._closing: set[asyncio.Task[None]] = set()
        self.requests = 0
        """How many requests were sent, opened watches included."""

    @classmethod
    async def load(
        cls, kubeconfig: Path | None = None, context: str | None = None, clock: Clock | None = None
    ) -> Client:
        """A client by the given kubeconfig, or by the pod's own ServiceAccount when there is none.

        Raises KubeError that names the file and what is wrong with it.
        """
        client = cls(kubeconfig, context, clock or SystemClock())
        await client._load()
        return client

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        parts = [*self._retired, *([self._now] if self._now else [])]
        self._retired, self._now = [], None
        for part in parts:
            await part.close()
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def request(  # noqa: PLR0913 - each argument is a part of a request
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = JSON,
        query: Query | None = None,
        timeout: timedelta = TIMEOUT,  # noqa: ASYNC109 - each call has its own
        fresh: bool = False,
    ) -> Answer:
        """One request. `fresh`: over a new connection, so that no half-dead one can answer from the past.

        Raises KubeError for anything but a 2xx answer that holds a JSON object.
        """
        headers = {"Content-Type": content_type}
        sent = _Sent(method=method, path=path, body=body, headers=headers, query=query, fresh=fresh)
        status, got, raw = await self._send(sent, timeout)
        if not 200 <= status < 300:
            error = refusal(method, path, status, raw)
            error.date = _date(got)
            raise error
        try:
            parsed = json.loads(raw) if raw else {}
        except ValueError as why:
            raise KubeError(0, f"{method} {path}: the answer is not JSON: {words(why)}") from None
        if not isinstance(parsed, dict):
            raise KubeError(0, f"{method} {path}: the answer is not a JSON object")
        return Answer(status=status, body=parsed, date=_date(got))

    async def proxy(  # noqa: PLR0913 - each argument is a part of a request
        self,
        namespace: str,
        service: str,
        port: str | int,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        body: object = None,
        timeout: timedelta = TIMEOUT,  # noqa: ASYNC109 - each call has its own
    ) -> ProxyAnswer:
        """Speak HTTPS to a Service through the API server; `path` begins with ``/``, `body` becomes JSON.

        Any answer of the service is returned, whatever its status. Raises KubeError when the API server
        itself refuses or finds no endpoint. The API server does not verify the service's certificate.
        """
        whole = f"/api/v1/namespaces/{namespace}/services/https:{service}:{port}/proxy{path}"
        if isinstance(body, bytes):
            body = json.loads(body)
        sent = _Sent(method=method, path=whole, body=body, headers=headers or {}, query=query)
        status, got, raw = await self._send(sent, timeout)
        if status >= 300 and status_object(raw) is not None:
            raise refusal(method, whole, status, raw)
        return ProxyAnswer(status=status, body=raw, content_type=got.get("Content-Type", ""), date=_date(got))

    async def watch(
        self, path: str, query: Query, idle: timedelta, duration: timedelta = timedelta(minutes=5)
    ) -> AsyncGenerator[WatchEvent, None]:
        """Events of one watch, until the server ends it (after `duration`, or earlier).

        Raises KubeError when nothing (not even a bookmark) was heard for `idle`, when the connection breaks,
        and with status 410 when the asked resourceVersion is too old: list again then.
        """
        asked = dict(query) | {"watch": "true", "allowWatchBookmarks": "true"}
        asked["timeoutSeconds"] = max(1, int(duration.total_seconds()))
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT.total_seconds())
        silence, what = idle.total_seconds(), f"watch {path}"
        try:
            async with self._ways() as ways:
                async with asyncio.timeout(silence):
                    answer = await self._call(ways, _Sent(method="GET", path=path, headers={}, query=asked), limits)
                try:
                    if answer.status != 200:
                        async with asyncio.timeout(TIMEOUT.total_seconds()):
                            raw = await answer.response.read()
                        raise refusal("watch", path, answer.status, raw)
                    yield WatchEvent(type="OPENED", object={})
                    while True:
                        async with asyncio.timeout(silence):
                            line = await answer.response.content.readline()
                        if not line:
                            break
                        yield _event(what, line)
                finally:
                    answer.response.close()
        except LIBRARY as error:
            raise no_answer(what, error, idle) from None

    async def _send(self, sent: _Sent, within: timedelta) -> tuple[int, Mapping[str, str], bytes]:
        total = within.total_seconds()
        limits = aiohttp.ClientTimeout(total=total, sock_connect=min(total, CONNECT.total_seconds()))
        try:
            async with asyncio.timeout(total), self._ways() as ways:
                answer = await self._call(ways, sent, limits)
                try:
                    return answer.status, answer.headers, await answer.response.read()
                finally:
                    answer.response.release()
        except LIBRARY as error:
            raise no_answer(f"{sent.method} {sent.path}", error, within) from None

    async def _call(self, ways: transport.Transports, sent: _Sent, limits: aiohttp.ClientTimeout) -> RESTResponse:
        try:
            method, url, headers, body, _ = await ways.kept.param_serialize(
                sent.method,
                sent.path,
                query_params=list((sent.query or {}).items()),
                header_params={"Accept": "application/json, */*", **sent.headers},
                body=sent.body,
                auth_settings=["BearerToken"],
            )
        except Exception as error:  # the token file is read in here
            raise KubeError(0, f"credentials cannot be read: {words(error)}") from None
        self.requests += 1
        rest = ways.once if sent.fresh else ways.kept.rest_client
        send: Callable[..., Awaitable[RESTResponse]] = rest.request
        answer = await send(method, url, headers, body, _request_timeout=limits)
        self._refused = answer.status == 401
        return answer

    @asynccontextmanager
    async def _ways(self) -> AsyncIterator[transport.Transports]:
        if self._refused and self._clock.now().mono - self._loaded_at >= RELOAD_EVERY:
            async with asyncio.timeout(TIMEOUT.total_seconds()):  # a program may be asked for them
                await self._load()
        ways = self._now
        if ways is None:
            raise KubeError(0, CLOSED, retryable=False)
        ways.users += 1
        try:
            yield ways
        finally:
            ways.users -= 1
            self._close_unused()

    async def _load(self) -> None:
        """Read the credentials; connections made with older ones serve on until what they carry ends."""
        self._loaded_at, self._refused = self._clock.now().mono, False
        ways = await transport.load(self._kubeconfig, self._context)
        if self._closed:
            await ways.close()
            raise KubeError(0, CLOSED, retryable=False)
        if self._now is not None:
            self._retired.append(self._now)
        self._now = ways
        self._close_unused()

    def _close_unused(self) -> None:
        """In tasks of their own: who has had his answer waits for none of it, and cannot break it off."""
        unused = [ways for ways in self._retired if not ways.users]
        self._retired = [ways for ways in self._retired if ways.users]
        for ways in unused:
            task = asyncio.create_task(ways.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


def _event(what: str, line: bytes) -> WatchEvent:
    parsed = json.loads(line)
    if not isinstance(parsed, dict) or not isinstance(parsed.get("object"), dict):
        raise KubeError(0, f"{what}: an event is not what a watch sends")
    kind, thing = str(parsed.get("type", "")), parsed["object"]
    if kind == "ERROR":
        code = thing.get("code")
        raise KubeError(code if isinstance(code, int) else 0, f"{what}: {thing.get('message', 'error')}")
    return WatchEvent(type=kind, object=thing)


def _date(headers: Mapping[str, str]) -> datetime | None:
    try:
        return parsedate_to_datetime(headers["Date"]).astimezone(UTC)
    except (KeyError, ValueError, TypeError):
        return None
