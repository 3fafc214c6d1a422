"""The simulated world: nodes, apps and what connects them. `advance` lets time pass; faults are in
`world_faults`.

Nothing here decides anything for the daemon; nothing here reads a clock.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from failoverd.core.memory import Memory
from failoverd.core.model import Amounts, Command, GuestState, PatchOp
from failoverd.core.rules import SITES, App, Applier, ApplierKind, Place, Require, Site, WorkloadKind
from failoverd.simulator import json_patch, world_argo, world_helm
from failoverd.simulator import world_render as render
from failoverd.simulator.world_app import AppTruth
from failoverd.simulator.world_applied import Applied
from failoverd.simulator.world_control import Control
from failoverd.simulator.world_data import Disk
from failoverd.simulator.world_flux import Flux
from failoverd.simulator.world_guard import Guards
from failoverd.simulator.world_node import GuestTruth, Node
from failoverd.simulator.world_pair import SyncPair
from failoverd.simulator.world_side import Side
from failoverd.simulator.world_spec import WorldSpec
from failoverd.simulator.world_time import MS, Timeline


@dataclass(slots=True, kw_only=True)
class Host:
    """Where one instance of the daemon runs, and how it sees the world."""

    name: str
    linked: bool = True
    """Whether it reaches the API server and everything else."""
    wall_offset_ms: int = 0
    """How far its wall clock is ahead of the API server's."""


@dataclass(slots=True)
class Stored:
    """An object kept by compare-and-swap."""

    memory: Memory | None = None
    version: int = 0
    broken: str = ""
    """Why it cannot be read; empty when it can."""


