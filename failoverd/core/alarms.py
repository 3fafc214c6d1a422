"""Alarms that stand until somebody has acknowledged them: what they tell of may be over, and its harm done.

The one rule of this file: what is acknowledged is what was seen. More of it, or something else, alarms anew; and what
cannot be read neither raises an alarm nor ends one. One kind harms nothing while it stands, ends by itself, and keeps
nobody from moving: that what was displaced fills a disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from failoverd.core import databases
from failoverd.core.again import replace
from failoverd.core.case import Case
from failoverd.core.counts import counted
from failoverd.core.memory import Alarm, AppMemory, Phase, Standing, VolumeMemory
from failoverd.core.model import Command, Folder, GuardReading, Objection, Role, SetRole, Unknown, Why
from failoverd.core.names import SHM_PATTERN
from failoverd.core.points import Ailment, Duty
from failoverd.core.quantities import said
from failoverd.core.rules import SITES, Site, Volume

STANDING: frozenset[Why] = frozenset({Why.DELETED, Why.LOCAL_CHANGES, Why.IGNORES, Why.SICK_SOURCE})
"""What they are of: remembered with the app, so that whoever leads next need not tell of them again."""
REMEMBERED = STANDING | {Why.DISPLACED}
"""Those that speak against a move, and the one that does not."""
FEW = 20
"""So many files gone are never a mass deletion: a small app's logs and journals come and go."""
RISEN = 1.1
"""How many times the remembered number of files there must be before it is written anew: growth is no news."""
LONGEST = 1000
"""Characters kept of the reason that was given for an acknowledgement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is wrong in this tick."""

    text: str
    what: str = ""
    """Which patterns, which databases: another one is another alarm."""
    amount: int = 0
    """How many files: more of them are another alarm."""


def watched(case: Case) -> AppMemory:
    """What is remembered with the alarms of this tick, and with how many files each volume was seen to hold."""
    was = case.was
    if was.phase is not Phase.WATCHING:
        return was
    kept: list[Alarm] = []
    volumes = dict(was.volumes)
    for volume in case.app.volumes:
        remembered = volumes[volume.name]
        count = _files(case, volume)
        if count is not None and count > remembered.files * (RISEN if remembered.files else 0):
            volumes[volume.name] = replace(remembered, files=count)
        for why, seen in _look(case, volume, remembered.files).items():
            known = [one for one in was.alarms if (one.why, one.volume) == (why.value, volume.name)]
            kept += _follow(known, seen, why, volume.name, case.date)
        volumes[volume.name] = _listed(case, volume, volumes[volume.name])
        kept += _over_budget(case, volume, volumes[volume.name], was.alarms)
    if tuple(kept) == was.alarms and volumes == was.volumes:
        return was
    return replace(was, alarms=tuple(kept), volumes=volumes)


def kept(case: Case, was: AppMemory) -> AppMemory:
    """`was`, which has come of `case.was`, with what `watched` has found."""
    seen = case.alarmed
    if seen is None or seen is case.was:
        return was
    volumes = {
        name: replace(volume, files=seen.volumes[name].files, displaced=seen.volumes[name].displaced)
        for name, volume in was.volumes.items()
    }
    return replace(was, alarms=seen.alarms, volumes=volumes)


def acknowledged(was: AppMemory, command: Command, date: datetime) -> tuple[AppMemory, tuple[Alarm, ...]] | str:
    """`was` with the alarms that `command` names acknowledged, and these, by whom and why; or why that is refused."""
    open_ones = {one.mark for one in was.alarms if one.acknowledged_at is None}
    if not open_ones:
        return "there is nothing to acknowledge"
    if not open_ones & set(command.seen):
        return "what is to be acknowledged has changed since it was shown: look again"
    volumes = dict(was.volumes)
    alarms, done = [], []
    for one in was.alarms:
        if one.acknowledged_at is not None or one.mark not in command.seen:
            alarms.append(one)
            continue
        why = command.why[:LONGEST]
        done.append(replace(one, acknowledged_at=date, acknowledged_by=command.by, acknowledged_why=why))
        if one.why == Why.DELETED and one.volume in volumes:
            # from now on what was left counts: files that go later are another deletion
            volume = volumes[one.volume]
            volumes[one.volume] = replace(volume, files=max(volume.files - one.amount, 0))
        else:
            alarms.append(done[-1])
    return replace(was, alarms=tuple(alarms), volumes=volumes), tuple(done)


def told(case: Case, was: AppMemory) -> Iterator[Objection]:
    """The alarms of `was` that nobody has acknowledged."""
    for one in was.alarms:
        if one.acknowledged_at is None:
            text = f"{one.text} ({one.since}; look, then `failoverd ack {case.app.key}`)"
            yield Objection(why=Why(one.why), text=text)


def _follow(known: list[Alarm], seen: Seen | Unknown | None, why: Why, volume: str, date: datetime) -> list[Alarm]:
    """What becomes of alarms of one kind in view of what is seen now: one of something else stays."""
    if isinstance(seen, Unknown):
        return known
    kept = [one for one in known if one.acknowledged_at is None and (seen is None or one.what != seen.what)]
    if seen is None:
        return kept
    anew = Alarm(why=why.value, volume=volume, text=seen.text, what=seen.what, amount=seen.amount, seen_at=date)
    same = next((one for one in known if one.what == seen.what), None)
    if same is None:
        return [*kept, anew]
    if seen.amount <= same.amount:
        return [*kept, same]
    return [*kept, anew if same.acknowledged_at is not None else replace(anew, seen_at=same.seen_at)]


