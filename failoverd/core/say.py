"""The words: what is said of a transition, a hold, an alarm, a verdict. One author for log, chat, CLI and page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from failoverd.core import alarms, planned, standby
from failoverd.core.again import replace
from failoverd.core.machine import Row
from failoverd.core.memory import Alarm, AppMemory, Kind, Loss, Memory, Move, Phase
from failoverd.core.model import (
    AppDecision,
    Command,
    CommandKind,
    Health,
    Note,
    Now,
    Objection,
    Snapshot,
    Unknown,
    Verdict,
    Watch,
)
from failoverd.core.rules import Drain, Rules


def seconds(value: timedelta | float | None) -> str:
    """A duration for people; `unknown` where there is none."""
    if value is None:
        return "unknown"
    number = value.total_seconds() if isinstance(value, timedelta) else value
    return f"{number:.0f} s"


def losses(move: Move) -> str:
    """What an unplanned move may have lost."""
    return ", ".join(_loss(loss) for loss in move.losses)


def lost(move: Move) -> str:
    """The loss of a finished failover: bounded where the lost side was proven dead, open where it may write on."""
    if any(name == "dead" for name, _ in move.marks):
        return f"lost at most: {losses(move)}"
    return f"lost so far: {losses(move)}; the lost side was not proven dead: what it still writes stays there, kept"


def _loss(loss: Loss) -> str:
    missing = f", {loss.missing} announced items missing" if loss.missing else ""
    return f"{loss.volume}: data age {seconds(loss.age_seconds)}{missing}"


def rto(move: Move) -> dict[str, float]:
    """The parts of an RTO in seconds; together they last from the node's first missed renewal (or from where it was
    seen stopped) to Ready; those of a planned move from the decision. Parts that never happened are absent."""
    names = {
        "decided": "detect and decide",
        "fenced": "fence",
        "flipped": "move",
        "placed": "place",
        "ready": "ready",
    }
    began = move.last_write_at or move.began_at  # of a move begun by a version that did not mark the silence
    before = next((at for name, at in move.marks if name == "silent"), began)
    parts: dict[str, float] = {}
    for name, at in move.marks:
        if name in names:
            parts[names[name]] = max((at - before).total_seconds(), 0.0)
            before = max(before, at)
    return parts


def headline(move: Move) -> str:
    """One line that names a move."""
    forced = "forced " if move.forced else ""
    if move.kind is Kind.RESTORE:
        return f"restore of {move.restore or 'a file'} for {move.app} at {move.target}"
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
        if move.losses and move.outcome == "done":
            text += f"; {lost(move)}"
    level = "warning" if move.kind is Kind.FAILOVER or move.outcome not in ("", "done") else "info"
    return [Note(incident=f"move {move.id}", text=text, level=level, app=move.app, resolved=bool(move.outcome))]


def stood(before: AppMemory | None, after: AppMemory) -> list[Note]:
    """The good end of the watch over a move's patch, said once: nobody has undone it."""
    known = dict(before.moves[-1].marks) if before and before.moves else {}
    move = after.moves[-1] if after.moves else None
    at = dict(move.marks).get("stood") if move else None
    if move is None or at is None or "stood" in known or move.ended_at is None:
        return []
    text = f"{headline(move)}: its patch stood for {seconds(at - move.ended_at)}, two intervals of Flux (monitor_for)"
    return [Note(incident=f"move {move.id}", text=text, app=move.app, resolved=True)]


