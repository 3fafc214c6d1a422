"""Take-back: a returned, outdated side becomes a clean standby again, and what it displaces is kept.

The one rule of this file: an override deletes at the peer whatever the survivor lacks, so it waits until the survivor
is proven well and the old pod cannot write any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from failoverd.core import clearing, databases, guarding, proof
from failoverd.core.again import replace
from failoverd.core.case import Case
from failoverd.core.counts import counted
from failoverd.core.memory import CopyMemory, Kind, Move, Standing, TakeBackStep, VolumeMemory
from failoverd.core.model import (
    NEVER_SEEN,
    Action,
    Folder,
    Guest,
    Health,
    Objection,
    Override,
    Revert,
    Role,
    Scan,
    Scanned,
    SetRole,
    Unknown,
)
from failoverd.core.rules import Site, Volume
from failoverd.core.spans import waited

POD_GRACE = timedelta(seconds=30)
"""Default termination grace of a pod, for one whose object is gone already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tended:
    """What one volume asks for in this tick."""

    memory: VolumeMemory
    actions: tuple[Action, ...] = ()
    alarms: tuple[Objection, ...] = ()
    frozen: str = ""
    waiting: str = ""


def with_standby(memory: VolumeMemory, site: Site, copy: CopyMemory) -> VolumeMemory:
    """`memory` with another standing for the copy at `site`."""
    return replace(memory, copies={**memory.copies, site: copy})


def scanned(case: Case, volume: Volume, site: Site) -> Scanned | None:
    """What a scan of this copy has just found; None when none has just ended well."""
    for receipt in case.snapshot.receipts:
        act = receipt.action
        if isinstance(act, Scan) and (act.app, act.volume, act.site) == (case.app.key, volume.name, site):
            return receipt.scanned if receipt.ok else None
    return None


def take_back(case: Case, volume: Volume, active: Folder, standby: Folder) -> Tended:
    """Prepare, override, revert, finish: each step read back from the world before the next."""
    memory, site = case.was.volumes[volume.name], case.was.active.other
    copy = memory.copies[site]
    # once it only receives, what still moves there is our own doing
    hindrance = (_not_yet(case, site) if copy.standing is Standing.OUTDATED else "") or _unfit(active)
    if hindrance:
        return Tended(memory=memory, waiting=f"take-back of {site}: {hindrance}")
    step = copy.step or TakeBackStep.PREPARE
    if copy.standing is Standing.OUTDATED:
        begun = replace(copy, standing=Standing.TAKING_BACK, step=TakeBackStep.PREPARE, device=standby.device)
        return Tended(memory=with_standby(memory, site, begun), waiting=f"take-back of {site}: begins")
    if standby.type != Role.RECEIVE_ONLY or (step is not TakeBackStep.FINISH and not standby.versioning):
        return _receive(case, volume)
    if step is not TakeBackStep.PREPARE and active.sequence < copy.scanned:
        # its index began anew: the numbers of the one before are never reached again
        anew = replace(copy, step=TakeBackStep.PREPARE, scanned=0)
        told = f"take-back of {site}: begins again, the survivor's index is another one"
        return Tended(memory=with_standby(memory, site, anew), waiting=told)
    if step is TakeBackStep.PREPARE:
        return _prepare(case, volume, active, standby)
    hot = _hot(case, volume, copy)
    if not proof.lacks_only(active, hot):
        return _override_again(case, volume, active)
    missing = _equal_for_take_back(standby, copy, hot) or _unheard(active, standby)
    if missing and copy.aside is None and clearing.may_yet_put_aside(case, volume):
        anew = replace(copy, step=TakeBackStep.PREPARE, scanned=0)
        told = f"take-back of {site}: begins again, for its databases can be put aside now"
        return Tended(memory=with_standby(memory, site, anew), waiting=told)
    if missing and not standby.versioning:
        again_kept = replace(copy, step=TakeBackStep.REVERT)
        more = "more to displace: keeping it again"
        keep = SetRole(
            app=case.app.key, volume=volume.name, site=site, role=Role.RECEIVE_ONLY, keep=True, reason=more
        )
        return Tended(
            memory=with_standby(memory, site, again_kept), actions=(keep,), waiting=f"take-back of {site}: {missing}"
        )
    if missing:
        why = "what only the lost side has goes to its versions"
        drop = Revert(app=case.app.key, volume=volume.name, site=site, reason=why)
        acts = (drop,) if standby.receive_only or step is TakeBackStep.OVERRIDE else ()
        following = replace(copy, step=TakeBackStep.REVERT)
        return Tended(
            memory=with_standby(memory, site, following),
            actions=acts,
            waiting=f"take-back of {site}: {missing}",
        )
    return _finish(case, volume, standby)


