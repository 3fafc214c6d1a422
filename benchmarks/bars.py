"""What a benchmark hands back: figures, each with the bar it is held against."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured quantity. Neither `at_most` nor `at_least`: reported, not judged."""

    name: str
    samples: tuple[float, ...]
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def median(self) -> float:
        """What is held against the bar."""
        return statistics.median(self.samples)

    @property
    def good(self) -> bool:
        """Whether the bar is kept."""
        low = self.at_most is None or self.median <= self.at_most
        return low and (self.at_least is None or self.median >= self.at_least)

    def row(self) -> tuple[str, str, str, str, str]:
        """Name, median, span, bar and verdict, as they are printed."""
        span = f"{min(self.samples):.4g} to {max(self.samples):.4g}" if len(self.samples) > 1 else ""
        bar = "" if self.at_most is None else f"<= {self.at_most:g}"
        bar = bar if self.at_least is None else f">= {self.at_least:g}"
        verdict = "" if not bar else "ok" if self.good else "MISSED"
        return self.name, f"{self.median:.4g} {self.unit}", span, bar, verdict


def table(figures: Sequence[Figure]) -> str:
    """All figures as columns."""
    rows = [("figure", "median", "span", "bar", ""), *(figure.row() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)
