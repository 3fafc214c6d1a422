"""What is written down beside the decisions: finished moves in the history, notes as Events on the workloads.

The one rule of this file: writing down never delays or prevents a move. What could not be written is tried again
with what comes next; the history is compared with Memory, so that no move is missing after a crash.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Protocol

import structlog

from failoverd.adapters.kubernetes.client import Client, KubeError
from failoverd.adapters.kubernetes.events import Event, Events
from failoverd.core import say
from failoverd.core.memory import Memory, Move
from failoverd.core.model import Decision, Note, Now, Snapshot, Workload
from failoverd.core.rules import Rules

log = structlog.get_logger("failoverd.scribe")
QUEUED = 200
"""Notes waiting to become Events; older ones are dropped, the log has them all."""


class Book(Protocol):
    """Where the history is kept."""

    async def append(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Add entries; one with a known `id` takes the older one's place. Raises KubeError."""
        ...


def entry(move: Move) -> dict[str, Any]:
    """One finished move as it stands in the history: evidence, RTO in seconds, data age in seconds."""
    return {
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
    """Writes history and Events from a task of its own. `see` and `event` return at once."""

    def __init__(self, client: Client, history: Book, rules: Rules) -> None:
        self._events = Events(client)
        self._history = history
        self._rules = rules
        self._uids: dict[str, str] = {}
        self._written: set[str] = set()
        self._moves: dict[str, Move] = {}
        self._notes: asyncio.Queue[tuple[Note, datetime]] = asyncio.Queue(QUEUED)
        self._wake = asyncio.Event()

    def see(self, decision: Decision, snapshot: Snapshot, now: Now) -> None:
        """Take one tick in: workloads for the Events, finished moves for the history."""
        for key, workload in snapshot.workloads.items():
            if isinstance(workload, Workload):
                self._uids[key] = workload.uid
        if not snapshot.instance.leader:
            return
        self._collect(decision.memory)
        for note in decision.notes:
            if note.app in self._uids:
                with contextlib.suppress(asyncio.QueueFull):
                    self._notes.put_nowait((note, now.wall))
                    self._wake.set()

    def _collect(self, memory: Memory) -> None:
        for was in memory.apps.values():
            for move in was.moves:
                if move.id not in self._written and move.id not in self._moves:
                    self._moves[move.id] = move
                    self._wake.set()

    async def run(self) -> None:
        """Write until cancelled. A failure is logged once per kind and tried again with the next wake."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._write_history()
            while not self._notes.empty():
                await self._write_event(*self._notes.get_nowait())

    async def _write_history(self) -> None:
        if not self._moves:
            return
        waiting = dict(self._moves)
        try:
            await self._history.append([entry(move) for move in waiting.values()])
        except KubeError as error:
            log.warning("history not written yet", why=str(error), moves=sorted(waiting))
            return
        self._written.update(waiting)
        for key in waiting:
            self._moves.pop(key, None)

    async def _write_event(self, note: Note, at: datetime) -> None:
        try:
            app = self._rules.app(note.app)
        except KeyError:
            return
        event = Event(
            app=app,
            uid=self._uids[note.app],
            reason=note.incident.split()[0].title(),
            text=note.text,
            at=at,
            warning=note.level in ("warning", "error"),
        )
        try:
            await self._events.write(event)
        except KubeError as error:
            log.warning("event not written", why=str(error), app=note.app)
