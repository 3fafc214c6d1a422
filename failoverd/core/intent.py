"""The intent of a move: how it begins, is called off, changes who is authoritative, ends. Memory only, no acts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from failoverd.core import asking, databases, guarding, hysteresis, patch, proof
from failoverd.core.again import replace
from failoverd.core.case import Case, Wish
from failoverd.core.machine import Event
from failoverd.core.memory import UNTOUCHED, AppMemory, CopyMemory, Loss, Move, Phase, Standing, Undo, VolumeMemory
from failoverd.core.model import (
    Action,
    Folder,
    Health,
    Objection,
    PatchOp,
    PatchWorkload,
    Unknown,
    Verdict,
    Why,
    Workload,
)
from failoverd.core.rules import Site

KEPT = 20
"""Finished moves kept whole in Memory for back-off and monitor; the long history lives beside it. As many more as the
budget counts are kept without what nothing is decided by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one phase wants in one tick."""

    was: AppMemory
    event: Event | None = None
    actions: tuple[Action, ...] = ()
    waiting: str = ""
    alarms: tuple[Objection, ...] = ()
    """What does not pass by itself and keeps the move from going on."""


def written(case: Case, ops: Sequence[PatchOp], reason: str) -> PatchWorkload:
    """The act of patching the app's workload, signed by whoever leads now."""
    signed = patch.signed(ops, case.snapshot.instance.generation)
    return PatchWorkload(app=case.app.key, ops=signed, reason=reason)


def told(step: Callable[[Case, Move], Step]) -> Callable[[Case, Move], Step]:
    """A step of a move together with what the guards must be told while it goes on."""

    def with_orders(case: Case, move: Move) -> Step:
        taken = step(case, move)
        orders = guarding.orders(case)
        return replace(taken, actions=(*taken.actions, *orders)) if orders else taken

    return with_orders


def mark(move: Move, name: str, at: datetime) -> Move:
    """`move` with the time at which `name` was reached, unless it is there already."""
    if any(known == name for known, _ in move.marks):
        return move
    return replace(move, marks=(*move.marks, (name, at)))


def marked(move: Move, name: str) -> datetime | None:
    """When `name` was reached."""
    return next((at for known, at in move.marks if known == name), None)


def leaving(case: Case) -> bool:
    """Whether the app is on its way: not so in a planned move that has stopped nothing yet, and may be called off."""
    move, seen = case.was.move, case.workload
    if move is None or marked(move, "started") is not None:
        return False
    if not move.kind.planned or case.was.phase is not Phase.STOPPING:
        return True
    return not isinstance(seen, Unknown) and seen.epoch == move.epoch


def identity(key: str, epoch: int, date: datetime) -> str:
    """A move's id. Epochs begin anew when Memory is lost, the API server's time does not: history keeps both."""
    return f"{key}#{epoch}@{date.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def begin(case: Case, wish: Wish, evidence: tuple[str, ...]) -> AppMemory:
    """The intent: epoch + 1, and in an unplanned move the loser's copies outdated in the very same write."""
    was, source = case.was, case.was.active
    verdict = case.verdict(source)
    epoch = was.epoch + 1
    move = Move(
        id=identity(case.app.key, epoch, case.date),
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
        restore=wish.restore,
        as_of=asking.moment(case, wish.restore),
    )
    volumes = was.volumes
    if not wish.kind.planned:
        last = verdict.down_since if verdict.health is Health.DOWN else None
        move = replace(move, last_write_at=last or case.date, losses=losses(case, last))
        move = databases.together(case, move)
        volumes = {name: stand(memory, source, Standing.OUTDATED) for name, memory in was.volumes.items()}
        move = mark(move, "silent", _lost_at(verdict, case.date))
    move = mark(move, "decided", case.date)
    if verdict.proven and not wish.kind.planned:
        move = mark(move, "dead", case.date)
    workload = case.workload
    undo, replicas = was.undo, was.replicas
    if isinstance(workload, Workload):
        undo = undo or undo_now(case, workload)
        replicas = workload.replicas or was.replicas
    return replace(was, epoch=epoch, move=move, undo=undo, replicas=replicas, volumes=volumes, stable_since=None)


def _lost_at(verdict: Verdict, date: datetime) -> datetime:
    """When the outage of a node's apps began, as far as was seen: its first missed renewal, or `stopped` before that.

    No bound for what was written: a node that must be fenced first may write on until then.
    """
    missed = date - max(verdict.silent_for - hysteresis.LEASE_INTERVAL, timedelta(0))
    return min(verdict.down_since or date, missed)


def undo_now(case: Case, workload: Workload) -> Undo:
    """What must be restored to go home: what the workload is now, or what the rules say where our marks are on it."""
    pair = case.rules.pair(case.app)
    now = patch.undo_of(case.app, workload, (pair.primary, pair.backup))
    if workload.epoch is None:
        return now
    return patch.way_home(case.app, workload, now, case.place(case.app.preferred))


