"""Before a failover's first act: the lost node's power is cut, once for all its apps, and confirmed off."""

from __future__ import annotations

from datetime import datetime, timedelta

from failoverd.core import databases, policy
from failoverd.core.again import replace
from failoverd.core.case import Case, Wish
from failoverd.core.intent import Step, call_off, losses, mark
from failoverd.core.machine import Event
from failoverd.core.memory import Move
from failoverd.core.model import FenceOff, Guest, GuestState, Health
from failoverd.core.rules import Require


def fencing(case: Case, move: Move) -> Step:
    """Cut the power of the lost node, once for all its apps, and wait for the confirmation."""
    node, verdict = case.place(move.source).node, case.verdict(move.source)
    if verdict.proven:
        last = verdict.down_since or move.last_write_at
        old = tuple(policy.data_age(case, Wish(kind=move.kind, target=move.target, reason="")))
        if old and not move.forced:  # it wrote on until its power went, and nothing was proven meanwhile
            cut = replace(case, was=replace(case.was, move=mark(move, "fenced", case.date)))
            return Step(was=call_off(cut, "; ".join(map(str, old))), event=Event.CALLED_OFF)
        done = mark(mark(move, "dead", case.date), "fenced", case.date)
        # it may have written on until its power went: what it could lose is stated anew
        done = databases.together(case, replace(done, last_write_at=last, losses=losses(case, last)))
        return Step(was=replace(case.was, move=done), event=Event.FENCED)
    began = _fence_began(case, node)
    cutting = FenceOff(node=node, reason="").key in case.snapshot.in_flight
    if began is None or not (cutting or guest_state(case, node) is GuestState.STOPPED):
        why = _no_fence_now(case, move)
        if why:
            return Step(was=call_off(case, why), event=Event.CALLED_OFF)
    if began is None:
        if not (verdict.fenceable or move.forced):
            if case.overdue(move.began_at, case.rules.timings.fence_timeout):
                return Step(was=call_off(case, "the fence could not begin"), event=Event.CALLED_OFF)
            return Step(was=case.was, waiting=f"the silence of {node} to be certain again")
    elif case.overdue(began, case.rules.timings.fence_timeout):
        silent = case.app.require is Require.SILENCE and verdict.health is Health.DOWN
        if move.forced or (silent and guest_state(case, node) is None):
            return Step(was=case.was, event=Event.FENCE_GIVEN_UP)
        return Step(was=call_off(case, "the fence failed"), event=Event.CALLED_OFF)
    if began is None and guest_state(case, node) is GuestState.STOPPED:
        # not our doing: it gets the dwell of a guest that might be rebooting, and is not started by us later
        return Step(was=case.was, waiting=f"for {node}, which is off already, to stay off")
    return Step(was=case.was, actions=off(case, node, "may still be writing"), waiting=f"{node} to be confirmed off")


FENCE_AGAIN = timedelta(seconds=5)
"""Between two requests to cut the same node's power: a refusal does not change within a tick."""


def off(case: Case, node: str, why: str) -> tuple[FenceOff, ...]:
    """The cut, unless the same node's was asked for a moment ago."""
    seen = case.watch.nodes.get(node)
    asked = seen.fence_asked_at if seen else None
    if asked is not None and case.now.mono - asked < FENCE_AGAIN:
        return ()
    return (FenceOff(node=node, reason=f"{node} {why}"),)


def _fence_began(case: Case, node: str) -> datetime | None:
    """When the fence in progress began; one whose node we have started again since is over."""
    remembered = case.memory.nodes.get(node)
    return remembered.fence_began_at if remembered and remembered.started_at is None else None


def _no_fence_now(case: Case, move: Move) -> str:
    """Why a fence that has not begun, or was refused, must not be asked for any more; empty when it may."""
    if paused(case, move):
        return "paused"
    verdict = case.verdict(move.source)
    if move.forced:
        return ""
    if verdict.health is Health.UP:
        return "the node came back"
    heard = verdict.silent_for < case.rules.timings.silence_after
    return "the node was heard again, or has not been watched for long enough since a restart" if heard else ""


def paused(case: Case, move: Move) -> bool:
    """Whether somebody paused the app after the intent was saved; an operator's own move goes on."""
    wish = Wish(kind=move.kind, target=move.target, reason="")
    return not move.command and any(policy.paused(case, wish))


def guest_state(case: Case, node: str) -> GuestState | None:
    """What the hypervisor says of a node's guest; None where it does not."""
    reading = case.snapshot.nodes.get(node)
    return reading.guest.state if reading and isinstance(reading.guest, Guest) else None
