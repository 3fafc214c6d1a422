"""One daemon in a world of `build`: it looks, decides, remembers and acts. Memory outlives it, Watch does not."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from failoverd.core.again import replace
from failoverd.core.decide import decide
from failoverd.core.memory import Memory, Phase
from failoverd.core.model import Action, Command, Decision, Instance, Receipt, Unknown, Watch, Why
from failoverd.core.rules import App, Rules
from tests.core.build import EPOCH_OF_TESTS, KEY, B, P, World, some_rules


@dataclass
class Life:
    """One daemon. `restart` forgets what only a process knows; Memory stays."""

    world: World
    memory: Any = None
    watch: Watch = field(default_factory=Watch)
    receipts: tuple[Receipt, ...] = ()
    decision: Any = None
    commands: tuple[Command, ...] = ()
    leader: bool = True
    acts: bool = True
    saves: int = 0
    seen: list[Phase] = field(default_factory=list)
    snapshot: dict[str, Any] = field(default_factory=dict)
    """Fields of every snapshot that a test pins."""

    do: Any = None
    """What carries out an action instead of `World.do`, where a test wants to see or to prevent it."""

    def tick(self, seconds: float | None = None) -> Decision:
        """Wait as long as the last decision said (or `seconds`), look, decide, remember, act."""
        world, last = self.world, self.decision
        due = (last.wake_at - world.now.mono).total_seconds() if last else 0.0
        world.advance(max(due, 0.0) if seconds is None else seconds)
        confirm: frozenset[str] = last.confirm if last else frozenset()
        fields = {"receipts": self.receipts, "commands": self.commands, **self.snapshot}
        fields.setdefault("instance", Instance(leader=self.leader, holder="me"))
        made = decide(world.rules, self.memory, self.watch, world.snapshot(confirm, **fields), world.now)
        if made.memory != self.memory and not isinstance(self.memory, Unknown):
            self.memory, self.saves = made.memory, self.saves + 1
        self.watch, self.decision = made.watch, made
        self.receipts = tuple((self.do or world.do)(action) for action in made.actions) if self.acts else ()
        for phase in [made.apps[app.key].phase for app in world.rules.apps[:1]]:
            if not self.seen or self.seen[-1] is not phase:
                self.seen.append(phase)
        return made

    def restart(self) -> None:
        self.watch, self.receipts, self.decision = Watch(), (), None

    def run(self, seconds: float) -> list[Action]:
        """Tick for so long; what was done."""
        until, before = self.world.s + seconds, len(self.world.did)
        while self.world.s < until:
            self.tick()
        return self.world.did[before:]

    def until(self, reached: Callable[[Life], bool], within: float = 400) -> float:
        """Tick until `reached`; how long that took. Fails when it takes longer than `within` seconds."""
        began = self.world.s
        while not reached(self):
            assert self.world.s - began <= within, (self.app(), self.why(), self.decision and self.decision.apps)
            self.tick()
        return self.world.s - began

    def app(self, key: str = "") -> Any:
        """What is remembered of an app (AppMemory): tests reach into what they know is there."""
        assert isinstance(self.memory, Memory)
        return self.memory.apps[key or self.world.rules.apps[0].key]

    def standings(self, key: str = "") -> dict[str, tuple[str, str]]:
        return {
            name: (str(one.copies[P].standing), str(one.copies[B].standing))
            for name, one in self.app(key).volumes.items()
        }

    def phase(self, key: str = "") -> Phase:
        return Phase(self.app(key).phase)

    def why(self, key: str = "") -> set[Why]:
        assert self.decision
        return {one.why for one in self.decision.apps[key or self.world.rules.apps[0].key].objections}

    def told(self, key: str = "") -> str:
        assert self.decision
        return "; ".join(map(str, self.decision.apps[key or self.world.rules.apps[0].key].objections))


def at_rest(life: Life) -> bool:
    return isinstance(life.memory, Memory) and life.phase() is Phase.WATCHING


def last(life: Life) -> Any:
    return life.app().moves[-1]


def ended(life: Life) -> bool:
    return at_rest(life) and bool(life.app().moves)


def spec(life: Life) -> Any:
    raw = life.world.raw[KEY]
    return raw["spec"], raw["metadata"].get("annotations")


_WATCHED: dict[tuple[Rules, float], bytes] = {}
"""Rules and seconds -> the daemon that has watched by them. Most tests begin with one of a few of these minutes."""


def healthy(*apps: App, seconds: float = 60, **rules: Any) -> Life:
    """A daemon that has watched a healthy world for a minute: a copy of its own for each who asks."""
    began = some_rules(*apps, **rules), seconds
    if began not in _WATCHED:
        life = Life(World(began[0]))
        life.run(seconds)
        assert at_rest(life), life.app()
        _WATCHED[began] = pickle.dumps(life)
    copied = pickle.loads(_WATCHED[began])
    assert isinstance(copied, Life)
    return copied


def command(kind: Any, key: str = KEY, **changes: Any) -> Command:
    made = Command(id="c1", kind=kind, app=key, expires=EPOCH_OF_TESTS + timedelta(days=1), by="anna", why="test")
    return replace(made, **changes)


def kinds(actions: Iterable[Action]) -> list[str]:
    return [type(action).__name__ for action in actions]
