"""A HelmRelease that keeps still while its workload is ours: suspended for a move, as it was before at home.

Drift correction is held on the workload itself, in the very patch that changes it. That stops no upgrade: a new
chart or new values put the claims of home back. So the HelmRelease is suspended as well, before the workload is
touched, and resumed only once the app is home; what was committed meanwhile is then applied on top of what Git knows.
Nothing of this is a step of its own: away from home it has to be suspended, at home it must not be, and every look
compares.
"""

from __future__ import annotations

from collections.abc import Iterator

from failoverd.core import names, patch
from failoverd.core.case import Case
from failoverd.core.memory import Phase
from failoverd.core.model import (
    Action,
    Objection,
    Owner,
    PatchOp,
    PatchRelease,
    Release,
    Suspension,
    Unknown,
    Why,
    Workload,
)

SUSPEND = "/spec/suspend"


def is_suspended(workload: Workload) -> bool:
    """Whether no HelmRelease can undo a patch of ours; True where none renders the workload, False while unread."""
    release = workload.release
    if workload.owner is not Owner.HELM_RELEASE:
        return True
    if not isinstance(release, Release):
        return False
    # Of a suspension that is not ours nothing is known but that it is there.
    kept = release.held or release.owner is not Owner.FLUX or release.ours is None
    return release.suspend is True and kept


def suspend(case: Case, why: str) -> tuple[PatchRelease, ...]:
    """Suspend the app's HelmRelease; nothing where it is already, or cannot be read."""
    workload = case.workload
    if isinstance(workload, Unknown) or is_suspended(workload) or not isinstance(workload.release, Release):
        return ()
    ops = _suspended(case, workload.release, why)
    return (PatchRelease(app=case.app.key, release=case.app.helm_release, ops=ops, reason=why),)


def _suspended(case: Case, release: Release, why: str) -> tuple[PatchOp, ...]:
    ours = release.ours
    note = Suspension(
        app=case.app.key,
        epoch=case.was.epoch,
        why=why,
        suspend=ours.suspend if ours else release.suspend,
        held=ours.held if ours else release.held,
    )
    ops = [patch.test("/metadata/uid", release.uid), patch.test("/metadata/resourceVersion", release.version)]
    if not release.annotations:
        ops.append(PatchOp(op="add", path=patch.ANNOTATIONS, value={}))
    if release.owner is Owner.FLUX and not release.held:
        ops.append(PatchOp(op="add", path=patch.annotation(names.HOLD), value=names.HOLD_VALUE))
    ops.append(PatchOp(op="add", path=patch.annotation(names.SUSPENDED), value=str(note)))
    return (*ops, PatchOp(op="add", path=SUSPEND, value=True))


def resume(case: Case) -> tuple[PatchRelease, ...]:
    """Make the HelmRelease what it was before we suspended it; nothing while an app of ours needs it suspended.

    What somebody else has set meanwhile stays: one that is not suspended any more only loses our marks.
    """
    workload = case.workload
    release = workload.release if isinstance(workload, Workload) else None
    if not isinstance(release, Release) or release.ours is None or _needed(case):
        return ()
    ours = release.ours
    ops = [patch.test("/metadata/uid", release.uid), patch.test("/metadata/resourceVersion", release.version)]
    ops.append(patch.test(patch.annotation(names.SUSPENDED), str(ours)))
    if release.suspend is True and ours.suspend is not True:
        ops.append(patch.test(SUSPEND, value=True))
        back = PatchOp(op="remove", path=SUSPEND) if ours.suspend is None else None
        ops.append(back or PatchOp(op="replace", path=SUSPEND, value=ours.suspend))
    if release.held and not ours.held:
        ops.append(patch.test(patch.annotation(names.HOLD), names.HOLD_VALUE))
        ops.append(PatchOp(op="remove", path=patch.annotation(names.HOLD)))
    ops.append(PatchOp(op="remove", path=patch.annotation(names.SUSPENDED)))
    why = "no app of ours needs it suspended any more"
    return (PatchRelease(app=case.app.key, release=case.app.helm_release, ops=tuple(ops), reason=why),)


def _needed(case: Case) -> bool:
    """Whether any app of this HelmRelease moves, lives away from home or carries marks of ours."""
    for app in case.rules.apps:
        if app.helm_release != case.app.helm_release:
            continue
        was = case.was if app.key == case.app.key else case.memory.apps.get(app.key)
        workload = case.snapshot.workloads.get(app.key)
        if not isinstance(workload, Workload) or patch.is_marked(workload):
            return True
        if was is not None and was.phase is not Phase.RELEASED and (was.move is not None or was.undo is not None):
            return True
    return False


def tend(case: Case) -> tuple[list[Action], list[Objection]]:
    """For an app at rest: the HelmRelease suspended again, with an alarm, or resumed."""
    workload = case.workload
    if isinstance(workload, Unknown) or not isinstance(workload.release, Release):
        return [], []
    if case.was.undo is None:
        return list(resume(case)), []
    if is_suspended(workload):
        return [], []
    what = "is no longer suspended" if workload.release.suspend is not True else "is no longer held"
    said = f"HelmRelease {case.app.helm_release} {what}"
    alarm = Objection(why=Why.RESUMED, text=f"{said} while {case.app.key} is away from home: put back")
    return list(suspend(case, said)), [alarm]


def objections(case: Case, workload: Workload, *, planned: bool) -> Iterator[Objection]:
    """Why whoever owns the workload would undo a patch of ours, or would be in the middle of something."""
    key, owner, wanted = case.app.key, workload.owner_name, case.app.helm_release
    if workload.owner is Owner.UNSUPPORTED:
        yield _object(f"{key} belongs to {owner}, which would undo the patch")
    elif workload.owner is not Owner.HELM_RELEASE:
        if wanted:
            yield _object(f"{key} carries no label of HelmRelease {wanted}, which the configuration names")
    elif not wanted:
        hint = f'set helm_release = "{owner}" for it, and grant what `failoverd config rbac` prints then'
        yield _object(f"{key} belongs to HelmRelease {owner}, which would undo the patch: {hint}")
    elif owner != wanted:
        yield _object(f"{key} belongs to HelmRelease {owner}, the configuration names {wanted}")
    elif not isinstance(workload.release, Release):
        why = workload.release.why if workload.release else "not read yet"
        yield _object(f"HelmRelease {wanted}, which renders {key}: {why}")
    else:
        yield from _of_release(wanted, workload.release, planned=planned)


def _of_release(name: str, release: Release, *, planned: bool) -> Iterator[Objection]:
    if release.owner not in (Owner.NONE, Owner.FLUX):
        yield _object(f"HelmRelease {name} belongs to {release.owner_name}, which would resume it")
    if release.deleting:
        yield _object(f"HelmRelease {name} is being deleted")
    if planned and release.busy:
        yield _object(f"HelmRelease {name} is at work: {release.busy}")


def _object(text: str) -> Objection:
    return Objection(why=Why.GITOPS, text=text)
