"""How fast the simulator is, in seconds of this process's CPU: bad days, and hours with a fault a day."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

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
from scripts import compiled

DAY_MS = 86_400_000
SEEDS = range(500_000, 500_040)
WORLD = "world seed={seed} fence=k3s-w1,k3s-w2 failback=auto max_moves=6"

CHAOS, CUTS = "chaos schedules a second, one core", "simulated hours a CPU second, a power cut a day"
MIXED, QUIET = "simulated hours a CPU second, another fault each day", "simulated hours a CPU second, quiet"
BARS = {CHAOS: 10, CUTS: 1_000}


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


def quiet_hours_a_second(seed: int) -> float:
    """The same without any fault, for a month."""
    world = World(spec_of(WORLD.format(seed=seed)))

    async def live() -> None:
        Daemons(world, Recorder(), 1, Leaper(world)).start()
        await until(world, 30 * DAY_MS)

    began = time.process_time()
    run(world, live())
    return 720 / (time.process_time() - began)


def samples(runs: int) -> dict[str, list[float]]:
    """By what they are of, a second of this process's CPU. A named fault that takes a command or a restart is left
    out: its day is quiet."""
    mixed = [named.text for named in NAMED if "for good" not in named.text]
    part = len(SEEDS) // runs
    hours_a_second([NAMED[0].text], 0)  # what is looked up once is known then
    return {
        CHAOS: [schedules_a_second(SEEDS[run * part : (run + 1) * part]) for run in range(runs)],
        CUTS: [hours_a_second([NAMED[0].text] * 5, run) for run in range(runs)],
        MIXED: [hours_a_second(mixed, run) for run in range(runs)],
        QUIET: [quiet_hours_a_second(run) for run in range(runs)],
    }


def figures(runs: int) -> Iterator[Figure]:
    """Interpreted, and compiled as `make chaos` plays; the bars are of that. Raises RuntimeError: not compiled."""
    yield from _figures("interpreted", samples(runs), judged=False)
    try:
        folder = compiled.build(compiled.compiler(), compiled.modules())
    except compiled.NotCompiled as why:
        raise RuntimeError(f"not compiled: {why}") from None
    where = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{compiled.ROOT}"}
    command = [sys.executable, "-P", "-m", "benchmarks.simulated", str(runs)]
    ran = subprocess.run(command, env=where, capture_output=True, text=True, check=True)
    yield from _figures("compiled", json.loads(ran.stdout), judged=True)


def _figures(how: str, found: dict[str, list[float]], *, judged: bool) -> Iterator[Figure]:
    for name, each in found.items():
        unit, bar = ("/s" if name == CHAOS else "h/s"), BARS.get(name) if judged else None
        yield Figure(name=f"{name}, {how}", samples=tuple(each), unit=unit, at_least=bar)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(samples(int(sys.argv[1]))))