def losses(case: Case, last: datetime | None) -> tuple[Loss, ...]:
    """What the standby may lack if the active side wrote until `last`; None where it may write still."""
    found = []
    for volume in case.app.volumes:
        age = proof.age(case, volume, last)
        folder = case.folder(volume, case.was.active.other)
        missing = folder.need_items if isinstance(folder, Folder) else 0
        found.append(
            Loss(
                volume=volume.name,
                age_seconds=age.total_seconds() if age is not None else None,
                missing=missing,
            )
        )
    return tuple(found)


def stand(memory: VolumeMemory, site: Site, standing: Standing, epoch: int = 0) -> VolumeMemory:
    """`memory` with another standing for the copy at `site`; the installation it was given to stays known."""
    kept = memory.copies[site]
    return replace(
        memory, copies={**memory.copies, site: CopyMemory(standing=standing, epoch=epoch, device=kept.device)}
    )


def call_off(case: Case, why: str) -> AppMemory:
    """Give up before anything was done to the workload: the loser is active again, the epoch stays used."""
    was = case.was
    assert was.move is not None
    volumes = {name: stand(memory, was.active, Standing.ACTIVE) for name, memory in was.volumes.items()}
    # An undo that says the app is at home was made by this very move: nothing has been touched yet. Read from
    # memory alone, so that a workload that cannot be read now never costs us the way home.
    at_home = was.undo is not None and patch.is_home(case.app, was.undo, was.active)
    undo = None if at_home else was.undo
    move = replace(was.move, undo=was.undo if at_home else None)
    return finish(case, replace(was, volumes=volumes, undo=undo), move, f"{UNTOUCHED}, {why}")


def landed_late(case: Case) -> AppMemory | None:
    """The app with that move in hand again whose first patch landed after it was called off; None where none has.

    A request may hang on its way, or its sender be stopped right before it: calling off takes nothing back.
    """
    workload, was = case.workload, case.was
    if was.move is not None or not isinstance(workload, Workload) or workload.epoch is None:
        return None
    late = next((move for move in was.moves if move.untouched and move.epoch == workload.epoch), None)
    if late is None or workload.epoch <= was.written_epoch or workload.replicas != 0:
        return None
    again = mark(replace(late, outcome="", ended_at=None, undo=None), "late", case.date)
    others = tuple(move for move in was.moves if move is not late)
    return replace(was, move=again, moves=others, undo=was.undo or late.undo)


def finish(case: Case, was: AppMemory, move: Move, outcome: str) -> AppMemory:
    """`was` with its move ended. Of too many those that no budget counts are dropped first: what led nowhere, and
    then what an operator asked for.
    """
    ended = replace(move, outcome=outcome, scanned=(), ended_at=case.date)
    kept = [*was.moves, ended]
    timings = case.rules.timings
    while len(kept) > KEPT:
        # of such in a row the first stays, and the first that wrote nothing: they tell whose points count, and which
        # epoch was written before them
        idle = [
            one
            for before, one in pairwise(kept[:-1])
            if not (before.renewed or one.renewed) and (before.untouched or not one.untouched)
        ]
        counted = kept[0].began_at >= case.date - timings.max_moves_per and len(kept) <= KEPT + timings.max_moves
        if not idle and counted:
            break
        old = kept[0].began_at < case.date - timings.max_moves_per
        # the last two and what may still land late are looked at, whoever asked for them
        asked = [one for one in kept[:-2] if one.command and not one.untouched]
        kept.remove((idle or (kept if old else asked) or kept)[0])
    bare = [replace(known, evidence=(), losses=()) for known in kept[:-KEPT]]
    return replace(was, move=None, moves=(*bare, *kept[-KEPT:]))


def flip_to(was: AppMemory) -> AppMemory:
    """From here on the target's copies are the authoritative ones.

    A planned move has just proven both equal, so the new standby holds everything written before the app stopped.
    """
    move = was.move
    assert move is not None
    lost = Standing.CLEAN if move.kind.planned else Standing.OUTDATED
    proven = marked(move, "stopped") if move.kind.planned else None
    volumes = {
        name: stand(stand(memory, move.source, lost, move.epoch), move.target, Standing.ACTIVE)
        for name, memory in was.volumes.items()
    }
    volumes = {name: replace(memory, proven_at=proven, proven_sequence=0) for name, memory in volumes.items()}
    return replace(was, active=move.target, volumes=volumes)


def stands_still(case: Case, move: Move, step: Step) -> tuple[Objection, ...]:
    """The alarm of a move that waits for something that does not come, whatever it is."""
    last = max((at for _, at in move.marks), default=move.began_at)
    passed = case.date - last
    if step.event is not None or passed <= 2 * case.rules.timings.barrier_timeout:
        return ()
    text = f"the {move.kind} has stood still in {case.was.phase} for {passed.total_seconds():.0f} s: {step.waiting}"
    return (Objection(why=Why.NOT_READY, text=text),)
