"""`python -m failoverd.simulator.chaos`: seeds not played before, on every core, until they are done or stopped."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from dataclasses import asdict, dataclass, field
from multiprocessing import Pool
from pathlib import Path

from failoverd.clock import SystemClock
from failoverd.simulator.chaos import Verdict, judge, shrink
from failoverd.simulator.chaos_schedule import draw

STATE = Path("build/chaos.json")
SAVED_EVERY = 10
"""Schedules: so many at most are played again after a run that was killed."""


@dataclass(slots=True)
class Tally:
    """What has been played so far, kept between runs so that no seed is played twice."""

    next_seed: int = 0
    played: int = 0
    moves: int = 0
    hours: float = 0.0
    """Simulated."""
    seconds: float = 0.0
    """Real."""
    failed: list[int] = field(default_factory=list)
    """Seeds whose day broke a promise when it was played."""

    def add(self, verdict: Verdict) -> None:
        """Count one more day."""
        self.played += 1
        self.moves += verdict.moves
        self.hours += verdict.hours
        if verdict.accused:
            self.failed.append(verdict.schedule.seed)

    def text(self) -> str:
        """One line for people."""
        return (
            f"{self.played} schedules, {self.hours:.0f} simulated hours, {self.moves} moves, "
            f"{len(self.failed)} with violations, {self.played / max(self.seconds, 0.001):.1f} schedules/s"
        )


def play(seed: int) -> Verdict:
    """Play one seed's day."""
    return judge(draw(seed))


def explain(verdict: Verdict) -> str:
    """A violation as a small scenario file with what was broken above it."""
    small = shrink(verdict)
    said = [f"{at_ms / 1000:.1f} s {promise}: {text}" for at_ms, promise, text in small.accused]
    cut = ["then, at rest, the node of the first app loses power"] if small.schedule.last_cut else []
    story = "\n# ".join([f"chaos seed {verdict.schedule.seed}", *said[:5], *cut])
    return small.schedule.text(story)


def load(path: Path) -> Tally:
    """What earlier runs left. Raises OSError, ValueError."""
    return Tally(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else Tally()


def save(path: Path, tally: Tally) -> None:
    """Keep it for the next run, whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(asdict(tally), indent=1) + "\n", encoding="utf-8")
    draft.replace(path)


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 when no promise was broken, 1 when one was, 2 for what cannot be understood, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m failoverd.simulator.chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, metavar="N", help="how many schedules (1000)")
    parser.add_argument("--from", dest="first", type=int, metavar="SEED", help="else after the last one played")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (all cores)")
    parser.add_argument("--state", type=Path, default=STATE, metavar="FILE", help=f"what was played ({STATE})")
    given = parser.parse_args(arguments)
    try:
        tally = load(given.state)
    except (OSError, ValueError, TypeError) as error:
        sys.stderr.write(f"chaos: {given.state}: {error}: mend or delete it\n")
        return 2
    first = tally.next_seed if given.first is None else given.first
    return _run(range(first, first + given.seeds), given.jobs, given.state, tally)


def _run(seeds: range, jobs: int, state: Path, tally: Tally) -> int:
    before, clock = Tally(next_seed=tally.next_seed), SystemClock()
    began, earlier = clock.now().mono, tally.seconds
    asked: list[int] = []
    usual = signal.signal(signal.SIGINT, lambda number, _: asked.append(number))
    try:
        with Pool(jobs, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
            for verdict in pool.imap(play, seeds, chunksize=4):
                for one in (tally, before):
                    one.add(verdict)
                    one.next_seed = max(one.next_seed, verdict.schedule.seed + 1)
                before.seconds = (clock.now().mono - began).total_seconds()
                tally.seconds = earlier + before.seconds
                if verdict.accused:
                    sys.stdout.write(explain(verdict) + "\n")
                    sys.stdout.flush()
                if verdict.accused or before.played % SAVED_EVERY == 0:
                    save(state, tally)
                if asked:  # no sooner: what was counted is whole
                    break
    finally:
        signal.signal(signal.SIGINT, usual)
    save(state, tally)
    played = f"seeds {seeds.start} to {seeds.start + before.played - 1}"
    sys.stdout.write(f"{played}: {before.text()}\nin all: {tally.text()}\n")
    if asked:
        return 130
    return 1 if before.failed else 0
