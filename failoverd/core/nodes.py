"""What is remembered of nodes: whose guest is whose, and how far a fence has come."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from failoverd.core import out_of_service
from failoverd.core.again import replace
from failoverd.core.memory import NOTHING_KNOWN, AppMemory, Memory, NodeMemory
from failoverd.core.model import (
    NEVER_SEEN,
    UNJUDGED,
    Action,
    Api,
    FenceOff,
    FenceOn,
    Guest,
    GuestState,
    Health,
    NodeWatch,
    Snapshot,
    Unknown,
    Verdict,
    Watch,
    Workload,
)
from failoverd.core.rules import AfterFence, App, Mode, Rules

LATE = timedelta(seconds=330)
"""For so long may a request to cut a node's power run that nobody waits for any more (`execute.LONGEST`)."""


def remember_nodes(
    rules: Rules,
    memory: Memory,
    snapshot: Snapshot,
    verdicts: Mapping[str, Verdict],
    watch: Watch,
    actions: list[Action],
) -> tuple[Memory, list[Action]]:
    """Memory with this tick's knowledge of nodes, the starts of fenced nodes that are due, and the taints."""
    nodes: dict[str, NodeMemory] = dict(memory.nodes)
    acts: list[Action] = []
    fencing = {act.node for act in actions if isinstance(act, FenceOff)}
    for name in rules.nodes:
        was = nodes.get(name, NOTHING_KNOWN)
        now = _mapping(rules, was, snapshot, watch, name)
        seen = watch.nodes.get(name, NEVER_SEEN)
        up = name in verdicts and verdicts[name].health is Health.UP
        heard = seen.fence_asked_at is not None
        now = _fence(memory, rules, now, snapshot, name, asked=name in fencing, up=up, heard=heard)
        starting = _start_due(rules, memory, now, snapshot, name)
        verdict = verdicts.get(name, UNJUDGED)
        moved = _renewed(seen, watch) and not _is_off(snapshot, name)
        acts += out_of_service.tend(rules, memory, now, snapshot, name, verdict, starting=starting, moved=moved)
        if starting and isinstance(snapshot.api, Api):
            acts.append(FenceOn(node=name, reason="every move from it has ended"))
            now = replace(now, started_at=snapshot.api.date)
        if name in nodes or now != NOTHING_KNOWN:
            nodes[name] = now
    return (memory if nodes == memory.nodes else replace(memory, nodes=nodes)), acts


def _mapping(rules: Rules, was: NodeMemory, snapshot: Snapshot, watch: Watch, name: str) -> NodeMemory:
    """A guest proves nothing until it was seen running while its node's lease moved, under this config."""
    reading, seen = snapshot.nodes.get(name), watch.nodes.get(name)
    if reading is None or seen is None or was.mapped == rules.fence_hash:
        return was
    running = isinstance(reading.guest, Guest) and reading.guest.state is GuestState.RUNNING
    return replace(was, mapped=rules.fence_hash) if running and _renewed(seen, watch) else was


def _renewed(seen: NodeWatch, watch: Watch) -> bool:
    """Whether a node's lease was seen to move in this very tick."""
    return seen.stamp_moved_at is not None and seen.stamp_moved_at == watch.looked_at


def leaving(memory: Memory, rules: Rules, node: str) -> list[AppMemory]:
    """Apps with an unfinished move away from `node`."""
    return [
        was
        for app in rules.apps
        if (was := memory.apps.get(app.key)) is not None
        and was.move is not None
        and rules.place(app, was.move.source).node == node
    ]


def _fence(  # noqa: PLR0913
    memory: Memory,
    rules: Rules,
    was: NodeMemory,
    snapshot: Snapshot,
    name: str,
    *,
    asked: bool,
    up: bool,
    heard: bool,
) -> NodeMemory:
    if not isinstance(snapshot.api, Api):
        return was
    cutting = bool(snapshot.in_flight) and FenceOff(node=name, reason="").key in snapshot.in_flight
    if asked and (was.fence_began_at is None or was.started_at is not None):
        return replace(was, fence_began_at=snapshot.api.date, fenced_at=None, started_at=None, given_up_at=None)
    if was.fence_began_at is not None and was.fenced_at is None and _is_off(snapshot, name):
        return replace(was, fenced_at=snapshot.api.date)
    busy = leaving(memory, rules, name)
    if was.fence_began_at is not None and not busy and (was.fenced_at is None or up):
        unanswered = was.fenced_at is None and (cutting or not heard)
        given_up = snapshot.api.date if unanswered else None
        return replace(was, fence_began_at=None, fenced_at=None, started_at=None, given_up_at=given_up)
    if was.given_up_at is not None and _is_off(snapshot, name):  # our own cut, late: it is ours to undo
        return replace(was, fence_began_at=was.given_up_at, fenced_at=snapshot.api.date, given_up_at=None)
    if was.given_up_at is not None and not cutting and snapshot.api.date - was.given_up_at > LATE:
        return replace(was, given_up_at=None)
    return was


def _start_due(rules: Rules, memory: Memory, was: NodeMemory, snapshot: Snapshot, name: str) -> bool:
    if rules.mode is Mode.OBSERVE or rules.after_fence is not AfterFence.START:
        return False
    if was.fenced_at is None or not _is_off(snapshot, name):
        return False
    if was.started_at is not None and isinstance(snapshot.api, Api):
        # asked for already, yet it is off: the request was lost, or failed
        if snapshot.api.date - was.started_at <= rules.timings.fence_timeout:
            return False
    if leaving(memory, rules, name):
        return False
    return not any(_pods_left(snapshot, app.key, name) for app in rules.apps if not _stays(memory, rules, app, name))


def _stays(memory: Memory, rules: Rules, app: App, node: str) -> bool:
    """Whether an app of ours belongs on `node`: its move away was called off, and its pod may start there again."""
    was = memory.apps.get(app.key)
    return was is not None and was.move is None and rules.place(app, was.active).node == node


def _is_off(snapshot: Snapshot, name: str) -> bool:
    reading = snapshot.nodes.get(name)
    guest = reading.guest if reading else None
    return isinstance(guest, Guest) and guest.state is GuestState.STOPPED and not guest.busy


def _pods_left(snapshot: Snapshot, key: str, node: str) -> bool:
    seen = snapshot.workloads.get(key, Unknown("not read"))
    if not isinstance(seen, Workload):
        return True
    return any(pod.owned and not pod.finished and pod.node == node for pod in seen.pods)
