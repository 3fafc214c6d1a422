"""A displaced file is fetched back at the side where the app lives, while nothing of the app is left to write there.

The one rule of this file: what is fetched is remembered before it is, and versioning is on around it and read back
as off, and what was fetched seen once more, before the app starts. So what the file replaces is always kept, whoever
asks twice fetches once, and a request that comes late finds nothing it could do. Whatever does not come to pass is
given up and the app starts, but on a part of what belongs together it never does.
"""

from __future__ import annotations

from collections.abc import Iterator

from failoverd.core import asking, guarding, policy, recalling
from failoverd.core.again import replace
from failoverd.core.case import Case, Wish
from failoverd.core.intent import Step, mark, marked
from failoverd.core.memory import Move, Restore, Standing
from failoverd.core.model import (
    Action,
    FetchVersions,
    FindVersions,
    Folder,
    Health,
    Objection,
    Receipt,
    Role,
    SetRole,
    Unknown,
    Why,
)
from failoverd.core.starts import returning, undone


def objections(case: Case, wish: Wish) -> tuple[Objection, ...]:
    """Everything that speaks against stopping the app where it lives and bringing something back there.

    Alarms that nobody has acknowledged do not: a file that was deleted is what one wants back.
    """
    guards = (
        policy.ourselves, policy.paused, policy.occupied, policy.planned_source, _copies, policy.workload,
        policy.strangers, recalling.objections,
    )  # fmt: skip
    return tuple(dict.fromkeys(one for guard in guards for one in guard(case, wish)))


def _copies(case: Case, wish: Wish) -> Iterator[Objection]:
    """The active side must send and be well, and no take-back may be changing versions beside it."""
    yield from policy.unfit(case, wish.target)
    for volume in case.app.volumes:
        standing = case.copy(volume, wish.target.other).standing
        if standing is Standing.TAKING_BACK:
            text = f"{volume.name} at {wish.target.other} is {standing}: wait until that has ended"
            yield Objection(why=Why.NOT_CLEAN, text=text)


def restoring(case: Case, move: Move) -> Step:
    """Fetch it or put it back, or find out that it cannot be; then start the app where it was."""
    recall = move.restore.recall if move.restore is not None else None
    waits = _fetch(case, move) if recall is None else recalling.put_back(case, move, recall, _in_the_way(case, move))
    if waits is not None:
        return waits
    step = returning(case, move, move.restore.failed if move.restore is not None else "")
    if marked(move, "left on") is None:
        return step
    return replace(step, alarms=(*step.alarms, Objection(why=Why.NOT_READY, text=_left_on(move))))


def _fetch(case: Case, move: Move) -> Step | None:
    """What is done before the app may start; None once nothing of it is left, which is remembered."""
    if marked(move, "returned") is not None or move.restore is None:
        return None
    # first of all: whatever else speaks for it, nothing starts on files that are just being replaced
    if _under_way(case, FetchVersions):
        return Step(was=case.was, waiting="the file to be fetched")
    receipt = _receipt(case, move, move.restore)
    if receipt is not None:
        heard = _heard(case, move, receipt)
        if heard.waiting:
            return heard
        case = replace(case, was=heard.was)
        move = heard.was.move or move
    why = f": {receipt.detail}" if receipt is not None and receipt.detail else ""
    return _prepare(case, move, why)


def _prepare(case: Case, move: Move, why: str) -> Step:
    wanted, workload = move.restore, case.workload
    assert wanted is not None
    volume = next((one for one in case.app.volumes if one.name == wanted.volume), None)
    if volume is None:
        return _returns(case, move, f"{wanted.volume} is configured no more", on=True)
    if isinstance(workload, Unknown):
        return Step(was=case.was, waiting=f"the workload can be read: {workload.why}", alarms=_half(case, move))
    folder = case.folder(volume, move.target)
    if case.verdict(move.target).health is Health.DOWN and not wanted.unsure:
        on = isinstance(folder, Unknown) or bool(folder.versioning)
        return _returns(case, move, f"{case.place(move.target).node} died", on=on)
    if again := undone(case, move):
        return Step(
            was=case.was, actions=again, waiting="somebody undid the stop: put back", alarms=_half(case, move)
        )
    return _in_the_folder(case, move, folder, why)


