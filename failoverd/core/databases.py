"""What the guards say of databases: whether they are heard, which points count, how old a copy is that opens.

The one rule of this file: what a guard has not said is unknown. A database of which no point was proven has no age;
that it is gone is believed only of the guard beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from failoverd.core.case import Case
from failoverd.core.memory import AppMemory, Kind, Move
from failoverd.core.model import (
    Action,
    Api,
    GuardReading,
    GuardWatch,
    Now,
    ScanPoints,
    Snapshot,
    Unknown,
    Watch,
)
from failoverd.core.names import GUARD_FOLDER
from failoverd.core.points import Ailment, Duty, Kept, Observed, Placed, Proven, Sickness
from failoverd.core.rules import App, Placing, Rules, Site, Volume

SILENT_AFTER = timedelta(seconds=60)
"""A guard says something every 30 s, changed or not."""
GONE_AFTER = timedelta(minutes=3)
"""A database is missing for a moment while an app replaces it; the guard looks for databases once a minute."""
SIDECARS = ("", "-wal", "-shm", "-journal")
"""What belongs to a database, by the end of the name."""
NEVER = GuardWatch()
"""Of a guard that nothing was seen of yet."""
UNREAD = Unknown("its guard's object was not read yet")


# -------------------------------------------------------------------- what is heard


def watch_guards(rules: Rules, watch: Watch, snapshot: Snapshot, now: Now) -> Watch:
    """`watch` with what the guards' objects say in this tick."""
    if rules.guard is None:
        return watch
    seen = dict(watch.guards)
    for key, reading in snapshot.guards.items():
        if isinstance(reading, GuardReading):
            seen[key] = _heard(seen.get(key, NEVER), reading, snapshot, now)
    return watch if seen == watch.guards else replace(watch, guards=seen)


def _heard(known: GuardWatch, reading: GuardReading, snapshot: Snapshot, now: Now) -> GuardWatch:
    if reading.wanted != known.wanted or known.wanted_at is None:
        known = replace(known, wanted=reading.wanted, wanted_at=now.mono)
    said = reading.observed.at if reading.observed is not None else None
    if said is None or said == known.said:
        return known
    heard = now.mono
    if known.said is None:
        # Said by somebody who may be dead since. Both times are the API server's; one of the future proves nothing.
        ago = snapshot.api.date - said if isinstance(snapshot.api, Api) else SILENT_AFTER
        heard -= ago if timedelta(0) <= ago <= SILENT_AFTER else SILENT_AFTER + timedelta(seconds=1)
    return replace(known, said=said, heard_at=heard)


def announced(watch: Watch, actions: Iterable[Action], snapshot: Snapshot) -> Watch:
    """`watch` once these actions are begun: points that a scan is on its way for are not scanned for again."""
    seen = dict(watch.guards)
    for act in actions:
        if isinstance(act, ScanPoints):
            key = (act.app, act.volume, act.site)
            reading = snapshot.guards.get(key)
            if isinstance(reading, GuardReading) and reading.observed is not None:
                seen[key] = replace(seen.get(key, NEVER), announced=reading.observed.newest)
    return watch if seen == watch.guards else replace(watch, guards=seen)


def reading(case: Case, volume: Volume, site: Site) -> GuardReading | Unknown:
    """What stands in the object of one copy."""
    return case.snapshot.guards.get((case.app.key, volume.name, site), UNREAD)


def seen(case: Case, volume: Volume, site: Site) -> GuardWatch:
    """What this process has seen of the guard of one copy."""
    return case.watch.guards.get((case.app.key, volume.name, site), NEVER)


def silent(case: Case, volume: Volume, site: Site) -> str:
    """Why the guard of one copy is not heard; empty while it is."""
    read, heard = reading(case, volume, site), seen(case, volume, site).heard_at
    if isinstance(read, Unknown):
        return read.why
    if read.trouble:
        return read.trouble
    if read.observed is None or heard is None:
        return "it has not said anything yet"
    ago = case.now.mono - heard
    return f"last heard {ago.total_seconds():.0f} s ago" if ago > SILENT_AFTER else ""


def after_order(heard: GuardWatch) -> bool:
    """Whether what a guard said last was said since its present order stands."""
    return heard.heard_at is not None and heard.wanted_at is not None and heard.heard_at >= heard.wanted_at


def placed(case: Case, volume: Volume, site: Site, move: str) -> Placed | None:
    """What the guard of one copy says of its placing for one move; None where it has said nothing of it."""
    read = reading(case, volume, site)
    found = read.observed.placed if isinstance(read, GuardReading) and read.observed is not None else None
    return found if found is not None and found.move == move else None


