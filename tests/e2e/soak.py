"""Random faults for a while, by a seed, and what must be true all along and at the end."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.e2e.daemon import Table
from tests.e2e.world import APPS, NODE, World
from tests.lab.layout import NODE_IMAGE, LabError
from tests.lab.manifests.apps import App, Peers, repo_files
from tests.lab.standins.deploy import wire
from tests.weight import Weighed

SETTLE = 400
"""Seconds that everything may take to be well again once the last fault is over: one app may still have to be taken
back, wait for `stable_for` and go home."""
UNTOLD = 20
"""Seconds for which an app may be down without a word why: a decision, or a pod's start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What `/status` and the process said in one second; `apps` is empty where nobody answered."""

    at: float
    apps: Table
    weight: Weighed | None
    up: frozenset[str]


@dataclass(slots=True)
class Watcher:
    """Looks every second, from a thread beside the faults."""

    world: World
    samples: list[Sample] = field(default_factory=list)
    _end: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Watcher:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        assert self._thread is not None
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(1):
            try:
                apps = self.world.daemon.status()["apps"]
                up = frozenset(name for name in APPS if self.world.ready_on(name))
            except (OSError, http.client.HTTPException, LookupError, ValueError):
                # A killed daemon, or a stalled API server: neither says anything of the apps.
                continue
            self.samples.append(Sample(at=time.time(), apps=apps, weight=weighed(self.world), up=up))

    def untold(self) -> list[str]:
        """Apps that were down for long while `/status` had neither a move of theirs nor a reason."""
        found, since = [], dict.fromkeys(APPS, 0.0)
        for sample in self.samples:
            for name in APPS:
                app = sample.apps.get(f"media/{name}", {})
                told = app.get("objections") or app.get("waiting") or app.get("frozen") or app.get("move")
                if name in sample.up or told:
                    since[name] = sample.at
                since[name] = since[name] or sample.at
                if sample.at - since[name] > UNTOLD:
                    found.append(f"{name} {sample.at - since[name]:.0f} s: {app}")
        return found

    def weights(self) -> list[Weighed]:
        """What the daemon weighed, all along."""
        return [one.weight for one in self.samples if one.weight is not None]


def weighed(world: World) -> Weighed | None:
    """What the daemon weighs now; None while there is none."""
    pid = world.daemon.pid
    if pid is None:
        return None
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return Weighed(at=time.monotonic(), pid=pid, mib=int(line.split()[1]) / 1024)
    except OSError:
        return None
    return None


@dataclass(slots=True)
class Soak:
    """Faults drawn by a seed, one every 20 to 60 s, some of which overlap."""

    world: World
    seed: int
    told: Counter[str] = field(default_factory=Counter)
    revision: int = 0
    _peers: Peers = field(default_factory=dict)
    _later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def run(self, seconds: float) -> None:
        """Play faults for that long, the ends of all of them included."""
        chance = random.Random(self.seed)
        self._peers = wire(self.world.lab, APPS.values())
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            what = chance.choice(FAULTS)
            print(f"{seconds - (end - now):5.0f} s: {self._name(what)}", flush=True)
            what(self, chance)
            pause = min(now + chance.uniform(20, 60), end)
            while time.monotonic() < pause:
                self._due()
                time.sleep(0.2)
        for _, undo in self._later:
            undo()
        self._later.clear()

    def _due(self) -> None:
        for entry in [one for one in self._later if one[0] <= time.monotonic()]:
            self._later.remove(entry)
            entry[1]()

    def _name(self, what: Callable[..., None]) -> str:
        name = what.__name__.replace("_", " ")
        self.told[name] += 1
        return name

    def _after(self, seconds: float, undo: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, undo))

    # ------------------------------------------------------------ the faults

    def power_cut_of_the_primary(self, chance: random.Random) -> None:
        """Its hypervisor can prove it."""
        self._off(NODE["primary"], chance.uniform(5, 40))

    def power_cut_of_the_backup(self, chance: random.Random) -> None:
        """Nobody can prove it."""
        self._off(NODE["backup"], chance.uniform(5, 40))

    def _off(self, node: str, seconds: float) -> None:
        self.world.lab.power_cut(node)
        self._after(seconds, lambda: self.world.lab.power_on(node))

    def partition(self, chance: random.Random) -> None:
        """A node's cable is pulled; its pods go on."""
        node = chance.choice(sorted(NODE.values()))
        self.world.lab.cut(node)
        self._after(chance.uniform(5, 60), lambda: self.world.lab.heal(node))

    def stall_of_the_api_server(self, chance: random.Random) -> None:
        """It takes requests and answers none."""
        self.world.lab.stall_api(chance.uniform(3, 28))

    def kill_of_the_daemon(self, chance: random.Random) -> None:
        """SIGKILL; whoever watches over it starts it again."""
        if self.world.daemon.pid is not None:
            self.world.daemon.kill()
            self._after(chance.uniform(0, 8), self._start)

    def _start(self) -> None:
        try:
            self.world.daemon.start()
        except LabError:
            # Its token is asked of an API server that may be stalled.
            self._after(3, self._start)

    def kill_of_a_mover(self, chance: random.Random) -> None:
        """Every Syncthing of a node dies and is started again by its kubelet."""
        node = chance.choice(sorted(NODE.values()))
        if self.world.lab.power_state(node) == "running":
            self.world.lab.run(node, ["pkill", "-KILL", "-x", "syncthing"], check=False)

    def commit(self, chance: random.Random) -> None:
        """A new revision of one app in Git."""
        self.revision += 1
        self.world.lab.flux_commit(repo_files(self.committed(), NODE_IMAGE, self._peers))

    # ------------------------------------------------------------ what Git holds

    def committed(self) -> tuple[App, ...]:
        """The apps as Git has them after the last commit."""
        env = {"REVISION": str(self.revision)} if self.revision else {}
        return tuple(replace(app, env={**app.env, **env}) for app in APPS.values())

    def revisions(self) -> dict[str, str]:
        """Which revision each workload in the cluster is of."""
        found: dict[str, str] = {}
        for name, app in APPS.items():
            path = f"/apis/apps/v1/namespaces/media/{app.kind.lower()}s/{name}"
            spec: dict[str, Any] = self.world.lab.api("GET", path)[1]["spec"]["template"]["spec"]
            env = {one["name"]: one.get("value", "") for one in spec["containers"][0].get("env", ())}
            found[name] = env.get("REVISION", "0")
        return found


FAULTS: tuple[Callable[[Soak, random.Random], None], ...] = (
    Soak.power_cut_of_the_primary,
    Soak.power_cut_of_the_primary,
    Soak.power_cut_of_the_backup,
    Soak.partition,
    Soak.partition,
    Soak.stall_of_the_api_server,
    Soak.kill_of_the_daemon,
    Soak.kill_of_a_mover,
    Soak.commit,
)
