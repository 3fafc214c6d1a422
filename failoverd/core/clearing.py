"""What a returned side had: its databases are moved out of the way before it receives anything, and what has come in
their place is so again, for a take-back must not wait for the raw copy of one that does not rest.

The one rule of this file: nothing is moved under a pod that mounts the copy.
"""

from __future__ import annotations

from datetime import timedelta

from failoverd.core import databases
from failoverd.core.case import Case
from failoverd.core.memory import Phase, Standing, TakeBackStep
from failoverd.core.model import Folder, GuardReading, Role, Unknown
from failoverd.core.points import Duty
from failoverd.core.rules import Site, Volume

PATIENCE = timedelta(minutes=3)
"""How long a returned side waits for a guard that is not heard: pods come up late on a node that has just booted."""


def cleared(case: Case, volume: Volume) -> str:
    """What a returned side waits for before it receives anything; empty once its databases are out of the way.

    Syncthing replaces files one by one: an old `-wal` would come to lie beside the survivor's database, and the two
    would be put aside as if they belonged together. A guard that stays silent is not waited for without an end.
    """
    site = case.was.active.other
    read, seen = databases.reading(case, volume, site), databases.seen(case, volume, site)
    if not may_clear(case, volume):
        return ""
    if isinstance(read, Unknown):  # whether they are out of the way is not known either
        return f"the order for {volume.name} at {site} can be read: {read.why}"
    if used := in_use(case, volume, site):
        return used
    ordered, done = _ordered(read, first_order_id(case)), databases.placed(case, volume, site, first_order_id(case))
    if ordered and done is not None and databases.after_order(seen):
        left = f"it left {', '.join(done.live)} where they are" if done.live else done.why
        return "" if done.done and not done.live else f"the guard at {site} to move databases aside: {left}"
    overdue = seen.wanted_at is not None and case.now.mono - seen.wanted_at >= PATIENCE
    if ordered and overdue and databases.silent(case, volume, site):
        return ""
    return f"the guard at {site} to move databases aside"


def may_clear(case: Case, volume: Volume) -> bool:
    """Whether a take-back has begun at a side that receives nothing yet, and whose guard can be asked."""
    site = case.was.active.other
    folder, read = case.folder(volume, site), databases.reading(case, volume, site)
    if not (_begun(case, volume) and _rests(case) and databases.in_force(case.rules, case.app)):
        return False
    survivor = case.folder(volume, case.was.active)
    if isinstance(survivor, Folder) and survivor.type != Role.SEND_ONLY:
        return False  # it would take over that they are gone
    if isinstance(folder, Folder):
        return folder.type != Role.RECEIVE_ONLY
    # unread in this tick: what was ordered stands
    return isinstance(read, GuardReading) and read.wanted is not None and read.wanted.clear


def put_aside(case: Case, volume: Volume) -> tuple[str, tuple[str, ...] | None]:
    """What a take-back waits for before it overrides, and the databases put aside by now; None where none will be.

    A database that never rests is never pulled whole: its old files would lie at the returned side for good, or be
    replaced some day with nothing to keep them. So the guard there places the newest point, as at a failover: that
    moves the old files aside together, and the take-back's own revert carries them to the versions.
    """
    site = case.was.active.other
    found = databases.beside(case, volume)
    if found is None:
        return f"the guard at {site.other} to say which databases there are", None
    if not found or databases.silent(case, volume, site):
        return "", None
    done = databases.placed(case, volume, site, order_id(case))
    if done is None or not _by_order(case, volume, site):
        if used := in_use(case, volume, site):
            return used, None
        return f"the guard at {site} to put {', '.join(sorted(found))} aside", None
    if not done.done:
        return f"the guard at {site} to put databases aside: {done.why}", None
    return "", done.databases


def may_yet_put_aside(case: Case, volume: Volume) -> bool:
    """Whether a take-back that went on without could have databases put aside by now: both guards are heard."""
    return bool(databases.beside(case, volume)) and not databases.silent(case, volume, case.was.active.other)


def _by_order(case: Case, volume: Volume, site: Site) -> bool:
    """Whether what was put aside is what the standing order asked for: an earlier take-back's has the same name."""
    ordered = _ordered(databases.reading(case, volume, site), order_id(case))
    return ordered and databases.after_order(databases.seen(case, volume, site))


def _ordered(read: GuardReading | Unknown, move: str) -> bool:
    return isinstance(read, GuardReading) and read.wanted is not None and read.wanted.move == move


def _begun(case: Case, volume: Volume) -> bool:
    """Whether a take-back has begun, and nothing was put aside yet."""
    copy = case.copy(volume, case.was.active.other)
    return copy.standing is Standing.TAKING_BACK and copy.step is TakeBackStep.PREPARE and copy.aside is None


def _rests(case: Case) -> bool:
    return case.was.move is None and case.was.phase is Phase.WATCHING


def may_put_aside(case: Case, volume: Volume) -> bool:
    """Whether a take-back has begun, nothing was put aside yet, and the survivor has databases with points."""
    return _begun(case, volume) and bool(databases.beside(case, volume))


def in_use(case: Case, volume: Volume, site: Site) -> str:
    """Who may have the databases of one copy open, which are not to be moved under it; empty where nobody can."""
    if isinstance(case.workload, Unknown):  # its pods are not known either
        return f"the workload can be read: {case.workload.why}"
    names = ", ".join(f"{pod.name} on {pod.node or 'no node'}" for pod in case.mounting(volume, site))
    return (
        f"pods to go that mount {volume.copy(site).claim}, whose databases are to be put aside: {names}"
        if names
        else ""
    )


def is_due(case: Case, volume: Volume) -> bool:
    """Whether the returned side only receives, keeps what it loses, is used by nobody, and has a point that opens of
    every database of the survivor: one without would stay where it is.
    """
    if not _rests(case) or not may_put_aside(case, volume):
        return False
    if in_use(case, volume, case.was.active.other):
        return False
    folder = case.folder(volume, case.was.active.other)
    if not (isinstance(folder, Folder) and folder.type == Role.RECEIVE_ONLY and folder.versioning):
        return False
    there = databases.said_at(case, volume, case.was.active.other, Duty.PROVE)
    proven = {one.database for one in there.proven} if there is not None else set()
    return proven >= (databases.beside(case, volume) or frozenset())


def first_order_id(case: Case) -> str:
    """What its guard is asked to move its databases aside for, before it receives anything."""
    return f"lost-{case.was.epoch}"


def order_id(case: Case) -> str:
    """What its guard is asked to place the survivor's points for."""
    return f"back-{case.was.epoch}"
