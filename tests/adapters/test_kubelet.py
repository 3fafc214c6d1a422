"""The kubelet probe against real sockets."""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from failoverd.adapters.kubelet import Kubelets, probe
from failoverd.core.model import Kubelet, Unknown

TLS = Path(__file__).parent.parent / "data" / "tls"


@asynccontextmanager
async def listening(answer: bytes | None, tls: bool = True, asked: bool = True):
    """A server that sends `answer` to whoever connects and asks; None never answers."""
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(TLS / "pve.pem", TLS / "pve.key")

    async def serve(reader, writer):
        try:
            if tls:
                await reader.read(10)
            if answer is None:
                await reader.read()
            elif answer:
                writer.write(answer)
                await writer.drain()
                await reader.read()
        except OSError:
            pass  # the probe leaves without a word
        finally:
            writer.transport.abort()
            gone.set()

    gone = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
        if asked:
            await asyncio.wait_for(gone.wait(), 5)
            await asyncio.sleep(0)
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("status", ["401 Unauthorized", "200 OK", "404 Not Found", "500 Internal Server Error"])
async def test_any_http_answer_is_life(status):
    async with listening(f"HTTP/1.1 {status}\r\n\r\n".encode()) as port:
        assert await probe("127.0.0.1", port) is Kubelet.ALIVE


async def test_a_refusal_is_a_living_host_without_a_kubelet():
    async with listening(b"", asked=False) as port:
        pass
    assert await probe("127.0.0.1", port) is Kubelet.REFUSED


async def test_silence_is_no_evidence_and_takes_no_longer_than_allowed():
    async with listening(None) as port:
        began = time.monotonic()
        assert await probe("127.0.0.1", port, timedelta(seconds=0.3)) is Kubelet.SILENT
        assert time.monotonic() - began < 1


async def test_a_listener_that_never_shakes_hands_is_silent():
    async with listening(None, tls=False) as port:
        assert await probe("127.0.0.1", port, timedelta(seconds=0.3)) is Kubelet.SILENT


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH", b""])
async def test_something_else_on_the_port_is_unknown(answer):
    async with listening(answer) as port:
        found = await probe("127.0.0.1", port)
    assert isinstance(found, Unknown)
    assert f"kubelet 127.0.0.1:{port}: " in found.why


async def test_plain_text_instead_of_tls_is_unknown():
    async with listening(b"SSH-2.0-OpenSSH_9.2\r\n", tls=False) as port:
        found = await probe("127.0.0.1", port)
    assert isinstance(found, Unknown)
    assert f"kubelet 127.0.0.1:{port}" in found.why


async def test_a_name_that_does_not_resolve_is_unknown():
    assert isinstance(await probe("node.invalid", 1, timedelta(seconds=2)), Unknown | Kubelet)


async def test_a_node_is_asked_at_its_last_known_address():
    addresses = {"k3s-w1": "127.0.0.1"}
    async with listening(b"HTTP/1.1 401 Unauthorized\r\n\r\n") as port:
        kubelets = Kubelets(addresses.get, port)
        found = await kubelets("k3s-w2")
        assert isinstance(found, Unknown)
        assert found.why == "kubelet of k3s-w2: no address known"
        assert await kubelets("k3s-w1") is Kubelet.ALIVE
        addresses.clear()
        assert await kubelets("k3s-w1") is Kubelet.ALIVE
