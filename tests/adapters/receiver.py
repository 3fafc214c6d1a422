"""A chat receiver on loopback that answers as it is told to, and keeps what it was sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(slots=True)
class Request:
    """One request as it arrived."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


@dataclass(slots=True)
class Receiver:
    """`answers` are used up first, in order; then everything is accepted with 200 and a message id."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    answers: list[Callable[[], web.Response] | float] = field(default_factory=list)
    """A number is a time in seconds to hang for before accepting."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    accepted: list[Request] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        body = await request.read()
        got = Request(request.method, request.path, request.query_string, dict(request.headers), body)
        self.requests.append(got)
        self.arrived.set()
        answer = self.answers.pop(0) if self.answers else 0.0
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            self.accepted.append(got)
            return web.json_response({"id": f"m{len(self.accepted)}"})
        return answer()

    async def until(self, what: Callable[[Receiver], bool], seconds: float = 8) -> None:
        """Wait until `what` holds."""
        async with asyncio.timeout(seconds):
            while not what(self):
                self.arrived.clear()
                try:
                    async with asyncio.timeout(0.05):
                        await self.arrived.wait()
                except TimeoutError:
                    pass


@asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    """A receiver for the time of a test."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield receiver
    finally:
        await runner.cleanup()


def status(code: int, **headers: str) -> Callable[[], web.Response]:
    """An answer with this status and these headers (`Retry_After` becomes `Retry-After`)."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda: web.Response(status=code, headers=named)
