"""The taint `out-of-service` and other writes to a Node object, with what the cluster's controllers make of them.

As in Kubernetes 1.36: a NoExecute taint has every pod deleted that does not tolerate it; the garbage collector, which
looks every 20 s, force-deletes what is to be deleted on a node that carries `out-of-service` and is not Ready.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from failoverd.core import names
from failoverd.core.rules import Site
from failoverd.simulator.world_node import GRACE_MS, OUT_OF_SERVICE, Node
from failoverd.simulator.world_room import uncordon

if TYPE_CHECKING:
    from failoverd.simulator.world import World

COLLECT_MS = 20_000
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
CONTROLLERS = (UNREACHABLE, UNSCHEDULABLE)
"""Taints that follow from something else."""


def written(world: World, name: str, raw: dict[str, Any]) -> None:
    """Somebody has written the Node object: what counts of it is its taints, whether it is cordoned, and our mark."""
    node = world.nodes[name]
    listed = [_text(taint) for taint in (raw.get("spec") or {}).get("taints") or ()]
    notes = raw["metadata"].get("annotations") or {}
    cordoned = bool((raw.get("spec") or {}).get("unschedulable"))
    if node.cordoned and not cordoned:
        uncordon(world, name)
    node.cordoned = cordoned
    mark(world, node, names.TAINTED in notes)
    _become(world, node, tuple(text for text in listed if _key(text) not in CONTROLLERS))


def evict(world: World, uid: str) -> bool:
    """One pod of a workload is evicted; whether there is such a pod."""
    for truth in world.apps.values():
        for pod in list(truth.pods):
            if pod.uid == uid and pod.listed:
                world.control.delete(truth, pod)
                return True
    return False


def evict_mover(world: World, name: str) -> None:
    """The mover behind the pod `volsync-SOURCE-0`: it comes back at once, or once its node is uncordoned."""
    for truth in world.apps.values():
        for volume in truth.app.volumes:
            for site in Site:
                if name != f"volsync-{volume.copy(site).source}-0":
                    continue
                node, pair = world.node_at(truth, site), truth.pairs[volume.name]
                if node.cordoned:
                    node.drained = True
                    pair.stop(site)
                else:
                    pair.restart(site)
                world.touch()


def set_out_of_service(world: World, name: str) -> None:
    """The daemon sets the taint, marked as its own."""
    node = world.nodes[name]
    mark(world, node, marked=True)
    if not node.out_of_service:
        _become(world, node, (*node.taints, OUT_OF_SERVICE))


def clear_out_of_service(world: World, name: str) -> None:
    """The daemon takes its own off."""
    node = world.nodes[name]
    if node.marked:
        mark(world, node, marked=False)
        _become(world, node, tuple(text for text in node.taints if _key(text) != names.OUT_OF_SERVICE))


def mark(world: World, node: Node, marked: bool) -> None:
    """Our mark is on it, or is not."""
    node.marked = marked
    world.touch()


def _become(world: World, node: Node, taints: tuple[str, ...]) -> None:
    was, node.taints = node.out_of_service, taints
    if node.out_of_service and not was:
        world.tell(f"node {node.name} tainted out-of-service")
        if node.alive:
            world.accuse("I2", f"{node.name} lives, and its volumes are torn from it")
        _evict(world, node)
    elif was and not node.out_of_service:
        world.tell(f"node {node.name} in service again")
        for truth, site in world.sides_on(node):
            for pair in truth.pairs.values():
                if node.alive and not pair.sides[site].up:
                    pair.boot(site)
    world.touch()
    world.control.reschedule()


def _evict(world: World, node: Node) -> None:
    for truth in world.apps.values():
        for pod in [one for one in truth.pods if one.listed and one.node == node.name]:
            world.control.delete(truth, pod)
    node.tenants.clear()
    from_ms = max(world.time.now_ms, node.renewal_ms(world.time.now_ms) + GRACE_MS)
    wait_ms = from_ms - world.time.now_ms + COLLECT_MS - from_ms % COLLECT_MS
    world.time.after(wait_ms, lambda: _collect(world, node))


def _collect(world: World, node: Node) -> None:
    if not node.out_of_service or node.ready(world.time.now_ms) == "True" or not world.api_up:
        return
    for truth in world.apps.values():
        for pod in [one for one in truth.pods if one.listed and one.deleting and one.node == node.name]:
            world.control.force_delete(truth, pod)


def _key(text: str) -> str:
    return text.rpartition(":")[0].partition("=")[0]


def _text(raw: dict[str, Any]) -> str:
    value = f"={raw['value']}" if raw.get("value") else ""
    return f"{raw['key']}{value}:{raw['effect']}"
