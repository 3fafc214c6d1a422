"""Roles, always: the active side `sendonly`, the standby `receiveonly`; and how a copy earns its standing.

The one rule of this file: nothing becomes `receiveonly` without proof that the active side needs nothing from it
(a wrong `receiveonly` side loses its data to an override); an active that is not `sendonly` is mended at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from failoverd.core import names
from failoverd.core.case import Case
from failoverd.core.memory import AppMemory, CopyMemory, Kind, Standing, TakeBackStep, VolumeMemory
from failoverd.core.model import (
    Action,
    Folder,
    Guest,
    Health,
    NodeWatch,
    Objection,
    Override,
    Revert,
    Role,
    Scan,
    Scanned,
    SetIgnores,
    SetRole,
    Unknown,
    Why,
)
from failoverd.core.rules import Site, Volume

POD_GRACE = timedelta(seconds=30)
"""Default termination grace of a pod, for one whose object is gone already."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tended:
    memory: VolumeMemory
    actions: tuple[Action, ...] = ()
    alarms: tuple[Objection, ...] = ()
    frozen: str = ""
    waiting: str = ""


def _tend(case: Case, volume: Volume) -> _Tended:
    site = case.was.active
    active, standby = case.folder(volume, site), case.folder(volume, site.other)
    memory = case.was.volumes[volume.name]
    if isinstance(active, Unknown):
        # a standby that was wiped meanwhile must not pass for clean just when it is needed
        told = f"Syncthing at {site}: {active.why}"
        clean = memory.copies[site.other].standing is Standing.CLEAN
        if clean and isinstance(standby, Folder):
            return replace(_watch_clean(case, volume, standby), waiting=told)
        return _Tended(memory=memory, waiting=told)
    patterns = tuple(_ignores(case, volume, site, active))
    if active.type != Role.SEND_ONLY:
        if isinstance(standby, Folder) and standby.type == Role.SEND_ONLY and not _known_loser(case, memory):
            return _Tended(
                memory=memory,
                frozen=f"{volume.name}: {site} should send but is {active.type}, while {site.other} is sendonly: "
                "which copy is the true one must be decided by hand",
            )
        mend = SetRole(
            app=case.app.key, volume=volume.name, site=site, role=Role.SEND_ONLY, reason=f"{site} is active"
        )
        return _Tended(memory=memory, actions=(mend, *patterns), waiting="giving the active side its role")
    if isinstance(standby, Unknown):
        return _Tended(memory=memory, actions=patterns, waiting=f"Syncthing at {site.other}: {standby.why}")
    patterns += tuple(_ignores(case, volume, site.other, standby))
    copy = memory.copies[site.other]
    if copy.standing is Standing.UNPROVEN:
        tended = _adopt(case, volume, active, standby)
    elif copy.standing in (Standing.OUTDATED, Standing.TAKING_BACK):
        tended = _take_back(case, volume, active, standby)
    else:
        tended = _watch_clean(case, volume, standby)
    return replace(tended, actions=(*tended.actions, *patterns))


def _known_loser(case: Case, memory: VolumeMemory) -> bool:
    """Whether the standby is the loser of a move of ours, which comes back sending, and the workload bears it out."""
    lost = memory.copies[case.was.active.other].standing in (Standing.OUTDATED, Standing.TAKING_BACK)
    workload = case.workload
    if isinstance(workload, Unknown) or not case.runs_on(case.was.active):
        return False
    home = workload.epoch is None and case.was.undo is None
    return lost and (home or workload.epoch == case.was.written_epoch)


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


def with_standby(memory: VolumeMemory, site: Site, copy: CopyMemory) -> VolumeMemory:
    """`memory` with another standing for the copy at `site`."""
    return replace(memory, copies={**memory.copies, site: copy})


def _equal(active: Folder, standby: Folder) -> str:
    """Empty when both sides hold the same; else what is still missing."""
    if not (active.connected and standby.connected):
        return "the two sides are not connected"
    if not standby.idle:
        return f"standby is {standby.error or standby.state}" + (
            f", {standby.errors} errors" if standby.errors else ""
        )
    if active.errors:
        return f"{active.errors} errors at the active side: {', '.join(active.error_files[:3])}"
    if not standby.needs_nothing:
        return f"standby needs {standby.need_items + standby.need_deletes} items"
    if not active.needs_nothing:
        return f"the active side lacks {active.need_items + active.need_deletes} items that only the standby has"
    if standby.remote_sequence is None or standby.remote_sequence < active.sequence:
        return f"standby has heard of {standby.remote_sequence or 0} of {active.sequence}"
    if active.remote_sequence is None or active.remote_sequence < standby.sequence:
        return f"active has heard of {active.remote_sequence or 0} of {standby.sequence}"
    return ""


