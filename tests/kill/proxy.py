"""A proxy between one instance of the daemon and everything it speaks to: it numbers and names every request, and can
kill the instance, or spoil an answer, at any of them.

It ends TLS on both sides and hands bearer tokens through, so the server behind it may be the embedded cluster, or a
real API server: `Behind(url, trust)`. Requests that were forwarded are carried out even if who sent them has died,
as bytes on a wire are.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web
from yarl import URL

from failoverd.simulator import serve_cert
from tests.kill.naming import MEMORY, Call, memory_text, name_of, state_of

HOST = "127.0.0.1"
HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "te", "trailers", "transfer-encoding", "upgrade", "host")
)
"""RFC 9110, 7.6.1, and `Host`, which names the next server."""
KEPT = 4000
"""Calls that are remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """One server that the proxy stands before."""

    url: str
    trust: ssl.SSLContext | None = None
    """What its certificate is checked against; None for plain HTTP."""
    services: Behind | None = None
    """Who answers for the services behind it, once it has said itself that it may be asked: nothing listens there
    as far as the server knows."""
    token: str = ""
    """Shown to this one instead of the instance's own."""


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
"""Instead of the server: what the instance gets."""


@dataclass(slots=True, kw_only=True)
class Hooks:
    """What happens at a request. Each may end the instance; `instead` may answer in the server's place."""

    before: Callable[[Call], None] = lambda _: None
    """Before it is forwarded."""
    after: Callable[[Call], None] = lambda _: None
    """The server has carried it out and answered; the instance does not know yet."""
    instead: Callable[[Call], Answer | None] = lambda _: None
    """None: forward it."""
    spoil: Callable[[Call], Answer | None] = lambda _: None
    """It is carried out, and then this is answered."""


@dataclass(slots=True)
class Ledger:
    """Everything one life of the daemon has asked for, by whatever way."""

    hooks: Hooks = field(default_factory=Hooks)
    calls: list[Call] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """How often each name was asked."""
    dead: bool = False
    state: str = "nothing remembered"
    memory: str = ""
    numbers: int = 0
    tokens: dict[str, str] = field(default_factory=dict)
    """What the server is shown instead of a bearer token: it need not know of a rotation."""

    def over(self) -> bool:
        """Whether this life has ended; a hook may just have ended it."""
        return self.dead

    def note(self, front: str, request: web.Request, body: bytes) -> Call:
        """Number it and name it."""
        self.numbers += 1
        name = name_of(front, request.method, request.path, request.query, body, self.memory)
        call = Call(
            number=self.numbers, front=front, method=request.method, path=request.path, query=request.query,
            body=body, state=self.state, name=name,
            token=request.headers.get("Authorization", "").removeprefix("Bearer "),
        )  # fmt: skip
        self.counts[name] += 1
        if len(self.calls) < KEPT:
            self.calls.append(call)
        return call

    def answered(self, call: Call, status: int, body: bytes) -> None:
        """Take note of what Memory says now."""
        if MEMORY in call.name and status in (200, 201):
            self.memory = memory_text(body)
            self.state = state_of(self.memory)


