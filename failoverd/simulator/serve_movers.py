"""Movers reached straight, as from within the cluster: each at its Service's address, with its own certificate."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from failoverd.simulator import serve_cert
from failoverd.simulator.serve_loopback import Network
from failoverd.simulator.serve_syncthing import Mover, SyncthingApi

PORT = 8384
"""Of every mover's Service, so every Service has an address of its own."""
FIRST = 250
"""Lower numbers of the network belong to nodes."""


@dataclass(slots=True)
class Movers:
    """Every mover's own listener. A closed port is what refuses."""

    api: SyncthingApi
    tick: Callable[[], None]
    folder: Path
    """Where certificates are written; must exist."""
    _movers: dict[str, Mover] = field(default_factory=dict)
    """By address."""
    _contexts: dict[str, ssl.SSLContext] = field(default_factory=dict)
    _sites: dict[str, web.TCPSite] = field(default_factory=dict)
    _runner: web.AppRunner = field(init=False)

    async def open(self, network: Network) -> None:
        """Give every mover its address and its certificate, and listen."""
        for number, mover in enumerate(self.api.movers()):
            namespace, service = mover.service
            address = mover.side.address = network.address(FIRST + number)
            pem = self.folder / f"{namespace}-{service}.pem"
            # VolSync's certificate has this one name.
            mover.side.secret["httpsCertPEM"] = serve_cert.write(pem, f"{service}.{namespace}")
            self._contexts[address] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._contexts[address].load_cert_chain(pem)
            self._movers[address] = mover
        application = web.Application()
        application.router.add_route("*", "/{rest:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await self.follow()

    async def follow(self) -> None:
        """Listen where something should answer or stay silent."""
        for address, mover in self._movers.items():
            if mover.refuses and address in self._sites:
                await self._sites.pop(address).stop()
            elif not mover.refuses and address not in self._sites:
                with contextlib.suppress(OSError):  # where loopback has one address only, there is the proxy alone
                    self._sites[address] = await self._listen(address)

    async def close(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _listen(self, address: str) -> web.TCPSite:
        site = web.TCPSite(self._runner, address, PORT, ssl_context=self._contexts[address])
        await site.start()
        return site

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.tick()
        transport = request.transport
        assert transport is not None
        mover = self._movers[transport.get_extra_info("sockname")[0]]
        if await self.api.reached(mover):
            return await self.api.answer(mover, request.path, request)
        transport.abort()
        return web.Response()