def _adopt(case: Case, volume: Volume, active: Folder, standby: Folder) -> _Tended:
    memory, site = case.was.volumes[volume.name], case.was.active.other
    missing = _equal(active, standby)
    if missing:
        return _Tended(memory=memory, waiting=f"adopting: {missing}")
    if standby.type != Role.RECEIVE_ONLY:
        found = _scanned(case, volume, site)
        if found is None or found.errors or (active.remote_sequence or 0) < found.sequence:
            # what changed there and was never scanned would be lost to the first revert
            scan = Scan(app=case.app.key, volume=volume.name, site=site, reason="before it only receives")
            return _Tended(memory=memory, actions=(scan,), waiting="adopting: the standby to be scanned")
        act = SetRole(
            app=case.app.key,
            volume=volume.name,
            site=site,
            role=Role.RECEIVE_ONLY,
            reason="proven equal: the standby only receives from now on",
        )
        return _Tended(memory=memory, actions=(act,), waiting="adopting: giving the standby its role")
    if standby.receive_only:
        return _Tended(memory=memory, waiting=f"adopting: {standby.receive_only} local changes at the standby")
    clean = CopyMemory(standing=Standing.CLEAN, epoch=case.was.epoch, device=standby.device)
    return _Tended(memory=with_standby(memory, site, clean))


def _scanned(case: Case, volume: Volume, site: Site) -> Scanned | None:
    """What a scan of this copy has just found; None when none has just ended well."""
    for receipt in case.snapshot.receipts:
        act = receipt.action
        if isinstance(act, Scan) and (act.app, act.volume, act.site) == (case.app.key, volume.name, site):
            return receipt.scanned if receipt.ok else None
    return None


def _watch_clean(case: Case, volume: Volume, standby: Folder) -> _Tended:
    memory, site = case.was.volumes[volume.name], case.was.active.other
    copy = memory.copies[site]
    if standby.type == Role.SEND_ONLY:
        # we never leave a clean standby so: somebody's hand, or this memory is from before a move
        return _Tended(
            memory=memory,
            frozen=f"{volume.name}: {site} is a clean standby as far as is remembered, yet it is sendonly: "
            "which copy is the true one must be decided by hand",
        )
    changed = copy.device and copy.device != standby.device
    if standby.type == Role.RECEIVE_ONLY and not changed:
        alarms: tuple[Objection, ...] = ()
        if standby.receive_only:
            alarms = (
                Objection(
                    why=Why.SOURCE_ERRORS,
                    text=f"{volume.name} at {site}: {standby.receive_only} local changes on a standby",
                ),
            )
        return _Tended(memory=memory, alarms=alarms)
    why = "is another Syncthing installation" if changed else f"is {standby.type}"
    alarm = Objection(
        why=Why.NOT_CLEAN, text=f"{volume.name} at {site} {why}: it must be taken back before it counts again"
    )
    outdated = CopyMemory(standing=Standing.OUTDATED, device=standby.device)
    return _Tended(memory=with_standby(memory, site, outdated), alarms=(alarm,))


def _take_back(case: Case, volume: Volume, active: Folder, standby: Folder) -> _Tended:
    """Prepare, override, revert, finish: each step read back from the world before the next."""
    memory, site = case.was.volumes[volume.name], case.was.active.other
    copy = memory.copies[site]
    # once it only receives, what still moves there is our own doing
    hindrance = (_not_yet(case, site) if copy.standing is Standing.OUTDATED else "") or _unfit(active)
    if hindrance:
        return _Tended(memory=memory, waiting=f"take-back of {site}: {hindrance}")
    where = {"app": case.app.key, "volume": volume.name}
    step = copy.step or TakeBackStep.PREPARE
    if copy.standing is Standing.OUTDATED:
        begun = replace(copy, standing=Standing.TAKING_BACK, step=TakeBackStep.PREPARE, device=standby.device)
        return _Tended(memory=with_standby(memory, site, begun), waiting=f"take-back of {site}: begins")
    if standby.type != Role.RECEIVE_ONLY or (step is not TakeBackStep.FINISH and not standby.versioning):
        act = SetRole(
            **where,
            site=site,
            role=Role.RECEIVE_ONLY,
            keep=True,
            reason=f"{site} lost; what it displaces is kept",
        )
        return _Tended(memory=memory, actions=(act,), waiting=f"take-back of {site}: receiveonly, keeping versions")
    if step is TakeBackStep.PREPARE:
        unheard = _unheard(active, standby)
        if unheard:  # an override beats only what the survivor has heard of
            return _Tended(memory=memory, waiting=f"take-back of {site}: {unheard}")
        return _override(case, volume, memory, copy)
    if not active.needs_nothing:
        again = Override(**where, site=site.other, reason="the survivor's version of everything counts")
        return _Tended(memory=memory, actions=(again,), waiting=f"take-back of {site}: overriding")
    missing = _equal_for_take_back(standby, copy) or _unheard(active, standby)
    if missing and not standby.versioning:
        again_kept = replace(copy, step=TakeBackStep.REVERT)
        keep = SetRole(
            **where, site=site, role=Role.RECEIVE_ONLY, keep=True, reason="more to displace: keeping it again"
        )
        return _Tended(
            memory=with_standby(memory, site, again_kept), actions=(keep,), waiting=f"take-back of {site}: {missing}"
        )
    if missing:
        drop = Revert(**where, site=site, reason="what only the lost side has goes to its versions")
        acts = (drop,) if standby.receive_only or step is TakeBackStep.OVERRIDE else ()
        following = replace(copy, step=TakeBackStep.REVERT)
        return _Tended(
            memory=with_standby(memory, site, following),
            actions=acts,
            waiting=f"take-back of {site}: {missing}",
        )
    if standby.versioning:
        act = SetRole(**where, site=site, role=Role.RECEIVE_ONLY, keep=False, reason="taken back")
        finishing = with_standby(memory, site, replace(copy, step=TakeBackStep.FINISH))
        return _Tended(memory=finishing, actions=(act,), waiting=f"take-back of {site}: versions off")
    clean = CopyMemory(standing=Standing.CLEAN, epoch=case.was.epoch, device=standby.device)
    return _Tended(memory=with_standby(memory, site, clean))