def _look(case: Case, volume: Volume, files: int) -> Mapping[Why, Seen | Unknown | None]:
    return {
        Why.DELETED: _deleted(case, volume, files),
        Why.LOCAL_CHANGES: _changed(case, volume),
        Why.IGNORES: _unlike(case, volume),
        Why.SICK_SOURCE: _sick(case, volume),
    }


def _files(case: Case, volume: Volume) -> int | None:
    """How many files the active side holds; None while its index may not have seen them all."""
    folder = case.folder(volume, case.was.active)
    if isinstance(folder, Unknown) or not folder.idle or folder.type != Role.SEND_ONLY:
        return None
    proven = case.copy(volume, case.was.active).device
    ours = _ours(case, volume)
    return folder.local_files - ours if ours is not None and proven in ("", folder.device) else None


def _ours(case: Case, volume: Volume) -> int | None:
    """How many of them are points of files, whose number goes up and down by thousands; None while nobody says.

    Those of databases are few, and stay in the count.
    """
    if case.rules.guard is None or not case.rules.guard.files:
        return 0
    said = databases.said_at(case, volume, case.was.active, Duty.MAKE)
    if said is None:
        return None
    return said.filed.lying if said.filed is not None else 0


def _deleted(case: Case, volume: Volume, files: int) -> Seen | Unknown | None:
    count = _files(case, volume)
    if count is None:
        return Unknown("the active side's files cannot be counted now")
    gone = files - count
    if gone <= FEW or gone <= files * case.rules.max_deleted:
        return None
    where = f"{volume.name} at {case.was.active}"
    return Seen(text=f"{where}: {gone} of {files} files were deleted, more than failover.max_deleted", amount=gone)


def _changed(case: Case, volume: Volume) -> Seen | Unknown | None:
    site = case.was.active.other
    folder = case.folder(volume, site)
    if isinstance(folder, Unknown) or folder.type != Role.RECEIVE_ONLY or folder.paused:
        return Unknown("the standby cannot be read now")
    if case.copy(volume, site).standing is not Standing.CLEAN:
        return Unknown("what a copy holds that is being taken back is no change of a standby")
    if not folder.receive_only:
        return None
    text = f"{volume.name} at {site}: somebody changed {counted(folder.receive_only, 'file')} of the standby"
    return Seen(text=text, amount=folder.receive_only)


def _unlike(case: Case, volume: Volume) -> Seen | Unknown | None:
    here, there = case.folder(volume, case.was.active), case.folder(volume, case.was.active.other)
    if not isinstance(here, Folder) or not isinstance(there, Folder):
        return Unknown("one side cannot be read now")
    if here.error or there.error or not all(SHM_PATTERN in side.ignores for side in (here, there)):
        # Ours is on both from the adoption on: where it is missing, so is the file, and with it perhaps the disk.
        return Unknown("one side's .stignore may be away with its disk")
    odd = here.unlike(there)
    what = odd.partition(": make")[0]  # the advice is given by what speaks of the present
    # the alarm outlives what it tells of: its words are of the past
    return Seen(text=f"{volume.name}: {what.replace(' ignore ', ' ignored ', 1)}", what=what) if odd else None


def _sick(case: Case, volume: Volume) -> Seen | Unknown | None:
    """Databases at the active side that do not open, though there are points of them: they did."""
    if case.rules.guard is None:
        return None
    said = databases.said_at(case, volume, case.was.active, Duty.MAKE)
    if said is None:
        return Unknown("the active side's guard has not said")
    there = databases.said_at(case, volume, case.was.active.other, Duty.PROVE)
    opened = {one.database for one in said.kept} | {one.database for one in (there.proven if there else ())}
    bad = (Ailment.CORRUPT, Ailment.NOT_A_DATABASE)
    sick = sorted({one.database for one in said.sick if one.ailment in bad and one.database in opened})
    if not sick:
        return None
    names = ", ".join(sick)
    return Seen(text=f"{volume.name} at {case.was.active}: stopped opening: {names}", what=names)


def _listed(case: Case, volume: Volume, remembered: VolumeMemory) -> VolumeMemory:
    """With what a take-back that has just ended found in the versions: it is never listed again before the next."""
    for receipt in case.snapshot.receipts:
        act, found = receipt.action, receipt.displaced
        if found is None or not isinstance(act, SetRole) or (act.app, act.volume) != (case.app.key, volume.name):
            continue
        if remembered.displaced.get(act.site) != found.size:
            remembered = replace(remembered, displaced={**remembered.displaced, act.site: found.size})
    return remembered


def _over_budget(case: Case, volume: Volume, remembered: VolumeMemory, before: tuple[Alarm, ...]) -> Iterator[Alarm]:
    """One alarm for each copy whose displaced files take more than they may; it is over when they do not."""
    budget = case.rules.displaced_budget
    for site in SITES:
        known = [
            one for one in before if (one.why, one.volume, one.what) == (Why.DISPLACED.value, volume.name, site.value)
        ]
        size = _kept_at(case, volume, remembered, site)
        if size is None:
            yield from known
        elif size > budget:
            takes, may = (f"{said('memory', amount)}B" for amount in (size, budget))
            text = f"{volume.name} at {site}: {Why.DISPLACED}: {takes} of {may} (failover.displaced_budget_mb)"
            seen = Seen(text=f"{text}; none is pruned by itself", what=site.value, amount=size)
            yield from _follow(known, seen, Why.DISPLACED, volume.name, case.date)


def _kept_at(case: Case, volume: Volume, remembered: VolumeMemory, site: Site) -> int | None:
    """Bytes of displaced files at one copy: as its guard last counted, else as its last take-back; None: unknown."""
    read = databases.reading(case, volume, site) if case.rules.guard is not None else None
    if isinstance(read, GuardReading) and read.observed is not None and read.observed.stock is not None:
        return read.observed.stock.displaced
    return remembered.displaced.get(site)
