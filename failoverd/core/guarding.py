"""What the guards at the disks are told, what of theirs speaks against a move, and the placing of databases.

The one rule of this file: an order that places is given for one move, while nothing of its app is left that could
write at the target, and is taken back before the app starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from failoverd.core import ahead, asking, clearing, databases
from failoverd.core.case import Case, Wish
from failoverd.core.memory import Kind, Move, Phase, Standing
from failoverd.core.model import Action, GuardReading, GuardWatch, Objection, ScanPoints, Unknown, Want, Why
from failoverd.core.points import Ailment, Duty, Observed, Placed, Wanted
from failoverd.core.rules import SITES, Mode, Site, Volume

FORGOTTEN = timedelta(seconds=35)
"""After this long no guard acts on another order than the one that stands: it believes what it read for 30 s."""
LISTED = 10
"""Displaced files that are named; all of them lie under `.failoverd/moves`."""


# -------------------------------------------------------------------- what they are told


def orders(case: Case) -> tuple[Action, ...]:
    """What must be told to the guards of one app in this tick, and the scans that announce their new points."""
    if case.rules.guard is None or case.rules.mode is Mode.OBSERVE:
        return ()
    acts: list[Action] = []
    for volume in case.app.volumes:
        for site in SITES:
            read = databases.reading(case, volume, site)
            wanted = _wanted(case, volume, site)
            if isinstance(read, GuardReading) and wanted is not None and not _stands(read, wanted):
                where = {"app": case.app.key, "volume": volume.name, "site": site}
                why = _why(wanted)
                acts.append(Want(**where, wanted=wanted, version=read.version, reason=why))  # type: ignore[arg-type]
        acts += announcements(case, volume)
    return tuple(acts)


def _stands(read: GuardReading, wanted: Wanted) -> bool:
    if wanted.duty is Duty.REST:  # whoever rests need not know of what
        return read.wanted is not None and read.wanted.duty is Duty.REST
    return read.wanted == wanted


def _why(wanted: Wanted) -> str:
    if wanted.recall is not None:
        return asking.why(wanted)
    if wanted.clear:
        return "the lost side's databases are moved aside before anything replaces them"
    if wanted.move:
        return "the newest points that open become the databases"
    words = {Duty.MAKE: "it is active", Duty.PROVE: "its copy may be needed", Duty.REST: "nothing to do here now"}
    return words[wanted.duty]


def _wanted(case: Case, volume: Volume, site: Site) -> Wanted | None:
    """What the guard of one copy should do now; None where it is left alone."""
    if case.was.phase is Phase.FROZEN:
        read = databases.reading(case, volume, site)
        if not isinstance(read, GuardReading) or read.wanted is None or not read.wanted.move:
            return None
        return replace(read.wanted, duty=Duty.REST, move="")  # whoever decides by hand may start the app
    epoch, active = databases.points_of(case.was)
    told = case.rules.guard
    assert told is not None
    duty = _duty(case, volume, site)
    placing = duty is Duty.PROVE and _places(case)
    move = case.was.move.id if placing and case.was.move is not None else ""
    clear, lost = site is not case.was.active and clearing.may_clear(case, volume), None
    if clear and not clearing.in_use(case, volume, site):
        move = clearing.first_order_id(case)
    elif site is not case.was.active and clearing.is_due(case, volume):
        move, lost = clearing.order_id(case), ahead.lost(case.was, site)
    wanted = Wanted(
        duty=duty,
        epoch=epoch,
        active=active,
        interval=told.interval,
        keep=told.keep,
        keep_for=told.keep_for,
        share=told.share,
        io_share=told.io_share,
        files=told.files,
        move=move,
        place=case.app.place,
        as_of=case.was.move.as_of if placing and case.was.move is not None else None,
        clear=clear and move != "",
        lost=lost.id if lost is not None else "",
        rewound=databases.rewound(case.was),
    )
    return asking.told(case, volume, site, wanted)


def _duty(case: Case, volume: Volume, site: Site) -> Duty:
    was, move = case.was, case.was.move
    if move is None:
        if was.phase not in (Phase.ADOPTING, Phase.WATCHING):
            return Duty.REST
        if site is was.active:
            return Duty.MAKE
        clean = case.copy(volume, site).standing is Standing.CLEAN
        used = clean or clearing.may_put_aside(case, volume) or clearing.may_clear(case, volume)
        return Duty.PROVE if used else Duty.REST
    if move.kind is Kind.FAILOVER:
        if was.phase is Phase.FENCING:  # it may be called off yet
            return Duty.MAKE if site is move.source else Duty.PROVE
        if site is move.target and (was.phase is Phase.STOPPING or (was.phase is Phase.FLIPPING and not _over(case))):
            return Duty.PROVE
    return Duty.REST


def _over(case: Case) -> bool:
    """Whether what had to be placed is in its place, or will never be."""
    move = case.was.move
    return move is not None and any(name in ("placed", "unplaced") for name, _ in move.marks)


def _places(case: Case) -> bool:
    """Whether databases are to be placed now: the target sends, and nothing of the app runs."""
    move = case.was.move
    if move is None or not _has_placing(case, move) or case.was.phase is not Phase.FLIPPING:
        return False
    return any(name == "flipped" for name, _ in move.marks) and not _over(case)


def _has_placing(case: Case, move: Move) -> bool:
    return move.kind is Kind.FAILOVER and databases.in_force(case.rules, case.app)


def announcements(case: Case, volume: Volume) -> list[ScanPoints]:
    """A scan of the points' folder where a new point is said to be there."""
    if case.was.phase is not Phase.WATCHING:
        return []
    said = databases.said_at(case, volume, case.was.active, Duty.MAKE)
    if said is None or not said.newest:
        return []
    if said.newest == databases.seen(case, volume, case.was.active).announced:
        return []
    site = case.was.active
    return [ScanPoints(app=case.app.key, volume=volume.name, site=site, reason="a new restore point")]


