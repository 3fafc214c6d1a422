"""The barrier of a planned move: scans of both sides of every volume, and whether they prove both equal."""

from __future__ import annotations

from collections.abc import Mapping

from failoverd.core import guarding
from failoverd.core.case import Case
from failoverd.core.counts import counted
from failoverd.core.intent import marked
from failoverd.core.memory import Move
from failoverd.core.model import Action, Folder, Role, Scan, Unknown
from failoverd.core.rules import SITES, Site, Volume

Scans = tuple[tuple[str, Site, int, str], ...]


def settling(case: Case) -> str:
    """What has to end before a planned move may stop the app, and again before its barrier; empty where nothing."""
    # Its receipt would be taken for the barrier's; asked of a dead side it only ends when it times out.
    if any(key.startswith(f"Scan {case.app.key} ") for key in case.snapshot.in_flight):
        return "a scan under way to end"
    return guarding.busy(case)


def compare(case: Case, move: Move) -> tuple[Scans, tuple[Action, ...], list[str]]:
    """The scans that stand, those still wanted, and what is missing; nothing wanted and missing means equal."""
    known = {(name, site): (sequence, started) for name, site, sequence, started in move.scanned}
    for receipt in case.snapshot.receipts:
        act = receipt.action
        if isinstance(act, Scan) and act.app == case.app.key and receipt.ok and receipt.scanned:
            if receipt.scanned.errors == 0 and receipt.scanned.at >= (marked(move, "stopped") or case.date):
                known[act.volume, act.site] = (receipt.scanned.sequence, receipt.scanned.started)
    wanted: list[Action] = []
    missing: list[str] = []
    for volume in case.app.volumes:
        for site in SITES:
            folder = case.folder(volume, site)
            if isinstance(folder, Unknown):
                missing.append(f"{volume.name} at {site}: {folder.why}")
            elif known.get((volume.name, site), (0, ""))[1] != folder.started:
                known.pop((volume.name, site), None)
                wanted.append(Scan(app=case.app.key, volume=volume.name, site=site, reason="barrier"))
                missing.append(f"{volume.name} at {site} to be scanned")
        unequal = "" if wanted or missing else _unequal(case, volume, known)
        if unequal:
            missing.append(f"{volume.name}: {unequal}")
            stale = _stale(case, volume, known)
            wanted += [Scan(app=case.app.key, volume=volume.name, site=site, reason="barrier") for site in stale]
    scans = tuple((name, site, sequence, started) for (name, site), (sequence, started) in known.items())
    return scans, tuple(wanted), missing


def _stale(case: Case, volume: Volume, known: Mapping[tuple[str, Site], tuple[int, str]]) -> list[Site]:
    """Sides whose index moved on since their scan: compared again from a new one."""
    moved_on = []
    for site in SITES:
        folder = case.folder(volume, site)
        if isinstance(folder, Folder) and folder.sequence != known[volume.name, site][0]:
            moved_on.append(site)
    return moved_on


def _unequal(case: Case, volume: Volume, known: Mapping[tuple[str, Site], tuple[int, str]]) -> str:
    source = case.was.active
    active, standby = case.folder(volume, source), case.folder(volume, source.other)
    assert isinstance(active, Folder)
    assert isinstance(standby, Folder)
    sequence = known[volume.name, source][0]
    if odd := active.incomparable(standby) or _kept(active, source):
        return odd
    if active.errors or active.error:
        return f"{counted(active.errors, 'error')} at {source}: {', '.join(active.error_files[:3]) or active.error}"
    if not standby.idle:
        return f"{source.other} is {standby.error or standby.state}, {counted(standby.errors, 'error')}"
    if not standby.needs_nothing:
        return f"{source.other} needs {counted(standby.need_items, 'item')}"
    if standby.receive_only:
        return f"{counted(standby.receive_only, 'item')} that only {source.other} has"
    if not active.needs_nothing:
        return f"{source} lacks {counted(active.need_items, 'item')} that only {source.other} has"
    if active.remote_sequence is None or active.remote_sequence < known[volume.name, source.other][0]:
        return f"{source} has heard of {active.remote_sequence or 0} of {known[volume.name, source.other][0]}"
    if active.sequence != sequence:
        return f"{source} changed after its scan"
    if standby.remote_sequence != sequence:
        return f"{source.other} has heard of {standby.remote_sequence or 0} of {sequence}"
    return ""


def _kept(active: Folder, source: Site) -> str:
    """Why the active side may have what it tells nobody of: in that both sides look equal."""
    if active.type == Role.SEND_ONLY and not active.receive_only:
        return ""
    return f"{source} is {active.type}, with {counted(active.receive_only, 'item')} of its own"