# -------------------------------------------------------------------- which points count


def points_of(was: AppMemory) -> tuple[int, Site]:
    """The epoch and site whose points count: of the last move that led anywhere, the one in progress left out.

    Moves called off, and restores of files, use their epoch up and make no other copy the authoritative one: the
    points from before them are as good as they were. What a restore replaced its guard sees, and makes a point of.
    Where databases were put back the points of before hold what nobody wants: only newer ones count from then on.
    """
    move = was.move
    return _epoch_of(was, lambda past: past.renewed), was.active if move is None else move.source


def lived_since(was: AppMemory) -> int:
    """The epoch since which the app has lived where it does: its points of all of that time are its own past."""
    return _epoch_of(was, lambda past: past.moved)


def rewound(was: AppMemory) -> bool:
    """Whether anything was put back as far as is remembered: databases of before may have higher change counters."""
    back = {"fetched", "placed"}
    return any(past.kind is Kind.RESTORE and back.intersection(name for name, _ in past.marks) for past in was.moves)


def _epoch_of(was: AppMemory, counts: Callable[[Move], bool]) -> int:
    """The epoch of the last finished move that counts; that of before the first known one where none does."""
    epoch = was.epoch if was.move is None else was.move.epoch - 1
    for past in reversed(was.moves):
        if counts(past):
            return past.epoch
        epoch = past.epoch - 1
    return epoch


def in_force(rules: Rules, app: App) -> bool:
    """Whether the databases of `app` are started from points after a failover: only then do points have a say."""
    return rules.guard is not None and app.place is Placing.NEWEST


def said_at(case: Case, volume: Volume, site: Site, duty: Duty) -> Observed | None:
    """What a guard said of `duty` and of the points that count; None where it did not."""
    read = reading(case, volume, site)
    found = read.observed if isinstance(read, GuardReading) else None
    if found is None or found.duty is not duty or found.epoch != points_of(case.was)[0]:
        return None
    return found


# -------------------------------------------------------------------- how old


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """One database of a volume, and until when its newest proven point holds everything."""

    name: str
    since: datetime | None
    """None where no point of it was proven."""
    text: str
    """Where that comes from, for people."""


def databases(case: Case, volume: Volume) -> tuple[Database, ...] | Unknown:
    """Every database of a volume as both guards see it; Unknown where the standby's has not looked."""
    source = points_of(case.was)[1]
    there = said_at(case, volume, source.other, Duty.PROVE)
    if there is None:
        read = reading(case, volume, source.other)
        return read if isinstance(read, Unknown) else Unknown(f"the guard at {source.other} has not looked yet")
    if there.left_out:
        return Unknown(f"the guard at {source.other} has left out {there.left_out} entries for want of room")
    here = said_at(case, volume, source, Duty.MAKE)
    kept = {one.database: one for one in here.kept} if here is not None else {}
    proven = {one.database: one for one in there.proven}
    sick = {one.database for one in (*there.sick, *(here.sick if here is not None else ())) if _counts(one)}
    listed = sorted((sick | kept.keys() | proven.keys()) - _gone(here, there))
    return tuple(_database(name, proven.get(name), kept.get(name), there) for name in listed)


def _counts(one: Sickness) -> bool:
    """Whether it is about a database. What only has the name of one is an ordinary file: scans tell its age."""
    return one.ailment is not Ailment.NOT_A_DATABASE and not one.database.startswith(f"{GUARD_FOLDER}/")


def _gone(here: Observed | None, there: Observed) -> set[str]:
    """Databases of old points that the app has deleted, as the guard beside it says, which sees the whole volume."""
    if here is None or here.left_out or any(one.ailment is Ailment.UNREADABLE for one in here.sick):
        return set()
    old = {one.database for one in there.proven if here.at - one.made_at > GONE_AFTER}
    old |= {one.database for one in there.sick if one.earlier}
    return old - {one.database for one in here.kept} - {one.database for one in here.sick}


def _database(name: str, proven: Proven | None, kept: Kept | None, there: Observed) -> Database:
    if proven is None:
        why = next((one.text for one in there.sick if one.database == name), "no point of it has arrived")
        return Database(name=name, since=None, text=f"{name}: {why}")
    since, text = proven.made_at, f"{name}: point {proven.serial} of {proven.made_at:%H:%M:%S}"
    if kept is not None and kept.serial == proven.serial and kept.current_at > since:
        since, text = kept.current_at, f"{text}, unchanged until {kept.current_at:%H:%M:%S}"
    return Database(name=name, since=since, text=text)


