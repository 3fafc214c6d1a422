"""A move, and the daemon killed at one point of it: recorded once, then once for every point."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from tests.kill.judge import judge
from tests.kill.naming import Call
from tests.kill.proxy import Hooks
from tests.kill.quiet import heard
from tests.kill.scene import NotReached, Scene, scene
from tests.kill.stories import STORIES, Story

T = TypeVar("T")
AWAY = 2.0
"""Seconds until a process that died is back."""
AFTERWARDS = 4.0
"""Seconds given to what is written after a move: history and Events."""
LEADS_FIRST = 3.0
"""Seconds by which the second instance starts later: the first one leads."""


class Side(StrEnum):
    """Of a request: not forwarded yet, or carried out and answered to nobody."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Point:
    """Where in which move the daemon dies."""

    story: str
    call: str
    side: Side

    def __str__(self) -> str:
        return f"{self.story} | {self.call} | {self.side}"


@dataclass(slots=True)
class Verdict:
    """What became of one run."""

    point: Point | None
    successor: str
    reached: bool = False
    """Whether the daemon was killed at all: chance may have taken a move another way."""
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0
    """Of the world, from the kill to the end."""
    log: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Trap:
    """Kills a life at the first request of a point."""

    point: Point
    kill: Callable[[], None]
    armed: bool = False
    sprung_at: float | None = None
    now: Callable[[], float] = lambda: 0.0

    def hooks(self) -> Hooks:
        """For the proxy."""
        return Hooks(before=lambda call: self._at(call, Side.BEFORE), after=lambda call: self._at(call, Side.AFTER))

    def _at(self, call: Call, side: Side) -> None:
        if self.armed and self.sprung_at is None and (call.point, side) == (self.point.call, self.point.side):
            self.sprung_at = self.now()
            self.kill()


async def _ended(scene: Scene, story: Story) -> None:
    def reached() -> bool:
        story.tend(scene)
        return story.ended(scene)

    await scene.until(f"the end of {story.name}", reached)
    story.tend(scene)
    await scene.rest(AFTERWARDS)


async def record(story: Story) -> tuple[list[str], Verdict]:
    """The move as it goes undisturbed: its calls in order, each named once; and whether all is well then."""
    seen: list[Call] = []
    verdict = Verdict(None, "")
    with tempfile.TemporaryDirectory(prefix="failoverd-kill-") as name, heard() as log:
        async with scene(Path(name), story.setting) as on:
            try:
                life = await on.start()
                await story.prelude(on)
                first = 0 if story.cold else len(life.ledger.calls)
                await on.begin(story.trigger)
                await _ended(on, story)
                seen = life.ledger.calls[first:]
                verdict.wrong = await judge(on, story)
                last = on.last_move()
                if story.kind is not None and not (last and last.outcome.startswith(story.outcome)):
                    verdict.wrong.append(f"undisturbed it ended with {last and last.outcome!r}")
            except NotReached as late:
                verdict.wrong = [str(late)]
        verdict.log = log
    return list(dict.fromkeys(call.point for call in seen)), verdict


async def perform(point: Point, successor: str) -> Verdict:
    """One run: `successor` is `restart` (the same instance again) or `other` (the second one goes on)."""
    story, verdict = STORIES[point.story], Verdict(point, successor)
    with tempfile.TemporaryDirectory(prefix="failoverd-kill-") as name, heard() as log:
        async with scene(Path(name), story.setting) as on:
            trap = Trap(point, on.kill, armed=story.cold, now=lambda: on.now)
            try:
                await _play(on, story, trap, successor)
                verdict.reached = trap.sprung_at is not None
                verdict.seconds = on.now - (trap.sprung_at or on.now)
                verdict.wrong = await judge(on, story)
            except NotReached as late:
                verdict.reached = trap.sprung_at is not None
                verdict.wrong = [str(late), *await judge(on, story)]
        verdict.log = log
    return verdict


async def _play(on: Scene, story: Story, trap: Trap, successor: str) -> None:
    await on.start(trap.hooks())
    if successor == "other" and not story.cold:
        await on.rest(LEADS_FIRST)
        await on.start()
    await story.prelude(on)
    trap.armed = True
    await on.begin(story.trigger)

    def on_the_way() -> bool:
        story.tend(on)
        return trap.sprung_at is not None or story.ended(on)

    await on.until(f"the end of {story.name}", on_the_way)
    if trap.sprung_at is None:
        await on.rest(AFTERWARDS)
        return
    gone = on.holder()
    await on.rest(AWAY)
    if successor == "restart" or story.cold:
        await on.start()
    await on.until("somebody else to lead", lambda: on.holder() not in ("", gone))
    await on.rest(AFTERWARDS)
    await _ended(on, story)


def points(story: str, calls: list[str]) -> list[Point]:
    """Both sides of every call."""
    return [Point(story, call, side) for call in calls for side in Side]


def sample(of: list[T], count: int, seed: int) -> list[T]:
    """Some of them, the same for the same seed."""
    return random.Random(seed).sample(of, min(count, len(of)))
