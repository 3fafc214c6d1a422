"""Data age = last possible write - last proof.

A proof: a scan of the active side that found no error, and the standby holding everything of that scan. Percentages
and `connected` prove nothing (measured: 237 of 237 samples said "complete" while the standby was behind).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from failoverd.core import databases, links
from failoverd.core.again import replace
from failoverd.core.case import Case
from failoverd.core.counts import counted
from failoverd.core.memory import Memory
from failoverd.core.model import (
    NEVER_HEARD,
    Action,
    Api,
    Folder,
    Health,
    Now,
    Role,
    Scan,
    Scanned,
    Snapshot,
    Verify,
    VolumeWatch,
    Watch,
)
from failoverd.core.rules import SITES, App, Rules, Site, Volume

COST = 20
"""A scan is asked for no sooner than this many times the last one's duration, so that disks may sleep."""


def watch_replication(rules: Rules, watch: Watch, snapshot: Snapshot, now: Now, active: Mapping[str, Site]) -> Watch:
    """What has been seen of every volume's replication, with this tick's readings and receipts added."""
    volumes = dict(watch.volumes)
    nodes = watch.nodes
    for app in rules.apps:
        for volume in app.volumes:
            key = (app.key, volume.name)
            seen = volumes.get(key, NEVER_HEARD)
            site = active.get(app.key)
            if seen.active is not site:
                seen = replace(seen, scanned=None, scan_asked_at=None, proven_at=None, proven_sequence=0, active=site)
            seen = links.watch_connection(_hear(seen, app, volume, snapshot, now), app, volume, snapshot, now)
            if app.key in active:
                hot = databases.hot(rules, app, snapshot, volume, active[app.key].other)
                seen = _prove(seen, app, volume, active[app.key], snapshot, hot)
            volumes[key] = seen
            mark = f"{app.key} {volume.name}"
            for site in SITES:
                folder = snapshot.folders.get((app.key, volume.name, site))
                if isinstance(folder, Folder) and (name := rules.place(app, site).node) in nodes:
                    known = nodes[name].sequences
                    if mark not in known or known[mark][0] != folder.sequence:
                        changed = {**known, mark: (folder.sequence, now.mono)}
                        nodes = {**nodes, name: replace(nodes[name], sequences=changed)}
    watch = replace(watch, volumes=volumes, nodes=nodes, verified=_verified(watch, snapshot))
    return databases.watch_guards(rules, watch, snapshot, now)


def _verified(watch: Watch, snapshot: Snapshot) -> Mapping[str, str]:
    answers = {
        receipt.action.move: "" if receipt.ok else receipt.detail
        for receipt in snapshot.receipts
        if isinstance(receipt.action, Verify)
    }
    return {**watch.verified, **answers} if answers else watch.verified


def _hear(seen: VolumeWatch, app: App, volume: Volume, snapshot: Snapshot, now: Now) -> VolumeWatch:
    answered = dict(seen.answered_at)
    for site in SITES:
        if isinstance(snapshot.folders.get((app.key, volume.name, site)), Folder):
            answered[site] = now.mono
    asked = seen.scan_asked_at
    if seen.active is not None and snapshot.in_flight:
        scan = Scan(app=app.key, volume=volume.name, site=seen.active, reason="").key
        asked = now.mono if scan in snapshot.in_flight else asked
    return replace(seen, answered_at=answered, scan_asked_at=asked)


def asked(watch: Watch, actions: Iterable[Action], now: Now) -> Watch:
    """`watch` once these actions are begun: `scan_interval` counts from request to request, not from an answer."""
    scans = [act for act in actions if isinstance(act, Scan)]
    if not scans:
        return watch
    volumes = dict(watch.volumes)
    for act in scans:
        seen = volumes.get((act.app, act.volume))
        if seen is not None and seen.active is act.site:
            volumes[act.app, act.volume] = replace(seen, scan_asked_at=now.mono)
    return replace(watch, volumes=volumes)


def _prove(
    seen: VolumeWatch, app: App, volume: Volume, active: Site, snapshot: Snapshot, hot: frozenset[str]
) -> VolumeWatch:
    scanned = seen.scanned
    for receipt in snapshot.receipts:
        act = receipt.action
        if isinstance(act, Scan) and (act.app, act.volume, act.site) == (app.key, volume.name, active):
            scanned = receipt.scanned if receipt.ok and receipt.scanned else scanned
    source, standby = (snapshot.folders.get((app.key, volume.name, site)) for site in (active, active.other))
    if isinstance(source, Folder) and isinstance(standby, Folder) and bool(source.unlike(standby)) is not seen.unlike:
        seen = replace(seen, unlike=not seen.unlike)  # remembered, for of a dead source it cannot be asked
    if isinstance(source, Folder) and source.receive_only:
        scanned = None  # what it keeps to itself is in no scan
    if scanned and isinstance(standby, Folder) and holds(standby, scanned, hot) and not seen.unlike:
        if seen.proven_at is None or scanned.at > seen.proven_at or _ahead(seen.proven_at, snapshot):
            return replace(seen, scanned=scanned, proven_at=scanned.at, proven_sequence=scanned.sequence)
    return seen if scanned is seen.scanned else replace(seen, scanned=scanned)


def _ahead(proven_at: datetime, snapshot: Snapshot) -> bool:
    """Whether a proof is of the future: the API server's clock was ahead, and has been set right."""
    return isinstance(snapshot.api, Api) and proven_at > snapshot.api.date


