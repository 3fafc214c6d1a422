"""One run as a task for a process of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from tests.kill import kills, spoils
from tests.kill.kills import Point, Side
from tests.kill.virtual import run


@dataclass(frozen=True, slots=True)
class Task:
    """One run to be made."""

    name: str
    what: str
    """`kill` or the name of a fault."""
    story: str
    call: str
    side: str
    successor: str


def play(task: Task) -> tuple[Task, dict[str, Any]]:
    """One run, in a process that does nothing else meanwhile."""
    began = time.perf_counter()
    try:
        if task.what == "kill":
            point = Point(task.story, task.call, Side(task.side))
            made = kills.perform(point, task.successor)
        else:
            made = spoils.perform(task.story, task.call, task.what)
        verdict = run(made)
    except Exception as error:  # a run that breaks is a result, and must not end the others
        return task, {"wrong": [f"{type(error).__name__}: {error}"], "reached": False, "took": 0.0}
    took = time.perf_counter() - began
    return task, {"wrong": verdict.wrong, "reached": verdict.reached, "took": round(took, 2)}
