"""Between an embedded world and a real API server: nodes, leases, volumes, movers and the status of pods go there;
workloads, pods and what the daemon keeps come back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import aiohttp

from failoverd.simulator.serve import Serve
from failoverd.simulator.serve_objects import Item, Raw, ever_changing, everything, workload
from tests.kill.kubelets import RealWorld
from tests.kill.plane import MERGE, Api, Refused

EVERY = 0.1
"""Seconds between two looks at what the world has to say."""
CORE = "/api/v1"
ROOTS = {
    "nodes": CORE, "pods": CORE, "persistentvolumes": CORE, "persistentvolumeclaims": CORE, "secrets": CORE,
    "services": CORE, "configmaps": CORE, "leases": "/apis/coordination.k8s.io/v1",
    "deployments": "/apis/apps/v1", "replicasets": "/apis/apps/v1",
    "replicationsources": "/apis/volsync.backube/v1alpha1",
}  # fmt: skip
STATUS = ("nodes", "pods", "persistentvolumes", "persistentvolumeclaims", "replicationsources")
"""What has its status as a resource of its own."""
ONCE = ("persistentvolumes", "persistentvolumeclaims", "services")
"""What never changes in a world of ours."""
SIZE = {"storage": "1Gi"}
Key = tuple[str, str, str]


def path(plural: str, namespace: str = "", name: str = "") -> str:
    """Of a collection, or of one object."""
    space = f"/namespaces/{namespace}" if namespace else ""
    return f"{ROOTS[plural]}{space}/{plural}{f'/{name}' if name else ''}"


@dataclass(slots=True)
class Bridge:
    """`async with Bridge(served, api, "where the daemon keeps things")`: the world's objects exist, and go on."""

    served: Serve
    api: Api
    space: str
    kept: dict[tuple[str, str], Raw] = field(default_factory=dict)
    """The daemon's own objects by plural and name, as last heard."""
    failures: list[str] = field(default_factory=list)
    """What the API server refused us, the latest last."""
    _sent: dict[Key, Raw] = field(default_factory=dict)
    _revision: int = -1
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def world(self) -> RealWorld:
        """The one that is carried over."""
        world = self.served.world
        assert isinstance(world, RealWorld)
        return world

    async def __aenter__(self) -> Bridge:
        await self._push(everything(self.world))
        if self.failures:
            raise Refused(0, "; ".join(self.failures))
        for truth in self.world.apps.values():
            raw = workload(self.world, truth)
            raw.pop("status", None)
            made = await self.api.create(path("deployments", truth.app.namespace), _bare(raw))
            self.world.heard(truth, made)
            truth.git, truth.first = truth.raw, truth.raw["spec"]
        follow = [("pods", truth.app.namespace) for truth in self.world.apps.values()]
        follow += [("deployments", truth.app.namespace) for truth in self.world.apps.values()]
        follow += [("configmaps", self.space), ("leases", self.space)]
        self._tasks = [asyncio.create_task(self._follow(*one), name=" ".join(one)) for one in dict.fromkeys(follow)]
        self._tasks.append(asyncio.create_task(self._carry(), name="bridge"))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._clear()

    def broken(self) -> str:
        """Why it no longer works; empty while it does."""
        return next((f"{task.get_name()}: {task.exception()!r}" for task in self._tasks if task.done()), "")

    # ---------------------------------------------------------------- from the world

    async def _carry(self) -> None:
        while True:
            world = self.world
            whole, self._revision = world.revision != self._revision, world.revision
            await self._push(list((everything if whole else ever_changing)(world)))
            await self._ask()
            await asyncio.sleep(EVERY)

    async def _push(self, items: Iterator[Item] | list[Item]) -> None:
        found: set[Key] = set()
        for plural, raw in items:
            meta = raw["metadata"]
            if plural not in ROOTS or plural == "deployments":
                continue
            key = (plural, meta.get("namespace", ""), meta["name"])
            found.add(key)
            shown = _shown(plural, raw)
            if self._sent.get(key) != shown and not (plural in ONCE and key in self._sent):
                with self._counted():
                    await self._write(key, shown, raw)
                    self._sent[key] = shown
        if any(plural == "pods" for plural, _, _ in found):
            for key in [one for one in self._sent if one not in found]:
                del self._sent[key]

    async def _write(self, key: Key, raw: Raw, whole: Raw) -> None:
        plural, namespace, name = key
        ours = plural == "pods" and "ownerReferences" in whole["metadata"]
        there = path(plural, namespace, name)
        if not ours and key in self._sent and plural == "pods" and raw["spec"] != self._sent[key]["spec"]:
            await self.api.call("DELETE", f"{there}?gracePeriodSeconds=0")
            del self._sent[key]
        if ours and "nodeName" not in raw["spec"]:
            return  # the scheduler's affair
        if not ours and key not in self._sent:
            await self.api.create(path(plural, namespace), _bare(raw))
        elif not ours:
            change = {part: value for part, value in raw.items() if part not in ("status", "apiVersion", "kind")}
            change["metadata"] = {"labels": raw["metadata"].get("labels") or {}}
            change["metadata"]["annotations"] = raw["metadata"].get("annotations")
            if plural == "nodes":
                change["spec"] = {"taints": None, "unschedulable": None, **raw.get("spec", {})}
            if plural != "pods":
                await self.api.call("PATCH", there, change, MERGE)
        if plural in STATUS and "status" in raw:
            body: Raw = {"status": raw["status"]}
            if ours:
                body["metadata"] = {"uid": whole["metadata"]["uid"]}
            await self.api.call("PATCH", f"{there}/status", body, MERGE)

    async def _ask(self) -> None:
        """What kubelets and GitOps want done."""
        control, world = self.world.control, self.world
        while control.finished:
            namespace, name, uid = control.finished.pop(0)
            with self._counted():
                gone = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
                await self.api.call("DELETE", path("pods", namespace, name), gone)
        while control.evicted:
            namespace, name, uid = control.evicted.pop(0)
            with self._counted():
                await self.api.call("DELETE", path("pods", namespace, name), {"preconditions": {"uid": uid}})
        while world.asked:
            truth, raw = world.asked.pop(0)
            with self._counted():
                there = path("deployments", truth.app.namespace, truth.app.name)
                now = await self.api.call("GET", there)
                await self.api.call("PUT", there, {**now, "spec": raw["spec"]})

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except (Refused, aiohttp.ClientError, TimeoutError) as error:
            gone = isinstance(error, Refused) and error.code in (404, 409)
            if not gone:
                self.failures.append(str(error))

    # ---------------------------------------------------------------- from the API server

    async def _follow(self, plural: str, namespace: str) -> None:
        while True:
            try:
                async for event, raw in self.api.watch(path(plural, namespace)):
                    self.served.tick()
                    if event == "LISTED" and plural == "pods":
                        self._missed(namespace, {one["metadata"]["uid"] for one in raw["items"]})
                    for kind, one in _each(event, raw):
                        self._heard(plural, kind, one)
            except (aiohttp.ClientError, Refused, TimeoutError) as error:
                self.failures.append(f"{plural}: {error!r}")
            await asyncio.sleep(0.2)

    def _missed(self, namespace: str, there: set[str]) -> None:
        """Pods that went while nobody watched."""
        for truth in self.world.apps.values():
            for pod in [one for one in truth.pods if one.listed and truth.app.namespace == namespace]:
                if pod.uid not in there:
                    gone = {"metadata": {"name": pod.name, "uid": pod.uid}, "spec": {}}
                    self.world.control.heard(truth, "DELETED", gone)

    def _heard(self, plural: str, event: str, raw: Raw) -> None:
        if event in ("BOOKMARK", "ERROR"):
            return
        name, namespace = raw["metadata"]["name"], raw["metadata"].get("namespace", "")
        if plural in ("configmaps", "leases"):
            self.kept[plural, name] = {} if event == "DELETED" else raw
            return
        for truth in self.world.apps.values():
            if truth.app.namespace != namespace:
                continue
            if plural == "deployments" and name == truth.app.name and event != "DELETED":
                self.world.heard(truth, raw)
            elif plural == "pods" and (raw["metadata"].get("labels") or {}).get("app") == truth.app.name:
                self.world.control.heard(truth, event, raw)

    async def _clear(self) -> None:
        """What would keep the real controllers busy goes; the rest harms nobody."""
        for truth in self.world.apps.values():
            for plural in ("deployments", "replicasets", "pods"):
                with self._counted():
                    there = f"{path(plural, truth.app.namespace)}?gracePeriodSeconds=0&propagationPolicy=Background"
                    await self.api.call("DELETE", there)
        for plural, namespace, name in self._sent:
            if plural in ("nodes", "leases", "persistentvolumes"):
                with self._counted():
                    await self.api.call("DELETE", path(plural, namespace, name))


