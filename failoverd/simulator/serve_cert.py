"""A throwaway self-signed certificate (ECDSA P-256), made without any library: it only has to complete a
handshake.

Curve and signature after SEC 1, the encoding after RFC 5280 and RFC 5915. Never used for anything secret.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import secrets
from functools import cache
from pathlib import Path

P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
Point = tuple[int, int] | None

CURVE = bytes.fromhex("06082a8648ce3d030107")
PUBLIC_KEY = bytes.fromhex("06072a8648ce3d0201")
ECDSA_SHA256 = bytes.fromhex("06082a8648ce3d040302")
COMMON_NAME = bytes.fromhex("0603550403")
ALTERNATIVE_NAME = bytes.fromhex("0603551d11")


def write(path: Path, name: str) -> str:
    """Certificate and key for a host's name or address as one PEM file readable by us alone; returns the
    certificate."""
    certificate, private = _made(name)
    path.touch(mode=0o600)
    path.write_text(certificate + private, encoding="ascii")
    return certificate


@cache  # 19 ms each, and the same few names come again in every world of a process
def _made(name: str) -> tuple[str, str]:
    """A new key and a certificate for it, valid from 2020 to 2049."""
    key = secrets.randbelow(N - 1) + 1
    public = _bits(b"\x04" + b"".join(part.to_bytes(32, "big") for part in _times(key, G) or (0, 0)))
    algorithm = _tlv(0x30, ECDSA_SHA256)
    who = _tlv(0x30, _tlv(0x31, _tlv(0x30, COMMON_NAME + _tlv(0x0C, name.encode()))))
    validity = _tlv(0x30, _tlv(0x17, b"200101000000Z") + _tlv(0x17, b"491231235959Z"))
    holder = _tlv(0x30, _tlv(0x30, PUBLIC_KEY + CURVE) + public)
    version = _tlv(0xA0, _int(2))
    alternative = _tlv(0x30, ALTERNATIVE_NAME + _tlv(0x04, _tlv(0x30, _general_name(name))))
    extensions = _tlv(0xA3, _tlv(0x30, alternative))
    serial = _int(secrets.randbits(63))
    body = _tlv(0x30, version + serial + algorithm + who + validity + who + holder + extensions)
    certificate = _tlv(0x30, body + algorithm + _bits(_signature(key, body)))
    private = _tlv(0x30, _int(1) + _tlv(0x04, key.to_bytes(32, "big")) + _tlv(0xA0, CURVE) + _tlv(0xA1, public))
    return _pem("CERTIFICATE", certificate), _pem("EC PRIVATE KEY", private)


def _general_name(host: str) -> bytes:
    try:
        return _tlv(0x87, ipaddress.ip_address(host).packed)
    except ValueError:
        return _tlv(0x82, host.encode())


def _add(one: Point, other: Point) -> Point:
    if one is None or other is None:
        return one or other
    if one[0] == other[0] and (one[1] + other[1]) % P == 0:
        return None
    if one == other:
        slope = (3 * one[0] * one[0] - 3) * pow(2 * one[1], -1, P) % P
    else:
        slope = (other[1] - one[1]) * pow(other[0] - one[0], -1, P) % P
    x = (slope * slope - one[0] - other[0]) % P
    return x, (slope * (one[0] - x) - one[1]) % P


def _times(factor: int, point: Point) -> Point:
    result: Point = None
    while factor:
        if factor & 1:
            result = _add(result, point)
        point, factor = _add(point, point), factor >> 1
    return result


def _signature(key: int, message: bytes) -> bytes:
    digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
    while True:
        nonce = secrets.randbelow(N - 1) + 1
        r = (_times(nonce, G) or (0, 0))[0] % N
        s = pow(nonce, -1, N) * (digest + r * key) % N
        if r and s:
            return _tlv(0x30, _int(r) + _int(s))


def _tlv(tag: int, value: bytes) -> bytes:
    size = len(value)
    if size < 128:
        return bytes([tag, size]) + value
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + value


def _int(value: int) -> bytes:
    return _tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _bits(value: bytes) -> bytes:
    return _tlv(0x03, b"\x00" + value)


def _pem(title: str, data: bytes) -> str:
    text = base64.b64encode(data).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {title}-----", *lines, f"-----END {title}-----", ""])
