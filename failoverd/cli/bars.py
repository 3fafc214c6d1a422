"""Why an app cannot be moved to its other side now, whatever is set aside, and what to wait for.

The one rule of this file: it says only what the leader would refuse as well; of what is not known here, that decides.
"""

from __future__ import annotations

from typing import Any

from failoverd.cli.cluster import Cluster
from failoverd.core.memory import AppMemory, Standing
from failoverd.core.model import Health
from failoverd.core.rules import App, Site


async def barred(cluster: Cluster, app: App, known: AppMemory, target: Site) -> str:
    """By what Memory and a status say; empty where neither knows anything against it. Raises KubeError."""
    found, live = await cluster.status()
    return bars(cluster, app, known, target, found if live else {})


def bars(cluster: Cluster, app: App, known: AppMemory, target: Site, found: dict[str, Any]) -> str:
    """The same of a status that was read already."""
    node = cluster.config.rules.place(app, target).node
    standings = {name: memory.copies[target].standing for name, memory in known.volumes.items()}
    unfit = [name for name, standing in standings.items() if standing not in (Standing.CLEAN, Standing.ACTIVE)]
    verdict = None if _follows(found) else found.get("nodes", {}).get(node, {}).get("verdict")
    down = verdict is not None and verdict != Health.UP
    if not (down or unfit):
        return ""
    why = [f"{node} is {verdict}"] if down else []
    why += [f"{name} at {target} is {standings[name]}" for name in unfit]
    wait = [f"{node} is UP again"] if down else []
    if any(standings[name] in (Standing.OUTDATED, Standing.TAKING_BACK) for name in unfit):
        wait.append("its copy has been taken back, which happens by itself")
    elif unfit:
        wait.append("the copies have been proven equal, which happens by itself")
    told = f"{app.key} cannot be moved to {target} now, not by force either: {', '.join(why)}"
    return f"{told}. Wait until {' and '.join(wait)}; `failoverd why {app.name}` tells how far it is"


def ready(found: dict[str, Any], key: str, node: str) -> bool:
    """Whether a status knows that this node is UP and that the app could be taken over there."""
    standby = (found.get("apps", {}).get(key) or {}).get("standby") or {}
    return bool(standby.get("ready")) and found.get("nodes", {}).get(node, {}).get("verdict") == Health.UP


def _follows(found: dict[str, Any]) -> bool:
    """Whether it was an instance that only follows, which may know less than the one that decides."""
    return (found.get("instance") or {}).get("leader") is False
