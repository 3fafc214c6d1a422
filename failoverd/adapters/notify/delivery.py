"""One channel's queue and the task that empties it.

The one rule of this file: `say` never waits, and a resolve is never thrown away for want of room or time.
Lines that wait while a channel is slow or broken are sent together, so an incident takes one place in the
queue however much is said of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import httpx
import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_before_delay
from tenacity.wait import wait_random_exponential

from failoverd.adapters.notify.channel import Channel, Later, Line, Message, Refused, Stage, Target, Undelivered
from failoverd.clock import sleep
from failoverd.core.model import Note

LEVELS = ("debug", "info", "warning", "error")
log = structlog.get_logger("failoverd.notify")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long and how much one channel may take."""

    attempt: timedelta = timedelta(seconds=10)
    """For one attempt, however slowly the other side trickles."""
    patience: timedelta = timedelta(minutes=10)
    """For one message, waits included; then the channel rests, and other incidents get their turn."""
    rest: timedelta = timedelta(minutes=1)
    first_wait: timedelta = timedelta(seconds=1)
    longest_wait: timedelta = timedelta(seconds=30)
    longest_pause: timedelta = timedelta(hours=1)
    """The most that a Retry-After is believed."""
    incidents: int = 200
    """Unresolved incidents that may wait, and that are remembered."""
    lines: int = 50
    """Lines kept of one incident: its first one and the newest."""


@dataclass(slots=True, eq=False)
class Thread:
    """One incident on one channel."""

    incident: str
    app: str
    level: str = "info"
    waiting: list[Line] = field(default_factory=list)
    """Lines not yet delivered."""
    told: list[Line] = field(default_factory=list)
    """Lines delivered, the middle of a long story left out."""
    resolved: bool = False
    number: int = 0
    ref: str = ""


@dataclass(slots=True)
class Tally:
    """What became of a channel's messages since the start; the metrics page reads it."""

    name: str
    sent: int = 0
    failed: int = 0
    """Attempts that failed, retries included."""
    dropped: int = 0
    """Lines that will never arrive: refused by the channel, or pushed out of a full queue."""
    queued: int = 0
    """Incidents with something to deliver."""
    broken: bool = False
    """Whether the last attempt failed."""


