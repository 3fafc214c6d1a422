"""The JSON Patches of a workload. Their `test` operations are the fencing token: an old leader's patch fails.

Measured on a real API server: a failing `test` changes nothing and answers 422; the tests are evaluated again when
another write comes in between, so no resourceVersion is needed once our annotation is there.
"""

from __future__ import annotations

from collections.abc import Sequence

from failoverd.core import names
from failoverd.core.again import replace
from failoverd.core.memory import AppMemory, Move, Undo
from failoverd.core.model import PatchOp, Workload
from failoverd.core.rules import App, Place, Site

ANNOTATIONS = "/metadata/annotations"
TEMPLATE = "/spec/template/spec"


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def annotation(key: str) -> str:
    """The path of an annotation."""
    return f"{ANNOTATIONS}/{_escape(key)}"


def test(path: str, value: object) -> PatchOp:
    """An operation that fails the whole patch unless `path` holds `value`."""
    return PatchOp(op="test", path=path, value=value)


def _set(path: str, value: object) -> PatchOp:
    return PatchOp(op="add", path=path, value=value)


def _remove(path: str) -> PatchOp:
    return PatchOp(op="remove", path=path)


def undo_of(app: App, workload: Workload, sites: tuple[Place, Place]) -> Undo:
    """What must be restored when the app goes home."""
    ours = {volume.copy(site).claim for volume in app.volumes for site in Site}
    keys = dict.fromkeys(key for place in sites for key, _ in place.selector)
    selector = dict(workload.selector or ())
    return Undo(
        replicas=workload.replicas,
        claims=tuple((name, claim) for _, name, claim in workload.claims if claim in ours),
        selector=tuple((key, selector.get(key)) for key in keys),
        had_selector=workload.selector is not None,
        held=workload.held,
    )


def way_home(app: App, workload: Workload, now: Undo, home: Place) -> Undo:
    """What an app of ours whose memory was lost goes home to: the preferred claims and placement, no hold of ours."""
    claims = {volume.copy(site).claim: volume.copy(app.preferred).claim for volume in app.volumes for site in Site}
    wanted = dict(home.selector)
    return replace(
        now,
        replicas=workload.replicas or 1,
        claims=tuple((name, claims[claim]) for name, claim in now.claims),
        selector=tuple((key, wanted.get(key)) for key, _ in now.selector),
        had_selector=bool(wanted),
        held=False,
    )


def _token(workload: Workload) -> list[PatchOp]:
    """What fails once another of us has written: epoch and leader, or where either is missing, any write at all."""
    identity = [test("/metadata/uid", workload.uid)]
    if workload.epoch is None or workload.leader is None:
        return [*identity, test("/metadata/resourceVersion", workload.version)]
    marks = {names.EPOCH: workload.epoch, names.LEADER: workload.leader}
    return [*identity, *(test(annotation(key), str(value)) for key, value in marks.items())]


def signed(ops: Sequence[PatchOp], generation: int) -> tuple[PatchOp, ...]:
    """`ops` with the generation of the leader that writes them, where they leave marks of ours behind at all."""
    left = {op.path for op in ops if op.op == "add"} & {annotation(names.EPOCH), annotation(names.ACTIVE)}
    return (*ops, _set(annotation(names.LEADER), str(generation))) if left else tuple(ops)


def _claims_test(app: App, workload: Workload, site: Site) -> list[PatchOp]:
    ops = []
    wanted = {volume.copy(site).claim for volume in app.volumes}
    for index, name, claim in workload.claims:
        if claim in wanted:
            ops.append(test(f"{TEMPLATE}/volumes/{index}/name", name))
            ops.append(test(f"{TEMPLATE}/volumes/{index}/persistentVolumeClaim/claimName", claim))
    return ops


def hold(workload: Workload) -> list[PatchOp]:
    """Keep the GitOps controller from undoing what follows."""
    if not workload.owner.hold or workload.held:
        return []
    return [_set(annotation(workload.owner.hold), names.HOLD_VALUE)]


def stop(app: App, workload: Workload, move: Move) -> tuple[PatchOp, ...]:
    """Hold and replicas 0 in one patch, tested against the uid, the last epoch and the source's claims."""
    ops = [*_token(workload), *_claims_test(app, workload, move.source)]
    if workload.epoch == move.epoch:  # once more: nothing else would tell one that lands after the abort's start
        ops.append(test("/metadata/resourceVersion", workload.version))
    if not workload.annotations:
        ops.append(_set(ANNOTATIONS, {}))
    return (
        *ops,
        *hold(workload),
        _set(annotation(names.EPOCH), str(move.epoch)),
        _set(annotation(names.ACTIVE), move.source.value),
        PatchOp(op="replace", path="/spec/replicas", value=0),
    )


def is_stopped(workload: Workload, move: Move) -> bool:
    """Whether `stop` has been done."""
    held = workload.held or not workload.owner.hold
    return workload.epoch == move.epoch and workload.replicas == 0 and held


