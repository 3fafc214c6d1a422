"""Databases are put back at the side where the app lives, while nothing of the app is left to write there.

The one rule of this file: until every volume's copies lie ready beside their databases all is given up that does not
come to pass, for nothing was moved yet; from then on there are only renames left, and the app is not started before
its guard says that all are done. So it never starts on databases of two moments.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from failoverd.core import asking, databases, guarding
from failoverd.core.again import replace
from failoverd.core.case import Case, Wish
from failoverd.core.intent import Step, mark, marked
from failoverd.core.memory import Move, Restore
from failoverd.core.model import Health, Objection, Unknown, Why
from failoverd.core.recall import Recall
from failoverd.core.rules import Volume
from failoverd.core.starts import undone

ANSWERS_WITHIN = timedelta(seconds=90)
"""A guard reads what it is asked within 5 s, and proves the points that are meant at full speed, 3 s for a GB; one of
a version before this never answers. A command is not waited for longer than two minutes."""


# -------------------------------------------------------------------- before the app is stopped


def objections(case: Case, wish: Wish) -> Iterator[Objection]:
    """Why what is wanted back cannot be had, as the guards at the active side say, and what can instead."""
    recall = wish.restore.recall if wish.restore is not None else None
    if recall is None:
        return
    if case.rules.guard is None:
        text = "restore points and sets are the guard's, and there is none ([guard] enabled = false)"
        yield Objection(why=Why.NOT_HAD, text=text)
        return
    found = [one for volume in asking.volumes(case, recall) for one in _unanswered(case, volume, recall)]
    yield from found
    if not found:
        yield from _together(case, recall)


def _unanswered(case: Case, volume: Volume, recall: Recall) -> Iterator[Objection]:
    where = f"{volume.name} at {case.was.active}"
    read, said = databases.reading(case, volume, case.was.active), asking.answer(case, volume, recall)
    if isinstance(read, Unknown):
        yield Objection(why=Why.GUARD_SILENT, text=f"{where}: its guard's object: {read.why}")
    elif silent := databases.silent(case, volume, case.was.active):
        yield Objection(why=Why.NOT_HAD, text=f"{where}: its guard is silent: {silent}")
    elif said is not None and said.why:
        yield Objection(why=Why.NOT_HAD, text=f"{where}: {said.why}")
    elif said is None:
        asked = read.wanted is not None and read.wanted.recall is not None
        since = databases.seen(case, volume, case.was.active).wanted_at
        late = asked and since is not None and case.now.mono - since > ANSWERS_WITHIN
        text = f"{where}: its guard has not said what can be had"
        yield Objection(why=Why.NOT_HAD if late else Why.GUARD_SILENT, text=text)


def _together(case: Case, recall: Recall) -> Iterator[Objection]:
    """All of them are to be had, and as of one moment."""
    said = {volume.name: asking.answer(case, volume, recall) for volume in asking.volumes(case, recall)}
    if not any(one.databases or one.files for one in said.values() if one is not None):
        text = f"nothing of it lies at {case.was.active}: failoverd displaced {case.app.name}"
        yield Objection(why=Why.NOT_HAD, text=text)
    moment, told = asking.moment(case, Restore(recall=recall)), case.rules.guard
    assert told is not None
    for name, one in said.items():
        if one is None or moment is None or one.oldest is None:
            continue
        if one.oldest - moment > told.interval:  # those of one round lie a moment apart
            text = (
                f"{name} at {case.was.active}: its points begin at {one.oldest:%Y-%m-%d %H:%M:%S}, and the others can"
                f" be had as of {moment:%H:%M:%S}: name one volume by --volume, or a later time"
            )
            yield Objection(why=Why.NOT_HAD, text=text)


# -------------------------------------------------------------------- once it is stopped


def put_back(case: Case, move: Move, recall: Recall, in_the_way: str) -> Step | None:
    """What is done before the app may start; None once nothing of it is left, which is remembered.

    `in_the_way`: who may write there, or has not come to rest; empty for nobody.
    """
    if marked(move, "returned") is not None:
        return None
    if marked(move, "placed") is not None or marked(move, "given up") is not None:
        return _withdrawn(case, move, recall)
    laid = marked(move, "laid") is not None
    waits, told = _ready(case, move, recall, laid=laid)
    if marked(move, "ordered") is not None:  # whoever came since; the guards do not rest, for they have orders
        in_the_way = asking.in_the_way(case, move.epoch)
    waits = in_the_way or waits
    if not laid and (why := _hopeless(case, move, recall, told, waits)):
        assert move.restore is not None
        failed = replace(move, restore=replace(move.restore, failed=why))
        return Step(was=replace(case.was, move=mark(failed, "given up", case.date)), waiting="given up")
    if isinstance(case.workload, Unknown):
        return Step(was=case.was, waiting=f"the workload can be read: {case.workload.why}")
    if again := undone(case, move):
        return Step(was=case.was, actions=again, waiting="somebody undid the stop: put back")
    if marked(move, "ordered") is None:
        if in_the_way:
            return Step(was=case.was, waiting=in_the_way)
        ordered = replace(case.was, move=mark(move, "ordered", case.date))
        return Step(was=ordered, waiting="copies to be laid beside the databases")
    if waits:
        alarm = Objection(why=Why.NOT_READY, text=f"{waits}; the app is not started before that") if laid else None
        late = case.overdue(marked(move, "laid") or case.date, case.rules.timings.barrier_timeout)
        return Step(was=case.was, waiting=waits, alarms=(alarm,) if alarm and (told or late) else ())
    if not laid:
        was = replace(case.was, move=mark(move, "laid", case.date))
        return Step(was=was, waiting="the databases to be moved aside")
    done = replace(move, evidence=(*move.evidence, _evidence(case, move, recall)))
    was = replace(case.was, move=mark(done, "placed", case.date))
    return Step(was=was, waiting="the order that places to be taken back")


def _hopeless(case: Case, move: Move, recall: Recall, told: str, waits: str) -> str:
    """Why it is given up while nothing was moved yet; empty while it goes on."""
    if gone := asking.removed(case, recall):
        return f"{gone} is configured no more"
    if case.rules.guard is None:
        return "the guard was turned off"
    if case.verdict(move.target).health is Health.DOWN:
        return f"{case.place(move.target).node} died"
    began = max((at for _, at in move.marks), default=move.began_at)
    if case.overdue(began, case.rules.timings.barrier_timeout):
        return f"the copies were not laid ready in time: {waits}"
    return told or ("" if waits or _any_laid(case, move, recall) else "nothing of it lies there any more")


def _any_laid(case: Case, move: Move, recall: Recall) -> bool:
    """Whether any volume has something to be put back: a set may lie in one of them alone."""
    found = (databases.placed(case, volume, move.target, move.id) for volume in asking.volumes(case, recall))
    return any(one.databases or one.files for one in found if one is not None)


def _trouble(case: Case, move: Move, volume: Volume) -> str:
    """Why the guard of one copy does not get on with it; empty while it says nothing of the kind."""
    found = databases.placed(case, volume, move.target, move.id)
    return found.why if found is not None and not found.done else ""


def _ready(case: Case, move: Move, recall: Recall, *, laid: bool) -> tuple[str, str]:
    """What is waited for until all volumes are at the next step (empty: nothing), and what keeps a guard from it."""
    if laid and (gone := asking.removed(case, recall)):  # its guard goes on, and cannot be asked
        text = f"{gone} is configured no more, and its databases are being put back: put it back in the configuration"
        return text, text
    for volume in asking.volumes(case, recall):
        where = f"{volume.name} at {move.target}"
        found = databases.placed(case, volume, move.target, move.id)
        if found is not None and found.done:
            continue
        what = "databases to be put back" if laid else "copies to be laid beside the databases"
        if silent := databases.silent(case, volume, move.target):
            return f"{what}: {where}: its guard is silent: {silent}", f"{where}: its guard is silent: {silent}"
        if found is not None and found.laid and not laid:
            continue
        why = _trouble(case, move, volume)
        return f"{what}: {where}" + (f": {why}" if why else ""), f"{where}: {why}" if why else ""
    return "", ""


def _withdrawn(case: Case, move: Move, recall: Recall) -> Step:
    """The app may start once no guard acts on the order any more."""
    found = (guarding.busy_at(case, volume, move.target) for volume in asking.volumes(case, recall))
    if waits := next((text for text in found if text), ""):
        return Step(was=case.was, waiting=waits)
    return Step(was=replace(case.was, move=mark(move, "returned", case.date)), waiting="the app to be started")


def _evidence(case: Case, move: Move, recall: Recall) -> str:
    """What was put back, and where what that displaced is kept, for the history."""
    moment = move.as_of or recall.at  # of files alone: up to then
    how = f"as of {moment:%Y-%m-%d %H:%M:%S}" if moment is not None else f"out of {recall.moved}"
    told = []
    for volume in asking.volumes(case, recall):
        found = databases.placed(case, volume, move.target, move.id)
        if found is None or not (found.databases or found.displaced or found.told):
            continue
        put_back = ", ".join(found.databases) or "no database"
        text = f"{volume.name} at {move.target}: put back {how}: {put_back}"
        text += f"; {found.told}" if found.told else ""
        told.append(text + guarding.kept(found))
    return "; ".join(told)
