"""What one duration of the configuration would have made of a recording, for several values of it.

Each value watches the same recorded world, as `WhatIf` does: what it would have begun is told, not how that would
have ended. So there is no RTO here; what can be told is after how long a silence a failover would have begun, and
whether the node was heard again afterwards. In a recording made in mode `observe` the copies have no roles and no
proof: what objects for that is set aside, for it would not be there under a daemon that acts. So is what objects
because another instance led.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from failoverd.core.memory import Kind, Memory, worst
from failoverd.core.model import Decision
from failoverd.core.rules import Mode, Rules
from failoverd.record import Remembered
from failoverd.recording import Tick
from failoverd.replay import OBSERVED, UNADOPTED, Departures, WhatIf, following

NOTICED = timedelta(seconds=20)
"""Shorter silences are none: a lease is renewed every 10 s (docs/facts.md), and a tick may come late."""
NONE = timedelta(0)


@dataclass(slots=True, kw_only=True)
class Silence:
    """A node was not heard for longer than `NOTICED`."""

    node: str
    since: datetime
    lasted: timedelta
    over: bool = False
    """Whether it was heard again before the recording ended, or was interrupted."""

    @property
    def until(self) -> datetime:
        """When it was heard again, or last missed."""
        return self.since + self.lasted


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A failover that one value would have begun."""

    app: str
    node: str
    at: datetime
    silent: timedelta
    """For how long the node had not been heard."""
    at_risk: float | None
    """Data age that it would have stated, in seconds; None where one was unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What one value comes to; times in seconds."""

    value: timedelta
    failovers: int
    silent: float | None
    """Median of the silences after which they would have begun; None where there were none."""
    silent_longest: float | None
    came_back: int
    """Of how many the node was heard again."""
    soonest: float | None
    """The shortest time from the beginning of a failover until its node was heard again."""
    at_risk: float | None
    """The most that one would have stated as lost; None where an age was unknown."""


@dataclass(slots=True)
class Value:
    """One value's rules, taking tick after tick."""

    value: timedelta
    rules: Rules
    open: Callable[[datetime], bool]
    about: str = ""
    """Only this app's failovers count; all, where it is empty."""
    begun: list[Begun] = field(default_factory=list)
    _what_if: WhatIf = field(init=False)
    _moves: Departures = field(init=False)

    def __post_init__(self) -> None:
        self._what_if = WhatIf(self.rules, self.open)
        self._moves = Departures(NOTICED)

    def take(self, tick: Tick, *, counts: bool) -> Decision:
        """Decide upon one tick. Raises what `decide` raises."""
        given, decision = self._what_if.decide(tick)
        aside = following(tick, UNADOPTED if tick.seen.rules.mode is Mode.OBSERVE else OBSERVED)
        for move in self._moves.add(given, decision, tick.seen.now.wall, aside):
            if counts and move.kind is Kind.FAILOVER and self.about in ("", move.app):
                self.begun.append(self._begun(move.app, given, decision, tick))
        return decision

    def _begun(self, app: str, given: Remembered, decision: Decision, tick: Tick) -> Begun:
        assert isinstance(given, Memory)
        node = self.rules.place(self.rules.app(app), given.apps[app].active).node
        move = decision.memory.apps[app].move
        return Begun(
            app=app,
            node=node,
            at=tick.seen.now.wall,
            silent=_silent(decision, node, tick),
            at_risk=worst(loss.age_seconds for loss in move.losses) if move is not None else None,
        )

    def point(self, silences: Iterable[Silence]) -> Point:
        """What it comes to, by the silences of the recording."""
        ended = [one for one in silences if one.over]
        backs = []
        for move in self.begun:
            within = [one.until for one in ended if one.node == move.node and one.since <= move.at <= one.until]
            backs += [(min(within) - move.at).total_seconds()] if within else []
        silent = [one.silent.total_seconds() for one in self.begun]
        return Point(
            value=self.value,
            failovers=len(self.begun),
            silent=statistics.median(silent) if silent else None,
            silent_longest=max(silent, default=None),
            came_back=len(backs),
            soonest=min(backs, default=None),
            at_risk=worst(one.at_risk for one in self.begun),
        )


def _silent(decision: Decision, node: str, tick: Tick) -> timedelta:
    seen = decision.watch.nodes.get(node)
    return tick.seen.now.mono - seen.stamp_seen_at if seen and seen.stamp_seen_at is not None else NONE


@dataclass(slots=True)
class Silences:
    """The silences of a recording, as any rules see them."""

    found: list[Silence] = field(default_factory=list)
    _open: dict[str, Silence] = field(default_factory=dict)

    def take(self, tick: Tick, decision: Decision) -> None:
        """Take one tick."""
        for node in decision.watch.nodes:
            silent, known = _silent(decision, node, tick), self._open.get(node)
            if silent > NOTICED:
                if known is None:
                    since = tick.seen.now.wall - silent
                    known = self._open[node] = Silence(node=node, since=since, lasted=silent)
                    self.found.append(known)
                known.lasted = silent
            elif known is not None:
                known.lasted, known.over = tick.seen.now.wall - silent - known.since, True
                del self._open[node]

    def interrupted(self) -> None:
        """Another run or instance follows: what was silent there is not known to have gone on."""
        self._open.clear()


@dataclass(slots=True)
class Trace:
    """A recording under several values."""

    values: Sequence[Value]
    silences: Silences = field(default_factory=Silences)
    moved: Departures = field(default_factory=lambda: Departures(NONE, others=True))
    """What the recorded daemon, or another instance, began: from then on no value finds the app where it was."""
    between: list[datetime] = field(default_factory=list)
    """The first and the last tick that counts."""
    ticks: int = 0
    _run: tuple[str, str] | None = None

    def take(self, tick: Tick, *, counts: bool) -> None:
        """Let every value decide upon a tick; of one that does not count only what is remembered goes on."""
        run = tick.header.instance, tick.header.run
        if self._run not in (None, run):
            self.silences.interrupted()
        self._run = run
        decisions = [value.take(tick, counts=counts) for value in self.values]
        if counts:
            self.silences.take(tick, decisions[0])
            if tick.seen.decision is not None:
                self.moved.add(tick.seen.memory, tick.seen.decision, tick.seen.now.wall, frozenset())
            self.ticks += 1
            self.between = [*self.between[:1], tick.seen.now.wall]

    def points(self) -> list[Point]:
        """What every value comes to."""
        return [value.point(self.silences.found) for value in self.values]