def _point_at(app: App, workload: Workload, site: Site) -> list[PatchOp]:
    ops = []
    for volume in app.volumes:
        wanted = volume.copy(site).claim
        for index, name, claim in workload.claims:
            if claim in (volume.primary.claim, volume.backup.claim):
                path = f"{TEMPLATE}/volumes/{index}"
                ops.append(test(f"{path}/name", name))
                ops.append(test(f"{path}/persistentVolumeClaim/claimName", claim))
                ops.append(_set(f"{path}/persistentVolumeClaim/claimName", wanted))
    return ops


def _select(workload: Workload, place: Place, undo: Undo | None) -> list[PatchOp]:
    path = f"{TEMPLATE}/nodeSelector"
    if workload.selector is None:
        return [_set(path, dict(place.selector))] if place.selector else []
    wanted, present = dict(place.selector), dict(workload.selector)
    ours = [key for key, _ in undo.selector] if undo else []
    drop = [_remove(f"{path}/{_escape(key)}") for key in ours if key in present and key not in wanted]
    return [*drop, *(_set(f"{path}/{_escape(key)}", value) for key, value in place.selector)]


def _unselect(workload: Workload, undo: Undo) -> list[PatchOp]:
    path = f"{TEMPLATE}/nodeSelector"
    present = dict(workload.selector or ())
    if not undo.had_selector and set(present) <= {key for key, _ in undo.selector}:
        return [_remove(path)] if workload.selector is not None else []
    ops = []
    for key, value in undo.selector:
        if value is not None and present.get(key) != value:
            ops.append(_set(f"{path}/{_escape(key)}", value))
        elif value is None and key in present:
            ops.append(_remove(f"{path}/{_escape(key)}"))
    return ops


def is_home(app: App, undo: Undo, site: Site) -> bool:
    """Whether `site` is where the app was before we first touched it."""
    return {claim for _, claim in undo.claims} == {volume.copy(site).claim for volume in app.volumes}


def start(app: App, workload: Workload, was: AppMemory, site: Site, place: Place) -> tuple[PatchOp, ...]:
    """Claims, placement and replicas in one patch, tested against the epoch, replicas 0 and the hold.

    Going home restores everything we touched and removes the hold with it.
    """
    ops = [*_token(workload), test("/spec/replicas", 0)]
    theirs = was.undo is not None and was.undo.held  # perhaps a label, or in capitals: not ours to name
    if workload.held and not theirs:
        ops.append(test(annotation(workload.owner.hold), names.HOLD_VALUE))
    ops += _point_at(app, workload, site)
    if was.undo is not None and is_home(app, was.undo, site):
        ops += _unselect(workload, was.undo)
        ops.append(PatchOp(op="replace", path="/spec/replicas", value=was.undo.replicas))
        return (*ops, *_unmark(workload, was.undo))
    ops += _select(workload, place, was.undo)
    ops.append(PatchOp(op="replace", path="/spec/replicas", value=max(was.replicas, 1)))
    return (*ops, _set(annotation(names.ACTIVE), site.value))


def _unmark(workload: Workload, undo: Undo) -> list[PatchOp]:
    ops = []
    if workload.epoch is not None:
        ops.append(_remove(annotation(names.EPOCH)))
    if workload.active:
        ops.append(_remove(annotation(names.ACTIVE)))
    if workload.leader is not None:
        ops.append(_remove(annotation(names.LEADER)))
    if workload.held and not undo.held:
        ops.append(_remove(annotation(workload.owner.hold)))
    return ops


def is_started(app: App, workload: Workload, was: AppMemory, site: Site) -> bool:
    """Whether `start` has been done."""
    named = {claim for _, _, claim in workload.claims}
    if workload.replicas < 1 or not all(volume.copy(site).claim in named for volume in app.volumes):
        return False
    if was.undo is not None and is_home(app, was.undo, site):
        return workload.epoch is None and (was.undo.held or not workload.held)
    return workload.active == site.value


def restore_hold(app: App, workload: Workload, was: AppMemory, place: Place) -> tuple[PatchOp, ...]:
    """Put back what a GitOps controller (or a hand) undid while the app lives away from home."""
    ops = [test("/metadata/uid", workload.uid), test("/metadata/resourceVersion", workload.version)]
    if not workload.annotations:
        ops.append(_set(ANNOTATIONS, {}))
    ops += [*hold(workload), *_point_at(app, workload, was.active), *_select(workload, place, was.undo)]
    return (
        *ops,
        _set(annotation(names.EPOCH), str(was.written_epoch)),
        _set(annotation(names.ACTIVE), was.active.value),
    )


def is_marked(workload: Workload) -> bool:
    """Whether anything of ours is left on it. A hold without our annotations is somebody else's."""
    return workload.epoch is not None or workload.leader is not None or bool(workload.active)


def release(workload: Workload, replicas: int = 0) -> tuple[PatchOp, ...]:
    """Take every mark of ours off, leaving the workload where it runs. Its token is what it carries now.

    `replicas` start it again where a stop of ours landed that nobody waited for any more.
    """
    ops = [test("/metadata/uid", workload.uid), test("/metadata/resourceVersion", workload.version)]
    again = [test("/spec/replicas", 0), PatchOp(op="replace", path="/spec/replicas", value=replicas)]
    undo = Undo(replicas=workload.replicas, claims=(), selector=())
    return (*ops, *(again if replicas else ()), *_unmark(workload, undo))
