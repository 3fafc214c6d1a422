"""The connection between the two Syncthings of a volume: noticed when it is dead, and dropped by the side holding it.

A side whose peer lost power keeps the connection for up to 447 s, calls it connected and turns the returned peer's
new one away (measured). Nothing replicates meanwhile; a restart of its process ends that within three seconds.
"""

from __future__ import annotations

from datetime import timedelta

from failoverd.core.again import replace
from failoverd.core.case import Case
from failoverd.core.model import Action, Apart, DropConnection, Folder, Now, Objection, Snapshot, VolumeWatch, Why
from failoverd.core.rules import SITES, App, Site, Volume

APART_FOR = timedelta(seconds=30)
"""How long the same two processes must have contradicted each other. What heals by itself has done so by then: a
side that says connected is asked again every 10 s, and one that has just started dials after 0.6, 5.6, 10.6, 15.6
and 23.6 s, then ever more rarely, up to every 60 s (measured): it was turned away five times. Unheard of for longer
than this they begin anew."""
AGAIN_AFTER = timedelta(minutes=5)
"""Between two attempts at one volume of which the first mended nothing: that would mend nothing at once either. One
that did is forgotten: a node that loses its power again leaves another dead connection; one that did not take place
is made again after `APART_FOR`."""


def watch_connection(seen: VolumeWatch, app: App, volume: Volume, snapshot: Snapshot, now: Now) -> VolumeWatch:
    """Since when the same two processes have contradicted each other; when one was last asked in vain to end that."""
    dropped_at = seen.dropped_at
    if _dropping(app, volume, snapshot):
        dropped_at = now.mono - AGAIN_AFTER + APART_FOR if _refused(app, volume, snapshot) else now.mono
    elif dropped_at is not None and _linked(app, volume, snapshot):
        dropped_at = None
    apart, was = _apart(app, volume, snapshot, now), seen.apart
    if was is not None and now.mono - was.heard <= APART_FOR:
        if apart is None and not _both_read(app, volume, snapshot):
            apart = was  # on a busy node reads fail now and then: none of them says that the connection lives
        elif apart is not None and (was.holder, was.processes) == (apart.holder, apart.processes):
            apart = replace(apart, since=was.since)
    if apart is was and dropped_at == seen.dropped_at:
        return seen
    return replace(seen, apart=apart, dropped_at=dropped_at)


def _dropping(app: App, volume: Volume, snapshot: Snapshot) -> bool:
    """Whether a restart was asked for and goes on, or has just been answered."""
    if not snapshot.in_flight and not snapshot.receipts:
        return False
    begun = snapshot.in_flight | {receipt.action.key for receipt in snapshot.receipts}
    return any(
        DropConnection(app=app.key, volume=volume.name, site=site, started="", reason="").key in begun
        for site in SITES
    )


def _refused(app: App, volume: Volume, snapshot: Snapshot) -> bool:
    """Whether none was made: the answer was no, or none, and the same process is heard again."""
    acts = [receipt.action for receipt in snapshot.receipts if not receipt.ok]
    return any(
        isinstance(act, DropConnection)
        and (act.app, act.volume) == (app.key, volume.name)
        and isinstance(there := snapshot.folders.get((act.app, act.volume, act.site)), Folder)
        and there.started == act.started
        for act in acts
    )


def _linked(app: App, volume: Volume, snapshot: Snapshot) -> bool:
    """Whether both sides say that they are connected."""
    folders = [snapshot.folders.get((app.key, volume.name, site)) for site in SITES]
    return all(isinstance(folder, Folder) and folder.connected for folder in folders)


def _both_read(app: App, volume: Volume, snapshot: Snapshot) -> bool:
    return all(isinstance(snapshot.folders.get((app.key, volume.name, site)), Folder) for site in SITES)


def _apart(app: App, volume: Volume, snapshot: Snapshot, now: Now) -> Apart | None:
    """The contradiction of this tick. A side that cannot be read, or that a human has paused, contradicts nobody."""
    for site in SITES:
        holder = snapshot.folders.get((app.key, volume.name, site))
        other = snapshot.folders.get((app.key, volume.name, site.other))
        if not isinstance(holder, Folder) or not isinstance(other, Folder):
            return None
        if holder.connected and not other.connected and not (holder.peer_paused or other.peer_paused):
            processes = (holder.started, other.started)
            return Apart(holder=site, processes=processes, since=now.mono, heard=now.mono)
    return None


def mend(case: Case, planned: tuple[Action, ...]) -> tuple[list[Action], list[Objection]]:
    """The restarts that are due, beside what is `planned` for this tick, and what is wrong with any connection."""
    acts: list[Action] = []
    dead: list[str] = []
    for volume in case.app.volumes:
        apart = case.seen(volume).apart
        if apart is None or case.now.mono - apart.since < APART_FOR:
            continue
        dead.append(f"{volume.name}: {apart.holder} holds a dead connection, and {apart.holder.other} is turned away")
        heard = apart.heard == case.now.mono
        if heard and not _busy(case, volume, apart.holder, planned) and _due(case, volume):
            acts.append(_drop(case, volume, apart))
    return acts, [*_alarm(Why.DEAD_CONNECTION, dead), *_alarm(Why.PEER_PAUSED, _paused(case))]


def _drop(case: Case, volume: Volume, apart: Apart) -> DropConnection:
    return DropConnection(
        app=case.app.key,
        volume=volume.name,
        site=apart.holder,
        started=apart.processes[0],
        reason=f"{apart.holder} says connected, {apart.holder.other} has said it is not "
        f"for {APART_FOR.total_seconds():.0f} s: the connection is dead",
    )


def _due(case: Case, volume: Volume) -> bool:
    last = case.seen(volume).dropped_at
    return last is None or case.now.mono - last >= AGAIN_AFTER


def _busy(case: Case, volume: Volume, site: Site, planned: tuple[Action, ...]) -> bool:
    """Whether anything is being asked of that very process: a restart would cut it short."""
    mine = f" {case.app.key} {volume.name} {site}"
    return any(key.endswith(mine) for key in case.snapshot.in_flight | {act.key for act in planned})


def _paused(case: Case) -> list[str]:
    """Peers that were paused: a human's doing, said and never undone."""
    return [
        f"{volume.name}: peer paused in the Syncthing of {site}"
        for volume in case.app.volumes
        for site in SITES
        if isinstance(folder := case.folder(volume, site), Folder) and folder.peer_paused
    ]


def _alarm(why: Why, found: list[str]) -> list[Objection]:
    """One alarm for all volumes: a reboot strikes them together, and people are told of each reason once."""
    mended = "it is dropped" if why is Why.DEAD_CONNECTION else "somebody resumes it"
    return [Objection(why=why, text=f"{'; '.join(found)}: nothing replicates until {mended}")] if found else []
