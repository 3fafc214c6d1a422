"""Loopback addresses for one served world, so that the real ports can be used without being root."""

from __future__ import annotations

import contextlib
import errno
import secrets
import socket

LOCK_PORT = 28384
"""On a network's first address: who is bound to it has the network. Nothing listens here."""
NETWORKS = 200


class Network:
    """One of 127.20.0.0/16 to 127.219.0.0/16, for this world alone as long as it is open."""

    def __init__(self) -> None:
        """Raises OSError when all are taken."""
        first = secrets.randbelow(NETWORKS)
        for number in range(NETWORKS):
            self._prefix = f"127.{20 + (first + number) % NETWORKS}"
            self._lock = socket.socket()
            try:
                self._lock.bind((f"{self._prefix}.0.1", LOCK_PORT))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    self._lock.close()
                    continue
                # Loopback has one address here: nobody can listen on ours, so nobody can collide on them.
            return
        raise OSError(errno.EADDRINUSE, f"every network from 127.20.0.0/16 on is taken: port {LOCK_PORT} is in use")

    def address(self, number: int) -> str:
        """One address, the same for the same number."""
        return f"{self._prefix}.{1 + number // 250}.{1 + number % 250}"

    def close(self) -> None:
        """Give it back."""
        with contextlib.suppress(OSError):
            self._lock.close()
