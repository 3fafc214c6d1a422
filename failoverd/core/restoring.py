"""A displaced file is fetched back at the side where the app lives, while nothing of the app is left to write there.

The one rule of this file: what is fetched is remembered before it is, and versioning is on around it and read back
as off before the app starts. So what the file replaces is always kept, whoever asks twice fetches once, and a request
that comes late finds nothing it could do.
"""

from __future__ import annotations

from collections.abc import Iterator

from failoverd.core import policy
from failoverd.core.again import replace
from failoverd.core.case import Case, Wish
from failoverd.core.intent import Step, mark, marked
from failoverd.core.memory import Move, Restore, Standing
from failoverd.core.model import (
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
    """Everything that speaks against stopping the app where it lives and fetching something back there.

    Alarms that nobody has acknowledged do not: a file that was deleted is what one wants back.
    """
    guards = (
        policy.ourselves, policy.paused, policy.occupied, policy.planned_source, _copies, policy.workload,
        policy.strangers,
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
    """Fetch it, or find out that it cannot be; then start the app where it was."""
    fetched = _fetch(case, move)
    if fetched is not None:
        return fetched
    return returning(case, move, move.restore.failed if move.restore is not None else "")


def _fetch(case: Case, move: Move) -> Step | None:
    """What is done before the app may start; None once nothing of it is left, which is remembered."""
    if marked(move, "returned") is not None or move.restore is None:
        return None
    wanted, workload = move.restore, case.workload
    if isinstance(workload, Unknown):
        return Step(was=case.was, waiting=f"the workload can be read: {workload.why}")
    volume = next((one for one in case.app.volumes if one.name == wanted.volume), None)
    if volume is None:
        return _returns(case, move, f"{wanted.volume} is configured no more")
    if case.verdict(move.target).health is Health.DOWN:
        return _returns(case, move, f"{case.place(move.target).node} died")
    if again := undone(case, move):
        return Step(was=case.was, actions=again, waiting="somebody undid the stop: put back")
    if left := [*case.pods(), *case.strangers()]:
        return Step(was=case.was, waiting="pods to go: " + ", ".join(pod.name for pod in left))
    return _in_the_folder(case, move, wanted, case.folder(volume, move.target))


def _returns(case: Case, move: Move, failed: str) -> Step:
    """From here on the app may start: said before it does, so that a start is never taken for somebody's hand."""
    told = move
    if failed and marked(move, "fetched") is None:
        told = _failed(move, failed)
    return Step(was=replace(case.was, move=mark(told, "returned", case.date)), waiting="the app to be started")


def _in_the_folder(case: Case, move: Move, wanted: Restore, folder: Folder | Unknown) -> Step:
    if isinstance(folder, Unknown):
        if _late(case, move, 2):  # its versions may be on still: they keep more than is wanted, and lose nothing
            return _returns(case, move, folder.why)
        return Step(was=case.was, waiting=f"{wanted.volume} at {move.target}: {folder.why}")
    if wanted.failed or marked(move, "fetched") is not None:
        if not folder.versioning:
            return _returns(case, move, "")
        return Step(was=case.was, actions=(_keep(case, move, False),), waiting="versions off")
    return _find_and_fetch(case, move, wanted, folder)


def _find_and_fetch(case: Case, move: Move, wanted: Restore, folder: Folder) -> Step:
    receipt = _receipt(case, wanted.volume)
    act = receipt.action if receipt is not None and receipt.ok else None
    if receipt is not None and isinstance(act, FindVersions) and not wanted.files:
        known = replace(move, restore=replace(wanted, files=receipt.found))
        told = known if receipt.found else _failed(move, receipt.detail)
        return Step(was=replace(case.was, move=told), waiting="what was found to be fetched")
    if receipt is not None and isinstance(act, FetchVersions):
        names = ", ".join(f"{one.path} (put aside {one.at})" for one in wanted.files)
        text = f"{wanted.volume} at {move.target}: fetched {names}; what was there is kept in .stversions"
        told = replace(mark(move, "fetched", case.date), evidence=(*move.evidence, text))
        return Step(was=replace(case.was, move=told), waiting="versions off")
    if any(key.startswith(f"{FetchVersions.__name__} {case.app.key} ") for key in case.snapshot.in_flight):
        return Step(was=case.was, waiting="the file to be fetched")
    why = f": {receipt.detail}" if receipt is not None and receipt.detail else ""
    if _late(case, move):
        told = _failed(move, f"it was not fetched in time{why}")
        return Step(was=replace(case.was, move=told), waiting="given up")
    if not folder.versioning or folder.type != Role.SEND_ONLY:
        return Step(was=case.was, actions=(_keep(case, move, True),), waiting="versions on")
    where = {"app": case.app.key, "volume": wanted.volume, "site": move.target}
    if not wanted.files:
        find = FindVersions(**where, path=wanted.path, at=wanted.at, reason=move.reason)  # type: ignore[arg-type]
        return Step(was=case.was, actions=(find,), waiting=f"the version to be found{why}")
    fetch = FetchVersions(**where, files=wanted.files, reason=move.reason)  # type: ignore[arg-type]
    return Step(was=case.was, actions=(fetch,), waiting=f"the file to be fetched{why}")


def _keep(case: Case, move: Move, keep: bool) -> SetRole:
    assert move.restore is not None
    why = "what the fetched file replaces is kept" if keep else "what was wanted is fetched, or never will be"
    return SetRole(
        app=case.app.key, volume=move.restore.volume, site=move.target, role=Role.SEND_ONLY, keep=keep, reason=why
    )


def _receipt(case: Case, volume: str) -> Receipt | None:
    """What has just come of looking for versions or of fetching them."""
    for receipt in case.snapshot.receipts:
        act = receipt.action
        if isinstance(act, FindVersions | FetchVersions) and (act.app, act.volume) == (case.app.key, volume):
            return receipt
    return None


def _late(case: Case, move: Move, times: int = 1) -> bool:
    since = marked(move, "stopped")
    return since is not None and case.overdue(since, times * case.rules.timings.barrier_timeout)


def _failed(move: Move, why: str) -> Move:
    assert move.restore is not None
    return replace(move, restore=replace(move.restore, failed=move.restore.failed or why))
