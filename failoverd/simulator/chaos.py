"""Bad days by the thousand: seeded schedules of faults, judged against the promises, the failing ones made small.

`python -m failoverd.simulator.chaos --seeds 1000` plays seeds it has not played before on every core and prints each
violation as a scenario file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from failoverd.simulator.chaos_conduct import Conduct
from failoverd.simulator.chaos_schedule import Schedule
from failoverd.simulator.chaos_truth import Truth
from failoverd.simulator.clock import run, until
from failoverd.simulator.daemons import Daemons
from failoverd.simulator.leap import Leaper
from failoverd.simulator.ports import Recorder
from failoverd.simulator.scenario_player import Player
from failoverd.simulator.scenario_world import spec_of
from failoverd.simulator.world import World
from failoverd.simulator.world_faults import inject

BOUND_MS = 60_000
"""Within so long a dead node with a clean, fresh standby and no other fault has led to a move."""
GONE_MS = 150_000
"""And within so long the app runs at the other site."""
LATER_MS = 75 * 60_000
"""So much later what has come to rest must still be at rest: a day lasts about two hours."""
BEYOND_I2 = frozenset({"guest_lies", "failover"})
"""A hypervisor that calls a running guest stopped, and an operator who forces a move without proof."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one day."""

    schedule: Schedule
    accused: tuple[tuple[int, str, str], ...]
    """(when in ms, promise, what)."""
    moves: int
    hours: float
    """Simulated hours."""

    @property
    def promises(self) -> frozenset[str]:
        """Which promises were broken."""
        return frozenset(promise for _, promise, _ in self.accused)


def judge(schedule: Schedule) -> Verdict:
    """Play one day and judge it. What the loop itself raises is a violation called `crash`."""
    world = World(spec_of(schedule.world))
    conduct = Conduct(world, Truth(world))
    return watched(schedule, conduct, Recorder(conduct.hear), Leaper(world, [conduct.next_limit_ms]))


def watched(
    schedule: Schedule,
    conduct: Conduct,
    recorder: Recorder,
    leaper: Leaper | None,
    later_ms: int = LATER_MS,
) -> Verdict:
    """The same, with what it takes handed in."""
    world = conduct.world
    try:
        run(world, _day(schedule, conduct, Daemons(world, recorder, world.spec.instances, leaper), later_ms))
    except Exception as error:  # whatever a day brings, the loop must not end by it
        world.accuse("crash", f"{type(error).__name__}: {error}")
    accused = tuple(one for one in world.accused if not (one[1] == "I2" and conduct.truth.excused & BEYOND_I2))
    return Verdict(schedule, accused, len(conduct.begun), world.time.now_ms / 3_600_000)


async def _day(schedule: Schedule, conduct: Conduct, daemons: Daemons, later_ms: int) -> None:
    world = conduct.world
    player = Player(world)
    daemons.start()
    for at_ms, command in (*schedule.events, (schedule.mend_ms, "fault mend")):
        if at_ms > world.time.now_ms:
            await until(world, at_ms)
        daemons.check()
        if command.startswith("restart daemon"):
            await daemons.restart(command.split()[2:])
        else:
            conduct.truth.excused.add(command.split()[1])
            conduct.excuses.done(command)
            player.do(command)
    for at_ms in (schedule.end_ms, schedule.end_ms + later_ms):
        await until(world, at_ms)
        daemons.check()
        conduct.truth.look()
        conduct.truth.at_rest()
        if world.accused:
            break
    conduct.unanswered([command.id for command in world.commands])
    if schedule.last_cut and not world.accused:
        await _last_cut(world, conduct, daemons)


async def _last_cut(world: World, conduct: Conduct, daemons: Daemons) -> None:
    """A provably dead node, clean and fresh standbys, nothing else wrong: every app on it must move, and soon."""
    memory, rules = world.stored.memory, world.spec.rules
    if memory is None or "lose_memory" in conduct.truth.excused:  # then the ids of moves begin anew
        return
    place = world.place(next(iter(world.apps.values())), next(iter(memory.apps.values())).active)
    willing = {
        key: was
        for key, was in memory.apps.items()
        if rules.place(rules.app(key), was.active).node == place.node
        and was.phase == "watching"
        and len(was.moves) < rules.timings.max_moves
        and not any(name in memory.pauses for name in ("*", key))
        and all(alarm.acknowledged_at is not None for alarm in was.alarms)
    }
    mapped = place.node in memory.nodes and memory.nodes[place.node].mapped
    if not (place.fence and mapped and rules.mode == "active" and world.leader == "failoverd-0"):
        return
    if rules.fence_when != "never" and len(willing) < len(memory.apps):
        return
    cut_ms = world.time.now_ms
    inject(world, f"power_off {place.node}")
    await until(world, cut_ms + BOUND_MS)
    late = [key for key in willing if not any(at >= cut_ms and name.startswith(key) for at, name in conduct.begun)]
    await until(world, cut_ms + GONE_MS)
    daemons.check()
    for key, was in willing.items():
        if key in late:
            world.accuse("liveness", f"{key}: {place.node} is dead for {BOUND_MS // 1000} s, and no move has begun")
        elif not world.apps[key].writers(was.active.other):
            world.accuse("liveness", f"{key} does not run at {was.active.other} {GONE_MS // 1000} s after the cut")


# -------------------------------------------------------------------- making it small


def shrink(verdict: Verdict, tries: int = 150) -> Verdict:
    """The smallest day found that breaks one of the same promises; `tries` days are played for it."""
    best = verdict
    left = tries

    def better(candidate: Schedule) -> bool:
        nonlocal best, left
        if left <= 0:
            return False
        left -= 1
        tried = judge(candidate)
        if not tried.promises & verdict.promises:
            return False
        best = tried
        return True

    size = max(1, len(best.schedule.events) // 2)
    while left > 0:
        removed, at = False, 0
        while at < len(best.schedule.events):
            events = best.schedule.events
            if better(replace(best.schedule, events=events[:at] + events[at + size :])):
                removed = True
            else:
                at += size
        if size == 1 and not removed:
            break
        size = max(1, size // 2)
    for word in best.schedule.world.split()[1:]:
        if not word.startswith("seed="):
            kept = [one for one in best.schedule.world.split() if one != word]
            better(replace(best.schedule, world=" ".join(kept)))
    return best


if __name__ == "__main__":
    import sys

    from failoverd.simulator.chaos_main import main

    sys.exit(main())