def _returns(case: Case, move: Move, failed: str = "", *, on: bool = False) -> Step:
    """From here on the app may start: said before it does, so that a start is never taken for somebody's hand.

    `on`: versions were not read back as off. They keep more than is wanted, and lose nothing.
    """
    told = move
    if failed and marked(move, "fetched") is None:
        told = _failed(move, failed)
    if on:
        text = _left_on(move)
        told = replace(mark(told, "left on", case.date), evidence=(*told.evidence, text))
        if told.restore is not None and told.restore.failed:
            told = replace(told, restore=replace(told.restore, failed=f"{told.restore.failed}; {text}"))
    return Step(was=replace(case.was, move=mark(told, "returned", case.date)), waiting="the app to be started")


def _in_the_folder(case: Case, move: Move, folder: Folder | Unknown, why: str) -> Step:
    assert move.restore is not None
    wanted, fetched = move.restore, marked(move, "fetched") is not None
    ends = fetched or bool(wanted.failed)
    if isinstance(folder, Unknown):
        if not wanted.unsure and _late(case, move, 1 if ends else 2):
            return _returns(case, move, folder.why, on=True)
        text = f"{wanted.volume} at {move.target}: {folder.why}"
        return Step(was=case.was, waiting=text, alarms=_half(case, move))
    if not ends:
        return _find_and_fetch(case, move, folder, why)
    if folder.versioning:
        if _late(case, move):
            return _returns(case, move, on=True)
        return Step(was=case.was, actions=(_keep(case, move, False),), waiting="versions off")
    if not fetched:
        return _returns(case, move)
    if _late(case, move):
        text = f"{wanted.volume} at {move.target}: whether it still lies there was not to be seen{why}: look for it"
        return _returns(case, replace(move, evidence=(*move.evidence, text)))
    # one that was on its way until now may have put it aside again; none can any more
    look = _fetch_versions(case, move, wanted, "versions are off: whether it lies there")
    return Step(was=case.was, actions=(look,), waiting=f"what was fetched to lie there{why}")


def _find_and_fetch(case: Case, move: Move, folder: Folder, why: str) -> Step:
    assert move.restore is not None
    wanted, alarms = move.restore, _half(case, move)
    stands = _in_the_way(case, move)
    if _late(case, move) and not wanted.unsure:
        told = mark(
            _failed(move, f"it was not fetched in time{stands and f': {stands}'}{why}"), "given up", case.date
        )
        return Step(was=replace(case.was, move=told), waiting="given up")
    if stands:
        return Step(was=case.was, waiting=stands, alarms=alarms)
    if _under_way(case, FindVersions):  # of another file perhaps, by an earlier restore: its answer is not ours
        return Step(was=case.was, waiting="a search for versions to end", alarms=alarms)
    if not folder.versioning or folder.type != Role.SEND_ONLY:
        return Step(was=case.was, actions=(_keep(case, move, True),), waiting="versions on", alarms=alarms)
    if not wanted.files:
        find = FindVersions(
            app=case.app.key, volume=wanted.volume, site=move.target, path=wanted.path, at=wanted.at,
            reason=move.reason,
        )  # fmt: skip
        return Step(was=case.was, actions=(find,), waiting=f"the version to be found{why}", alarms=alarms)
    asked = replace(move, restore=replace(wanted, unsure=True))
    fetch = _fetch_versions(case, move, wanted, move.reason)
    was = replace(case.was, move=asked)
    return Step(was=was, actions=(fetch,), waiting=f"the file to be fetched{why}", alarms=alarms)


def _in_the_way(case: Case, move: Move) -> str:
    """Who may write where something is to be fetched; empty for nobody."""
    if stands := asking.in_the_way(case, move.epoch):
        return stands
    # a guard that opens a database at rest may remove the `-wal` that was just fetched with it
    busy = (guarding.busy_at(case, one, move.target) for one in case.app.volumes)
    return next((text for text in busy if text), "")


def _fetch_versions(case: Case, move: Move, wanted: Restore, reason: str) -> FetchVersions:
    return FetchVersions(
        app=case.app.key, volume=wanted.volume, site=move.target, files=wanted.files, unsure=wanted.unsure,
        reason=reason,
    )  # fmt: skip


