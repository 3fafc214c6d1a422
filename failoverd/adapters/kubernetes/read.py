"""All Kubernetes readings of a tick, from caches that say for themselves whether they can be believed.

The one rule of this file: what the caches can't vouch for is Unknown, and what an act will rest on (nodes that
seem lost, pods of an app that is being moved) is read from the API server itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from failoverd.adapters.kubernetes import commands, fit, guards, kured, parse, resources
from failoverd.adapters.kubernetes.applier import reading
from failoverd.adapters.kubernetes.cache import Cache, slim
from failoverd.adapters.kubernetes.client import Client, KubeError
from failoverd.adapters.kubernetes.lease import LeaseLeadership
from failoverd.adapters.kubernetes.parse_tools import Malformed, Raw, need
from failoverd.adapters.kubernetes.resources import (
    CLAIMS,
    COMMANDS,
    GUARDS,
    KURED,
    LEASES,
    NODES,
    PODS,
    SOURCES,
    TENANTS,
    VOLUMES,
)
from failoverd.adapters.kubernetes.wakes import Wakes
from failoverd.adapters.kubernetes.write import applier_path, workload_path
from failoverd.core import names
from failoverd.core.model import Amounts, Api, ClaimReading, GuardReading, NodeReading, Unknown, Workload
from failoverd.core.rules import App, Rules, Site, Volume
from failoverd.core.shared_fate import CONTROL_PLANE
from failoverd.ports import Clock

NEEDS = resources.NEEDS + commands.NEEDS

TIMEOUT = timedelta(milliseconds=2500)
"""Of one uncached read: a tick waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeReadings:
    """What Kubernetes says in one tick."""

    api: Api | Unknown
    nodes: Mapping[str, NodeReading]
    workloads: Mapping[str, Workload | Unknown]
    claims: Mapping[tuple[str, str, Site], ClaimReading | Unknown]
    guards: Mapping[tuple[str, str, Site], GuardReading | Unknown]
    commands: commands.Inbox | Unknown


log = structlog.get_logger("failoverd.kubernetes")


