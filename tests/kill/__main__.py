"""`python -m tests.kill`: the daemon killed before and after every request of every kind of move. What was played is
kept, so that it goes on where it was stopped; a change of the daemon's code begins anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.kill import kills, spoils
from tests.kill.chains import SUCCESSORS
from tests.kill.kills import points, sample
from tests.kill.play import Task, play
from tests.kill.stories import STORIES
from tests.kill.virtual import run

ROOT = Path(__file__).resolve().parents[2]
BOOKKEEPING = re.compile(r"leases/|events$|incidents$|proofs$")
"""Writes that change nothing a move rests on."""


@dataclass(slots=True)
class Tally:
    """What has been played, kept between runs."""

    code: str
    calls: dict[str, list[str]] = field(default_factory=dict)
    """By story: the calls of an undisturbed move."""
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By task."""

    def save(self, path: Path) -> None:
        """Keep it, whole or not at all. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps({"code": self.code, "calls": self.calls, "results": self.results}, indent=0))
        draft.replace(path)


def code() -> str:
    """A fingerprint of the sources of the daemon and of the simulated world."""
    found = hashlib.sha256()
    for path in sorted((ROOT / "failoverd").rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


def load(path: Path, now: str) -> Tally:
    """What earlier runs of the same code left. Raises OSError, ValueError."""
    if path.exists():
        found = json.loads(path.read_text())
        if found.get("code") == now:
            return Tally(**found)
    return Tally(now)


def tasks(given: argparse.Namespace, tally: Tally) -> list[Task]:
    """Everything that is asked for, what is likeliest to hurt first: acts before our own bookkeeping, reads last."""
    found: list[Task] = []
    for story in given.stories:
        make = _kills if given.what == "kills" else _faults
        found += make(story, tally.calls[story], given)
    if given.sample:
        chosen = set(sample([one.name for one in found], given.sample, given.seed))
        print(f"sample of {len(chosen)} out of {len(found)} by seed {given.seed}")
        found = [one for one in found if one.name in chosen]
    return sorted(found, key=_dullness)


def _dullness(task: Task) -> int:
    if task.call == spoils.EVERY:
        return 0
    return 3 if " | GET " in task.call else 2 if BOOKKEEPING.search(task.call) else 1


def _kills(story: str, calls: list[str], given: argparse.Namespace) -> list[Task]:
    found = []
    for number, point in enumerate(points(story, calls)):
        successor = SUCCESSORS[number // 2 % 2] if given.successor == "both" else given.successor
        if "proxmox" in point.call or STORIES[story].cold:
            successor = "restart"  # both instances reach the hypervisor at one address; a cold one is alone
        found.append(Task(f"{point} | {successor}", "kill", story, point.call, point.side, successor))
    return found


def _faults(story: str, calls: list[str], given: argparse.Namespace) -> list[Task]:
    del given
    every = [Task(f"{story} | every call once | {fault}", fault, story, spoils.EVERY, "", "")
             for fault in (*spoils.ANSWERS, *spoils.WRITES)]  # fmt: skip
    return every + [
        Task(f"{story} | {call} | {fault}", fault, story, call, "", "")
        for call in calls
        for fault in spoils.fitting(call)
    ]


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 when nothing was violated, 1 when something was, 2 for what cannot be understood."""
    parser = argparse.ArgumentParser(prog="python -m tests.kill", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("kills", "faults"), default="kills")
    parser.add_argument("--stories", nargs="+", choices=list(STORIES), default=list(STORIES), metavar="STORY")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="only so many, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (1)")
    parser.add_argument("--state", type=Path, metavar="FILE", help="what was played (build/kills.json)")
    parser.add_argument("--successor", choices=(*SUCCESSORS, "both"), default="both", help="who goes on (in turns)")
    given = parser.parse_args(arguments)
    state = given.state or ROOT / "build" / f"{given.what}.json"
    try:
        tally = load(state, code())
    except (OSError, ValueError, TypeError) as error:
        sys.stderr.write(f"kill: {state}: {error}: mend or delete it\n")
        return 2
    for story in given.stories:
        if story not in tally.calls:
            calls, verdict = run(kills.record(STORIES[story]))
            print(f"{story}: {len(calls)} distinct requests", *verdict.wrong, flush=True)
            if verdict.wrong:
                return 1
            tally.calls[story] = calls
    asked = tasks(given, tally)
    todo = [task for task in asked if task.name not in tally.results]
    print(f"{len(asked)} points, {len(asked) - len(todo)} of them played before", flush=True)
    _play_all(todo, given.jobs, tally, state)
    return _report(asked, tally)


def _play_all(todo: list[Task], jobs: int, tally: Tally, state: Path) -> None:
    with get_context("spawn").Pool(jobs, maxtasksperchild=50) as pool:
        for count, (task, result) in enumerate(pool.imap_unordered(play, todo), 1):
            tally.results[task.name] = result
            if result["wrong"]:
                print("VIOLATION", task.name, *result["wrong"], sep="\n    ", flush=True)
            if result["wrong"] or count % 5 == 0:
                tally.save(state)
            if count % 100 == 0:
                print(f"{count} of {len(todo)}", flush=True)
    tally.save(state)


def _report(asked: list[Task], tally: Tally) -> int:
    counts: Counter[tuple[str, str]] = Counter()
    for task in asked:
        result = tally.results[task.name]
        kind = "violations" if result["wrong"] else "well" if result["reached"] else "not reached"
        counts[task.story, kind] += 1
    for story in dict.fromkeys(task.story for task in asked):
        print(
            f"{story:12}",
            ", ".join(f"{counts[story, kind]} {kind}" for kind in ("well", "not reached", "violations")),
        )
    total: Counter[str] = Counter()
    for (_, kind), count in counts.items():
        total[kind] += count
    print(f"in all: {len(asked)} points, {total['not reached']} not reached, {total['violations']} violations")
    return 1 if total["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