def remember(
    rules: Rules, memory: Memory, watch: Watch, snapshot: Snapshot, now: Now, *, changed: bool
) -> tuple[Memory, Watch]:
    """Put new proofs into Memory, in batches or when it has `changed` anyway: each write costs the cluster one."""
    due = watch.saved_at is None or now.mono - watch.saved_at >= rules.timings.save_proofs_every
    if not (changed or due or _first(memory, watch)):
        return memory, watch
    apps = dict(memory.apps)
    for (key, name), seen in watch.volumes.items():
        was = apps.get(key)
        if was is None or name not in was.volumes or seen.proven_at is None or was.move is not None:
            continue
        volume = was.volumes[name]
        if volume.proven_at is None or seen.proven_at > volume.proven_at or _ahead(volume.proven_at, snapshot):
            proven = replace(volume, proven_at=seen.proven_at, proven_sequence=seen.proven_sequence)
            apps[key] = replace(was, volumes={**was.volumes, name: proven})
    return replace(memory, apps=apps), replace(watch, saved_at=now.mono)


def _first(memory: Memory, watch: Watch) -> bool:
    """Whether a volume has a proof and none is remembered: to another instance its age would be unknown."""
    for (key, name), seen in watch.volumes.items():
        was = memory.apps.get(key) if seen.proven_at is not None else None
        if was is not None and was.move is None and name in was.volumes and was.volumes[name].proven_at is None:
            return True
    return False


def holds(standby: Folder, scanned: Scanned, hot: frozenset[str] = frozenset()) -> bool:
    """Whether the standby has everything that a scan without errors found, the files in `hot` left out."""
    return (
        only(scanned.errors, scanned.error_files, hot)
        and _same(standby.peer, scanned.device)
        and standby.connected  # else nothing says that what it has heard is of the installation that was scanned
        and standby.type == Role.RECEIVE_ONLY
        and standby.remote_sequence is not None
        and standby.remote_sequence >= scanned.sequence
        and lacks_only(standby, hot)
        and standby.receive_only == 0
        and only(standby.errors, standby.error_files, hot)
        and not standby.error
        and not standby.paused
        and standby.state != ""
    )


def lacks_only(side: Folder, hot: frozenset[str]) -> bool:
    """Whether a side needs nothing, files in `hot` left out."""
    return side.needs_nothing or (side.need_items > 0 and only(side.need_items, side.need_files, hot))


def restless(standby: Folder, hot: frozenset[str]) -> str:
    """How a side is that is not at rest, empty where it is. Files in `hot` alone never let it come to rest."""
    if standby.idle or (hot and _runs(standby) and only(standby.errors, standby.error_files, hot)):
        return ""
    errors = f", {counted(standby.errors, 'error')}" if standby.errors else ""
    return f"{standby.error or standby.state or 'paused'}{errors}"


def _runs(folder: Folder) -> bool:
    return not folder.error and not folder.paused and folder.state not in ("", "error")


def only(count: int, named: tuple[str, ...], hot: frozenset[str]) -> bool:
    """Whether none of so many files counts: each is named, and is one of `hot`."""
    return count == 0 or (0 < count <= len(named) and hot.issuperset(named))


def _same(known: str, scanned: str) -> bool:
    """Whether what the standby has heard is of the installation that was scanned, as far as both are known."""
    return not known or not scanned or known == scanned


def age(case: Case, volume: Volume, last_write: datetime | None = None) -> timedelta | None:
    """Data age of the standby copy of one volume; None where it is unknown (no proof, or negative)."""
    remembered = case.was.volumes.get(volume.name)
    proofs = [case.seen(volume).proven_at, remembered.proven_at if remembered else None]
    proven = max((proof for proof in proofs if proof is not None and proof <= case.date), default=None)
    if proven is None:
        return None
    verdict = case.verdict(case.was.active)
    stopped = verdict.down_since if verdict.health is Health.DOWN else None  # anything less may write still
    last = last_write or stopped or case.date
    measured, database = last - proven, databases.oldest(case, volume)
    if measured < timedelta(0) or (database is not None and database.since is None):
        return None
    return max(measured, last - database.since) if database is not None and database.since else measured


def origin(case: Case, volume: Volume) -> str:
    """What the age of a volume comes from, where that may be something else than its scans; else empty."""
    database = databases.oldest(case, volume)
    if case.rules.guard is None:
        return ""
    remembered = case.was.volumes.get(volume.name)
    proofs = [case.seen(volume).proven_at, remembered.proven_at if remembered else None]
    scan = max((proof for proof in proofs if proof is not None), default=None)
    if database is not None and (database.since is None or scan is None or database.since <= scan):
        return database.text
    return f"scan of {scan:%H:%M:%S}" if scan is not None else "no scan was proven"


def scan_due(case: Case, volume: Volume) -> bool:
    """Whether the active side should be asked for a scan in this tick."""
    seen, active = case.seen(volume), case.folder(volume, case.was.active)
    if not isinstance(active, Folder) or active.state not in ("idle", "syncing"):
        return False
    took = seen.scanned.took if seen.scanned else timedelta(0)
    wait = max(case.rules.timings.scan_interval, COST * took)
    return seen.scan_asked_at is None or case.now.mono - seen.scan_asked_at >= wait