class Delivery:
    """Delivers to one channel, one message at a time, in the order in which incidents spoke."""

    def __init__(self, target: Target, channel: Channel, limits: Limits | None = None) -> None:
        self.target = target
        self.tally = Tally(target.name)
        self._level = weight(target.level)
        self._channel, self._limits = channel, limits or Limits()
        self._threads: dict[str, Thread] = {}
        self._queue: list[Thread] = []
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to deliver; needs a running loop."""
        self._task = asyncio.create_task(self._run(), name=f"notify {self.tally.name}")
        self._task.add_done_callback(self._ended)

    def say(self, note: Note, at: datetime) -> None:
        """Take a note in, unless it is too light for this channel. Returns at once."""
        thread = self._threads.get(note.incident)
        unheard = thread is None or thread.resolved
        if weight(note.level) < self._level and (unheard or not note.resolved):
            return
        if thread is None or unheard:
            thread = self._threads[note.incident] = Thread(note.incident, note.app)
        thread.waiting.append(Line(at=at, text=note.text))
        kept = trimmed(thread.waiting, self._limits.lines)
        self.tally.dropped += len(thread.waiting) - len(kept)
        thread.waiting = kept
        thread.level, thread.resolved = note.level, note.resolved
        if thread not in self._queue:
            self._queue.append(thread)
        self._make_room()
        self.tally.queued = len(self._queue)
        self._work.set()

    def inherit(self, before: Delivery) -> None:
        """Go on with what `before`, which has ended, has told and not yet told."""
        self._threads, self._queue = before._threads, before._queue
        self.tally = before.tally
        self._work.set()

    async def close(self, grace: timedelta) -> None:
        """Deliver what waits, for at most `grace`, then stop."""
        if self._task is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace.total_seconds()):
                while self._queue:
                    await sleep(timedelta(milliseconds=20))
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if self._queue:
            log.warning("left undelivered", channel=self.tally.name, incidents=[t.incident for t in self._queue])

    def _make_room(self) -> None:
        """Push out the oldest unresolved incidents while too many wait; never the one being sent."""
        waiting = [thread for thread in self._queue[1:] if not thread.resolved]
        for thread in waiting[: max(0, len(waiting) - self._limits.incidents)]:
            self._drop(thread)
        idle = [thread for thread in self._threads.values() if thread not in self._queue]
        for thread in idle[: max(0, len(idle) - self._limits.incidents)]:
            del self._threads[thread.incident]

    def _drop(self, thread: Thread) -> None:
        self.tally.dropped += len(thread.waiting)
        thread.waiting.clear()
        self._queue.remove(thread)
        self.tally.queued = len(self._queue)
        self._forget(thread)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Say so when delivery itself broke, as it does when a CA file cannot be read."""
        if not task.cancelled() and (error := task.exception()):
            self.tally.broken = True
            log.error("channel stopped", channel=self.tally.name, why=f"{type(error).__name__}: {error}")

    async def _run(self) -> None:
        async with httpx.AsyncClient(timeout=self._limits.attempt.total_seconds()) as http:
            while True:
                await self._work.wait()
                self._work.clear()
                while self._queue:
                    await self._deliver(http, self._queue[0])

    async def _deliver(self, http: httpx.AsyncClient, thread: Thread) -> None:
        """One message. What could not be delivered in time keeps its lines and goes to the back."""
        count, message = len(thread.waiting), compose(thread, self._limits.lines)
        sent = list(thread.waiting)
        try:
            thread.ref = await self._patiently(http, message, thread.ref)
        except Refused:
            self.tally.dropped += count
        except Later as error:
            self._to_back(thread.incident)
            await sleep(max(self._limits.rest, min(error.after or timedelta(0), self._limits.longest_pause)))
            return
        else:
            self.tally.sent += 1
            thread.number = message.number
            thread.told = trimmed(thread.told + sent, self._limits.lines)
        thread.waiting = [line for line in thread.waiting if line not in sent]
        if thread.waiting:
            self._to_back(thread.incident)
        else:
            self._queue.pop(0)
            self._forget(thread)
        self.tally.queued = len(self._queue)

    def _to_back(self, incident: str) -> None:
        """Let the others go first. All of the incident moves: a reopening must not overtake its resolve."""
        self._queue.sort(key=lambda thread: thread.incident == incident)

    def _forget(self, thread: Thread) -> None:
        if thread.resolved and self._threads.get(thread.incident) is thread:
            del self._threads[thread.incident]

    async def _patiently(self, http: httpx.AsyncClient, message: Message, ref: str) -> str:
        retrying = AsyncRetrying(
            sleep=lambda seconds: sleep(timedelta(seconds=seconds)),
            stop=stop_before_delay(self._limits.patience),
            wait=self._wait,
            retry=retry_if_exception_type(Later),
            reraise=True,
        )
        return await retrying(self._attempt, http, message, ref)

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, Later) and error.after is not None:
            return min(error.after, self._limits.longest_pause).total_seconds()
        first, longest = self._limits.first_wait.total_seconds(), self._limits.longest_wait.total_seconds()
        return min(longest, first / 2 + wait_random_exponential(multiplier=first, max=longest)(state))

    async def _attempt(self, http: httpx.AsyncClient, message: Message, ref: str) -> str:
        try:
            async with asyncio.timeout(self._limits.attempt.total_seconds()):
                new = await self._channel.send(http, message, ref)
        except Undelivered as error:
            self._failed(error)
            raise
        except (TimeoutError, httpx.TimeoutException):
            raise self._failed(Later("no answer in time")) from None
        except httpx.HTTPError as error:
            raise self._failed(Later(f"not reached: {type(error).__name__}")) from None
        except Exception as error:  # one odd message must not silence the channel for good
            raise self._failed(Refused(f"could not be sent: {type(error).__name__}")) from None
        if self.tally.broken:
            self.tally.broken = False
            log.info("channel works again", channel=self.tally.name)
        return new

    def _failed(self, error: Undelivered) -> Undelivered:
        """Count it, and say so once: a line for every retry would bury what matters."""
        self.tally.failed += 1
        if not self.tally.broken or isinstance(error, Refused):
            refused = isinstance(error, Refused)
            log.warning("message refused" if refused else "channel broken", channel=self.tally.name, why=str(error))
        self.tally.broken = True
        return error


def weight(level: str) -> int:
    """Orders levels; one that nobody knows is heavy, for it must not be lost."""
    return LEVELS.index(level) if level in LEVELS else len(LEVELS)


def compose(thread: Thread, lines: int) -> Message:
    """The message that tells what waits in `thread`."""
    stage = Stage.RESOLVE if thread.resolved else Stage.UPDATE if thread.number else Stage.OPEN
    return Message(
        incident=thread.incident,
        stage=stage,
        number=thread.number + 1,
        level=thread.level,
        app=thread.app,
        lines=tuple(thread.waiting),
        story=tuple(trimmed(thread.told + thread.waiting, lines)),
    )


def trimmed(lines: list[Line], most: int) -> list[Line]:
    """`lines` without its middle: the first one and the newest, at most `most`."""
    return lines if len(lines) <= most else [lines[0], *lines[-(most - 1) :]]
