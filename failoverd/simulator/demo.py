"""`failoverd demo`: a node dies and its app moves, told live. The cluster is simulated, the daemon is the
real one.

The daemon runs as its own process with its real adapters against real sockets; only what answers them is a
simulated world in this process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from failoverd.clock import sleep
from failoverd.simulator import daemon_process
from failoverd.simulator.demo_tale import Tale, summary
from failoverd.simulator.serve import Serve
from failoverd.simulator.world_data import Rhythm
from failoverd.simulator.world_faults import inject
from failoverd.simulator.world_spec import WorldSpec, simple_rules

NODE, APP = "k3s-w1", "media/sonarr"
LONGEST = timedelta(seconds=180)
"""The whole story; a step that is not reached by then has failed."""
POLL = timedelta(milliseconds=250)
SHORTER = {
    "failover.proof_after": ("4s", "10s"),
    "failover.up_after": ("2s", "20s"),
    "failover.cooldown": ("1s", "15m"),
    "failback.stable_for": ("4s", "10m"),
    "timings.tick": ("500ms", "2s"),
    "timings.scan_interval": ("3s", "10s"),
    "timings.save_proofs_every": ("5s", "30s"),
}
"""Where the demo is in a greater hurry than the defaults: (here, default)."""


class Failed(Exception):
    """The story did not end as it should; the text says where."""


@dataclass(slots=True)
class Stage:
    """Everything that runs for one telling."""

    served: Serve
    folder: Path
    port: int
    tale: Tale
    daemon: Process | None = None

    @property
    def config(self) -> Path:
        """The daemon's configuration."""
        return self.folder / "config.toml"

    @property
    def log(self) -> Path:
        """What the daemon said on its own."""
        return self.folder / "daemon.log"

    async def start_daemon(self) -> None:
        """Start the unmodified daemon in a process of its own."""
        self.config.touch(mode=0o600)
        self.config.write_text(self._toml(), encoding="utf-8")
        with self.log.open("wb") as log:
            self.daemon = await daemon_process.start("run", "--config", str(self.config), output=log)

    async def stop_daemon(self) -> None:
        """End it in order, or not in order when it takes too long."""
        daemon = self.daemon
        if daemon is None or daemon.returncode is not None:
            return
        daemon.terminate()
        try:
            async with asyncio.timeout(10):
                await daemon.wait()
        except TimeoutError:
            daemon.kill()
            await daemon.wait()

    def _toml(self) -> str:
        served = self.served
        tables: dict[str, list[str]] = {}
        for key, (here, _) in SHORTER.items():
            table, _, name = key.rpartition(".")
            tables.setdefault(table, []).append(f'{name} = "{here}"')
        tables["failover"].append('max_moves = { count = 10, per = "1d" }')
        lines = ['mode = "active"']
        for table, entries in tables.items():
            lines += [f"[{table}]", *entries]
        return (
            "\n".join([*lines, *_sites(served), ""])
            + f"""\
[kubernetes]
kubeconfig = "{served.kubeconfig}"
[syncthing]
via = "proxy"
[web]
listen = "127.0.0.1:{self.port}"
"""
        )

    # ---------------------------------------------------------------- waiting

    async def until(self, what: str, reached: Callable[[], bool]) -> None:
        """Watch and tell until `reached`. Raises Failed, naming `what`, when time is up or the daemon
        ended."""
        while not reached():
            if self.tale.seconds() > LONGEST.total_seconds():
                raise Failed(f"not within {LONGEST.total_seconds():g} s (is this machine busy?): {what}")
            if self.daemon is not None and self.daemon.returncode is not None:
                raise Failed(f"the daemon ended with status {self.daemon.returncode} while waiting: {what}")
            await self.tale.look()
            await sleep(POLL)
        await self.tale.look()

    async def rest(self, seconds: float) -> None:
        """Let so much time pass, watching."""
        end = self.tale.seconds() + seconds
        while self.tale.seconds() < end:
            await self.tale.look()
            await sleep(POLL)


def _sites(served: Serve) -> list[str]:
    return [
        "[sites.primary]", 'node = "k3s-w1"', 'node_selector = { role = "primary" }', 'domain = "pve"',
        "[sites.backup]", 'node = "k3s-w2"', 'node_selector = { role = "backup" }', 'domain = "unraid"',
        "[[witness]]", 'node = "k3s-cp1"',
        "[[apps]]", 'name = "sonarr"', 'namespace = "media"',
        "[[fencing]]", f'node = "{NODE}"', 'type = "proxmox-lxc"', 'guest = "pve/101"',
        f'url = "{served.proxmox_url}"', f'token = "{served.proxmox.token}"',
        "[[notify]]", 'type = "webhook"', 'name = "chat"', f'url = "{served.chat_url}/hook"',
        'secret = "only for this demonstration"',
    ]  # fmt: skip


