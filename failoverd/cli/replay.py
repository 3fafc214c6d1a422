"""`failoverd replay`: decide again upon what was recorded, and tell it tick by tick."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from failoverd import __version__
from failoverd.cli.cluster import find
from failoverd.cli.exits import Exit, Stop
from failoverd.cli.recorded import NOTHING, in_common, moment, read
from failoverd.cli.replay_sweep import sweep
from failoverd.config import Config, load
from failoverd.core.model import Verdict
from failoverd.core.rules import Rules
from failoverd.recording import Header, Tick
from failoverd.replay import Departure, Departures, WhatIf, again, differences, following, rule_differences
from failoverd.timeline import Line, Timeline, judged, position

DETAILS = 8
"""Fields that are named of one decision that differs; how many more there are is said."""


def replay(arguments: argparse.Namespace) -> int:
    """Replay the files."""
    if arguments.sweep:
        return sweep(arguments)
    for name in ("plot", "points"):
        if getattr(arguments, name) is not None:
            raise Stop(Exit.USAGE, f"--{name} belongs to --sweep")
    other = load(arguments.config, files=False) if arguments.config else None
    if other is not None:
        in_common(arguments, other.path, other.rules)
    teller = Teller(arguments, other)
    notes = read(arguments, lambda tick, within: teller.take(tick, shown=within))
    for note in (*notes, *teller.notes):
        print(f"note: {note}", file=sys.stderr)
    if not teller.ticks:
        raise Stop(Exit.USAGE, NOTHING)
    return teller.end()


@dataclass(slots=True)
class Teller:
    """Takes ticks, prints what is to be told of them (or gathers it, for JSON)."""

    arguments: argparse.Namespace
    other: Config | None
    ticks: int = 0
    notes: list[str] = field(default_factory=list)
    _lines: list[dict[str, Any]] = field(default_factory=list)
    _headings: list[str] = field(default_factory=list)
    _header: Header | None = None
    _between: list[datetime] = field(default_factory=list)
    _differing: list[Tick] = field(default_factory=list)
    _timeline: Timeline = field(default_factory=Timeline)
    _what_if: WhatIf | None = None
    _marks: dict[str, object] = field(default_factory=dict)
    _recorded: Departures = field(default_factory=lambda: Departures(timedelta(0), others=True))
    _here: Departures = field(default_factory=lambda: Departures(timedelta(0)))
    _number: int | None = None

    def take(self, tick: Tick, *, shown: bool) -> None:
        """Decide upon one tick again. Nothing is told of one that is not `shown`."""
        if self._header is None or tick.header.path != self._header.path:
            self._begin(tick.header)
        if self._number is not None and tick.number != self._number + 1:
            self._note(f"{tick.where}: {tick.number - self._number - 1} ticks before it were lost when recording")
        self._number = tick.number
        if self._what_if is None and not shown:
            return
        lines = list(self._other(tick, shown=shown) if self._what_if else self._same(tick))
        if not shown:
            return
        self.ticks += 1
        self._between = [*self._between[:1], tick.seen.now.wall]
        self._recorded.add(tick.seen.memory, tick.seen.decision, tick.seen.now.wall) if tick.seen.decision else None
        for line in lines:
            if self._wanted(line):
                self._print(line)

    def end(self) -> int:
        """Tell what it comes to. Returns the exit status."""
        begin, end = self._between[0], self._between[-1]
        span = f"{self.ticks} ticks from {moment(begin)} to {moment(end)} UTC"
        moves = [("recorded", one) for one in self._recorded.found]
        moves += [("here", one) for one in self._here.found]
        moves = [(where, one) for where, one in moves if self._about(one.app)]
        if self.arguments.output == "json":
            self._json(begin, end, moves)
        else:
            print()
            print("\n".join(self._summary(span, sorted(moves, key=lambda move: (move[1].began, move[0] == "here")))))
        return Exit.REFUSED if self._differing and self.other is None else Exit.OK

    def _summary(self, span: str, moves: list[tuple[str, Departure]]) -> Iterator[str]:
        for where, one in moves:
            yield f"{where + ':':<9} {moment(one.began)} {_move(one, real=where == 'recorded')}"
        if not moves:
            yield "no move was begun" + (", and none would have been" if self.other else "")
        count = len(self._differing)
        if self.other is not None:
            yield f"{span}: what is concluded differs in {count} of them"
        elif count:
            yield f"{span}: {count} decisions differ from the recorded ones, the first at {self._differing[0].where}"
        else:
            yield f"{span}: every decision is the recorded one"

    def _json(self, begin: datetime, end: datetime, moves: list[tuple[str, Departure]]) -> None:
        found = {
            "ticks": self.ticks,
            "from": begin.isoformat(),
            "to": end.isoformat(),
            "about": self._headings,
            "differing": len(self._differing),
            "first_differing": self._differing[0].where if self._differing else None,
            "moves": [{"where": where, **asdict(one)} for where, one in moves],
            "lines": self._lines,
        }
        print(json.dumps(found, indent=2, ensure_ascii=False, default=lambda moment: moment.isoformat()))

    def _begin(self, header: Header) -> None:
        before, self._header = self._header, header
        fresh = before is None or (before.instance, before.run) != (header.instance, header.run)
        if not fresh and before is not None and before.part + 1 != header.part:
            self._note(f"{header.path}: part {header.part} does not follow part {before.part}: files are missing")
        if fresh:
            self._timeline, self._number = Timeline(), None
        rules = self.other.rules if self.other else header.rules
        if self.arguments.app:
            find(rules, self.arguments.app)
        if header.version != __version__:
            self._note(f"recorded by failoverd {header.version}, this is {__version__}: it may decide otherwise")
        if fresh or before is None or before.rules != header.rules:
            self._heading(f"# {header.instance}, started {header.run}, config {header.config}: {header.path}")
            self._compare(header.rules)

    def _compare(self, recorded: Rules) -> None:
        self._recorded.apart = recorded.timings.cooldown
        if self.other is None:
            return
        self._here.apart = self.other.rules.timings.cooldown
        found = list(rule_differences(recorded, self.other.rules))
        for text in found:
            self._heading(f"#   {text}")
        if not found:
            self._heading(f"#   {self.other.path} has the same rules")
        if self._what_if is None:
            self._what_if = WhatIf(self.other.rules, self.other.hours.allow)

    def _same(self, tick: Tick) -> Iterator[Line]:
        """The story, and every decision that is not the recorded one."""
        try:
            decision = again(tick.seen)
        except Exception as error:
            self._differing.append(tick)
            yield self._line(tick, f"DIFFERS {tick.where}: deciding fails: {type(error).__name__}: {error}")
            return
        yield from self._timeline.lines(tick.number, decision, tick.seen.snapshot, tick.seen.now)
        found = differences(tick, decision)
        if found:
            self._differing.append(tick)
            for text in found[:DETAILS]:
                yield self._line(tick, f"DIFFERS {tick.where}: {text}")
            if len(found) > DETAILS:
                yield self._line(tick, f"DIFFERS {tick.where}: and {len(found) - DETAILS} fields more")

    def _other(self, tick: Tick, *, shown: bool) -> Iterator[Line]:
        """Where the other rules come to other conclusions."""
        assert self._what_if is not None
        given, decision = self._what_if.decide(tick)
        if not shown or tick.seen.decision is None:
            return
        for one in self._here.add(given, decision, tick.seen.now.wall, following(tick)):
            yield self._line(tick, f"here begins: {_move(one, real=False)}", app=one.app)
        marks: dict[str, tuple[object, object, str, str]] = {}
        for node, verdict in decision.verdicts.items():
            judgement = tick.seen.decision.verdicts.get(node)
            text = _verdict(judgement) if judgement else "not recorded"
            if self._near(node):
                marks[f"node {node}"] = (judgement and judged(judgement), judged(verdict), text, _verdict(verdict))
        for key, app in decision.apps.items():
            known = tick.seen.decision.apps.get(key)
            mark, text = position(known) if known else (None, "not recorded")
            if self._about(key):
                marks[f"app {key}"] = (mark, position(app)[0], text, position(app)[1])
        if any(was != now for was, now, _, _ in marks.values()):
            self._differing.append(tick)
        for what, (was, now, *texts) in marks.items():
            yield from self._compared(tick, what, (was, now), texts)

    def _compared(self, tick: Tick, what: str, marks: tuple[object, object], texts: list[str]) -> Iterator[Line]:
        kind, _, name = what.partition(" ")
        same = marks[0] == marks[1]
        before, self._marks[what] = self._marks.get(what), None if same else marks
        about = {kind: name}
        if same and before is not None:
            yield self._line(tick, f"{name}: as recorded again: {texts[1]}", **about)
        elif not same and before != marks:
            yield self._line(tick, f"{name}: recorded: {texts[0]}", **about)
            yield self._line(tick, f"{' ' * len(name)}      here: {texts[1]}", **about)

    def _line(self, tick: Tick, text: str, *, app: str = "", node: str = "") -> Line:
        return Line(at=tick.seen.now.wall, tick=tick.number, text=text, app=app, node=node)

    def _wanted(self, line: Line) -> bool:
        return self._about(line.app) if line.app else not line.node or self._near(line.node)

    def _about(self, key: str) -> bool:
        asked = self.arguments.app
        return not asked or asked in (key, key.partition("/")[2])

    def _near(self, node: str) -> bool:
        assert self._header is not None
        rules = self.other.rules if self.other else self._header.rules
        mine = [rules.pair(app) for app in rules.apps if self._about(app.key)]
        return any(node in (pair.primary.node, pair.backup.node) for pair in mine)

    def _print(self, line: Line) -> None:
        if self.arguments.output == "json":
            self._lines.append({**asdict(line), "at": line.at.isoformat(), "text": line.text.strip()})
        else:
            print(f"{moment(line.at)} {line.text}")

    def _heading(self, text: str) -> None:
        self._headings.append(text.lstrip("# "))
        if self.arguments.output != "json":
            print(text)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _verdict(verdict: Verdict) -> str:
    return judged(verdict) + (f": {'; '.join(verdict.evidence)}" if verdict.evidence else "")


def _move(one: Departure, *, real: bool) -> str:
    lasted = (one.last - one.began).total_seconds()
    if real and not one.held:
        return one.text
    return f"{one.text}; wanted for {lasted:.0f} s" if lasted else one.text