def _override(case: Case, volume: Volume, memory: VolumeMemory, copy: CopyMemory) -> _Tended:
    survivor = case.was.active
    found = _scanned(case, volume, survivor)
    if found is not None:
        following = replace(copy, step=TakeBackStep.OVERRIDE, scanned=found.sequence)
        order = Override(
            app=case.app.key,
            volume=volume.name,
            site=survivor,
            reason="the survivor's version of everything counts",
        )
        return _Tended(
            memory=with_standby(memory, survivor.other, following),
            actions=(order,),
            waiting=f"take-back of {survivor.other}: overriding",
        )
    scan = Scan(app=case.app.key, volume=volume.name, site=survivor, reason="before the take-back's override")
    return _Tended(memory=memory, actions=(scan,), waiting=f"take-back of {survivor.other}: scanning the survivor")


def _equal_for_take_back(standby: Folder, copy: CopyMemory) -> str:
    if not standby.idle:
        return f"returned side is {standby.error or standby.state}"
    if standby.receive_only:
        return f"{standby.receive_only} items only the returned side has"
    if not standby.needs_nothing:
        return f"returned side needs {standby.need_items + standby.need_deletes} items"
    if standby.remote_sequence is None or standby.remote_sequence < copy.scanned:
        return f"returned side has heard of {standby.remote_sequence or 0} of {copy.scanned}"
    return ""


def _unheard(active: Folder, standby: Folder) -> str:
    """What the survivor has not been told of yet; empty when it knows all the returned side has announced."""
    if active.remote_sequence is None or active.remote_sequence < standby.sequence:
        return f"survivor has heard of {active.remote_sequence or 0} of {standby.sequence}"
    return ""


def _not_yet(case: Case, site: Site) -> str:
    """Why the returned side's old pod might still be writing; empty when it cannot."""
    node = case.place(site).node
    if case.verdict(site).health is not Health.UP:
        return f"{node} is {case.verdict(site).health}"
    if case.pods(site):
        return f"a pod of the app is still on {node}"
    lost = next((move for move in reversed(case.was.moves) if move.source is site), None)
    if lost is None or lost.kind is not Kind.FAILOVER:
        return ""
    if any(name == "dead" for name, _ in lost.marks):
        return ""
    reading = case.snapshot.nodes[node]
    if isinstance(reading.guest, Guest) and reading.guest.uptime is not None:
        if reading.guest.uptime < case.date - lost.began_at:
            return ""
    seen = case.watch.nodes.get(node, NodeWatch())
    # others may live there, and write; and a side that receives moves by what it receives
    ours = {f"{case.app.key} {volume.name}" for volume in case.app.volumes if _only_sends(case.folder(volume, site))}
    changes = [changed for mark, (_, changed) in seen.sequences.items() if mark in ours]
    quiet_since = max([*changes, seen.up_since if seen.up_since is not None else case.now.mono])
    needed = case.rules.timings.quiet_for + POD_GRACE
    quiet = case.now.mono - quiet_since
    if quiet < needed:
        return f"{node} has been quiet for {quiet.total_seconds():.0f} s of {needed.total_seconds():.0f} s"
    return ""


def _only_sends(folder: Folder | Unknown) -> bool:
    return isinstance(folder, Unknown) or folder.type == Role.SEND_ONLY


def _unfit(survivor: Folder) -> str:
    """Why the survivor must not override the returned side: an override deletes there what it lacks here."""
    if survivor.error or survivor.paused or survivor.state in ("", "error"):
        return f"the survivor's folder is {survivor.error or survivor.state or 'paused'}"
    if survivor.local_files == 0:
        return "the survivor holds no files at all"
    if not survivor.connected:
        return "the two sides are not connected"
    return ""


def adopted(was: AppMemory) -> bool:
    """Whether every standby copy is clean and every active one active."""
    return all(memory.copies[was.active.other].standing is Standing.CLEAN for memory in was.volumes.values())
