"""Recordings of the simulated world: the real loop, its ports in process, and a recorder beside it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path

from failoverd.core.model import Decision, Now, Snapshot, Watch
from failoverd.core.rules import Rules
from failoverd.record import Folder, Recorder, Remembered, Seen, Writer
from failoverd.simulator.clock import run
from failoverd.simulator.ports import instance
from failoverd.simulator.world import World
from failoverd.simulator.world_faults import inject
from failoverd.simulator.world_spec import WorldSpec, simple_rules

POWER_CUT = ("60", "power_off k3s-w1", "60", "power_on k3s-w1", "120")
"""Seconds to wait, and faults."""


@dataclass(slots=True)
class Spy:
    """Hands everything on to a recorder and keeps it."""

    to: Recorder
    seen: list[Seen] = field(default_factory=list)

    def saw(self, rules: Rules, memory: Remembered, watch: Watch, snapshot: Snapshot, now: Now) -> None:
        self.seen.append(Seen(rules=rules, memory=memory, watch=watch, snapshot=snapshot, now=now))
        self.to.saw(rules, memory, watch, snapshot, now)

    def decided(self, decision: Decision) -> None:
        self.seen[-1] = replace(self.seen[-1], decision=decision)
        self.to.decided(decision)


def folder(path: Path, **changes: object) -> Folder:
    return replace(Folder(path=path, instance="failoverd-0", largest=10_000_000, keep=50), **changes)  # type: ignore[arg-type]


def record(
    where: Folder,
    rules: Rules | None = None,
    story: tuple[str, ...] = POWER_CUT,
    secrets: tuple[str, ...] = (),
    *,
    led_by: Rules | None = None,
) -> list[Seen]:
    """Play `story` and record it; returns what `decide` was given and answered.

    With `led_by` another instance leads by these rules, and the one that is recorded follows.
    """
    world = World(WorldSpec(rules=led_by or rules or simple_rules()))
    leader = instance(world)
    loop = instance(world, "failoverd-1") if led_by else leader
    if led_by is not None:
        loop.rules = lambda: rules or simple_rules()
    recorder = Recorder(Writer(where, config="c0ffee", secrets=secrets), where.path, waiting=0)
    spy = loop.recording = Spy(recorder)

    async def main() -> None:
        inject(world, "leader failoverd-0")
        tasks = [asyncio.ensure_future(one.run()) for one in ([leader, loop] if led_by else [loop])]
        for part in story:
            if part.isdecimal():
                await asyncio.sleep(int(part))
            else:
                inject(world, part)
        for one in (leader, loop):
            one.stop.set()
            one.wake.set()
        await asyncio.gather(*tasks)

    run(world, main())
    recorder.close()
    return spy.seen
