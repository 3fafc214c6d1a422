"""Writes docs/states.md from the transition table: `python scripts/states.py > docs/states.md`."""

from __future__ import annotations

from failoverd.core.machine import TRANSITIONS
from failoverd.core.memory import Phase

INTRODUCTION = """# The life of an app

Made from the table in `failoverd/core/machine.py` by `scripts/states.py`; a test fails when this page is older than
the table.
"""


def _name(phase: Phase) -> str:
    return phase.value.replace(" ", "_")


def page() -> str:
    """The whole page."""
    lines = [INTRODUCTION, "```mermaid", "stateDiagram-v2", f"    [*] --> {_name(Phase.ADOPTING)}"]
    lines += [f"    {_name(row.phase)} --> {_name(row.next)}: {row.event.value}" for row in TRANSITIONS]
    lines += ["```", "", "| from | event | to | because |", "|---|---|---|---|"]
    lines += [f"| {row.phase} | {row.event} | {row.next} | {row.reason} |" for row in TRANSITIONS]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
