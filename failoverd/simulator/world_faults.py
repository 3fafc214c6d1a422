"""Everything that can go wrong in a world, by the names scenario files and chaos use.

Each fault is a function of the world and of words, e.g. `power_off k3s-w1`. Durations are written `28s`,
`2m`, `1h`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from failoverd.core import names
from failoverd.core.model import GuestState
from failoverd.core.rules import Site
from failoverd.simulator import world_guard, world_room
from failoverd.simulator import world_render as render
from failoverd.simulator.world import Host, World
from failoverd.simulator.world_app import PodTruth
from failoverd.simulator.world_applied import Applied
from failoverd.simulator.world_data import Rhythm
from failoverd.simulator.world_mend import mend
from failoverd.simulator.world_node import GuestTruth
from failoverd.simulator.world_pair import SyncPair

UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class BadFault(Exception):
    """A fault that cannot be understood or cannot happen; the text says why."""


def duration_ms(text: str) -> int:
    """Milliseconds of `28s`, `1m30s`, `2h`. Raises BadFault."""
    parts = re.findall(r"(\d+)(ms|s|m|h|d)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise BadFault(f"{text!r} is not a duration like 28s or 1m30s")
    return sum(int(number) * UNITS_MS[unit] for number, unit in parts)


def power_off(world: World, node: str) -> None:
    """The node loses power."""
    world.power_off(_node(world, node))


def power_on(world: World, node: str) -> None:
    """It is switched on again and boots."""
    world.power_on(_node(world, node))


def reboot(world: World, node: str, takes: str = "6s") -> None:
    """The node restarts by itself, taking so long from down to up."""
    found = world.nodes[_node(world, node)]
    boot_ms, found.boot_ms = found.boot_ms, 1_000
    world.power_off(node)

    def back() -> None:
        world.power_on(node)
        found.boot_ms = boot_ms

    world.time.after(max(0, duration_ms(takes) - 1_000), back)


def cut(world: World, node: str) -> None:
    """The node loses its network; what runs on it runs on."""
    world.set_link(_node(world, node), linked=False)


def heal(world: World, node: str) -> None:
    """The network is back."""
    world.set_link(_node(world, node), linked=True)


def kubelet_stop(world: World, node: str) -> None:
    """The kubelet stops; containers run on."""
    world.set_kubelet(_node(world, node), running=False)


def kubelet_start(world: World, node: str) -> None:
    """The kubelet starts again."""
    world.set_kubelet(_node(world, node), running=True)


def stall_api(world: World, takes: str) -> None:
    """The API server hangs for so long."""
    world.set_api("no answer within 3 s")
    world.time.after(duration_ms(takes), lambda: world.set_api(""))


def api_errors(world: World, takes: str, status: str = "500") -> None:
    """The API server answers everything with an error for so long."""
    world.set_api(f"status {status}")
    world.time.after(duration_ms(takes), lambda: world.set_api(""))


def lose_answers(world: World, count: str = "1") -> None:
    """The next acts are done, but their answers get lost."""
    world.lost_answers += int(count)


def hypervisor(world: World, node: str, state: str) -> None:
    """`down`: it answers nothing about this node; `up`: it does again."""
    _guest(world, node).reachable = state == "up"


def guest_task(world: World, node: str, *task: str) -> None:
    """A task on the guest begins (`guest_task k3s-w1 vzreboot`); without a name it ends."""
    _guest(world, node).task = " ".join(task)


def guest_lies(world: World, node: str, state: str) -> None:
    """The hypervisor says `running` or `stopped` whatever is true; `no` ends it."""
    _guest(world, node).lie = None if state == "no" else GuestState(state)


def guest_refuses(world: World, node: str, *why: str) -> None:
    """The hypervisor refuses to stop the guest; without a reason it obeys again."""
    _guest(world, node).refuses = " ".join(why)


def hide_tasks(world: World, node: str) -> None:
    """The token may not see other people's tasks."""
    _guest(world, node).tasks_visible = False


def syncthing_hang(world: World, app: str, volume: str, site: str) -> None:
    """The mover freezes: connected, and silent."""
    pair = _pair(world, app, volume)
    pair.sides[Site(site)].hung = True
    pair.check()


def syncthing_wake(world: World, app: str, volume: str, site: str) -> None:
    """It goes on."""
    pair = _pair(world, app, volume)
    pair.sides[Site(site)].hung = False
    pair.check()
    pair.scan(Site(site))


def syncthing_restart(world: World, app: str, volume: str, site: str) -> None:
    """The mover's pod is replaced."""
    _pair(world, app, volume).restart(Site(site))


