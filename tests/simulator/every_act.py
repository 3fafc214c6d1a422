"""The daemon dies before and after every act and every save of every kind of move, each distinct one once.

In process and in simulated time, so all of them are played: some by `make test`, the others by `make e2e`, which has
more time. `make kills` does the same at every request of the real adapters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from failoverd.core.memory import Memory
from failoverd.core.model import Action, Decision, Now, Receipt, Scan, Snapshot, Unknown
from failoverd.core.rules import Site
from failoverd.ports import Executor, Store
from failoverd.simulator.chaos_truth import Truth
from failoverd.simulator.clock import run, until
from failoverd.simulator.ports import Recorder, instance
from failoverd.simulator.scenario_player import Player
from failoverd.simulator.scenario_world import spec_of
from failoverd.simulator.world import World
from failoverd.simulator.world_faults import inject

APP = "media/sonarr"
AWAY_MS = 2_000
NOT_YET = "the standby is still outdated"
"""No violation while the node it lies on is away."""


@dataclass(frozen=True)
class Story:
    """What happens, by the world's seconds; killing begins at the last of it."""

    world: str
    events: tuple[tuple[int, str], ...]
    lasts: int = 150
    """Seconds from the last event to the judgement."""
    ends: str = "watching"
    """The phase in the end."""
    at: str = "backup"


WARM = 45
STORIES = {
    "adoption": Story("world", ((0, "fault power_on k3s-w1"),), at="primary"),
    "failover": Story("world stable_for=1h", ((WARM, "fault power_off k3s-w1"),)),
    "guarded": Story("world guard=yes stable_for=1h", ((WARM, "fault power_off k3s-w1"),)),
    "guarded switchover": Story("world guard=yes failback=manual", ((WARM, f"command switchover {APP} backup"),)),
    "fenced": Story("world stable_for=1h", ((WARM, "fault cut k3s-w1"),), lasts=240),
    "silence": Story("world require=silence fence=none", ((WARM, "fault power_off k3s-w1"),), lasts=220),
    "forced": Story("world failback=manual", ((WARM, f"command failover {APP} backup"),), lasts=300),
    "switchover": Story("world failback=manual", ((WARM, f"command switchover {APP} backup"),)),
    "aborted": Story(
        "world failback=manual barrier_timeout=30s", ((WARM, f"command switchover {APP} backup"),), at="",
    ),
    "failback": Story(
        "world failback=manual cooldown=1s",
        ((WARM, f"command switchover {APP} backup"), (WARM + 90, f"command failback {APP}")), at="primary",
    ),
    "take-back": Story(
        "world stable_for=1h", ((WARM, "fault power_off k3s-w1"), (WARM + 90, "fault power_on k3s-w1")), lasts=240,
    ),
    "restore": Story(
        "world stable_for=30s cooldown=30s",
        (
            (WARM, "fault power_off k3s-w1"), (WARM + 60, "fault power_on k3s-w1"),
            (WARM + 300, f"command restore {APP} data config.xml"),
        ),
        at="primary",
    ),
    "restore point": Story(
        "world guard=yes stable_for=1h", ((WARM, f"command restore {APP} point 6s"),), at="primary",
    ),
    "release": Story("world", ((WARM, f"command release {APP}"),), ends="released", at="primary"),
}  # fmt: skip


QUICK = ("adoption", "failover", "switchover", "aborted", "failback", "release")
"""Those of `make test`; the others take most of the time."""
MOVES = {
    "adoption": [],
    "release": [],
    "aborted": ["aborted"],
    "failback": ["done", "done"],
    "restore": ["done", "done", "done"],
}
"""How the moves of an undisturbed run end; of every other kind there is one, and it is done."""


@dataclass
class Mortal:
    """One instance that dies once, at `point`; without one it notes every point it passes."""

    world: World
    hear: Callable[[Decision, Snapshot, Now], None]
    point: str = ""
    armed: bool = False
    passed: dict[str, None] = field(default_factory=dict)
    died: bool = False
    state: str = ""
    meanwhile: Callable[[Mortal], None] = lambda _: None
    """What else happens, asked at every point."""
    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        loop = instance(self.world, voice=Recorder(self.hear))
        loop.store, loop.executor = _Store(loop.store, self), _Executor(loop.executor, self)
        self._task = asyncio.ensure_future(loop.run())

    async def at(self, point: str) -> None:
        if not self.armed:
            return
        self.meanwhile(self)
        self.passed[point] = None
        if point == self.point and not self.died:
            self.died = True
            assert self._task is not None
            self._task.cancel()
            self.world.time.after(AWAY_MS, self.start)
            await asyncio.get_running_loop().create_future()

    def check(self) -> None:
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.result()


