"""What the daemon may do, judged tick by tick against the world: moves begun, acts, budgets, words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from failoverd.core.memory import AppMemory, Kind, Memory, Move, Phase
from failoverd.core.model import Api, Decision, Health, Now, Scan, ScanPoints, Snapshot, Unknown
from failoverd.core.rules import Mode, Require
from failoverd.simulator.chaos_excuses import Excuses
from failoverd.simulator.chaos_truth import Truth
from failoverd.simulator.world import World

LOOK_MS = 3_000
"""A look lasts up to 2 s: what was true when it began may have ended since."""
MUTE_MS = 10_000
"""So long something may be wanted with nothing against it before it begins."""
SPEECHLESS_MS = 150_000
"""An app whose node is dead for so long and that is not moved must say why."""


@dataclass(slots=True)
class Conduct:
    """Watches what one world's daemons decide."""

    world: World
    truth: Truth
    moves: dict[str, Move] = field(default_factory=dict)
    """Every move ever begun, as last seen, by id: Memory forgets, this does not."""
    begun: list[tuple[int, str]] = field(default_factory=list)
    """(when in ms, move id)."""
    excuses: Excuses = field(init=False)
    _memory: Memory | None = None
    _mute_since: dict[str, int] = field(default_factory=dict)
    _dead_since: dict[str, int] = field(default_factory=dict)
    _accused: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.excuses = Excuses(self.world)
        self.world.excuse = self.excuses.excuse

    def hear(self, decision: Decision, snapshot: Snapshot, now: Now) -> None:
        """Judge one tick."""
        del now
        self.truth.look()
        if isinstance(snapshot.api, Api) and snapshot.instance.leader:
            self.excuses.seen(snapshot.folders)
        if decision.memory is not self._memory:
            self._memory = decision.memory
            self._moves(decision.memory, snapshot)
        acts = [act for act in decision.actions if not isinstance(act, Scan | ScanPoints)]
        if acts and (isinstance(snapshot.api, Unknown) or not snapshot.instance.leader):
            doubt = "not leader" if isinstance(snapshot.api, Api) else "the API is unreachable"
            self._once("I5", f"{acts[0].key} while {doubt}")
        rules = self.world.spec.rules
        if rules.mode is Mode.OBSERVE:
            for act in decision.actions:
                if not (rules.observe_scan and isinstance(act, Scan)):
                    self._once("I5", f"{act.key} in observe mode")
        if not isinstance(snapshot.api, Unknown) and snapshot.instance.leader:
            self._words(decision)
        else:  # who cannot see begins anew when he can
            self._dead_since.clear()
            self._mute_since.clear()

    def _once(self, promise: str, text: str) -> None:
        if text not in self._accused:
            self._accused.add(text)
            self.world.accuse(promise, text)

    # ---------------------------------------------------------------- moves

    def _moves(self, memory: Memory, snapshot: Snapshot) -> None:
        for key, was in memory.apps.items():
            for move in was.moves[-2:]:
                before = self.moves.get(move.id)
                self.moves[move.id] = move
                if before is not None and not before.outcome and move.outcome == "done":
                    self._came_home(key, was)
            move_now = was.move
            if move_now is None:
                continue
            fresh = move_now.id not in self.moves
            if fresh:
                self._begun(key, move_now, was.phase, memory, snapshot)
                self.begun.append((self.world.time.now_ms, move_now.id))
            self.moves[move_now.id] = move_now

    def _came_home(self, key: str, was: AppMemory) -> None:
        """I8: what was touched is as it was the moment an app is home, so that GitOps finds nothing to do."""
        truth = self.world.apps[key]
        home = was.active is truth.app.preferred
        if home and not self.truth.excused & {"commit", "strip_hold"} and truth.raw["spec"] != truth.git["spec"]:
            self._once("I8", f"{key} came home and differs from Git: a rollout follows")

    def _begun(self, key: str, move: Move, phase: Phase, memory: Memory, snapshot: Snapshot) -> None:
        instance = snapshot.instance
        if isinstance(snapshot.api, Unknown) or not instance.leader or not instance.link:
            self.world.accuse("I5", f"{move.id} begun in doubt about itself")
        if abs(instance.jumped) > timedelta(seconds=5) or instance.late > timedelta(seconds=5):
            self.world.accuse("I5", f"{move.id} begun after a jump of the clock")
        if self.world.spec.rules.mode is Mode.OBSERVE:
            self.world.accuse("I5", f"{move.id} begun in observe mode")
        if not move.command:
            self._within_bounds(key, move, memory)
        if move.kind is Kind.FAILOVER and not move.forced:
            self._really_lost(key, move, phase)

    def _really_lost(self, key: str, move: Move, phase: Phase) -> None:
        """I3: an unplanned move needs a death, or a silence, that is true and not merely unread."""
        if "guest_lies" in self.truth.excused:
            return
        truth = self.world.apps[key]
        node, now_ms = self.world.node_at(truth, move.source), self.world.time.now_ms
        dead = not node.powered or now_ms - node.powered_at_ms <= LOOK_MS
        needed = self.world.spec.rules.timings.silence_after // timedelta(milliseconds=1)
        just_back = node.renewing_since_ms is not None and now_ms - node.renewing_since_ms <= LOOK_MS
        heard_ms = node.last_renewal_ms if just_back else node.renewal_ms(now_ms)
        silent = now_ms - heard_ms >= needed - LOOK_MS
        certain = truth.app.require is Require.PROOF and phase is not Phase.FENCING
        if not (dead or (silent and not certain)):
            state = "on" if node.powered else "off"
            self.world.accuse("I3", f"{move.id} begun though {node.name} is {state} and spoke just now")

    def _within_bounds(self, key: str, move: Move, memory: Memory) -> None:
        """I6, by our own books."""
        if "lose_memory" in self.truth.excused:
            return
        timings = self.world.spec.rules.timings
        real = [
            known for known in self.moves.values() if known.app == key and known.id != move.id and not known.aborted
        ]
        elective = move.kind is Kind.FAILBACK
        allowed = timings.max_moves - (1 if elective else 0)
        if len([known for known in real if not known.command]) >= allowed:
            self.world.accuse("I6", f"{move.id} is one move more than the {allowed} allowed")
        ends = [known.ended_at for known in real if known.ended_at is not None]
        if elective and ends and move.began_at - max(ends) < timings.cooldown:
            self.world.accuse("I6", f"{move.id} begun within the cooldown")
        for name in ("*", key):
            pause = memory.pauses.get(name)
            if pause is not None and (pause.until is None or pause.until > move.began_at):
                self.world.accuse("I6", f"{move.id} begun while paused")

    # ---------------------------------------------------------------- words

    def _words(self, decision: Decision) -> None:
        """I9: what calls for a move and is not moved says why."""
        now_ms = self.world.time.now_ms
        for key, app in decision.apps.items():
            was = decision.memory.apps.get(key)
            quiet = app.wanted is not None and not app.objections and was is not None and was.move is None
            since = self._mute_since.setdefault(key, now_ms) if quiet else self._mute_since.pop(key, now_ms)
            if now_ms - since > MUTE_MS:
                self._once("I9", f"{key} wants a {app.wanted}, nothing objects, and nothing happens")
            if app.phase is Phase.FROZEN and not (app.alarms or app.objections or decision.notes):
                self._once("I9", f"{key} is frozen without a word")
            if was is None or app.phase is not Phase.WATCHING:
                self._dead_since.pop(key, None)
                continue
            node = self.world.node_at(self.world.apps[key], was.active)
            unseen = decision.verdicts[node.name].health is not Health.DOWN
            lost = not node.powered and self.world.api_up
            began = self._dead_since.setdefault(key, now_ms) if lost else self._dead_since.pop(key, now_ms)
            if now_ms - began > SPEECHLESS_MS and not app.objections and was.move is None:
                self._once(
                    "I9", f"{key}: {node.name} is off, {'not DOWN' if unseen else 'DOWN'}, and nobody says why"
                )

    def next_limit_ms(self) -> int | None:
        """When somebody will have been silent for too long; that tick must be heard."""
        now_ms = self.world.time.now_ms
        limits = [since + SPEECHLESS_MS + 1 for since in self._dead_since.values()]
        limits += [since + MUTE_MS + 1 for since in self._mute_since.values()]
        return min((limit for limit in limits if limit > now_ms), default=None)

    def unanswered(self, asked: Iterable[str]) -> None:
        """At the end: every command was carried out or refused (I9)."""
        memory = self.world.stored.memory
        known = memory.commands if memory else ()
        for name in asked:
            if name not in known and "lose_memory" not in self.truth.excused:
                self.world.accuse("I9", f"{name} was never answered")
