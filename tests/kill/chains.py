"""Moves one after another in one world at the real API server, the daemon killed once in each.

Where one move ends the next begins; where none fits, the app is led to where one does. That spares an adoption and a
start of everything for each point. The first violation ends the row: what comes after it would be judged by what it
left.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from failoverd.core.model import CommandKind
from failoverd.core.rules import Site
from tests.kill import real_faults
from tests.kill.instance import Life
from tests.kill.judge import judge
from tests.kill.kills import LEADS_FIRST, Point, Side, Trap
from tests.kill.nursery import Nursery, nursery
from tests.kill.plane import Plane
from tests.kill.proxy import Hooks, Ledger
from tests.kill.real_scene import RealScene, real_scene
from tests.kill.scene import NotReached
from tests.kill.stories import STORIES, WARM, Story, at_rest_or_refused, lenient, watching

AFTERWARDS = 2.0
"""Seconds given to what is written after a move, twice."""
AWAY = 0.5
"""Seconds until a process that died is back."""
ASKED_EVERY = 10.0
"""Seconds between two requests of the same planned move."""
LONGEST = 8
"""Moves in one row: more, and a violation would cost too much."""
SUCCESSORS = ("restart", "other")


class Start(StrEnum):
    """Where the app is when a move begins."""

    NOWHERE = "not adopted yet"
    HOME = "at home, the standby clean"
    AWAY = "at the backup, the standby clean"
    LOST = "at the backup, the other node without power"
    OVER = "released"


BEGINS = {"failback": Start.AWAY, "take-back": Start.LOST, "adoption": Start.NOWHERE}
ENDS = {
    "failover": Start.LOST, "fenced": Start.LOST, "silence": Start.LOST, "forced": Start.AWAY,
    "switchover": Start.AWAY, "failback": Start.HOME, "take-back": Start.AWAY, "adoption": Start.HOME,
    "release": Start.OVER, "aborted": Start.HOME,
}  # fmt: skip
"""Where a move leaves its app, for every story that is played here: no guard answers at a real API server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One move of a row, and what happens in it."""

    story: str
    call: str
    """A point's, empty where nobody is killed."""
    side: str
    successor: str
    fault: str = ""
    """What the API server's answer is spoilt with, where nobody is killed."""

    @property
    def name(self) -> str:
        """As it is kept in the journal."""
        return " | ".join(one for one in (self.story, self.call, self.fault or self.side, self.successor) if one)


@dataclass(slots=True, kw_only=True)
class Found:
    """What became of one move of a row."""

    name: str
    reached: bool = False
    wrong: list[str] = field(default_factory=list)
    took: float = 0.0
    """Seconds, from before it was led to its start until it was judged."""
    calls: list[str] = field(default_factory=list)
    """Points of an undisturbed one, in order."""


def rows(links: Sequence[Link], longest: int = LONGEST) -> Iterator[list[Link]]:
    """The links in rows of one setting each, so that where one ends the next begins whenever there is one."""
    settings = {_setting_name(link.story) for link in links}
    every = [list(_rows([link for link in links if _setting_name(link.story) == one], longest)) for one in settings]
    # in turns, so that what comes first in one setting is not behind everything of another
    placed = [(at / len(rows_of_one), row) for rows_of_one in every for at, row in enumerate(rows_of_one)]
    yield from (row for _, row in sorted(placed, key=lambda one: one[0]))


def _rows(links: Sequence[Link], longest: int) -> Iterator[list[Link]]:
    waiting: dict[Start, deque[Link]] = defaultdict(deque)
    for link in links:
        waiting[BEGINS.get(link.story, Start.HOME)].append(link)
    while any(waiting.values()):
        row: list[Link] = []
        at = Start.NOWHERE
        while len(row) < longest and any(waiting.values()) and at is not Start.OVER:
            fits = at if waiting[at] else next(start for start in _detours(at) if waiting[start])
            if fits is Start.NOWHERE and row:
                break
            link = waiting[fits].popleft()
            row.append(link)
            at = ENDS[link.story]
        yield row


