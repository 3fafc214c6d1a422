"""The simulated world behind real HTTP on loopback: a cluster, its hypervisor and a chat, in real time.

`async with Serve(spec, folder) as served:` starts everything on free ports, or on the real ones at loopback
addresses of its own, and takes it away again.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from types import TracebackType

from aiohttp import web

from failoverd.clock import SystemClock, sleep
from failoverd.core.model import Now
from failoverd.simulator import serve_cert
from failoverd.simulator.serve_edges import Chat, Kubelets
from failoverd.simulator.serve_faults import WireFault
from failoverd.simulator.serve_kube import KubeApi
from failoverd.simulator.serve_loopback import Network
from failoverd.simulator.serve_movers import Movers
from failoverd.simulator.serve_proxmox import ProxmoxApi
from failoverd.simulator.serve_store import Store
from failoverd.simulator.serve_syncthing import SCAN, SyncthingApi
from failoverd.simulator.world import World
from failoverd.simulator.world_spec import WorldSpec

STEP = timedelta(milliseconds=50)
"""How often the world catches up with real time when nobody asks."""
HOST = "127.0.0.1"
GRAIN_MS = 250
"""What lasts longer than this is seen by a watch, however fast time passes."""


@dataclass(slots=True)
class Serve:
    """One served world. `factor`: how many of its seconds pass in a real one."""

    spec: WorldSpec
    folder: Path
    """Where kubeconfig and tokens are written; must exist."""
    factor: float = 1.0
    clock: SystemClock = field(default_factory=SystemClock)
    step: timedelta = STEP
    make: Callable[[WorldSpec], World] = World
    """Of which kind the world is."""
    world: World = field(init=False)
    kube: KubeApi = field(init=False)
    proxmox: ProxmoxApi = field(init=False)
    chat: Chat = field(init=False)
    syncthing_faults: list[WireFault] = field(default_factory=list)
    kube_url: str = ""
    proxmox_url: str = ""
    chat_url: str = ""
    _began: Now = field(init=False)
    _runners: list[web.AppRunner] = field(default_factory=list)
    _network: Network = field(init=False)
    _kubelets: Kubelets = field(init=False)
    _movers: Movers = field(init=False)
    _certificate: str = ""
    """The API server's."""
    _ticker: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self._began = self.clock.now()
        self.world = self.make(replace(self.spec, beginning=self._began.wall))
        store = Store(self.world, wall=lambda: f"{self.world.wall():%Y-%m-%dT%H:%M:%SZ}")
        syncthing = SyncthingApi(self.world, self.tick, self.syncthing_faults, scan=SCAN / self.factor)
        self.kube = KubeApi(
            self.world, store, secrets.token_hex(16), syncthing, self.tick,
            lambda: format_datetime(self.world.wall(), usegmt=True),
        )  # fmt: skip
        self._movers = Movers(syncthing, self.tick, self.folder)
        self.proxmox = ProxmoxApi(self.world, f"failoverd@pve!demo={secrets.token_hex(16)}", self.tick)
        self.chat = Chat(now=lambda: self.world.time.now_ms / 1000)

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig that was written."""
        return self.folder / "kubeconfig"

    def trust(self) -> ssl.SSLContext:
        """What the kubeconfig makes a client believe: the API server's certificate, and no other."""
        return ssl.create_default_context(cadata=self._certificate)

    def tick(self) -> None:
        """Bring the world up to this moment."""
        passed = self.clock.now().mono - self._began.mono
        to_ms = int(passed.total_seconds() * 1000 * self.factor)
        while to_ms - self.world.time.now_ms > GRAIN_MS:
            self.world.advance(self.world.time.now_ms + GRAIN_MS)
            self.kube.store.sync()
        self.world.advance(to_ms)

    async def __aenter__(self) -> Serve:
        self._network = Network()
        for number, node in enumerate(self.world.nodes.values()):
            node.address = self._network.address(number)
        self.kube_url = await self._start(self.kube.app(), self._identity())
        self.proxmox_url = await self._start(self.proxmox.app())
        self.chat_url = await self._start(self.chat.app())
        certificate = self.folder / "kubelet.pem"
        serve_cert.write(certificate, "kubelet")
        self._kubelets = Kubelets(self.world, certificate)
        await self._kubelets.follow()
        await self._movers.open(self._network)
        self._write_kubeconfig()
        self._ticker = asyncio.create_task(self._run(), name="world")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticker
        await self._kubelets.close()
        await self._movers.close()
        for runner in self._runners:
            await runner.cleanup()
        self._network.close()

    async def _run(self) -> None:
        while True:
            self.tick()
            self.kube.store.sync()
            await self._kubelets.follow()
            await self._movers.follow()
            await sleep(self.step)

    def _identity(self) -> ssl.SSLContext:
        """kubectl sends no token to a server that has none."""
        pem = self.folder / "apiserver.pem"
        self._certificate = serve_cert.write(pem, HOST)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        return context

    async def _start(self, app: web.Application, identity: ssl.SSLContext | None = None) -> str:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(runner, HOST, 0, ssl_context=identity)
        await site.start()
        host, port = runner.addresses[0][:2]
        return f"{'https' if identity else 'http'}://{host}:{port}"

    def _write_kubeconfig(self) -> None:
        """JSON is YAML: the client reads it as any other kubeconfig."""
        trusted = base64.b64encode(self._certificate.encode()).decode()
        cluster = {"server": self.kube_url, "certificate-authority-data": trusted}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "simulated",
            "clusters": [{"name": "simulated", "cluster": cluster}],
            "users": [{"name": "failoverd", "user": {"token": self.kube.token}}],
            "contexts": [{"name": "simulated", "context": {"cluster": "simulated", "user": "failoverd"}}],
        }
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(json.dumps(config, indent=2), encoding="utf-8")