def pause_peer(world: World, app: str, volume: str, site: str, state: str = "on") -> None:
    """Somebody pauses the peer device in this side's Syncthing; `off` ends it."""
    pair = _pair(world, app, volume)
    pair.sides[Site(site)].peer_paused = state == "on"
    if state == "on":
        pair.close()
    pair.check()
    pair.changed()


def wipe_config(world: World, app: str, volume: str, site: str) -> None:
    """The mover's configuration is lost: VolSync's defaults, and a new device that the peer turns away."""
    pair, place = _pair(world, app, volume), Site(site)
    pair.stop(place)
    pair.sides[place].forget(f"{pair.sides[place].device}-NEW")
    world.time.after(5_000, lambda: pair.start(place))


def accept_device(world: World, app: str, volume: str, site: str) -> None:
    """Git names the new device of this side: the peer lets it in."""
    pair = _pair(world, app, volume)
    pair.sides[Site(site).other].expects = pair.sides[Site(site)].device
    pair.check()


def set_type(world: World, app: str, volume: str, site: str, kind: str) -> None:
    """Somebody changes a folder's type by hand."""
    pair = _pair(world, app, volume)
    pair.sides[Site(site)].set_kind(type(pair.sides[Site(site)].kind)(kind))
    pair.kick()


def ignore(world: World, app: str, volume: str, site: str, *patterns: str) -> None:
    """Somebody writes a .stignore of his own at one side; without patterns, only what failoverd adds is left."""
    pair = _pair(world, app, volume)
    ours = tuple(line for line in pair.sides[Site(site)].ignores if line in (names.SHM_PATTERN, "lost+found"))
    pair.sides[Site(site)].ignores = (*patterns, *ours)
    pair.kick()


def wipe_disk(world: World, app: str, volume: str, site: str) -> None:
    """An empty directory where the data was: the real disk is not mounted."""
    pair = _pair(world, app, volume)
    pair.sides[Site(site)].disk.wipe()
    pair.kick()


def unbind(world: World, app: str, volume: str, site: str) -> None:
    """The claim loses its volume."""
    truth = world.apps[_app(world, app)]
    truth.unbound.add(next(v for v in truth.app.volumes if v.name == volume).copy(Site(site)).claim)
    world.touch()


def restless(world: World, app: str) -> None:
    """From its next start on the app writes without a pause."""
    world.apps[_app(world, app)].rhythm = Rhythm(off_ms=0)


def strip_hold(world: World, app: str) -> None:
    """Somebody removes the GitOps hold by hand."""
    truth = world.apps[_app(world, app)]
    raw = {**truth.raw, "metadata": {**truth.raw["metadata"]}}
    raw["metadata"]["annotations"] = {
        key: value for key, value in render.notes(truth.raw).items() if "fluxcd" not in key
    }
    world.replace(truth, raw, by="somebody")
    if (applier := truth.applier) is not None:
        kept = {key: value for key, value in render.notes(applier.raw).items() if "fluxcd" not in key}
        applier.annotate(kept, by="somebody")


def resume_release(world: World, app: str) -> None:
    """Somebody resumes the app's HelmRelease, as `flux resume helmrelease` does, or its Application."""
    applier = _applier(world, app)
    spec = {key: value for key, value in applier.raw["spec"].items() if key != "suspend"}
    applier.replace({**applier.raw, "spec": spec}, by="somebody")
    applier.annotate({k: v for k, v in render.notes(applier.raw).items() if k != names.SKIP}, by="somebody")


def helm_at_work(world: World, app: str, *words: str) -> None:
    """An action runs on the app's HelmRelease, e.g. `helm_at_work media/sonarr upgrade`; without a word it ends."""
    applier = _applier(world, app)
    applier.busy = f"Running '{words[0]}' action with timeout of 5m0s" if words else ""
    applier.version += 1
    world.touch()


def commit(world: World, app: str) -> None:
    """Git gets a new image for the app."""
    truth = world.apps[_app(world, app)]
    truth.images += 1
    container = truth.git["spec"]["template"]["spec"]["containers"][0]
    container["image"] = f"example.org/{truth.app.name}:1.{truth.images}"
    world.flux.commit(truth)


def scale(world: World, app: str, replicas: str) -> None:
    """Somebody sets the number of replicas, in Git and in the cluster."""
    truth = world.apps[_app(world, app)]
    truth.git["spec"]["replicas"] = int(replicas)
    world.flux.commit(truth)
    world.replace(truth, {**truth.raw, "spec": {**truth.raw["spec"], "replicas": int(replicas)}}, by="somebody")


