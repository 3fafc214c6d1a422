"""The end of every fault: what an operator who repairs everything leaves behind."""

from __future__ import annotations

from failoverd.core.rules import Site
from failoverd.simulator import world_room
from failoverd.simulator.world import World
from failoverd.simulator.world_app import AppTruth
from failoverd.simulator.world_pair import SyncPair


def mend(world: World) -> None:
    """Everything is well again: power, links, kubelets, hypervisor, API server, movers, hosts, strangers."""
    world.set_api("")
    world.lost_answers = 0
    for name, node in world.nodes.items():
        world.power_on(name)
        world.set_link(name, linked=True)
        if not node.kubelet:
            world.set_kubelet(name, running=True)
        world_room.mend(world, node)
        if node.guest is not None:
            node.guest.reachable, node.guest.tasks_visible = True, True
            node.guest.lie, node.guest.managed, node.guest.refuses = None, "", ""
            node.guest.task, node.guest.lock = "", ""
    for host in world.hosts.values():
        host.linked = True
    if world.guards is not None:
        world.guards.mend()
    for truth in world.apps.values():
        _mend_app(truth)
    world.flux.running = True
    world.control.reschedule()
    world.touch()


def _mend_app(truth: AppTruth) -> None:
    truth.unbound.clear()
    truth.pods = [pod for pod in truth.pods if pod.owned]
    for pair in truth.pairs.values():
        for site in Site:
            pair.sides[site].expects = pair.sides[site.other].device
            pair.sides[site].peer_paused = False
        _wake(pair)


def _wake(pair: SyncPair) -> None:
    for site, side in pair.sides.items():
        if side.hung:
            side.hung = False
            pair.scan(site)
    pair.check()
