"""A move, one idempotent step at a time: each reads "already done?" from the world before it asks for anything.

Whatever a step needs another instance to know is in the memory it returns, which is saved before its actions begin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from failoverd.core import patch, proof
from failoverd.core.case import Case
from failoverd.core.machine import Event
from failoverd.core.memory import AppMemory, CopyMemory, Loss, Move, Phase, Standing, Undo, VolumeMemory
from failoverd.core.model import (
    Action,
    DeletePod,
    FenceOff,
    Folder,
    Guest,
    GuestState,
    Health,
    PatchWorkload,
    Pod,
    Role,
    Scan,
    SetRole,
    Unknown,
    Workload,
)
from failoverd.core.policy import Wish
from failoverd.core.rules import Require, Site, Volume

KEPT = 20
"""Finished moves kept in Memory for budget and monitor; the long history lives beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one phase wants in one tick."""

    was: AppMemory
    event: Event | None = None
    actions: tuple[Action, ...] = ()
    waiting: str = ""


def mark(move: Move, name: str, at: datetime) -> Move:
    """`move` with the time at which `name` was reached, unless it is there already."""
    if any(known == name for known, _ in move.marks):
        return move
    return replace(move, marks=(*move.marks, (name, at)))


def marked(move: Move, name: str) -> datetime | None:
    """When `name` was reached."""
    return next((at for known, at in move.marks if known == name), None)


def begin(case: Case, wish: Wish, evidence: tuple[str, ...]) -> AppMemory:
    """The intent: epoch + 1, and in an unplanned move the loser's copies outdated in the very same write."""
    was, source = case.was, case.was.active
    verdict = case.verdict(source)
    epoch = was.epoch + 1
    move = Move(
        id=f"{case.app.key}#{epoch}",
        app=case.app.key,
        kind=wish.kind,
        source=source,
        target=wish.target,
        epoch=epoch,
        reason=wish.reason,
        evidence=evidence,
        began_at=case.date,
        forced=wish.forced,
        command=wish.command,
        by=wish.by,
    )
    volumes = was.volumes
    if not wish.kind.planned:
        last = verdict.down_since if verdict.health is not Health.UP else None
        move = replace(move, last_write_at=last or case.date, losses=_losses(case, last))
        volumes = {name: _stand(memory, source, Standing.OUTDATED) for name, memory in was.volumes.items()}
    move = mark(move, "decided", case.date)
    if verdict.proven and not wish.kind.planned:
        move = mark(move, "dead", case.date)
    workload = case.workload
    undo, replicas = was.undo, was.replicas
    if isinstance(workload, Workload):
        pair = case.rules.pair(case.app)
        undo = undo or patch.undo_of(case.app, workload, (pair.primary, pair.backup))
        replicas = workload.replicas or was.replicas
    return replace(was, epoch=epoch, move=move, undo=undo, replicas=replicas, volumes=volumes, stable_since=None)


def _losses(case: Case, last: datetime | None) -> tuple[Loss, ...]:
    losses = []
    for volume in case.app.volumes:
        age = proof.age(case, volume, last)
        folder = case.folder(volume, case.was.active.other)
        missing = folder.need_items + folder.need_deletes if isinstance(folder, Folder) else 0
        losses.append(
            Loss(
                volume=volume.name,
                age_seconds=age.total_seconds() if age is not None else None,
                missing=missing,
            )
        )
    return tuple(losses)


def _stand(memory: VolumeMemory, site: Site, standing: Standing, epoch: int = 0) -> VolumeMemory:
    kept = memory.copies[site]
    return replace(
        memory, copies={**memory.copies, site: CopyMemory(standing=standing, epoch=epoch, device=kept.device)}
    )


def fencing(case: Case, move: Move) -> Step:
    """Cut the power of the lost node, once for all its apps, and wait for the confirmation."""
    node = case.place(move.source).node
    verdict, remembered = case.verdict(move.source), case.memory.nodes.get(node)
    if verdict.proven:
        done = mark(mark(move, "dead", case.date), "fenced", case.date)
        done = replace(done, last_write_at=verdict.down_since or done.last_write_at)
        return Step(was=replace(case.was, move=done), event=Event.FENCED)
    began = remembered.fence_began_at if remembered else None
    if began is None and verdict.health is Health.UP and not move.forced:
        return Step(was=call_off(case, "the node came back"), event=Event.CALLED_OFF)
    if began is not None and case.date - began > case.rules.timings.fence_timeout:
        if case.app.require is Require.SILENCE and verdict.health is Health.DOWN:
            return Step(was=case.was, event=Event.FENCE_GIVEN_UP)
        return Step(was=call_off(case, "the fence failed"), event=Event.CALLED_OFF)
    act = FenceOff(node=node, reason=f"{node} may still be writing")
    return Step(was=case.was, actions=(act,), waiting=f"for {node} to be confirmed stopped")