def helm(world: World, app: str) -> None:
    """The workload turns out to belong to a Helm release."""
    truth = world.apps[_app(world, app)]
    labels = {"app": truth.app.name, render.MANAGED_BY: "Helm"}
    world.replace(truth, {**truth.raw, "metadata": {**truth.raw["metadata"], "labels": labels}}, by="somebody")


def stranger(world: World, app: str, volume: str, site: str) -> None:
    """Somebody's own pod mounts a claim of the app."""
    truth, place = world.apps[_app(world, app)], Site(site)
    claim = next(v for v in truth.app.volumes if v.name == volume).copy(place).claim
    pod = PodTruth(
        name="debug",
        uid="00000000-0000-4000-a000-000000000001",
        key="debug",
        template="",
        claims=(claim,),
        selector={},
        created_ms=world.time.now_ms,
        node=world.place(truth, place).node,
        running=True,
        ready=True,
        reported=True,
        owned=False,
    )
    truth.pods.append(pod)
    world.touch()


def stranger_leaves(world: World, app: str) -> None:
    """It is deleted again."""
    truth = world.apps[_app(world, app)]
    truth.pods = [pod for pod in truth.pods if pod.owned]
    world.touch()


def clock_jump(world: World, host: str, by: str) -> None:
    """The wall clock of one instance's host jumps, e.g. `clock_jump failoverd-0 -30s`."""
    sign, text = (-1, by[1:]) if by.startswith("-") else (1, by)
    world.hosts.setdefault(host, Host(name=host)).wall_offset_ms += sign * duration_ms(text)


def isolate(world: World, host: str, state: str = "on") -> None:
    """The host of one instance loses its own network; `off` ends it."""
    world.hosts.setdefault(host, Host(name=host)).linked = state == "off"


def leader(world: World, name: str) -> None:
    """Another instance takes the lead."""
    world.leader = name
    world.generation += 1


def lose_memory(world: World) -> None:
    """Somebody deletes the object that holds Memory."""
    world.stored = replace(world.stored, memory=None, version=world.stored.version + 1)


def _node(world: World, name: str) -> str:
    if name not in world.nodes:
        raise BadFault(f"no node is called {name}; there are {', '.join(world.nodes)}")
    return name


def page_down(world: World, app: str) -> None:
    """Pods of the app become Ready, and its own page does not answer."""
    world.apps[_app(world, app)].serves = False


def page_up(world: World, app: str) -> None:
    """Its page answers again."""
    world.apps[_app(world, app)].serves = True


def _app(world: World, key: str) -> str:
    if key not in world.apps:
        raise BadFault(f"no app is called {key}; there are {', '.join(world.apps)}")
    return key


def _applier(world: World, app: str) -> Applied:
    applier = world.apps[_app(world, app)].applier
    if applier is None:
        raise BadFault(f"{app} belongs to no HelmRelease and no Application here")
    return applier


def _guest(world: World, node: str) -> GuestTruth:
    guest = world.nodes[_node(world, node)].guest
    if guest is None:
        raise BadFault(f"{node} is no guest of a hypervisor here")
    return guest


def _pair(world: World, app: str, volume: str) -> SyncPair:
    pairs = world.apps[_app(world, app)].pairs
    if volume not in pairs:
        raise BadFault(f"{app} has no volume {volume}; there are {', '.join(pairs)}")
    return pairs[volume]


FAULTS: dict[str, Callable[..., None]] = {
    act.__name__: act
    for act in (
        power_off, power_on, reboot, cut, heal, kubelet_stop, kubelet_start,
        stall_api, api_errors, lose_answers, hypervisor, guest_task, guest_lies, guest_refuses, hide_tasks,
        syncthing_hang, syncthing_wake, syncthing_restart, pause_peer, wipe_config, accept_device, set_type,
        ignore, wipe_disk, unbind, restless, strip_hold, resume_release, helm_at_work, commit, scale, helm,
        stranger, stranger_leaves, clock_jump, isolate, leader, lose_memory, mend, page_down, page_up,
    )
} | world_room.FAULTS | world_guard.FAULTS  # fmt: skip


def inject(world: World, line: str) -> None:
    """Let the fault described by `line` happen. Raises BadFault."""
    name, *words = line.split()
    world.time.stir()
    if name not in FAULTS:
        raise BadFault(f"no fault is called {name}; there are {', '.join(FAULTS)}")
    try:
        FAULTS[name](world, *words)
    except (TypeError, ValueError, KeyError) as error:
        raise BadFault(f"{line}: {error}") from error
