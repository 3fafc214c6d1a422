"""The embedded cluster as a World of the contract cases, thirty times as fast as life."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import aiohttp

from failoverd.core.rules import Site
from failoverd.simulator.serve import Serve
from failoverd.simulator.world_data import File, Stretch
from failoverd.simulator.world_pair import SyncPair
from failoverd.simulator.world_side import Side
from failoverd.simulator.world_spec import WorldSpec, simple_app, simple_rules
from tests.contract.worlds import JSON, Answer, Query, Wire

FACTOR = 30.0
FLUX = timedelta(seconds=30)
"""As in the lab of the e2e suite."""
FORBIDDEN = ("list", "pods")
SECRETS = ("narrow", "blind")


@dataclass(slots=True, kw_only=True)
class Embedded(Wire):
    """One served world."""

    served: Serve
    content: int = 0

    async def kube(
        self, method: str, path: str, body: object = None, *, kind: str = JSON, query: Query = None,
        headers: Query = None, who: str = "admin",
    ) -> Answer:  # fmt: skip
        """See World. There is one identity, so `limited` is what it may during one request."""
        if who == "limited":
            self.served.kube.denied.add(FORBIDDEN)
        try:
            return await Wire.kube(self, method, path, body, kind=kind, query=query, headers=headers, who=who)
        finally:
            self.served.kube.denied.discard(FORBIDDEN)

    def write(self, source: str, name: str) -> None:
        """See World."""
        side, now = self._side(source)[1], self.served.world.time.now_ms
        self.content += 1
        stretch = Stretch(f"contract-{self.content}", side.site, now, now)
        side.disk.files[name] = File(content=(stretch,), changed_ms=now)

    def remove(self, source: str, name: str) -> None:
        """See World."""
        self._side(source)[1].disk.files.pop(name, None)

    def holds(self, source: str, name: str) -> bool:
        """See World."""
        found = self._side(source)[1].disk.files.get(name)
        return found is not None and [part.pod for part in found.content] == [f"contract-{self.content}"]

    def marker(self, source: str, *, present: bool) -> None:
        """See World."""
        self._side(source)[1].disk.marker = present

    def hypervisor(self, *, task: str = "", lock: str = "") -> None:
        """See World."""
        guest = self.served.world.nodes["k3s-w1"].guest
        assert guest is not None
        guest.task, guest.lock = task, lock

    async def reconcile(self) -> None:
        """See World: its Flux looks once an interval."""
        await self.seconds(self.served.spec.flux_interval.total_seconds() + 5)

    async def restart_mover(self, source: str) -> None:
        """See World."""
        pair, side = self._side(source)
        pair.restart(side.site)

    def _side(self, source: str) -> tuple[SyncPair, Side]:
        self.served.tick()
        for truth in self.served.world.apps.values():
            for volume in truth.app.volumes:
                for site in Site:
                    if volume.copy(site).source == source:
                        pair = truth.pairs[volume.name]
                        return pair, pair.sides[site]
        raise KeyError(source)


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[Embedded]:
    """One, settled, and gone at the end."""
    apps = (simple_app("sonarr"), simple_app("paperless", volumes=("data", "media")))
    async with (
        Serve(WorldSpec(rules=simple_rules(apps), flux_interval=FLUX), folder, factor=FACTOR) as served,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=served.trust()),
            timeout=aiohttp.ClientTimeout(total=8),
            trust_env=False,
        ) as session,
    ):
        others = {name: f"failoverd@pve!{name}={secrets.token_hex(8)}" for name in SECRETS}
        served.proxmox.others = {
            others["narrow"]: frozenset({"VM.Audit", "VM.PowerMgmt"}),
            others["blind"]: frozenset({"Sys.Audit"}),
        }
        pve_tokens = {"fence": served.proxmox.token, **others, "wrong": f"{served.proxmox.token}0"}
        tokens = {"admin": served.kube.token, "limited": served.kube.token, "wrong": "no-such-token"}
        await asyncio.sleep(60 / FACTOR)  # apps started, movers followed them, everything copied once
        yield Embedded(
            session=session, kube_url=served.kube_url, tokens=tokens, pve_url=served.proxmox_url,
            pve_tokens=pve_tokens, factor=FACTOR, served=served,
        )  # fmt: skip
