"""Plain text tables and durations for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from failoverd.core.counts import counted

GAP = "  "


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; a cell of several lines makes a row of several lines."""
    lines = [list(heads)]
    for row in rows:
        cells = [cell.split("\n") for cell in row]
        for number in range(max(len(cell) for cell in cells)):
            lines.append([cell[number] if number < len(cell) else "" for cell in cells])
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def brief(value: timedelta | None) -> str:
    """Two units are enough for people: `3 h 12 min`, `45 s`; `unknown` for None."""
    if value is None:
        return "unknown"
    seconds = value.total_seconds()
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    parts = []
    for name, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(f"{count:.0f} {name}")
    return " ".join(parts[:2])


def amount(size: int) -> str:
    """Bytes for people: `310 bytes`, `49 KiB`, `1.2 GiB`."""
    if size < 1024:
        return counted(size, "byte")
    units = ("KiB", "MiB", "GiB", "TiB")
    power = min((size.bit_length() - 1) // 10, len(units))
    value = size / 1024**power
    return f"{value:.3g} {units[power - 1]}" if value < 1000 else f"{value:.0f} {units[power - 1]}"
