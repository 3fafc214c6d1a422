"""Whether the simulator's sweep predicts what the lab measures: from a power cut until every app is Ready elsewhere.

Each case is one value of a duration; the rules are those of the very configuration the lab's daemon runs with.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.bars import Figure
from benchmarks.lab import cut
from failoverd.config import load
from failoverd.simulator.year import TROUBLES, draw, play
from tests.e2e.world import World

DEATHS = 40
"""Power losses a year that a prediction is the median of."""
SEED = 1
APART = 0.2
"""How far a prediction may be off, as a share of what the lab measures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is asked of both."""

    name: str
    settings: dict[str, Any]


CASES = (
    Case(name="proof_after 10 s", settings={"fence": True}),
    Case(name="silence_after 60 s", settings={"fence": False, "failover": {"require": "silence"}}),
    Case(
        name="silence_after 90 s",
        settings={"fence": False, "failover": {"require": "silence", "silence_after": "90s"}},
    ),
)


def figures(world: World, runs: int) -> Iterator[Figure]:
    """Every case. Raises AssertionError where a run did not end as it must."""
    for case in CASES:
        seen = []
        for run in range(runs):
            world.begin(fast=False, **case.settings)
            seen.append(cut(world, run)["ready"])
            print(f"{case.name} {run + 1}/{runs}: {seen[-1]:.1f} s", file=sys.stderr, flush=True)
        expected = predicted(world)
        yield Figure(name=f"{case.name}: every app Ready, predicted", samples=(expected,), unit="s")
        yield Figure(name=f"{case.name}: every app Ready, in the lab", samples=tuple(seen), unit="s")
        ratio = expected / statistics.median(seen)
        name = f"{case.name}: predicted, as a share of the lab's"
        yield Figure(name=name, samples=(ratio,), unit="", at_least=1 - APART, at_most=1 + APART)


def predicted(world: World) -> float:
    """What the simulator makes of the daemon's present configuration, median of its year."""
    rules = load(world.daemon.config, files=False).rules
    power = next(replace(one, a_year=DEATHS) for one in TROUBLES if one.name == "power")
    made = play(rules, draw([power], 1, SEED), SEED)
    return statistics.median(max(one.ready_ms) / 1000 for one in made)