class KubeReader:
    """Takes the readings. Its caches start with the first `read` and end with `close`."""

    def __init__(
        self,
        client: Client,
        rules: Callable[[], Rules],
        leadership: LeaseLeadership,
        *,
        clock: Clock,
        namespace: str,
        wake: asyncio.Event | None = None,
    ) -> None:
        """`wake` is set for what should not wait for the next tick, see `Wakes`."""
        self._client = client
        self._rules = rules
        self._leadership = leadership
        self._clock = clock
        self._namespace = namespace
        self._wakes = Wakes(wake)
        self._caches: dict[tuple[str, str], Cache] = {}
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._reachable = True
        self._moving = False
        self._malformed: frozenset[str] = frozenset()
        self._understood: dict[str, tuple[str, GuardReading]] = {}
        self._lock = kured.Lock()
        self._sums: dict[str, Amounts | Unknown] = {}
        """Requests of the pods on each node, until one of them changes."""

    async def read(self, confirm: frozenset[str] = frozenset()) -> KubeReadings:
        """All readings. Never raises KubeError; takes at most about two request timeouts."""
        rules = self._rules()
        await self._keep_caches(rules)
        api, sure = await asyncio.gather(self._probe(), self._confirmed(confirm))
        now = self._clock.now().mono
        nodes = {name: sure.get(name) or self._node(name, now) for name in _nodes(rules)}
        nodes |= {name: replace(nodes[name], used=self._used(name, now)) for name in rules.nodes}
        nodes = self._lock.announced(nodes, self._kured(rules, now), self._date(api))
        workloads = {app.key: self._workload(rules, app, now) for app in rules.apps}
        moving = [app for app in rules.apps if _between(workloads[app.key])]
        self._moving = bool(moving)
        if moving and isinstance(api, Api):
            workloads |= await self._uncached(moving)
        return KubeReadings(
            api=api,
            nodes=nodes,
            workloads=workloads,
            claims={
                (app.key, volume.name, site): self._claim(rules, app, volume, site, now)
                for app in rules.apps
                for volume in app.volumes
                for site in Site
            },
            guards=self._guards(rules, now),
            commands=self._commands(now),
        )

    async def ready(self, within: timedelta) -> str:
        """Wait until every cache can be believed; why not, when that does not happen `within`."""
        await self._keep_caches(self._rules())
        until = self._clock.now().mono + within
        while (doubts := self.doubts()) and self._clock.now().mono < until:
            await self._clock.sleep_until(self._clock.now().mono + timedelta(milliseconds=50), asyncio.Event())
        return "; ".join(doubts)

    def doubts(self) -> tuple[str, ...]:
        """Why each cache that can't be believed at this moment can't."""
        now = self._clock.now().mono
        vital = [cache for key, cache in self._caches.items() if key[0] not in (TENANTS, KURED)]
        return tuple(why for cache in vital if (why := cache.doubted(now)))

    def address(self, node: str) -> str | None:
        """The node's InternalIP as last heard, however long ago; None while it is not known."""
        cache = self._caches.get((NODES, ""))
        for item in cache.all() if cache is not None else ():
            if item.get("metadata", {}).get("name") == node:
                found = item.get("status", {}).get("addresses") or ()
                return next((str(one.get("address")) for one in found if one.get("type") == "InternalIP"), None)
        return None

    def control_plane(self) -> frozenset[str]:
        """The nodes that run the control plane, by their labels; empty while no node was heard of."""
        cache = self._caches.get((NODES, ""))
        metas = [item.get("metadata", {}) for item in cache.all()] if cache is not None else []
        return frozenset(
            str(meta.get("name")) for meta in metas if any(one in (meta.get("labels") or {}) for one in CONTROL_PLANE)
        )

    async def close(self) -> None:
        """End all watches."""
        self._wakes.close()
        await self._end(list(self._tasks))

    async def _keep_caches(self, rules: Rules) -> None:
        wanted = resources.wanted(rules, self._namespace)
        await self._end([key for key in self._caches if key not in wanted])
        for key, resource in wanted.items():
            task = self._tasks.get(key)
            if task is None or task.done():
                cache = Cache(self._client, resource, self._clock, self._listener(*key))
                if task is not None and not task.cancelled() and (error := task.exception()):
                    cache.error = f"{type(error).__name__}: {error}"
                self._caches[key] = cache
                self._tasks[key] = asyncio.create_task(cache.run(), name=f"cache {resource.name}")

    async def _end(self, keys: Iterable[tuple[str, str]]) -> None:
        tasks = []
        for key in keys:
            self._caches.pop(key, None)
            task = self._tasks.pop(key)
            task.cancel()
            tasks.append(task)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _listener(self, kind: str, space: str) -> Callable[[], None]:
        def changed() -> None:
            if kind == TENANTS:
                self._sums.pop(space, None)
            self._wakes.heard(kind, moving=self._moving)

        return changed

    async def _probe(self) -> Api | Unknown:
        """One small request a tick: the Lease we lead by. Its date is the clock of everything remembered."""
        try:
            date = await self._leadership.look()
        except KubeError as error:
            if not error.answered:
                self._reachable = False
                for cache in self._caches.values():
                    cache.doubt()
            return Unknown(f"API server: {error}")
        if not self._reachable:
            self._reachable = True
            for cache in self._caches.values():
                cache.hurry()
        if date is None:
            return Unknown("API server: its answer has no Date")
        return Api(date=date)

    async def _confirmed(self, nodes: frozenset[str]) -> dict[str, NodeReading]:
        found = await asyncio.gather(*(self._node_uncached(name) for name in sorted(nodes)))
        return dict(zip(sorted(nodes), found, strict=True))

    async def _node_uncached(self, name: str) -> NodeReading:
        lease, node = await asyncio.gather(
            self._get(f"{resources.LEASES_PATH}/{name}", f"Lease kube-node-lease/{name}"),
            self._get(f"/api/v1/nodes/{name}", f"Node {name}"),
        )
        return NodeReading(
            lease=lease if isinstance(lease, Unknown) else parse.lease(lease, name),
            node=node if isinstance(node, Unknown) else parse.node(node, name),
            uncached=all(not isinstance(one, Unknown) or one.gone for one in (lease, node)),
        )

    async def _get(self, path: str, what: str) -> dict[str, Any] | Unknown:
        try:
            return (await self._client.request("GET", path, timeout=TIMEOUT)).body
        except KubeError as error:
            if error.status == 404:
                return Unknown(f"{what} does not exist", gone=True)
            return Unknown(f"{what}: {error}")

    async def _uncached(self, apps: list[App]) -> dict[str, Workload | Unknown]:
        """Workload and pods of apps that stand still between two places, from the API server itself."""
        spaces = sorted({app.namespace for app in apps})
        listed = await asyncio.gather(*(self._pods_uncached(space) for space in spaces))
        pods = dict(zip(spaces, listed, strict=True))
        raws = await asyncio.gather(*(self._get(workload_path(app), f"{app.kind} {app.key}") for app in apps))
        named = sorted({app.applier for app in apps if app.applier}, key=str)
        gotten = await asyncio.gather(*(self._get(applier_path(one), str(one)) for one in named))
        appliers = dict(zip(named, gotten, strict=True))
        found: dict[str, Workload | Unknown] = {}
        for app, raw in zip(apps, raws, strict=True):
            mounted = pods[app.namespace]
            if isinstance(raw, Unknown):
                found[app.key] = raw
            elif isinstance(mounted, Unknown):
                found[app.key] = mounted
            else:
                found[app.key] = _applied(
                    parse.workload(raw, app, mounted), app, appliers.get(app.applier) if app.applier else None
                )
        return found

    async def _pods_uncached(self, namespace: str) -> tuple[Raw, ...] | Unknown:
        path = f"/api/v1/namespaces/{namespace}/pods"
        answer = await self._get(path, f"pods in {namespace}")
        items = answer if isinstance(answer, Unknown) else answer.get("items")
        if isinstance(items, Unknown):
            return items
        if not isinstance(items, list):
            return Unknown(f"pods in {namespace}: the answer is not a list")
        return tuple(slim(item, resources.KEEP[PODS]) for item in items)

    def _found(self, kind: str, space: str, name: str, what: str, now: timedelta) -> dict[str, Any] | Unknown:
        """One object of a cache; Unknown when the cache can't vouch for it, or says there is none."""
        cache = self._caches[kind, space]
        if why := cache.doubted(now):
            return Unknown(why)
        found = cache.get(name, "kube-node-lease" if kind == LEASES else space)
        return found if found is not None else Unknown(f"{what} does not exist", gone=True)

    def _node(self, name: str, now: timedelta) -> NodeReading:
        lease = self._found(LEASES, "", name, f"Lease kube-node-lease/{name}", now)
        node = self._found(NODES, "", name, f"Node {name}", now)
        return NodeReading(
            lease=lease if isinstance(lease, Unknown) else parse.lease(lease, name),
            node=node if isinstance(node, Unknown) else parse.node(node, name),
        )

    def _date(self, api: Api | Unknown) -> datetime:
        return api.date if isinstance(api, Api) else self._clock.now().wall

    def _kured(self, rules: Rules, now: timedelta) -> Raw | Unknown | None:
        space, _, name = rules.kured.partition("/")
        return self._found(KURED, space, name, f"DaemonSet {rules.kured}", now) if rules.kured else None

    def _used(self, node: str, now: timedelta) -> Amounts | Unknown:
        cache = self._caches[TENANTS, node]
        if why := cache.doubted(now):
            return Unknown(why)
        if node not in self._sums:
            self._sums[node] = fit.used(cache.all(), node)
        return self._sums[node]

    def _fitted(self, rules: Rules, app: App, raw: Raw, found: Workload | Unknown) -> Workload | Unknown:
        """`found` with the nodes of its pair that its template would not select."""
        if isinstance(found, Unknown) or found.needs is None:
            return found
        cache, pair = self._caches[NODES, ""], rules.pair(app)
        seen = {place.node: cache.get(place.node) for place in (pair.primary, pair.backup)}
        try:
            template = need(raw, "spec", "template", "spec", kind=Mapping)
            labels = {name: need(node, "metadata", "labels", kind=dict) for name, node in seen.items() if node}
            return replace(found, needs=replace(found.needs, barred=fit.barred(template, pair, labels)))
        except Malformed as error:
            return Unknown(f"{app.kind} {app.key}: {error}")

    def _workload(self, rules: Rules, app: App, now: timedelta) -> Workload | Unknown:
        kind = resources.WORKLOADS[app.kind]
        raw = self._found(kind, app.namespace, app.name, f"{app.kind} {app.key}", now)
        if isinstance(raw, Unknown):
            return raw
        pods = self._caches[PODS, app.namespace]
        if why := pods.doubted(now):
            return Unknown(why)
        made = _applied(parse.workload(raw, app, pods.all()), app, self._applier(app, now))
        return self._fitted(rules, app, raw, made)

    def _applier(self, app: App, now: timedelta) -> dict[str, Any] | Unknown | None:
        one = app.applier
        return self._found(resources.APPLIERS[one.kind], one.namespace, one.last, str(one), now) if one else None

    def _claim(self, rules: Rules, app: App, volume: Volume, site: Site, now: timedelta) -> ClaimReading | Unknown:
        copy, place = volume.copy(site), rules.place(app, site)
        name, source = f"{app.namespace}/{copy.claim}", f"ReplicationSource {app.namespace}/{copy.source}"
        raw = self._found(CLAIMS, app.namespace, copy.claim, f"PersistentVolumeClaim {name}", now)
        replicated = self._found(SOURCES, app.namespace, copy.source, source, now)
        if isinstance(raw, Unknown):
            return raw
        if isinstance(replicated, Unknown):
            return replicated
        reading = parse.claim(raw, name)
        try:
            if (other := need(replicated, "spec", "sourcePVC", kind=str)) != copy.claim:
                return Unknown(f"{source} replicates claim {other}, the configuration says {copy.claim}")
        except Malformed as error:
            return Unknown(f"{source}: {error}")
        if isinstance(reading, Unknown) or not reading.bound:
            return reading
        return self._reachable_from(reading, place.node, now)

    def _reachable_from(self, claim: ClaimReading, node_name: str, now: timedelta) -> ClaimReading | Unknown:
        what = f"PersistentVolume {claim.volume}"
        volume = self._found(VOLUMES, "", claim.volume, what, now)
        node = self._found(NODES, "", node_name, f"Node {node_name}", now)
        if isinstance(volume, Unknown):
            return volume
        if isinstance(node, Unknown):
            return node
        try:
            labels = need(node, "metadata", "labels", kind=dict)
            return replace(claim, reachable=parse.admits(volume, labels, node_name))
        except Malformed as error:
            return Unknown(f"{what} at node {node_name}: {error}")

    def _guards(self, rules: Rules, now: timedelta) -> dict[tuple[str, str, Site], GuardReading | Unknown]:
        if rules.guard is None:
            return {}
        cache = self._caches[GUARDS, ""]
        why, found = cache.doubted(now), {}
        for app in rules.apps:
            for volume in app.volumes:
                for site in Site:
                    name = names.guard_object(app.namespace, volume.copy(site).claim)
                    found[app.key, volume.name, site] = Unknown(why) if why else self._guard(cache, name)
        return found

    def _guard(self, cache: Cache, name: str) -> GuardReading:
        """What one object says, understood once for each of its versions."""
        raw = cache.get(name, self._namespace)
        version = str(raw["metadata"].get("resourceVersion")) if raw is not None else ""
        known = self._understood.get(name)
        if known is None or known[0] != version:
            known = self._understood[name] = (version, guards.reading(raw, f"ConfigMap {self._namespace}/{name}"))
        return known[1]

    def _commands(self, now: timedelta) -> commands.Inbox | Unknown:
        cache = self._caches[COMMANDS, ""]
        if why := cache.doubted(now):
            return Unknown(why)
        inbox = commands.parse(cache.get(names.COMMANDS, self._namespace))
        for text in sorted(set(inbox.malformed) - self._malformed):
            log.warning("a command can't be understood and is not carried out", why=text)
        self._malformed = frozenset(inbox.malformed)
        return inbox


def _nodes(rules: Rules) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*rules.nodes, *(name for name, _ in rules.witnesses)]))


def _applied(workload: Workload | Unknown, app: App, raw: dict[str, Any] | Unknown | None) -> Workload | Unknown:
    """The workload with its applier: of one that cannot be read the workload is known all the same."""
    if isinstance(workload, Unknown) or raw is None:
        return workload
    return replace(workload, applier=raw if isinstance(raw, Unknown) else reading(raw, app))


def _between(workload: Workload | Unknown) -> bool:
    """Whether an app has been stopped by us: what comes next rests on no pod of it being left.

    Told by our epoch: only what GitOps owns is held as well.
    """
    return isinstance(workload, Workload) and workload.epoch is not None and workload.replicas == 0
