"""Durations as people write them: a number and a unit, largest unit first, as in "10s", "5m", "1h30m"."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_UNITS: tuple[tuple[str, timedelta], ...] = (
    ("d", timedelta(days=1)),
    ("h", timedelta(hours=1)),
    ("m", timedelta(minutes=1)),
    ("s", timedelta(seconds=1)),
    ("ms", timedelta(milliseconds=1)),
)
PATTERN = r"^(\d+d)?(\d+h)?(\d+m(?!s))?(\d+(\.\d{1,3})?s)?(\d+ms)?$"
_SHAPE = re.compile(PATTERN, re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])", re.ASCII)
LONGEST = timedelta(days=366)
HOW = 'write a number and a unit (d, h, m, s, ms), as in "10s", "5m" or "1h30m"'


def parse(value: object) -> timedelta:
    """The duration written in `value`. Raises ValueError saying what to write instead."""
    if isinstance(value, timedelta):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise ValueError(f'{value} has no unit; write "{value}s" for seconds')
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a duration; {HOW}")
    text = value.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        raise ValueError(f'"{value}" has no unit; write "{text}s" for seconds')
    if not text or len(text) > 40 or not _SHAPE.match(text):
        raise ValueError(f'"{value}" is not a duration; {HOW}')
    units = dict(_UNITS)
    try:
        total = sum((float(number) * units[unit] for number, unit in _PART.findall(text)), timedelta(0))
    except OverflowError:
        total = timedelta.max
    if total > LONGEST:
        raise ValueError(f'"{value}" is longer than a year ({LONGEST.days} days), the longest that is accepted')
    return total


def show(value: timedelta) -> str:
    """`value` as it would be written in the file, to the millisecond: `parse` reads it back."""
    left = value
    parts: list[str] = []
    for unit, length in _UNITS:
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse),
    PlainSerializer(show, return_type=str),
    WithJsonSchema({"type": "string", "pattern": PATTERN, "examples": ["10s", "5m", "1h30m"]}),
]
"""A `timedelta` that is written as a number and a unit."""
