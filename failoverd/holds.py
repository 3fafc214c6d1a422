"""Holds for the history: an app that wanted to move and was not let, since when, until when, and by what.

The one rule of this file: a hold is one entry, however long it lasts and however often it comes back, so that holds
do not push the moves out of the history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from failoverd.core.model import Decision

PREFIX = "hold "
"""How the incident of a hold begins."""
WORTH = timedelta(minutes=1)
"""A shorter one is part of every failover (proof takes its time), and the move's entry tells of it."""
SAME = timedelta(minutes=10)
"""One that comes back this soon is the same hold."""
MOST = 8
"""Objections kept of one hold: the first ones."""


@dataclass(slots=True)
class Hold:
    """One app that is, or was, held."""

    app: str
    since: datetime
    wanted: str = ""
    objections: dict[str, str] = field(default_factory=dict)
    """Reason -> its words when it was last given."""
    until: datetime | None = None
    told: tuple[Any, ...] = ()
    """What of it stands in the history."""

    @property
    def state(self) -> tuple[Any, ...]:
        """What makes an entry worth writing again; the numbers inside an objection do not."""
        return tuple(self.objections), self.until

    def entry(self) -> dict[str, Any]:
        """The hold as it stands in the history."""
        return {
            "id": f"{PREFIX}{self.app} {self.since.isoformat()}",
            "app": self.app,
            "kind": "hold",
            "wanted": self.wanted,
            "at": self.since.isoformat(),
            "until": self.until.isoformat() if self.until else None,
            "objections": [{"why": why, "text": text} for why, text in self.objections.items()],
            "outcome": "over" if self.until else "held",
        }


class Holds:
    """What the leader's ticks show of holds. Which are open, Memory says: it outlives this process."""

    def __init__(self) -> None:
        self._holds: dict[str, Hold] = {}

    def see(self, decision: Decision, at: datetime) -> list[Hold]:
        """Take one tick in; the holds whose entry has to be written (again)."""
        held = {one.removeprefix(PREFIX) for one in decision.memory.incidents if one.startswith(PREFIX)}
        for key in held:
            hold = self._holds.get(key)
            if hold is None or (hold.until is not None and at - hold.until > SAME):
                hold = self._holds[key] = Hold(app=key, since=at)
            hold.until = None
            app = decision.apps.get(key)
            if app is not None and app.wanted is not None:
                hold.wanted = app.wanted.value
                for objection in app.objections:
                    if objection.why.value in hold.objections or len(hold.objections) < MOST:
                        hold.objections[objection.why.value] = objection.text
        for key, hold in self._holds.items():
            if key not in held and hold.until is None:
                hold.until = at
        return [hold for hold in self._holds.values() if self._news(hold, at)]

    def take_over(self, entries: Iterable[Mapping[str, Any]], at: datetime) -> None:
        """Go on with the holds that an earlier leader's entries left open, and end those that are over."""
        for one in entries:
            if one.get("kind") != "hold" or one.get("until") is not None:
                continue
            try:
                key, since = str(one["app"]), datetime.fromisoformat(str(one["at"]))
                objections = {str(each["why"]): str(each["text"]) for each in one["objections"]}
            except (KeyError, TypeError, ValueError):
                continue
            now = self._holds.get(key)
            old = Hold(app=key, since=since, wanted=str(one.get("wanted", "")), objections=objections)
            old.told = old.state
            old.objections |= now.objections if now else {}
            old.until = now.until if now else at
            self._holds[key] = old

    @staticmethod
    def _news(hold: Hold, at: datetime) -> bool:
        lasted = (hold.until or at) - hold.since
        return hold.state != hold.told and bool(hold.objections) and (lasted >= WORTH or hold.told != ())
