"""The read-only HTTP server: /healthz, /readyz, /metrics, /status and the page.

The one rule of this file: no request can change anything, so it needs no authentication and no state.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from failoverd.adapters.web.metrics import registry
from failoverd.adapters.web.page import render
from failoverd.adapters.web.status import Board

log = structlog.get_logger("failoverd.web")
HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Server:
    """Serves one board at `listen` (host:port, [v6]:port). Port 0 lets the system choose; `address` says what."""

    def __init__(self, board: Board, listen: str) -> None:
        self._runner = web.AppRunner(application(board), access_log=None, handle_signals=False)
        self._listen = listen
        self._sockets: list[socket.socket] = []

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, once started."""
        host, port = self._runner.addresses[0][:2]
        return str(host), int(port)

    async def bind(self, before: Server | None = None) -> None:
        """Take the address; who asks waits until `start`. One that `before` listens at is shared with it.

        Raises OSError, in one line for the operator, when the address is taken or not ours.
        """
        if before is not None and before._listen == self._listen and before._sockets:
            self._sockets = [one.dup() for one in before._sockets]
            return
        host, _, port = self._listen.rpartition(":")
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            self._listen_at({(family, address[:2]) for family, _, _, _, address in found})
        except OSError as error:
            self._release()
            # what Python adds to strerror names the address once more
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
            raise OSError(f"web.listen: cannot listen on {self._listen}: {why}") from None

    def _listen_at(self, addresses: set[tuple[int, tuple[Any, ...]]]) -> None:
        absent: OSError | None = None
        for family, address in sorted(addresses):
            try:
                self._sockets.append(socket.create_server(address, family=family))
            except OSError as error:  # `localhost` often has an IPv6 address that the machine does not have
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                absent = error
        if absent is not None and not self._sockets:
            raise absent

    async def start(self) -> None:
        """Answer. Raises OSError as `bind` does, where that was not done before."""
        if not self._sockets:
            await self.bind()
        await self._runner.setup()
        for one in self._sockets:
            await web.SockSite(self._runner, one).start()

    async def close(self) -> None:
        """Stop listening and drop what is open."""
        await self._runner.cleanup()
        self._release()

    def _release(self) -> None:
        for one in self._sockets:
            one.close()
        self._sockets = []


def application(board: Board) -> web.Application:
    """The routes. Everything but GET and HEAD is answered 405."""
    metrics = registry(board)

    async def healthz(_: web.Request) -> web.Response:
        ok, text = board.healthy()
        return web.Response(text=text + "\n", status=200 if ok else 503)

    async def readyz(_: web.Request) -> web.Response:
        ok, missing = board.ready()
        text = "ready" if ok else "\n".join(("not ready: the last snapshot lacks", *missing))
        return web.Response(text=text + "\n", status=200 if ok else 503)

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def status(_: web.Request) -> web.Response:
        text = json.dumps(board.status(), ensure_ascii=False, indent=1) + "\n"
        return web.Response(text=text, content_type="application/json")

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=render(board.status()), content_type="text/html")

    app = web.Application(middlewares=[polite])
    for path, handler in (
        ("/healthz", healthz),
        ("/readyz", readyz),
        ("/metrics", scrape),
        ("/status", status),
        ("/", page),
    ):
        app.router.add_get(path, handler)
    return app


@web.middleware
async def polite(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Add the security headers, and turn what fails into one line here and one line there."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        error.headers.update(HEADERS)
        raise
    except Exception as error:
        log.error("request failed", path=request.path, exc_info=error)
        response = web.Response(text="failed: see the log of this instance\n", status=500)
    response.headers.update(HEADERS)
    return response
