"""The unmodified daemon as a process against the served world, watched by its `/status`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from failoverd.simulator.daemon_process import free_port, start
from tests.two_sites import SITES, fence

Status = dict[str, Any]
CONFIG = (
    SITES
    + fence("{served.proxmox_url}", "{served.proxmox.token}")
    + """
[failover]
proof_after = "4s"
up_after = "2s"
[timings]
tick = "500ms"
scan_interval = "3s"
save_proofs_every = "3s"
[kubernetes]
kubeconfig = "{served.kubeconfig}"
[syncthing]
via = "{via}"
"""
)
"""Of the usual pair on a served world, in a hurry; apps come behind it."""
PATIENCE = 100
"""Seconds: on a machine that is busy for a moment everything is silent at once; nodes are watched anew for 60 s."""


@asynccontextmanager
async def deciding(config_text: str, folder: Path) -> AsyncIterator[Callable[[Callable[[Status], bool]], Any]]:
    """The daemon at work; what is handed out waits until its `/status` is as wanted, and returns it."""
    port = free_port()
    config, log = folder / "config.toml", folder / "log"
    config.touch(mode=0o600)
    config.write_text(f'{config_text}\n[web]\nlisten = "127.0.0.1:{port}"\n')
    with log.open("wb") as output:
        process = await start("run", "--config", str(config), output=output)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=5) as client:

            async def until(wanted: Callable[[Status], bool]) -> Status:
                found: Status = {}
                try:
                    async with asyncio.timeout(PATIENCE):
                        while process.returncode is None:
                            await asyncio.sleep(0.2)
                            try:
                                found = (await client.get("/status")).json()
                            except httpx.TransportError:
                                continue  # it is still starting
                            if wanted(found):
                                return found
                except TimeoutError:
                    pass
                raise AssertionError(f"not as wanted: {found.get('apps')}; log: {log.read_text()[-3000:]}")

            yield until
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def well(app: Status) -> bool:
    copies = app["volumes"]["data"]["copies"].values()
    equal = sorted(copy["standing"] for copy in copies if copy) == ["active", "clean"]
    return app["phase"] == "watching" and equal and app["volumes"]["data"]["age_seconds"] is not None


def moved(app: Status) -> bool:
    return bool(app["active"] == "backup" and app["phase"] == "watching")
