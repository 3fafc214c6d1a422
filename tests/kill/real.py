"""`python -m tests.kill.real`: the daemon as a process at a real API server, ended by SIGKILL before and after every
distinct request of every kind of move; or the server's answers spoilt. What was played is kept, so that it goes on
where it was stopped; a change of the daemon's code begins anew.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from tests.kill import real_faults
from tests.kill.__main__ import BOOKKEEPING, ROOT, code
from tests.kill.chains import ENDS, SUCCESSORS, Found, Link, drawn, in_order, play, rows
from tests.kill.kills import Side
from tests.kill.plane import Plane, running
from tests.kill.stories import STORIES
from tests.lab import cache

AGAIN = 3
"""Rounds: what a row that was ended left behind, or chance kept from being reached, is played in another one."""


@dataclass(slots=True)
class Journal:
    """One line of JSON for each move that was played, by whichever process."""

    path: Path
    found: dict[str, Found] = field(default_factory=dict)
    tries: Counter[str] = field(default_factory=Counter)

    def read(self) -> None:
        """Take over what is there of this code. Raises OSError, ValueError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        now = code()
        self.tries.clear()
        for line in self.path.read_text().splitlines():
            one = json.loads(line)
            if one.pop("code") == now:
                self.found[one["name"]] = Found(**one)
                self.tries[one["name"]] += 1

    def due(self, link: Link) -> bool:
        """Whether it is to be played: never yet, or nobody was killed and nothing spoilt, by chance."""
        found = self.found.get(link.name)
        return found is None or (
            bool(link.call) and not (found.reached or found.wrong) and self.tries[link.name] < AGAIN
        )


def keep(path: Path, now: str, found: Found) -> None:
    """Write one down. Raises OSError."""
    line = json.dumps({"code": now, **asdict(found)}) + "\n"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(handle, line.encode())  # in one piece: others write here too
    finally:
        os.close(handle)
    if found.wrong:
        print("VIOLATION", found.name, *found.wrong, sep="\n    ", flush=True)


def work(plane: Plane, path: Path, now: str, end: float, row: list[Link]) -> None:
    """One row, unless the time is over."""
    if time.time() < end:
        try:
            play(plane, row, partial(keep, path, now))
        except Exception as error:  # not every one can be handed to another process
            raise RuntimeError(f"{row[0].name}: {type(error).__name__}: {error}") from None


