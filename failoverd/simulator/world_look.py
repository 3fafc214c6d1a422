"""What one instance can see of the world: readings, each Unknown where the real request would fail."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import lru_cache

from failoverd.core.model import (
    Api,
    ClaimReading,
    Folder,
    GuardReading,
    Guest,
    Kubelet,
    Lease,
    NodeObject,
    NodeReading,
    Pod,
    Role,
    Unknown,
    Workload,
)
from failoverd.core.rules import SITES, Site, Volume
from failoverd.simulator import world_render as render
from failoverd.simulator import world_room
from failoverd.simulator.world import Host, World
from failoverd.simulator.world_app import AppTruth
from failoverd.simulator.world_node import Node
from failoverd.simulator.world_pair import SyncPair
from failoverd.simulator.world_side import CHANGING, Side
from failoverd.simulator.world_time import MS

PROBE_AFTER_MS = 12_000
"""A kubelet is probed only when its lease has not moved for longer than a renewal takes."""


def stamp(world: World, at_ms: int) -> str:
    """A moment of the world as the systems write it."""
    return _stamp(world.spec.beginning, at_ms)


@lru_cache(maxsize=4096)
def _stamp(beginning: datetime, at_ms: int) -> str:
    return (beginning + at_ms * MS).isoformat(timespec="microseconds")[:-6] + "Z"


class Look:
    """One look at the world through the eyes of one host."""

    def __init__(self, world: World, host: Host) -> None:
        self.world, self.host = world, host
        self.now_ms = world.time.now_ms
        self.silent: set[str] = set()
        """What did not answer at all: the real look waits for it, long the first time and hardly afterwards."""
        self.reaches_api = host.linked and world.api_up
        """Whether the API server answers this host."""
        self._known: dict[str, bool] | None = None

    @property
    def _ready(self) -> dict[str, bool]:
        """Which nodes are Ready: an idle tick never asks."""
        if self._known is None:
            self._known = {name: node.ready(self.now_ms) == "True" for name, node in self.world.nodes.items()}
        return self._known

    @property
    def _no_api(self) -> Unknown:
        self.silent.add("API server")
        return Unknown(f"API server: {self.world.api_fault or 'no route'}")

    def api(self) -> Api | Unknown:
        """The API server's clock."""
        return Api(date=self.world.wall()) if self.reaches_api else Unknown(self.world.api_fault or "no route")

    def node(self, name: str, *, uncached: bool) -> NodeReading:
        """All readings of one node."""
        node = self.world.nodes[name]
        if node.deleted and self.reaches_api:
            gone = Unknown(f"Node {name} does not exist", gone=True)
            missing = Unknown(f"Lease kube-node-lease/{name} does not exist", gone=True)
            return NodeReading(
                lease=missing, node=gone, uncached=uncached, kubelet=self._kubelet(node), guest=self._guest(node)
            )
        if not self.reaches_api:
            lease: Lease | Unknown = self._no_api
            shown: NodeObject | Unknown = self._no_api
        else:
            lease = self._lease(node)
            shown = world_room.shown(node, ready=self._ready[name])
        return NodeReading(
            lease=lease,
            node=shown,
            uncached=uncached,
            kubelet=self._kubelet(node),
            guest=self._guest(node),
            used=world_room.used(self.world, node) if self.reaches_api else self._no_api,
        )

    def again(self, node: Node, before: NodeReading) -> NodeReading:
        """The readings of a node about which nothing has changed but its lease and the uptime of its guest."""
        lease = before.lease
        if isinstance(lease, Lease) and not node.deleted:
            lease = self._lease(node)
        guest = before.guest
        if isinstance(guest, Guest) and node.powered:
            uptime = node.uptime_ms(self.now_ms) * MS
            guest = Guest(
                state=guest.state,
                busy=guest.busy,
                tasks_visible=guest.tasks_visible,
                uptime=uptime,
                managed=guest.managed,
            )
        return NodeReading(
            lease=lease,
            node=before.node,
            uncached=before.uncached,
            kubelet=before.kubelet,
            guest=guest,
            used=before.used,
        )

    def _lease(self, node: Node) -> Lease:
        at_ms = node.renewal_ms(self.now_ms)
        if node.shown is None or node.shown[0] != at_ms:
            node.shown = at_ms, Lease(stamp=_stamp(self.world.spec.beginning, at_ms))
        return node.shown[1]

    def _kubelet(self, node: Node) -> Kubelet | Unknown:
        if self.now_ms - node.renewal_ms(self.now_ms) <= PROBE_AFTER_MS:
            return Unknown("not probed")
        if not (node.alive and node.linked and self.host.linked):
            self.silent.add(f"kubelet {node.name}")
            return Kubelet.SILENT
        return Kubelet.ALIVE if node.kubelet else Kubelet.REFUSED

    def _guest(self, node: Node) -> Guest | Unknown | None:
        guest = node.guest
        if guest is None:
            return None
        if not guest.reachable or not self.host.linked:
            self.silent.add(f"guest {node.name}")
            return Unknown(f"{guest.name}: no answer within 2 s")
        return Guest(
            state=self.world.guest_state(node),
            busy=guest.task or (f"lock '{guest.lock}'" if guest.lock else ""),
            tasks_visible=guest.tasks_visible,
            uptime=node.uptime_ms(self.now_ms) * MS if node.powered else None,
            managed=guest.managed,
        )

    def workload(self, key: str) -> Workload | Unknown:
        """The workload and every pod that mounts its claims."""
        if not self.reaches_api:
            return self._no_api
        truth = self.world.apps[key]
        movers = tuple([(side.up, side.started_ms) for pair in truth.pairs.values() for side in pair.sides.values()])
        state = (self.world.revision, truth.version, truth.observed, movers, tuple(self._ready.values()))
        if truth.shown is None or truth.shown[0] != state:
            truth.shown = (state, self._workload(truth))
        return truth.shown[1]

    def _workload(self, truth: AppTruth) -> Workload:
        pods = [pod.reading(node_ready=self._is_ready(pod.node)) for pod in truth.pods if pod.listed and pod.claims]
        pods += self.mover_pods(truth)
        found = render.workload(truth.raw, truth.version, pods, updated=truth.observed == truth.generation)
        return replace(found, applier=truth.applier.reading()) if truth.applier is not None else found

    def _is_ready(self, node: str | None) -> bool:
        return node is not None and self._ready[node]

    def mover_pods(self, truth: AppTruth) -> list[Pod]:
        """The movers' pods; those of a dead node stay listed."""
        found = []
        for volume in truth.app.volumes:
            for site in SITES:
                node = self.world.place(truth, site).node
                side = truth.pairs[volume.name].sides[site]
                copy = volume.copy(site)
                found.append(
                    Pod(
                        name=f"volsync-{copy.source}",
                        uid=f"mover-{copy.source}-{side.started_ms}",
                        node=node,
                        claims=(copy.claim,),
                        owned=False,
                        mover=True,
                        ready=side.up and self._is_ready(node),
                    )
                )
        return found

    def claim(self, key: str, volume: Volume, site: Site) -> ClaimReading | Unknown:
        """Whether one claim could be mounted."""
        if not self.reaches_api:
            return self._no_api
        claim = volume.copy(site).claim
        return _claim(claim, bound=claim not in self.world.apps[key].unbound)

    def guard(self, key: str, volume: str, site: Site) -> GuardReading | Unknown:
        """The object of one copy's guard."""
        if not self.reaches_api:
            return self._no_api
        assert self.world.guards is not None
        return self.world.guards.reading((key, volume, site))

    def mover_silent(self, key: str, volume: str, site: Site) -> str:
        """Why a mover does not answer this host; empty when it does."""
        truth = self.world.apps[key]
        node, side = self.world.node_at(truth, site), truth.pairs[volume].sides[site]
        if not self.host.linked or not node.linked or not node.alive or side.hung:
            self.silent.add(f"Syncthing {side.name}")
            return f"Syncthing of {side.name}: no answer within 2 s"
        return "" if side.up else f"Syncthing of {side.name}: connection refused"

    def folder(self, key: str, volume: str, site: Site) -> Folder | Unknown:
        """One side's Syncthing."""
        silent = self.mover_silent(key, volume, site)
        if silent:
            return Unknown(silent)
        pair = self.world.apps[key].pairs[volume]
        side = pair.sides[site]
        if side.paused:
            return Unknown(f"Syncthing of {side.name}: the folder is paused")
        visible = (side.edition, side.device, side.kind, side.ignores, side.versioning, side.error, side.started_ms)
        known = side.expects or pair.sides[site.other].device
        moving = (
            pair.pulling,
            pair.connected(site),
            side.peer_paused,
            known,
            side.remote_sequence,
            *side.errors.items(),
        )
        if side.shown is None or side.shown[0] != (visible, moving):
            side.shown = ((visible, moving), self._folder(side, pair, site))
        return side.shown[1]

    def _folder(self, side: Side, pair: SyncPair, site: Site) -> Folder:
        needs = side.needs()
        errors = {
            path: why for path, why in side.errors.items() if why == CHANGING or side.kind is not Role.SEND_ONLY
        }
        return Folder(
            device=side.device,
            started=stamp(self.world, side.started_ms),
            peer=side.expects or pair.sides[site.other].device,
            type=side.kind.value,
            state=state(side, pulling=pair.pulling and bool(needs)),
            error=side.error,
            sequence=side.sequence,
            remote_sequence=side.remote_sequence,
            connected=pair.connected(site),
            peer_paused=side.peer_paused,
            errors=len(errors),
            error_files=tuple(sorted(errors)),
            need_items=len(needs),
            need_files=tuple(sorted(one.path for one in needs)) if self.world.guards is not None else (),
            need_bytes=sum(1000 for entry in needs if entry.content is not None),
            receive_only=len(side.local_changes()) if side.kind is Role.RECEIVE_ONLY else 0,
            local_files=sum(1 for entry in side.index.values() if entry.content is not None),
            ignores=side.ignores,
            versioning=side.versioning,
        )


@lru_cache(maxsize=1024)
def _claim(claim: str, *, bound: bool) -> ClaimReading:
    return ClaimReading(bound=True, volume=claim.replace("pvc-", "pv-", 1)) if bound else ClaimReading(bound=False)


def state(side: Side, *, pulling: bool) -> str:
    """The folder's state in Syncthing's words."""
    if side.paused:
        return ""
    if side.error:
        return "error"
    return "syncing" if pulling and side.kind is not Role.SEND_ONLY else "idle"
