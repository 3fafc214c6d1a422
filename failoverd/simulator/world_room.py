"""Room on nodes and planned work on them: what a node shows, whom it lets in, and the faults that change it.

A pod counts from the moment it is bound until its object is gone, whatever it really uses, as in the scheduler.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from failoverd.core.model import Amounts, NodeObject
from failoverd.core.quantities import amounts, total
from failoverd.simulator.world_app import PodTruth
from failoverd.simulator.world_node import OUT_OF_SERVICE, Node

if TYPE_CHECKING:
    from failoverd.simulator.world import World

POD: Amounts = (("pods", 1),)
"""What a pod without requests takes: movers are such."""
UNREACHABLE = "node.kubernetes.io/unreachable:NoSchedule"
"""Taint of a node that is not Ready."""
PAUSE_MS = 5_000
"""From the end of kured's drain to the reboot."""
BACK_MS = 3_000
"""From the end of the boot to kured's uncordon."""


def shown(node: Node, *, ready: bool) -> NodeObject:
    """The node's object."""
    taints = node.taints if ready else (*node.taints, UNREACHABLE)
    flags = (ready, node.cordoned, node.rebooting, node.marked)
    return _shown(flags, taints, node.pressures, node.images, tuple(node.has.items()))


@lru_cache(maxsize=256)
def _shown(
    flags: tuple[bool, bool, bool, bool],
    taints: tuple[str, ...],
    pressures: tuple[str, ...],
    images: tuple[str, ...],
    has: tuple[tuple[str, str], ...],
) -> NodeObject:
    ready, cordoned, rebooting, marked = flags
    return NodeObject(
        ready="True" if ready else "Unknown",
        unschedulable=cordoned,
        taints=taints,
        out_of_service=marked,
        pressures=pressures,
        allocatable=amounts(dict(has)),
        images=frozenset(images) or None,
        rebooting="kured" if rebooting else "",
    )


def used(world: World, node: Node) -> Amounts:
    """The sum of the requests of all pods bound to the node."""
    if world.counted is None or world.counted[0] != world.revision:
        world.counted = (world.revision, {})
    known = world.counted[1]
    if node.name not in known:
        parts = [pod.requests or POD for truth in world.apps.values() for pod in truth.pods if _bound(pod, node)]
        parts += [POD for _, site in world.sides_on(node) for _ in (site,)]
        parts += [total([POD, amounts(dict(requests))]) for requests in node.tenants.values()]
        known[node.name] = total(parts)
    return known[node.name]


def _bound(pod: PodTruth, node: Node) -> bool:
    return pod.listed and pod.node == node.name


def admits(world: World, node: Node, pod: PodTruth) -> bool:
    """Whether the scheduler would bind `pod` there, for all that the node says of itself."""
    if node.cordoned or node.deleted or node.pressures:
        return False
    if any(not taint.endswith(":PreferNoSchedule") for taint in node.taints):
        return False
    has, taken = dict(amounts(dict(node.has))), dict(used(world, node))
    return all(taken.get(name, 0) + amount <= has.get(name, 0) for name, amount in pod.requests)


# -------------------------------------------------------------------- faults


def room(world: World, name: str, *given: str) -> None:
    """What the node has for pods: `room k3s-w2 cpu=2 memory=4Gi nvidia.com/gpu=1`."""
    node = world.nodes[name]
    node.has |= _quantities(given)
    _changed(world)


def tenant(world: World, name: str, pod: str, *given: str) -> None:
    """Somebody else's pod runs there: `tenant k3s-w2 build cpu=3 memory=6Gi`; without requests it ends."""
    tenants = world.nodes[name].tenants
    tenants.pop(pod, None)
    if given:
        tenants[pod] = _quantities(given)
    _changed(world)


def _quantities(given: tuple[str, ...]) -> dict[str, str]:
    found = dict(word.partition("=")[::2] for word in given)
    amounts(dict(found))
    return found


def taint(world: World, name: str, *taints: str) -> None:
    """The node's taints from now on, `key=value:effect`; none takes them all off."""
    world.nodes[name].taints = taints
    _changed(world)


def pressure(world: World, name: str, *conditions: str) -> None:
    """Conditions such as `DiskPressure` that hold from now on; none ends them."""
    world.nodes[name].pressures = conditions
    _changed(world)


def images(world: World, name: str, *listed: str) -> None:
    """The images the node's kubelet lists from now on."""
    world.nodes[name].images = listed
    _changed(world)


def cordon(world: World, name: str) -> None:
    """Nothing new may be scheduled there."""
    world.nodes[name].cordoned = True
    world.touch()


def uncordon(world: World, name: str) -> None:
    """It may again; what was evicted comes back."""
    node = world.nodes[name]
    node.cordoned = False
    if node.drained:
        node.drained = False
        for truth, site in world.sides_on(node):
            for pair in truth.pairs.values():
                if node.alive:
                    pair.boot(site)
    _changed(world)


def drain(world: World, name: str) -> None:
    """Cordoned, and every pod evicted: the app's, the movers, those of others."""
    node = world.nodes[name]
    node.cordoned = node.drained = True
    world.tell(f"node {name} drained")
    for truth in world.apps.values():
        for pod in list(truth.pods):
            if _bound(pod, node):
                world.control.delete(truth, pod)
    for truth, site in world.sides_on(node):
        for pair in truth.pairs.values():
            pair.stop(site)
    node.tenants.clear()
    world.touch()


def kured(world: World, name: str, takes: str = "30s") -> None:
    """kured announces a reboot that takes so long, drains the node, reboots it and uncordons it."""
    from failoverd.simulator.world_faults import duration_ms  # noqa: PLC0415 - which lists this one

    node = world.nodes[name]
    node.rebooting = True
    drain(world, name)
    boot_ms, node.boot_ms = node.boot_ms, 1_000
    down_ms = max(0, duration_ms(takes) - 1_000)

    def back() -> None:
        world.power_on(name)
        node.boot_ms = boot_ms
        world.time.after(1_000 + BACK_MS, done)

    def done() -> None:
        node.rebooting = False
        uncordon(world, name)

    world.time.after(PAUSE_MS, lambda: world.power_off(name))
    world.time.after(PAUSE_MS + down_ms, back)


def delete_node(world: World, name: str) -> None:
    """Somebody deletes the Node object: its lease goes with it, and what ran there runs on for now."""
    node = world.nodes[name]
    node.deleted, node.marked = True, False
    node.taints = tuple(taint for taint in node.taints if taint != OUT_OF_SERVICE)
    world.tell(f"node {name} deleted")
    world.touch()


def register_node(world: World, name: str) -> None:
    """Its kubelet registers it again, if it runs."""
    node = world.nodes[name]
    if not (node.powered and node.booted and node.kubelet):
        return
    node.deleted = False
    _changed(world)


def mend(world: World, node: Node) -> None:
    """The node lets pods in again, has room, and nothing is planned for it."""
    node.taints, node.marked, node.pressures, node.rebooting = (), False, (), False
    if node.deleted:  # its kubelet registers it once it runs again
        world.time.after(node.boot_ms, lambda: register_node(world, node.name))
    node.tenants.clear()
    uncordon(world, node.name)


def _changed(world: World) -> None:
    world.touch()
    world.control.reschedule()


FAULTS: dict[str, Callable[..., None]] = {
    act.__name__: act
    for act in (
        room, tenant, taint, pressure, images, cordon, uncordon, drain, kured, delete_node, register_node,
    )
}  # fmt: skip