def _detours(at: Start) -> list[Start]:
    """From where else a row goes on, the nearest first."""
    near = {Start.LOST: [Start.AWAY, Start.HOME], Start.AWAY: [Start.HOME, Start.LOST]}
    return [*near.get(at, [Start.HOME, Start.AWAY, Start.LOST]), Start.NOWHERE, Start.LOST]


def _setting_name(story: str) -> str:
    return str(STORIES[story].setting)


def play(plane: Plane, row: list[Link], report: Callable[[Found], None]) -> None:
    """One row, in a world of its own, in this process and in real time."""
    signal.signal(signal.SIGTERM, in_order)
    with nursery() as made:
        asyncio.run(_play(plane, made, row, report))


def in_order(number: int, _: object) -> None:
    """What is ended by a signal takes down what it has started."""
    raise SystemExit(128 + number)


async def _play(plane: Plane, made: Nursery, row: list[Link], report: Callable[[Found], None]) -> None:
    setting = STORIES[row[0].story].setting
    with tempfile.TemporaryDirectory(prefix="failoverd-kill-") as name:
        async with real_scene(Path(name), setting, plane, made) as on:
            for link in row:
                began, found = time.monotonic(), Found(name=link.name)
                try:
                    await _link(on, link, found)
                except NotReached as late:
                    found.wrong.append(str(late))
                except Exception as error:  # a row that breaks is a result, and must not end the others
                    found.wrong.append(f"{type(error).__name__}: {error}")
                if on.bridge is not None:
                    found.wrong += [one for one in (on.bridge.broken(),) if one]
                    if found.wrong:
                        found.wrong += [*on.bridge.failures[-3:], *_words(on)]
                found.took = round(time.monotonic() - began, 2)
                report(found)
                if found.wrong:
                    return
                await _one_left(on)


async def _link(on: RealScene, link: Link, found: Found) -> None:
    story = STORIES[link.story]
    on.truth.excused.clear()
    if not on.lives:
        if story.cold:
            await _cold(on, link, story, found)
            return
        await on.start()
        await _leads(on)
    await lead(on, BEGINS.get(link.story, Start.HOME))
    on.known = frozenset(str(one["id"]) for one in await on.history())
    if link.fault:
        story = lenient(story)
        found.reached, broken = await real_faults.go(on, story, link.call, link.fault)
        on.current.ledger.hooks = Hooks()
        found.wrong += [*broken, *await judge(on, story)]
        return
    if link.successor == "other":
        await on.start()
        await on.rest(LEADS_FIRST)
    trap = _trap(on, link)
    trap.armed = True
    first = len(on.current.ledger.calls)
    await on.begin(story.trigger)
    await _go(on, link, story, trap)
    found.reached = trap.sprung_at is not None
    found.calls = _calls(on, first) if not link.call else []
    found.wrong += await judge(on, story)


async def _cold(on: RealScene, link: Link, story: Story, found: Found) -> None:
    trap = _trap(on, link, armed=True)
    await on.start(trap.hooks())
    on.led_since = on.now
    await on.begin(story.trigger)
    await _go(on, link, story, trap)
    found.reached = trap.sprung_at is not None
    found.calls = _calls(on, 0) if not link.call else []
    found.wrong += await judge(on, story)


def _trap(on: RealScene, link: Link, *, armed: bool = False) -> Trap:
    trap = Trap(
        Point(link.story, link.call, Side(link.side or Side.BEFORE)), on.kill, armed=armed, now=lambda: on.now
    )
    if on.lives:
        on.current.ledger.hooks = trap.hooks()
        on.power.ledger = on.current.ledger
    return trap


def _calls(on: RealScene, first: int) -> list[str]:
    return list(dict.fromkeys(call.point for call in on.current.ledger.calls[first:]))


async def _go(on: RealScene, link: Link, story: Story, trap: Trap) -> None:
    def reached() -> bool:
        story.tend(on)
        return story.ended(on)

    await on.until(f"the end of {story.name}", lambda: trap.sprung_at is not None or reached())
    last = on.now + AFTERWARDS  # what is written after a move has points of its own
    await on.until("what follows", lambda: trap.sprung_at is not None or on.now >= last)
    if trap.sprung_at is not None:
        gone = on.holder()
        await on.rest(AWAY)
        if link.successor == "restart":
            await on.start()
        await on.until("somebody else to lead", lambda: on.holder() not in ("", gone))
        on.led_since = on.now
        await on.until(f"the end of {story.name}", reached)
        await on.rest(AFTERWARDS)
        await on.until(f"the end of {story.name}", reached)  # its entry in the history may have been written by then
    trap.armed = False
    on.current.ledger.hooks = Hooks()
    await on.rest(AFTERWARDS)


