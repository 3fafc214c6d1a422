"""The tick: look, decide, remember, act, say. It knows no adapter; the simulator runs this very code.

The one rule of this file: what a decision wants remembered is saved before its first action is begun, and when
saving fails nothing is done at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from failoverd.core.decide import decide
from failoverd.core.memory import Memory
from failoverd.core.model import Action, Decision, Instance, Now, Receipt, Snapshot, Unknown, Watch
from failoverd.core.rules import Rules
from failoverd.ports import Clock, Conflict, Executor, Leadership, Observer, Recording, Store, StoreError, Voice

NOTHING = timedelta(0)
SETTLE = timedelta(milliseconds=700)
"""How long a tick waits for the actions it began; slower ones report in a later snapshot."""


@dataclass(slots=True)
class Loop:
    """One instance's loop. `step` is one tick; `run` repeats it until `stop` is set."""

    rules: Callable[[], Rules]
    clock: Clock
    observer: Observer
    executor: Executor
    store: Store
    leadership: Leadership
    voice: Voice
    recording: Recording | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    watch: Watch = field(default_factory=Watch)
    memory: Memory | Unknown | None = field(default_factory=lambda: Unknown("not loaded yet"))
    turned_at: Now | None = None
    decision: Decision | None = None
    snapshot: Snapshot | None = None
    _tasks: dict[str, asyncio.Task[Receipt]] = field(default_factory=dict)
    _due: timedelta | None = None
    _led: bool = False

    async def run(self) -> None:
        """Tick until `stop` is set, each time waiting for as long as the decision said."""
        while not self.stop.is_set():
            decision = await self.step()
            self._due = decision.wake_at
            await self.clock.sleep_until(decision.wake_at, self.wake)
        await self.drain()

    async def step(self) -> Decision:
        """One tick."""
        now = self.clock.now()
        instance = self._instance(now)
        confirm = self.decision.confirm if self.decision else frozenset()
        snapshot = await self.observer.observe(now, confirm, instance)
        if self._tasks:
            snapshot = replace(snapshot, receipts=self._receipts(), in_flight=frozenset(self._tasks))
        if not isinstance(self.memory, Memory) or not (instance.leader and self._led):
            # what a follower remembers may be older than the last act of the one that led before it
            self.memory = await self.store.load()
        self._led = instance.leader
        rules = self.rules()
        decision = self._decide(rules, snapshot, now)
        before = self.memory
        acts = await self._remember(decision)
        if not acts and isinstance(before, Memory) and decision.memory != before:
            # nothing of it came to pass: it is not said either, and decided again from what is then remembered
            unsaid = replace(decision.watch, said=self.watch.said, saved_at=self.watch.saved_at)
            decision = replace(decision, memory=before, watch=unsaid, actions=(), notes=())
        self.watch, self.turned_at, self.decision, self.snapshot = decision.watch, now, decision, snapshot
        self.voice.say(decision, snapshot, now)
        if acts:
            await self._act(decision.actions)
        return decision

    def _decide(self, rules: Rules, snapshot: Snapshot, now: Now) -> Decision:
        if self.recording is not None:
            self.recording.saw(rules, self.memory, self.watch, snapshot, now)
        decision = decide(rules, self.memory, self.watch, snapshot, now)
        if self.recording is not None:
            self.recording.decided(decision)
        return decision

    async def drain(self) -> None:
        """Wait for what has been started: a half-sent request is worse than a late exit."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=10)

    def _instance(self, now: Now) -> Instance:
        instance = self.leadership.instance(now)
        late = max(now.mono - self._due, NOTHING) if self._due is not None else NOTHING
        jumped = NOTHING
        if self.turned_at is not None:
            jumped = (now.wall - self.turned_at.wall) - (now.mono - self.turned_at.mono)
        return replace(instance, late=late, jumped=jumped) if late > NOTHING or jumped else instance

    async def _remember(self, decision: Decision) -> bool:
        if not self._may_write():
            return False
        if decision.memory == self.memory:
            return True
        try:
            await self.store.save(decision.memory)
        except Conflict:
            self.memory = Unknown("Memory was changed by another instance")
            return False
        except StoreError as error:
            self.memory = Unknown(f"Memory could not be saved: {error}")
            return False
        self.memory = decision.memory
        return self._may_write()  # saving may have taken longer than our leadership lasts

    def _may_write(self) -> bool:
        leads = self.leadership.instance(self.clock.now()).leader
        self._led = self._led and leads  # lost within a tick: another may have led before the next one
        return leads and not isinstance(self.memory, Unknown)

    async def _act(self, actions: tuple[Action, ...]) -> None:
        begun = []
        for action in actions:
            if action.key not in self._tasks:
                task = asyncio.create_task(self.executor.execute(action), name=action.key)
                self._tasks[action.key] = task
                begun.append(task)
        if begun:
            await asyncio.wait(begun, timeout=SETTLE.total_seconds())

    def _receipts(self) -> tuple[Receipt, ...]:
        done = [key for key, task in self._tasks.items() if task.done()]
        return tuple(self._tasks.pop(key).result() for key in done)
