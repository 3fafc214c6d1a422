"""A while of random faults: never two writers, every app up on one side at the end, memory flat, refusals explained.

`make soak` plays an hour; here it is six minutes. `SOAK_SEED` and `SOAK_MINUTES` in the environment choose others.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from datetime import datetime
from functools import partial

import pytest

from tests.e2e.daemon import Table, until
from tests.e2e.soak import SETTLE, Soak, Watcher
from tests.e2e.world import APPS, NODE, Row, World, figure
from tests.lab.manifests.apps import Volume
from tests.weight import FLAT, grown

MINUTES = float(os.environ.get("SOAK_MINUTES", "4.5"))
"""Of faults; with what it takes to be well again it is about a minute and a half more."""
SEED = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(1_000_000))
MAY = 110
"""What the daemon may weigh, MiB."""


@pytest.mark.timeout(60 * MINUTES + SETTLE + 240)
def test_random_faults(world: World) -> None:
    world.begin()
    before = world.all_missing("primary")
    soak = Soak(world, SEED)
    print(f"SOAK_SEED={SEED} SOAK_MINUTES={MINUTES:g}")
    with Watcher(world) as watcher:
        soak.run(MINUTES * 60)
        calm = time.monotonic()
        world.lab.restore()
        if world.daemon.pid is None:
            world.daemon.start()
        sites = {name: until(partial(rests, world, name), SETTLE, f"{name} rests") for name in APPS}
        faults = ", ".join(f"{count} {what}" for what, count in soak.told.items())
        figure(f"soak, seed {SEED}: {faults}; all apps at rest {time.monotonic() - calm:.0f} s after the last")
    # Git's last word is what runs, once everybody is home; those who stayed away hold it back until then.
    until(lambda: at_home_as_committed(soak, sites), 120, "every app at home is as committed")
    for name in APPS:
        assert world.two_writers(name) == 0, f"{name}: two writers although fenced"
        assert world.events(name, NODE[sites[name]], "broken") == []
        for volume in APPS[name].volumes:
            node = NODE[sites[name]]
            assert world.gone(node, name, volume) == set(), f"{name} {volume.name}: gone without a trace"
            lost = world.missing(node, name, volume) - before[name, volume.name]
            left = [row for row in world.elsewhere(node, name, volume) if row.n in lost]
            assert lost <= {row.n for row in left if stated(world, name, volume, row)}, (
                f"{name} {volume.name}: {left}"
            )
        moves = [one for one in world.moves(name) if one["kind"] != "hold"]
        assert len({one["id"] for one in moves}) == len(moves), moves
        # "aborted: …": whatever did not end as it was meant to says why.
        assert [one for one in moves if one["outcome"] != "done" and not one["outcome"].partition(": ")[2]] == []
        told = Counter(f"{one['kind']} {one['outcome']}" for one in moves)
        figure(f"soak: {name}: {', '.join(f'{count} {what}' for what, count in told.items()) or 'no move'}")
    assert world.conflicts() == []
    assert watcher.untold() == []
    weights = watcher.weights()
    growth, most = grown(weights), max(one.mib for one in weights)
    lives = len({one.pid for one in weights})
    figure(f"soak: {len(weights)} looks, {lives} lives, {most:.0f} MiB at most, the floor rose by {growth:.1f}")
    assert growth <= FLAT, "it grows"
    assert most <= MAY


def rests(world: World, name: str) -> str | None:
    """The site at which an app is Ready with a clean standby; raises AssertionError or is None while it is not."""
    app: Table = world.daemon.app(name)
    world.well(app, app["active"])
    return str(app["active"]) if world.ready_on(name) == NODE[app["active"]] else None


def stated(world: World, name: str, volume: Volume, row: Row) -> bool:
    """Whether a failover has said that what was written then may be lost."""
    for move in world.moves(name):
        for loss in move.get("losses", ()):
            last = datetime.fromisoformat(move["last_write_at"]).timestamp()
            if loss["volume"] == volume.name and last - (loss["age_seconds"] or 0) <= row.at <= last:
                return True
    return False


def at_home_as_committed(soak: Soak, sites: dict[str, str]) -> bool:
    """Whether every app that is at home is of the last revision in Git."""
    found = soak.revisions()
    stale = {
        name: found[name] for name, site in sites.items() if site == "primary" and found[name] != str(soak.revision)
    }
    assert stale == {}, f"Git has revision {soak.revision}"
    return True