async def _one_left(on: RealScene) -> None:
    """The dead are buried; of two that live the one that leads goes on."""
    alive = [life for life in on.lives if not life.ledger.dead]
    if len(alive) > 1:
        alive = alive[:1]
    for life in [one for one in on.lives if one not in alive]:
        await life.close()
    on.lives[:] = alive
    on.power.ledger = alive[0].ledger if alive else Ledger()


def _words(on: RealScene) -> list[str]:
    """What the instances said last, for whoever looks for the fault."""
    found = []
    for life in on.lives:
        with contextlib.suppress(OSError):
            found += [f"{life.folder.name}: {line[:300]}" for line in _tail(life)]
    return found


def _tail(life: Life) -> list[str]:
    return life.log.read_text(errors="replace").splitlines()[-12:]


# -------------------------------------------------------------------- between the moves


async def lead(on: RealScene, start: Start) -> None:
    """Bring the app to where a move begins, by whatever moves that takes. Raises NotReached."""
    on.served.tick()
    await on.until("adopted", lambda: watching(on, Site.PRIMARY) or watching(on, Site.BACKUP))
    if start is Start.LOST and _at(on) is Start.LOST:
        on.fault("heal k3s-w1")  # one that was fenced had been cut off before
        await on.rest(1)
        return
    if _at(on) is Start.LOST or not on.served.world.nodes[f"k3s-w1-{on.number}"].linked:
        on.fault("heal k3s-w1")
        on.fault("power_on k3s-w1")
        await on.until("taken back", lambda: watching(on, Site.BACKUP, clean=True))
    if start is not Start.AWAY and watching(on, Site.BACKUP):
        await _seen(on)
        await _asked(on, CommandKind.FAILBACK, None, Site.PRIMARY)
    if start is Start.AWAY and watching(on, Site.PRIMARY):
        await _seen(on)
        await _asked(on, CommandKind.SWITCHOVER, Site.BACKUP, Site.BACKUP)
    if start is Start.LOST:
        await _seen(on)
        on.fault("power_off k3s-w1")
        await on.until("moved", lambda: watching(on, Site.BACKUP) and on.running(Site.BACKUP))
        await on.rest(3)
    if start is not Start.LOST:
        await _seen(on)
    on.truth.excused.clear()


async def _leads(on: RealScene) -> None:
    await on.until("somebody to lead", lambda: on.holder() != "")
    on.led_since = on.now


async def _seen(on: RealScene) -> None:
    """Until every node has renewed its lease under the eyes of whoever leads: neither an operator's command nor a
    power cut comes before a daemon knows anything.
    """
    await on.rest(max(0.0, WARM - (on.now - on.led_since)))


async def _asked(on: RealScene, kind: CommandKind, target: Site | None, there: Site) -> None:
    """A planned move leads there, asked for again where it is refused or given up: a scan of before may still go
    unanswered.
    """

    def led() -> bool:
        return watching(on, there, clean=True) and on.running(there)

    until = on.now + on.patience
    while not led() and on.now < until:
        await on.begin(lambda _: on.command(kind, target))
        await on.until(f"{kind} ended", lambda: led() or at_rest_or_refused(on))
        await on.rest(1 if led() else ASKED_EVERY)
    if not led():
        raise NotReached(f"{kind} came to nothing within {on.patience:.0f} s")


def _at(on: RealScene) -> Start:
    """Where the app is, as far as nodes tell."""
    powered = on.served.world.nodes[f"k3s-w1-{on.number}"].powered
    if not powered:
        return Start.LOST
    return Start.HOME if watching(on, Site.PRIMARY) else Start.AWAY


def drawn(links: Sequence[Link], count: int, seed: int) -> list[Link]:
    """Some of them, the same for the same seed."""
    return random.Random(seed).sample(list(links), min(count, len(links)))
