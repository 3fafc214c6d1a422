"""Idle ticks: what a tick carries on when nothing is decided otherwise, without asking `decide` each time.

While an app idles a tick does three things: it sees leases move, hears both sides of every volume, and asks for scans
whose receipts become proofs. The core's own functions for that are called here, in the order `decide` calls them, on
the world as it really goes on. Everything else `decide` would conclude is taken to be what it was, and that is asked
of `decide` itself: whenever a copy looks like it has not looked in this stretch, and at the end of every few ticks,
for what merely grows older crosses a threshold once and stays beyond it. Where `decide` disagrees, the world is taken
back to the last tick of which it does not, and the loop goes on from there tick by tick.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from heapq import heapify, heappop, heappush

from failoverd.core import databases
from failoverd.core.decide import decide
from failoverd.core.memory import Memory
from failoverd.core.model import Api, Decision, NodeReading, Receipt, ScanPoints, Snapshot, Unknown, Watch
from failoverd.core.rules import Rules
from failoverd.simulator.idle_looks import Shapes, looks
from failoverd.simulator.idle_tick import Held, Round, Tick, carry, pairs
from failoverd.simulator.ports import GRACE_MS, POINTS_MS, SCAN_MS, scanned
from failoverd.simulator.sleeper import Sleeper
from failoverd.simulator.world import World
from failoverd.simulator.world_look import PROBE_AFTER_MS, Look
from failoverd.simulator.world_time import Stirred

MS = timedelta(milliseconds=1)
CHECKED_AFTER = 15
"""Rounds until `decide` is asked again."""


@dataclass(slots=True)
class Idling:
    """Plays idle ticks of all instances of a world."""

    world: World
    instances: tuple[Sleeper, ...]
    horizon_ms: int
    """Something happens then that belongs to no beat, or somebody wants to see a tick."""
    sketch: Callable[[Decision], object]
    known: set[object]
    """How readings looked when `decide` had its present words to say and no others; more are added."""
    asked: int = 0
    """How often `decide` was asked."""
    over: bool = False
    """Whether something else lies ahead: the next tick decides it, or something happens."""
    _until_ms: int = 0
    _rounds: list[Round] = field(default_factory=list)
    _found: dict[int, tuple[Tick, Decision]] = field(default_factory=dict)
    """By the ids of ticks: what `decide` said of them."""
    _changes: int = 0
    """Counts what may have changed a folder."""
    _shapes: Shapes = field(default_factory=dict)
    _looked: dict[int, int] = field(default_factory=dict)
    """Up to which of these changes each instance has looked."""

    def play(self, first: Round, most: int, until_ms: int) -> list[Round]:
        """Up to so many rounds of idle ticks after `first`, until that moment; the last of them stands, and the world
        is as it left it."""
        self._rounds, self._until_ms = [first], until_ms
        checked = 0
        self.over = False
        self.known.update(
            [looks(self._rules(index), index, tick, self._shapes) for index, tick in enumerate(first.ticks)]
        )
        while not self.over and len(self._rounds) <= most and not self._reached(self._rounds[-1]):
            self.over = not self._some(min(CHECKED_AFTER, most + 1 - len(self._rounds)))
            self._trim(checked)
            before, checked = checked, self._agreed(checked)
            self.over = self.over or checked < len(self._rounds) - 1 or checked == before
            del self._rounds[checked + 1 :]
        self._trim(0)
        return self._rounds

    def _reached(self, found: Round) -> bool:
        """Whether the play may end here: ticks of several instances may share a round, so rounds do not tell time."""
        return found.world.now_ms >= self._until_ms and self._at_rest(found)

    def _trim(self, checked: int) -> None:
        """End with a round that a real one can follow, and take the world back to that."""
        while len(self._rounds) > checked + 1 and not self._at_rest(self._rounds[-1]):
            self._rounds.pop()
        self._rounds[-1].world.back(self.world, pairs(self.world))
        self._changes += 1

    def _at_rest(self, found: Round) -> bool:
        """Whether nobody has asked for anything, and who wakes together does so in the order they are put to bed."""
        if any(tick.scans or tick.receipts for tick in found.ticks):
            return False
        last = len(found.ticks) - 1
        return all(
            self._due_ms(found, index) != self._due_ms(found, last) or found.slept[index] < found.slept[last]
            for index in range(last)
        )

    def _due_ms(self, found: Round, index: int) -> int:
        return (found.ticks[index].now.mono + self.instances[index].pause) // MS

    def _some(self, count: int) -> bool:
        """Up to `count` more rounds; False when there is no further one."""
        for _ in range(count):
            last = self._rounds[-1]
            try:
                with self.world.time.still():
                    found = self._next(last)
            except Stirred:
                found = None
            if found is None or not self._expected(last, found):
                last.world.back(self.world, pairs(self.world))
                self._changes += 1
                return False
            self._rounds.append(found)
            if self._reached(found):
                break
        return True

    def _expected(self, last: Round, found: Round) -> bool:
        """Whether `decide` has seen the like of these ticks, or has nothing else to say."""
        for index, tick in enumerate(found.ticks):
            if tick is last.ticks[index]:
                continue
            like = looks(self._rules(index), index, tick, self._shapes)
            if like in self.known:
                continue
            if not self._agrees(index, tick):
                return False
            self.known.add(like)
        return True

    def _agreed(self, checked: int) -> int:
        """The last round, of those after `checked`, up to which `decide` says what it said before."""
        low, high = checked, len(self._rounds) - 1
        if low == high or self._agree(high):
            return high
        while high - low > 1:
            middle = (low + high) // 2
            if self._agree(middle):
                low = middle
            else:
                high = middle
        return low

    def _agree(self, place: int) -> bool:
        """Of the round at `place`; what is put off while a scan is asked for is seen in the tick before that."""
        first, found = self._rounds[0].ticks, self._rounds[place].ticks
        if not all(tick is first[index] or self._agrees(index, tick) for index, tick in enumerate(found)):
            return False
        return place < 2 or not any(tick.scans for tick in found) or self._agree(place - 1)

    def _agrees(self, index: int, tick: Tick) -> bool:
        one = self.instances[index]
        assert one.decision is not None
        found = self.decided(index, tick)
        memory = tick.carried[0] if isinstance(tick.carried[0], Memory) else Memory()
        return (
            not found.notes
            and found.actions == tick.scans
            and found.wake_at - tick.now.mono == one.pause
            and found.confirm == one.decision.confirm
            and found.watch == tick.carried[1]
            and found.memory == memory
            and self.sketch(found) == one.words
        )

    def decided(self, index: int, tick: Tick) -> Decision:
        """What `decide` says of a tick."""
        found = self._found.get(id(tick))
        if found is None:
            self.asked += 1
            found = tick, decide(self._rules(index), tick.memory, tick.watch, tick.snapshot, tick.now)
            self._found[id(tick)] = found  # with the tick, so that its id stays its own
        return found[1]

    def _rules(self, index: int) -> Rules:
        seen = self.instances[index].seen
        assert seen is not None
        return seen[0]

    # ---------------------------------------------------------------- one tick

    def _next(self, last: Round) -> Round | None:
        """The next moment at which all sleep again, with another tick of at least one; None when it is not idle."""
        ticks, slept = list(last.ticks), list(last.slept)
        pending = [(self._due_ms(last, index), slept[index], index) for index in range(len(ticks))]
        heapify(pending)
        begun: dict[int, Tick] = {}
        turn = max(slept) + 1
        still = True
        while True:
            at_ms, _, index = heappop(pending)
            if at_ms >= self.horizon_ms or at_ms < self.world.time.now_ms:
                return None
            next_ms = self.world.time.next_ms  # anew each time: a scan has its own consequences
            if next_ms is not None and next_ms <= at_ms:
                self.world.advance(at_ms)
                self._changes += 1
                still = False
            else:
                self.world.time.now_ms = at_ms
            tick = self._go_on(index, last.ticks[index], begun.pop(index, None))
            if tick is None:
                return None
            turn += 1
            wait_ms = self._waits_ms(tick)
            if wait_ms:
                begun[index] = tick
                heappush(pending, (at_ms + wait_ms, turn, index))
                continue
            ticks[index], slept[index] = tick, turn
            if (tick.now.mono + self.instances[index].pause) // MS <= at_ms:
                return None
            if not begun:
                still = still and not any(tick.receipts for tick in ticks)
                held = Held.of(self.world, pairs(self.world), last.world if still else None)
                return Round(tuple(ticks), tuple(slept), held)
            heappush(pending, (self._due_ms(Round(tuple(ticks), (), last.world), index), turn, index))

    def _waits_ms(self, tick: Tick) -> int:
        """How long until this tick goes on; 0 where it has ended."""
        if tick.version < 0:
            return GRACE_MS
        if len(tick.receipts) == len(tick.scans):
            return 0
        points = any(isinstance(act, ScanPoints) for act in tick.scans)
        return SCAN_MS if not points else SCAN_MS - POINTS_MS if tick.receipts else POINTS_MS

    def _go_on(self, index: int, last: Tick, begun: Tick | None) -> Tick | None:
        """A tick's next part: the look; what follows from it, 100 ms later if something is silent; its scans."""
        one = self.instances[index]
        if begun is None:
            now = one.clock.now()
            snapshot = self._snapshot(index, last.snapshot, last.receipts)
            if snapshot is None:
                return None
            looked = Tick(last.carried[0], last.carried[1], snapshot, now, last.carried, -1)
            return looked if one.observer._slow else self._conclude(one, looked, last.version)
        if begun.version < 0:
            return self._conclude(one, begun, last.version)
        return self._scanned(one, begun)

    def _scanned(self, one: Sleeper, begun: Tick) -> Tick | None:
        """The scans of a tick that fall due now: those of points, which are short, and then the others."""
        self._changes += 1
        points = not begun.receipts and any(isinstance(act, ScanPoints) for act in begun.scans)
        asked = self.world.wall() - (POINTS_MS if points else SCAN_MS) * MS
        due = [act for act in begun.scans if isinstance(act, ScanPoints) is points]
        found = begun.receipts + tuple([scanned(self.world, one.observer.host, act, asked) for act in due])
        if len(found) == len(begun.scans):
            found = tuple(sorted(found, key=lambda receipt: begun.scans.index(receipt.action)))
        return replace(begun, receipts=found) if all(receipt.ok for receipt in found) else None

    def _conclude(self, one: Sleeper, looked: Tick, version: int) -> Tick | None:
        """What is remembered and asked for after a look; who does not lead reads what the leader wrote."""
        stored, memory = self.world.stored, looked.memory
        leads = looked.snapshot.instance.leader
        if not leads and isinstance(looked.snapshot.api, Api):
            memory, version = stored.memory, stored.version
        assert one.seen is not None
        known, watch, scans = carry(one.seen[0], memory, looked.watch, looked.snapshot, looked.now)
        points = [act for act in scans if isinstance(act, ScanPoints)]
        if any(_is_first(act, looked.watch) for act in points):
            return None  # which is told
        if points and one.trapped():
            return None
        if leads and known != memory:
            if stored.version != version or not isinstance(known, Memory):
                return None  # somebody else has written meanwhile, or it was lost
            stored.memory, stored.version, version = known, version + 1, version + 1
        else:
            known = memory
        return Tick(memory, looked.watch, looked.snapshot, looked.now, (known, watch), version, scans)

    def _snapshot(self, index: int, last: Snapshot, receipts: tuple[Receipt, ...]) -> Snapshot | None:
        """What is seen now, where the rest is as it was; None when that is not so."""
        world = self.world
        look = Look(world, self.instances[index].observer.host)
        reaches = isinstance(last.api, Api)
        if look.reaches_api is not reaches or (reaches and tuple(world.commands) != last.commands):
            return None
        nodes: dict[str, NodeReading] = {}
        for name, before in last.nodes.items():
            node = world.nodes[name]
            if node.renewing_since_ms is not None and look.now_ms - node.renewal_ms(look.now_ms) > PROBE_AFTER_MS:
                return None
            nodes[name] = look.again(node, before)
        folders, guards = last.folders, last.guards
        if self._looked.get(index) != self._changes:
            folders = {
                key: known if isinstance(known, Unknown) else look.folder(*key) for key, known in folders.items()
            }
            guards = {key: look.guard(*key) for key in guards}
            if look.silent:
                return None
        self._looked[index] = self._changes
        return Snapshot(
            api=Api(date=world.wall()) if reaches else last.api,
            instance=last.instance,
            nodes=nodes,
            workloads=last.workloads,
            folders=folders,
            claims=last.claims,
            guards=guards,
            commands=last.commands,
            receipts=receipts,
            hours_open=last.hours_open,
        )


def _is_first(act: ScanPoints, watch: Watch) -> bool:
    """Whether no points were ever announced there, as far as is known."""
    return not watch.guards.get((act.app, act.volume, act.site), databases.NEVER).announced
