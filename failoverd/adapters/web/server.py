"""The read-only HTTP server: /healthz, /readyz, /metrics, /status and the page.

The one rule of this file: no request can change anything, so it needs no authentication and no state.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping

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

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, once started."""
        host, port = self._runner.addresses[0][:2]
        return str(host), int(port)

    async def start(self) -> None:
        """Listen. Raises OSError, in one line for the operator, when the address is taken or not ours."""
        host, _, port = self._listen.rpartition(":")
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host.strip("[]"), int(port)).start()
        except OSError as error:
            await self._runner.cleanup()
            why = os.strerror(error.errno) if error.errno else str(error)
            raise OSError(f"web.listen: cannot listen on {self._listen}: {why}") from None

    async def close(self) -> None:
        """Stop listening and drop what is open."""
        await self._runner.cleanup()


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
