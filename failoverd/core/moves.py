"""A move, one idempotent step at a time: each reads "already done?" from the world before it asks for anything.

Whatever a step needs another instance to know is in the memory it returns, which is saved before its actions begin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from failoverd.core import gitops, guarding, patch, policy
from failoverd.core.again import replace
from failoverd.core.barrier import compare, settling
from failoverd.core.case import Case
from failoverd.core.fencing import fencing, guest_state, off, paused
from failoverd.core.hysteresis import mapped
from failoverd.core.intent import Step, call_off, flip_to, mark, marked, stand, told, undo_now
from failoverd.core.machine import Event
from failoverd.core.memory import NOTHING_KNOWN, AppMemory, Kind, Move, Phase, Standing
from failoverd.core.model import (
    Action,
    DeletePod,
    Folder,
    GuestState,
    Health,
    Objection,
    Pod,
    Role,
    SetRole,
    Unknown,
    Why,
    Workload,
)
from failoverd.core.restoring import restoring
from failoverd.core.rules import FenceWhen, Require, Volume
from failoverd.core.starts import aborting, give_role, halt, is_stopped, starting, undone, wait_for

SUSPENDED_WITHIN = timedelta(seconds=30)
"""One request and one look. What is not suspended by then lacks a right of ours, or something resumes it."""


def stopping(case: Case, move: Move) -> Step:
    """Hold and replicas 0; then wait until no pod of the app is left that could write."""
    workload = case.workload
    if isinstance(workload, Unknown):
        return Step(was=case.was, waiting=f"the workload can be read: {workload.why}")
    if not is_stopped(workload, move):
        return _stop(case, move, workload)
    left = case.pods() + case.strangers()
    if left:
        if _hopeless(case, move, "halted"):
            return Step(was=case.was, event=Event.NOT_EQUAL)
        names = ", ".join(f"{pod.name} on {pod.node or 'no node'}" for pod in left)
        return Step(was=case.was, actions=tuple(_deletions(case, move, left)), waiting=f"pods to go: {names}")
    if not workload.updated:
        return Step(was=case.was, waiting="its controller to see that replicas are 0")
    if move.kind.planned:
        return _settled(case, move)
    unfit = policy.unfit(case, move.target)
    if unfit:
        return _not_promoted(case, move, unfit)
    if _came_back(case, move):
        again = off(case, case.place(move.source).node, "runs again in the middle of a move")
        return Step(was=case.was, actions=again, waiting="the lost node runs again: fenced again")
    return Step(was=flip_to(_reach(case, move, "stopped")), event=Event.STOPPED_UNPLANNED)


def _settled(case: Case, move: Move) -> Step:
    """What a planned move goes on with once nothing of the app is left."""
    if waits := settling(case):
        late = _hopeless(case, move, "halted")
        return Step(was=case.was, event=Event.NOT_EQUAL if late else None, waiting=waits)
    event = Event.STOPPED_TO_RESTORE if move.kind is Kind.RESTORE else Event.STOPPED
    return Step(was=_reach(case, move, "stopped"), event=event)


def _not_promoted(case: Case, move: Move, unfit: tuple[Objection, ...]) -> Step:
    """The app waits stopped, or goes back where that is surely safe: nothing was written at the target yet."""
    alarms = policy.lasting(case, move.target, unfit)
    own = [case.folder(volume, move.source) for volume in case.app.volumes]
    sends = all(isinstance(one, Folder) and one.type == Role.SEND_ONLY for one in own)
    if alarms and sends and case.verdict(move.source).health is Health.UP and not policy.unfit(case, move.source):
        volumes = {name: stand(memory, move.source, Standing.ACTIVE) for name, memory in case.was.volumes.items()}
        back = replace(case.was, volumes=volumes, move=mark(move, "unfit", case.date))
        return Step(was=back, event=Event.TARGET_UNFIT)
    return Step(was=case.was, waiting=wait_for(unfit), alarms=alarms)


def _stop(case: Case, move: Move, workload: Workload) -> Step:
    if workload.epoch is not None and workload.epoch > move.epoch:
        return Step(was=case.was, waiting=f"workload carries a newer epoch {workload.epoch}")
    if workload.epoch != move.epoch:
        unfit = () if move.kind.planned else policy.unfit(case, move.target)
        alive, unsure = policy.still_lost(case, move)
        why = alive or _why_not(case, move, unfit)
        if why and case.patching:
            return Step(was=case.was, waiting=f"a patch on its way to be answered, then called off: {why}")
        if why:
            return Step(was=call_off(case, why), event=Event.CALLED_OFF)
        if unfit or unsure:
            return Step(was=case.was, waiting=wait_for(unfit) if unfit else unsure)
        if move.kind.planned and (waits := _not_yet(case, move, workload)):
            return Step(was=case.was, waiting=waits)
        move = mark(move, "halted", case.date) if move.kind.planned else move
    elif _hopeless(case, move, "halted"):
        return Step(was=case.was, event=Event.NOT_EQUAL)
    was = replace(case.was, move=move)
    at_home = was.undo is None or patch.is_home(case.app, was.undo, move.source)
    if workload.epoch is None and at_home:  # not touched yet: what is there now is what must be restored
        was = replace(was, undo=undo_now(case, workload), replicas=workload.replicas or was.replicas)
    if workload.epoch != move.epoch and (busy := gitops.waits(case, move, workload)):
        acts = gitops.suspend(case, f"{move.kind} to {move.target}")
        since = marked(move, "halted") or marked(move, "decided") or case.date
        late = case.date - since > SUSPENDED_WITHIN
        alarms = (Objection(why=Why.GITOPS, text=f"{move.kind} of {case.app.key} waits for {busy}"),) if late else ()
        return Step(was=was, actions=acts, waiting=busy, alarms=alarms)
    return Step(was=was, actions=halt(case, move, workload), waiting="the workload takes hold and replicas 0")


def _not_yet(case: Case, move: Move, workload: Workload) -> str:
    """What a planned move waits for while the app still runs, for minutes perhaps: whatever was looked at when it was
    decided may have changed since.
    """
    node, silent = case.place(move.source).node, case.verdict(move.source).silent_for
    if silent > case.rules.timings.witness_within:
        return f"{node} to be heard again, silent for {silent.total_seconds():.0f} s"
    if workload.replicas == 0:
        return "somebody to scale it up again: it was scaled to 0"
    return settling(case)


def _why_not(case: Case, move: Move, unfit: tuple[Objection, ...]) -> str:
    """Why a move of which nothing has been done yet is called off; empty while it goes on.

    The app is held again at rest, and a node that was fenced for it gets its power back.
    """
    if paused(case, move):
        return "paused"
    if move.kind.planned and case.verdict(move.source).health is Health.DOWN:
        return f"{case.place(move.source).node} was lost"
    if _hopeless(case, move, "decided"):
        seen = case.workload
        waits = "" if isinstance(seen, Unknown) else _not_yet(case, move, seen)
        return f"it waited in vain for {waits}" if waits else "the app did not stop in time"
    return "; ".join(map(str, policy.lasting(case, move.target, unfit)))


def _reach(case: Case, move: Move, name: str) -> AppMemory:
    return replace(case.was, move=mark(move, name, case.date))


def _hopeless(case: Case, move: Move, since: str) -> bool:
    """Whether a planned move should be given up: out of time, or its source has died meanwhile."""
    if not move.kind.planned:
        return False
    began = marked(move, since) or marked(move, "decided")
    late = began is not None and case.overdue(began, case.rules.timings.barrier_timeout)
    return late or case.verdict(move.source).health is Health.DOWN


def _deletions(case: Case, move: Move, left: list[Pod]) -> list[DeletePod]:
    """Pods of a dead node only, owned only: on a living node they end by themselves and must be waited for."""
    verdict, node = case.verdict(move.source), case.place(move.source).node
    # proven dead when the move began and off now: a new instance need not wait for a dwell of its own
    still = marked(move, "dead") is not None and guest_state(case, node) is GuestState.STOPPED
    gone = verdict.proven or still or (verdict.health is Health.DOWN and case.app.require is Require.SILENCE)
    forced = move.forced and verdict.health is not Health.UP
    if move.kind.planned or not (gone or forced):
        return []
    return [
        DeletePod(
            app=case.app.key,
            pod=pod.name,
            uid=pod.uid,
            reason=f"{node} is dead: its pod object blocks the move",
        )
        for pod in left
        if pod.owned and pod.node == node
    ]


def _came_back(case: Case, move: Move) -> bool:
    """Whether the lost node's guest runs in the middle of a move, again or still: its hypervisor may have been silent
    until now. Without a fence roles alone carry I1; a forced move is made in spite of it.
    """
    node = case.place(move.source).node
    allowed = case.rules.fence(node) and case.rules.fence_when is not FenceWhen.NEVER
    known = mapped(case.rules, case.memory.nodes.get(node, NOTHING_KNOWN)) and not move.forced
    running = guest_state(case, node) is GuestState.RUNNING
    fenced = allowed and (marked(move, "dead") is not None or known)
    return bool(fenced and running and case.verdict(move.source).health is not Health.UP)


def barrier(case: Case, move: Move) -> Step:
    """Scan both sides of every volume; go on only when both are provably equal."""
    moved, wanted, missing = move, tuple[Action, ...](), ["a pod mounts a copy again"]
    again = undone(case, move)
    if again:
        missing = ["somebody undid the stop: put back"]
    elif isinstance(case.workload, Unknown):  # its pods are not known either
        missing = [f"the workload can be read: {case.workload.why}"]
    elif not case.pods() and not case.strangers():
        scanned, wanted, missing = compare(case, move)
        moved = replace(move, scanned=scanned)
        missing = missing or [str(one) for one in policy.unfit(case, move.target)]
        if not wanted and not missing:
            return Step(was=flip_to(replace(case.was, move=mark(moved, "equal", case.date))), event=Event.EQUAL)
    if _hopeless(case, move, "stopped"):
        return Step(was=replace(case.was, move=moved), event=Event.NOT_EQUAL)
    return Step(was=replace(case.was, move=moved), actions=(*again, *wanted), waiting="; ".join(missing))


def flipping(case: Case, move: Move) -> Step:
    """Source `receiveonly` (planned only), then target `sendonly`; each read back."""
    workload = case.workload
    if isinstance(workload, Unknown):
        return Step(was=case.was, waiting=f"the workload can be read: {workload.why}")
    left = [*case.pods(), *case.strangers()]
    was = _disturbed(case, move) if left or workload.replicas else case.was
    if not is_stopped(workload, move):
        why = f"epoch {workload.epoch}, replicas {workload.replicas}, " + ("held" if workload.held else "not held")
        why += "" if gitops.is_suspended(workload) else f", {case.app.applier} not suspended"
        return Step(was=was, actions=undone(case, move), waiting=f"the workload to be at rest: {why}")
    if left:
        return Step(was=was, waiting="pods to go: " + ", ".join(pod.name for pod in left))
    flipped = marked(move, "flipped") is not None  # a role that was lost since is given back below
    unfit = tuple(one for one in policy.unfit(case, move.target) if not (flipped and one.why is Why.NOT_ADOPTED))
    if unfit:
        alarms = policy.lasting(case, move.target, unfit)
        return Step(was=case.was, waiting=wait_for(unfit), alarms=alarms)
    acts, missing = [], []
    for volume in case.app.volumes:
        act, why = _flip(case, move, volume)
        acts += [act] if act else []
        missing += [f"{volume.name}: {why}"] if why else []
    if missing:
        return Step(was=case.was, actions=tuple(acts), waiting="; ".join(missing))
    placed, waiting, alarms = guarding.place(case, mark(move, "flipped", case.date))
    was = replace(case.was, move=placed)
    if waiting:
        return Step(was=was, waiting=waiting, alarms=alarms)
    return Step(was=_unflipped_outdated(case, was, move), event=Event.FLIPPED)


def _disturbed(case: Case, move: Move) -> AppMemory:
    """A planned move in which a pod ran once more after both copies had been equal: what it wrote is not moved."""
    if not move.kind.planned or marked(move, "disturbed") is not None:
        return case.was
    text = f"a pod ran again in the middle of the move: what it wrote at {move.source} is kept there, and not moved"
    return replace(case.was, move=replace(mark(move, "disturbed", case.date), evidence=(*move.evidence, text)))


def _unflipped_outdated(case: Case, was: AppMemory, move: Move) -> AppMemory:
    """A source that died before it was seen to receive only comes back sending, and one on which a pod ran after it
    was proven equal holds what the target does not: it must be taken back.
    """
    volumes = dict(was.volumes)
    for volume in case.app.volumes:
        source = case.folder(volume, move.source)
        disturbed = marked(move, "disturbed") is not None
        if disturbed or isinstance(source, Unknown) or source.type != Role.RECEIVE_ONLY:
            volumes[volume.name] = stand(volumes[volume.name], move.source, Standing.OUTDATED, move.epoch)
    return replace(was, volumes=volumes)


def _flip(case: Case, move: Move, volume: Volume) -> tuple[SetRole | None, str]:
    source, target = case.folder(volume, move.source), case.folder(volume, move.target)
    lost = case.verdict(move.source).health is Health.DOWN
    if move.kind.planned and not lost:
        if isinstance(source, Unknown):
            return None, f"{move.source}: {source.why}"
        if source.type != Role.RECEIVE_ONLY:
            return give_role(case, volume, move.source, Role.RECEIVE_ONLY), f"{move.source} to receive only"
    if isinstance(target, Unknown):
        return None, f"{move.target}: {target.why}"
    if target.type != Role.SEND_ONLY:
        return give_role(case, volume, move.target, Role.SEND_ONLY), f"{move.target} to send only"
    return None, ""


STEPS: Mapping[Phase, Callable[[Case, Move], Step]] = {
    Phase.FENCING: told(fencing),
    Phase.STOPPING: told(stopping),
    Phase.BARRIER: told(barrier),
    Phase.FLIPPING: told(flipping),
    Phase.STARTING: told(starting),
    Phase.RESTORING: told(restoring),
    Phase.ABORTING: told(aborting),
}
