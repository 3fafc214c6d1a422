"""The taint `out-of-service`: set on a node that is provably off and being left, taken off as soon as it may live.

What it does: the cluster force-deletes every pod on the node, whosever it is, and detaches its volumes at once. On a
node that lives it would tear volumes from under those who write to them. So it is set by proof alone, and comes off
by the first sign of life or doubt. Whose it is stands on the node itself, beside the taint and in the same patch:
one that somebody else has set is never touched.
"""

from __future__ import annotations

from datetime import datetime

from failoverd.core import names
from failoverd.core.memory import Memory, NodeMemory, Phase
from failoverd.core.model import (
    Action,
    Guest,
    GuestState,
    Health,
    Kubelet,
    NodeObject,
    NodeReading,
    Snapshot,
    TaintNode,
    UntaintNode,
    Verdict,
)
from failoverd.core.rules import Mode, Rules


def tend(  # noqa: PLR0913
    rules: Rules,
    memory: Memory,
    was: NodeMemory,
    snapshot: Snapshot,
    name: str,
    verdict: Verdict,
    *,
    starting: bool,
    moved: bool,
) -> tuple[Action, ...]:
    """The taint of the node `name` as it should be.

    `starting`: it is given its power back in this very tick. `moved`: its lease was seen to move in this one.
    """
    reading = snapshot.nodes.get(name)
    if rules.mode is Mode.OBSERVE or name not in rules.out_of_service or reading is None:
        return ()
    node = reading.node
    if not isinstance(node, NodeObject) or node.deleting:
        return ()
    if node.out_of_service:
        why = "it is started again" if starting else "its lease moves" if moved else _sign_of_life(reading, verdict)
        return (UntaintNode(node=name, reason=why),) if why else ()
    if starting or is_tainted(node) or not verdict.proven or _sign_of_life(reading, verdict):
        return ()
    left = _being_left(rules, memory, was, name)
    return (TaintNode(node=name, reason=f"proven dead, and {left}"),) if left else ()


def is_tainted(node: NodeObject) -> bool:
    """Whether the taint is on it, whosever it is and with whatever value."""
    return any(taint.partition(":")[0].partition("=")[0] == names.OUT_OF_SERVICE for taint in node.taints)


def _sign_of_life(reading: NodeReading, verdict: Verdict) -> str:
    """Why the node may live; empty while nothing says so. A hypervisor that falls silent takes no proof back."""
    if isinstance(reading.guest, Guest) and reading.guest.state is not GuestState.STOPPED:
        return f"its guest is {reading.guest.state}"
    if verdict.health is Health.UP:
        return "it is UP"
    if reading.kubelet is Kubelet.ALIVE:
        return "its kubelet answers"
    return "; ".join(str(doubt) for doubt in verdict.doubts)


def _being_left(rules: Rules, memory: Memory, was: NodeMemory, name: str) -> str:
    """What of ours leaves this node because it is dead; empty where nothing does.

    A node that somebody has switched off is theirs to taint: with nothing of ours at stake there is no hurry, and
    after five minutes the cluster evicts by itself.
    """
    for app in rules.apps:
        known = memory.apps.get(app.key)
        move = known.move if known else None
        if known is None or move is None or move.kind.planned or known.phase is Phase.FENCING:
            continue
        if rules.place(app, move.source).node == name:
            return f"{app.key} leaves it"
    return f"we fenced it at {_clock(was.fenced_at)}" if was.fenced_at and was.started_at is None else ""


def _clock(at: datetime) -> str:
    return f"{at:%H:%M:%S}"
