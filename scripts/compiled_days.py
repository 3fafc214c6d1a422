"""What becomes of the days of some seeds, one line each, to be compared: `python scripts/compiled_days.py SEED…`.

Everything that can be said of a day is in it: verdict, transcript, what happened, moves, and where chance stands.
"""

from __future__ import annotations

import sys

from failoverd.simulator.chaos import watched
from failoverd.simulator.chaos_conduct import Conduct
from failoverd.simulator.chaos_schedule import draw
from failoverd.simulator.chaos_truth import Truth
from failoverd.simulator.leap import Leaper
from failoverd.simulator.ports import Recorder
from failoverd.simulator.scenario_player import Player
from failoverd.simulator.scenario_world import spec_of
from failoverd.simulator.world import World


def day(seed: int) -> str:
    """All of one day."""
    schedule = draw(seed)
    world = World(spec_of(schedule.world))
    conduct, player, ticks = Conduct(world, Truth(world)), Player(world), 0

    def hear(decision, snapshot, now):  # type: ignore[no-untyped-def]
        nonlocal ticks
        ticks += 1
        conduct.hear(decision, snapshot, now)
        player.hear(decision, snapshot, now)

    verdict = watched(schedule, conduct, Recorder(hear), Leaper(world, [conduct.next_limit_ms]))
    player.do("truth")
    stored = world.stored.memory
    moves = [(move.id, move.outcome) for app in stored.apps.values() for move in app.moves] if stored else []
    return repr(
        (seed, ticks, verdict.accused, verdict.hours, conduct.begun, moves, world.time.random.random())
    ) + repr((player.end_block(), world.told))


if __name__ == "__main__":
    for one in sys.argv[1:]:
        sys.stdout.write(day(int(one)) + "\n")
