"""An app at rest: first look, adoption, the wishes that would move it, and the care of its copies meanwhile."""

from __future__ import annotations

from failoverd.core import ahead, gitops, guarding, links, names, patch, planned, proof, roles
from failoverd.core import alarms as remembered
from failoverd.core.again import replace
from failoverd.core.case import Case, Wish
from failoverd.core.intent import Step, landed_late, mark, marked, written
from failoverd.core.machine import Event
from failoverd.core.memory import AppMemory, CopyMemory, Kind, Phase, Standing, VolumeMemory
from failoverd.core.model import (
    NEVER_SEEN,
    Action,
    Folder,
    Guest,
    GuestState,
    Health,
    Objection,
    Owner,
    Role,
    Scan,
    SetIgnores,
    SetRole,
    Unknown,
    Verify,
    Why,
    Workload,
)
from failoverd.core.rules import SITES, App, Failback, Mode, Site


def newborn(app: App, active: Site, epoch: int = 0, phase: Phase = Phase.ADOPTING, why: str = "") -> AppMemory:
    """Memory of an app that starts being looked after: its standby is worth nothing until compared."""
    copies = {
        active: CopyMemory(standing=Standing.ACTIVE),
        active.other: CopyMemory(standing=Standing.UNPROVEN),
    }
    volumes = {volume.name: VolumeMemory(copies=copies) for volume in app.volumes}
    return AppMemory(phase=phase, active=active, epoch=epoch, volumes=volumes, frozen_why=why)


def with_volumes(app: App, was: AppMemory) -> AppMemory:
    """`was` with the volumes configured now: a new one is unproven at the standby, a removed one is forgotten."""
    names = {volume.name for volume in app.volumes}
    if was.move is not None or names == set(was.volumes):
        return was
    fresh = newborn(app, was.active).volumes
    return replace(was, volumes={name: was.volumes.get(name, fresh[name]) for name in fresh})


def first_look(case: Case, *, resumed: bool = False) -> AppMemory | str:
    """Memory for an app never seen before, or what must be known first.

    Missing Memory beside any trace of ours is never a first start: a restored control plane looks like that.
    """
    workload = case.workload
    if isinstance(workload, Unknown):
        return f"{case.app.kind} {case.app.key}: {workload.why}"
    sites = [site for site in SITES if case.runs_on(site)]
    if len(sites) != 1:
        claims = ", ".join(claim for _, _, claim in workload.claims) or "none"
        return f"{case.app.key} names neither site's claims for all volumes, but {claims}"
    active = sites[0]
    if workload.epoch is not None and not resumed:
        why = f"no memory of this app, but the workload carries epoch {workload.epoch}"
        return newborn(case.app, active, workload.epoch, Phase.FROZEN, why)
    unread = [
        f"{volume.name} at {site}: {folder.why}"
        for volume in case.app.volumes
        for site in SITES
        if isinstance(folder := case.folder(volume, site), Unknown)
    ]
    if unread:
        return f"not read yet: {'; '.join(unread)}"
    traces = [] if resumed else _traces(case, active)
    epoch = workload.epoch or 0
    if traces:
        return newborn(case.app, active, epoch, Phase.FROZEN, f"no memory of this app, but {'; '.join(traces)}")
    return newborn(case.app, active, epoch)


def _traces(case: Case, active: Site) -> list[str]:
    traces = []
    for volume in case.app.volumes:
        here, there = case.folder(volume, active), case.folder(volume, active.other)
        if isinstance(here, Folder) and here.type == Role.RECEIVE_ONLY:
            traces.append(f"{volume.name} at {active}, where it runs, is receiveonly")
        if isinstance(there, Folder) and there.type == Role.SEND_ONLY:
            traces.append(f"{volume.name} at {active.other} is sendonly")
    return traces


