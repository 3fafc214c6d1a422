"""Decisions as lines of a story: what changed from one tick to the next, in the words of objections and notes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from failoverd.core.model import Action, AppDecision, Decision, Now, Snapshot, Verdict
from failoverd.voice import alike, name, routine, still


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line: of an app, of a node, or of neither."""

    at: datetime
    tick: int
    text: str
    app: str = ""
    node: str = ""


def judged(verdict: Verdict) -> str:
    """A verdict in one word, or two."""
    return f"{verdict.health}{' (proven)' if verdict.proven else ''}{' (isolated)' if verdict.isolated else ''}"


def position(app: AppDecision) -> tuple[object, str]:
    """Where an app stands: what makes two positions the same, and the words for it."""
    alarms = alike(app.alarms)
    mark = (app.phase, app.wanted, alike(app.objections), alarms)
    parts = [str(app.phase)]
    if app.wanted:
        parts.append(f"wants a {app.wanted}" + ("" if app.objections else ", nothing objects"))
    if app.objections:
        parts.append("objects: " + "; ".join(str(objection) for objection in app.objections))
    if app.alarms:
        parts.append("alarm: " + "; ".join(str(alarm) for alarm in app.alarms))
    return mark, "; ".join(parts)


@dataclass(slots=True)
class Timeline:
    """Tells tick by tick what changed. What merely counts up is no change."""

    _last: dict[str, object] = field(default_factory=dict)

    def lines(self, tick: int, decision: Decision, snapshot: Snapshot, now: Now) -> Iterator[Line]:
        """The lines of one tick."""

        def line(text: str, *, app: str = "", node: str = "") -> Line:
            return Line(at=now.wall, tick=tick, text=text, app=app, node=node)

        if self._news("leader", snapshot.instance.leader):
            yield line("this instance leads" if snapshot.instance.leader else "this instance does not lead")
        for receipt in snapshot.receipts:
            ended = "" if receipt.ok else still(receipt.detail) or "failed"
            if self._news(f"receipt {receipt.action.key}", ended, first=""):
                text = f"{said(receipt.action)}: {'done' if receipt.ok else receipt.detail or 'failed'}"
                yield line(text, app=app_of(receipt.action), node=node_of(receipt.action))
        for what, which, text in self._conclusions(decision):
            yield line(text, app=which if what == "app" else "", node=which if what == "node" else "")
        for action in decision.actions:
            if action.key not in snapshot.in_flight and not routine(action, decision.apps):
                yield line(f"{said(action)}: {action.reason}", app=app_of(action), node=node_of(action))
        for note in decision.notes:
            yield line(f"says: {note.text}", app=note.app)

    def _conclusions(self, decision: Decision) -> Iterator[tuple[str, str, str]]:
        for node, verdict in decision.verdicts.items():
            if self._news(f"node {node}", judged(verdict)):
                evidence = f": {'; '.join(verdict.evidence)}" if verdict.evidence else ""
                yield "node", node, f"{node} is {judged(verdict)}{evidence}"
        for key, app in decision.apps.items():
            mark, text = position(app)
            if self._news(f"app {key}", mark):
                yield "app", key, f"{key}: {text}"
            if self._news(f"waiting {key}", still(app.waiting), first="") and app.waiting:
                yield "app", key, f"{key} waits: {app.waiting}"

    def _news(self, what: str, value: object, first: object = None) -> bool:
        before = self._last.get(what, first)
        self._last[what] = value
        return before != value


def said(action: Action) -> str:
    """What is done to what."""
    parts = ("app", "volume", "site", "role", "node", "pod")
    return " ".join((name(action), *(str(getattr(action, part)) for part in parts if hasattr(action, part))))


def app_of(action: Action) -> str:
    """Key of the app an action is for; empty for none."""
    return str(getattr(action, "app", ""))


def node_of(action: Action) -> str:
    """Name of the node an action is for; empty for none."""
    return str(getattr(action, "node", ""))
