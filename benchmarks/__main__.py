"""`python -m benchmarks [NAME …]`: exit 1 when a bar is missed or a run did not end as it must, 2 when the machine
cannot run a benchmark.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks import copies, predicted, simulated, steady_state
from benchmarks.bars import Figure, table
from benchmarks.lab import BENCHES, furnished
from benchmarks.lab import figures as in_the_lab
from tests.lab.commands import require_machine
from tests.lab.layout import LabError

EMBEDDED, SIMULATED, COPIES, PREDICTED = "steady_state", "simulated", "copies", "predicted"
RUNS = 5


def measured(names: list[str], runs: int, seconds: float) -> Iterator[Figure]:
    """Every figure of these benchmarks."""
    lab_names = [name for name in names if name in (*BENCHES, COPIES, PREDICTED)]
    if lab_names:
        require_machine()
    if SIMULATED in names:
        yield from simulated.figures(runs)
    if EMBEDDED in names:
        yield from steady_state.figures(seconds)
    if lab_names:
        with furnished() as world:
            for name in lab_names:
                if name == COPIES:
                    yield from copies.figures(world)
                elif name == PREDICTED:
                    yield from predicted.figures(world, runs)
                else:
                    yield from in_the_lab(world, name, runs)


def main() -> int:
    """Run what was asked for, all by default."""
    known = [SIMULATED, EMBEDDED, *BENCHES, PREDICTED, COPIES]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what README.md claims.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(known)} (default: all)")
    parser.add_argument(
        "--runs",
        type=int,
        default=RUNS,
        help="runs in the lab and the simulator, of which the median counts (%(default)s)",
    )
    parser.add_argument("--seconds", type=float, default=120, help="how long to watch a steady state (%(default)s)")
    parser.add_argument("--json", type=Path, default=None, help="write the figures to this file as well")
    given = parser.parse_args()
    if unknown := set(given.names) - set(known):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}: there are {', '.join(known)}")
    figures: list[Figure] = []
    try:
        for figure in measured(given.names or known, given.runs, given.seconds):
            figures.append(figure)
            print("  ".join(cell for cell in figure.row() if cell), file=sys.stderr, flush=True)
    except LabError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except (AssertionError, RuntimeError) as error:
        print(f"benchmarks: {' / '.join(str(error).splitlines())}", file=sys.stderr)
        return 1
    print(table(figures))
    if given.json:
        machine = f"{platform.machine()}, Python {platform.python_version()}"
        record = [{**asdict(one), "median": one.median, "good": one.good} for one in figures]
        given.json.write_text(json.dumps({"machine": machine, "figures": record}, indent=1) + "\n")
    return 0 if all(figure.good for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