def wish_of(case: Case) -> Wish | None:
    """The move that the situation itself calls for, commands aside."""
    active, verdict = case.was.active, case.verdict(case.was.active)
    node = case.place(active).node
    if verdict.health is Health.DOWN or verdict.fenceable:
        how = "proven dead" if verdict.proven else "silent"
        return Wish(kind=Kind.FAILOVER, target=active.other, reason=f"{node} is {how}: {', '.join(verdict.evidence)}")
    silent = verdict.silent_for > case.rules.timings.silence_after
    if verdict.health is Health.UNKNOWN and (silent or _guest_off(case, node)):
        return Wish(kind=Kind.FAILOVER, target=active.other, reason=f"{node}: {', '.join(verdict.evidence)}")
    if roles.adopted(case.was) and (leaving := planned.departure(case)) is not None:
        return leaving
    auto = case.app.failback is Failback.AUTO and not _sent_by_hand(case)
    if active is not case.app.preferred and auto and roles.adopted(case.was):
        return Wish(kind=Kind.FAILBACK, target=case.app.preferred, reason=f"{case.app.preferred} is well again")
    return None


def _sent_by_hand(case: Case) -> bool:
    """Whether an operator sent the app where it is while its home was well: then an operator brings it back."""
    counted = [move for move in case.was.moves if move.moved]
    return bool(counted) and counted[-1].kind is Kind.SWITCHOVER and bool(counted[-1].command)


def _stays(case: Case) -> str:
    """What an app waits for that an operator sent away: it never goes home by itself. Empty for any other."""
    if case.was.active is case.app.preferred or case.app.failback is not Failback.AUTO or not _sent_by_hand(case):
        return ""
    return f"an operator: a switchover is never undone by itself; `failoverd failback {case.app.key}` takes it home"


def _guest_off(case: Case, node: str) -> bool:
    reading = case.snapshot.nodes.get(node)
    guest = reading.guest if reading else None
    return isinstance(guest, Guest) and guest.state is GuestState.STOPPED


def look_after(case: Case) -> tuple[Step, tuple[Objection, ...]]:
    """Roles, adoption, take-back, scans, the connection and the GitOps monitor; alarms beside the step."""
    if case.rules.mode is Mode.OBSERVE:
        return Step(was=case.was, actions=tuple(_scans(case)) if case.rules.observe_scan else ()), ()
    workload = case.workload
    if isinstance(workload, Workload) and workload.epoch is not None and workload.epoch > case.was.epoch:
        why = f"the workload carries epoch {workload.epoch}, remembered is {case.was.epoch}: memory is from the past"
        return Step(was=replace(case.was, frozen_why=why), event=Event.CONTRADICTED), ()
    late = landed_late(case)
    if late is not None and case.was.phase is Phase.WATCHING:
        return Step(was=late, event=Event.LANDED_LATE), ()
    tended = roles.care(case)
    was = case.was if tended.volumes == case.was.volumes else replace(case.was, volumes=tended.volumes)
    was = ahead.told(case, was)
    if tended.frozen:
        return Step(was=replace(was, frozen_why=tended.frozen), event=Event.CONTRADICTED), ()
    actions: list[Action] = [*tended.actions]
    asked = {(act.volume, act.site) for act in actions if isinstance(act, Scan)}
    actions += [act for act in _scans(case) if (act.volume, act.site) not in asked]
    alarms = list(tended.alarms)
    monitored, alarm = _monitor(case)
    tended_applier, resumed = gitops.tend(case)
    was = _watched(case, was, put_back=bool(monitored or tended_applier) and was.undo is not None)
    actions += [*monitored, *tended_applier]
    alarms += [*alarm, *resumed]
    actions += _verification(case)
    alarms += [*_unverified(case), *guarding.alarms(case)]
    actions += guarding.orders(case)
    mended, wrong = links.mend(case, tuple(actions))
    actions += mended
    alarms += wrong
    was = remembered.kept(case, _stability(case, was))
    alarms += remembered.told(case, was)
    event = Event.ADOPTED if was.phase is Phase.ADOPTING and _has_roles(case, was) else None
    waiting = tended.waiting or _stays(case)
    return Step(was=was, event=event, actions=tuple(actions), waiting=waiting), tuple(alarms)


