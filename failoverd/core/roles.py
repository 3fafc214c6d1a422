"""Roles, always: the active side `sendonly`, the standby `receiveonly`; and how a copy earns its standing.

The one rule of this file: nothing becomes `receiveonly` without proof that the active side needs nothing from it
(a wrong `receiveonly` side loses its data to an override); an active that is not `sendonly` is mended at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from failoverd.core import databases, names, proof
from failoverd.core.again import replace
from failoverd.core.case import Case
from failoverd.core.counts import counted
from failoverd.core.memory import AppMemory, CopyMemory, Standing, VolumeMemory
from failoverd.core.model import (
    Action,
    Folder,
    Objection,
    Role,
    Scan,
    SetIgnores,
    SetRole,
    Unknown,
    Why,
)
from failoverd.core.rules import Site, Volume
from failoverd.core.take_back import Tended, scanned, take_back, with_standby


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """What caring for one app's copies asks for in this tick."""

    volumes: Mapping[str, VolumeMemory]
    actions: tuple[Action, ...] = ()
    alarms: tuple[Objection, ...] = ()
    frozen: str = ""
    waiting: str = ""


def care(case: Case) -> Care:
    """Mend the active side's role, adopt the standby, or take back an outdated copy; per volume."""
    volumes = dict(case.was.volumes)
    actions: list[Action] = []
    alarms: list[Objection] = []
    waiting: list[str] = []
    frozen = ""
    for volume in case.app.volumes:
        tended = _tend(case, volume)
        volumes[volume.name] = tended.memory
        actions += tended.actions
        alarms += tended.alarms
        frozen = frozen or tended.frozen
        if tended.waiting:
            waiting.append(f"{volume.name}: {tended.waiting}")
    return Care(
        volumes=volumes,
        actions=() if frozen else tuple(actions),
        alarms=tuple(alarms),
        frozen=frozen,
        waiting="; ".join(waiting),
    )


def _tend(case: Case, volume: Volume) -> Tended:
    site = case.was.active
    active, standby = case.folder(volume, site), case.folder(volume, site.other)
    memory = case.was.volumes[volume.name]
    if isinstance(active, Unknown):
        # a standby that was wiped meanwhile must not pass for clean just when it is needed
        told = _unread(site, active)
        clean = memory.copies[site.other].standing is Standing.CLEAN
        if clean and isinstance(standby, Folder):
            return replace(_watch_clean(case, volume, standby), waiting=told)
        return Tended(memory=memory, waiting=told)
    patterns = tuple(_ignores(case, volume, site, active))
    if active.type != Role.SEND_ONLY:
        if isinstance(standby, Folder) and standby.type == Role.SEND_ONLY and not _known_loser(case, memory):
            return Tended(
                memory=memory,
                frozen=f"{volume.name}: {site} should send but is {active.type}, while {site.other} is sendonly: "
                "which copy is the true one must be decided by hand",
            )
        if isinstance(standby, Unknown) and active.type == Role.RECEIVE_ONLY and not _borne_out(case):
            # a standby is what receives only: this memory may be from before a move, and the other side the true one
            text = f"{volume.name}: {site} should send but is {active.type}, and {site.other} cannot be read"
            alarm = Objection(why=Why.DIVERGED, text=f"{text}: its role waits for that")
            return Tended(memory=memory, alarms=(alarm,), waiting=_unread(site.other, standby))
        mend = SetRole(
            app=case.app.key, volume=volume.name, site=site, role=Role.SEND_ONLY, reason=f"{site} is active"
        )
        return Tended(memory=memory, actions=(mend, *patterns), waiting="giving the active side its role")
    if isinstance(standby, Unknown):
        return Tended(memory=memory, actions=patterns, waiting=_unread(site.other, standby))
    patterns += tuple(_ignores(case, volume, site.other, standby))
    copy = memory.copies[site.other]
    if copy.standing is Standing.UNPROVEN:
        tended = _adopt(case, volume, active, standby)
    elif copy.standing in (Standing.OUTDATED, Standing.TAKING_BACK):
        tended = take_back(case, volume, active, standby)
    else:
        tended = _watch_clean(case, volume, standby)
    return replace(tended, actions=(*tended.actions, *patterns)) if patterns else tended


def _unread(site: Site, read: Unknown) -> str:
    """That a copy cannot be read: whose it is, which the reading may say as well, once."""
    return f"Syncthing at {site}: {re.sub('^Syncthing of [^:]*: ', '', read.why)}"


def _known_loser(case: Case, memory: VolumeMemory) -> bool:
    """Whether the standby is the loser of a move of ours, which comes back sending, and the workload bears it out."""
    lost = memory.copies[case.was.active.other].standing in (Standing.OUTDATED, Standing.TAKING_BACK)
    workload = case.workload
    if isinstance(workload, Unknown) or not case.runs_on(case.was.active):
        return False
    home = workload.epoch is None and case.was.undo is None
    return lost and (home or _borne_out(case))


def _borne_out(case: Case) -> bool:
    """Whether the workload bears our memory out: the epoch we wrote last, and the active side's claims."""
    workload = case.workload
    if isinstance(workload, Unknown) or workload.epoch is None or not case.runs_on(case.was.active):
        return False
    return workload.epoch == case.was.written_epoch


