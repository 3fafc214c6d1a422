"""What one deliberate breakage is: the rows of `breakages.py` and `breakages_home.py`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One deliberate breakage: in `file`, the only `old` becomes `new`; `tests` must notice."""

    promise: str
    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def row(promise: str, what: str, file: str, change: tuple[str, str], *tests: str) -> Mutant:
    """One row of the table."""
    old, new = change
    return Mutant(promise=promise, what=what, file=file, old=old, new=new, tests=tests)