def _verification(case: Case) -> list[Action]:
    """After a move, once: whether the app really serves. What comes of it is an alarm, never a rollback."""
    last = case.was.moves[-1] if case.was.moves else None
    if last is None or last.outcome != "done" or not case.app.verify_url or last.id in case.watch.verified:
        return []
    if last.ended_at is None or case.date - last.ended_at > case.rules.timings.monitor_for:
        return []
    return [Verify(app=case.app.key, move=last.id, url=case.app.verify_url, reason="the app was moved")]


def _unverified(case: Case) -> list[Objection]:
    last = case.was.moves[-1] if case.was.moves else None
    why = case.watch.verified.get(last.id, "") if last else ""
    return [Objection(why=Why.VERIFY, text=f"verify_url of {case.app.key} after its move: {why}")] if why else []


def _has_roles(case: Case, was: AppMemory) -> bool:
    active = [case.folder(volume, was.active) for volume in case.app.volumes]
    return roles.adopted(was) and all(isinstance(one, Folder) and one.type == Role.SEND_ONLY for one in active)


def _scans(case: Case) -> list[Scan]:
    return [
        Scan(app=case.app.key, volume=volume.name, site=case.was.active, reason="data age")
        for volume in case.app.volumes
        if proof.scan_due(case, volume)
    ]


def _monitor(case: Case) -> tuple[list[Action], list[Objection]]:
    """Whether the patch of the last move still stands while the app lives away from home."""
    workload, was = case.workload, case.was
    if isinstance(workload, Unknown):
        return [], []
    alarms = [
        Objection(why=Why.DIVERGED, text=f"pod {pod.name} runs on {pod.node}, but {was.active} is active")
        for pod in case.pods(was.active.other)
        if not pod.deleting
    ]
    if workload.epoch is not None and workload.replicas == 0:
        held = ", and held: no GitOps controller will start it" if workload.held else ""
        alarms.append(
            Objection(
                why=Why.SHAPE,
                text=f"{case.app.key} is at replicas 0 with epoch {workload.epoch} of ours on it{held}: "
                "scale it up again",
            )
        )
    if was.undo is None:
        if not case.runs_on(was.active):
            claims = ", ".join(claim for _, _, claim in workload.claims)
            alarms.append(
                Objection(why=Why.DIVERGED, text=f"{case.app.key} names {claims}, but {was.active} is active")
            )
            return [], alarms
        return _unmarked(case, workload), alarms
    unheld = bool(workload.owner.hold) and not workload.held
    if not unheld and case.runs_on(was.active):
        return [], alarms
    said = "the GitOps hold has vanished" if unheld else f"the workload no longer names {was.active}'s claims"
    alarms.append(Objection(why=Why.DIVERGED, text=f"{said} while {case.app.key} is away from home: put back"))
    ops = patch.restore_hold(case.app, workload, was, case.place(was.active))
    return [written(case, ops, said)], alarms


def _watched(case: Case, was: AppMemory, *, put_back: bool) -> AppMemory:
    """The last move marked with what came of the watch over its patch: it `stood`, or was `undone` by somebody.

    The watch lasts `monitor_for`, two intervals of Flux; an app that no controller owns has nobody who would undo it.
    """
    last, workload = was.moves[-1] if was.moves else None, case.workload
    if last is None or last.outcome != "done" or last.ended_at is None:
        return was
    if isinstance(workload, Unknown) or workload.owner in (Owner.NONE, Owner.UNSUPPORTED):
        return was
    if marked(last, "stood") is not None or marked(last, "undone") is not None:
        return was
    undone = put_back or not case.runs_on(was.active)
    if not undone and (case.date - last.ended_at < case.rules.timings.monitor_for or workload.replicas == 0):
        return was
    return replace(was, moves=(*was.moves[:-1], mark(last, "undone" if undone else "stood", case.date)))