@dataclass
class _Store:
    inner: Store
    mortal: Mortal

    async def load(self) -> Memory | Unknown | None:
        return await self.inner.load()

    async def save(self, memory: Memory) -> None:
        before, after = self.mortal.state, _state(memory)
        what = f"{before} | save {after if after != before else 'the same state'}"
        await self.mortal.at(f"{what} | before")
        await self.inner.save(memory)
        self.mortal.state = after
        await self.mortal.at(f"{what} | after")


@dataclass
class _Executor:
    inner: Executor
    mortal: Mortal

    async def execute(self, action: Action) -> Receipt:
        what = f"{self.mortal.state} | {type(action).__name__} {getattr(action, 'site', '')}"
        if not isinstance(action, Scan):
            what = f"{what} {getattr(action, 'reason', '')}"
        await self.mortal.at(f"{what} | before")
        receipt = await self.inner.execute(action)
        await self.mortal.at(f"{what} | after")
        return receipt


def _hang_in_barrier(mortal: Mortal) -> None:
    """The standby's Syncthing answers nothing from the barrier on, until the move is given up."""
    side = mortal.world.apps[APP].pairs["data"].sides[Site.BACKUP]
    within = mortal.state.startswith("barrier")
    if side.hung is not within:
        inject(mortal.world, f"syncthing_{'hang' if within else 'wake'} {APP} data backup")


def _state(memory: Memory) -> str:
    parts = []
    for app in memory.apps.values():
        parts.append(str(app.phase))
        for volume in app.volumes.values():
            copies = sorted(volume.copies.items())
            parts += [f"{site} {copy.standing} {copy.step or ''}".strip() for site, copy in copies]
    return ", ".join(parts)


def played(story: Story, point: str = "") -> tuple[Mortal, World]:
    """One run, to the end."""
    world = World(spec_of(story.world))
    player, truth = Player(world), Truth(world)

    def hear(decision: Decision, snapshot: Snapshot, now: Now) -> None:
        del decision, snapshot, now
        truth.look()

    mortal = Mortal(world, hear, point)
    if story is STORIES["aborted"]:
        mortal.meanwhile = _hang_in_barrier

    async def main() -> None:
        mortal.start()
        for seconds, event in story.events:
            await until(world, seconds * 1000)
            mortal.armed = (seconds, event) == story.events[-1]
            player.do(event)
        end_ms = (story.events[-1][0] + story.lasts) * 1000
        while world.time.now_ms < end_ms:
            await until(world, min(end_ms, world.time.now_ms + 5_000))
            mortal.check()
            truth.look()
        _judge(story, world, truth)

    run(world, main())
    return mortal, world


def _judge(story: Story, world: World, truth: Truth) -> None:
    memory = world.stored.memory
    was = memory.apps.get(APP) if memory else None
    assert was is not None
    if was.phase != story.ends or was.move is not None:
        world.accuse("I7", f"{APP} is {was.phase}, its move is {was.move and was.move.id}")
    refused = memory.refusals if memory else {}  # who begins anew has not seen the target yet, and says so
    if story.at and was.active != story.at and not refused:
        world.accuse("I7", f"{APP} is at {was.active}")
    for promise, text in truth._unrest(APP, world.apps[APP], was):
        if NOT_YET not in text and "still released" not in text:
            world.accuse(promise, text)
    done = [move for move in was.moves if move.outcome == "done"]
    if len({move.id for move in was.moves}) != len(was.moves) or len(done) > max(2, len(story.events)):
        world.accuse("I7", f"moves: {', '.join(f'{move.id} {move.outcome}' for move in was.moves)}")


def killed_at_every_act(name: str) -> int:
    """Play a story once for each act and save of it, dying there; how many there were."""
    story = STORIES[name]
    undisturbed, world = played(story)
    assert world.accused == []
    memory = world.stored.memory
    assert memory is not None
    ended = [move.outcome.partition(":")[0] for move in memory.apps[APP].moves]
    assert ended == MOVES.get(name, ["done"])
    assert len(undisturbed.passed) >= 8
    for point in undisturbed.passed:
        mortal, world = played(story, point)
        assert mortal.died, point
        assert world.accused == [], point
    return len(undisturbed.passed)
