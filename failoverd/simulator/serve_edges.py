"""The edges of the served world: kubelets that can be probed, and a receiver of chat messages."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from aiohttp import web

from failoverd.clock import sleep
from failoverd.simulator.world import World
from failoverd.simulator.world_node import Node

KUBELET_PORT = 10250


@dataclass(slots=True)
class Chat:
    """Receives messages: signed webhooks, and Discord's create and edit."""

    now: Callable[[], float]
    messages: list[tuple[float, str, str]] = field(default_factory=list)
    """(seconds since the start, event, text) of everything that arrived."""
    failing: int = 0
    """So many of the next messages are refused with 500."""

    def app(self) -> web.Application:
        """The HTTP application."""
        application = web.Application()
        application.router.add_post("/hook", self._hook)
        application.router.add_post("/api/webhooks/{id}/{token}", self._discord)
        application.router.add_patch("/api/webhooks/{id}/{token}/messages/{message}", self._discord)
        return application

    async def _hook(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = await request.json()
        return self._took(str(body.get("event", "")), str(body.get("text", "")))

    async def _discord(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = await request.json()
        embed = (body.get("embeds") or [{}])[0]
        event = "update" if request.method == "PATCH" else "open"
        return self._took(event, f"{embed.get('title', '')}: {embed.get('description', '')}")

    def _took(self, event: str, text: str) -> web.Response:
        if self.failing > 0:
            self.failing -= 1
            return web.Response(status=500)
        self.messages.append((self.now(), event, text))
        return web.json_response({"id": str(len(self.messages))})


@dataclass(slots=True)
class Kubelets:
    """What a kubelet's port answers: 401 while it lives, a refusal while only its host does, silence otherwise.

    Every node has an address of its own within 127.0.0.0/8, so the real port can be used without being root.
    """

    world: World
    certificate: Path
    """PEM file with certificate and key."""
    _servers: dict[str, asyncio.Server] = field(default_factory=dict)
    _context: ssl.SSLContext = field(init=False)

    def __post_init__(self) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate)

    async def follow(self) -> None:
        """Listen where something should answer or stay silent; a closed port is what refuses."""
        for node in self.world.nodes.values():
            refuses = node.alive and node.linked and not node.kubelet
            if refuses and node.name in self._servers:
                self._servers.pop(node.name).close()
            elif not refuses and node.name not in self._servers:
                with contextlib.suppress(OSError):  # where loopback has one address only, probes find nobody
                    self._servers[node.name] = await self._listen(node)

    async def _listen(self, node: Node) -> asyncio.Server:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # Cancelled only when everything ends; asyncio would print that as an error.
            with contextlib.suppress(OSError, ssl.SSLError, asyncio.CancelledError):
                while not (node.alive and node.linked) and not writer.transport.is_closing():
                    await sleep(timedelta(milliseconds=200))
                if node.kubelet:
                    await writer.start_tls(self._context)
                    await reader.read(1)
                    writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 12\r\n\r\nUnauthorized")
                    await writer.drain()
            writer.transport.abort()

        return await asyncio.start_server(answer, node.address, KUBELET_PORT)

    async def close(self) -> None:
        """Stop listening."""
        for server in self._servers.values():
            server.close()
