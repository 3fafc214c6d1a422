"""The LAN's name server, as a home router has one: a plain script that runs on pve.

It knows the hosts below `lab.test` and denies every other name at once. There is no cluster DNS: a pod's
cluster name server is an address that nobody serves, as on the day it died with its node.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
from ipaddress import IPv4Address

DOMAIN = "lab.test"
PORT = 53
_HEADER = struct.Struct("!6H")
_A, _IN = 1, 1
_NO_SUCH_NAME = 3


def answer(query: bytes, known: dict[str, str]) -> bytes | None:
    """The reply to one query for one name (RFC 1035); None for what is no query."""
    if len(query) < _HEADER.size:
        return None
    number, flags, questions, *_ = _HEADER.unpack_from(query)
    labels, at = [], _HEADER.size
    while at < len(query) and query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii", "replace").lower())
        at += 1 + query[at]
    question = query[_HEADER.size : at + 5]
    if flags & 0x8000 or questions != 1 or len(question) < 5:
        return None
    address = known.get(".".join(labels))
    kind = struct.unpack_from("!H", question, len(question) - 4)[0]
    record = b""
    if address is not None and kind == _A:
        # 0xC00C: the name as it stands in the question.
        record = struct.pack("!HHHIH", 0xC00C, _A, _IN, 5, 4) + IPv4Address(address).packed
    code = 0 if address is not None else _NO_SUCH_NAME
    # An answer, authoritative, recursion as it was desired and available.
    reply = 0x8480 | (flags & 0x0100) | code
    return _HEADER.pack(number, reply, 1, 1 if record else 0, 0, 0) + question + record


def main() -> None:
    """`names.py ADDRESS '{"name": "address", …}'`."""
    known: dict[str, str] = json.loads(sys.argv[2])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((sys.argv[1], PORT))
        while True:
            query, client = server.recvfrom(512)
            reply = answer(query, known)
            if reply is not None:
                server.sendto(reply, client)


if __name__ == "__main__":
    main()
