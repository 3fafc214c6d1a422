"""A year of troubles at the primary, drawn by seed, and what the daemon makes of it by some rules."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from failoverd.core.memory import Kind, Move, worst
from failoverd.core.model import Decision, Now, Snapshot
from failoverd.core.rules import Rules
from failoverd.simulator.clock import run, until
from failoverd.simulator.daemons import Daemons
from failoverd.simulator.leap import Leaper
from failoverd.simulator.ports import Recorder
from failoverd.simulator.world import World
from failoverd.simulator.world_faults import inject
from failoverd.simulator.world_spec import WorldSpec

YEAR_MS = 365 * 86_400_000
SLOT_MS = 4 * 3_600_000
"""One trouble at a time: each has so long to begin, to end, and to be recovered from."""
LONGEST_MS = SLOT_MS // 2
"""Milliseconds a trouble may last, so that the app is home again, or as good as home, before the next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that happens to the primary, so often a year, for a while between two bounds."""

    name: str
    begin: str
    """Fault commands with `{node}` and `{ms}`, as scenario files have them."""
    end: str = ""
    death: bool = False
    """Whether a failover is what one wants; after anything else it was needless."""
    down: bool = True
    """Whether the app is out of reach while it lasts."""
    a_year: float
    shortest_ms: int
    longest_ms: int


TROUBLES: tuple[Trouble, ...] = (
    Trouble(
        name="power", begin="power_off {node}", end="power_on {node}", death=True,
        a_year=4, shortest_ms=600_000, longest_ms=LONGEST_MS,
    ),
    Trouble(name="reboot", begin="reboot {node} {ms}ms", a_year=12, shortest_ms=6_000, longest_ms=120_000),
    Trouble(
        name="cut", begin="cut {node}", end="heal {node}",
        a_year=26, shortest_ms=5_000, longest_ms=300_000,
    ),
    Trouble(name="stall", begin="stall_api {ms}ms", down=False, a_year=26, shortest_ms=2_000, longest_ms=60_000),
)  # fmt: skip
"""Not measured: a guess at a small site with a switch that is restarted now and then. `--trouble` says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One trouble of a year."""

    trouble: Trouble
    at_ms: int
    takes_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What came of one trouble."""

    happening: Happening
    ready_ms: tuple[int, ...]
    """From its beginning until each app that was moved for it was Ready at the other site."""
    stuck: int = 0
    """Apps whose move began and did not end while the trouble was the last one."""
    at_risk: float | None = 0.0
    """Seconds of writing that the worst of its moves stated as lost; None where an age was unknown."""

    @property
    def moved(self) -> bool:
        """Whether any app was moved for it."""
        return bool(self.ready_ms) or self.stuck > 0

    @property
    def outage_ms(self) -> int:
        """How long the last app was out of reach, as far as this trouble and its move go."""
        if self.ready_ms:
            return max(self.ready_ms)
        return self.happening.takes_ms if self.happening.trouble.down or self.stuck else 0


def draw(troubles: Sequence[Trouble], years: float, seed: int) -> list[Happening]:
    """The troubles of so many years: as many of each as it says, at any time, none while another lasts.

    Durations are spread evenly over their logarithm: short troubles are more frequent than long ones.
    Raises ValueError when there are more than fit.
    """
    chance = random.Random(seed)  # noqa: S311 - repeatable on purpose, nothing is kept secret by it
    due = [one for one in troubles for _ in range(round(one.a_year * years))]
    slots = int(years * YEAR_MS) // SLOT_MS
    if len(due) > slots:
        raise ValueError(f"{len(due)} troubles do not fit in {years:g} years: at most {slots}, one in 4 hours")
    found = []
    for trouble, slot in zip(due, chance.sample(range(slots), len(due)), strict=True):
        spread = math.log(trouble.longest_ms / trouble.shortest_ms)
        takes_ms = int(trouble.shortest_ms * math.exp(chance.random() * spread))
        at_ms = slot * SLOT_MS + 600_000 + chance.randrange(0, 60_000)
        found.append(Happening(trouble=trouble, at_ms=at_ms, takes_ms=takes_ms))
    return sorted(found, key=lambda one: one.at_ms)


@dataclass(slots=True)
class _Ear:
    """Every move that was ever remembered, as it was at last."""

    moves: dict[tuple[str, str], Move] = field(default_factory=dict)

    def hear(self, decision: Decision, _: Snapshot, __: Now) -> None:
        for key, was in decision.memory.apps.items():
            for move in was.moves if was.move is None else (*was.moves, was.move):
                self.moves[key, move.id] = move


def play(rules: Rules, happenings: Sequence[Happening], seed: int) -> list[Made]:
    """Live through these troubles with the primary of the first app's pair as their victim."""
    world = World(WorldSpec(rules=rules, seed=seed))
    node = rules.pair(rules.apps[0]).primary.node
    ear = _Ear()

    async def live() -> None:
        daemons = Daemons(world, Recorder(ear.hear), 1, Leaper(world))
        daemons.start()
        for one in happenings:
            words = {"node": node, "ms": one.takes_ms}
            await until(world, one.at_ms)
            inject(world, one.trouble.begin.format(**words))
            if one.trouble.end:
                await until(world, one.at_ms + one.takes_ms)
                inject(world, one.trouble.end.format(**words))
            daemons.check()
        await until(world, max((one.at_ms for one in happenings), default=0) + SLOT_MS)
        daemons.check()

    run(world, live())
    moves = [move for move in ear.moves.values() if move.kind is Kind.FAILOVER]
    ends = [one.at_ms for one in happenings[1:]] + [math.inf]
    began = world.spec.beginning
    return [
        _made(one, [move for move in moves if one.at_ms <= _ms(move.began_at - began) < end], began)
        for one, end in zip(happenings, ends, strict=True)
    ]


def _made(happening: Happening, moves: Iterable[Move], began: datetime) -> Made:
    kept = [move for move in moves if not move.aborted]
    ready = [at for move in kept for name, at in move.marks if name == "ready"]
    return Made(
        happening=happening,
        ready_ms=tuple(_ms(at - began) - happening.at_ms for at in ready),
        stuck=len(kept) - len(ready),
        at_risk=worst(loss.age_seconds for move in kept for loss in move.losses),
    )


def _ms(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)