def answered(command: Command, text: str) -> Note:
    """What became of an operator's command; of a move, and of an alarm, is said there who asked and why."""
    who = ""
    if command.kind in (CommandKind.PAUSE, CommandKind.RESUME, CommandKind.RELEASE):
        who = f" by {command.by or 'somebody'}" + (f" ({command.why})" if command.why else "")
    return Note(
        incident=f"command {command.id}",
        text=f"{command.kind} {command.app}: {text}" + ("" if text.startswith("refused") else who),
        app="" if command.app == "*" else command.app,
        level="warning" if text.startswith("refused") else "info",
        resolved=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything of a tick that people are told about."""

    rules: Rules
    snapshot: Snapshot
    verdicts: Mapping[str, Verdict]
    apps: Mapping[str, AppDecision]
    memory: Memory
    blind: Objection | None = None
    """Why Memory cannot be used."""
    acknowledged: tuple[tuple[str, Alarm], ...] = ()
    """By app key: the alarms that an operator acknowledged in this tick."""


def speak(scene: Scene, watch: Watch, now: Now) -> tuple[Watch, list[Note]]:
    """Holds, alarms and verdicts, each said once when it begins or changes its reasons, and once when it ends."""
    said = {**dict.fromkeys(scene.memory.incidents, INHERITED), **watch.said}
    if isinstance(scene.snapshot.api, Unknown):
        silent = now.mono - watch.api_seen_at if watch.api_seen_at is not None else now.mono
        topics: dict[str, tuple[str, Note | None]] = {key: (reasons, None) for key, reasons in said.items()}
        if silent > scene.rules.timings.witness_within:
            topics[API] = ("unreachable", _api_note(scene.snapshot.api))
    else:
        heard = standby.Heard(
            rules=scene.rules, apps=scene.apps, verdicts=scene.verdicts, watch=watch, said=said, now=now
        )
        topics = {
            **_standing(scene, said),
            **_topics(scene),
            **planned.topics(scene.rules, scene.memory, scene.snapshot, said),
            **standby.topics(heard),
        }
    notes = [_acknowledged(key, one, topics, said) for key, one in scene.acknowledged]
    for incident in {note.incident for note in notes if note.resolved}:
        said.pop(incident, None)  # that is its end, and it is told
    for incident, (reasons, note) in topics.items():
        if said.get(incident) == INHERITED and reasons in alarms.REMEMBERED:
            said[incident] = reasons  # it is remembered, and so was told by whoever saw it first
        if said.get(incident) != reasons and note is not None:
            notes.append(note)
            said[incident] = reasons
    for incident in [known for known in said if known not in topics]:
        before = said[incident]
        inherited = before == INHERITED
        if inherited and not _settled(incident, scene):
            continue
        del said[incident]
        kind, _, name = incident.partition(" ")
        begun = kind == "hold" and name in scene.apps and scene.apps[name].phase in MOVING
        text = _over(incident, before, scene.verdicts) + (": its move has begun" if begun else "")
        # who said that it began may not be us: as heavy as the beginning, the end reaches everybody who heard that
        level = LEVELS.get(kind, "info") if inherited else "info"
        app = name.partition(" ")[0] if kind in ("hold", "alarm", standby.UNFIT) else ""
        notes.append(Note(incident=incident, text=text, level=level, app=app, resolved=True))
    return (replace(watch, said=said) if said != watch.said else watch), notes


def _acknowledged(key: str, alarm: Alarm, topics: Mapping[str, object], said: Mapping[str, str]) -> Note:
    """One acknowledged alarm: whose words, by whom and why. Of a mass deletion this is all that is kept."""
    incident = _alarm(key, alarm.why)
    by, why = alarm.acknowledged_by or "somebody", alarm.acknowledged_why or "no reason given"
    text = f"{key}: {alarm.why}: acknowledged by {by} ({why}): {alarm.text}"
    level = LEVELS["alarm"] if said.get(incident) == INHERITED else "info"
    return Note(incident=incident, text=text, level=level, app=key, resolved=incident not in topics)


def hush(watch: Watch, snapshot: Snapshot, *, blind: bool) -> tuple[Watch, list[Note]]:
    """What one that no longer leads still says: the end of what only it could tell of. The rest is remembered."""
    over = [MEMORY] if MEMORY in watch.said and not blind else []
    over += [API] if API in watch.said and not isinstance(snapshot.api, Unknown) else []
    said = {incident: watch.said[incident] for incident in (API, MEMORY) if incident in watch.said}
    notes = [
        Note(incident=incident, text=_over(incident, watch.said[incident], {}), resolved=True) for incident in over
    ]
    return replace(watch, said={known: why for known, why in said.items() if known not in over}), notes


def remembered(memory: Memory, watch: Watch) -> Memory:
    """`memory` with the incidents that whoever leads next has to bring to an end."""
    incidents = tuple(known for known in watch.said if known not in (API, MEMORY))
    return memory if incidents == memory.incidents else replace(memory, incidents=incidents)


def _alarm(key: str, why: str) -> str:
    return f"alarm {key} {why}"


def _standing(scene: Scene, said: Mapping[str, str]) -> dict[str, tuple[str, Note | None]]:
    """Alarms that nobody has acknowledged, though nobody looks now: their app moves or is frozen, or Memory cannot be
    read. What was said of them stands."""
    known = scene.memory.apps
    unread = scene.apps if scene.blind is not None else ()
    found = {_alarm(key, why.value) for key in unread for why in alarms.REMEMBERED}
    for key in scene.apps:
        if key in known and known[key].phase is not Phase.RELEASED:
            found |= {_alarm(key, one.why) for one in known[key].alarms if one.acknowledged_at is None}
    return {incident: (reasons, None) for incident, reasons in said.items() if incident in found}


def _settled(incident: str, scene: Scene) -> bool:
    """Whether an incident of an earlier process is over: one that has only just begun to look knows nothing yet."""
    about, _, name = incident.partition(" ")
    key = name.partition(" ")[0]
    if about in (planned.TOPIC, standby.UNFIT, standby.NODE):
        return True  # these stay among the topics for as long as nothing is known
    if about == "node":
        return name not in scene.rules.nodes or _up(scene, name)
    was = scene.memory.apps.get(key)
    if was is None or key not in scene.apps or scene.apps[key].phase not in (Phase.ADOPTING, Phase.WATCHING):
        return True
    return _up(scene, scene.rules.place(scene.rules.app(key), was.active).node)


def _up(scene: Scene, node: str) -> bool:
    verdict = scene.verdicts.get(node)
    return verdict is not None and verdict.health is Health.UP


API, MEMORY = "api server", "memory"
INHERITED = ""
"""What was last said of an incident that an earlier process told of."""
LEVELS = {
    "hold": "warning",
    "node": "warning",
    "alarm": "error",
    planned.TOPIC: "warning",
    standby.UNFIT: "warning",
    standby.NODE: "warning",
}
MOVING = frozenset(set(Phase) - {Phase.ADOPTING, Phase.WATCHING, Phase.FROZEN, Phase.RELEASED})


def _api_note(api: Unknown) -> Note:
    text = f"API server unreachable, nothing is decided until it answers: {api.why}"
    return Note(incident=API, text=text, level="error")


def _over(incident: str, before: str, verdicts: Mapping[str, Verdict]) -> str:
    about, _, name = incident.partition(" ")
    if incident == API:
        return "API server answers again"
    if about == planned.TOPIC:
        return f"{name} is no longer {before or 'in planned work'}: the planned work is over"
    if about in (standby.UNFIT, standby.NODE):
        return f"{name}: the other side could take over again" if about == standby.UNFIT else f"{name} is fit again"
    if name not in verdicts:
        return f"{name or 'failoverd'}: {about} is over"
    verdict = verdicts[name]
    if before == INHERITED:
        return f"{name} is {verdict.health}: {', '.join(verdict.evidence)}"
    # an UNKNOWN node is spoken of for its silence alone: that has ended, and UP is still to come
    was = "silent" if before == Health.UNKNOWN else before
    now = "UP" if verdict.health is Health.UP else f"{verdict.health}, not UP yet"
    return f"{name} was {was} and is now {now}: {', '.join(verdict.evidence)}"


def _held(scene: Scene, key: str, decision: AppDecision) -> bool:
    """Whether a move that the situation itself calls for is held back; failbacks wait without a word."""
    was = scene.memory.apps.get(key)
    if decision.wanted is not Kind.SWITCHOVER or was is None:
        return decision.wanted is Kind.FAILOVER
    reading = scene.snapshot.nodes.get(scene.rules.place(scene.rules.app(key), was.active).node)
    return scene.rules.drain is Drain.SWITCHOVER and reading is not None and bool(reading.work)


def _topics(scene: Scene) -> dict[str, tuple[str, Note | None]]:
    rules, verdicts = scene.rules, scene.verdicts
    topics: dict[str, tuple[str, Note | None]] = {}
    if scene.blind is not None:
        topics[MEMORY] = (scene.blind.text, Note(incident=MEMORY, text=scene.blind.text, level="error"))
    for key, decision in scene.apps.items():
        if decision.objections and _held(scene, key, decision):
            reasons = ", ".join(sorted({objection.why.value for objection in decision.objections}))
            told = "; ".join(str(objection) for objection in decision.objections)
            note = Note(incident=f"hold {key}", text=f"{key} is not moved: {told}", level="warning", app=key)
            topics[note.incident] = (reasons, note)
        for why in dict.fromkeys(alarm.why for alarm in decision.alarms):
            told = "; ".join(alarm.text for alarm in decision.alarms if alarm.why is why)
            note = Note(incident=_alarm(key, why), text=f"{key}: {told}", level="error", app=key)
            topics[note.incident] = (why.value, note)
    for name in rules.nodes:
        verdict = verdicts.get(name)
        if verdict is None or verdict.health is Health.UP:
            continue
        # a node that is merely not UP yet, as after every start of ours, is no news
        if verdict.health is Health.DOWN or verdict.silent_for > rules.timings.witness_within:
            reading = scene.snapshot.nodes.get(name)
            planned_work = reading is not None and bool(reading.work)
            level = "error" if verdict.health is Health.DOWN and not planned_work else "warning"
            text = f"{name} is {verdict.health}: {', '.join(verdict.evidence)}"
            incident = f"node {name}"
            topics[incident] = (verdict.health.value, Note(incident=incident, text=text, level=level))
    return topics
