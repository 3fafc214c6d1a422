"""Two movers and what is between them: connection, index exchange, pulls, restarts, the file watcher.

Measured numbers: a killed process is noticed at once, a silent host after 447 s, and until then a new
connection of the same device is turned away; a scanned change is on the peer after 0.25 s; the watcher
announces a change 7 to 15 s late; a restart of a mover takes about 3 s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from failoverd.core.names import GUARD_FOLDER
from failoverd.core.rules import SITES, Site
from failoverd.simulator.world_data import DATABASE, Content, Rhythm, missing
from failoverd.simulator.world_side import Side
from failoverd.simulator.world_time import Timeline

EXCHANGE_MS = 150
PULL_MS = 100
RETRY_MS = 10_000
CONNECT_MS = 500
UNNOTICED_MS = 447_000
"""How long a side keeps the connection to a peer whose host died or was cut off."""
RESTART_MS = 3_000
RELAUNCH_MS = 1_500
"""A restart that Syncthing was asked for itself: the pod stays."""


def _keeper(side: Side) -> Callable[[str, Content], bool]:
    """Whether this side keeps some content of a path: as that very version, or in a set that holds all of it."""
    kept = side.disk.versions

    def keeps(path: str, content: Content) -> bool:
        aside = f"{GUARD_FOLDER}/moves/{path}"
        return (path, content) in kept or any(one == aside and not missing(content, held) for one, held in kept)

    return keeps


@dataclass(slots=True, kw_only=True)
class SyncPair:
    """The pair of movers of one volume."""

    time: Timeline
    sides: dict[Site, Side]
    alive: Callable[[Site], bool]
    """Whether the node of that site has power and has booted."""
    linked: Callable[[], bool]
    """Whether the two nodes can reach each other."""
    pull_ms: int = PULL_MS
    changed: Callable[[], None] = lambda: None
    real: bool = False
    held_until_ms: dict[Site, int] = field(default_factory=dict)
    """Until when a side keeps a connection over which nothing comes any more."""
    pulling: bool = False
    _planned: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for site, side in self.sides.items():
            side.elsewhere = _keeper(self.sides[site.other])

    def connected(self, site: Site) -> bool:
        """What this side says of the connection; after a host's death that is no sign of life."""
        return self.real or self.holds(site)

    def holds(self, site: Site) -> bool:
        """Whether this side keeps a connection over which nothing comes."""
        return self.time.now_ms < self.held_until_ms.get(site, 0)

    def possible(self) -> bool:
        """Whether the two could talk: both run, reach each other, know each other's device and let it in."""
        known = all(side.expects in ("", self.sides[site.other].device) for site, side in self.sides.items())
        # kept at both ends it is the same connection, and goes on; at one end it keeps the new one out
        let_in = len({self.holds(site) for site in SITES}) == 1
        willing = not any(side.peer_paused for side in self.sides.values())
        return known and let_in and willing and all(side.running for side in self.sides.values()) and self.linked()

    def check(self) -> None:
        """Power, link or a process changed: connect or lose the connection."""
        for site, side in self.sides.items():
            if not side.up:
                self.held_until_ms.pop(site, None)
        possible = self.possible()
        if possible and not self.real:
            self._once("connect", CONNECT_MS, self._connect)
        elif not possible and self.real:
            self.real = False
            self._keep()

    def _keep(self) -> None:
        """Nobody said goodbye: each side that lives keeps the connection until it has been silent for too long."""
        for site, side in self.sides.items():
            if side.up:
                self.held_until_ms[site] = self.time.now_ms + UNNOTICED_MS
        self.time.after(UNNOTICED_MS, self.check)

    def close(self) -> None:
        """The connection is closed in order: both sides know."""
        self.real = False
        self.held_until_ms.clear()
        self.check()

    def kick(self) -> None:
        """Something was indexed: exchange it soon."""
        self.changed()
        self._beat("exchange", EXCHANGE_MS, self._exchange)

    def scan(self, site: Site, below: str = "") -> None:
        """A scan on one side, of files `below` a folder or of all, and what follows from it."""
        before = self.sides[site].sequence
        self.sides[site].scan(below)
        if self.sides[site].sequence != before or self.sides[site].errors:
            self.kick()

    def start(self, site: Site) -> None:
        """The mover's process begins: it scans at once and connects."""
        side = self.sides[site]
        side.up, side.hung, side.started_ms = True, False, self.time.now_ms
        self.scan(site)
        self.check()
        self.changed()

    def stop(self, site: Site) -> None:
        """The mover's process ends: its host closes the connection it has, and no other."""
        has = self.real or self.holds(site)
        self.sides[site].up = False
        if has and self.alive(site) and self.linked():
            self.close()
        self.check()
        self.changed()

    def restart(self, site: Site, away_ms: int = RESTART_MS) -> None:
        """Recreate of the mover's pod: gone, then back."""
        if not self.sides[site].up:
            return
        self.stop(site)
        self._once(f"start {site}", away_ms, lambda: self._boot(site))

    def boot(self, site: Site) -> None:
        """The node is back: the mover follows within seconds."""
        self._once(f"start {site}", self.time.between(1_000, 6_000), lambda: self._boot(site))

    def watch(self, site: Site, rhythm: Rhythm) -> None:
        """Files change on this side (or just stopped to): the watcher will notice."""
        rest = rhythm.off_ms if self.sides[site].disk.writers else 0
        wait = self.time.between(7_000, 14_900) if rest else 10_000
        self._beat(f"watch {site}", wait, lambda: self._watched(site, rhythm))

    def _watched(self, site: Site, rhythm: Rhythm) -> None:
        side = self.sides[site]
        if side.running:
            self.scan(site)
        if not (side.disk.writers and self.alive(site)):
            return
        if rhythm.off_ms and not side.disk.busy(DATABASE):
            # as late after the next burst: a steady writer is noticed in a steady rhythm
            self._beat(f"watch {site}", rhythm.period_ms, lambda: self._watched(site, rhythm))
        else:
            self.watch(site, rhythm)

    def _boot(self, site: Site) -> None:
        if self.alive(site) and not self.sides[site].up:
            self.start(site)

    def _connect(self) -> None:
        if self.possible():
            self.real = True
            self.held_until_ms.clear()
            self._exchange()

    def _exchange(self) -> None:
        if not self.real:
            return
        one, other = self.sides.values()
        heard = one.hear(other) | other.hear(one)
        if heard or one.needs() or other.needs():
            self.pulling = True
            self._beat("pull", self.pull_ms, self._pull)
        self.changed()

    def _pull(self) -> None:
        self.pulling = False
        if not self.real:
            return
        one, other = self.sides.values()
        arrived = one.pull(other) | other.pull(one)
        if arrived:
            self.kick()
        elif one.errors or other.errors:
            # counted from one try to the next: what can never be completed keeps a steady rhythm
            self._beat("retry", RETRY_MS - self.pull_ms % RETRY_MS, self._exchange)
        self.changed()

    def _beat(self, what: str, delay_ms: int, act: Callable[[], None]) -> None:
        """What an app that writes keeps going, over and over."""
        self._once(what, delay_ms, act, kind=what)

    def _once(self, what: str, delay_ms: int, act: Callable[[], None], kind: str = "") -> None:
        if what in self._planned:
            return
        self._planned.add(what)

        def happen() -> None:
            self._planned.discard(what)
            act()

        self.time.after(delay_ms, happen, kind)
