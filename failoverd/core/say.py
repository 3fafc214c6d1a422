"""The words: what is said of a transition, a hold, an alarm, a verdict. One author for log, chat, CLI and page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from failoverd.core.machine import Row
from failoverd.core.memory import AppMemory, Kind, Loss, Move, Phase
from failoverd.core.model import AppDecision, Command, Health, Note, Verdict, Watch
from failoverd.core.rules import Rules


def seconds(value: timedelta | float | None) -> str:
    """A duration for people; `unknown` where there is none."""
    if value is None:
        return "unknown"
    number = value.total_seconds() if isinstance(value, timedelta) else value
    return f"{number:.0f} s"


def losses(move: Move) -> str:
    """What an unplanned move may have lost."""
    return ", ".join(_loss(loss) for loss in move.losses)


def _loss(loss: Loss) -> str:
    missing = f", {loss.missing} announced items missing" if loss.missing else ""
    return f"{loss.volume}: data age {seconds(loss.age_seconds)}{missing}"


def rto(move: Move) -> dict[str, float]:
    """The parts of an RTO in seconds, from the last possible write to Ready. Parts that never happened are absent."""
    names = {"decided": "detect and decide", "fenced": "fence", "flipped": "move", "ready": "ready"}
    before = move.last_write_at or move.began_at
    parts: dict[str, float] = {}
    for name, at in move.marks:
        if name in names:
            parts[names[name]] = (at - before).total_seconds()
            before = at
    return parts


def headline(move: Move) -> str:
    """One line that names a move."""
    forced = "forced " if move.forced else ""
    return f"{forced}{move.kind} of {move.app} from {move.source} to {move.target}"


def changed(key: str, was: AppMemory, row: Row) -> list[Note]:
    """What is said when an app goes from one phase to the next."""
    move = was.move or (was.moves[-1] if was.moves and row.next is Phase.WATCHING else None)
    if move is None:
        level = "error" if row.next is Phase.FROZEN else "info"
        why = f": {was.frozen_why}" if row.next is Phase.FROZEN else ""
        text = f"{key}: {row.phase} -> {row.next}: {row.reason}{why}"
        return [Note(incident=f"phase {key}", text=text, level=level, app=key, resolved=level == "info")]
    text = f"{headline(move)}: {row.phase} -> {row.next}: {row.reason}"
    if row.phase is Phase.WATCHING:
        text += f" ({move.reason})"
        if move.losses:
            text += f"; at risk: {losses(move)}"
    if move.outcome:
        parts = ", ".join(f"{name} {value:.0f} s" for name, value in rto(move).items())
        text = f"{headline(move)}: {move.outcome}" + (f" ({parts})" if parts else "")
        if move.losses:
            text += f"; lost at most: {losses(move)}"
    level = "warning" if move.kind is Kind.FAILOVER or move.outcome not in ("", "done") else "info"
    return [Note(incident=f"move {move.id}", text=text, level=level, app=move.app, resolved=bool(move.outcome))]


def answered(command: Command, text: str) -> Note:
    """What became of an operator's command."""
    return Note(
        incident=f"command {command.id}",
        text=f"{command.kind} {command.app}: {text}",
        app="" if command.app == "*" else command.app,
        level="warning" if text.startswith("refused") else "info",
        resolved=True,
    )


def speak(
    rules: Rules,
    watch: Watch,
    decisions: Mapping[str, AppDecision],
    verdicts: Mapping[str, Verdict],
) -> tuple[Watch, list[Note]]:
    """Holds, alarms and verdicts, each said once when it begins or changes its reasons, and once when it ends."""
    topics = _topics(rules, decisions, verdicts)
    notes: list[Note] = []
    said = dict(watch.said)
    for incident, (reasons, note) in topics.items():
        if said.get(incident) != reasons:
            if reasons or said.get(incident):
                notes.append(note if reasons else replace(note, resolved=True))
            said[incident] = reasons
    for incident in [known_incident for known_incident in said if known_incident not in topics]:
        del said[incident]
        about, _, name = incident.partition(" ")
        over = f"{name} is {verdicts[name].health}" if name in verdicts else f"{name}: {about} is over"
        notes.append(Note(incident=incident, text=over, resolved=True))
    return replace(watch, said=said), notes


def _topics(
    rules: Rules, decisions: Mapping[str, AppDecision], verdicts: Mapping[str, Verdict]
) -> dict[str, tuple[str, Note]]:
    topics: dict[str, tuple[str, Note]] = {}
    for key, decision in decisions.items():
        if decision.wanted is Kind.FAILOVER and decision.objections:
            reasons = ", ".join(sorted({objection.why.value for objection in decision.objections}))
            told = "; ".join(str(objection) for objection in decision.objections)
            note = Note(incident=f"hold {key}", text=f"{key} is not moved: {told}", level="warning", app=key)
            topics[note.incident] = (reasons, note)
        for alarm in decision.alarms:
            note = Note(incident=f"alarm {key} {alarm.why}", text=f"{key}: {alarm.text}", level="error", app=key)
            topics[note.incident] = (alarm.why.value, note)
    for name in rules.nodes:
        verdict = verdicts.get(name)
        if verdict is None or verdict.health is Health.UP:
            continue
        # a node that is merely not UP yet, as after every start of ours, is no news
        if verdict.health is Health.DOWN or verdict.silent_for > rules.timings.witness_within:
            level = "error" if verdict.health is Health.DOWN else "warning"
            text = f"{name} is {verdict.health}: {', '.join(verdict.evidence)}"
            incident = f"node {name}"
            topics[incident] = (verdict.health.value, Note(incident=incident, text=text, level=level))
    return topics