def _unmarked(case: Case, workload: Workload) -> list[Action]:
    """At home nothing of ours is left on the workload: marks that are there anyway (memory was lost) come off."""
    marked = patch.is_marked(workload)
    if not marked or workload.replicas == 0 or case.was.active is not case.app.preferred or case.patching:
        return []
    why = "at home nothing of ours is left on it"
    return [written(case, patch.release(workload), why)]


def _stability(case: Case, was: AppMemory) -> AppMemory:
    """Since when the preferred site has been fit to go home to."""
    if was.active is case.app.preferred:
        return was if was.stable_since is None else replace(was, stable_since=None)
    home = case.app.preferred
    folders = case.folders(home)
    well = (
        _is_well(case, home)
        and _is_well(case, was.active)
        and roles.adopted(was)
        and all(isinstance(folder, Folder) and not folder.error for folder in folders)
    )
    if well == (was.stable_since is not None):
        return was
    if not well and _briefly_unread(case, folders):
        return was
    return replace(was, stable_since=case.date if well else None)


def _is_well(case: Case, site: Site) -> bool:
    """Whether a node is UP, or was when it was last read: a reading that fails ends no stability."""
    node = case.place(site).node
    reading, seen = case.snapshot.nodes.get(node), case.watch.nodes.get(node, NEVER_SEEN)
    unread = reading is None or isinstance(reading.node, Unknown) or isinstance(reading.lease, Unknown)
    return case.verdict(site).health is Health.UP or (unread and seen.up_since is not None and seen.bad_count == 0)


def _briefly_unread(case: Case, folders: list[Folder | Unknown]) -> bool:
    """A mover that restarts is silent for a moment: that is not the end of stability."""
    heard = [case.seen(volume).answered_at.get(case.app.preferred) for volume in case.app.volumes]
    recent = all(at is not None and case.now.mono - at <= case.rules.timings.reading_max_age for at in heard)
    return recent and any(isinstance(folder, Unknown) for folder in folders) and roles.adopted(case.was)


def released(case: Case) -> Step:
    """An app taken out of our hands: both sides send and receive again, and only then goes the hold."""
    acts: list[Action] = []
    unread: list[str] = []
    for volume in case.app.volumes:
        for site in SITES:
            folder = case.folder(volume, site)
            if isinstance(folder, Unknown):
                unread.append(f"{volume.name} at {site}: {folder.why}")
            else:
                acts += _given_back(case.app.key, volume.name, site, folder)
    workload = case.workload
    if isinstance(workload, Unknown):
        unread.append(f"{case.app.kind}: {workload.why}")
    elif patch.is_marked(workload) and not acts and not unread:
        late = landed_late(case)
        ops = patch.release(workload, max(case.was.replicas, 1) if late is not None else 0)
        acts.append(written(case, ops, "released"))
    elif not acts and not unread:
        acts += gitops.resume(case)
    acts += guarding.orders(case)
    waiting = "; ".join(unread) or ("everything of ours to be taken off" if acts else "")
    return Step(was=case.was, actions=tuple(acts), waiting=waiting)


def _given_back(key: str, volume: str, site: Site, folder: Folder) -> list[Action]:
    where = {"app": key, "volume": volume, "site": site}
    acts: list[Action] = []
    if folder.type != Role.SEND_RECEIVE:
        acts.append(SetRole(**where, role=Role.SEND_RECEIVE, reason="released"))  # type: ignore[arg-type]
    if names.SHM_PATTERN in folder.ignores:
        patterns = tuple(line for line in folder.ignores if line != names.SHM_PATTERN)
        acts.append(SetIgnores(**where, patterns=patterns, reason="released"))  # type: ignore[arg-type]
    return acts
