"""What the loop needs of the world. The adapters implement these against real systems, the simulator in process."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Protocol

from failoverd.core.memory import Memory
from failoverd.core.model import Action, Decision, Instance, Now, Receipt, Snapshot, Unknown, Watch
from failoverd.core.rules import Rules


class Conflict(Exception):
    """Memory was changed by somebody else since it was loaded: load it again, act on nothing."""


class StoreError(Exception):
    """Memory could not be read or written; the text says why. Nothing is acted on."""


class Clock(Protocol):
    """Reads time and waits."""

    def now(self) -> Now:
        """This moment."""
        ...

    async def sleep_until(self, mono: timedelta, wake: asyncio.Event) -> None:
        """Wait until `mono` or until `wake` is set; clears `wake`."""
        ...


class Observer(Protocol):
    """Takes all readings, side by side, each with a deadline; a failed one becomes Unknown."""

    async def observe(self, now: Now, confirm: frozenset[str], instance: Instance) -> Snapshot:
        """One snapshot. `confirm`: nodes whose lease and object must be read uncached."""
        ...


class Executor(Protocol):
    """Carries out one action. Never raises: what went wrong stands in the receipt."""

    async def execute(self, action: Action) -> Receipt:
        """Do it (idempotently) and say what came of it."""
        ...


class Store(Protocol):
    """Keeps Memory, by compare-and-swap against the version that was last loaded or saved."""

    async def load(self) -> Memory | Unknown | None:
        """Memory, None when there never was any, Unknown when it can't be told (also: a newer schema)."""
        ...

    async def save(self, memory: Memory) -> None:
        """Write it. Raises Conflict, StoreError."""
        ...


class Leadership(Protocol):
    """Whether this instance may act."""

    def instance(self, now: Now) -> Instance:
        """What is known at this moment; `leader` only while the last renewal is recent enough."""
        ...


class Voice(Protocol):
    """Says what was decided: log, chat, Events, status page. Returns at once; delivery happens elsewhere."""

    def say(self, decision: Decision, snapshot: Snapshot, now: Now) -> None:
        """Take note of one tick."""
        ...


class Recording(Protocol):
    """Keeps what is decided upon, for replaying it. Neither call may raise or wait."""

    def saw(self, rules: Rules, memory: Memory | Unknown | None, watch: Watch, snapshot: Snapshot, now: Now) -> None:
        """Take what `decide` is about to be given."""
        ...

    def decided(self, decision: Decision) -> None:
        """Take its answer; not called when it fails."""
        ...
