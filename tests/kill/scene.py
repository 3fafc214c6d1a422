"""One run of one move: a cluster, one or two instances of the daemon, and what is true in the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from failoverd.adapters.kubernetes import commands
from failoverd.adapters.kubernetes.client import Client
from failoverd.adapters.kubernetes.memory import History, decode
from failoverd.core.memory import AppMemory, Memory, Move, Restore
from failoverd.core.model import Command, CommandKind
from failoverd.core.rules import Guarding, Require, Site
from failoverd.simulator.chaos_truth import Truth
from failoverd.simulator.serve import Serve
from failoverd.simulator.world_data import Rhythm
from failoverd.simulator.world_faults import inject
from failoverd.simulator.world_spec import WorldSpec, simple_app, simple_rules
from tests.kill.instance import Life
from tests.kill.nursery import Nursery
from tests.kill.proxy import Behind, Hooks, Ledger, Proxy
from tests.kill.virtual import VirtualClock
from tests.two_sites import SITES, fence

APP = "media/sonarr"
NAMESPACE = "failoverd"
STEP = timedelta(milliseconds=200)
"""How often the world catches up in virtual time."""
LOOK = 0.25
"""Seconds between two looks at what is true."""

CONFIG = (
    SITES
    + """
[failover]
require = "REQUIRE"
proof_after = "3s"
silence_after = "39s"
up_after = "3s"
cooldown = "1s"
max_moves = {{ count = 100, per = "1h" }}
[failback]
policy = "manual"
[timings]
tick = "1s"
scan_interval = "3s"
save_proofs_every = "3s"
barrier_timeout = "BARRIER"
quiet_for = "50s"
[leadership]
renew_every = "2s"
renew_deadline = "7s"
duration = "12s"
[kubernetes]
kubeconfig = "{kubeconfig}"
[syncthing]
via = "proxy"
[web]
listen = ""
[log]
format = "json"
[[apps]]
name = "sonarr"
namespace = "media"
"""
)


class NotReached(Exception):
    """What was waited for did not come; the text says what."""


@dataclass(slots=True, kw_only=True)
class Setting:
    """What differs between the worlds of the moves."""

    fenced: bool = True
    require: str = "proof"
    barrier_timeout: str = "60s"
    guarded: bool = False
    """Whether guards run beside the data, in the world."""


@dataclass(slots=True)
class Scene:
    """A served world with instances of the daemon in it."""

    served: Serve
    folder: Path
    setting: Setting
    nursery: Nursery | None
    """What its daemons come from; None where they live in this process, in virtual time."""
    operator: Client
    """Straight to the API server: what a person would see and do."""
    truth: Truth
    power: Proxy
    """Before the hypervisor: at one address for every instance, or their configurations would differ."""
    lives: list[Life] = field(default_factory=list)
    spec: Mapping[str, Any] = field(default_factory=dict)
    """The app's `spec` before anybody touched it."""
    before: str = ""
    """Id of the last move before the one that is looked at."""
    known: frozenset[str] = frozenset()
    """Ids of the moves that were in the history before it."""
    key: str = APP
    """Of the app."""
    space: str = NAMESPACE
    """Where the daemon keeps what is its own."""
    patience: float = 240
    """Seconds for whatever is waited for."""
    unreadable: str = ""
    """Why Memory could not be read at some moment, if it ever could not."""
    _text: str = ""
    _commands: int = 0
    _started: int = 0

    # ---------------------------------------------------------------- the daemon

    async def start(self, hooks: Hooks | None = None) -> Life:
        """Start an instance; it runs until it is killed or the scene ends."""
        life = Life(
            server=self.server(), token=self.token(), config=self.config(), nursery=self.nursery,
            folder=self.folder / f"life-{self._started}", ledger=Ledger(hooks or Hooks()),
        )  # fmt: skip
        self._started += 1
        if not self.lives:
            self.power.ledger = life.ledger
        self.lives.append(life)
        await life.start()
        return life

    def config(self) -> str:
        """The daemon's, with `{kubeconfig}` where that goes."""
        config = CONFIG.replace("REQUIRE", self.setting.require).replace("BARRIER", self.setting.barrier_timeout)
        if self.setting.fenced:
            config += fence(self.power.urls["proxmox"], self.served.proxmox.token)
        if self.setting.guarded:
            config += "[guard]\nenabled = true\n"
        return config

    def server(self) -> Behind:
        """The API server."""
        return Behind(url=self.served.kube_url, trust=self.served.trust())

    def token(self) -> str:
        """Of the daemon's identity there."""
        return self.served.kube.token

    def kill(self) -> None:
        """The first life ends as by SIGKILL."""
        self.lives[0].kill()
        self.power.cut()
        self.power.ledger = Ledger()

    # ---------------------------------------------------------------- what is there

    @property
    def now(self) -> float:
        """Seconds since the world began."""
        return self.served.world.time.now_ms / 1000

    def kept(self, plural: str, name: str) -> Mapping[str, Any]:
        """An object of the daemon's as the API server has it; empty when there is none."""
        return self.served.kube.store.objects.get((plural, self.space, name)) or {}

    def memory(self) -> Memory | None:
        """What the cluster remembers; None when nothing."""
        raw = self.kept("configmaps", "failoverd-memory")
        text = str((raw.get("data") or {}).get("memory.json", ""))
        if text and text != self._text:
            self._text = text
            found = decode(text, "Memory")
            if isinstance(found, Memory):
                self.served.world.stored.memory = found
            else:
                self.unreadable = str(found)
        return self.served.world.stored.memory

    def app(self) -> AppMemory | None:
        """What it remembers of the app."""
        memory = self.memory()
        return memory.apps.get(self.key) if memory else None

    def last_move(self) -> Move | None:
        """The last finished move."""
        app = self.app()
        return app.moves[-1] if app and app.moves else None

    def running(self, site: Site) -> bool:
        """Whether a pod of the app is Ready at `site`."""
        truth = self.served.world.apps[self.key]
        node = self.served.world.place(truth, site).node
        return any(pod.ready and pod.node == node for pod in truth.pods)

    def holder(self) -> str:
        """Who leads, by the Lease; empty when nobody does."""
        return str((self.kept("leases", "failoverd").get("spec") or {}).get("holderIdentity", ""))

    async def history(self) -> list[Mapping[str, Any]]:
        """The moves in the history. Raises KubeError."""
        return [one for one in await History(self.operator, self.space).read() if "epoch" in one]

    # ---------------------------------------------------------------- acting

    def fault(self, words: str) -> None:
        """Something happens to the world."""
        self.served.tick()
        self.truth.excused.add(words.split(maxsplit=1)[0])
        inject(self.served.world, words)

    async def begin(self, trigger: Callable[[Scene], Awaitable[None]]) -> None:
        """What begins the move."""
        last = self.last_move()
        self.before = last.id if last else ""
        await trigger(self)

    async def command(self, kind: CommandKind, target: Site | None = None, restore: Restore | None = None) -> None:
        """An operator asks for something, by the API."""
        self._commands += 1
        app, now = self.app(), self.served.world.wall()
        asked = Command(
            id=f"command-{self._commands}", kind=kind, app=self.key, target=target, epoch=app.epoch if app else None,
            expires=now + timedelta(minutes=30), by="operator", why="asked for",
            restore=restore,
        )  # fmt: skip
        await commands.write(self.operator, self.space, asked, now)

    def refused(self) -> bool:
        """Whether the last command was, with its reason."""
        memory = self.memory()
        return memory is not None and bool(memory.refusals.get(f"command-{self._commands}"))

    async def until(self, what: str, reached: Callable[[], bool], at_least: float = 0) -> None:
        """Wait, for `patience` or so long, judging what is true all the while. Raises NotReached."""
        within = max(self.patience, at_least)
        end = self.now + within
        while not reached():
            if self.now > end:
                raise NotReached(f"not within {within:g} s: {what}; {self.told()}")
            await self.rest(LOOK)

    async def rest(self, seconds: float) -> None:
        """Let so much of the world's time pass, judging what is true."""
        end = self.now + seconds
        while True:
            self.served.tick()
            self.memory()
            self.truth.look()
            if self.now >= end:
                return
            await asyncio.sleep(min(LOOK, max(end - self.now, 0.01)))

    def told(self) -> str:
        """Where everything stands, in a line."""
        app = self.app()
        if app is None:
            return "nothing is remembered"
        standing = [f"{name} {site} {copy.standing}" for name, volume in app.volumes.items()
                    for site, copy in volume.copies.items()]  # fmt: skip
        return f"{app.phase}, active {app.active}, {', '.join(standing)}, move {app.move and app.move.id}"


@asynccontextmanager
async def scene(folder: Path, setting: Setting) -> AsyncIterator[Scene]:
    """A world of its own, and everything taken away afterwards."""
    fenced = ("k3s-w1",) if setting.fenced else ()
    app = replace(simple_app(), require=Require(setting.require))
    rules = simple_rules((app,), fenced=fenced, guard=Guarding() if setting.guarded else None)
    spec = WorldSpec(
        rules=rules, shared_access=True, seed=1, boot=timedelta(seconds=5), rhythm=Rhythm(on_ms=1_000, off_ms=3_000)
    )
    clock = VirtualClock()
    async with Serve(spec, folder, clock=clock, step=STEP) as served:
        operator = await Client.load(served.kubeconfig, clock=clock)
        power = Proxy({"proxmox": Behind(url=served.proxmox_url)}, folder, Ledger())
        await power.__aenter__()
        made = Scene(served, folder, setting, None, operator, Truth(served.world), power)
        made.spec = served.world.apps[APP].raw["spec"]
        try:
            yield made
        finally:
            for life in made.lives:
                with contextlib.suppress(Exception):
                    await life.close()
            await power.__aexit__()
            await operator.close()
