"""Who wrote which app's files where and when, as the writers noted it on their own nodes' disks.

A writer adds a line to `/data/timeline/<app>.<volume>.jsonl` for every second in which it writes. Two writers
at once are thereby observed on the disks, not concluded from what the cluster says about its pods.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PAUSE = 12.0
"""Seconds between two lines of one pod across which it still counts as writing: writers pause for 10 s."""

Interval = tuple[float, float]
"""Start and end, CLOCK_REALTIME seconds. All hosts share the machine's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One second of writing."""

    t: float
    host: str
    app: str
    pod: str
    volume: str
    n: int
    """The last sequence number written."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else the writer noted."""


def read(disks: Mapping[str, Path]) -> list[Line]:
    """All lines on these hosts' /data, oldest first. A line cut short by a power cut is left out."""
    lines: list[Line] = []
    for host, data in disks.items():
        for path in sorted((data / "timeline").glob("*.jsonl")):
            app, _, volume = path.stem.partition(".")
            for text in path.read_text(errors="replace").splitlines():
                try:
                    entry = json.loads(text)
                    t, n = float(entry.pop("t")), int(entry.pop("n"))
                except (ValueError, KeyError, TypeError, AttributeError):
                    continue
                # The host is where the file lies: what the writer believes of itself proves nothing.
                entry.pop("host", None)
                pod = str(entry.pop("pod", ""))
                entry.pop("app", None)
                lines.append(Line(t=t, host=host, app=app, pod=pod, volume=volume, n=n, more=entry))
    return sorted(lines, key=lambda line: line.t)


def writers(lines: Iterable[Line], app: str, pause: float = PAUSE) -> dict[str, list[Interval]]:
    """For each host the intervals in which a pod of the app wrote there, overlapping ones merged."""
    seconds: dict[tuple[str, str], list[float]] = {}
    for line in lines:
        if line.app == app:
            seconds.setdefault((line.host, line.pod), []).append(line.t)
    hosts: dict[str, list[Interval]] = {}
    for (host, _), times in seconds.items():
        hosts.setdefault(host, []).extend(_runs(sorted(times), pause))
    return {host: _merged(intervals) for host, intervals in hosts.items()}


def _runs(times: list[float], pause: float) -> list[Interval]:
    runs: list[Interval] = []
    for t in times:
        if runs and t - runs[-1][1] <= pause:
            runs[-1] = (runs[-1][0], t)
        else:
            runs.append((t, t))
    return runs


def _merged(intervals: Iterable[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def overlap(lines: Iterable[Line], app: str, pause: float = PAUSE) -> float:
    """Seconds in which the app was written on more than one host."""
    edges = sorted(
        edge
        for intervals in writers(lines, app, pause).values()
        for start, end in intervals
        for edge in ((start, 1), (end, -1))
    )
    total, open_now, since = 0.0, 0, 0.0
    for t, step in edges:
        if open_now > 1:
            total += t - since
        open_now, since = open_now + step, t
    return total
