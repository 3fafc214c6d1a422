"""A mover's API on loopback: recorded answers behind TLS as VolSync sets it up, and ways to misbehave."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from failoverd.adapters.syncthing import Access, Direct, Syncthing, Unreachable

DATA = Path(__file__).parent.parent / "data"
SAMPLES = DATA / "syncthing"
KEY = "aA0\"'\\%$<>&;`|~!#(){}[]^*?=+-_./:@"
"""As VolSync makes them: any printable ASCII."""
FOLDER = "syncthing-folder-id"


@dataclass(slots=True)
class Mover:
    """The server's side. `replies` maps `METHOD /rest/path` to (status, body)."""

    replies: dict[str, tuple[int, Any]] = field(default_factory=dict)
    seen: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    hang: set[str] = field(default_factory=set)
    cut: int = 0
    """How many of the next requests end without an answer."""
    key: str = KEY
    port: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        call = f"{request.method} /{request.match_info['path']}"
        body = await request.text()
        self.seen.append((call, dict(request.query), json.loads(body) if body else None))
        if self.cut:
            self.cut -= 1
            assert request.transport
            request.transport.abort()
        if call in self.hang:
            await asyncio.sleep(30)
        if request.headers.get("X-API-Key") != self.key:
            return web.Response(status=403, text="CSRF Error\n")
        status, answer = self.replies.get(call, (404, "no such folder"))
        if status == 200 and request.method in ("PATCH", "POST"):
            self._apply(call, json.loads(body) if body else {})
        text = answer if isinstance(answer, str) else json.dumps(answer)
        return web.Response(status=status, text=text)

    def _apply(self, call: str, body: dict[str, Any]) -> None:
        if call.startswith("PATCH"):
            self.config.update(body)
        if call == "POST /rest/db/ignores":
            self.replies["GET /rest/db/ignores"][1]["ignore"] = body["ignore"]

    @property
    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = self.replies[f"GET /rest/config/folders/{FOLDER}"][1]
        return found

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.replies["GET /rest/db/status"][1]
        return found

    def calls(self, call: str) -> int:
        return sum(1 for seen, _, _ in self.seen if seen == call)

    def access(self, certificate: str = "mover") -> Access:
        pem = (DATA / "tls" / f"{certificate}.pem").read_text()
        return Access(
            service="volsync-sonarr-primary-api", namespace="media", api_key=KEY, certificate=pem,
            address="127.0.0.1", port=self.port,
        )  # fmt: skip


def recorded(situation: str) -> Mover:
    """One side as it was recorded: `1.29.5/01_healthy/primary`."""
    mover = Mover()
    for path in sorted((SAMPLES / situation).glob("*.json")):
        sample = json.loads(path.read_text())
        call = sample["_request"].partition("?")[0]
        mover.replies[call] = (sample["_status"], sample["body"])
    for call in ("db/scan", "db/override", "db/revert", "db/ignores"):
        mover.replies[f"POST /rest/{call}"] = (200, "")
    mover.replies[f"PATCH /rest/config/folders/{FOLDER}"] = (200, "")
    return mover


@asynccontextmanager
async def serving(mover: Mover, certificate: str = "mover") -> AsyncIterator[Syncthing]:
    """The mover behind TLS on a free port of loopback, and the adapter that speaks to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(DATA / "tls" / f"{certificate}.pem", DATA / "tls" / f"{certificate}.key")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", mover.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    mover.port = runner.addresses[0][1]

    async def source() -> Access:
        return mover.access()

    side = Syncthing("media/sonarr data at primary", Direct(source))
    try:
        yield side
    finally:
        await side.close()
        await runner.cleanup()


async def nowhere() -> Access:
    """A Secret that can't be read."""
    raise Unreachable("Secret media/volsync-sonarr-primary: 403 forbidden")
