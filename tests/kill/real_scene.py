"""A scene at a real API server: the daemon is a process, its world embedded, its objects in namespaces of its own."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import yaml  # type: ignore[import-untyped]

from failoverd.adapters.kubernetes.client import Client
from failoverd.cli import rbac
from failoverd.clock import SystemClock, sleep
from failoverd.config.source import load
from failoverd.core.rules import Require, Rules
from failoverd.simulator.chaos_truth import Truth
from failoverd.simulator.serve import GRAIN_MS, Serve
from failoverd.simulator.world_data import Rhythm
from failoverd.simulator.world_spec import WorldSpec, simple_app, simple_rules
from tests.kill.bridge import Bridge
from tests.kill.instance import Life
from tests.kill.kubelets import RealWorld
from tests.kill.nursery import Nursery
from tests.kill.plane import Api, Plane, Raw, Refused, kubeconfig
from tests.kill.proxy import Behind, Ledger, Proxy
from tests.kill.scene import NAMESPACE, NotReached, Scene, Setting

STEP = timedelta(milliseconds=100)
PATIENCE = 600
"""Seconds, of real time: many worlds share two cores, and what is asked is how a move ends, not how soon."""
NODE = "k3s-"
ACCOUNT = "failoverd"
_numbers = itertools.count(1)


class RealServe(Serve):
    """The embedded hypervisor, Syncthing and kubelets, in real time; nobody asks its API server for objects."""

    def tick(self) -> None:
        """Bring the world up to this moment."""
        passed = self.clock.now().mono - self._began.mono
        to_ms = int(passed.total_seconds() * 1000)
        while to_ms > self.world.time.now_ms:
            self.world.advance(min(to_ms, self.world.time.now_ms + GRAIN_MS))

    async def _run(self) -> None:
        while True:
            self.tick()
            await self._kubelets.follow()
            await sleep(self.step)


@dataclass(slots=True, kw_only=True)
class Account:
    """The daemon's ServiceAccount in one namespace, with a token that can be revoked."""

    api: Api
    space: str
    objects: list[Raw]
    """What it may do: the Roles and bindings that `failoverd config rbac` prints."""
    token: str = ""
    _secrets: int = 0

    async def create(self) -> None:
        """The account, its rights and its first token. Raises Refused."""
        await self.grant()
        await self.rotate()

    async def grant(self) -> None:
        """Everything it may do."""
        for raw in self.objects:
            await self.api.create(_collection(raw), raw)

    async def withdraw(self) -> None:
        """It may do nothing any more."""
        for raw in self.objects:
            if raw["kind"].endswith("Binding"):
                with contextlib.suppress(Refused, aiohttp.ClientError):  # it is gone already, or the server is
                    await self.api.call("DELETE", f"{_collection(raw)}/{raw['metadata']['name']}")

    async def rotate(self) -> str:
        """A new token; returns the name of the Secret that the old one was bound to."""
        old = f"token-{self._secrets}"
        self._secrets += 1
        name = f"token-{self._secrets}"
        made = await self.api.call(
            "POST", f"/api/v1/namespaces/{self.space}/secrets", {"metadata": {"name": name}, "data": {}}
        )
        bound = {"kind": "Secret", "apiVersion": "v1", "name": name, "uid": made["metadata"]["uid"]}
        asked = {"spec": {"audiences": [], "expirationSeconds": 86_400, "boundObjectRef": bound}}
        there = f"/api/v1/namespaces/{self.space}/serviceaccounts/{ACCOUNT}/token"
        self.token = str((await self.api.call("POST", there, asked))["status"]["token"])
        return old

    async def revoke(self, secret: str) -> None:
        """The token bound to this Secret is good for nothing from now on (the server may remember it for 10 s)."""
        await self.api.call("DELETE", f"/api/v1/namespaces/{self.space}/secrets/{secret}")