@dataclass(slots=True)
class Proxy:
    """`async with Proxy({"kube": Behind(…)}, folder, ledger) as proxy`: one port a server.

    The ledger is of the life whose requests come this way; instances of one configuration must reach a hypervisor
    at one address, so that proxy is handed from one life to the next.
    """

    behind: Mapping[str, Behind]
    folder: Path
    """For the certificate and the kubeconfig; must exist."""
    ledger: Ledger
    urls: dict[str, str] = field(default_factory=dict)
    _runners: list[web.AppRunner] = field(default_factory=list)
    _session: aiohttp.ClientSession | None = None
    _certificate: str = ""
    _watches: dict[int, asyncio.Transport] = field(default_factory=dict)
    _open: dict[int, asyncio.Transport] = field(default_factory=dict)
    """Connections of the instance, idle ones included."""

    async def __aenter__(self) -> Proxy:
        pem = self.folder / "proxy.pem"
        self._certificate = serve_cert.write(pem, HOST)
        identity = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        identity.load_cert_chain(pem)
        self._session = aiohttp.ClientSession(
            auto_decompress=False, connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        self._session._retry_connection = False
        for front, server in self.behind.items():
            self.urls[front] = await self._listen(front, identity if server.trust else None)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        for runner in self._runners:
            await runner.cleanup()
        if self._session is not None:
            await self._session.close()

    def cut(self) -> None:
        """Whoever is connected hears nothing more."""
        for transport in self._open.values():
            transport.abort()
        self._open.clear()

    def cut_watches(self) -> None:
        """Every watch breaks off."""
        for transport in self._watches.values():
            transport.abort()
        self._watches.clear()

    def kubeconfig(self, token: str) -> Path:
        """A kubeconfig that leads through this proxy, for the identity of `token`. JSON is YAML."""
        trusted = base64.b64encode(self._certificate.encode()).decode()
        cluster = {"server": self.urls["kube"], "certificate-authority-data": trusted}
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        }  # fmt: skip
        path = self.folder / "kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(config))
        return path

    async def _listen(self, front: str, identity: ssl.SSLContext | None) -> str:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            assert isinstance(request, web.Request)
            return await self._handle(front, request)

        application = web.Application(client_max_size=8 * 1024 * 1024)
        application.router.add_route("*", "/{path:.*}", handle)
        # A request that was forwarded goes on when who sent it has died.
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=False)
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(runner, HOST, 0, ssl_context=identity)
        await site.start()
        return f"{'https' if identity else 'http'}://{HOST}:{runner.addresses[0][1]}"

    async def _handle(self, front: str, request: web.Request) -> web.StreamResponse:
        ledger = self.ledger
        if ledger.over():
            return gone(request)
        if request.transport is not None:
            self._open[id(request.transport)] = request.transport
        try:
            body = await request.read()
            call = ledger.note(front, request, body)
            ledger.hooks.before(call)
            if ledger.over():
                return gone(request)
            instead = ledger.hooks.instead(call)
            if instead is not None:
                return await instead(request)
            return await self._forward(ledger, call, request)
        except (aiohttp.ClientError, ConnectionError):
            return gone(request)

    async def _forward(self, ledger: Ledger, call: Call, request: web.Request) -> web.StreamResponse:
        server = self.behind[call.front]
        if server.services is not None and "/services/https:" in call.path:
            return await self._service(server, ledger, call, request)
        return await self._send(server, ledger, call, request)

    async def _service(self, server: Behind, ledger: Ledger, call: Call, request: web.Request) -> web.StreamResponse:
        """A service that lies elsewhere: asked there if the server lets the instance through to it."""
        assert server.services is not None
        assert self._session is not None
        headers = {"Authorization": request.headers.get("Authorization", "")}
        url = URL(server.url + request.raw_path, encoded=True)
        async with self._session.get(url, headers=headers, ssl=server.trust or False) as answer:
            if answer.status in (401, 403):
                return web.Response(status=answer.status, body=await answer.read(), content_type="application/json")
        return await self._send(server.services, ledger, call, request)

    async def _send(self, server: Behind, ledger: Ledger, call: Call, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        headers = {key: value for key, value in request.headers.items() if key.lower() not in HOP_BY_HOP}
        if call.token in ledger.tokens:
            headers["Authorization"] = f"Bearer {ledger.tokens[call.token]}"
        if server.token:
            headers["Authorization"] = f"Bearer {server.token}"
        url = URL(server.url + request.raw_path, encoded=True)
        async with self._session.request(
            call.method, url, data=call.body or None, headers=headers, allow_redirects=False,
            ssl=server.trust if server.trust else False,
        ) as answer:  # fmt: skip
            if call.query.get("watch"):
                return await self._stream(ledger, call, request, answer)
            body = await answer.read()
            ledger.answered(call, answer.status, body)
            ledger.hooks.after(call)
            if ledger.over():
                return gone(request)
            spoil = ledger.hooks.spoil(call)
            if spoil is not None:
                return await spoil(request)
            kept = {key: value for key, value in answer.headers.items() if key.lower() not in HOP_BY_HOP}
            kept.pop("Content-Length", None)
            return web.Response(status=answer.status, reason=answer.reason, headers=kept, body=body)

    async def _stream(
        self, ledger: Ledger, call: Call, request: web.Request, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        ledger.hooks.after(call)
        if ledger.over():
            return gone(request)
        kept = {key: value for key, value in answer.headers.items() if key.lower() not in HOP_BY_HOP}
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=kept)
        await response.prepare(request)
        if request.transport is not None:
            self._watches[id(request.transport)] = request.transport
        async for chunk in answer.content.iter_any():
            if ledger.over():
                return gone(request)
            await response.write(chunk)
        return response


def gone(request: web.BaseRequest) -> web.Response:
    """No answer at all: the connection ends."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def until_gone(request: web.BaseRequest) -> web.Response:
    """An answer that never comes, for as long as somebody waits for it."""
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(0.5)
    return web.Response()
