"""The board: what the last tick concluded, ready to be asked for as JSON, metrics or a page.

The one rule of this file: nothing is computed that the core has not decided. Objections keep their own words,
an unknown age is null and never a number. The shape of `status` is promised: `schema` grows when it changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from failoverd import __version__
from failoverd.core.memory import AppMemory, Memory, Move, VolumeMemory
from failoverd.core.model import Api, AppDecision, Decision, Now, Objection, Snapshot, Standby, Unknown, Verdict
from failoverd.core.rules import App, Rules, Site
from failoverd.core.say import rto
from failoverd.ports import Clock

SCHEMA = 1
HISTORY = 5
"""Finished moves shown per app; `failoverd history` knows more."""


class Tally(Protocol):
    """What became of one chat channel's messages."""

    name: str
    sent: int
    failed: int
    dropped: int
    queued: int
    broken: bool


@dataclass(slots=True)
class Board:
    """Holds the last tick. `show` is called from the loop; everything else only reads."""

    rules: Callable[[], Rules]
    clock: Clock
    config_hash: Callable[[], str]
    tallies: Callable[[], Iterable[Tally]] = tuple
    stalled_after: timedelta = timedelta(seconds=30)
    """Without a tick for this long the loop counts as stuck."""
    decision: Decision | None = None
    snapshot: Snapshot | None = None
    turned_at: Now | None = None
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Moves this instance saw through as leader, by (kind, `done` or `aborted`)."""
    _began: timedelta | None = None

    def __post_init__(self) -> None:
        self._began = self.clock.now().mono

    def show(self, decision: Decision, snapshot: Snapshot, now: Now) -> None:
        """Take one tick in."""
        if self.decision is not None and snapshot.instance.leader:
            self._count(self.decision.memory, decision.memory)
        self.decision, self.snapshot, self.turned_at = decision, snapshot, now

    def _count(self, before: Memory, after: Memory) -> None:
        for key, app in after.apps.items():
            was = before.apps[key].move if key in before.apps else None
            for move in app.moves:
                if was is not None and move.id == was.id and move.outcome:
                    self.moves[move.kind, outcome(move)] += 1

    @property
    def date(self) -> datetime:
        """The API server's time, which pauses go by; ours while it cannot be had."""
        api = self.snapshot.api if self.snapshot else None
        return api.date if isinstance(api, Api) else self.clock.now().wall

    def quiet_for(self) -> timedelta:
        """How long ago the loop last turned, or since the start while it has not."""
        since = self.turned_at.mono if self.turned_at else self._began
        return self.clock.now().mono - (since or timedelta(0))

    def healthy(self) -> tuple[bool, str]:
        """Whether the loop turned recently, and a line that says so."""
        quiet = self.quiet_for()
        ok = quiet <= self.stalled_after
        what = "the loop turned" if self.turned_at else "the loop has not turned since the start,"
        return ok, f"{what} {quiet.total_seconds():.1f} s ago" + ("" if ok else ": stuck")

    def ready(self) -> tuple[bool, tuple[str, ...]]:
        """Whether the last snapshot is complete, and otherwise what is missing.

        Complete means that everything Kubernetes keeps was read. What a dead node or its Syncthing does not
        answer is no lack of ours: a cluster with a dead node is what this daemon is for.
        """
        if self.snapshot is None:
            return False, ("no snapshot yet",)
        missing = tuple(_missing(self.rules(), self.snapshot))
        return not missing, missing

    def status(self) -> dict[str, object]:
        """Everything a person or a script may want to know of this moment."""
        rules, decision, snapshot = self.rules(), self.decision, self.snapshot
        verdicts = decision.verdicts if decision else {}
        ready, missing = self.ready()
        instance = snapshot.instance if snapshot else None
        return {
            "schema": SCHEMA,
            "at": _time(self.turned_at.wall if self.turned_at else None),
            "instance": {
                "version": __version__,
                "mode": str(rules.mode),
                "config_hash": self.config_hash(),
                "leader": instance.leader if instance else False,
                "holder": instance.holder if instance else "",
                "ready": ready,
                "missing": list(missing),
                "loop_age_seconds": round(self.quiet_for().total_seconds(), 1),
                "api": _why(snapshot.api) if snapshot else "not asked yet",
                "paused": _pauses(decision.memory, "*", self.date) if decision else None,
            },
            "nodes": {
                node: verdict(verdicts.get(node), rules.domain(node), _work(snapshot, node)) for node in rules.nodes
            },
            "apps": {app.key: describe(rules, app, decision, self.date) for app in rules.apps},
            "channels": [
                {
                    "name": tally.name,
                    "broken": tally.broken,
                    "sent": tally.sent,
                    "failed": tally.failed,
                    "dropped": tally.dropped,
                    "queued": tally.queued,
                }
                for tally in self.tallies()
            ],
        }


