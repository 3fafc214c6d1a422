"""A world, what happens in it, and what came of that: for `failoverd simulate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from failoverd.config.unwise import REMEDY
from failoverd.core import say
from failoverd.core.memory import Kind
from failoverd.core.model import Decision, Now, Snapshot, Why
from failoverd.core.rules import Require
from failoverd.simulator.clock import until
from failoverd.simulator.daemons import Daemons
from failoverd.simulator.leap import Leaper
from failoverd.simulator.ports import Recorder
from failoverd.simulator.scenario_player import Player
from failoverd.simulator.world import World


@dataclass(slots=True)
class Holds:
    """What was said to keep apps where they are: a wait where the move began after all, else a refusal."""

    waits: dict[str, None] = field(default_factory=dict)
    refusals: dict[str, None] = field(default_factory=dict)
    stuck: set[str] = field(default_factory=set)
    """Apps that a failover was refused."""
    _open: dict[str, tuple[Kind | None, list[str]]] = field(default_factory=dict)

    def hear(self, decision: Decision) -> None:
        """Take one tick in."""
        for key, app in decision.apps.items():
            kind, texts = self._open.get(key, (None, []))
            then = decision.memory.apps.get(key)
            if texts and then is not None and then.move is not None and then.move.kind is kind:
                self.waits.update(dict.fromkeys(texts))
                kind, texts = None, []
            if app.wanted is not kind:
                self._refused(key, kind, texts)
                kind, texts = app.wanted, []
            texts += [note.text for note in decision.notes if note.app == key and "is not moved" in note.text]
            # of what nobody is told of: a way home that waits, day after day
            spent = [str(one) for one in app.objections if one.why is Why.BUDGET]
            texts += [f"{key}: no {app.wanted}: {text}" for text in spent if not self._told(text, texts)]
            self._open[key] = kind, texts

    def end(self) -> None:
        """Nothing begins any more."""
        for key, (kind, texts) in self._open.items():
            self._refused(key, kind, texts)
        self._open.clear()

    def _refused(self, key: str, kind: Kind | None, texts: list[str]) -> None:
        self.refusals.update(dict.fromkeys(texts))
        if texts and kind is Kind.FAILOVER:
            self.stuck.add(key)

    def _told(self, text: str, more: list[str]) -> bool:
        return any(text in told for told in (*self.refusals, *more))


@dataclass(slots=True)
class Reach:
    """For how long each app had no Ready pod on a node with power and network."""

    world: World
    down_ms: dict[str, int] = field(default_factory=dict)
    _down: frozenset[str] = frozenset()
    _last_ms: int | None = None

    def look(self, *, begin: bool = False) -> None:
        """What was down at the last look has been so until now. Nothing counts before the one that begins it."""
        if self._last_ms is None and not begin:
            return
        now_ms = self.world.time.now_ms
        for key in self._down:
            self.down_ms[key] = self.down_ms.get(key, 0) + now_ms - (self._last_ms or 0)
        self._last_ms, self._down = now_ms, frozenset(key for key in self.world.apps if not self._runs(key))

    def _runs(self, key: str) -> bool:
        nodes = self.world.nodes
        return any(
            pod.owned and pod.running and pod.ready and pod.node in nodes and nodes[pod.node].linked
            for pod in self.world.apps[key].pods
        )


@dataclass(slots=True)
class Story:
    """A world, what happens in it, and what was said."""

    world: World
    happenings: list[tuple[int, str]]
    end_ms: int
    transcript: list[str] = field(default_factory=list)
    player: Player = field(init=False)
    holds: Holds = field(default_factory=Holds)
    reach: Reach = field(init=False)

    def __post_init__(self) -> None:
        self.player, self.reach = Player(self.world), Reach(self.world)

    def hear(self, decision: Decision, snapshot: Snapshot, now: Now) -> None:
        """Take one tick in."""
        self.player.hear(decision, snapshot, now)
        self.holds.hear(decision)
        self.reach.look()

    async def tell(self) -> None:
        """Let it happen."""
        daemons = Daemons(self.world, Recorder(self.hear), self.world.spec.instances, Leaper(self.world))
        daemons.start()
        for at_ms, command in [*self.happenings, (self.end_ms, "truth")]:
            await until(self.world, max(at_ms, self.world.time.now_ms))
            daemons.check()
            self.transcript += [*self.player.end_block(), f">>> {command}"]
            self.reach.look(begin=True)
            if command.startswith("restart daemon"):
                await daemons.restart(command.split()[2:])
            else:
                self.player.do(command)
            self.reach.look()
        self.holds.end()
        self.transcript += self.player.end_block()

    def summary(self) -> list[str]:
        """Moves with their RTO in parts, data at risk and really lost, time down, waits, refusals, violations."""
        memory = self.world.stored.memory
        moves = [(key, move) for key, was in memory.apps.items() for move in was.moves] if memory else []
        lines = [_many(len(moves), "move")]
        for _, move in moves:
            parts = say.rto(move)
            spent = ", ".join(f"{name} {value:.1f} s" for name, value in parts.items()) or "nothing"
            lines.append(f"  {say.headline(move)}: {move.outcome}; RTO {sum(parts.values()):.1f} s ({spent})")
            if move.losses:
                lines.append(f"    data at risk, as stated: {say.losses(move)}")
        for key, truth in self.world.apps.items():
            down_ms = self.reach.down_ms.get(key, 0)
            if down_ms:
                lines.append(f"{key} was down for {_span(down_ms)}")
            active = memory.apps[key].active if memory and key in memory.apps else truth.app.preferred
            for volume in truth.app.volumes:
                lost = sum(part.until_ms - part.since_ms for part in truth.lost(volume.name, active)) / 1000
                lines.append(f"{key} is at {active}; {volume.name}: {lost:g} s of writing are not in the live copy")
        lines += _listed(self.holds.waits, "wait", " before a move")
        lines += _listed(self.holds.refusals, "refusal")
        lines += [
            f"  what would let {key} move: {text}" for key in sorted(self.holds.stuck) for text in self._lets(key)
        ]
        lines += [f"BROKEN {promise} at {at / 1000:.1f} s: {text}" for at, promise, text in self.world.accused]
        return lines

    def _lets(self, key: str) -> list[str]:
        """What to configure where nothing can prove the death of its node."""
        rules, memory = self.world.spec.rules, self.world.stored.memory
        app = rules.app(key)
        active = memory.apps[key].active if memory and key in memory.apps else app.preferred
        node = rules.place(app, active).node
        return [REMEDY.format(node=node)] if app.require is Require.PROOF and not rules.fence(node) else []


def _listed(texts: dict[str, None], thing: str, more: str = "") -> list[str]:
    if not texts:
        return [] if more else [f"0 {thing}s"]
    return [f"{_many(len(texts), thing)}{more}:", *(f"  {text}" for text in texts)]


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _span(ms: int) -> str:
    minutes, seconds = divmod(round(timedelta(milliseconds=ms).total_seconds()), 60)
    if not minutes:
        return f"{seconds} s"
    return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"
