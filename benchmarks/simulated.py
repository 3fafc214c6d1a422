"""How fast the simulator is, in seconds of this process's CPU: bad days, and hours with a fault a day."""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.bars import Figure
from failoverd.simulator.chaos import judge
from failoverd.simulator.chaos_schedule import draw
from failoverd.simulator.clock import run, until
from failoverd.simulator.daemons import Daemons
from failoverd.simulator.leap import Leaper
from failoverd.simulator.ports import Recorder
from failoverd.simulator.scenario_world import spec_of
from failoverd.simulator.simulate import NAMED, commands
from failoverd.simulator.world import World
from failoverd.simulator.world_faults import inject

DAY_MS = 86_400_000
SEEDS = range(500_000, 500_040)
WORLD = "world seed={seed} fence=k3s-w1,k3s-w2 failback=auto max_moves=6"


def schedules_a_second(seeds: Sequence[int]) -> float:
    """Bad days a second on one core."""
    days = [draw(seed) for seed in seeds]
    began = time.process_time()
    for day in days:
        judge(day)
    return len(days) / (time.process_time() - began)


def hours_a_second(faults: Sequence[str], seed: int) -> float:
    """Simulated hours a second of CPU: one app, these faults, one a day."""
    world = World(spec_of(WORLD.format(seed=seed)))
    happenings = [
        (day * DAY_MS + 3_600_000 + after, command)
        for day, fault in enumerate(faults)
        for after, command in commands(world.spec.rules, fault)
        if command.startswith("fault ")
    ]

    async def live() -> None:
        daemons = Daemons(world, Recorder(), 1, Leaper(world))
        daemons.start()
        for at_ms, command in sorted(happenings):
            await until(world, at_ms)
            inject(world, command.removeprefix("fault "))
        await until(world, len(faults) * DAY_MS)
        daemons.check()

    began = time.process_time()
    run(world, live())
    return len(faults) * 24 / (time.process_time() - began)


def figures(runs: int) -> list[Figure]:
    """The bars of the simulator. A named fault that takes a command or a restart is left out: its day is quiet."""
    mixed = [named.text for named in NAMED if "for good" not in named.text]
    part = len(SEEDS) // runs
    return [
        Figure(
            name="chaos schedules a second, one core",
            samples=tuple(schedules_a_second(SEEDS[run * part : (run + 1) * part]) for run in range(runs)),
            unit="/s",
            at_least=10,
        ),
        Figure(
            name="simulated hours a CPU second, a power cut a day",
            samples=tuple(hours_a_second([NAMED[0].text] * 5, run) for run in range(runs)),
            unit="h/s",
            at_least=1_000,
        ),
        Figure(
            name="simulated hours a CPU second, another fault each day",
            samples=tuple(hours_a_second(mixed, run) for run in range(runs)),
            unit="h/s",
        ),
        Figure(
            name="simulated hours a CPU second, quiet",
            samples=tuple(quiet_hours_a_second(run) for run in range(runs)),
            unit="h/s",
        ),
    ]


def quiet_hours_a_second(seed: int) -> float:
    """The same without any fault, for a month."""
    world = World(spec_of(WORLD.format(seed=seed)))

    async def live() -> None:
        Daemons(world, Recorder(), 1, Leaper(world)).start()
        await until(world, 30 * DAY_MS)

    began = time.process_time()
    run(world, live())
    return 720 / (time.process_time() - began)