def _each(event: str, raw: Raw) -> Iterator[tuple[str, Raw]]:
    if event == "LISTED":
        for one in raw["items"]:
            yield "ADDED", one
    else:
        yield event, raw


def _bare(raw: Raw) -> Raw:
    meta = {key: value for key, value in raw["metadata"].items() if key not in ("uid", "generation")}
    return {**raw, "metadata": meta}


def _shown(plural: str, raw: Raw) -> Raw:
    """An object as a real server takes it."""
    if plural == "nodes":  # a kubelet tells nothing new of a node at each renewal
        conditions = [
            {key: value for key, value in one.items() if key != "lastHeartbeatTime"}
            for one in raw["status"]["conditions"]
        ]
        return {**raw, "status": {**raw["status"], "conditions": conditions}}
    if plural == "pods":
        return _pod(raw)
    if plural == "replicationsources":
        told = raw["status"]["syncthing"]
        peers = [{**one, "address": "tcp://198.18.0.1:22000"} for one in told["peers"]]
        return {**raw, "status": {"syncthing": {**told, "peers": peers}}}
    if plural == "services":
        return {**raw, "spec": {key: value for key, value in raw["spec"].items() if key != "clusterIP"}}
    if plural == "persistentvolumeclaims":
        notes = {"pv.kubernetes.io/bind-completed": "yes"} if "volumeName" in raw["spec"] else {}
        metadata = {**raw["metadata"], "annotations": notes}
        return {**raw, "metadata": metadata, "spec": {**raw["spec"], "resources": {"requests": SIZE}}}
    if plural == "persistentvolumes":
        return {**raw, "spec": {**raw["spec"], "capacity": SIZE, "accessModes": ["ReadWriteMany"]}}
    return raw


def _pod(raw: Raw) -> Raw:
    status = dict(raw["status"])
    running = status.pop("containerStatuses", None)
    containers = raw["spec"].get("containers") or [{"name": "main", "image": "example.org/mover:1.0"}]
    if running:
        state = running[0]["state"]
        status["containerStatuses"] = [
            {"name": one["name"], "image": one["image"], "imageID": "", "ready": False, "restartCount": 0,
             "state": state} for one in containers
        ]  # fmt: skip
    return {**raw, "spec": {**raw["spec"], "containers": containers}, "status": status}