def busy(case: Case) -> str:
    """Which guard may still be writing though it was told to rest; empty where none can."""
    found = (busy_at(case, volume, site) for volume in case.app.volumes for site in SITES)
    return next((text for text in found if text), "")


def busy_at(case: Case, volume: Volume, site: Site) -> str:
    """Whether the guard of one copy may still be writing though it was told to rest; empty where it cannot."""
    if case.rules.guard is None:
        return ""
    read, seen = databases.reading(case, volume, site), databases.seen(case, volume, site)
    if isinstance(read, Unknown):
        return f"the order for {volume.name} at {site} can be read: {read.why}"
    told = read.wanted is None or read.wanted.duty is Duty.REST
    rests = read.observed is None or (read.observed.duty is Duty.REST and databases.after_order(seen))
    if not told or not (rests or _forgotten(case, seen.wanted_at)):
        return f"the guard of {volume.name} at {site} to rest"
    return ""


def _forgotten(case: Case, since: timedelta | None) -> bool:
    return since is not None and case.now.mono - since >= FORGOTTEN


# -------------------------------------------------------------------- what speaks against a move


def target(case: Case, wish: Wish) -> Iterator[Objection]:
    """The guard at the target must be heard, and find a volume an app can start in and databases that open."""
    if case.rules.guard is None:
        return
    for volume in case.app.volumes:
        where = f"{volume.name} at {wish.target}"
        why = databases.silent(case, volume, wish.target)
        if why:
            yield Objection(why=Why.GUARD_SILENT, text=f"{where}: its guard is silent: {why}")
        yield from _unusable(case, volume, wish.target)
        if wish.kind is Kind.FAILOVER:
            yield from _broken(case, volume, wish.target)


def _unusable(case: Case, volume: Volume, site: Site) -> Iterator[Objection]:
    read = databases.reading(case, volume, site)
    if isinstance(read, GuardReading) and read.observed is not None and read.observed.duty is Duty.PROVE:
        for one in read.observed.findings:
            yield Objection(why=Why.UNUSABLE, text=f"{volume.name} at {site}: {one.obstacle}: {one.text}")


