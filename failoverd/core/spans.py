"""How much of a wait is over, for people."""

from __future__ import annotations

from datetime import timedelta
from math import ceil, floor


def waited(spent: timedelta, needed: timedelta) -> str:
    """`3 s of 10 s`: whole seconds, never rounded to all of it; `12 s, past 10 s` where it is not time that lacks."""
    done, all_of_it = floor(spent.total_seconds()), ceil(needed.total_seconds())
    return f"{done} s of {all_of_it} s" if spent < needed else f"{done} s, past {all_of_it} s"