def call_off(case: Case, why: str) -> AppMemory:
    """Give up before anything was done: the loser is active again, the epoch stays used."""
    was = case.was
    assert was.move is not None
    volumes = {name: _stand(memory, was.active, Standing.ACTIVE) for name, memory in was.volumes.items()}
    return _finish(replace(was, volumes=volumes, undo=_keep_undo(case)), was.move, f"aborted: {why}")


def _keep_undo(case: Case) -> Undo | None:
    workload = case.workload
    touched = isinstance(workload, Workload) and workload.epoch is not None
    return case.was.undo if touched else None


def _finish(was: AppMemory, move: Move, outcome: str) -> AppMemory:
    ended = replace(move, outcome=outcome, scanned=())
    return replace(was, move=None, moves=(*was.moves, ended)[-KEPT:])


def stopping(case: Case, move: Move) -> Step:
    """Hold and replicas 0; then wait until no pod of the app is left that could write."""
    workload = case.workload
    if isinstance(workload, Unknown):
        return Step(was=case.was, waiting=f"the workload can be read: {workload.why}")
    if not patch.is_stopped(workload, move):
        if workload.epoch is not None and workload.epoch > move.epoch:
            return Step(was=case.was, event=None, waiting=f"workload carries a newer epoch {workload.epoch}")
        if _hopeless(case, move, "decided"):
            return Step(was=case.was, event=Event.NOT_EQUAL)
        act = PatchWorkload(
            app=case.app.key,
            ops=patch.stop(case.app, workload, move),
            reason=f"{move.kind}: hold and replicas 0",
        )
        return Step(was=case.was, actions=(act,), waiting="the workload takes hold and replicas 0")
    left = case.pods() + case.strangers()
    if left:
        deletions = tuple(_deletions(case, move, left))
        if _hopeless(case, move, "decided"):
            return Step(was=case.was, event=Event.NOT_EQUAL)
        names = ", ".join(f"{pod.name} on {pod.node or 'no node'}" for pod in left)
        return Step(was=case.was, actions=deletions, waiting=f"pods to go: {names}")
    if move.kind.planned:
        return Step(was=_reach(case, move, "stopped"), event=Event.STOPPED)
    again = _came_back(case, move)
    if again:
        return Step(was=case.was, actions=again, waiting="the lost node runs again: fenced again")
    return Step(was=flip_to(_reach(case, move, "stopped")), event=Event.STOPPED_UNPLANNED)


def _reach(case: Case, move: Move, name: str) -> AppMemory:
    return replace(case.was, move=mark(move, name, case.date))


def _hopeless(case: Case, move: Move, since: str) -> bool:
    """Whether a planned move should be given up: out of time, or its source has died meanwhile."""
    if not move.kind.planned:
        return False
    began = marked(move, since)
    late = began is not None and case.date - began > case.rules.timings.barrier_timeout
    return late or case.verdict(move.source).health is Health.DOWN


def _deletions(case: Case, move: Move, left: list[Pod]) -> list[DeletePod]:
    """Pods of a dead node only, owned only: on a living node they end by themselves and must be waited for."""
    verdict, node = case.verdict(move.source), case.place(move.source).node
    gone = verdict.proven or (verdict.health is Health.DOWN and case.app.require is Require.SILENCE)
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


def _came_back(case: Case, move: Move) -> tuple[Action, ...]:
    """A fenced guest that runs again in the middle of a move is fenced again; without a fence roles carry I1."""
    node = case.place(move.source).node
    reading = case.snapshot.nodes.get(node)
    fenced = marked(move, "dead") is not None and case.rules.fence(node)
    if fenced and reading and isinstance(reading.guest, Guest) and reading.guest.state is GuestState.RUNNING:
        if case.verdict(move.source).health is not Health.UP:
            return (FenceOff(node=node, reason=f"{node} runs again in the middle of a move"),)
    return ()


def flip_to(was: AppMemory) -> AppMemory:
    """From here on the target's copies are the authoritative ones."""
    move = was.move
    assert move is not None
    lost = Standing.CLEAN if move.kind.planned else Standing.OUTDATED
    volumes = {
        name: _stand(_stand(memory, move.source, lost, move.epoch), move.target, Standing.ACTIVE)
        for name, memory in was.volumes.items()
    }
    volumes = {name: replace(memory, proven_at=None, proven_sequence=0) for name, memory in volumes.items()}
    return replace(was, active=move.target, volumes=volumes)


