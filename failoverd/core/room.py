"""Whether the target node would take the app's pod: up, willing, tolerated, with room for what it requests.

The one rule of this file: it counts as the scheduler does, by requests and not by use. What cannot be read keeps a
planned move back, for it would turn a running app into a pending one; an app whose node is dead has nothing to lose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from failoverd.core.again import replace
from failoverd.core.case import Case, Wish
from failoverd.core.memory import Kind
from failoverd.core.model import (
    Amounts,
    Health,
    Needs,
    NodeObject,
    NodeReading,
    Objection,
    Unknown,
    Why,
    Workload,
)
from failoverd.core.quantities import said, total
from failoverd.core.rules import Site

SPOKEN_FOR = (
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/unschedulable",
    "node.kubernetes.io/memory-pressure",
    "node.kubernetes.io/disk-pressure",
    "node.kubernetes.io/pid-pressure",
    "node.kubernetes.io/network-unavailable",
)
"""Taints the node controller makes of conditions: the verdict, the cordon and the conditions say the same."""
FORBIDDING = ("NoSchedule", "NoExecute")


def _reading(case: Case, site: Site) -> NodeReading | None:
    return case.snapshot.nodes.get(case.place(site).node)


def _object(case: Case, site: Site) -> NodeObject | None:
    reading = _reading(case, site)
    return reading.node if reading is not None and isinstance(reading.node, NodeObject) else None


def _needs(case: Case) -> Needs | None:
    return case.workload.needs if isinstance(case.workload, Workload) else None


def willing(case: Case, wish: Wish) -> Iterator[Objection]:
    """The target must be up, and let pods in."""
    node, verdict, seen = case.place(wish.target).node, case.verdict(wish.target), _object(case, wish.target)
    if verdict.health is not Health.UP:
        evidence = ", ".join(verdict.evidence) or "not seen yet"
        yield Objection(why=Why.TARGET_NOT_UP, text=f"target {node} is {verdict.health}: {evidence}")
    if seen is None:
        return
    if seen.unschedulable or seen.deleting:
        yield Objection(why=Why.TARGET_CORDONED, text=f"target {node} is cordoned or being removed")
    if seen.pressures:
        yield Objection(why=Why.NODE_PRESSURE, text=f"target {node} is under {', '.join(seen.pressures)}")


def admitted(case: Case, wish: Wish) -> Iterator[Objection]:
    """The app's pod must tolerate the target's taints and select the target."""
    node, seen, needs = case.place(wish.target).node, _object(case, wish.target), _needs(case)
    if seen is None or needs is None:
        return
    for taint in seen.taints:
        named, _, effect = taint.rpartition(":")
        if effect not in FORBIDDING or named.partition("=")[0] in SPOKEN_FOR:
            continue
        if not any(one.tolerates(taint) for one in needs.tolerations):
            yield Objection(
                why=Why.TAINT, text=f"target {node} has the taint {taint}, which the app does not tolerate"
            )
    for name, why in needs.barred:
        if name == node:
            yield Objection(why=Why.BARRED, text=f"the app's pod would not be let onto target {node}: {why}")


def room(case: Case, wish: Wish) -> Iterator[Objection]:
    """What the app requests must be free on the target, after what comes first has taken its part."""
    node, known = case.place(wish.target).node, _known(case, wish.target)
    if isinstance(known, str):
        if wish.kind.planned:
            yield Objection(why=Why.ROOM_UNKNOWN, text=known)
        return
    has, used, taken = dict(known.has), dict(known.used), dict(case.claimed.get(node, ()))
    for name, wanted in known.requests:
        if wanted <= 0:
            continue
        if name not in has or (has[name] == 0 and "/" in name):
            text = f"target {node} has no {name}, the app needs {said(name, wanted)}"
            yield Objection(why=Why.NO_DEVICE, text=text)
            continue
        first = taken.get(name, 0)
        free = has[name] - used.get(name, 0) - first
        if wanted > free:
            text = f"no room on target {node}: {name} needs {said(name, wanted)}, free {said(name, max(free, 0))}"
            text += f" of {said(name, has[name])}"
            text += f" after {said(name, first)} for apps that come first" if first else ""
            yield Objection(why=Why.NO_ROOM, text=text)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """The three sums that room is reckoned from."""

    requests: Amounts
    has: Amounts
    used: Amounts


def _known(case: Case, site: Site) -> _Known | str:
    """What is known of room at `site`, or why it cannot be told."""
    node, reading, needs = case.place(site).node, _reading(case, site), _needs(case)
    text = f"room on {node} is not known: "
    if needs is None:
        return f"{text}what {case.app.key} requests was not read"
    if reading is None or isinstance(reading.node, Unknown):
        return text + (reading.node.why if reading and isinstance(reading.node, Unknown) else "not seen yet")
    if reading.node.allocatable is None:
        return f"{text}the node does not say what it has"
    if isinstance(reading.used, Unknown):
        return text + reading.used.why
    return _Known(requests=needs.requests, has=reading.node.allocatable, used=reading.used)


GUARDS: tuple[Callable[[Case, Wish], Iterator[Objection]], ...] = (willing, admitted, room)


def warnings(case: Case, site: Site) -> tuple[Objection, ...]:
    """What would slow a start at `site` down, or is not known: no reason not to move an app whose node is dead."""
    found = []
    if isinstance(known := _known(case, site), str):
        found.append(Objection(why=Why.ROOM_UNKNOWN, text=known))
    needs, seen = _needs(case), _object(case, site)
    if needs is not None and seen is not None and seen.images is not None:
        for image in needs.images:
            if not (_names(image) & seen.images):
                text = f"image {image} is not on {case.place(site).node}: it has to be pulled first"
                found.append(Objection(why=Why.NO_IMAGE, text=text))
    return tuple(found)


def _names(image: str) -> set[str]:
    """What a runtime may call an image: short names are of docker.io, and a missing tag is `latest`."""
    name = image if "@" in image or ":" in image.rpartition("/")[2] else f"{image}:latest"
    head, slash, _ = name.partition("/")
    if not slash:
        return {name, f"docker.io/library/{name}"}
    foreign = "." in head or ":" in head or head == "localhost"
    return {name} if foreign else {name, f"docker.io/{name}"}


def is_arriving(case: Case) -> bool:
    """Whether the app is on its way to a node that may not count its pod yet.

    The app's pods and the node's come by two watches: what a kubelet has said of a pod, both have long heard.
    """
    move = case.was.move
    return move is not None and not any(pod.ready or pod.waiting for pod in case.pods(move.target))


def claim(claimed: Mapping[str, Amounts], case: Case, target: Site) -> Mapping[str, Amounts]:
    """`claimed` with what this app takes at `target`."""
    needs, node = _needs(case), case.place(target).node
    if needs is None:
        return claimed
    return {**claimed, node: total((claimed.get(node, ()), needs.requests))}


def if_lost(case: Case, claimed: Mapping[str, Amounts]) -> tuple[Case, Wish]:
    """The case and the wish there would be if the active node died now, `claimed` being taken by then."""
    target = case.was.active.other
    wish = Wish(kind=Kind.FAILOVER, target=target, reason=f"{case.place(case.was.active).node} dies")
    return replace(case, claimed=claimed), wish
