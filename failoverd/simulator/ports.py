"""The loop's ports over a World: what the real adapters do against real systems, done in process and in
its time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from failoverd.core.memory import Memory
from failoverd.core.model import (
    Action,
    Decision,
    DeletePod,
    DropConnection,
    FenceOff,
    FenceOn,
    FetchVersions,
    FindVersions,
    GuestState,
    Instance,
    Now,
    Override,
    PatchApplier,
    PatchWorkload,
    Receipt,
    Revert,
    Scan,
    Scanned,
    ScanPoints,
    SetIgnores,
    SetRole,
    Snapshot,
    TaintNode,
    Unknown,
    UntaintNode,
    Verify,
    Want,
)
from failoverd.core.names import GUARD_FOLDER
from failoverd.core.rules import SITES, Rules, Site
from failoverd.loop import Loop
from failoverd.ports import Conflict, StoreError
from failoverd.simulator import world_taint, world_versions
from failoverd.simulator.clock import WorldClock, until
from failoverd.simulator.json_patch import PatchFailed
from failoverd.simulator.world import Host, World
from failoverd.simulator.world_lead import WorldLeadership
from failoverd.simulator.world_look import Look, stamp
from failoverd.simulator.world_pair import RELAUNCH_MS, SyncPair
from failoverd.simulator.world_side import CHANGING
from failoverd.simulator.world_time import MS

PATIENCE_MS = 2_000
"""A look waits this long for what does not answer."""
GRACE_MS = 100
"""And this long when it did not answer the last time either."""
TIMEOUT_S = 3.0
"""How long a request to something that does not answer takes to fail."""
SCAN_MS, POINTS_MS = 320, 70
"""How long a scan takes, of all or of the points: 20 ms for the Lease that is read first, 300 or 50 ms for itself."""


@dataclass(slots=True)
class WorldObserver:
    """Takes all readings at once."""

    world: World
    host: Host
    rules: Rules
    stirs: int = -1
    """What the world had counted when it was looked at last."""
    _slow: set[str] = field(default_factory=set)

    async def observe(self, now: Now, confirm: frozenset[str], instance: Instance) -> Snapshot:
        """One snapshot of the world as this instance can see it."""
        assert now.mono <= self.world.time.now_ms * MS, "a look into the future"
        look, self.stirs = Look(self.world, self.host), self.world.time.stirs
        snapshot = self._snapshot(look, confirm, instance)
        if look.silent:
            wait_ms = GRACE_MS if look.silent <= self._slow else PATIENCE_MS
            await until(self.world, self.world.time.now_ms + wait_ms)
        self._slow = look.silent
        return snapshot

    def _snapshot(self, look: Look, confirm: frozenset[str], instance: Instance) -> Snapshot:
        copies = [(app, volume, site) for app in self.rules.apps for volume in app.volumes for site in SITES]
        return Snapshot(
            api=look.api(),
            instance=instance,
            nodes={name: look.node(name, uncached=name in confirm) for name in self.world.nodes},
            workloads={app.key: look.workload(app.key) for app in self.rules.apps},
            folders={
                (app.key, volume.name, site): look.folder(app.key, volume.name, site) for app, volume, site in copies
            },
            claims={(app.key, volume.name, site): look.claim(app.key, volume, site) for app, volume, site in copies},
            guards={
                (app.key, volume.name, site): look.guard(app.key, volume.name, site)
                for app, volume, site in (copies if self.world.guards is not None else ())
            },
            commands=tuple(self.world.commands) if look.reaches_api else (),
        )


def scanned(world: World, host: Host, action: Scan | ScanPoints, asked: datetime) -> Receipt:
    """What comes of a scan that was `asked` for and falls due now, where the API server answers."""
    why, pair = Look(world, host).mover_silent(action.app, action.volume, action.site), world.apps[action.app].pairs
    if why:
        return Receipt(action=action, ok=False, detail=why)
    try:
        return _scan_now(world, pair[action.volume], action, asked)
    except _Refused as refused:
        return Receipt(action=action, ok=False, detail=str(refused))


def _scan_now(world: World, pair: SyncPair, action: Scan | ScanPoints, asked: datetime) -> Receipt:
    """Raises _Refused."""
    side = pair.sides[action.site]
    if isinstance(action, ScanPoints):
        pair.scan(action.site, GUARD_FOLDER)
        return Receipt(action=action, ok=True)
    if side.error or side.paused:
        raise _Refused(f"500 {side.error or 'folder is paused'}")
    pair.scan(action.site)
    found = Scanned(
        at=asked,
        sequence=side.sequence,
        errors=len(side.errors),
        error_files=tuple(side.errors),
        changing=tuple(path for path, why in side.errors.items() if why == CHANGING),
        started=stamp(world, side.started_ms),
        device=side.device,
    )
    return Receipt(action=action, ok=True, scanned=found)


class _Refused(Exception):
    """The act did not happen; the text goes into the receipt."""


@dataclass(slots=True)
class WorldExecutor:
    """Carries out actions on the world, each taking the time it takes."""

    world: World
    host: Host

    async def execute(self, action: Action) -> Receipt:
        """Do it and say what came of it."""
        handler: Callable[[Action], Awaitable[Receipt]] = _HANDLERS[type(action)].__get__(self)
        try:
            receipt = await handler(action)
        except _Refused as refused:
            return Receipt(action=action, ok=False, detail=str(refused))
        if self.world.lost_answers > 0:
            self.world.lost_answers -= 1
            return Receipt(action=action, ok=False, detail="no answer within 3 s")
        return receipt

    async def _patch(self, action: PatchWorkload) -> Receipt:
        await self._api()
        try:
            self.world.patch(self.world.apps[action.app], action.ops)
        except PatchFailed as failed:
            raise _Refused(f"422 {failed}") from None
        return Receipt(action=action, ok=True)

    async def _patch_applier(self, action: PatchApplier) -> Receipt:
        await self._api()
        try:
            self.world.appliers[action.applier].patch(action.ops)
        except PatchFailed as failed:
            raise _Refused(f"422 {failed}") from None
        return Receipt(action=action, ok=True)

    async def _delete_pod(self, action: DeletePod) -> Receipt:
        await self._api()
        truth = self.world.apps[action.app]
        for pod in list(truth.pods):
            if pod.listed and pod.name == action.pod:
                if pod.uid != action.uid:
                    return Receipt(action=action, ok=True, detail="another pod has that name now")
                self.world.control.force_delete(truth, pod)
        return Receipt(action=action, ok=True)

    async def _set_role(self, action: SetRole) -> Receipt:
        pair = await self._mover(action.app, action.volume, action.site)
        side = pair.sides[action.site]
        side.set_kind(action.role)
        displaced = None
        if action.keep is not None:
            displaced = side.kept() if side.versioning and not action.keep else None
            side.versioning = "simple" if action.keep else ""
        self.world.tell(f"folder {side.name} is {action.role}")
        pair.scan(action.site)
        pair.kick()
        return Receipt(action=action, ok=True, displaced=displaced)

    async def _find(self, action: FindVersions) -> Receipt:
        pair = await self._mover(action.app, action.volume, action.site)
        found = world_versions.found(self.world, pair.sides[action.site], action.path)
        return Receipt(action=action, ok=True, found=found, detail="" if found else f"no version of {action.path}")

    async def _fetch(self, action: FetchVersions) -> Receipt:
        pair = await self._mover(action.app, action.volume, action.site)
        if not pair.sides[action.site].versioning:
            there = world_versions.there(self.world, pair.sides[action.site], action.files)
            detail = "there already" if there else "not there, and versions are off"
            return Receipt(action=action, ok=there, detail=detail, unsure=not there)
        told = world_versions.fetch(self.world, pair, action.site, action.files)
        return Receipt(action=action, ok=bool(told), detail=told or "the version is gone")

    async def _set_ignores(self, action: SetIgnores) -> Receipt:
        pair = await self._mover(action.app, action.volume, action.site)
        pair.sides[action.site].ignores = action.patterns
        pair.scan(action.site)
        pair.kick()
        return Receipt(action=action, ok=True)

    async def _scan(self, action: Scan) -> Receipt:
        asked = self.world.wall()
        pair = await self._mover(action.app, action.volume, action.site, seconds=0.3)
        return _scan_now(self.world, pair, action, asked)

    async def _scan_points(self, action: ScanPoints) -> Receipt:
        pair = await self._mover(action.app, action.volume, action.site)
        return _scan_now(self.world, pair, action, self.world.wall())

    async def _want(self, action: Want) -> Receipt:
        await self._api()
        assert self.world.guards is not None
        if not self.world.guards.order((action.app, action.volume, action.site), action.wanted, action.version):
            raise _Refused("409 it was changed meanwhile")
        return Receipt(action=action, ok=True)

    async def _override(self, action: Override) -> Receipt:
        pair = await self._mover(action.app, action.volume, action.site)
        pair.sides[action.site].override()
        pair.kick()
        return Receipt(action=action, ok=True)

    async def _revert(self, action: Revert) -> Receipt:
        pair = await self._mover(action.app, action.volume, action.site)
        pair.sides[action.site].revert()
        pair.kick()
        return Receipt(action=action, ok=True)

    async def _drop_connection(self, action: DropConnection) -> Receipt:
        pair = await self._mover(action.app, action.volume, action.site)
        side = pair.sides[action.site]
        if stamp(self.world, side.started_ms) != action.started:
            return Receipt(action=action, ok=True, detail="restarted already")
        pair.restart(action.site, RELAUNCH_MS)
        await self._wait((RELAUNCH_MS + 100) / 1000)
        if not side.up:
            raise _Refused(f"Syncthing of {side.name}: asked to restart, and not back")
        return Receipt(action=action, ok=True)

    async def _fence_off(self, action: FenceOff) -> Receipt:
        await self._api()
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.world.fence_off(action.node, lambda error: None if done.done() else done.set_result(error))
        error = await done
        return Receipt(action=action, ok=not error, detail=error or "confirmed stopped")

    async def _fence_on(self, action: FenceOn) -> Receipt:
        await self._api()
        guest = self.world.nodes[action.node].guest
        if guest is None or not guest.reachable:
            await self._wait(TIMEOUT_S)
            raise _Refused("hypervisor does not answer")
        self.world.power_on(action.node)
        return Receipt(action=action, ok=True)

    async def _taint(self, action: TaintNode) -> Receipt:
        await self._api()
        node = self.world.nodes[action.node]
        if node.guest is None or not node.guest.reachable or self.world.guest_state(node) is not GuestState.STOPPED:
            raise _Refused(f"{action.node} is not tainted: its guest was to be stopped")
        world_taint.set_out_of_service(self.world, action.node)
        return Receipt(action=action, ok=True)

    async def _untaint(self, action: UntaintNode) -> Receipt:
        await self._api()
        world_taint.clear_out_of_service(self.world, action.node)
        return Receipt(action=action, ok=True)

    async def _verify(self, action: Verify) -> Receipt:
        await self._api()
        truth = self.world.apps[action.app]
        serving = truth.serves and any(pod.ready for pod in truth.pods)
        return Receipt(action=action, ok=serving, detail="" if serving else f"{action.url}: no answer")

    async def _wait(self, seconds: float) -> None:
        passed = asyncio.get_running_loop().create_future()
        wait_ms = int(seconds * 1000)
        self.world.time.after(wait_ms, lambda: None if passed.done() else passed.set_result(None), "request")
        await passed

    async def _api(self) -> None:
        """Reach the API server: writes go there, and acts elsewhere read the Lease there first."""
        if not self.host.linked or not self.world.api_up:
            await self._wait(TIMEOUT_S)
            raise _Refused(f"API server: {self.world.api_fault or 'no route'}")
        await self._wait(0.02)
        if self.world.leader != self.host.name:
            raise _Refused("not the leader any more")

    async def _mover(self, app: str, volume: str, site: Site, seconds: float = 0.05) -> SyncPair:
        await self._api()
        await self._wait(seconds)
        why = Look(self.world, self.host).mover_silent(app, volume, site)
        if why:
            raise _Refused(why)
        return self.world.apps[app].pairs[volume]


_HANDLERS: dict[type[Action], Callable[..., Awaitable[Receipt]]] = {
    PatchWorkload: WorldExecutor._patch,
    PatchApplier: WorldExecutor._patch_applier,
    DeletePod: WorldExecutor._delete_pod,
    SetRole: WorldExecutor._set_role,
    SetIgnores: WorldExecutor._set_ignores,
    Scan: WorldExecutor._scan,
    ScanPoints: WorldExecutor._scan_points,
    Want: WorldExecutor._want,
    Override: WorldExecutor._override,
    Revert: WorldExecutor._revert,
    FindVersions: WorldExecutor._find,
    FetchVersions: WorldExecutor._fetch,
    DropConnection: WorldExecutor._drop_connection,
    FenceOff: WorldExecutor._fence_off,
    FenceOn: WorldExecutor._fence_on,
    TaintNode: WorldExecutor._taint,
    UntaintNode: WorldExecutor._untaint,
    Verify: WorldExecutor._verify,
}
"""What carries out each kind of action; a test asks that none is missing."""


@dataclass(slots=True)
class WorldStore:
    """Memory by compare-and-swap, in the world's API server."""

    world: World
    host: Host
    version: int = 0

    async def load(self) -> Memory | Unknown | None:
        """Memory, None when there never was any, Unknown when it cannot be told."""
        stored = self.world.stored
        if not self.host.linked or not self.world.api_up:
            return Unknown(f"API server: {self.world.api_fault or 'no route'}")
        if stored.broken:
            return Unknown(stored.broken)
        self.version = stored.version
        return stored.memory

    async def save(self, memory: Memory) -> None:
        """Write it. Raises Conflict, StoreError."""
        if not self.host.linked or not self.world.api_up:
            raise StoreError(f"API server: {self.world.api_fault or 'no route'}")
        if self.world.stored.version != self.version:
            raise Conflict
        self.world.stored.memory = memory
        self.world.stored.version += 1
        self.version = self.world.stored.version


@dataclass(slots=True)
class Recorder:
    """The Voice of the simulator: keeps every tick for whoever wants to read it."""

    heard: Callable[[Decision, Snapshot, Now], None] = lambda *_: None

    def say(self, decision: Decision, snapshot: Snapshot, now: Now) -> None:
        """Take note of one tick."""
        self.heard(decision, snapshot, now)


def instance(world: World, name: str = "failoverd-0", voice: Recorder | None = None) -> Loop:
    """The real loop of one daemon instance, running in `world`."""
    host = world.hosts.setdefault(name, Host(name=name))
    rules = world.spec.rules
    return Loop(
        rules=lambda: rules,
        clock=WorldClock(world, host),
        observer=WorldObserver(world, host, rules),
        executor=WorldExecutor(world, host),
        store=WorldStore(world, host),
        leadership=WorldLeadership(world, host),
        voice=voice or Recorder(),
    )