def describe(rules: Rules, app: App, decision: Decision | None, date: datetime) -> dict[str, object]:
    """One app at the API server's time `date`, as decided and as remembered; nulls before the first tick."""
    decided = decision.apps.get(app.key) if decision else None
    memory = decision.memory.apps.get(app.key) if decision else None
    return {
        "phase": str(decided.phase) if decided else None,
        "active": str(memory.active) if memory else None,
        "node": rules.place(app, memory.active).node if memory else None,
        "preferred": str(app.preferred),
        "epoch": memory.epoch if memory else None,
        "wanted": str(decided.wanted) if decided and decided.wanted else None,
        "waiting": decided.waiting if decided else "",
        "objections": _objections(decided.objections if decided else ()),
        "alarms": _objections(decided.alarms if decided else ()),
        "standby": _standby(decided.standby) if decided and decided.standby else None,
        "frozen": memory.frozen_why if memory else "",
        "paused": (_pauses(decision.memory, app.key, date) or _pauses(decision.memory, "*", date))
        if decision
        else None,
        "volumes": {volume.name: _volume(volume.name, decided, memory) for volume in app.volumes},
        "move": moved(memory.move) if memory and memory.move else None,
        "moves": [moved(move) for move in reversed(memory.moves[-HISTORY:])] if memory else [],
    }


def verdict(judged: Verdict | None, domain: str, planned: str = "") -> dict[str, object]:
    """One node, and the planned work on it."""
    return {
        "verdict": str(judged.health) if judged else "UNKNOWN",
        "proven": judged.proven if judged else False,
        "isolated": judged.isolated if judged else False,
        "silent_seconds": round(judged.silent_for.total_seconds(), 1) if judged else None,
        "domain": domain,
        "planned": planned,
        "evidence": list(judged.evidence) if judged else [],
        "objections": _objections(judged.objections if judged else ()),
    }


def _work(snapshot: Snapshot | None, node: str) -> str:
    reading = snapshot.nodes.get(node) if snapshot else None
    return reading.work if reading else ""


def moved(move: Move) -> dict[str, object]:
    """One move, in progress or finished."""
    total = rto(move)
    return {
        "id": move.id,
        "kind": str(move.kind),
        "source": str(move.source),
        "target": str(move.target),
        "epoch": move.epoch,
        "reason": move.reason,
        "evidence": list(move.evidence),
        "began_at": _time(move.began_at),
        "forced": move.forced,
        "by": move.by,
        "outcome": move.outcome or None,
        "parts": {name: round(seconds, 1) for name, seconds in total.items()},
        "seconds": round(sum(total.values()), 1),
        "losses": [
            {"volume": loss.volume, "age_seconds": loss.age_seconds, "missing": loss.missing} for loss in move.losses
        ],
    }


def outcome(move: Move) -> str:
    """`done`, `aborted` or `failed`: the reason of an abort would make a label of endless values."""
    return move.outcome.split(":", 1)[0].strip()


def _standby(standby: Standby) -> dict[str, object]:
    return {
        "site": str(standby.site),
        "node": standby.node,
        "ready": not standby.missing,
        "missing": _objections(standby.missing),
        "warnings": _objections(standby.warnings),
    }


def _volume(name: str, decided: AppDecision | None, memory: AppMemory | None) -> dict[str, object]:
    age = decided.ages.get(name) if decided else None
    kept = memory.volumes.get(name) if memory else None
    origin = decided.origins.get(name) if decided else None
    return {
        "age_seconds": round(age.total_seconds(), 1) if age is not None else None,
        **({"origin": origin} if origin else {}),
        "proven_at": _time(kept.proven_at if kept else None),
        "copies": {str(site): _copy(kept, site) for site in Site},
    }


def _copy(kept: VolumeMemory | None, site: Site) -> dict[str, object] | None:
    copy = kept.copies.get(site) if kept else None
    if copy is None:
        return None
    return {
        "standing": str(copy.standing),
        "epoch": copy.epoch,
        "step": str(copy.step) if copy.step else None,
    }


def _pauses(memory: Memory, key: str, date: datetime) -> dict[str, object] | None:
    pause = memory.pauses_at(date).get(key)
    if pause is None:
        return None
    return {"by": pause.by, "why": pause.why, "since": _time(pause.since), "until": _time(pause.until)}


def _objections(objections: Iterable[Objection]) -> list[dict[str, str]]:
    return [{"why": str(objection.why), "text": objection.text} for objection in objections]


def _time(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at is not None else None


def _why(value: object) -> str:
    return value.why if isinstance(value, Unknown) else "ok"


def _missing(rules: Rules, snapshot: Snapshot) -> Iterable[str]:
    unread = Unknown("not read")
    if isinstance(snapshot.api, Unknown):
        yield f"API server: {snapshot.api.why}"
    for node in rules.nodes:
        reading = snapshot.nodes.get(node)
        for what, value in (("lease", reading.lease), ("object", reading.node)) if reading else (("", unread),):
            if isinstance(value, Unknown):
                yield f"node {node} {what}: {value.why}".replace(" :", ":")
    for app in rules.apps:
        workload = snapshot.workloads.get(app.key, unread)
        if isinstance(workload, Unknown):
            yield f"{app.key}: {workload.why}"
        for volume in app.volumes:
            for site in Site:
                claim = snapshot.claims.get((app.key, volume.name, site), unread)
                if isinstance(claim, Unknown):
                    yield f"{app.key} claim {volume.copy(site).claim}: {claim.why}"