def _ignores(case: Case, volume: Volume, site: Site, folder: Folder) -> list[Action]:
    if names.SHM_PATTERN in folder.ignores:
        return []
    return [
        SetIgnores(
            app=case.app.key,
            volume=volume.name,
            site=site,
            patterns=(*folder.ignores, names.SHM_PATTERN),
            reason="no proof is ever reached while -shm files are compared",
        )
    ]


def _equal(active: Folder, standby: Folder, hot: frozenset[str]) -> str:
    """Empty when both sides hold the same, `hot` left out of what the standby must hold; else what is missing."""
    if not (active.connected and standby.connected):
        return "the two sides are not connected"
    if odd := active.incomparable(standby):
        return odd
    if odd := proof.restless(standby, hot):
        return f"standby is {odd}"
    if not proof.only(active.errors, active.error_files, hot):
        return f"{counted(active.errors, 'error')} at the active side: {', '.join(active.error_files[:3])}"
    if not proof.lacks_only(standby, hot):
        return f"standby needs {counted(standby.need_items, 'item')}"
    if not active.needs_nothing:
        return f"the active side lacks {counted(active.need_items, 'item')} that only the standby has"
    if standby.remote_sequence is None or standby.remote_sequence < active.sequence:
        return f"standby has heard of {standby.remote_sequence or 0} of {active.sequence}"
    if active.remote_sequence is None or active.remote_sequence < standby.sequence:
        return f"active has heard of {active.remote_sequence or 0} of {standby.sequence}"
    return ""


def _adopt(case: Case, volume: Volume, active: Folder, standby: Folder) -> Tended:
    memory, site = case.was.volumes[volume.name], case.was.active.other
    hot = databases.files(databases.beside(case, volume) or ())
    missing = _equal(active, standby, hot)
    if missing:
        return Tended(memory=memory, waiting=f"adopting: {missing}")
    if standby.type != Role.RECEIVE_ONLY:
        found = scanned(case, volume, site)
        if found is None or found.errors or (active.remote_sequence or 0) < found.sequence:
            # what changed there and was never scanned would be lost to the first revert
            scan = Scan(app=case.app.key, volume=volume.name, site=site, reason="before it only receives")
            return Tended(memory=memory, actions=(scan,), waiting="adopting: the standby to be scanned")
        act = SetRole(
            app=case.app.key,
            volume=volume.name,
            site=site,
            role=Role.RECEIVE_ONLY,
            reason="proven equal: the standby only receives from now on",
        )
        return Tended(memory=memory, actions=(act,), waiting="adopting: giving the standby its role")
    if standby.receive_only:
        return Tended(
            memory=memory, waiting=f"adopting: {counted(standby.receive_only, 'local change')} at the standby"
        )
    clean = CopyMemory(standing=Standing.CLEAN, epoch=case.was.epoch, device=standby.device)
    return Tended(memory=with_standby(memory, site, clean))


def _watch_clean(case: Case, volume: Volume, standby: Folder) -> Tended:
    memory, site = case.was.volumes[volume.name], case.was.active.other
    copy = memory.copies[site]
    if standby.type == Role.SEND_ONLY:
        # we never leave a clean standby so: somebody's hand, or this memory is from before a move
        return Tended(
            memory=memory,
            frozen=f"{volume.name}: {site} is a clean standby as far as is remembered, yet it is sendonly: "
            "which copy is the true one must be decided by hand",
        )
    changed = copy.device and copy.device != standby.device
    settled = not proof.restless(standby, databases.files(databases.beside(case, volume) or ()))
    own = settled and standby.receive_only
    if standby.type == Role.RECEIVE_ONLY and not (changed or own):
        if not copy.device:  # the loser of a planned move: its installation was not known while it was active
            memory = with_standby(memory, site, replace(copy, device=standby.device))
        return Tended(memory=memory, alarms=_odd(case, volume, standby))
    why = "is another Syncthing installation" if changed else f"is {standby.type}"
    why = f"has {counted(standby.receive_only, 'local change')}" if own and not changed else why
    alarm = Objection(
        why=Why.NOT_CLEAN, text=f"{volume.name} at {site} {why}: it must be taken back before it counts again"
    )
    outdated = CopyMemory(standing=Standing.OUTDATED, device=standby.device)
    return Tended(memory=with_standby(memory, site, outdated), alarms=(alarm,))


def _odd(case: Case, volume: Volume, standby: Folder) -> tuple[Objection, ...]:
    """What makes the proofs of a clean standby worthless while it lasts."""
    site, active = case.was.active.other, case.folder(volume, case.was.active)
    # in the words of the objection to a failover, so that whoever shows both shows one
    told = []
    if isinstance(active, Folder) and (odd := standby.unlike(active)):
        told.append(f"{volume.name}: {odd}")
    if standby.receive_only:
        told.append(f"{volume.name} at {site}: {counted(standby.receive_only, 'local change')} on a standby")
    return tuple(Objection(why=Why.NOT_CLEAN, text=text) for text in told)


def adopted(was: AppMemory) -> bool:
    """Whether every standby copy is clean and every active one active."""
    return all(memory.copies[was.active.other].standing is Standing.CLEAN for memory in was.volumes.values())
