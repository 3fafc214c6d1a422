"""What an app is applied from keeps still while the app is ours: suspended for a move, as it was before at home.

That is a Flux HelmRelease or an Argo CD Application. Holds on the workload stop no upgrade of the one (a new chart or
new values put the claims of home back), and of the other there are none. So it is suspended before the workload is
touched, and resumed only once the app is home; what was committed meanwhile is then applied on top of what Git knows.
Nothing of this is a step of its own: away from home it has to be suspended, at home it must not be, and every look
compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from failoverd.core import names, patch
from failoverd.core.case import NOT_SEEN, Case
from failoverd.core.memory import AppMemory, Move, Phase
from failoverd.core.model import (
    Action,
    ApplierReading,
    Objection,
    Owner,
    PatchApplier,
    PatchOp,
    Suspension,
    Unknown,
    Why,
    Workload,
)
from failoverd.core.rules import Applier, ApplierKind

OWNERS = {Owner.HELM_RELEASE: ApplierKind.HELM_RELEASE, Owner.ARGO: ApplierKind.APPLICATION}
SETTINGS = {ApplierKind.HELM_RELEASE: "helm_release", ApplierKind.APPLICATION: "argo_application"}
SWITCHES = {ApplierKind.HELM_RELEASE: "/spec/suspend", ApplierKind.APPLICATION: patch.annotation(names.SKIP)}
GOES_ON = timedelta(seconds=60)
"""A comparison that had begun before an Application was suspended is over by then, and clocks agree that well."""


def is_suspended(workload: Workload) -> bool:
    """Whether no applier can undo a patch of ours; True where there is none, False while it is unread.

    One that is configured counts also where the workload has lost every trace of it.
    """
    applier = workload.applier
    if workload.owner not in OWNERS and applier is None:
        return True
    if not isinstance(applier, ApplierReading):
        return False
    # Of a suspension that is not ours nothing is known but that it is there.
    kept = applier.held or applier.owner is not Owner.FLUX or applier.ours is None
    return applier.suspended and kept


def suspend(case: Case, why: str) -> tuple[PatchApplier, ...]:
    """Suspend what the app is applied from; nothing where it is already, or cannot be read."""
    workload, wanted = case.workload, case.app.applier
    if isinstance(workload, Unknown) or wanted is None or is_suspended(workload):
        return ()
    if not isinstance(workload.applier, ApplierReading) or _misnamed(case, workload):
        return ()
    ops = _suspended(case, workload.applier, why)
    return (PatchApplier(app=case.app.key, applier=wanted, ops=ops, reason=why),)


def _suspended(case: Case, applier: ApplierReading, why: str) -> tuple[PatchOp, ...]:
    ours, kind = applier.ours, applier.kind
    note = Suspension(
        kind=kind,
        app=case.app.key,
        epoch=case.was.epoch,
        why=why,
        before=ours.before if ours else applier.switch,
        held=ours.held if ours else applier.held,
        hold=ours.hold if ours else None if applier.held else applier.hold,
        since=case.date if kind is ApplierKind.APPLICATION else None,
    )
    ops = [patch.test("/metadata/uid", applier.uid), patch.test("/metadata/resourceVersion", applier.version)]
    if not applier.annotations:
        ops.append(PatchOp(op="add", path=patch.ANNOTATIONS, value={}))
    if applier.owner is Owner.FLUX and not applier.held:
        ops.append(PatchOp(op="add", path=patch.annotation(names.HOLD), value=names.HOLD_VALUE))
    ops.append(PatchOp(op="add", path=patch.annotation(names.SUSPENDED), value=str(note)))
    return (*ops, PatchOp(op="add", path=SWITCHES[kind], value=_value(kind, names.SKIP_VALUE)))


def _value(kind: ApplierKind, text: str) -> str | bool:
    """What is written at the switch for `text`: a field of its own is no text."""
    return text if kind is ApplierKind.APPLICATION else text == names.SKIP_VALUE


def resume(case: Case) -> tuple[PatchApplier, ...]:
    """Make it what it was before we suspended it; nothing while an app of ours needs it suspended.

    What somebody else has set meanwhile stays: one that is not suspended any more only loses our marks.
    """
    workload, wanted = case.workload, case.app.applier
    applier = workload.applier if isinstance(workload, Workload) else None
    if not isinstance(applier, ApplierReading) or wanted is None or applier.ours is None or _needed(case):
        return ()
    ours, switch = applier.ours, SWITCHES[applier.kind]
    ops = [patch.test("/metadata/uid", applier.uid), patch.test("/metadata/resourceVersion", applier.version)]
    ops.append(patch.test(patch.annotation(names.SUSPENDED), str(ours)))
    if applier.switch is not None and applier.suspended and ours.before != applier.switch:
        ops.append(patch.test(switch, _value(applier.kind, applier.switch)))
        back = PatchOp(op="remove", path=switch) if ours.before is None else None
        ops.append(back or PatchOp(op="replace", path=switch, value=_value(applier.kind, ours.before or "")))
    if applier.hold == names.HOLD_VALUE and not ours.held:  # not one that somebody has written in its place
        path = patch.annotation(names.HOLD)
        ops.append(patch.test(path, names.HOLD_VALUE))
        gone = PatchOp(op="remove", path=path)
        ops.append(gone if ours.hold is None else PatchOp(op="replace", path=path, value=ours.hold))
    ops.append(PatchOp(op="remove", path=patch.annotation(names.SUSPENDED)))
    why = "no app of ours needs it suspended any more"
    return (PatchApplier(app=case.app.key, applier=wanted, ops=tuple(ops), reason=why),)


def _needed(case: Case) -> bool:
    """Whether any app that is applied from it moves, lives away from home or carries marks of ours."""
    for app in case.rules.apps:
        if app.applier != case.app.applier:
            continue
        was = case.was if app.key == case.app.key else case.memory.apps.get(app.key)
        workload = case.snapshot.workloads.get(app.key, NOT_SEEN)
        unread = isinstance(workload, Unknown) and not workload.gone  # nothing of ours is on what does not exist
        if unread or (isinstance(workload, Workload) and patch.is_marked(workload)) or _is_out(was):
            return True
    return bool(_forgotten(case))


def _is_out(was: AppMemory | None) -> bool:
    """Whether an app moves or lives away from home."""
    return was is not None and was.phase is not Phase.RELEASED and (was.move is not None or was.undo is not None)


def _forgotten(case: Case) -> str:
    """The app for which we suspended it, where that is away from home and no longer configured; empty for none."""
    applier = case.workload.applier if isinstance(case.workload, Workload) else None
    ours = applier.ours if isinstance(applier, ApplierReading) else None
    if ours is None or any(app.key == ours.app for app in case.rules.apps):
        return ""
    return ours.app if _is_out(case.memory.apps.get(ours.app)) else ""


def tend(case: Case) -> tuple[list[Action], list[Objection]]:
    """For an app at rest: what it is applied from suspended again, with an alarm, or resumed."""
    workload = case.workload
    if isinstance(workload, Unknown):
        return [], []
    if case.was.undo is not None and (wrong := _misnamed(case, workload)):
        return [], [Objection(why=Why.RESUMED, text=f"{wrong}: nothing sees to it that it stays suspended")]
    if not isinstance(workload.applier, ApplierReading):
        return [], []
    if case.was.undo is None:
        lost = _forgotten(case)
        text = f"{case.app.applier} stays suspended: {lost} is away from home and not configured any more"
        return list(resume(case)), [Objection(why=Why.RESUMED, text=text)] if lost else []
    if is_suspended(workload):
        heedless = _heedless(case.app.applier, workload.applier)
        return [], [Objection(why=Why.RESUMED, text=heedless)] if heedless else []
    what = "is no longer held" if workload.applier.suspended else "is no longer suspended"
    said = f"{case.app.applier} {what}"
    alarm = Objection(why=Why.RESUMED, text=f"{said} while {case.app.key} is away from home: put back")
    return list(suspend(case, said)), [alarm]


def _heedless(name: Applier | None, applier: ApplierReading) -> str:
    """The proof that an Application is not left alone although it is suspended; empty while there is none.

    An Argo CD that is new enough may have lost an alpha feature again, and nothing says so beforehand.
    """
    since = applier.ours.since if applier.ours else None
    if since is None or applier.reconciled is None or applier.reconciled - since <= GOES_ON:
        return ""
    late = f"{(applier.reconciled - since).total_seconds():.0f} s after it was suspended"
    return f"{name} was reconciled {late}: its Argo CD does not heed {names.SKIP}, and will undo the patch"


def waits(case: Case, move: Move, workload: Workload) -> str:
    """What a first stop waits for: the suspension, then what runs already and would undo it; empty for nothing."""
    applier = workload.applier
    if wrong := _misnamed(case, workload):
        return f"what it is applied from to be suspended: {wrong}"
    if not is_suspended(workload):
        why = f": {applier.why}" if isinstance(applier, Unknown) else ""
        return f"{case.app.applier} to be suspended{why}"
    ours = applier.ours if isinstance(applier, ApplierReading) else None
    of_this = ours is not None and (ours.app, ours.epoch) == (case.app.key, move.epoch)
    if f"{PatchApplier.__name__} {case.app.applier}" in case.snapshot.in_flight and not of_this:
        return f"a patch of {case.app.applier} on its way to be answered: it may resume it"
    if not move.kind.planned or not isinstance(applier, ApplierReading) or not applier.busy:
        return ""
    # An Application says nothing new of itself once it is suspended: only for its own move can it still be at work.
    told = applier.kind is ApplierKind.HELM_RELEASE or of_this
    return f"{case.app.applier} to be at rest: {applier.busy}" if told else ""


def objections(case: Case, workload: Workload, *, planned: bool) -> Iterator[Objection]:
    """Why whoever owns the workload would undo a patch of ours, or would be in the middle of something."""
    key, wanted, kind = case.app.key, case.app.applier, OWNERS.get(workload.owner)
    if workload.owner is Owner.UNSUPPORTED:
        yield _object(f"{key} belongs to {workload.owner_name}, which would undo the patch")
    elif kind is None:
        if wanted is not None:
            yield _object(f"{key} carries no trace of {wanted}, which the configuration names")
    elif wanted is None:
        hint = f'set {SETTINGS[kind]} = "{workload.owner_name}" for it, and grant what `failoverd config rbac` prints'
        yield _object(f"{key} belongs to {kind} {workload.owner_name}, which would undo the patch: {hint} then")
    elif wrong := _misnamed(case, workload):
        yield _object(wrong)
    elif not isinstance(workload.applier, ApplierReading):
        why = workload.applier.why if workload.applier else "not read yet"
        yield _object(f"{wanted}, which {key} is applied from: {why}")
    else:
        yield from _of_applier(case, wanted, workload.applier, planned=planned)


def _misnamed(case: Case, workload: Workload) -> str:
    """That the workload names another applier than the configuration does; empty where it does not, or names none."""
    wanted, kind = case.app.applier, OWNERS.get(workload.owner)
    if kind is None or (wanted and wanted.kind is kind and workload.owner_name in _known_as(wanted)):
        return ""
    named = _told(wanted, kind) if wanted else "none"
    return f"{case.app.key} belongs to {kind} {workload.owner_name}, the configuration names {named}"


def _known_as(applier: Applier) -> tuple[str, ...]:
    """How a workload may name it: Argo CD leaves out the namespace that its controller runs in."""
    return (applier.name, applier.last) if applier.kind is ApplierKind.APPLICATION else (applier.name,)


def _told(wanted: Applier, kind: ApplierKind) -> str:
    return wanted.name if wanted.kind is kind else str(wanted)


def _of_applier(case: Case, name: Applier, applier: ApplierReading, *, planned: bool) -> Iterator[Objection]:
    if applier.owner not in (Owner.NONE, Owner.FLUX):
        owner = OWNERS.get(applier.owner)
        whose = f"{owner} {applier.owner_name}" if owner else applier.owner_name
        yield _object(f"{name} belongs to {whose}, which would resume it")
    if applier.deleting:
        yield _object(f"{name} is being deleted")
    told = applier.kind is ApplierKind.HELM_RELEASE or not applier.suspended
    if planned and told and applier.busy:
        yield _object(f"{name} is at work: {applier.busy}")
    if case.was.undo is None:  # what speaks against leaving home keeps nobody away from it
        yield from _unsure(case, name, applier, planned=planned)


def _unsure(case: Case, name: Applier, applier: ApplierReading, *, planned: bool) -> Iterator[Objection]:
    if not applier.applies:
        yield _object(f"{name} does not list {case.app.kind} {case.app.key} among its resources")
    if not applier.heeds:
        yield _object(f"{name} has no status.controllerNamespace: its Argo CD may be too old to heed {names.SKIP}")
    if planned and (heedless := _heedless(name, applier)):
        yield _object(heedless)


def _object(text: str) -> Objection:
    return Objection(why=Why.GITOPS, text=text)
