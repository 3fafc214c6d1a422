"""What a pod template asks of a node, and what a node has: requests, tolerations, selection, conditions. Pure.

The one rule of this file: sums are the scheduler's. A pod's request is that of its containers and sidecars together,
or of its largest init container where that is more, plus its overhead; a limit without a request is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from failoverd.adapters.kubernetes.parse_tools import Malformed, Raw, dig, met, need
from failoverd.core.model import Amounts, Needs, Toleration, Unknown
from failoverd.core.quantities import amounts, largest, total
from failoverd.core.rules import Pair, Place

PRESSURES = ("MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable")
"""Conditions of a node from which the node controller makes NoSchedule taints."""
KURED = "weave.works/kured-reboot-in-progress"
"""Set by kured on a node it is about to reboot, if it runs with --annotate-nodes."""
LISTED_IMAGES = 50
"""So many images at most a kubelet lists (nodeStatusMaxImages), the largest ones: a full list may be cut."""


def allocatable(raw: Raw) -> Amounts | None:
    """What a node has for pods; None where it does not say. Raises Malformed."""
    given = dig(raw, "status", "allocatable", kind=Mapping)
    return None if given is None else _amounts(given)


def pressures(conditions: Iterable[Any]) -> tuple[str, ...]:
    """The conditions that keep pods off a node."""
    true = {dig(one, "type") for one in conditions if dig(one, "status") == "True"}
    return tuple(name for name in PRESSURES if name in true)


def images(raw: Raw) -> frozenset[str] | None:
    """Names of the images a node holds; None where it lists none, or may have left some out. Raises Malformed."""
    listed = dig(raw, "status", "images", kind=list)
    if not listed or len(listed) >= LISTED_IMAGES:
        return None
    return frozenset(str(name) for one in listed for name in dig(one, "names", kind=list) or ())


def rebooting(raw: Raw) -> str:
    """Who has announced a reboot of a node; empty when nobody has. Raises Malformed."""
    annotations = dig(raw, "metadata", "annotations", kind=Mapping) or {}
    return "kured" if annotations.get(KURED) else ""


def used(pods: Iterable[Raw], node: str) -> Amounts | Unknown:
    """The sum of the requests of all unfinished pods bound to `node`."""
    sums = []
    for raw in pods:
        try:
            if dig(raw, "status", "phase") not in ("Succeeded", "Failed"):
                sums.append(requests(need(raw, "spec", kind=Mapping)))
        except Malformed as error:
            name = f"{dig(raw, 'metadata', 'namespace')}/{dig(raw, 'metadata', 'name')}"
            return Unknown(f"pod {name} on {node}: {error}")
    return total(sums)


def requests(spec: Raw) -> Amounts:
    """What a pod of this spec requests, itself (one of `pods`) included. Raises Malformed."""
    together: list[Amounts] = []
    starting: list[Amounts] = []
    for container in dig(spec, "initContainers", kind=list) or []:
        own = _requested(container)
        if dig(container, "restartPolicy") == "Always":
            together.append(own)
            starting.append(total(together))
        else:
            starting.append(total([*together, own]))
    together += [_requested(container) for container in dig(spec, "containers", kind=list) or []]
    needed = dict(largest([total(together), *starting]))
    needed |= dict(_requested(spec))  # of the whole pod, where it says so
    overhead = _amounts(dig(spec, "overhead", kind=Mapping) or {})
    return total([tuple(needed.items()), overhead, (("pods", 1),)])


def _requested(raw: Any) -> Amounts:
    limits = dig(raw, "resources", "limits", kind=Mapping) or {}
    given = dig(raw, "resources", "requests", kind=Mapping) or {}
    return _amounts({**limits, **given})


def _amounts(given: Mapping[str, object]) -> Amounts:
    try:
        return amounts(given)
    except ValueError as error:
        raise Malformed(str(error)) from None


def needs(template: Raw) -> Needs:
    """What a pod template asks of any node. Raises Malformed."""
    parts = [part for name in ("initContainers", "containers") for part in dig(template, name, kind=list) or []]
    return Needs(
        requests=requests(template),
        tolerations=tuple(_toleration(one) for one in dig(template, "tolerations", kind=list) or []),
        images=tuple(dict.fromkeys(str(image) for part in parts if (image := dig(part, "image")))),
    )


def _toleration(raw: Any) -> Toleration:
    return Toleration(
        key=dig(raw, "key", kind=str) or "",
        exists=dig(raw, "operator", kind=str) == "Exists",
        value=dig(raw, "value", kind=str) or "",
        effect=dig(raw, "effect", kind=str) or "",
        passing=dig(raw, "tolerationSeconds", kind=int) is not None,
    )


def barred(template: Raw, pair: Pair, labels: Mapping[str, Mapping[str, str]]) -> tuple[tuple[str, str], ...]:
    """(node, why) for each place whose node a pod moved there would not select; `labels` by node.

    Raises Malformed.
    """
    ours = {key for place in (pair.primary, pair.backup) for key, _ in place.selector}
    found = []
    for place in (pair.primary, pair.backup):
        if place.node in labels and (why := _unselected(template, place, labels[place.node], ours)):
            found.append((place.node, why))
    return tuple(found)


def _unselected(template: Raw, place: Place, labels: Mapping[str, str], ours: set[str]) -> str:
    selector = dig(template, "nodeSelector", kind=Mapping) or {}
    after = {key: value for key, value in selector.items() if key not in ours} | dict(place.selector)
    for key, value in sorted(after.items()):
        if labels.get(key) != value:
            has = labels.get(key)
            return f"its nodeSelector asks for {key}={value}, the node has {'no such label' if has is None else has}"
    path = ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
    terms: Sequence[Any] | None = dig(template, *path, kind=list)
    return "" if terms is None or met(terms, labels, place.node) else "its required node affinity does not admit it"
