"""Who leads, as one instance of the simulated world knows it."""

from __future__ import annotations

from dataclasses import dataclass

from failoverd.core.model import Instance, Now
from failoverd.simulator.world import Host, World
from failoverd.simulator.world_time import MS

RENEW_MS = 7_000
DEADLINE_MS = 12_000
"""Defaults of the leadership lease: renewed every 7 s, given up after 12 s without an answer."""


@dataclass(slots=True)
class WorldLeadership:
    """The lease, renewed every 7 s while the API server answers; nobody acts 12 s after the last answer."""

    world: World
    host: Host
    _last_ok_ms: int = 0

    def instance(self, now: Now) -> Instance:
        """What this instance knows of itself."""
        now_ms = now.mono // MS
        if self.world.api_up and self.host.linked:
            self._last_ok_ms = now_ms
        mine = self.world.leader == self.host.name
        return Instance(
            leader=mine and now_ms < self._last_ok_ms + DEADLINE_MS,
            holder=self.world.leader,
            generation=self.world.generation,
            link=self.host.linked,
        )
