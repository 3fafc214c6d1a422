"""How requests reach one mover's Syncthing: straight to its Service, or through the API server's proxy.

Straight is the rule within the cluster: it costs the API server nothing, and the certificate VolSync made is
pinned. The proxy is for an instance that has no route to Services; there nobody checks the certificate.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

import httpx

from failoverd.adapters.kubernetes.client import Client, KubeError

PORT = 8384
"""VolSync's API Service listens here, under the port name `api`."""
_PATH = re.compile(r"^[A-Z]+ /\S+: ")
"""What an error of the Kubernetes client begins with; people are told the side and the call anyway."""
REREAD_EVERY = 15
"""Failures in a row between two readings of Secret and Service: a dead node must not cost API reads."""


class Unreachable(Exception):
    """No answer was had from Syncthing; the text says why. `again`: asking once more may help at once."""

    def __init__(self, why: str, *, again: bool = False) -> None:
        super().__init__(why)
        self.again = again


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An HTTP answer, whatever its status."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What it takes to speak to one mover."""

    service: str
    namespace: str
    api_key: str = field(repr=False)
    """32 printable characters, quotes and backslashes among them: it only ever goes raw into a header."""
    certificate: str = ""
    """PEM of the mover's certificate (`httpsCertPEM`)."""
    address: str = ""
    """Cluster IP of the Service: names are not resolved, the cluster's DNS often dies with a node."""
    port: int = PORT

    @property
    def server_name(self) -> str:
        """The one name in VolSync's certificate; `….svc` and longer forms fail verification."""
        return f"{self.service}.{self.namespace}"


AccessSource = Callable[[], Awaitable[Access]]
"""Reads the Secret (and Service) of a mover. Raises Unreachable."""


class Transport(Protocol):
    """Carries one request. Raises Unreachable."""

    async def send(
        self, method: str, path: str, *, query: Mapping[str, str], body: object, within: timedelta
    ) -> Reply:
        """Send it and wait for at most `within`; `body` None sends none, anything else is sent as JSON."""
        ...

    def refused(self) -> None:
        """The key was refused: read it again before the next request."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...


def pinned(certificate: str) -> ssl.SSLContext:
    """A context that trusts exactly this certificate, name included. Raises Unreachable for one that is none.

    VolSync signs with a key it throws away, so the leaf itself is the anchor (Python's default since 3.13).
    """
    try:
        context = ssl.create_default_context(cadata=certificate)
    except (ssl.SSLError, ValueError) as error:
        raise Unreachable(f"its Secret's httpsCertPEM is no certificate: {error}") from None
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


class Known:
    """What was read of a mover's Secret and Service, kept until there is reason to doubt it."""

    def __init__(self, source: AccessSource) -> None:
        self._source = source
        self._access: Access | None = None
        self._doubts = 0
        self._doubted = False

    async def get(self) -> Access:
        """What is known. Raises Unreachable when nothing is and nothing can be read."""
        if self._access is None:
            self._access = await self._source()
        elif self._doubted:
            self._doubted = False
            # Old keys often still work; during an API stall they are all there is.
            with contextlib.suppress(Unreachable):
                self._access = await self._source()
        return self._access

    def doubt(self) -> None:
        """It did not work. Read again before the next request, or rarely while it goes on not working."""
        self._doubted = self._doubts % REREAD_EVERY == 0
        self._doubts += 1

    def trust(self) -> None:
        """It worked."""
        self._doubts, self._doubted = 0, False


class Direct:
    """Straight to the Service, certificate pinned."""

    def __init__(self, source: AccessSource) -> None:
        self._known = Known(source)
        self._access: Access | None = None
        self._http: httpx.AsyncClient | None = None

    async def send(
        self, method: str, path: str, *, query: Mapping[str, str], body: object, within: timedelta
    ) -> Reply:
        """Send it over a kept connection. Raises Unreachable."""
        seconds = within.total_seconds()
        access = await self._known.get()
        headers = [(b"X-API-Key", _raw(access.api_key))]
        if body is not None:
            headers.append((b"Content-Type", b"application/json"))
        try:
            # httpx's timeouts are per read: an answer that drips would outlive them.
            async with asyncio.timeout(seconds):
                http = await self._client(access)
                answer = await http.request(
                    method, f"https://{_host(access.address)}:{access.port}{path}",
                    params=dict(query), headers=headers,
                    content=None if body is None else json.dumps(body).encode(),
                    extensions={"sni_hostname": access.server_name},
                )  # fmt: skip
        except TimeoutError:
            self._known.doubt()
            raise Unreachable(f"no answer within {seconds:g} s") from None
        except httpx.ConnectError as error:
            self._known.doubt()
            raise Unreachable(_connect_text(error, access)) from None
        except httpx.HTTPError as error:
            # A mover that restarted leaves a dead connection in the pool: one more try opens another.
            raise Unreachable(f"connection lost: {_text(error)}", again=True) from None
        if answer.status_code < 400:
            self._known.trust()
        return Reply(status=answer.status_code, body=answer.content)

    def refused(self) -> None:
        """Read Secret and Service again before the next request."""
        self._known.doubt()

    async def close(self) -> None:
        """Close connections."""
        if self._http is not None:
            await self._http.aclose()
        self._access = self._http = None

    async def _client(self, access: Access) -> httpx.AsyncClient:
        if self._http is None or access != self._access:
            await self.close()
            self._http = httpx.AsyncClient(
                verify=pinned(access.certificate), trust_env=False, timeout=None,  # noqa: S113  see `send`
                limits=httpx.Limits(max_connections=6, max_keepalive_connections=2),
            )  # fmt: skip
            self._access = access
        return self._http


class Proxied:
    """Through the API server's Service proxy: works wherever the API server can be reached."""

    def __init__(self, source: AccessSource, client: Client) -> None:
        self._known = Known(source)
        self._client = client

    async def send(
        self, method: str, path: str, *, query: Mapping[str, str], body: object, within: timedelta
    ) -> Reply:
        """Send it. Raises Unreachable."""
        access = await self._known.get()
        _raw(access.api_key)
        try:
            answer = await self._client.proxy(
                access.namespace, access.service, access.port, method, path,
                query=query, headers={"X-API-Key": access.api_key}, body=body, timeout=within,
            )  # fmt: skip
        except KubeError as error:
            raise Unreachable(f"through the API server: {_PATH.sub('', error.reason)}") from None
        if answer.status < 400:
            self._known.trust()
        return Reply(status=answer.status, body=answer.body)

    def refused(self) -> None:
        """Read the Secret again before the next request."""
        self._known.doubt()

    async def close(self) -> None:
        """Nothing of its own is open."""


def _raw(key: str) -> bytes:
    try:
        return key.encode("ascii")
    except UnicodeEncodeError:
        raise Unreachable("its Secret's apikey has characters that no header can carry") from None


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__


def _connect_text(error: httpx.ConnectError, access: Access) -> str:
    text = _text(error)
    if "certificate verify failed" in text or "CERTIFICATE_VERIFY_FAILED" in text:
        return f"its certificate is not the one in its Secret ({access.server_name}): {text}"
    return f"cannot connect to {access.address}:{access.port}: {text}"
