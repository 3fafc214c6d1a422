"""`failoverd simulate --sweep KEY=A..B`: one duration of the configuration over a range, against the same years.

Every point lives through the very same troubles, so that what differs between two points is the duration alone.
"""

from __future__ import annotations

import os
import re
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from failoverd.config import Config, ConfigError, load
from failoverd.config.settings import ENV_DELIMITER, ENV_PREFIX, Settings
from failoverd.core.memory import worst
from failoverd.core.rules import Mode
from failoverd.simulator.sweep_plot import Curve, svg
from failoverd.simulator.world_faults import BadFault, duration_ms
from failoverd.simulator.year import LONGEST_MS, TROUBLES, Made, Trouble, draw, play

POINTS = 6
"""How many values of the range are tried, both ends among them."""


class BadSweep(Exception):
    """A sweep that cannot be understood; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A duration's key, and the values to try."""

    table: str
    key: str
    values: tuple[timedelta, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What the years made of one value; rates are by the year, times in seconds."""

    value: timedelta
    deaths: float
    wanted: float
    """Moves after the death of the node."""
    needless: float
    """Moves after anything else: the node came back, or had never been away."""
    rto: float | None
    """Median from the death to the last app Ready; None where nothing was moved."""
    rto_longest: float | None
    outage: float
    """How long the apps were out of reach."""
    at_risk: float | None
    """The most that a move stated as lost; None where an age was unknown."""


def parse(text: str, points: int = POINTS) -> Sweep:
    """`silence_after=30s..180s`, `failover.silence_after=30s..3m`. Raises BadSweep."""
    found = re.fullmatch(r"(?:(\w+)\.)?(\w+)=(\S+?)\.\.(\S+)", text)
    if not found:
        raise BadSweep(f"{text!r} is not a sweep like silence_after=30s..180s")
    table, key = _key(found[1] or "", found[2])
    try:
        low, high = duration_ms(found[3]), duration_ms(found[4])
    except BadFault as error:
        raise BadSweep(str(error)) from None
    if high <= low or points < 2:
        raise BadSweep(f"{text!r}: a sweep goes upwards, in two values at least")
    step = (high - low) / (points - 1)
    values = [timedelta(seconds=round((low + step * number) / 1000)) for number in range(points)]
    return Sweep(table=table, key=key, values=tuple(dict.fromkeys(values)))


def unwritable(plot: Path) -> str:
    """Why no plot can be written there; empty where one can: asked before hours of work rather than after."""
    if plot.is_dir():
        return f"{plot} cannot be written: it is a folder"
    if not plot.parent.is_dir():
        return f"{plot} cannot be written: there is no folder {plot.parent}"
    good = os.access(plot if plot.exists() else plot.parent, os.W_OK)
    return "" if good else f"{plot} cannot be written: permission denied"


def trouble(text: str) -> Trouble:
    """`cut=52:5s..3m` is so many a year, each so long. Raises BadSweep."""
    known = {one.name: one for one in TROUBLES}
    found = re.fullmatch(r"(\w+)=(\d+(?:\.\d+)?)(?::(\S+?)\.\.(\S+))?", text)
    if not found or found[1] not in known:
        raise BadSweep(f"{text!r} is not a trouble like cut=52:5s..3m; there are {', '.join(known)}")
    one = replace(known[found[1]], a_year=float(found[2]))
    if not found[3]:
        return one
    try:
        one = replace(one, shortest_ms=duration_ms(found[3]), longest_ms=duration_ms(found[4]))
    except BadFault as error:
        raise BadSweep(str(error)) from None
    if not 0 < one.shortest_ms <= one.longest_ms <= LONGEST_MS:
        raise BadSweep(f"{text!r}: from the shorter to the longer, {LONGEST_MS // 60_000} minutes at most")
    return one


def main(config: Path, sweep: Sweep, troubles: Sequence[Trouble], years: float, seed: int, plot: Path | None) -> int:
    """Print the table, write the plot; 0. Raises BadSweep, ConfigError, OSError."""
    if plot and (wrong := unwritable(plot)):
        raise BadSweep(wrong)
    known = {one.name: one for one in troubles}
    kinds = [known.get(one.name, one) for one in TROUBLES]
    rules = {value: given.rules for value, given in possible(config, sweep).items()}
    try:
        happenings = draw(kinds, years, seed)
    except ValueError as error:
        raise BadSweep(str(error)) from None
    if sweep.table == "guard" and next(iter(rules.values())).guard is None:
        sys.stdout.write(f"guard.enabled is false: guard.{sweep.key} makes no difference\n")
    span = f"{years:g} {'year' if years == 1 else 'years'}"
    sys.stdout.write(f"{_assumed(kinds)}\nthe same {len(happenings)} troubles of {span} for each value\n\n")
    sys.stdout.write(row(HEADS) + "\n")
    found = []
    for value, given_rules in rules.items():
        found.append(_point(value, play(given_rules, happenings, seed), years))
        sys.stdout.write(row(_cells(found[-1])) + "\n")
        sys.stdout.flush()
    if plot:
        curves = (
            Curve(name="needless failovers a year", values=tuple(one.needless for one in found)),
            Curve(name="RTO in seconds, median", values=tuple(one.rto for one in found)),
        )
        plot.write_text(svg(f"{sweep.table}.{sweep.key}", [one.value.total_seconds() for one in found], curves))
        sys.stdout.write(f"\n{plot} shows it\n")
    return 0


HEADS = ("value", "deaths", "moved", "needless", "RTO median", "longest", "out of reach", "at risk")


def row(cells: Sequence[str], heads: Sequence[str] = HEADS) -> str:
    """A line of a sweep's table, below these heads."""
    return "".join(cell.rjust(len(head) + 3) for cell, head in zip(cells, heads, strict=True))


def seconds(value: float | None, without: str = "-") -> str:
    """A cell of seconds, or `without` where there are none."""
    return without if value is None else f"{value:.0f} s"


def _cells(point: Point) -> tuple[str, ...]:
    return (
        f"{point.value.total_seconds():.0f} s",
        f"{point.deaths:g}/y",
        f"{point.wanted:g}/y",
        f"{point.needless:g}/y",
        seconds(point.rto),
        seconds(point.rto_longest),
        f"{point.outage / 60:.1f} min/y",
        seconds(point.at_risk, "unknown"),
    )


def _point(value: timedelta, made: Sequence[Made], years: float) -> Point:
    deaths = [one for one in made if one.happening.trouble.death]
    moved = [one for one in deaths if one.moved]
    rtos = [max(one.ready_ms) / 1000 for one in moved if one.ready_ms]
    return Point(
        value=value,
        deaths=len(deaths) / years,
        wanted=len(moved) / years,
        needless=sum(one.moved for one in made if not one.happening.trouble.death) / years,
        rto=statistics.median(rtos) if rtos else None,
        rto_longest=max(rtos, default=None),
        outage=sum(one.outage_ms for one in made) / 1000 / years,
        at_risk=worst(one.at_risk for one in made if one.moved),
    )


def _assumed(kinds: Sequence[Trouble]) -> str:
    told = [f"{one.name} {one.a_year:g} ({one.shortest_ms / 1000:g} to {one.longest_ms / 1000:g} s)" for one in kinds]
    return f"assumed a year, say better by --trouble: {', '.join(told)}"


def _key(table: str, key: str) -> tuple[str, str]:
    """The table and key of a duration of the configuration. Raises BadSweep."""
    found = []
    for name, field in Settings.model_fields.items():
        inner = getattr(field.annotation, "model_fields", {})
        if key in inner and table in ("", name) and inner[key].annotation is timedelta:
            found.append(name)
    if len(found) != 1:
        known = f"is in {' and '.join(found)}: write TABLE.KEY" if found else "is no duration of the configuration"
        raise BadSweep(f"{key} {known}")
    return found[0], key


def possible(config: Path, sweep: Sweep) -> dict[timedelta, Config]:
    """The configuration for each value, in mode `active`; those that it would refuse are said and left out.

    Raises BadSweep where it names no apps or no value is left, ConfigError when it is wrong itself.
    """
    load(config, files=False)
    variable = f"{ENV_PREFIX}{sweep.table}{ENV_DELIMITER}{sweep.key}".upper()
    found: dict[timedelta, Config] = {}
    for value in sweep.values:
        with _environment(variable, f"{value.total_seconds():.0f}s"):
            try:
                given = load(config, files=False)
            except ConfigError as error:
                texts = "; ".join(problem.text for problem in error.problems)
                sys.stdout.write(f"{sweep.key} = {value.total_seconds():.0f} s would be refused: {texts}\n")
                continue
        found[value] = replace(given, rules=replace(given.rules, mode=Mode.ACTIVE))
    if not found:
        raise BadSweep(f"no value is left to try: the configuration would refuse every one of {sweep.key}")
    if not next(iter(found.values())).rules.apps:
        raise BadSweep("the configuration names no apps: there is nothing to move")
    return found


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