def barrier(case: Case, move: Move) -> Step:
    """Scan both sides of every volume; go on only when both are provably equal."""
    if not case.pods() and not case.strangers():
        scanned, wanted, missing = _compare(case, move)
        moved = replace(move, scanned=scanned)
        if not wanted and not missing:
            return Step(was=flip_to(replace(case.was, move=mark(moved, "equal", case.date))), event=Event.EQUAL)
    else:
        moved, wanted, missing = move, (), ["a pod mounts a copy again"]
    if _hopeless(case, move, "stopped"):
        return Step(was=replace(case.was, move=moved), event=Event.NOT_EQUAL)
    return Step(was=replace(case.was, move=moved), actions=wanted, waiting="; ".join(missing))


_Scans = tuple[tuple[str, Site, int, str], ...]


def _compare(case: Case, move: Move) -> tuple[_Scans, tuple[Action, ...], list[str]]:
    known = {(name, site): (sequence, started) for name, site, sequence, started in move.scanned}
    for receipt in case.snapshot.receipts:
        act = receipt.action
        if isinstance(act, Scan) and act.app == case.app.key and receipt.ok and receipt.scanned:
            if receipt.scanned.errors == 0 and receipt.scanned.at >= (marked(move, "stopped") or case.date):
                known[act.volume, act.site] = (receipt.scanned.sequence, receipt.scanned.started)
    wanted: list[Action] = []
    missing: list[str] = []
    for volume in case.app.volumes:
        for site in Site:
            folder = case.folder(volume, site)
            if isinstance(folder, Unknown):
                missing.append(f"{volume.name} at {site}: {folder.why}")
            elif known.get((volume.name, site), (0, ""))[1] != folder.started:
                known.pop((volume.name, site), None)
                wanted.append(Scan(app=case.app.key, volume=volume.name, site=site, reason="barrier"))
                missing.append(f"{volume.name} at {site} to be scanned")
        unequal = "" if wanted or missing else _unequal(case, volume, known)
        if unequal:
            missing.append(f"{volume.name}: {unequal}")
            stale = _stale(case, volume, known)
            wanted += [Scan(app=case.app.key, volume=volume.name, site=site, reason="barrier") for site in stale]
    scans = tuple((name, site, sequence, started) for (name, site), (sequence, started) in known.items())
    return scans, tuple(wanted), missing


def _stale(case: Case, volume: Volume, known: Mapping[tuple[str, Site], tuple[int, str]]) -> list[Site]:
    """Sides whose index moved on since their scan: compared again from a new one."""
    moved_on = []
    for site in Site:
        folder = case.folder(volume, site)
        if isinstance(folder, Folder) and folder.sequence != known[volume.name, site][0]:
            moved_on.append(site)
    return moved_on


def _unequal(case: Case, volume: Volume, known: Mapping[tuple[str, Site], tuple[int, str]]) -> str:
    source = case.was.active
    active, standby = case.folder(volume, source), case.folder(volume, source.other)
    assert isinstance(active, Folder)
    assert isinstance(standby, Folder)
    sequence = known[volume.name, source][0]
    if active.errors or active.error:
        return f"{active.errors} errors at {source}: {', '.join(active.error_files[:3]) or active.error}"
    if not standby.idle:
        return f"{source.other} is {standby.error or standby.state}, {standby.errors} errors"
    if not standby.needs_nothing:
        return f"{source.other} needs {standby.need_items + standby.need_deletes} items"
    if standby.receive_only:
        return f"{standby.receive_only} items that only {source.other} has"
    if active.sequence != sequence:
        return f"{source} changed after its scan"
    if standby.remote_sequence != sequence:
        return f"{source.other} has heard of {standby.remote_sequence or 0} of {sequence}"
    return ""


def flipping(case: Case, move: Move) -> Step:
    """Source `receiveonly` (planned only), then target `sendonly`; each read back."""
    workload = case.workload
    if isinstance(workload, Unknown) or workload.replicas != 0:
        why = workload.why if isinstance(workload, Unknown) else f"replicas are {workload.replicas}"
        return Step(was=case.was, waiting=f"the workload to be at rest: {why}")
    if workload.epoch != move.epoch or (not workload.held and workload.owner.value.startswith("flux")):
        return Step(was=case.was, waiting="hold and epoch to be on the workload")
    left = [*case.pods(move.target), *case.strangers()]
    if left:
        return Step(was=case.was, waiting="pods to go: " + ", ".join(pod.name for pod in left))
    acts, missing = [], []
    for volume in case.app.volumes:
        act, why = _flip(case, move, volume)
        acts += [act] if act else []
        missing += [f"{volume.name}: {why}"] if why else []
    if missing:
        return Step(was=case.was, actions=tuple(acts), waiting="; ".join(missing))
    return Step(was=_reach(case, move, "flipped"), event=Event.FLIPPED)


