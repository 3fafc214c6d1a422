"""Many apps at rest: what the daemon asks of the API server, what it writes, and what it weighs."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from asyncio.subprocess import Process
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.bars import Figure
from failoverd.simulator import daemon_process
from failoverd.simulator.serve import Serve
from failoverd.simulator.world_spec import WorldSpec, simple_app, simple_rules
from scripts import locks

FEW, MANY = 5, 50
READS = ("GET", "HEAD")
SETTLE = 300.0
"""Seconds the daemon may take to adopt every app."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """What one run measured, per minute where it is a rate."""

    reads: float
    writes: float
    rss_mib: float
    cpu_percent: float


async def weigh(apps: int, seconds: float) -> Weight:
    """Run the daemon on that many apps until all are well, then watch it for `seconds`. Raises RuntimeError."""
    rules = simple_rules(tuple(simple_app(f"app{number:02d}") for number in range(apps)))
    with tempfile.TemporaryDirectory(prefix="failoverd-bench-") as name:
        folder = Path(name)
        async with Serve(WorldSpec(rules=rules, seed=1), folder) as served:
            daemon, url = await _start(served, folder, apps)
            try:
                await _settled(daemon, url, apps, folder)
                return await _watch(served, daemon, seconds)
            finally:
                if daemon.returncode is None:
                    daemon.terminate()
                await daemon.wait()


async def _start(served: Serve, folder: Path, apps: int) -> tuple[Process, str]:
    port = daemon_process.free_port()
    lines = [
        'mode = "active"',
        "[sites]",
        'primary = { node = "k3s-w1", node_selector = { role = "primary" }, domain = "pve" }',
        'backup = { node = "k3s-w2", node_selector = { role = "backup" }, domain = "unraid" }',
        "[[witness]]", 'node = "k3s-cp1"',
        "[[fencing]]", 'node = "k3s-w1"', 'type = "proxmox-lxc"', 'guest = "pve/101"',
        f'url = "{served.proxmox_url}"', f'token = "{served.proxmox.token}"',
        "[kubernetes]", f'kubeconfig = "{served.kubeconfig}"',
        "[syncthing]", 'via = "direct"',
        "[web]", f'listen = "127.0.0.1:{port}"',
    ]  # fmt: skip
    for number in range(apps):
        lines += ["[[apps]]", f'name = "app{number:02d}"', 'namespace = "media"']
    config = folder / "config.toml"
    config.touch(mode=0o600)
    config.write_text("\n".join(lines) + "\n")
    with (folder / "log").open("wb") as log:
        # Some libraries import whatever they find: what it weighs is asked where only it is installed.
        bare = ("-c", locks.HIDING + "from failoverd.__main__ import main; sys.exit(main())", locks.tools())
        daemon = await daemon_process.start("run", "--config", str(config), output=log, program=bare)
    return daemon, f"http://127.0.0.1:{port}/status"


async def _settled(daemon: Process, url: str, apps: int, folder: Path) -> None:
    end = asyncio.get_running_loop().time() + SETTLE
    well = 0
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        while asyncio.get_running_loop().time() < end and daemon.returncode is None:
            await asyncio.sleep(1)
            try:
                found: dict[str, Any] = (await client.get(url)).json()
            except (httpx.HTTPError, json.JSONDecodeError):
                continue
            well = sum(_well(app) for app in found.get("apps", {}).values())
            if well == apps:
                return
    tail = (folder / "log").read_text(errors="replace")[-600:]
    raise RuntimeError(f"only {well} of {apps} apps were well after {SETTLE:g} s; the log ends with: {tail}")


def _well(app: dict[str, Any]) -> bool:
    copies = [copy for volume in app["volumes"].values() for copy in volume["copies"].values()]
    standings = sorted(copy["standing"] for copy in copies if copy)
    return app["phase"] == "watching" and standings == ["active", "clean"]


async def _watch(served: Serve, daemon: Process, seconds: float) -> Weight:
    loop = asyncio.get_running_loop()
    # Start-up's connections and caches are not steady state.
    await asyncio.sleep(10)
    before, cpu, began = dict(served.kube.requests), _cpu(daemon.pid), loop.time()
    await asyncio.sleep(seconds)
    minutes, after = (loop.time() - began) / 60, dict(served.kube.requests)
    count = {method: after[method] - before.get(method, 0) for method in after}
    return Weight(
        reads=sum(number for method, number in count.items() if method in READS) / minutes,
        writes=sum(number for method, number in count.items() if method not in READS) / minutes,
        rss_mib=_rss(daemon.pid),
        cpu_percent=(_cpu(daemon.pid) - cpu) / (minutes * 60) * 100,
    )


def _rss(pid: int) -> float:
    """The most it ever held, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/{pid}/status has no VmHWM")


def _cpu(pid: int) -> float:
    """Seconds of processor time so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def figures(seconds: float = 120) -> list[Figure]:
    """The bars: reads do not grow with apps, few writes, little memory."""
    few, many = (asyncio.run(weigh(apps, seconds)) for apps in (FEW, MANY))
    return [
        Figure(name=f"API reads a minute, {FEW} apps", samples=(few.reads,), unit=""),
        # A watch may be opened anew within the window or not: one for each of the kinds, whatever the apps.
        Figure(name=f"API reads a minute, {MANY} apps", samples=(many.reads,), unit="", at_most=few.reads + 10),
        Figure(name=f"API writes a minute, {MANY} apps", samples=(many.writes,), unit="", at_most=12),
        Figure(name=f"resident memory at most, {MANY} apps", samples=(many.rss_mib,), unit="MiB", at_most=110),
        Figure(name=f"processor, {MANY} apps", samples=(many.cpu_percent,), unit="%"),
    ]
