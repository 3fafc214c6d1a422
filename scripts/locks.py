"""What the two locks name: what a user has, and what only this checkout has beside it."""

from __future__ import annotations

import re
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNTIME, DEV = LOCKS = ("requirements.lock", "requirements-dev.lock")

HIDING = "import sys; sys.modules.update(dict.fromkeys(sys.argv.pop(1).split(',')))\n"
"""The beginning of a program whose first argument names modules, by commas: they cannot be imported in it."""


def pinned(lock: str) -> dict[str, str]:
    """Package name -> version, as the lock says."""
    lines = (ROOT / lock).read_text().splitlines()
    found = (re.match(r"([A-Za-z0-9_.-]+)==(\S+)", line) for line in lines)
    return {match[1]: match[2] for match in found if match}


def normalised(requirement: str) -> str:
    """A requirement's package name in the one spelling locks use."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9_.-]", requirement, maxsplit=1)[0]).lower()


def tools() -> str:
    """The modules installed here that no user of failoverd has, for `HIDING`."""
    only = {normalised(name) for name in pinned(DEV).keys() - pinned(RUNTIME).keys()}
    modules = packages_distributions()
    return ",".join(sorted(name for name, owners in modules.items() if {normalised(one) for one in owners} <= only))
