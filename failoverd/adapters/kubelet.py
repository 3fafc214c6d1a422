"""Does a node's kubelet answer? An unauthenticated request; 401 is as good an answer as any.

It tells an isolated node, whose pods surely run, from a silent one. It never proves a death.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Callable
from datetime import timedelta

from failoverd.core.model import Kubelet, Unknown

PORT = 10250
WITHIN = timedelta(seconds=2)
SILENT = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.ETIMEDOUT})
"""Nothing came back, or a router said that there is nobody: no evidence about the containers either way."""


def _context() -> ssl.SSLContext:
    # Any answer proves a living kubelet; nothing secret is sent and nothing that comes back is used.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def probe(address: str, port: int = PORT, within: timedelta = WITHIN) -> Kubelet | Unknown:
    """Ask the kubelet at `address` for `/`. Never raises; takes at most `within`."""
    where = f"kubelet {address}:{port}"
    try:
        async with asyncio.timeout(within.total_seconds()):
            answer = await _first_bytes(address, port)
    except TimeoutError:
        return Kubelet.SILENT
    except ConnectionRefusedError:
        return Kubelet.REFUSED
    except (OSError, ssl.SSLError) as error:
        if error.errno in SILENT:
            return Kubelet.SILENT
        return Unknown(f"{where}: {error}")
    if answer.startswith(b"HTTP/"):
        return Kubelet.ALIVE
    return Unknown(f"{where}: answered, but not in HTTP: {answer!r}")


class Kubelets:
    """Probes by node name. Call it; it never raises."""

    def __init__(self, address: Callable[[str], str | None], port: int = PORT) -> None:
        """`address` gives a node's InternalIP, None while it is not known."""
        self._address = address
        self._port = port
        self._known: dict[str, str] = {}

    async def __call__(self, node: str) -> Kubelet | Unknown:
        """Ask the kubelet of `node`, at its last known address."""
        address = self._address(node) or self._known.get(node)
        if not address:
            return Unknown(f"kubelet of {node}: no address known")
        self._known[node] = address
        return await probe(address, self._port)


async def _first_bytes(address: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(address, port, ssl=_context())
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: kubelet\r\nConnection: close\r\n\r\n")
        await writer.drain()
        return await reader.read(12)
    finally:
        # Not waited for: a peer that died in the middle would hold us up to the TLS shutdown's own timeout.
        writer.transport.abort()
