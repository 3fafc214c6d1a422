"""How the readings of an idle tick look: what comes and goes in a quiet stretch, not what merely counts on.

Of two ticks that look alike `decide` says the same, but for what grows older, which crosses a threshold once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime
from operator import attrgetter

from failoverd.core import databases
from failoverd.core.memory import NOTHING_KNOWN, Memory
from failoverd.core.model import Api, Folder, GuardReading, Unknown
from failoverd.core.points import Observed
from failoverd.core.rules import SITES, App, Rules, Site, Volume
from failoverd.simulator.idle_tick import Tick

EVER = datetime(2000, 1, 1, tzinfo=UTC)
_SHAPE = attrgetter(*[one.name for one in fields(Folder) if one.name not in ("sequence", "remote_sequence")])

Shapes = dict[int, tuple[Observed, Observed]]
"""By ids: what guards said, and the same without its times and numbers."""


def looks(rules: Rules, index: int, tick: Tick, shapes: Shapes) -> object:
    """What can be compared of a tick of the instance at `index`."""
    date = tick.snapshot.api.date if isinstance(tick.snapshot.api, Api) else None
    found: list[object] = []
    for app in rules.apps:
        for volume in app.volumes:
            here, there = (tick.snapshot.folders[app.key, volume.name, site] for site in SITES)
            heard = tick.carried[1].volumes[app.key, volume.name]
            old = heard.proven_at is None or date is None or date - heard.proven_at > app.max_data_age
            changing = heard.scanned is not None and heard.scanned.errors > 0
            found += (_shape(here), _shape(there), _behind(here, there), _behind(there, here), old, changing)
            if tick.snapshot.guards:
                found += [one for site in SITES for one in _guard(tick, app, volume, site, shapes)]
    memory = tick.memory if isinstance(tick.memory, Memory) else Memory()
    # a guest that was not seen running while its lease moved is mapped in the very tick in which it moves
    for name, node in tick.carried[1].nodes.items():
        if memory.nodes.get(name, NOTHING_KNOWN).mapped != rules.fence_hash:
            found.append(node.stamp_moved_at == tick.now.mono)
    return index, tuple(found)


def _shape(folder: Folder | Unknown) -> object:
    return _SHAPE(folder) if isinstance(folder, Folder) else folder


def _behind(one: Folder | Unknown, other: Folder | Unknown) -> bool | None:
    if isinstance(one, Unknown) or isinstance(other, Unknown) or one.remote_sequence is None:
        return None
    return one.remote_sequence < other.sequence


def _guard(tick: Tick, app: App, volume: Volume, site: Site, shapes: Shapes) -> Iterator[object]:
    """What the guard of one copy says, whether it is heard, and how its points stand to those at the other side."""
    read = tick.snapshot.guards[app.key, volume.name, site]
    if not isinstance(read, GuardReading):
        yield read
        return
    heard = tick.carried[1].guards.get((app.key, volume.name, site), databases.NEVER)
    silent = heard.heard_at is None or tick.now.mono - heard.heard_at > databases.SILENT_AFTER
    yield from (read.trouble, read.wanted, silent, databases.after_order(heard))
    if read.observed is None:
        return
    yield _timeless(read.observed, shapes)
    beside = tick.snapshot.guards[app.key, volume.name, site.other]
    if isinstance(beside, GuardReading) and beside.observed is not None and isinstance(tick.snapshot.api, Api):
        yield from _points(read.observed, beside.observed, app, tick.snapshot.api.date)


def _timeless(said: Observed, shapes: Shapes) -> Observed:
    known = shapes.get(id(said))
    if known is None:
        kept = tuple([replace(one, serial=0, made_at=EVER, current_at=EVER, oldest=None) for one in said.kept])
        proven = tuple([replace(one, serial=0, made_at=EVER) for one in said.proven])
        known = shapes[id(said)] = said, replace(said, at=EVER, kept=kept, proven=proven)
    return known[1]


def _points(there: Observed, here: Observed, app: App, date: datetime) -> Iterator[object]:
    """Of every point that opens `there`: whether it is the one of now, too old, or of something long gone `here`."""
    kept = {one.database: one for one in here.kept}
    for one in there.proven:
        found = kept.get(one.database)
        newest = found is not None and found.serial == one.serial and found.current_at > one.made_at
        since = found.current_at if found is not None and newest else one.made_at
        yield newest, date - since > app.max_data_age, since > date, here.at - one.made_at > databases.GONE_AFTER