def _flip(case: Case, move: Move, volume: Volume) -> tuple[SetRole | None, str]:
    source, target = case.folder(volume, move.source), case.folder(volume, move.target)
    lost = case.verdict(move.source).health is Health.DOWN
    if move.kind.planned and not lost:
        if isinstance(source, Unknown):
            return None, f"{move.source}: {source.why}"
        if source.type != Role.RECEIVE_ONLY:
            return _role(case, volume, move.source, Role.RECEIVE_ONLY), f"{move.source} to receive only"
    if isinstance(target, Unknown):
        return None, f"{move.target}: {target.why}"
    if target.type != Role.SEND_ONLY:
        return _role(case, volume, move.target, Role.SEND_ONLY), f"{move.target} to send only"
    return None, ""


def _role(case: Case, volume: Volume, site: Site, role: Role) -> SetRole:
    return SetRole(app=case.app.key, volume=volume.name, site=site, role=role, reason="the flip")


def starting(case: Case, move: Move) -> Step:
    """Claims, placement and replicas in one patch; then until the pod is Ready at the target."""
    workload = case.workload
    if isinstance(workload, Unknown):
        return Step(was=case.was, waiting=f"the workload can be read: {workload.why}")
    if not patch.is_started(case.app, workload, case.was, move.target):
        if workload.replicas == 0 and workload.epoch == move.epoch:
            ops = patch.start(case.app, workload, case.was, move.target, case.place(move.target))
            act = PatchWorkload(app=case.app.key, ops=ops, reason=f"start at {move.target}")
            return Step(was=case.was, actions=(act,), waiting=f"the workload to name {move.target}'s claims")
        return Step(was=case.was, waiting=f"workload to carry epoch {move.epoch} and replicas 0")
    started = mark(move, "started", case.date)
    ready = [pod for pod in case.pods(move.target) if pod.ready and not pod.deleting]
    if ready:
        done = mark(started, "ready", case.date)
        home = case.was.undo is not None and patch.is_home(case.app, case.was.undo, move.target)
        undo = None if home else case.was.undo
        return Step(was=_finish(replace(case.was, undo=undo), done, "done"), event=Event.READY)
    if case.verdict(move.target).health is Health.DOWN:
        lost = _finish(case.was, started, "failed: the target was lost before the app was ready")
        return Step(was=lost, event=Event.TARGET_LOST)
    return Step(was=replace(case.was, move=started), waiting=_why_not_ready(case, move, started))


def _why_not_ready(case: Case, move: Move, started: Move) -> str:
    since = marked(started, "started") or case.date
    took = (case.date - since).total_seconds()
    reasons = [f"{pod.name}: {pod.waiting}" for pod in case.pods() if pod.waiting]
    late = " (ready_timeout passed)" if took > case.rules.timings.ready_timeout.total_seconds() else ""
    return f"the app to be ready at {move.target} since {took:.0f} s{late}" + (
        f": {'; '.join(reasons)}" if reasons else ""
    )


def aborting(case: Case, move: Move) -> Step:
    """Roles were never flipped before the barrier: only the workload must run again where it was."""
    workload = case.workload
    if isinstance(workload, Unknown):
        return Step(was=case.was, waiting=f"the workload can be read: {workload.why}")
    if patch.is_started(case.app, workload, case.was, move.source):
        home = case.was.undo is not None and patch.is_home(case.app, case.was.undo, move.source)
        kept = replace(case.was, undo=None if home else case.was.undo)
        return Step(was=_finish(kept, move, "aborted: both copies were not equal in time"), event=Event.RESTORED)
    wrong = [
        volume.name
        for volume in case.app.volumes
        if isinstance(folder := case.folder(volume, move.source), Folder) and folder.type != Role.SEND_ONLY
    ]
    if wrong:
        acts = tuple(
            _role(case, volume, move.source, Role.SEND_ONLY) for volume in case.app.volumes if volume.name in wrong
        )
        return Step(was=case.was, actions=acts, waiting="the source's role to be back")
    if workload.replicas != 0 or workload.epoch != move.epoch:
        return Step(was=case.was, waiting=f"workload to carry epoch {move.epoch} and replicas 0")
    ops = patch.start(case.app, workload, case.was, move.source, case.place(move.source))
    act = PatchWorkload(app=case.app.key, ops=ops, reason="aborted: start where it was")
    return Step(was=case.was, actions=(act,), waiting=f"the app to start at {move.source} again")


STEPS: Mapping[Phase, Callable[[Case, Move], Step]] = {
    Phase.FENCING: fencing,
    Phase.STOPPING: stopping,
    Phase.BARRIER: barrier,
    Phase.FLIPPING: flipping,
    Phase.STARTING: starting,
    Phase.ABORTING: aborting,
}
