"""A sample of `make kills-real`: the daemon ended by SIGKILL in mid-move, and turned away, at a real API server.

It brings a control plane of its own, on loopback, and needs no lab. What is drawn is printed; the same seed draws the
same again. All of them: docs/resumption.md.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.e2e.world import figure
from tests.kill import kills, real_faults
from tests.kill.chains import SUCCESSORS, Found, Link, play
from tests.kill.plane import Plane, running
from tests.kill.real import dullness, points
from tests.kill.stories import STORIES
from tests.kill.virtual import run
from tests.lab import cache

ROWS = (("switchover", "failback"), ("failover", "take-back"))
"""Moves one after another in one world; which, is drawn."""


@pytest.fixture
def plane() -> Iterator[Plane]:
    kube = cache.ensure().kube
    with tempfile.TemporaryDirectory(prefix="failoverd-plane-") as name, running(Path(name), kube) as found:
        yield found


def drawn(story: str, chance: random.Random) -> Link:
    """An act or a save of the story, as a rule; now and then a read or our own bookkeeping."""
    calls, undisturbed = run(kills.record(STORIES[story]))
    assert undisturbed.wrong == []
    found = points(story, calls, chance.sample(SUCCESSORS, 2))
    return chance.choice([link for link in found if dullness(link) == 1] + chance.sample(found, 8))


def played(plane: Plane, row: list[Link]) -> list[Found]:
    """In a process of its own."""
    found: list[Found] = []
    play(plane, row, found.append)
    return found


@pytest.mark.timeout(400)
def test_killed_and_turned_away_at_a_real_api_server_moves_end_well(plane: Plane):
    seed = random.randrange(1_000_000)
    chance = random.Random(seed)
    rows = [[drawn(story, chance) for story in chance.choice(ROWS)]]
    fault = chance.choice([real_faults.ROTATED, real_faults.WITHDRAWN, "409", "lost"])
    call = "stopping | PATCH deployments/sonarr reconcile=disabled epoch active=primary replicas=0"
    lasting = fault in (real_faults.ROTATED, real_faults.WITHDRAWN)
    rows.append([Link(story="switchover", call=call if lasting else "*", side="", successor="", fault=fault)])
    moves = ", ".join(link.name for row in rows for link in row)
    figure(f"killed and turned away at a real API server, seed {seed}: {moves}")
    with get_context("spawn").Pool(len(rows)) as pool:
        results = pool.starmap(played, [(plane, row) for row in rows])
        pool.close()
        pool.join()
    for row, found in zip(rows, results, strict=True):
        assert [one.name for one in found] == [link.name for link in row]
        for one in found:
            assert one.wrong == [], one.name
    assert all(one.reached for one in results[-1]), f"{fault} hit nothing"
    assert any(one.reached for found in results[:-1] for one in found), "nobody was killed"
