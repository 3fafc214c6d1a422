"""Decides again upon recorded ticks: by the rules they were recorded under, or by others.

By the same rules every decision must be the recorded one. By others the world that was recorded does not follow:
what the other rules would have begun is told, and the story goes on as it was recorded. So nothing is said of how
such a move would have ended.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from failoverd.codec import Tree, changes, encode
from failoverd.core import say
from failoverd.core.decide import decide
from failoverd.core.memory import Kind, Memory, Move
from failoverd.core.model import Decision, NodeReading, Snapshot, Unknown, Watch, Why
from failoverd.core.rules import Rules, Site
from failoverd.record import Remembered, Seen
from failoverd.recording import Tick

ABSENT = Unknown("not recorded")
"""Every reading that the other rules ask for and the recording does not have."""


def again(seen: Seen) -> Decision:
    """What `decide` says to the very same inputs. Raises what it raises."""
    return decide(seen.rules, seen.memory, seen.watch, seen.snapshot, seen.now)


def differences(tick: Tick, here: Decision) -> list[str]:
    """Where `here` is not the recorded decision: field, recorded value, value here. Empty where it is."""
    if here == tick.seen.decision:
        return []
    tree = encode(Decision, here)
    if tree == tick.answer:
        return []
    if tick.answer is None:
        return ["no decision is recorded: it failed, or the daemon ended"]
    return [_difference(change, tick.answer) for change in changes(tick.answer, tree)]


def _difference(change: list[Any], recorded: Tree) -> str:
    path, *value = change
    for key in path:
        recorded = recorded.get(key, None) if isinstance(recorded, dict) else None
    return f"{' / '.join(path) or 'everything'}: recorded {_brief(recorded)}, here {_brief(*value)}"


def _brief(*value: Tree) -> str:
    if not value or value[0] is None:
        return "nothing"
    text = json.dumps(value[0], ensure_ascii=False)
    return text if len(text) <= 200 else text[:200] + "…"


def rule_differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """What `after` rules otherwise than `before`, key by key."""
    for each in fields(before):
        one, other = getattr(before, each.name), getattr(after, each.name)
        name = f"{path}{each.name}"
        if one == other:
            continue
        if is_dataclass(one) and type(one) is type(other):
            yield from rule_differences(one, other, f"{name}.")
        elif _named(one) is not None and _named(other) is not None:
            yield from _listed(name, _named(one) or {}, _named(other) or {})
        else:
            yield f"{name}: {_written(one)} -> {_written(other)}"


def _listed(path: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys((*before, *after)):
        if name not in after:
            yield f"{path}: {name} is not there any more"
        elif name not in before:
            yield f"{path}: {name} is new: nothing of it is recorded"
        elif is_dataclass(before[name]):
            yield from rule_differences(before[name], after[name], f"{path} {name} ")
        elif before[name] != after[name]:
            yield f"{path} {name}: {_written(before[name])} -> {_written(after[name])}"


def _named(value: object) -> dict[str, Any] | None:
    """A tuple of apps, pairs or volumes by what they are called, one of (name, text) by the names."""
    if not isinstance(value, tuple) or not value:
        return None
    if is_dataclass(value[0]):
        return {getattr(one, "key", "") or one.name: one for one in value}
    return dict(value) if isinstance(value[0], tuple) and len(value[0]) == 2 else None


def _written(value: object) -> str:
    if isinstance(value, timedelta):
        return say.seconds(value)
    return str(value) if value not in ("", ()) else "none"


@dataclass(slots=True, kw_only=True)
class Departure:
    """A move that was begun, or would have been."""

    app: str
    kind: Kind
    began: datetime
    last: datetime
    """Until when the rules wanted it begun; longer than `began` only where it was not."""
    text: str
    held: bool = False
    """Nothing but what is set aside (mode `observe`, or that another instance led) kept it from being begun."""


OBSERVED = frozenset({Why.OBSERVING})
LED = frozenset({Why.NOT_LEADER})
"""What objects on an instance that only follows: no rules have a say in who leads."""
UNADOPTED = frozenset({*OBSERVED, Why.NOT_ADOPTED, Why.NOT_CLEAN, Why.AGE_UNKNOWN})
"""What objects where no daemon has ever given the copies their roles and proven them."""


def departures(
    given: Remembered, decision: Decision, at: datetime, aside: frozenset[Why] = OBSERVED
) -> Iterator[Departure]:
    """The moves that `decision` begins, those included that only objections to be set aside hold back."""
    known = given.apps if isinstance(given, Memory) else {}
    for key, app in decision.apps.items():
        was, then = known.get(key), decision.memory.apps.get(key)
        if then is not None and then.move is not None and (was is None or was.move is None):
            yield Departure(app=key, kind=then.move.kind, began=at, last=at, text=_told(then.move))
        elif app.wanted and app.objections and all(one.why in aside for one in app.objections):
            observing = any(one.why is Why.OBSERVING for one in app.objections)
            but = "but mode observe objects" if observing else "objects but that another instance leads"
            text = f"{app.wanted} of {key}: nothing {but}"
            yield Departure(app=key, kind=app.wanted, began=at, last=at, text=text, held=True)


def following(tick: Tick, aside: frozenset[Why] = OBSERVED) -> frozenset[Why]:
    """What is to be set aside in `tick`, to learn what other rules would begin."""
    instance = tick.seen.snapshot.instance
    return aside | LED if instance.holder and not instance.leader else aside


def _told(move: Move) -> str:
    risk = f"; at risk: {say.losses(move)}" if move.losses else ""
    return f"{say.headline(move)}: {move.reason}{risk}"


@dataclass(slots=True)
class Departures:
    """All of them; the same one wanted tick after tick counts once."""

    apart: timedelta
    """One of the same kind within this time is the same."""
    found: list[Departure] = field(default_factory=list)
    others: bool = False
    """Whether those that another instance began count too: they are in what is remembered, begun already."""
    _known: dict[str, set[str]] = field(default_factory=dict)
    """Ids of all moves that were remembered."""
    _first: datetime | None = None

    def add(
        self, given: Remembered, decision: Decision, at: datetime, aside: frozenset[Why] = OBSERVED
    ) -> list[Departure]:
        """Take one tick; returns what is new."""
        new = []
        elsewhere = list(self._elsewhere(given, decision, at)) if self.others else []
        for one in (*elsewhere, *departures(given, decision, at, aside)):
            same = next((old for old in reversed(self.found) if old.app == one.app), None)
            if same is not None and same.kind is one.kind and same.held is one.held and at - same.last <= self.apart:
                same.last = at
            else:
                self.found.append(one)
                new.append(one)
        return new

    def _elsewhere(self, given: Remembered, decision: Decision, at: datetime) -> Iterator[Departure]:
        """The moves that another instance began since the tick before, and within what was recorded."""
        self._first = at if self._first is None else min(self._first, at)
        for key, was in (given.apps if isinstance(given, Memory) else {}).items():
            moves = was.moves if was.move is None else (*was.moves, was.move)
            known = self._known.setdefault(key, {move.id for move in moves})
            for move in moves:
                if move.id not in known and move.began_at >= self._first:
                    began = move.began_at
                    yield Departure(app=key, kind=move.kind, began=began, last=began, text=_told(move))
            then = decision.memory.apps.get(key)
            here = then.move if then is not None else None
            known |= {move.id for move in (*moves, here) if move is not None}


@dataclass(slots=True)
class WhatIf:
    """Other rules, watching the recorded world. What they remember is theirs as long as the world agrees with it."""

    rules: Rules
    open: Callable[[datetime], bool]
    """Whether a moment lies within their hours of elective moves."""
    _memory: Memory | None = None
    _watch: Watch | None = None
    _before: Tick | None = None

    def decide(self, tick: Tick) -> tuple[Remembered, Decision]:
        """What they remember and decide in this tick. Raises what `decide` raises."""
        before, self._before = self._before, tick
        follows = (
            before is not None
            and before.seen.decision is not None
            and (before.header.instance, before.header.run) == (tick.header.instance, tick.header.run)
            and before.number + 1 == tick.number
        )
        if not follows:
            self._memory = self._watch = None
        elif before is not None and before.seen.decision and before.seen.decision.memory != tick.seen.memory:
            self._memory = None  # another instance wrote Memory, or it could not be saved
        rules = self.rules if self.rules.own_domain else replace(self.rules, own_domain=tick.seen.rules.own_domain)
        given = _merged(self._memory, tick.seen.memory)
        watch = self._watch or tick.seen.watch
        snapshot = fitted(tick.seen.snapshot, rules, hours_open=self.open(tick.seen.now.wall))
        decision = decide(rules, given, watch, snapshot, tick.seen.now)
        self._watch = decision.watch
        begun = any(not one.held for one in departures(given, decision, tick.seen.now.wall))
        # a fence that was never sent is not remembered as begun
        kept = given.nodes if begun and isinstance(given, Memory) else decision.memory.nodes
        self._memory = replace(decision.memory, nodes=kept) if isinstance(given, Memory | None) else None
        return given, decision


def _merged(own: Memory | None, recorded: Remembered) -> Remembered:
    if own is None or not isinstance(recorded, Memory):
        return recorded
    apps = dict(own.apps)
    for key, was in recorded.apps.items():
        mine = own.apps.get(key)
        moving = was.move is not None or (mine is not None and mine.move is not None)
        if mine is None or moving or (mine.epoch, mine.active) != (was.epoch, was.active):
            apps[key] = was  # the recorded world went on without that move, or with one that is not ours
    return replace(own, apps=apps)


def fitted(snapshot: Snapshot, rules: Rules, *, hours_open: bool) -> Snapshot:
    """`snapshot` with everything that `rules` ask for: what was not recorded is Unknown."""
    nodes = dict(snapshot.nodes)
    for name in (*rules.nodes, *(node for node, _ in rules.witnesses)):
        reading = nodes.get(name, NodeReading(lease=ABSENT, node=ABSENT))
        if not rules.fence(name):
            reading = replace(reading, guest=None)
        elif reading.guest is None:
            reading = replace(reading, guest=ABSENT)
        nodes[name] = reading
    copies = [(app.key, volume.name, site) for app in rules.apps for volume in app.volumes for site in Site]
    return replace(
        snapshot,
        nodes=nodes,
        workloads={**{app.key: ABSENT for app in rules.apps}, **snapshot.workloads},
        folders={**dict.fromkeys(copies, ABSENT), **snapshot.folders},
        claims={**dict.fromkeys(copies, ABSENT), **snapshot.claims},
        hours_open=hours_open,
    )
