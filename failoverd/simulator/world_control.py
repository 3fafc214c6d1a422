"""The controllers, the scheduler and the kubelets, with the timing measured on a real cluster.

RollingUpdate starts the new pod at once and stops the old one when the new is Ready; Recreate waits until
no old pod *object* is left, so a pod on a dead node blocks it until it is force-deleted; a StatefulSet
waits for the name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from failoverd.core.rules import Site, WorkloadKind
from failoverd.simulator import world_render as render
from failoverd.simulator import world_room
from failoverd.simulator.world_app import AppTruth, PodTruth
from failoverd.simulator.world_node import GRACE_MS, Node
from failoverd.simulator.world_time import LOOK

if TYPE_CHECKING:
    from failoverd.simulator.world import World

REACT_MS = 50
BIND_MS = 150
EVICT_MS = 300_000
"""Default toleration of an unreachable node."""
RELIST_MS = 20_000
"""After a heal a kubelet learns this much later what was deleted meanwhile; measured: the old pod wrote 50
s on."""
AFFINITY_MS = 20_000
"""VolSync looks this often where its app runs."""


class Control:
    """Everything that acts on pods."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._count = 0

    # ---------------------------------------------------------------- controllers

    def soon(self, truth: AppTruth) -> None:
        """The object or a pod changed: its controller will look."""
        self.world.time.after(REACT_MS, lambda: self.reconcile(truth))

    def reconcile(self, truth: AppTruth) -> None:
        """One look of the app's controller."""
        if not self.world.api_up:
            return
        truth.observed = truth.generation
        template = render.template_key(truth.raw)
        replicas = int(truth.raw["spec"].get("replicas", 1))
        listed = [pod for pod in truth.pods if pod.listed and pod.owned]
        new = [pod for pod in listed if pod.template == template and not pod.deleting]
        old = [pod for pod in listed if pod.template != template]
        if replicas == 0:
            for pod in listed:
                self.delete(truth, pod)
        elif truth.app.kind is WorkloadKind.STATEFULSET:
            self._stateful(truth, listed, old, template)
        elif truth.raw["spec"].get("strategy", {}).get("type") == "Recreate" and old:
            for pod in old:
                self.delete(truth, pod)
        elif len(new) < replicas:
            self._create(truth, template)
        elif old and any(pod.ready for pod in new):
            for pod in old:
                self.delete(truth, pod)

    def _stateful(self, truth: AppTruth, listed: list[PodTruth], old: list[PodTruth], template: str) -> None:
        for pod in old:
            self.delete(truth, pod)
        if not listed:
            self._create(truth, template)

    def _create(self, truth: AppTruth, template: str) -> None:
        self._count += 1
        suffix = "0" if truth.app.kind is WorkloadKind.STATEFULSET else f"{self._count:x}"
        pod = PodTruth(
            name=f"{truth.app.name}-{suffix}",
            uid=f"00000000-0000-4000-8000-{self._count:012x}",
            key=f"{truth.app.name}-{self._count:x}",
            template=template,
            claims=tuple(claim for _, _, claim in render.claims(truth.raw)),
            selector=dict(render.selector(truth.raw) or {}),
            requests=render.requests(truth.raw),
            created_ms=self.world.time.now_ms,
        )
        truth.pods.append(pod)
        self.world.touch()
        self.world.time.after(BIND_MS, lambda: self.schedule(truth, pod))

    # ---------------------------------------------------------------- scheduler

    def schedule(self, truth: AppTruth, pod: PodTruth) -> None:
        """Find a node for a pending pod, or say why there is none."""
        if pod.node is not None or not pod.listed or pod.deleting or not self.world.api_up:
            return
        node = self._fit(truth, pod)
        if node is None:
            pod.waiting = f"0/{len(self.world.nodes)} nodes are available"
            self.world.touch()
            return
        pod.node, pod.waiting = node.name, "ContainerCreating"
        self.world.touch()
        self._start(truth, pod, node)

    def _fit(self, truth: AppTruth, pod: PodTruth) -> Node | None:
        for node in self.world.nodes.values():
            labels = pod.selector.items() <= node.labels.items()
            healthy = node.ready(self.world.time.now_ms) == "True" and world_room.admits(self.world, node, pod)
            if labels and healthy and all(self._admits(truth, claim, node) for claim in pod.claims):
                return node
        return None

    def _admits(self, truth: AppTruth, claim: str, node: Node) -> bool:
        found = truth.locate(claim)
        if found is None:
            return False  # a claim that does not exist
        return claim not in truth.unbound and self.world.place(truth, found[1]).node == node.name

    def reschedule(self) -> None:
        """Nodes changed: pending pods are looked at again."""
        for truth in self.world.apps.values():
            for pod in list(truth.pods):
                self.schedule(truth, pod)

    # ---------------------------------------------------------------- kubelets

    def _start(self, truth: AppTruth, pod: PodTruth, node: Node, delay_ms: int | None = None) -> None:
        low, high = (int(bound.total_seconds() * 1000) for bound in self.world.spec.start)
        wait = self.world.time.between(low, high) if delay_ms is None else delay_ms
        life = node.generation
        self.world.time.after(wait, lambda: self._started(truth, pod, node, life))

    def _started(self, truth: AppTruth, pod: PodTruth, node: Node, life: int) -> None:
        wanted = pod.listed and not pod.deleting and not pod.running
        if not wanted or node.generation != life or not node.talks or not self.world.api_up:
            return
        pod.running, pod.ready, pod.reported, pod.waiting = True, True, True, ""
        self._mount(truth, pod, node)
        self.world.tell(f"pod {truth.app.namespace}/{pod.name} ready on {node.name}")
        self.world.touch()
        self.soon(truth)

    def _mount(self, truth: AppTruth, pod: PodTruth, node: Node) -> None:
        for claim in pod.claims:
            found = truth.locate(claim)
            if found is None:
                continue
            volume, site = found
            assert self.world.place(truth, site).node == node.name, "a volume is mounted where it cannot be"
            pair = truth.pairs[volume]
            other = truth.writers(site.other)
            if other and pod.owned:
                self.world.two_writers(truth, pod.name, other)
            if pod.owned:
                pair.sides[site].disk.begin(pod.key, truth.rhythm)
                if self.world.guards is not None:
                    self.world.guards.started(truth, volume, site)
                pair.watch(site, truth.rhythm)
            self._affinity(truth, volume, site)

    def _affinity(self, truth: AppTruth, volume: str, site: Site) -> None:
        """VolSync pins the mover to the app's node while a pod uses the claim: each change restarts the
        mover."""
        if self.world.spec.shared_access:
            return
        pair = truth.pairs[volume]

        def look() -> None:
            used = bool(pair.sides[site].disk.writers)
            if truth.mover_nodes.get((volume, site), False) is not used:
                truth.mover_nodes[volume, site] = used
                node = self.world.node_at(truth, site)
                if not (node.drained or node.out_of_service):  # where nothing is let in, no mover comes back
                    pair.restart(site)

        self.world.time.after(AFFINITY_MS - self.world.time.now_ms % AFFINITY_MS, look)

    def delete(self, truth: AppTruth, pod: PodTruth) -> None:
        """An ordinary deletion: the object goes when the kubelet has stopped the containers."""
        if pod.deleting:
            return
        pod.deleting, pod.deleted_ms = True, self.world.time.now_ms
        self.world.touch()
        node = self.world.nodes.get(pod.node or "")
        if node is None:
            self._gone(truth, pod)
        elif node.talks:
            self._terminate(truth, pod, node, 0)

    def force_delete(self, truth: AppTruth, pod: PodTruth) -> None:
        """Grace 0: the object is gone at once; containers on a node that cannot be reached run on."""
        self._gone(truth, pod)
        node = self.world.nodes.get(pod.node or "")
        if node is not None and node.talks and pod.running:
            self._terminate(truth, pod, node, 0)

    def _terminate(self, truth: AppTruth, pod: PodTruth, node: Node, wait_ms: int) -> None:
        if pod.stopping:
            return
        pod.stopping, life = True, node.generation
        stop = wait_ms + self.world.time.between(500, 1_500)
        self.world.time.after(stop, lambda: self._terminated(truth, pod, node, life))

    def _terminated(self, truth: AppTruth, pod: PodTruth, node: Node, life: int) -> None:
        pod.stopping = False
        if node.generation != life or not node.alive:
            return
        self._stop(truth, pod, clean=True)
        if node.talks and pod.listed and self.world.api_up:
            self._gone(truth, pod)

    def _stop(self, truth: AppTruth, pod: PodTruth, *, clean: bool) -> None:
        if not pod.running:
            return
        pod.running = pod.ready = False
        node = self.world.nodes.get(pod.node or "")
        pod.reported = pod.reported and node is not None and not node.talks
        for claim in pod.claims:
            found = truth.locate(claim)
            if found is not None:
                pair = truth.pairs[found[0]]
                pair.sides[found[1]].disk.end(pod.key, clean=clean)
                pair.watch(found[1], truth.rhythm)
                self._affinity(truth, *found)
        self.world.tell(f"pod {truth.app.namespace}/{pod.name} {'stopped' if clean else 'died'}")
        if not pod.listed:
            truth.pods.remove(pod)

    def _gone(self, truth: AppTruth, pod: PodTruth) -> None:
        pod.listed = False
        if not pod.running and pod in truth.pods:
            truth.pods.remove(pod)
        self.world.touch()
        self.soon(truth)

    # ---------------------------------------------------------------- nodes

    def on_power_lost(self, node: Node) -> None:
        """Every container of the node is dead; the objects do not know it yet."""
        for truth, pod in self._on(node):
            pod.stopping = False
            self._stop(truth, pod, clean=False)

    def on_silence(self, node: Node) -> None:
        """The node stopped renewing: after its grace it is Unknown, 300 s later its pods are to be
        deleted."""
        since = node.last_renewal_ms

        def unready() -> None:
            if node.ready(self.world.time.now_ms) != "True":
                self.world.touch()

        def evict() -> None:
            if node.renewing_since_ms is None and node.last_renewal_ms == since and self.world.api_up:
                for truth, pod in self._on(node):
                    self.world.time.stir()
                    self.delete(truth, pod)
                    self.soon(truth)

        self.world.time.after(GRACE_MS, unready)
        self.world.time.after(GRACE_MS + EVICT_MS, evict, LOOK)

    def on_talking(self, node: Node, *, booted: bool) -> None:
        """The kubelet reaches the API again, after a boot or after a heal."""
        wait = 0 if booted else RELIST_MS
        for truth, pod in self._on(node):
            pod.reported = pod.ready
            if not pod.listed:
                self._terminate(truth, pod, node, wait + pod.grace_ms)
            elif pod.deleting and pod.running:
                self._terminate(truth, pod, node, wait)
            elif pod.deleting:
                self._gone(truth, pod)
            elif not pod.running:
                self._start(truth, pod, node, self.world.time.between(1_000, 10_000))
        self.reschedule()

    def _on(self, node: Node) -> list[tuple[AppTruth, PodTruth]]:
        return [
            (truth, pod) for truth in self.world.apps.values() for pod in list(truth.pods) if pod.node == node.name
        ]
