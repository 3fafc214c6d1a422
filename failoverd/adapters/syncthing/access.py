"""Where each mover is and what opens it: VolSync's Secret and Service of every copy.

What this asks of the API server is listed by `needs`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from dataclasses import replace
from datetime import timedelta
from typing import Any

from failoverd.adapters.kubernetes.client import Client, KubeError
from failoverd.adapters.kubernetes.rbac import Named, Need, Where
from failoverd.adapters.syncthing import Syncthing
from failoverd.adapters.syncthing.transport import PORT, Access, Direct, Proxied, Transport, Unreachable
from failoverd.core.rules import Rules, Site

Key = tuple[str, str, Site]
"""App key, volume name, site."""
READ_TIMEOUT = timedelta(seconds=2)
AT_ONCE = 8
"""Objects read at one time: a connection under TLS holds a third of a megabyte, and at the start every mover of every
app is looked up. Measured with 50 apps: 131 MiB at most without this."""
LONGEST_NAME = 63
"""Of a Service; beyond it VolSync hashes the name in a way that was never seen here, so it is refused."""


def secret_name(source: str) -> str:
    """The Secret VolSync makes for a ReplicationSource."""
    return f"volsync-{source}"


def service_name(source: str) -> str:
    """The Service in front of a mover's API."""
    return f"volsync-{source}-api"


def needs(*, direct: bool) -> tuple[Need, ...]:
    """The permissions for the direct way, or for the one through the API server."""
    secrets = Need(where=Where.APPS, group="", resource="secrets", verbs=("get",), named=Named.SOURCE_SECRETS)
    way = Need(where=Where.APPS, group="", resource="services", verbs=("get",), named=Named.SOURCE_SERVICES)
    if not direct:
        # By method: GET is get, POST is create, PATCH is patch.
        verbs = ("get", "create", "patch")
        way = replace(way, resource="services/proxy", verbs=verbs, named=Named.SOURCE_PROXIES)
    return (secrets, way)


def reader_needs() -> tuple[Need, ...]:
    """The permissions of somebody who only asks, through the API server."""
    return tuple(replace(need, verbs=("get",)) for need in needs(direct=False))


class Mover:
    """Reads what is needed to speak to the mover of one ReplicationSource. Call it; it raises Unreachable."""

    def __init__(
        self, client: Client, namespace: str, source: str, *, direct: bool, turns: asyncio.Semaphore | None = None
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._source = source
        self._direct = direct
        self._turns = turns or asyncio.Semaphore(AT_ONCE)

    async def __call__(self) -> Access:
        """Read it. Raises Unreachable that names the object."""
        service = service_name(self._source)
        if len(service) > LONGEST_NAME:
            raise Unreachable(f"ReplicationSource {self._source}: its name is too long for a Service of its own")
        secret = await self._read("secrets", secret_name(self._source))
        address = await self._address(service) if self._direct else ""
        return Access(
            service=service, namespace=self._namespace, address=address, port=PORT,
            api_key=self._decode(secret, "apikey"), certificate=self._decode(secret, "httpsCertPEM"),
        )  # fmt: skip

    async def _read(self, kind: str, name: str) -> dict[str, Any]:
        try:
            async with self._turns:
                answer = await self._client.request(
                    "GET", f"/api/v1/namespaces/{self._namespace}/{kind}/{name}", timeout=READ_TIMEOUT
                )
        except KubeError as error:
            raise Unreachable(f"{kind[:-1].capitalize()} {self._namespace}/{name}: {error.reason}") from None
        return answer.body

    async def _address(self, service: str) -> str:
        spec = (await self._read("services", service)).get("spec")
        address = spec.get("clusterIP") if isinstance(spec, dict) else None
        if not isinstance(address, str) or address in ("", "None"):
            raise Unreachable(f"Service {self._namespace}/{service} has no cluster IP")
        return address

    def _decode(self, secret: dict[str, Any], key: str) -> str:
        name = f"Secret {self._namespace}/{secret_name(self._source)}"
        data = secret.get("data")
        value = data.get(key) if isinstance(data, dict) else None
        if not isinstance(value, str) or not value:
            raise Unreachable(f"{name} has no key '{key}'")
        try:
            return base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise Unreachable(f"{name}: key '{key}' is not text") from None


def sides(rules: Rules, client: Client, *, direct: bool) -> dict[Key, Syncthing]:
    """Every side of every volume of every app, straight (`direct`) or through the API server."""
    found: dict[Key, Syncthing] = {}
    turns = asyncio.Semaphore(AT_ONCE)
    for app in rules.apps:
        for volume in app.volumes:
            for site in Site:
                mover = Mover(client, app.namespace, volume.copy(site).source, direct=direct, turns=turns)
                way: Transport = Direct(mover) if direct else Proxied(mover, client)
                found[app.key, volume.name, site] = Syncthing(
                    f"{app.key} {volume.name} at {site}", way, naming=rules.guard is not None
                )
    return found
