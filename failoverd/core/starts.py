"""How an app stands still in the midst of a move, and how it starts again: at the target, or where it was."""

from __future__ import annotations

from failoverd.core import gitops, patch, policy
from failoverd.core.again import replace
from failoverd.core.case import Case
from failoverd.core.intent import Step, finish, mark, marked, written
from failoverd.core.machine import Event
from failoverd.core.memory import AppMemory, Move
from failoverd.core.model import Action, Folder, Health, Objection, Role, SetRole, Unknown, Why, Workload
from failoverd.core.rules import Site, Volume


def is_stopped(workload: Workload, move: Move) -> bool:
    """Whether the workload and what it is applied from stand as the stop of this move leaves them."""
    return patch.is_stopped(workload, move) and gitops.is_suspended(workload)


def wait_for(unfit: tuple[Objection, ...]) -> str:
    """What a promotion waits for, in words."""
    return "a copy fit to be promoted: " + "; ".join(map(str, unfit))


def halt(case: Case, move: Move, workload: Workload) -> tuple[Action, ...]:
    """The stop, or whatever of it is undone."""
    acts: tuple[Action, ...] = gitops.suspend(case, f"{move.kind} to {move.target}")
    if not patch.is_stopped(workload, move):
        ops = patch.stop(case.app, workload, move)
        acts += (written(case, ops, f"{move.kind}: hold and replicas 0"),)
    return acts


def undone(case: Case, move: Move) -> tuple[Action, ...]:
    """The stop once more, where somebody (or an unheld GitOps controller) has undone it."""
    workload = case.workload
    if isinstance(workload, Unknown) or workload.epoch != move.epoch:
        return ()
    return halt(case, move, workload)


def give_role(case: Case, volume: Volume, site: Site, role: Role) -> SetRole:
    """The act that gives one copy its role in a move."""
    return SetRole(app=case.app.key, volume=volume.name, site=site, role=role, reason="the flip")


def starting(case: Case, move: Move) -> Step:
    """Claims, placement and replicas in one patch; then until the pod is Ready at the target."""
    workload = case.workload
    if isinstance(workload, Unknown):
        return Step(was=case.was, waiting=f"the workload can be read: {workload.why}")
    if not patch.is_started(case.app, workload, case.was, move.target):
        if workload.replicas == 0 and workload.epoch == move.epoch:
            unfit = policy.lasting(case, move.target, policy.unfit(case, move.target))
            if unfit:
                return Step(was=case.was, waiting=wait_for(unfit), alarms=unfit)
            again = gitops.suspend(case, f"{move.kind} to {move.target}")
            if again:
                return Step(was=case.was, actions=again, waiting=f"{case.app.applier} to be suspended again")
            ops = patch.start(case.app, workload, case.was, move.target, case.place(move.target))
            act = written(case, ops, f"start at {move.target}")
            return Step(was=case.was, actions=(act,), waiting=f"the workload to name {move.target}'s claims")
        return Step(was=case.was, actions=undone(case, move), waiting=_not_started(case, move, workload))
    started = mark(move, "started", case.date)
    ready = [pod for pod in case.pods(move.target) if pod.ready and not pod.deleting]
    arrived = _arrive(case, move.target)
    if ready:
        return Step(was=finish(case, arrived, mark(started, "ready", case.date), "done"), event=Event.READY)
    if case.verdict(move.target).health is Health.DOWN:
        lost = finish(case, arrived, started, "failed: the target was lost before the app was ready")
        return Step(was=lost, event=Event.TARGET_LOST)
    waiting, alarms = _why_not_ready(case, move, started)
    away = gitops.suspend(case, f"{move.kind} to {move.target}") if arrived.undo is not None else ()
    return Step(was=replace(case.was, move=started), actions=away, waiting=waiting, alarms=alarms)


def _not_started(case: Case, move: Move, workload: Workload) -> str:
    """What a start waits for that nothing of ours brings about."""
    home = case.was.undo is not None and patch.is_home(case.app, case.was.undo, move.target)
    if home and workload.epoch is None and case.runs_on(move.target):  # as our start leaves it, but for a hand since
        if workload.replicas == 0:
            return "somebody to scale it up again: it was started at home, and replicas are 0 now"
        if workload.held:
            hold = workload.owner.hold
            return f"somebody to take the hold off again ({hold}): it was started at home, and is held now"
    return f"workload to carry epoch {move.epoch} and replicas 0"


