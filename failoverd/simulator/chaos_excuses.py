"""What no daemon can prevent: a hand that undoes its work while no instance of it can reach the API server.

Two deeds are meant. `strip_hold` takes the hold off an app that is away from home: its controller starts it at home
again, beside the copy that counts. `wipe_config` takes the role off a side: with its new device accepted it sends and
receives like the other, and what is older may win. Both are undone within a tick by whoever may act. The excuse is
narrow: it is for that app (and, of a wiped side, that volume) alone, for I1, I2 and I10 alone, for a deed done while
nobody could act, and it ends `LOOK_MS` after somebody could again: what goes wrong from then on counts. A side wiped
earlier counts as one wiped now if it has answered at no look between, and its device is accepted while nobody can act
or while a leader that was cut off may not have been followed yet (`TAKEOVER_MS`).

Where the daemon only observes it gives no roles and keeps nothing: what becomes of the data is replication's doing.
That it does nothing there is judged by its acts (I5, `chaos_conduct.py`) and not by what the data came to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from failoverd.core.model import Folder, Unknown
from failoverd.core.rules import Mode, Site
from failoverd.simulator.world import World

LOOK_MS = 3_000
"""A look and the acts that follow from it take so long."""
TAKEOVER_MS = 20_000
"""So long a follower may take to go on after its leader is lost: its Lease runs out after 15 s."""
PROMISES = {"strip_hold": ("I1", "I2", "I10"), "wipe_config": ("I1", "I10")}
"""What each deed breaks, by its name."""
UNPROMISED = frozenset({"I1", "I4", "I10"})
"""What is promised of data, by a daemon that acts."""


@dataclass(slots=True)
class Excuses:
    """Deeds done behind the daemon's back in one world, for as long as they excuse anything."""

    world: World
    _deeds: dict[tuple[str, str], int | None] = field(default_factory=dict)
    """(name, what it was done to) -> when somebody could act again; None while nobody could since."""
    _looked_ms: int = 0
    """When an instance that leads has last looked."""
    _unheard: set[tuple[str, ...]] = field(default_factory=set)
    """App, volume and site of sides that were wiped and have not answered at any look since."""

    def done(self, command: str) -> None:
        """Take note of a command of a day before it is carried out."""
        name, *aim = command.split()[1:]
        behind = not self._able()
        if name == "wipe_config":
            self._unheard.add(tuple(aim))
        if name == "accept_device" and tuple(aim) in self._unheard:
            name = "wipe_config"
            behind = behind or self.world.time.now_ms - self._looked_ms <= TAKEOVER_MS
        if name in PROMISES and behind:
            self._deeds[name, " ".join(aim[:2])] = None

    def seen(self, folders: Mapping[tuple[str, str, Site], Folder | Unknown]) -> None:
        """An instance that leads has looked at the world, with an API server that answers; this is what it heard."""
        self._looked_ms = self.world.time.now_ms
        for deed, since_ms in self._deeds.items():
            if since_ms is None:
                self._deeds[deed] = self._looked_ms
        heard = {
            (app, volume, site.value) for (app, volume, site), said in folders.items() if isinstance(said, Folder)
        }
        self._unheard -= heard

    def excuse(self, promise: str, text: str) -> bool:
        """Whether this could not be prevented."""
        if promise in UNPROMISED and self.world.spec.rules.mode is Mode.OBSERVE:
            return True
        now_ms = self.world.time.now_ms
        return any(
            promise in PROMISES[name]
            and text.startswith((f"{aim} ", f"{aim}:"))
            and (since_ms is None or now_ms - since_ms <= LOOK_MS)
            for (name, aim), since_ms in self._deeds.items()
        )

    def _able(self) -> bool:
        """Whether any instance could act: one is enough, whoever leads."""
        return self.world.api_up and any(host.linked for host in self.world.hosts.values())