def oldest(case: Case, volume: Volume) -> Database | None:
    """The database that a volume's age comes from, an unknown one first; None where databases have no say."""
    if not in_force(case.rules, case.app):
        return None
    found = databases(case, volume)
    if isinstance(found, Unknown):
        return Database(name="", since=None, text=found.why)
    unknown = next((one for one in found if one.since is None or one.since > case.date), None)
    if unknown is not None:
        return replace(unknown, since=None)
    return min(found, key=lambda one: one.since or case.date, default=None)


def together(case: Case, move: Move) -> Move:
    """`move` with the latest moment that all databases of its app can be placed as of, as far as that is known.

    A moment known before stays: a guard that is told to rest says no more that nothing had changed.
    """
    known = [one for one in (move.as_of, _moment(case)) if one is not None]
    return _stated(case, replace(move, as_of=max(known, default=None)))


def _stated(case: Case, move: Move) -> Move:
    """`move` stating of every volume with databases at least what that moment costs: it is the oldest one's."""
    if move.as_of is None or move.last_write_at is None:
        return move
    cost, holding = (move.last_write_at - move.as_of).total_seconds(), set()
    for volume in case.app.volumes:
        found = databases(case, volume)
        holding |= {volume.name} if not isinstance(found, Unknown) and found else set()
    stated = (
        replace(one, age_seconds=max(one.age_seconds, cost))
        if one.volume in holding and one.age_seconds is not None
        else one
        for one in move.losses
    )
    return replace(move, losses=tuple(stated))


def _moment(case: Case) -> datetime | None:
    """Until when every database's newest proven point holds everything: none is older then than the stated age.

    None for one database alone, where a guard has not said what it has, and where the kept points of the others do
    not reach back to the oldest one: then each at its newest loses least.
    """
    told = case.rules.guard
    if told is None or not in_force(case.rules, case.app):
        return None
    source, since = points_of(case.was)[1], []
    for volume in case.app.volumes:
        found = databases(case, volume)
        if isinstance(found, Unknown) or said_at(case, volume, source, Duty.MAKE) is None:
            return None
        since += [one.since for one in found if one.since is not None and one.since <= case.date]
    if len(since) < 2 or max(since) - min(since) > min(told.keep_for, (told.keep - 1) * told.interval):
        return None
    return min(since)


# -------------------------------------------------------------------- what a proof leaves out


def hot(rules: Rules, app: App, snapshot: Snapshot, volume: Volume, standby: Site) -> frozenset[str]:
    """Files that a proof need not wait for: those of databases whose points open at the standby."""
    if not in_force(rules, app):
        return frozenset()
    read = snapshot.guards.get((app.key, volume.name, standby))
    if not isinstance(read, GuardReading) or read.observed is None or read.wanted is None:
        return frozenset()
    said = read.observed
    if (said.duty, said.epoch) != (Duty.PROVE, read.wanted.epoch) or read.wanted.duty is not Duty.PROVE:
        return frozenset()
    beside = snapshot.guards.get((app.key, volume.name, standby.other))
    here = beside.observed if isinstance(beside, GuardReading) else None
    if here is None or (here.duty, here.epoch) != (Duty.MAKE, said.epoch):
        here = None
    return files({one.database for one in said.proven} - _gone(here, said))


def beside(case: Case, volume: Volume) -> frozenset[str] | None:
    """Databases of which the guard at the active side has points: the only ones whose raw copy need not be waited for
    while copies are made equal. None while it has not said yet; empty where points have no say, or nothing is known.
    """
    site = case.was.active
    if not in_force(case.rules, case.app) or silent(case, volume, site):
        return frozenset()
    said = said_at(case, volume, site, Duty.MAKE)
    if said is None:
        return None
    return (
        frozenset()
        if said.left_out
        else frozenset({one.database for one in said.kept} - {one.database for one in said.sick})
    )


def files(names: Iterable[str]) -> frozenset[str]:
    """The files of these databases, as Syncthing writes their names."""
    return frozenset(_plain(one) + end for one in names for end in SIDECARS)


def _plain(quoted: str) -> str:
    """A path as Syncthing writes it, out of one encoded byte by byte."""
    raw = re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes([int(found[1], 16)]), quoted.encode())
    return raw.decode("utf-8", "replace")