@dataclass(slots=True)
class RealScene(Scene):
    """One world at the real API server."""

    plane: Plane = field(kw_only=True)
    number: str = field(kw_only=True)
    """Ends the names of its namespaces and nodes."""
    bridge: Bridge | None = None
    account: Account | None = None
    led_since: float = 0.0
    """Since when somebody else leads than before."""

    def server(self) -> Behind:
        """The real one; its services lie in the embedded world."""
        embedded = Behind(url=self.served.kube_url, trust=self.served.trust(), token=self.served.kube.token)
        return Behind(url=self.plane.url, trust=self.plane.trust(), services=embedded)

    def token(self) -> str:
        """Of its ServiceAccount."""
        return self.account.token if self.account else ""

    def config(self) -> str:
        """The usual one, with this world's names."""
        # zero-argument super() does not work in a dataclass with slots
        text = Scene.config(self).replace('"k3s-w1"', f'"{NODE}w1-{self.number}"')
        text = text.replace('"k3s-w2"', f'"{NODE}w2-{self.number}"').replace(
            '"k3s-cp1"', f'"{NODE}cp1-{self.number}"'
        )
        text = text.replace('namespace = "media"', f'namespace = "{self.key.partition("/")[0]}"')
        return text.replace("[kubernetes]\n", f'[kubernetes]\nnamespace = "{self.space}"\n')

    def kept(self, plural: str, name: str) -> Mapping[str, Any]:
        """An object of the daemon's, as last heard."""
        return self.bridge.kept.get((plural, name)) or {} if self.bridge else {}

    def fault(self, words: str) -> None:
        """Something happens to the world; nodes are named as in any other."""
        Scene.fault(self, " ".join(f"{w}-{self.number}" if w.startswith(NODE) else w for w in words.split(" ")))

    async def rest(self, seconds: float) -> None:
        """Let time pass. Raises NotReached when nothing is carried between the world and the API server any more."""
        if self.bridge is not None and self.bridge.broken():
            raise NotReached(self.bridge.broken())
        await Scene.rest(self, seconds)

    @property
    def current(self) -> Life:
        """The instance that leads, or will."""
        return self.lives[0]


@asynccontextmanager
async def real_scene(folder: Path, setting: Setting, plane: Plane, nursery: Nursery) -> AsyncIterator[RealScene]:
    """A world of its own at `plane`, and everything that makes work taken away afterwards."""
    number = f"x{os.getpid()}{next(_numbers):03d}"
    app = replace(simple_app(namespace=f"media-{number}"), require=Require(setting.require))
    rules = _renamed(simple_rules((app,), fenced=("k3s-w1",) if setting.fenced else ()), number)
    second = timedelta(seconds=1)
    spec = WorldSpec(
        rules=rules, shared_access=True, seed=1, boot=2 * second, start=(second * 0.3, second * 0.8),
        rhythm=Rhythm(on_ms=1_000, off_ms=3_000),
    )  # fmt: skip
    space = f"{NAMESPACE}-{number}"
    async with contextlib.AsyncExitStack() as stack:
        served = await stack.enter_async_context(RealServe(spec, folder, step=STEP, make=RealWorld))
        api = await stack.enter_async_context(Api(plane))
        for name in (space, app.namespace):
            await api.create("/api/v1/namespaces", {"metadata": {"name": name}})
        straight = folder / "operator"
        straight.touch(mode=0o600)
        straight.write_text(kubeconfig(plane, plane.token))
        operator = await Client.load(straight, clock=SystemClock())
        stack.push_async_callback(operator.close)
        power = await stack.enter_async_context(Proxy({"proxmox": Behind(url=served.proxmox_url)}, folder, Ledger()))
        made = RealScene(
            served, folder, setting, nursery, operator, Truth(served.world), power,
            key=app.key, space=space, patience=PATIENCE, plane=plane, number=number,
        )  # fmt: skip
        made.account = Account(api=api, space=space, objects=_rights(made, folder))
        await made.account.create()
        stack.push_async_callback(made.account.withdraw)
        made.bridge = await stack.enter_async_context(Bridge(served, api, space))
        made.spec = served.world.apps[app.key].raw["spec"]
        try:
            yield made
        finally:
            for life in made.lives:
                with contextlib.suppress(Exception):
                    await life.close()


def _renamed(rules: Rules, number: str) -> Rules:
    def pair(one: Any) -> Any:
        places = {}
        for site in ("primary", "backup"):
            place = getattr(one, site)
            fence = f"{place.fence}-{number}" if place.fence else ""
            places[site] = replace(place, node=f"{place.node}-{number}", fence=fence)
        return replace(one, **places)

    witnesses = tuple((f"{node}-{number}", domain) for node, domain in rules.witnesses)
    return replace(rules, pairs=tuple(pair(one) for one in rules.pairs), witnesses=witnesses)


def _rights(scene: RealScene, folder: Path) -> list[Raw]:
    """What `failoverd config rbac` prints for this configuration, names that others share made this world's own."""
    path = folder / "for-rbac.toml"
    path.touch(mode=0o600)
    (folder / "nobody").write_text("{}")
    path.write_text(scene.config().format(kubeconfig=folder / "nobody"))
    found = []
    for raw in yaml.safe_load_all(rbac.manifest(load(path), ())):
        if raw["metadata"].get("namespace") not in (scene.space, scene.key.partition("/")[0]):
            raw["metadata"]["name"] += f"-{scene.number}"
            if "roleRef" in raw:
                raw["roleRef"]["name"] += f"-{scene.number}"
        found.append(raw)
    return found


def _collection(raw: Raw) -> str:
    kind, meta = raw["kind"], raw["metadata"]
    root = "/api/v1" if kind == "ServiceAccount" else "/apis/rbac.authorization.k8s.io/v1"
    space = f"/namespaces/{meta['namespace']}" if "namespace" in meta else ""
    return f"{root}{space}/{kind.lower()}s"