def _receive(case: Case, volume: Volume) -> Tended:
    memory, site = case.was.volumes[volume.name], case.was.active.other
    if waits := clearing.cleared(case, volume):
        return Tended(memory=memory, waiting=f"take-back of {site}: {waits}")
    act = SetRole(
        app=case.app.key,
        volume=volume.name,
        site=site,
        role=Role.RECEIVE_ONLY,
        keep=True,
        reason=f"{site} lost; what it displaces is kept",
    )
    return Tended(memory=memory, actions=(act,), waiting=f"take-back of {site}: receiveonly, keeping versions")


def _prepare(case: Case, volume: Volume, active: Folder, standby: Folder) -> Tended:
    memory, site = case.was.volumes[volume.name], case.was.active.other
    copy = memory.copies[site]
    waits = _unheard(active, standby)  # an override beats only what the survivor has heard of
    if not waits and copy.aside is None:
        waits, aside = clearing.put_aside(case, volume)
        if aside is not None and scanned(case, volume, site) is None:
            # unnoticed, it would go on announcing the old ones: no override ever beats that with files that change
            scan = Scan(app=case.app.key, volume=volume.name, site=site, reason="its databases were put aside")
            return Tended(memory=memory, actions=(scan,), waiting=f"take-back of {site}: to be scanned")
        if aside is not None:
            memory = with_standby(memory, site, replace(copy, aside=aside))
            waits = "its databases were put aside"
    elif not waits:
        waits = guarding.busy_at(case, volume, site)  # what it does yet would be displaced, and done again
    if waits:
        return Tended(memory=memory, waiting=f"take-back of {site}: {waits}")
    return _override(case, volume, memory, copy)


def _finish(case: Case, volume: Volume, standby: Folder) -> Tended:
    memory, site = case.was.volumes[volume.name], case.was.active.other
    copy, app, name = memory.copies[site], case.app.key, volume.name
    if not standby.versioning:
        clean = CopyMemory(standing=Standing.CLEAN, epoch=case.was.epoch, device=standby.device)
        return Tended(memory=with_standby(memory, site, clean))
    lost = _lost_by(case, site, copy)
    act = SetRole(
        app=app,
        volume=name,
        site=site,
        role=Role.RECEIVE_ONLY,
        keep=False,
        move=lost.id if lost is not None else "",
        since=lost.began_at if lost is not None else None,
        reason="taken back",
    )
    if copy.step is not TakeBackStep.FINISH:
        memory = with_standby(memory, site, replace(copy, step=TakeBackStep.FINISH))
        memory = replace(memory, taken_back={**memory.taken_back, site: case.date})
    return Tended(memory=memory, actions=(act,), waiting=f"take-back of {site}: versions off")


def _lost_by(case: Case, site: Site, copy: CopyMemory) -> Move | None:
    """The move by which this copy lost; None where it is not remembered, or where something else spoiled the copy."""
    return next((one for one in case.was.moves if (one.epoch, one.source) == (copy.epoch, site)), None)


def _override(case: Case, volume: Volume, memory: VolumeMemory, copy: CopyMemory) -> Tended:
    survivor = case.was.active
    found = scanned(case, volume, survivor)
    before = case.seen(volume).scanned
    if unread := _unread(found or before):
        # the next scan is asked for as for any proof: no sooner than its cost allows
        acts = () if found or not proof.scan_due(case, volume) else (_scan(case, volume),)
        return Tended(memory=memory, actions=acts, waiting=f"take-back of {survivor.other}: {unread}")
    if found is not None:
        following = replace(copy, step=TakeBackStep.OVERRIDE, scanned=found.sequence)
        order = Override(
            app=case.app.key,
            volume=volume.name,
            site=survivor,
            reason="the survivor's version of everything counts",
        )
        return Tended(
            memory=with_standby(memory, survivor.other, following),
            actions=(order,),
            waiting=f"take-back of {survivor.other}: overriding",
        )
    return Tended(
        memory=memory, actions=(_scan(case, volume),), waiting=f"take-back of {survivor.other}: scanning the survivor"
    )


