"""One life of the daemon behind a proxy of its own: in this process and in virtual time, or as a process."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from failoverd.config.source import load
from failoverd.daemon import Daemon, build
from tests.kill.nursery import Child, Nursery
from tests.kill.proxy import Behind, Ledger, Proxy
from tests.kill.virtual import VirtualClock


@dataclass(slots=True, kw_only=True)
class Life:
    """From a start to a death. Everything it sends passes `proxy`; once dead it never lives again."""

    server: Behind
    """The API server."""
    token: str
    """Bearer token of the daemon's identity."""
    config: str
    """TOML with `{kubeconfig}` where that goes."""
    folder: Path
    nursery: Nursery | None
    """What its process comes from; None where it lives in this one, in virtual time."""
    ledger: Ledger
    proxy: Proxy = field(init=False)
    _daemon: Daemon | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _process: Child | None = None

    @property
    def log(self) -> Path:
        """What it said, as JSON lines."""
        return self.folder / "log"

    @property
    def ended(self) -> str:
        """How a part of it ended by itself; empty while it lives, or after it was killed."""
        if self.ledger.dead:
            return ""
        if self._process is not None and self._process.ended.is_set():
            return f"the process ended by itself, see {self.log}"
        for task in self._tasks:
            if task.done():
                return f"{task.get_name()} ended: {None if task.cancelled() else task.exception()!r}"
        return ""

    async def start(self) -> None:
        """Start it: it knows nothing but what the cluster remembers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.proxy = Proxy({"kube": self.server}, self.folder, self.ledger)
        await self.proxy.__aenter__()
        config = self.folder / "config.toml"
        config.touch(mode=0o600)
        kubeconfig = self.proxy.kubeconfig(self.token)
        config.write_text(self.config.format(kubeconfig=kubeconfig))
        if self.nursery is not None:
            self._process = self.nursery.start(("run", "--config", str(config)), self.log)
            return
        found = load(config)
        self._daemon = daemon = await build(found, clock=VirtualClock())
        parts = (("leadership", daemon.leadership), ("loop", daemon.loop), ("scribe", daemon.scribe))
        self._tasks = [asyncio.create_task(part.run(), name=name) for name, part in parts]

    def kill(self) -> None:
        """End it at once, as SIGKILL does: nothing it has not sent yet will be sent."""
        if self._process is not None:
            self._process.kill()
        self.ledger.dead = True
        self.proxy.cut()
        if self._daemon is not None:
            for task in (*self._tasks, *self._daemon.loop._tasks.values()):
                task.cancel()

    async def close(self) -> None:
        """Clear away what is left of it."""
        self.kill()
        if self._process is not None:
            await self._process.wait()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._daemon is not None:
            with contextlib.suppress(Exception):
                await self._daemon.close()
        await self.proxy.__aexit__()
