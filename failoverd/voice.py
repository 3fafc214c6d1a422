"""Says what was decided: one line in the log for everything that changed, and every note to whoever listens.

The one rule of this file: saying never fails and never waits. A listener that raises is reported once and the
others are heard all the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime

import structlog
from structlog.typing import FilteringBoundLogger

from failoverd.core.memory import Phase
from failoverd.core.model import (
    Action,
    AppDecision,
    Decision,
    Health,
    Note,
    Now,
    Objection,
    PatchApplier,
    PatchWorkload,
    Receipt,
    Scan,
    Snapshot,
    Unknown,
    Verdict,
)

NUMBER = re.compile(r"(?<![\w-])\d+(?:[.:]\d+)*")
"""A number standing by itself: `12 s` and `3/5` count up, the digits of `k3s-w1` name something."""


@dataclass(slots=True)
class Speaker:
    """The Voice of one instance. `say` is called once per tick, from the loop."""

    show: Callable[[Decision, Snapshot, Now], None] | None = None
    """Puts the tick on the status page and the metrics."""
    chat: Callable[[Note, datetime], None] | None = None
    """Hands a note to the chat channels; returns at once."""
    events: Callable[[Note, datetime], None] | None = None
    """Writes a note as a Kubernetes Event; returns at once."""
    log: FilteringBoundLogger = field(default_factory=lambda: structlog.get_logger("failoverd"))
    _before: Decision | None = None
    _seen: Snapshot | None = None
    _details: dict[str, str] = field(default_factory=dict)
    _deaf: set[str] = field(default_factory=set)

    def say(self, decision: Decision, snapshot: Snapshot, now: Now) -> None:
        """Say everything about one tick. Returns at once and never raises."""
        self._guard("status page", lambda: self.show and self.show(decision, snapshot, now))
        for note in decision.notes:
            self._guard("chat", lambda note=note: self.chat and self.chat(note, now.wall))  # type: ignore[misc]
            self._guard("events", lambda note=note: self.events and self.events(note, now.wall))  # type: ignore[misc]
        self._guard("log", lambda: self._write(decision, snapshot))
        self._before, self._seen = decision, snapshot

    def _guard(self, listener: str, speak: Callable[[], object]) -> None:
        try:
            speak()
        except Exception as error:
            if listener not in self._deaf:
                self._deaf.add(listener)
                self.log.error("a listener failed", listener=listener, exc_info=error)
        else:
            self._deaf.discard(listener)

    def _write(self, decision: Decision, snapshot: Snapshot) -> None:
        self._instance(snapshot)
        for receipt in snapshot.receipts:
            self._receipt(receipt, decision.apps)
        verdicts = self._before.verdicts if self._before else {}
        for node, verdict in decision.verdicts.items():
            self._verdict(node, verdicts.get(node), verdict)
        apps = self._before.apps if self._before else {}
        for key, app in decision.apps.items():
            self._app(key, apps.get(key), app)
        # apps of one node share its fence
        for action in {one.key: one for one in decision.actions}.values():
            if action.key not in snapshot.in_flight:
                level = "debug" if routine(action, decision.apps) else "info"
                getattr(self.log, level)("action", act=name(action), **described(action), because=action.reason)
        for note in decision.notes:
            speak = {"info": self.log.info, "error": self.log.error}.get(note.level, self.log.warning)
            speak(
                "note",
                incident=note.incident,
                text=note.text,
                **({"resolved": True} if note.resolved else {}),
            )

    def _instance(self, snapshot: Snapshot) -> None:
        seen = self._seen
        if seen is None or seen.instance.leader is not snapshot.instance.leader:
            self.log.info("leader" if snapshot.instance.leader else "not leader", holder=snapshot.instance.holder)
        lost = isinstance(snapshot.api, Unknown)
        if lost is not (seen is not None and isinstance(seen.api, Unknown)):
            if isinstance(snapshot.api, Unknown):
                self.log.warning("API server unreachable", why=snapshot.api.why)
            else:
                self.log.info("API server answers again")

    def _verdict(self, node: str, before: Verdict | None, after: Verdict) -> None:
        same = before is not None and (before.health, before.proven, before.isolated) == (
            after.health,
            after.proven,
            after.isolated,
        )
        if same and before is not None and alike(before.objections) == alike(after.objections):
            return
        speak = self.log.info if after.health is Health.UP else self.log.warning
        speak(
            "verdict",
            node=node,
            before=str(before.health) if before else None,
            after=str(after.health),
            proven=after.proven,
            isolated=after.isolated,
            evidence=list(after.evidence),
            objections=[str(objection) for objection in after.objections],
        )

    def _app(self, key: str, before: AppDecision | None, after: AppDecision) -> None:
        if before is None or before.phase is not after.phase:
            self.log.info("phase", app=key, before=before and str(before.phase), after=str(after.phase))
        if before is None or before.wanted is not after.wanted or differ(before.objections, after.objections):
            if after.objections:
                texts = [str(objection) for objection in after.objections]
                self.log.warning("objections", app=key, wanted=after.wanted and str(after.wanted), objections=texts)
            elif before is not None and before.objections:
                self.log.info("no objections", app=key, wanted=after.wanted and str(after.wanted))
        if differ(before.alarms if before else (), after.alarms):
            if after.alarms:
                self.log.warning("alarms", app=key, alarms=[str(alarm) for alarm in after.alarms])
            else:
                self.log.info("no alarms", app=key)
        if after.waiting and still(before.waiting if before else "") != still(after.waiting):
            self.log.info("waiting", app=key, text=after.waiting)

    def _receipt(self, receipt: Receipt, apps: Mapping[str, AppDecision]) -> None:
        action = receipt.action
        act = {"act": name(action), **described(action)}
        if routine(action, apps):
            # A scan is made every few seconds; only a change in how it ends is news.
            detail = "" if receipt.ok else still(receipt.detail) or "failed"
            if self._details.get(action.key, "") == detail:
                self.log.debug("receipt", **act, ok=receipt.ok, detail=receipt.detail)
                return
            self._details[action.key] = detail
        speak = self.log.info if receipt.ok else self.log.warning
        speak("receipt", **act, ok=receipt.ok, detail=receipt.detail)


def routine(action: Action, apps: Mapping[str, AppDecision]) -> bool:
    """Whether it is the scan that every app at rest gets all day long, for the sake of its data age."""
    if not isinstance(action, Scan):
        return False
    app = apps.get(action.app)
    return app is None or app.phase in {Phase.WATCHING, Phase.ADOPTING, Phase.FROZEN}


def name(action: Action) -> str:
    """The kind of action in words: `SetRole` is `set role`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(action).__name__).lower()


def described(action: Action) -> dict[str, object]:
    """The action's own fields; a patch as the operations and paths it consists of."""
    parts: dict[str, object] = {}
    for each in fields(action):
        value = getattr(action, each.name)
        if each.name == "reason" or value is None:
            continue
        if isinstance(action, PatchWorkload | PatchApplier) and each.name == "ops":
            value = [f"{op.op} {op.path}" for op in action.ops]
        parts[each.name] = str(value) if isinstance(value, str) else value
    return parts


def still(text: str) -> str:
    """`text` without what merely counts up, so that a growing age is not news every second."""
    return NUMBER.sub("#", text)


def alike(objections: tuple[Objection, ...]) -> frozenset[tuple[str, str]]:
    """What makes two sets of objections the same: reasons and words, not the numbers in them."""
    return frozenset((objection.why, still(objection.text)) for objection in objections)


def differ(before: tuple[Objection, ...], after: tuple[Objection, ...]) -> bool:
    """Whether a reader would learn anything from hearing `after` when `before` was said already."""
    return alike(before) != alike(after)