def _broken(case: Case, volume: Volume, site: Site) -> Iterator[Objection]:
    """Databases of which no point opens at `site`."""
    said = databases.said_at(case, volume, site, Duty.PROVE)
    if said is None or not databases.in_force(case.rules, case.app):
        return
    proven = {one.database for one in said.proven}
    for one in said.sick:
        if one.database not in proven and one.ailment not in (Ailment.NONE, Ailment.NOT_A_DATABASE):
            text = f"{volume.name} at {site}: {one.database} does not open: {one.ailment}: {one.text}"
            yield Objection(why=Why.NOT_OPEN, text=text)


def unknown_because(case: Case, volume: Volume) -> str:
    """Why the age of a volume is unknown, where a database makes it so; else empty."""
    found = databases.oldest(case, volume)
    return f": {found.text}" if found is not None and found.since is None else ""


# -------------------------------------------------------------------- what is wrong while nothing moves


def alarms(case: Case) -> list[Objection]:
    """Databases that are not well, at either side, and guards that are not heard, while there is time to mend it."""
    if case.rules.guard is None or case.was.phase is not Phase.WATCHING:
        return []
    found: list[Objection] = []
    for volume in case.app.volumes:
        for site in SITES:
            said = databases.said_at(case, volume, site, _duty(case, volume, site))
            if said is None:
                continue
            proven = {one.database for one in said.proven}
            for one in said.sick:
                if one.ailment is Ailment.NONE:
                    continue
                making = said.duty is Duty.MAKE
                why = Why.NO_POINTS if making else Why.NOT_OPEN
                how = why.value if making else "a point does not open" if one.database in proven else "does not open"
                text = f"{volume.name} at {site}: {one.database}: {how}: {one.ailment}: {one.text}"
                found.append(Objection(why=why, text=text))
            found += _files(case, said, databases.seen(case, volume, site), f"{volume.name} at {site}")
            if said.duty is Duty.MAKE and said.placed is not None and not said.placed.done:
                text = f"{volume.name} at {site}: placing for {said.placed.move}: {said.placed.why}"
                found.append(Objection(why=Why.NOT_OPEN, text=text))
    return found


def _files(case: Case, said: Observed, seen: GuardWatch, where: str) -> Iterator[Objection]:
    """Ordinary files without a new point, or whose point is not to be had. They keep no app from moving."""
    told = case.rules.guard
    if said.filed is None:
        stands = seen.wanted_at is not None and case.now.mono - seen.wanted_at > databases.SILENT_AFTER
        if told is not None and told.files and said.duty is Duty.MAKE and stands and databases.after_order(seen):
            text = f"{where}: its guard is of a version that makes no points of files (guard.files)"
            yield Objection(why=Why.NO_POINTS, text=text)
        return
    what = "file" if said.duty is Duty.MAKE else "the point of a file"
    for one in said.filed.troubles:
        yield Objection(why=Why.NO_POINTS, text=f"{where}: {what}: {one}")
    if said.filed.unnamed:
        yield Objection(why=Why.NO_POINTS, text=f"{where}: {what}: {said.filed.unnamed} more are not well")


# -------------------------------------------------------------------- placing


def place(case: Case, move: Move) -> tuple[Move, str, tuple[Objection, ...]]:
    """The move with what is known of its placing by now, what it waits for (empty: nothing more) and the alarms."""
    if case.rules.guard is None or not _has_placing(case, move):
        return move, "", ()
    if _over(case):
        return move, _withdrawn(case, move), ()
    if case.was.move is None or all(name != "flipped" for name, _ in case.was.move.marks):
        move = databases.together(case, move)  # now, before the order: it must not change while it is carried out
    waits, alarms, hopeless = _unplaced(case, move)
    if waits and not (move.forced and hopeless):
        return move, waits, alarms
    name = "unplaced" if waits else "placed"
    told = (f"not placed, started with the live copy: {waits}",) if waits else _told(case, move)
    over = replace(move, marks=(*move.marks, (name, case.date)), evidence=(*move.evidence, *told))
    return over, "the order that places to be taken back", ()


