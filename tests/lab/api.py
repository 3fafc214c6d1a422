"""HTTP to the API server as one of the lab's hosts would speak it, from a caller outside the lab."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from tests.lab import network
from tests.lab.layout import Host, HostName, Layout
from tests.lab.pki import token_of

JSON = "application/json"


class _Connection(http.client.HTTPSConnection):
    """An HTTPS connection made inside a host."""

    def __init__(self, source: Host, address: str, port: int, timeout: float, context: ssl.SSLContext) -> None:
        super().__init__(address, port, timeout=timeout, context=context)
        self._source = source
        self._tls = context
        self._seconds = timeout

    def connect(self) -> None:
        """Connect from within the host's network namespace."""
        plain = network.connect(self._source, (self.host, self.port), self._seconds)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


@cache
def _trusting(authority: str) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority)


_kept: dict[tuple[int, str, str], _Connection] = {}
"""Connections for reads: of one thread, from one host, to the server of one authority."""


def request(
    layout: Layout,
    method: str,
    path: str,
    body: bytes | None,
    headers: dict[str, str],
    *,
    user: str = "admin",
    timeout: float = 10.0,
    source: Host | None = None,
) -> tuple[int, bytes]:
    """One request as `user` (a kubeconfig's name): status and body. Reads share a connection.

    Raises OSError, http.client.HTTPException.
    """
    authority = (layout.pki / "ca.crt").read_text()
    from_host = source or layout.host(HostName.PVE)
    headers = {"Authorization": f"Bearer {token_of(layout.kubeconfig(user))}", "Accept": JSON, **headers}
    key = (threading.get_ident(), from_host.namespace, authority)
    kept = _kept.pop(key, None) if method == "GET" else None
    if kept is not None and kept.sock is not None:
        kept.sock.settimeout(timeout)
        try:
            return _exchange(kept, key, method, path, body, headers)
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException):
            pass  # the server closed it, or was restarted: reading twice does no harm
    server = urlsplit(layout.api)
    made = _Connection(from_host, str(server.hostname), int(server.port or 443), timeout, _trusting(authority))
    return _exchange(made, key, method, path, body, headers)


def _exchange(
    connection: _Connection,
    key: tuple[int, str, str],
    method: str,
    path: str,
    body: bytes | None,
    headers: dict[str, str],
) -> tuple[int, bytes]:
    """One request over it; after a read it is kept for the next."""
    whole = False
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        found = answer.status, answer.read()
        whole = method == "GET"
        return found
    finally:
        if whole:
            _kept[key] = connection
        else:
            connection.close()


def forget() -> None:
    """Close the connections that are kept: the lab goes. No other thread may be asking."""
    while _kept:
        _kept.popitem()[1].close()


def call(
    layout: Layout,
    method: str,
    path: str,
    body: Any = None,
    content_type: str = JSON,
    *,
    user: str = "admin",
    timeout: float = 10.0,
) -> tuple[int, dict[str, Any]]:
    """One request in JSON. `body` is an object to encode, or text as it is (YAML). Raises as `request` does.

    An answer that is no JSON object (a health check, a proxied page) comes as `{"text": …}`.
    """
    data = None if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
    headers = {} if data is None else {"Content-Type": content_type}
    status, raw = request(layout, method, path, data, headers, user=user, timeout=timeout)
    try:
        answer = json.loads(raw)
    except ValueError:
        answer = None
    return status, answer if isinstance(answer, dict) else {"text": raw.decode(errors="replace")}