def _override_again(case: Case, volume: Volume, active: Folder) -> Tended:
    """After each scan of the survivor once: what it could not read at the last one it has now, or not even now."""
    memory, survivor = case.was.volumes[volume.name], case.was.active
    found = scanned(case, volume, survivor)
    unread = _unread(found or case.seen(volume).scanned)
    acts: tuple[Action, ...] = ()
    if found is None and proof.scan_due(case, volume):
        acts = (_scan(case, volume),)
    elif found is not None and not unread:
        reason = "the survivor's version of everything counts"
        acts = (Override(app=case.app.key, volume=volume.name, site=survivor, reason=reason),)
    named = f" ({', '.join(active.need_files[:3])})" if active.need_files else ""
    lacks = f"overriding {counted(active.need_items, 'item')}{named}"
    return Tended(memory=memory, actions=acts, waiting=f"take-back of {survivor.other}: {unread or lacks}")


def _unread(found: Scanned | None) -> str:
    """What the survivor cannot read is not in its index: the other side's would be lost to an override.

    A file that its writer was changing is no such error: a busy database never holds still.
    """
    if found is None or found.errors <= len(found.changing):
        return ""
    files = ", ".join(name for name in found.error_files if name not in found.changing) or "not named"
    return f"{counted(found.errors - len(found.changing), 'error')} in the survivor's last scan: {files}"


def _scan(case: Case, volume: Volume) -> Scan:
    site = case.was.active
    return Scan(app=case.app.key, volume=volume.name, site=site, reason="before the take-back's override")


def _hot(case: Case, volume: Volume, copy: CopyMemory) -> frozenset[str]:
    """Files that need not arrive: of databases with points at the survivor, once their old files are put aside."""
    return databases.files((databases.beside(case, volume) or frozenset()) & set(copy.aside or ()))


def _equal_for_take_back(standby: Folder, copy: CopyMemory, hot: frozenset[str]) -> str:
    if odd := proof.restless(standby, hot):
        return f"returned side is {odd}"
    if standby.receive_only:
        return f"{counted(standby.receive_only, 'item')} only the returned side has"
    if not proof.lacks_only(standby, hot):
        return f"returned side needs {counted(standby.need_items, 'item')}"
    if standby.remote_sequence is None or standby.remote_sequence < copy.scanned:
        return f"returned side has heard of {standby.remote_sequence or 0} of {copy.scanned}"
    return ""


def _unheard(active: Folder, standby: Folder) -> str:
    """What the survivor has not been told of yet; empty when it knows all the returned side has announced."""
    if odd := active.incomparable(standby):
        return odd
    if active.remote_sequence is None or active.remote_sequence < standby.sequence:
        return f"survivor has heard of {active.remote_sequence or 0} of {standby.sequence}"
    return ""


def _not_yet(case: Case, site: Site) -> str:
    """Why the returned side's old pod might still be writing; empty when it cannot."""
    node = case.place(site).node
    if case.verdict(site).health is not Health.UP:
        return f"{node} is {case.verdict(site).health}"
    if isinstance(case.workload, Unknown):  # its pods are not known either
        return f"the workload can be read: {case.workload.why}"
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
    seen = case.watch.nodes.get(node, NEVER_SEEN)
    # others may live there, and write; and a side that receives moves by what it receives
    ours = {f"{case.app.key} {volume.name}" for volume in case.app.volumes if _only_sends(case.folder(volume, site))}
    changes = [changed for mark, (_, changed) in seen.sequences.items() if mark in ours]
    quiet_since = max([*changes, seen.up_since if seen.up_since is not None else case.now.mono])
    needed = case.rules.timings.quiet_for + POD_GRACE
    quiet = case.now.mono - quiet_since
    if quiet < needed:
        return f"{node} has been quiet for {waited(quiet, needed)}"
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