def _withdrawn(case: Case, move: Move) -> str:
    """Which order that places may still be acted on; empty where none can."""
    placed = any(name == "placed" for name, _ in move.marks)
    for volume in case.app.volumes:
        read, seen = databases.reading(case, volume, move.target), databases.seen(case, volume, move.target)
        rests = isinstance(read, GuardReading) and read.wanted is not None and read.wanted.duty is Duty.REST
        if not rests or not (placed or _forgotten(case, seen.wanted_at)):
            return f"the order that places at {move.target} to be taken back ({volume.name})"
    return ""


def _unplaced(case: Case, move: Move) -> tuple[str, tuple[Objection, ...], bool]:
    """What is waited for, its alarms, and whether an operator's force need not wait for it."""
    for volume in case.app.volumes:
        where = f"{volume.name} at {move.target}"
        found = databases.placed(case, volume, move.target, move.id)
        silent = databases.silent(case, volume, move.target)
        if silent:
            text = f"databases to be placed: {where}: its guard is silent"
            alarm = Objection(why=Why.GUARD_SILENT, text=text)
            return f"{text}: {silent}", (alarm,), _never_began(case, volume, move)
        for unusable in _unusable(case, volume, move.target):
            return f"the target to be usable: {unusable.text}", (unusable,), False
        if found is None:
            return f"databases to be placed: {where}", (), False
        if not found.done:
            text = f"databases to be placed: {where}: {found.why}"
            return text, (Objection(why=Why.NOT_OPEN, text=text),), False
        if broken := _live_broken(case, volume, move, found):
            again = "put one there that does, and remove the folder of this move under .failoverd/moves"
            text = f"{where}: the live copy of {broken} does not open, and there is no point of it: {again}"
            return text, (Objection(why=Why.NOT_OPEN, text=text),), True
    return "", (), False


def _live_broken(case: Case, volume: Volume, move: Move, found: Placed) -> str:
    """Databases that were not placed and of which the guard knows nothing that opens."""
    read = databases.reading(case, volume, move.target)
    sick = read.observed.sick if isinstance(read, GuardReading) and read.observed is not None else ()
    left = [one for one in sick if one.ailment is not Ailment.NOT_A_DATABASE and not one.earlier]
    broken = [one.database for one in left if one.database not in found.databases]
    return ", ".join(dict.fromkeys(broken))


def _never_began(case: Case, volume: Volume, move: Move) -> bool:
    """Whether the guard was silent before it was asked: one that was heard may have moved a database aside."""
    flipped = next((at for name, at in move.marks if name == "flipped"), case.date)
    heard = databases.seen(case, volume, move.target).heard_at
    return heard is None or case.now.mono - heard > (case.date - flipped) + databases.SILENT_AFTER


def _told(case: Case, move: Move) -> tuple[str, ...]:
    """What was placed and what that displaced, for the history."""
    told = [f"databases placed as of {move.as_of:%H:%M:%S}, all of them"] if move.as_of is not None else []
    for volume in case.app.volumes:
        found = databases.placed(case, volume, move.target, move.id)
        if found is None:
            continue
        placed, left = ", ".join(found.databases) or "nothing", ", ".join(found.live)
        text = f"{volume.name}: placed from points: {placed}" + (f"; left as it was: {left}" if left else "")
        told.append(text + kept(found))
    return tuple(told)


def kept(found: Placed) -> str:
    """Where what a placing displaced lies now, for the history."""
    more = ", …" if len(found.displaced) > LISTED else ""
    return f"; displaced and kept: {', '.join(found.displaced[:LISTED])}{more}" if found.displaced else ""
