"""How many of something there are, for people."""

from __future__ import annotations


def counted(number: int, one: str) -> str:
    """`1 file`, `0 files`, `12 files`: of a word whose plural takes an s, the last one where there are several."""
    return f"{number} {one}" if number == 1 else f"{number} {one}s"