async def tell(stage: Stage) -> None:
    """The story. Raises Failed."""
    tale = stage.tale
    tale.say("story", f"app {APP} runs on {NODE}; its volume is replicated to k3s-w2; now the daemon starts")
    await stage.start_daemon()
    await stage.until(
        "both copies proven equal, of a known age", lambda: tale.settled("primary") and tale.verdict(NODE) == "UP"
    )
    tale.say("story", "all is well: both copies are proven equal, the active one only sends, the other only receives")
    settled = tale.seconds()
    # Power is cut half way between two renewals: how long a silence takes to show depends on when it begins.
    await stage.until("a lease renewed", lambda: tale.seconds() - tale.lease_age(NODE) > settled)
    await stage.until("half of its interval over", lambda: tale.lease_age(NODE) > 5)

    tale.say("story", f">>> {NODE} loses power")
    tale.cut_at = tale.seconds()
    inject(stage.served.world, f"power_off {NODE}")
    await stage.until("the failure noticed", lambda: tale.verdict(NODE) != "UP")
    await stage.until("the move decided", lambda: tale.moving() or tale.active() == "backup")
    await stage.until("the app on the backup", lambda: tale.active() == "backup" and tale.phase() == "watching")
    tale.lost_ms = tale.really_lost_ms()
    tale.say("story", f"{APP} is served from k3s-w2")
    # As VolSync does where a volume can be mounted once only; else the survivor keeps its dead connection until
    # the daemon has been sure of that for half a minute.
    inject(stage.served.world, f"syncthing_restart {APP} data backup")
    await stage.rest(2)

    tale.say("story", f">>> {NODE} gets its power back: its copy is out of date and must not be trusted")
    inject(stage.served.world, f"power_on {NODE}")
    await stage.until("the old copy taken back", lambda: tale.standing("primary") == "clean")
    tale.say("story", "its copy is a clean standby again; after a stable while the app goes home")
    await stage.until("the app at home", lambda: tale.active() == "primary" and tale.phase() == "watching")
    await stage.rest(2)
    tale.say("story", "the app is at home")
    truth = stage.served.world.apps[APP]
    if truth.raw["spec"] != truth.git["spec"]:
        raise Failed("the workload's spec is not what it was before")
    if stage.served.world.accused:
        raise Failed("; ".join(f"{promise}: {text}" for _, promise, text in stage.served.world.accused))


async def hold(stage: Stage) -> None:
    """Leave everything running until Ctrl-C."""
    tale = stage.tale
    program = f"{sys.executable} -m failoverd"
    tale.write("\nEverything keeps running until Ctrl-C. Try, in another terminal:")
    for line in (
        f"export KUBECONFIG={stage.served.kubeconfig}",
        "kubectl get nodes; kubectl -n media get deploy,pods,pvc -o wide; kubectl -n media describe deploy sonarr",
        f"{program} status --config {stage.config}",
        f"{program} why sonarr --config {stage.config}",
        f"{program} switchover sonarr --config {stage.config} --yes",
        f"curl http://127.0.0.1:{stage.port}/status",
    ):
        tale.write(f"  {line}")
    while True:
        await tale.look()
        await sleep(POLL)


async def perform(*, keep: bool) -> int:
    """One telling, from an empty folder to an empty folder; returns the exit status."""
    with tempfile.TemporaryDirectory(prefix="failoverd-demo-") as name:
        folder = Path(name)
        # A small writer that rests often, and volumes whose movers need not follow the app: a story, not a
        # worst case.
        rhythm = Rhythm(on_ms=1_000, off_ms=3_000)
        spec = WorldSpec(rules=simple_rules(), boot=timedelta(seconds=3), rhythm=rhythm, shared_access=True, seed=1)
        async with Serve(spec, folder) as served:
            port = daemon_process.free_port()
            stage = Stage(served, folder, port, Tale(served, APP, f"http://127.0.0.1:{port}/status"))
            try:
                return await _act(stage, keep=keep)
            finally:
                await stage.stop_daemon()
                await stage.tale.close()


async def _act(stage: Stage, *, keep: bool) -> int:
    tale = stage.tale
    tale.write("A simulated cluster, the real daemon. Shorter here than by default:")
    tale.write("  " + ", ".join(f"{key} {here} ({default})" for key, (here, default) in SHORTER.items()) + "\n")
    try:
        await tell(stage)
    except Failed as failed:
        tale.write(f"\nfailoverd demo: {failed}")
        tail = stage.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        tale.write("The last lines of the daemon's log:\n  " + "\n  ".join(tail))
        return 1
    tale.write(summary(tale))
    if keep:
        await hold(stage)
    return 0


async def _until_stopped(work: Awaitable[int]) -> int:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        return await task
    return 130


def main(arguments: list[str] | None = None) -> int:
    """The command line of `failoverd demo`; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="failoverd demo", description="A node dies and its app moves: simulated cluster, real daemon, no root."
    )
    parser.add_argument("--hold", action="store_true", help="leave it running afterwards, until Ctrl-C")
    given = parser.parse_args(arguments)
    status = asyncio.run(_until_stopped(perform(keep=given.hold)))
    return 0 if status == 130 and given.hold else status


if __name__ == "__main__":
    sys.exit(main())
