"""What the guards at the active side are asked, and then told, while somebody wants databases put back there.

They are asked while the app still runs, so that it is stopped for nothing that cannot be had. Told they are in two
steps: all copies are laid beside their databases first, in every volume; only then is anything moved aside.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from failoverd.core import databases
from failoverd.core.case import Case
from failoverd.core.memory import Phase, Restore
from failoverd.core.model import GuardReading, Unknown
from failoverd.core.points import Duty, Wanted
from failoverd.core.recall import Recall, Recalled
from failoverd.core.rules import Placing, Site, Volume

OVER = ("placed", "given up", "returned")
"""Marks of a restore after which its order to place is taken back."""


def volumes(case: Case, recall: Recall) -> list[Volume]:
    """The volumes whose databases are meant; one that came into the configuration in mid-move is none of them."""
    return [one for one in case.app.volumes if one.name in case.was.volumes and recall.volume in ("", one.name)]


def removed(case: Case, recall: Recall) -> str:
    """The volumes that are meant and left the configuration in mid-move; empty for none."""
    there = {one.name for one in case.app.volumes}
    return ", ".join(name for name in case.was.volumes if name not in there and recall.volume in ("", name))


def in_the_way(case: Case, epoch: int) -> str:
    """Who may write where something is to be put back by the move of `epoch`; empty for nobody, or unknown."""
    if isinstance(case.workload, Unknown):
        return ""
    if case.workload.epoch != epoch:  # nothing of ours holds it at 0
        return f"workload to carry epoch {epoch}: it was made anew, or changed by hand"
    left = [*case.pods(), *case.strangers()]
    return "pods to go: " + ", ".join(pod.name for pod in left) if left else ""


def told(case: Case, volume: Volume, site: Site, wanted: Wanted) -> Wanted:
    """`wanted` with what is to be put back there: a question while the app runs, an order once it is stopped."""
    move = case.was.move
    asked = case.wish if move is None else move
    restore = asked.restore if asked is not None else None
    if restore is None or restore.recall is None or site is not case.was.active:
        return wanted
    if volume not in volumes(case, restore.recall):
        return wanted
    recall = _dated(case, restore.recall)
    if move is None:
        return replace(wanted, recall=recall) if wanted.duty is Duty.MAKE else wanted
    marks = {name for name, _ in move.marks}
    if case.was.phase is not Phase.RESTORING or "ordered" not in marks or marks.intersection(OVER):
        return wanted
    if in_the_way(case, move.epoch):  # come since it was ordered: nothing is moved aside under it
        return wanted
    return replace(
        wanted,
        duty=Duty.PROVE,
        move=move.id,
        place=Placing.NEWEST,
        as_of=move.as_of,
        recall=recall,
        lay="laid" not in marks,
    )


def why(wanted: Wanted) -> str:
    """The reason of such an order, for people."""
    if not wanted.move:
        return f"what can be had: {wanted.recall}"
    return f"{'copies laid ready' if wanted.lay else 'put back'}: {wanted.recall}"


def _dated(case: Case, recall: Recall) -> Recall:
    return replace(recall, since=databases.lived_since(case.was))


def answer(case: Case, volume: Volume, recall: Recall) -> Recalled | None:
    """What the guard at the active side says can be had in one volume; None until it has said so."""
    read = databases.reading(case, volume, case.was.active)
    said = read.observed.recalled if isinstance(read, GuardReading) and read.observed is not None else None
    return said if said is not None and said.recall == _dated(case, recall) else None


def moment(case: Case, restore: Restore | None) -> datetime | None:
    """The moment all databases that are meant can be had as of, by the rule of a failover: the last one at which of
    every one of them a point held everything. None for a set, and while a guard has not answered.
    """
    if restore is None or restore.recall is None:
        return None
    said = [answer(case, volume, restore.recall) for volume in volumes(case, restore.recall)]
    return min((one.moment for one in said if one is not None and one.moment is not None), default=None)
