"""The Docker fence over the network: mutual TLS on loopback, and every certificate that is not the right one."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import replace
from typing import Any

import pytest

from failoverd.adapters.fencing.docker import Docker, DockerHost
from failoverd.clock import SystemClock
from failoverd.core.model import GuestState
from tests.adapters.engine import TLS, FakeEngine, serving
from tests.adapters.fences import guest, why


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


def known(url: str, **changes: Any) -> Docker:
    host = DockerHost(
        url=url, ca_file=TLS / "pve-ca.pem",
        cert_file=TLS / "docker-client.pem", key_file=TLS / "docker-client.key",
    )  # fmt: skip
    return Docker(replace(host, **changes), "k3s-w2", SystemClock())


async def test_with_our_certificate_the_daemon_lets_us_in(engine):
    async with serving(engine) as url:
        fence = known(url)
        assert await fence.check() == ()
        assert await fence.off() == f"{fence.name} is stopped"
        assert await fence.on() == f"{fence.name} is running"
        await fence.close()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cert_file": None, "key_file": None}, "no connection: "),
        ({"cert_file": TLS / "stranger.pem", "key_file": TLS / "stranger.key"}, "no connection: "),
        ({"ca_file": TLS / "mover.pem"}, "certificate verify failed"),
        ({"ca_file": None, "fingerprint": "00" * 32}, "its certificate has fingerprint "),
        ({"cert_file": TLS / "nobody.pem"}, f"there is no file {TLS}/nobody.pem"),
        ({"key_file": TLS / "pve.key"}, "docker-client.pem with key "),
        ({"key_file": TLS / "docker-locked.key"}, "docker-locked.key: "),
    ],
    ids=["none", "stranger's", "wrong CA", "wrong pin", "no file", "other key", "key with a password"],
)
async def test_without_the_right_certificates_the_state_is_unknown(engine, changes, says):
    async with serving(engine) as url:
        fence = known(url, **changes)
        assert says in await why(fence)
        assert engine.asked == []
        await fence.close()


async def test_a_pinned_certificate_is_enough(engine):
    pin = hashlib.sha256(ssl.PEM_cert_to_DER_cert((TLS / "pve.pem").read_text())).hexdigest()
    async with serving(engine) as url:
        fence = known(url, ca_file=None, fingerprint=pin)
        assert (await guest(fence)).state is GuestState.RUNNING
        await fence.close()


async def test_a_renewed_certificate_is_found(engine, tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes((TLS / "stranger.pem").read_bytes())
    key.write_bytes((TLS / "stranger.key").read_bytes())
    async with serving(engine) as url:
        fence = known(url, cert_file=cert, key_file=key)
        assert "no connection" in await why(fence)
        cert.write_bytes((TLS / "docker-client.pem").read_bytes())
        key.write_bytes((TLS / "docker-client.key").read_bytes())
        assert (await guest(fence)).state is GuestState.RUNNING
        await fence.close()