def points(story: str, calls: Sequence[str], successors: Sequence[str]) -> list[Link]:
    """Both sides of every call, who goes on in turns."""
    found = []
    for number, (call, side) in enumerate((call, side) for call in calls for side in Side):
        successor = successors[number // 2 % len(successors)]
        if "proxmox" in call or STORIES[story].cold:
            successor = "restart"  # all instances reach the hypervisor at one address; a cold one is alone
        found.append(Link(story=story, call=call, side=side, successor=successor))
    return found


def dullness(link: Link) -> int:
    """What is likeliest to hurt comes first: acts before our own bookkeeping, reads last."""
    return 3 if polls(link) else 2 if BOOKKEEPING.search(link.call) else 1


def polls(link: Link) -> bool:
    """Whether it is a read, which goes on all the time."""
    return " | GET " in link.call or " | WATCH " in link.call


def once(links: Sequence[Link]) -> set[str]:
    """Names of those that are no poll of the same move again, in another state of the app."""
    seen: set[tuple[str, str, str]] = set()
    found = set()
    for link in links:
        poll = (link.story, link.call.partition(" | ")[2], link.side)
        if not polls(link) or poll not in seen:
            found.add(link.name)
        seen.add(poll)
    return found


def faults(story: str, calls: Sequence[str]) -> list[Link]:
    """Every fault once: what is over with one answer at each distinct call, what lasts at the stop."""
    if STORIES[story].cold:
        return []  # a row begins with its adoption
    return [
        Link(story=story, call=real_faults.where(fault, calls), side="", successor="", fault=fault)
        for fault in real_faults.FAULTS
    ]


def undisturbed(story: str) -> Link:
    """A move in which nobody is killed: it tells the points."""
    return Link(story=story, call="", side="", successor="")


def spread(plane: Plane, journal: Journal, links: Sequence[Link], given: argparse.Namespace, end: float) -> None:
    """Play all of them, several rows side by side."""
    longest = min(given.row, max(1, len(links) // given.jobs))  # nobody waits for one long row in the end
    now = code()
    for _ in range(AGAIN):
        todo = [link for link in links if journal.due(link)]
        if not todo or time.time() > end:
            break
        with get_context("spawn").Pool(given.jobs, maxtasksperchild=4) as pool:
            for _ in pool.imap_unordered(partial(work, plane, journal.path, now, end), list(rows(todo, longest))):
                pass
        journal.read()


def at_plane(act: Callable[[Plane], None]) -> None:
    """Do it while a control plane runs. What is ended by SIGTERM takes down what it has started."""
    signal.signal(signal.SIGTERM, in_order)
    with tempfile.TemporaryDirectory(prefix="failoverd-plane-") as name, running(Path(name), _kube()) as plane:
        act(plane)


def _kube() -> Path:
    return cache.ensure().kube


def report(links: Sequence[Link], journal: Journal) -> int:
    """What was played of what was asked for; 1 if anything was violated."""
    counts: Counter[tuple[str, str]] = Counter()
    distinct: Counter[str] = Counter()
    first = once(links)
    for link in links:
        found = journal.found.get(link.name)
        kind = (
            "to do" if found is None else "violations" if found.wrong else "well" if found.reached else "not reached"
        )
        counts[link.story, kind] += 1
        distinct[kind] += link.name in first
    for story in dict.fromkeys(link.story for link in links):
        kinds = ("well", "not reached", "violations", "to do")
        print(f"{story:12}", ", ".join(f"{counts[story, kind]} {kind}" for kind in kinds))
    total: Counter[str] = Counter()
    for (_, kind), count in counts.items():
        total[kind] += count
    played = len(links) - total["to do"]
    print(
        f"a poll of one move counted once, whatever the app's state: {len(first) - distinct['to do']} of {len(first)}"
        f" points played, {distinct['not reached']} not reached, {distinct['violations']} violations"
    )
    print(
        f"in all: {played} of {len(links)} points played, {total['not reached']} not reached,"
        f" {total['violations']} violations"
    )
    return 1 if total["violations"] else 0


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 when nothing was violated, 1 when something was."""
    parser = argparse.ArgumentParser(prog="python -m tests.kill.real", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("kills", "faults"), default="kills")
    parser.add_argument("--stories", nargs="+", choices=list(ENDS), default=list(ENDS), metavar="STORY")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="only so many, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=8, metavar="N", help="worlds side by side (8)")
    parser.add_argument("--row", type=int, default=8, metavar="N", help="moves one after another in a world (8)")
    parser.add_argument("--minutes", type=float, default=600, metavar="N", help="begin nothing after so long")
    parser.add_argument("--journal", type=Path, default=ROOT / "build" / "kills-at-real-api.jsonl", metavar="FILE")
    parser.add_argument("--successor", choices=(*SUCCESSORS, "both"), default="both", help="who goes on (in turns)")
    given = parser.parse_args(arguments)
    journal = Journal(given.journal)
    journal.read()
    asked: list[Link] = []
    end = time.time() + given.minutes * 60

    def act(plane: Plane) -> None:
        spread(plane, journal, [undisturbed(story) for story in given.stories], given, end)
        successors = SUCCESSORS if given.successor == "both" else (given.successor,)
        for story in given.stories:
            told = journal.found.get(undisturbed(story).name)
            if told is None or told.wrong:
                raise SystemExit(f"{story}: not even undisturbed does it go well")
            made = points(story, told.calls, successors) if given.what == "kills" else faults(story, told.calls)
            asked.extend(made)
        if given.sample:
            asked[:] = drawn(asked, given.sample, given.seed)
            print(f"sample of {len(asked)} by seed {given.seed}", flush=True)
        first = once(asked)
        asked.sort(key=lambda link: (link.name not in first, dullness(link)))
        print(f"{len(asked)} points, {sum(one.name in journal.found for one in asked)} played before", flush=True)
        spread(plane, journal, asked, given, end)

    at_plane(act)
    return report(asked, journal)


if __name__ == "__main__":
    sys.exit(main())
