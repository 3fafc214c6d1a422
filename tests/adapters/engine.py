"""A small Docker Engine on a unix socket or behind mTLS: one container, its API's answers, and faults on demand."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

TLS = Path(__file__).parent.parent / "data" / "tls"
NEVER = "0001-01-01T00:00:00Z"
ID = "5f0e7d2c9a41" + "0" * 52
RUNNING: dict[str, Any] = {
    "Status": "running", "Running": True, "Paused": False, "Restarting": False, "Dead": False, "Pid": 4242,
    "ExitCode": 0, "StartedAt": "2026-01-02T03:04:05.678901234Z", "FinishedAt": NEVER,
}  # fmt: skip
EXITED: dict[str, Any] = {**RUNNING, "Status": "exited", "Running": False, "Pid": 0, "ExitCode": 137}
CREATED: dict[str, Any] = {**EXITED, "Status": "created", "ExitCode": 0, "StartedAt": NEVER}
PAUSED: dict[str, Any] = {**RUNNING, "Status": "paused", "Paused": True}
RESTARTING: dict[str, Any] = {**RUNNING, "Status": "restarting", "Restarting": True, "Pid": 0, "ExitCode": 1}
REMOVING: dict[str, Any] = {**EXITED, "Status": "removing"}
DEAD: dict[str, Any] = {**EXITED, "Status": "dead", "Dead": True}
Fault = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


class FakeEngine:
    def __init__(self) -> None:
        self.version = "1.47"
        self.ident = ID
        self.name = "k3s-w2"
        self.state: dict[str, Any] = dict(RUNNING)
        self.host: dict[str, Any] = {
            "RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0}, "PidMode": "", "AutoRemove": False,
        }  # fmt: skip
        self.labels: dict[str, str] = {}
        self.stops = True
        """Whether SIGTERM, then SIGKILL by the daemon, end it: a stop that works."""
        self.kills = True
        self.starts = True
        self.asked: list[str] = []
        self.fault: Fault | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path_qs}")
        if self.fault is not None:
            answer = await self.fault(request)
            if answer is not None:
                return answer
        if request.path == "/_ping":
            return web.Response(text="OK", headers={"Api-Version": self.version, "Ostype": "linux"})
        _, version, kind, name, verb = request.path.split("/")
        if version != f"v{self.version}" or kind != "containers":
            return said(
                400, f"client version {version[1:]} is too new. Maximum supported API version is {self.version}"
            )
        if name not in (self.name, self.ident):
            return said(404, f"No such container: {name}")
        return getattr(self, f"_{verb}")()  # type: ignore[no-any-return]

    def _json(self) -> web.Response:
        return web.json_response(
            {
                "Id": self.ident,
                "Name": f"/{self.name}",
                "State": self.state,
                "HostConfig": self.host,
                "Config": {"Labels": self.labels},
            }
        )

    def _stop(self) -> web.Response:
        if not self.state["Running"]:
            return web.Response(status=304)
        if not self.stops:
            return said(500, "cannot stop container: tried to kill container, but did not receive an exit event")
        self.state = dict(EXITED)
        return web.Response(status=204)

    def _kill(self) -> web.Response:
        if not self.state["Running"]:
            return said(409, f"cannot kill container: {self.name}: container {self.ident} is not running")
        if not self.kills:
            return said(500, "cannot kill container: operation not permitted")
        self.state = dict(EXITED)
        return web.Response(status=204)

    def _start(self) -> web.Response:
        if self.state["Running"]:
            return web.Response(status=304)
        if not self.starts:
            return said(500, "driver failed programming external connectivity: port is already allocated")
        self.state = dict(RUNNING)
        return web.Response(status=204)


def said(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)


def on(part: str, answer: Callable[[], Awaitable[web.StreamResponse | None]]) -> Fault:
    """A fault for requests whose path contains `part`."""

    async def fault(request: web.Request) -> web.StreamResponse | None:
        return await answer() if part in request.path else None

    return fault


async def hang() -> web.StreamResponse | None:
    await asyncio.sleep(30)
    return None


def mutual() -> ssl.SSLContext:
    """The server's side of mTLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "pve.pem", TLS / "pve.key")
    context.load_verify_locations(TLS / "docker-client-ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@asynccontextmanager
async def serving(engine: FakeEngine, socket: Path | None = None) -> AsyncIterator[str]:
    """Serve it on `socket`, or behind mTLS on loopback; the address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", engine.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        if socket is not None:
            await web.UnixSite(runner, str(socket)).start()
            yield f"unix://{socket}"
        else:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=mutual()).start()
            yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
