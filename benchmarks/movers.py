"""The embedded cluster with its movers reached straight, as from inside: an address each, a pinned certificate."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import ssl
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from aiohttp import web

from failoverd.core.rules import Site
from failoverd.simulator.serve import Serve
from failoverd.simulator.serve_kube import KubeApi

PORT = 8384
"""Of every mover's Service."""


@dataclass(slots=True)
class DirectApi(KubeApi):
    """An API server whose Services have addresses and whose Secrets have the certificate that is served there."""

    addresses: dict[tuple[str, str], str] = field(default_factory=dict)
    """(namespace, Service) -> address."""
    certificate: str = ""

    async def _one(self, request: web.Request) -> web.StreamResponse:
        answer = await KubeApi._one(self, request)
        plural, name = request.match_info["plural"], request.match_info["name"]
        if plural not in ("services", "secrets") or not isinstance(answer, web.Response) or answer.status != 200:
            return answer
        raw = json.loads(answer.text or "")
        if plural == "services":
            raw["spec"]["clusterIP"] = self.addresses[request.match_info["namespace"], name]
        else:
            raw["data"]["httpsCertPEM"] = base64.b64encode(self.certificate.encode()).decode()
        return web.json_response(raw)


@dataclass(slots=True)
class DirectServe(Serve):
    """A served world whose movers listen on loopback addresses of their own."""

    _movers: web.AppRunner | None = None

    def __post_init__(self) -> None:
        """As the plain one, with the other API server."""
        Serve.__post_init__(self)
        plain = self.kube
        services = [
            (app.app.namespace, f"volsync-{volume.copy(site).source}-api")
            for app in self.world.apps.values()
            for volume in app.app.volumes
            for site in Site
        ]
        network = f"127.{secrets.randbelow(200) + 20}"
        self.kube = DirectApi(
            plain.world, plain.store, plain.token, plain.proxy, plain.tick, plain.date,
            addresses={key: f"{network}.{1 + at // 250}.{1 + at % 250}" for at, key in enumerate(services)},
        )  # fmt: skip

    async def __aenter__(self) -> DirectServe:
        await Serve.__aenter__(self)
        assert isinstance(self.kube, DirectApi)
        pem = await asyncio.to_thread(certificate, self.folder, [f"{s}.{n}" for n, s in self.kube.addresses])
        self.kube.certificate = pem.read_text()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, pem.with_suffix(".key"))
        by_address = {address: key for key, address in self.kube.addresses.items()}

        async def answer(request: web.Request) -> web.StreamResponse:
            assert request.transport is not None
            namespace, service = by_address[request.transport.get_extra_info("sockname")[0]]
            # As the API server's own route names it.
            request.match_info["rest"] = request.path
            self.tick()
            return await self.kube.proxy(namespace, service, request)

        application = web.Application()
        application.router.add_route("*", "/{rest:.*}", answer)
        self._movers = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._movers.setup()
        for address in by_address:
            await web.TCPSite(self._movers, address, PORT, ssl_context=context).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._movers is not None:
            await self._movers.cleanup()
        await Serve.__aexit__(self, kind, error, trace)


def certificate(folder: Path, names: list[str]) -> Path:
    """One self-signed certificate for all these names, its key beside it. Raises CalledProcessError."""
    pem = folder / "movers.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-subj", "/CN=movers", "-days", "30", "-out", str(pem), "-keyout", str(pem.with_suffix(".key"))]
    argv += ["-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)]
    subprocess.run(argv, check=True, capture_output=True)
    return pem
