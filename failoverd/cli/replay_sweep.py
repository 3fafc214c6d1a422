"""`failoverd replay --sweep KEY=A..B`: what the values of one duration would have made of a recording."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from dataclasses import asdict
from datetime import datetime

from failoverd.cli.cluster import find
from failoverd.cli.exits import Exit, Stop
from failoverd.cli.recorded import NOTHING, in_common, moment, read
from failoverd.replay_sweep import Point, Silence, Trace, Value
from failoverd.simulator.sweep import POINTS, BadSweep, parse, possible, row, seconds, unwritable
from failoverd.simulator.sweep_plot import Curve, svg

HEADS = ("value", "failovers", "silent for", "longest", "came back", "soonest", "at risk")


def sweep(arguments: argparse.Namespace) -> int:
    """Print the table, write the plot."""
    if arguments.config is None:
        raise Stop(Exit.USAGE, "--sweep tries values of a key of your configuration: name it with --config")
    if arguments.plot and (wrong := unwritable(arguments.plot)):
        raise Stop(Exit.USAGE, wrong)
    try:
        swept = parse(arguments.sweep, POINTS if arguments.points is None else arguments.points)
        with contextlib.redirect_stdout(sys.stderr):  # what it leaves out is no part of the table, nor of JSON
            configs = possible(arguments.config, swept)
    except BadSweep as error:
        raise Stop(Exit.USAGE, str(error)) from None
    in_common(arguments, arguments.config, next(iter(configs.values())).rules)
    about = find(next(iter(configs.values())).rules, arguments.app).key if arguments.app else ""
    trace = Trace([Value(value, config.rules, config.hours.allow, about) for value, config in configs.items()])
    for note in read(arguments, lambda tick, within: trace.take(tick, counts=within)):
        print(f"note: {note}", file=sys.stderr)
    if not trace.ticks:
        raise Stop(Exit.USAGE, NOTHING)
    if trace.moved.found:
        print("note: apps were moved when this was recorded: from then on no value finds them there", file=sys.stderr)
    points = trace.points()
    if arguments.output == "json":
        _json(trace, points)
    else:
        _table(trace, points)
    if arguments.plot:
        _plot(arguments, f"{swept.table}.{swept.key}", points)
    return Exit.OK


def _table(trace: Trace, points: list[Point]) -> None:
    begin, end = trace.between[0], trace.between[-1]
    print(f"{trace.ticks} ticks from {moment(begin)} to {moment(end)} UTC")
    for one in trace.silences.found:
        print(f"  {_silence(one)}")
    if not trace.silences.found:
        print("  no node was silent")
    for move in trace.moved.found:
        print(f"  recorded: {moment(move.began)} {move.text}")
    print()
    for cells in (HEADS, *map(_cells, points)):
        print(row(cells, HEADS))


def _json(trace: Trace, points: list[Point]) -> None:
    found = {
        "ticks": trace.ticks,
        "from": trace.between[0],
        "to": trace.between[-1],
        "silences": [
            {
                "node": one.node,
                "since": one.since.isoformat(),
                "seconds": one.lasted.total_seconds(),
                "over": one.over,
            }
            for one in trace.silences.found
        ],
        "moves": [asdict(one) for one in trace.moved.found],
        "points": [{**asdict(one), "value": one.value.total_seconds()} for one in points],
    }
    print(json.dumps(found, indent=2, ensure_ascii=False, default=datetime.isoformat))


def _plot(arguments: argparse.Namespace, label: str, points: list[Point]) -> None:
    curves = (
        Curve(name="failovers whose node came back", values=tuple(one.came_back for one in points)),
        Curve(name="silence before a failover, s, median", values=tuple(one.silent for one in points)),
    )
    try:
        arguments.plot.write_text(svg(label, [one.value.total_seconds() for one in points], curves))
    except OSError as error:
        raise Stop(Exit.REFUSED, f"{arguments.plot} cannot be written: {error.strerror}") from None
    print(f"{arguments.plot} shows it", file=sys.stderr)


def _silence(one: Silence) -> str:
    end = "then heard again" if one.over else "not heard again"
    return f"{one.node} silent from {moment(one.since)} for {one.lasted.total_seconds():.0f} s, {end}"


def _cells(point: Point) -> tuple[str, ...]:
    return (
        seconds(point.value.total_seconds()),
        str(point.failovers),
        seconds(point.silent),
        seconds(point.silent_longest),
        str(point.came_back),
        seconds(point.soonest),
        seconds(point.at_risk, "unknown") if point.failovers else "-",
    )
