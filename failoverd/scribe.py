"""What is written down beside the decisions: finished moves and holds in the history, notes as Events.

The one rule of this file: writing down never delays or prevents a move. What could not be written is tried again
with what comes next; the history is compared with Memory, so that no move is missing after a crash.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from failoverd.adapters.kubernetes.client import Client, KubeError
from failoverd.adapters.kubernetes.events import Event, Events
from failoverd.core import say
from failoverd.core.memory import Memory, Move
from failoverd.core.model import Api, Decision, Displaced, Note, SetRole, Snapshot, Workload
from failoverd.core.rules import Rules
from failoverd.holds import Hold, Holds

log = structlog.get_logger("failoverd.scribe")
QUEUED = 200
"""Notes waiting to become Events."""
AGAIN = timedelta(seconds=30)
"""What failed is tried again after this, when nothing else comes."""


class Book(Protocol):
    """Where the history is kept."""

    async def read(self) -> tuple[Mapping[str, Any], ...]:
        """All entries, oldest first. Raises KubeError."""
        ...

    async def append(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Add entries; one with a known `id` takes the older one's place. Raises KubeError."""
        ...


def entry(move: Move, displaced: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """One finished move as it stands in the history: evidence, RTO in seconds, data age in seconds.

    `displaced`: by volume, what it displaced and is kept: at the side that lost, or where something was restored.
    """
    kept = {"displaced": dict(displaced)} if displaced else {}
    return {
        **kept,
        "id": move.id,
        "app": move.app,
        "kind": move.kind.value,
        "source": move.source.value,
        "target": move.target.value,
        "epoch": move.epoch,
        "reason": move.reason,
        "evidence": list(move.evidence),
        "forced": move.forced,
        "by": move.by,
        "began_at": move.began_at.isoformat(),
        "last_write_at": move.last_write_at.isoformat() if move.last_write_at else None,
        "marks": {name: at.isoformat() for name, at in move.marks},
        "rto": say.rto(move),
        "losses": [asdict(loss) for loss in move.losses],
        "outcome": move.outcome,
    }


class Scribe:
    """Writes history and Events from a task of its own. `see` and `note` return at once."""

    def __init__(self, client: Client, history: Book, rules: Rules, again: timedelta = AGAIN) -> None:
        self._events = Events(client)
        self._history = history
        self._rules = rules
        self._again = again
        self._uids: dict[str, str] = {}
        self._written: dict[str, tuple[tuple[str, datetime], ...]] = {}
        self._moves: dict[str, Move] = {}
        self._displaced: dict[str, dict[str, Any]] = {}
        self._held = Holds()
        self._holds: dict[str, Hold] = {}
        self._seen_at: datetime | None = None
        self._taken_over = False
        self._leads = False
        self._notes: deque[tuple[Note, datetime]] = deque(maxlen=QUEUED)
        self._failing = False
        self._wake = asyncio.Event()

    def see(self, decision: Decision, snapshot: Snapshot) -> None:
        """Take one tick in: workloads for the Events, finished moves and holds for the history."""
        for key, workload in snapshot.workloads.items():
            if isinstance(workload, Workload):
                self._uids[key] = workload.uid
        self._leads = snapshot.instance.leader
        if not self._leads:
            self._held, self._holds, self._taken_over = Holds(), {}, False
            return
        self._collect(decision.memory)
        for receipt in snapshot.receipts:
            if receipt.displaced is not None and isinstance(receipt.action, SetRole):
                self._keep(decision.memory, receipt.action, receipt.displaced)
        if isinstance(snapshot.api, Api):
            if self._seen_at is None:
                self._wake.set()
            self._seen_at = snapshot.api.date
            for hold in self._held.see(decision, snapshot.api.date):
                self._holds[hold.app] = hold
                self._wake.set()

    def note(self, note: Note, at: datetime) -> None:
        """Have a note written as an Event; while too many wait, the oldest goes, the log has them all."""
        if self._leads and note.app in self._uids:
            self._notes.append((note, at))
            self._wake.set()

    def _keep(self, memory: Memory, act: SetRole, displaced: Displaced) -> None:
        """Write the move anew whose files these are, by what the act says: one under way is written once it ends."""
        if not act.move:
            return
        self._displaced.setdefault(act.move, {})[act.volume] = {
            "files": displaced.files - displaced.older_files,
            "size": displaced.size - displaced.older_size,
            "names": list(displaced.names),
        }
        was = memory.apps.get(act.app)
        for move in was.moves if was else ():
            if move.id == act.move:
                self._moves[move.id] = move
                self._wake.set()

    def _collect(self, memory: Memory) -> None:
        for was in memory.apps.values():
            for move in was.moves:
                # a finished move is marked once more, with what became of its patch
                if self._written.get(move.id) != move.marks and self._moves.get(move.id) != move:
                    self._moves[move.id] = move
                    self._wake.set()

    async def run(self) -> None:
        """Write until cancelled. What failed is said once, and tried again with what comes next, or after a while."""
        while True:
            behind = bool(self._notes or self._moves or self._holds) or (self._leads and not self._taken_over)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._again.total_seconds() if behind else None):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._write_history()
                while self._notes:
                    await self._write_event(*self._notes[0])
            except KubeError as error:
                if not self._failing:
                    log.warning("history or Events not written yet", why=str(error))
                self._failing = True
            else:
                self._failing = False

    async def _write_history(self) -> None:
        if self._leads and not self._taken_over and self._seen_at is not None:
            old = await self._history.read()
            self._held.take_over(old, self._seen_at)
            for one in old:  # Memory does not have it, and its moves are written anew
                if isinstance(one.get("displaced"), dict):
                    known = self._displaced.setdefault(str(one.get("id")), {})
                    self._displaced[str(one.get("id"))] = {**one["displaced"], **known}
            self._taken_over = True
            self._holds.clear()  # the next tick compares what was taken over with what is
        moves, holds = dict(self._moves), dict(self._holds)
        if not (moves or holds):
            return
        states = {key: hold.state for key, hold in holds.items()}
        entries = [hold.entry() for hold in holds.values()]
        await self._history.append(
            [*entries, *(entry(move, self._displaced.get(move.id)) for move in moves.values())]
        )
        self._written.update({key: move.marks for key, move in moves.items()})
        for key in moves:
            self._moves.pop(key, None)
        for key, hold in holds.items():
            hold.told = states[key]
            self._holds.pop(key, None)

    async def _write_event(self, note: Note, at: datetime) -> None:
        """Raises KubeError for what may succeed later; what never will is dropped, and said."""
        waiting = self._notes[0]
        try:
            app = self._rules.app(note.app)
            event = Event(
                app=app,
                uid=self._uids[note.app],
                reason=note.incident.split()[0].title(),
                text=note.text,
                at=at,
                warning=note.level in ("warning", "error"),
            )
            await self._events.write(event)
        except KeyError:
            pass  # an app that is not configured any more
        except KubeError as error:
            if error.retryable:
                raise
            log.warning("event not written", why=str(error), app=note.app)
        if self._notes and self._notes[0] is waiting:
            self._notes.popleft()
