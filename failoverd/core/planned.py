"""Planned work on the active node: a cordon, a drain, an announced reboot, its deletion. None of it is a failure.

The one rule of this file: planned work explains a silence, for a while. Until then nothing moves because of it;
afterwards the node is one like any other, and whatever proves its death counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from failoverd.core.case import Case, Wish
from failoverd.core.memory import Kind, Memory, Phase
from failoverd.core.model import Health, NodeReading, Note, Objection, Snapshot, Unknown, Why
from failoverd.core.rules import Drain, Mode, Rules, Site

TOPIC = "planned"
"""How an incident of planned work begins: `planned k3s-w1`."""


def work(case: Case, site: Site) -> str:
    """The planned work on the node of `site`; empty when there is none."""
    reading = case.snapshot.nodes.get(case.place(site).node)
    return reading.work if reading else ""


def patience(case: Case, wish: Wish) -> Iterator[Objection]:
    """A node that falls silent in the middle of planned work is most likely rebooting, and comes back."""
    verdict, what = case.verdict(case.was.active), work(case, case.was.active)
    if wish.kind is not Kind.FAILOVER or not what or verdict.health is Health.UP:
        return
    limit = case.rules.timings.patience
    if verdict.silent_for < limit:
        yield Objection(
            why=Why.PLANNED,
            text=f"{case.place(case.was.active).node} is {what}: planned work, waited for until it has been silent "
            f"for {limit.total_seconds():.0f} s ({verdict.silent_for.total_seconds():.0f} s so far)",
        )


def announced(case: Case, wish: Wish) -> Iterator[Objection]:
    """Nothing is taken by plan to a node that is about to be rebooted: it is cordoned a moment later only."""
    reading = case.snapshot.nodes.get(case.place(wish.target).node)
    node = reading.node if reading else None
    if wish.kind.planned and wish.target is not case.was.active and node and not isinstance(node, Unknown):
        if node.rebooting:
            text = f"target {case.place(wish.target).node} is being rebooted by {node.rebooting}"
            yield Objection(why=Why.PLANNED, text=text)


def departure(case: Case) -> Wish | None:
    """The switchover that a drain of the active node calls for, where the rules want one."""
    active, node = case.was.active, case.place(case.was.active).node
    what = work(case, active)
    if case.rules.drain is not Drain.SWITCHOVER or not what or case.verdict(active).health is not Health.UP:
        return None
    return Wish(kind=Kind.SWITCHOVER, target=active.other, reason=f"{node} is {what}")


def topics(
    rules: Rules, memory: Memory, snapshot: Snapshot, said: Mapping[str, str]
) -> Mapping[str, tuple[str, Note | None]]:
    """What is said of planned work on nodes with an active app, by incident: (reasons, note)."""
    found: dict[str, tuple[str, Note | None]] = {}
    if rules.drain is Drain.IGNORE:
        return found
    for name in rules.nodes:
        reading = snapshot.nodes.get(name)
        apps, incident = tuple(_active(rules, memory, name)), f"{TOPIC} {name}"
        if reading is None or (isinstance(reading.node, Unknown) and not reading.work):
            if incident in said:  # nothing is known that would end it
                found[incident] = (said[incident], None)
        elif reading.work and apps:
            text = _text(rules, name, reading, apps)
            found[incident] = (reading.work, Note(incident=incident, text=text, level="warning"))
        elif reading.work and incident in said:  # its apps have gone, the work goes on
            found[incident] = (said[incident], None)
    return found


def _active(rules: Rules, memory: Memory, node: str) -> Iterator[str]:
    for app in rules.apps:
        was = memory.apps.get(app.key)
        if was is not None and was.phase is Phase.WATCHING and rules.place(app, was.active).node == node:
            yield app.key


def _text(rules: Rules, node: str, reading: NodeReading, apps: tuple[str, ...]) -> str:
    listed = ", ".join(apps[:3]) + (f" and {len(apps) - 3} more" if len(apps) > 3 else "")
    text = f"{node} is {reading.work}: planned work, not a failure"
    if isinstance(reading.node, Unknown):
        how = f"`failoverd failover {apps[0]}` once it is certainly off"
        return f"{text}; {listed} cannot be moved by plan any more: {how}"
    if rules.drain is Drain.SWITCHOVER and rules.mode is Mode.ACTIVE:
        return f"{text}; moved away: {listed}"
    each = "" if len(apps) == 1 else ", and so on for each"
    return f"{text}; nothing moves by itself: before pods are evicted, `failoverd switchover {apps[0]}`{each}"