def _keep(case: Case, move: Move, keep: bool) -> SetRole:
    assert move.restore is not None
    why = "what the fetched file replaces is kept" if keep else "what was wanted is fetched, or never will be"
    whose = ("", None) if keep else (move.id, move.began_at)
    return SetRole(
        app=case.app.key, volume=move.restore.volume, site=move.target, role=Role.SEND_ONLY, keep=keep, move=whose[0],
        since=whose[1], reason=why,
    )  # fmt: skip


def _under_way(case: Case, kind: type[Action]) -> bool:
    """Whether one such act of this app is begun and not ended, by whichever restore."""
    return any(key.startswith(f"{kind.__name__} {case.app.key} ") for key in case.snapshot.in_flight)


def _receipt(case: Case, move: Move, wanted: Restore) -> Receipt | None:
    """What has just come of looking for these versions or of fetching them: not of those of an earlier restore."""
    where = (case.app.key, wanted.volume, move.target)
    for receipt in case.snapshot.receipts:
        act = receipt.action
        if not isinstance(act, FindVersions | FetchVersions) or (act.app, act.volume, act.site) != where:
            continue
        if isinstance(act, FetchVersions):
            ours = bool(wanted.files) and act.files == wanted.files
        else:
            ours = not wanted.files and (act.path, act.at) == (wanted.path, wanted.at)
        if ours:
            return receipt
    return None


def _heard(case: Case, move: Move, receipt: Receipt) -> Step:
    """The move with what this receipt says; waiting for nothing where that decides nothing yet."""
    assert move.restore is not None
    wanted, fetched = move.restore, marked(move, "fetched") is not None
    if isinstance(receipt.action, FindVersions):
        if not receipt.ok or wanted.failed:
            return Step(was=case.was)
        known = replace(move, restore=replace(wanted, files=receipt.found))
        told = known if receipt.found else mark(_failed(move, receipt.detail), "given up", case.date)
        return Step(was=replace(case.was, move=told), waiting="what was found to be fetched")
    settled = replace(move, restore=replace(wanted, unsure=receipt.unsure))
    if receipt.ok and fetched:
        return _returns(case, settled)
    if receipt.ok:
        text = f"{wanted.volume} at {move.target}: fetched {_named(wanted)}; what was there is kept in .stversions"
        told = replace(mark(settled, "fetched", case.date), evidence=(*move.evidence, text))
        return Step(was=replace(case.was, move=told), waiting="versions off")
    if fetched and receipt.unsure:
        marks = tuple(one for one in move.marks if one[0] != "fetched")
        again = replace(settled, marks=marks)
        return Step(was=replace(case.was, move=again), waiting="it to be fetched again: it is gone")
    return Step(was=replace(case.was, move=settled))


def _half(case: Case, move: Move) -> tuple[Objection, ...]:
    """The alarm of an app that is not started, for a part of what belongs together may be another's."""
    wanted = move.restore
    if wanted is None or not wanted.unsure or not _late(case, move):
        return ()
    text = (
        f"{wanted.volume} at {move.target}: of {_named(wanted)} a part may be fetched and the rest not, and the "
        "app is not started on that. It goes on once its Syncthing answers and has room; or put all of them there by "
        "hand"
    )
    return (Objection(why=Why.NOT_READY, text=text),)


def _named(wanted: Restore) -> str:
    return ", ".join(f"{one.path} (put aside {one.at})" for one in wanted.files)


def _left_on(move: Move) -> str:
    assert move.restore is not None
    return (
        f"versions of {move.restore.volume} at {move.target} may be on still: set File Versioning of its folder to "
        "none in Syncthing; the next restore or take-back there does it too"
    )


def _late(case: Case, move: Move, times: int = 1) -> bool:
    """Whether what follows the last mark takes too long."""
    since = max((at for _, at in move.marks), default=move.began_at)
    return case.overdue(since, times * case.rules.timings.barrier_timeout)


def _failed(move: Move, why: str) -> Move:
    assert move.restore is not None
    return replace(move, restore=replace(move.restore, failed=move.restore.failed or why))