def _arrive(case: Case, site: Site) -> AppMemory:
    """Memory of an app whose start patch stands at `site`: at home nothing is left to undo."""
    home = case.was.undo is not None and patch.is_home(case.app, case.was.undo, site)
    return replace(case.was, undo=None if home else case.was.undo)


def _why_not_ready(case: Case, move: Move, started: Move) -> tuple[str, tuple[Objection, ...]]:
    """What is waited for, and the alarm once that has taken longer than it should."""
    took, limit = case.date - (marked(started, "started") or case.date), case.rules.timings.ready_timeout
    reasons = [f"{pod.name}: {pod.waiting}" for pod in case.pods() if pod.waiting]
    because = f": {'; '.join(reasons)}" if reasons else ""
    waiting = f"the app to be ready at {move.target} since {took.total_seconds():.0f} s{because}"
    if took <= limit:
        return waiting, ()
    text = f"not ready in time at {move.target}, {limit.total_seconds():.0f} s (ready_timeout){because}"
    return waiting, (Objection(why=Why.NOT_READY, text=text),)


def aborting(case: Case, move: Move) -> Step:
    """Roles were never flipped before the barrier: only the workload must run again where it was."""
    waits = _again(case, move, "aborted: start where it was")
    if waits is not None:
        return waits
    ended = finish(case, _arrive(case, move.source), move, f"aborted: {_abort_why(move)}")
    return Step(was=ended, event=Event.RESTORED)


def returning(case: Case, move: Move, failed: str) -> Step:
    """The app runs again where it was, of a move that never meant to leave; then until its pod is Ready."""
    waits = _again(case, move, "start where it was")
    if waits is not None:
        return waits
    started, arrived = mark(move, "started", case.date), _arrive(case, move.source)
    if any(pod.ready and not pod.deleting for pod in case.pods(move.source)):
        outcome = f"aborted: {failed}" if failed else "done"
        return Step(was=finish(case, arrived, mark(started, "ready", case.date), outcome), event=Event.RESTORED)
    if case.verdict(move.source).health is Health.DOWN:
        outcome = f"aborted: {failed}" if failed else "failed: the node was lost before the app was ready again"
        return Step(was=finish(case, arrived, started, outcome), event=Event.RESTORED)
    waiting, alarms = _why_not_ready(case, move, started)
    return Step(was=replace(case.was, move=started), waiting=waiting, alarms=alarms)


def _again(case: Case, move: Move, reason: str) -> Step | None:
    """What must be done until the workload runs where it was; None once it does."""
    workload = case.workload
    if isinstance(workload, Unknown):
        return Step(was=case.was, waiting=f"the workload can be read: {workload.why}")
    if patch.is_started(case.app, workload, case.was, move.source):
        return Step(was=case.was, waiting="a patch on its way to be answered") if case.patching else None
    wrong = [
        volume
        for volume in case.app.volumes
        if isinstance(folder := case.folder(volume, move.source), Folder) and folder.type != Role.SEND_ONLY
    ]
    if wrong:
        acts = tuple(give_role(case, volume, move.source, Role.SEND_ONLY) for volume in wrong)
        return Step(was=case.was, actions=acts, waiting="the source's role to be back")
    if workload.replicas != 0 or workload.epoch != move.epoch:
        again = undone(case, move)
        return Step(was=case.was, actions=again, waiting=f"workload to carry epoch {move.epoch} and replicas 0")
    ops = patch.start(case.app, workload, case.was, move.source, case.place(move.source))
    act = written(case, ops, reason)
    return Step(was=case.was, actions=(act,), waiting=f"the app to start at {move.source} again")


def _abort_why(move: Move) -> str:
    if marked(move, "unfit") is not None:
        return "the target's copy was not fit any more"
    if marked(move, "late") is not None:
        return "its stop landed after it was called off"
    stopped = marked(move, "stopped") is not None
    return "both copies were not equal in time" if stopped else "the app did not stop in time"