@dataclass(slots=True)
class World:
    """One simulated world."""

    spec: WorldSpec
    time: Timeline = field(init=False)
    nodes: dict[str, Node] = field(init=False, default_factory=dict)
    apps: dict[str, AppTruth] = field(init=False, default_factory=dict)
    appliers: dict[Applier, Applied] = field(init=False, default_factory=dict)
    hosts: dict[str, Host] = field(init=False, default_factory=dict)
    leader: str = "failoverd-0"
    generation: int = 1
    """How often the lead has changed hands."""
    api_fault: str = ""
    """What every request to the API server ends with; empty while it answers."""
    api_since_ms: int = 0
    lost_answers: int = 0
    """So many of the next acts are done and yet reported as failed: the answer got lost on its way."""
    commands: list[Command] = field(default_factory=list)
    stored: Stored = field(default_factory=Stored)
    told: list[tuple[int, str]] = field(default_factory=list)
    """What happened to pods and data, for transcripts."""
    accused: list[tuple[int, str, str]] = field(default_factory=list)
    """(when, promise, what): everything that a promise forbids and that happened all the same."""
    excuse: Callable[[str, str], bool] = lambda *_: False
    """Whether something that a promise forbids could not be prevented by anybody: then it is only told."""
    counted: tuple[int, dict[str, Amounts]] | None = None
    """Requests of the pods on each node, and the revision they were counted at."""
    revision: int = 0
    """Changes whenever anything an observer could see changes."""
    control: Control = field(init=False)
    flux: Flux = field(init=False)
    guards: Guards | None = field(init=False, default=None)
    _wall: tuple[int, datetime] | None = None
    """What `wall` answered last: a tick asks for one moment several times."""

    def __post_init__(self) -> None:
        self.spec.check()
        self.time = Timeline(self.spec.seed)
        self.control, self.flux = Control(self), Flux(self)
        self._make_nodes()
        for app in self.spec.rules.apps:
            truth = self.apps[app.key] = self._make_app(app)
            if app.applier is not None:
                uid = f"00000000-0000-4000-b000-{len(self.appliers) + 1:012x}"
                make = world_helm.make if app.applier.kind is ApplierKind.HELM_RELEASE else world_argo.make
                truth.applier = self.appliers.setdefault(app.applier, make(self, app.applier, uid))
                truth.applier.truths.append(truth)
        if self.spec.rules.guard is not None:
            self.guards = Guards(self)
            self.guards.begin()
        for truth in self.apps.values():
            self.control.reconcile(truth)

    # ---------------------------------------------------------------- making it

    def _make_nodes(self) -> None:
        rules = self.spec.rules
        places = {p.node: p for pair in rules.pairs for p in (pair.primary, pair.backup)}
        names = list(dict.fromkeys([*(node for node, _ in rules.witnesses), *places]))
        for number, name in enumerate(names):
            place = places.get(name)
            guest = GuestTruth(name=place.fence) if place and place.fence else None
            self.nodes[name] = Node(
                name=name,
                domain=rules.domain(name),
                address=f"198.18.0.{number + 10}",
                labels={"kubernetes.io/hostname": name, **dict(place.selector if place else ())},
                guest=guest,
                boot_ms=int(self.spec.boot.total_seconds() * 1000),
                renewing_since_ms=-self.time.between(0, 9_999),
                powered_at_ms=-86_400_000,
            )

    def _make_app(self, app: App) -> AppTruth:
        place = self.spec.rules.place(app, app.preferred)
        number = len(self.apps) + 1
        raw = render.manifest(
            app,
            place.selector,
            strategy=self.spec.strategy,
            flux=self.spec.flux,
            uid=f"00000000-0000-4000-9000-{number:012x}",
            requests=self.spec.requests,
        )
        pairs = {volume.name: self._make_pair(app, volume.name) for volume in app.volumes}
        return AppTruth(
            app=app,
            raw=raw,
            git=copy.deepcopy(raw),
            flux=self.spec.flux and app.applier is None,
            first=copy.deepcopy(raw["spec"]),
            rhythm=self.spec.rhythm,
            pairs=pairs,
        )

    def _make_pair(self, app: App, volume: str) -> SyncPair:
        sides = {}
        for site in Site:
            sides[site] = Side(
                name=f"{app.key} {volume} {site}",
                site=site,
                device=f"{app.name}-{volume}-{site}".upper(),
                disk=Disk(site, lambda: self.time.now_ms),
                live=lambda site=site: self._live(app, site),  # type: ignore[misc]
                tell=self.tell,
                accuse=self.accuse,
            )
        pair = SyncPair(
            time=self.time,
            sides=sides,
            alive=lambda site: self._node(app, site).alive,
            linked=lambda: all(self._node(app, site).alive and self._node(app, site).linked for site in SITES),
            changed=self.touch,
        )
        for site, side in sides.items():
            side.expects = sides[site.other].device
        pair.check()
        return pair

    def _live(self, app: App, site: Site) -> bool:
        truth = self.apps.get(app.key)
        return truth is None or render.site_of(app, truth.raw) is site

    # ---------------------------------------------------------------- looking

    @property
    def api_up(self) -> bool:
        """Whether the API server answers."""
        return not self.api_fault

    def wall(self, offset_ms: int = 0) -> datetime:
        """The API server's clock, or one that is ahead of it."""
        at_ms = self.time.now_ms + offset_ms
        if self._wall is None or self._wall[0] != at_ms:
            self._wall = at_ms, self.spec.beginning + at_ms * MS
        return self._wall[1]

    def place(self, truth: AppTruth, site: Site) -> Place:
        """Where the app runs when it runs at `site`."""
        return self.spec.rules.place(truth.app, site)

    def _node(self, app: App, site: Site) -> Node:
        return self.nodes[self.spec.rules.place(app, site).node]

    def node_at(self, truth: AppTruth, site: Site) -> Node:
        """The node of a site."""
        return self._node(truth.app, site)

    def touch(self) -> None:
        """Something visible changed."""
        self.revision += 1

    def tell(self, text: str) -> None:
        """Something happened that a reader of the transcript wants to know."""
        self.time.stir()
        self.told.append((self.time.now_ms, text))

    def accuse(self, promise: str, text: str) -> None:
        """Something happened that a promise forbids."""
        if self.excuse(promise, text):
            self.tell(f"not to be prevented {promise}: {text}")
            return
        self.time.stir()
        self.accused.append((self.time.now_ms, promise, text))
        self.tell(f"VIOLATION {promise}: {text}")

    def two_writers(self, truth: AppTruth, pod: str, others: set[str]) -> None:
        """A pod starts while one of the same app writes at the other site."""
        text = f"{truth.app.key}: {pod} writes while {', '.join(sorted(others))} does at the other site"
        if truth.app.require is Require.PROOF:
            self.accuse("I2", text)
        else:
            self.tell(f"two writers {text}")

    # ---------------------------------------------------------------- time and acts

    def advance(self, to_ms: int) -> None:
        """Let time pass up to `to_ms` (milliseconds since the beginning)."""
        self.time.advance(to_ms)

    def patch(self, truth: AppTruth, ops: tuple[PatchOp, ...], *, by: str = "failoverd") -> None:
        """A JSON Patch of the workload. Raises PatchFailed; then nothing changed."""
        document = copy.deepcopy(truth.raw)
        document["metadata"]["resourceVersion"] = str(truth.version)
        plain = [{"op": op.op, "path": op.path, "value": op.value} for op in ops]
        changed = json_patch.apply(document, plain)
        meta = changed["metadata"]
        assert isinstance(meta, dict)
        meta.pop("resourceVersion", None)
        self.replace(truth, changed, by=by)

    def replace(self, truth: AppTruth, raw: render.Raw, *, by: str) -> None:
        """A new object for the app; its controller and Flux take note."""
        if raw == truth.raw:
            return
        # A Deployment's annotations count as a part of it, a StatefulSet's do not.
        noted = truth.app.kind is WorkloadKind.DEPLOYMENT and render.notes(raw) != render.notes(truth.raw)
        if noted or raw["spec"] != truth.raw["spec"]:
            truth.generation += 1
        truth.raw = raw
        truth.version += 1
        self.touch()
        self.control.soon(truth)
        self.flux.look(truth)
        if by not in ("failoverd",):
            self.tell(f"{by} changed {truth.app.key}")

    def fence_off(self, name: str, done: Callable[[str], None]) -> None:
        """Ask the hypervisor to stop a node; `done` hears the error text, empty when it is confirmed
        stopped."""
        node = self.nodes[name]
        guest = node.guest
        if guest is None or not guest.reachable:
            self.time.after(3_000, lambda: done("hypervisor does not answer"))
        elif guest.refuses or guest.managed or guest.lock:
            done(guest.refuses or guest.managed or f"CT is locked ({guest.lock})")
        else:
            self.time.after(guest.stop_ms if node.powered else 100, lambda: self._stopped(node, done))

    def _stopped(self, node: Node, done: Callable[[str], None]) -> None:
        self.power_off(node.name)
        done("")

    def guest_state(self, node: Node) -> GuestState:
        """What the hypervisor says of the node."""
        assert node.guest is not None
        return node.guest.lie or (GuestState.RUNNING if node.powered else GuestState.STOPPED)

    # ---------------------------------------------------------------- power, link, API

    def power_off(self, name: str) -> None:
        """The node loses power, now."""
        node = self.nodes[name]
        if not node.powered:
            return
        node.generation += 1
        node.powered = node.booted = False
        self._talking(node)
        self.control.on_power_lost(node)
        for truth, site in self.sides_on(node):
            for pair in truth.pairs.values():
                pair.sides[site].up = False
                pair.check()
        self.tell(f"node {name} power off")
        if name == self.spec.api_node:
            self.set_api("connection refused")

    def power_on(self, name: str) -> None:
        """It boots; kubelet and movers follow."""
        node = self.nodes[name]
        if node.powered:
            return
        node.generation += 1
        node.powered, node.powered_at_ms, life = True, self.time.now_ms, node.generation
        self.tell(f"node {name} power on")
        self.touch()
        self.time.after(node.boot_ms, lambda: self._booted(node, life))

    def _booted(self, node: Node, life: int) -> None:
        if node.generation != life or not node.powered:
            return
        node.booted = True
        self.tell(f"node {node.name} booted")
        if node.name == self.spec.api_node:
            self.set_api("")
        if node.kubelet:
            node.deleted = False  # a kubelet that starts registers its node
        self._talking(node, booted=True)
        for truth, site in self.sides_on(node):
            for volume, pair in truth.pairs.items():
                truth.mover_nodes[volume, site] = False
                if not (node.drained or node.out_of_service):
                    pair.boot(site)

    def set_link(self, name: str, linked: bool) -> None:
        """Cut or heal a node's network."""
        node = self.nodes[name]
        if node.linked is linked:
            return
        node.linked = linked
        self.tell(f"node {name} {'link back' if linked else 'cut off'}")
        self._talking(node)
        for truth, _ in self.sides_on(node):
            for pair in truth.pairs.values():
                pair.check()

    def set_kubelet(self, name: str, running: bool) -> None:
        """Stop or start the kubelet; containers run on."""
        self.nodes[name].kubelet = running
        self.tell(f"node {name} kubelet {'started' if running else 'stopped'}")
        self._talking(self.nodes[name], booted=running)

    def set_api(self, fault: str) -> None:
        """The API server stops answering (with this error) or, with an empty text, answers again."""
        if fault == self.api_fault:
            return
        self.api_fault, self.api_since_ms = fault, self.time.now_ms
        self.tell(f"API server {fault or 'answers again'}")
        for node in self.nodes.values():
            self._talking(node, booted=True)
        if not fault:
            for truth in self.apps.values():
                self.control.soon(truth)
                self.flux.look(truth)

    def _talking(self, node: Node, *, booted: bool = False) -> None:
        talking = node.talks and self.api_up
        was = node.renewing_since_ms is not None
        node.set_renewing(self.time.now_ms, talking)
        self.touch()
        if talking and not was:
            self.control.on_talking(node, booted=booted)
        elif was and not talking:
            self.control.on_silence(node)

    def sides_on(self, node: Node) -> list[tuple[AppTruth, Site]]:
        """Every app with a copy on the node, and which."""
        return [
            (truth, site)
            for truth in self.apps.values()
            for site in Site
            if self.place(truth, site).node == node.name
        ]
