"""Two versions at one time: what a newer one remembers freezes an older one, and is not overwritten by it.

The unmodified daemon is the older one; the newer one is played by whoever writes its ConfigMap, through the same API.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from failoverd.core.memory import SCHEMA
from failoverd.simulator.serve import Serve
from failoverd.simulator.world_faults import inject
from failoverd.simulator.world_spec import WorldSpec, simple_rules
from tests.component.daemon import CONFIG, Status, deciding, well

MEMORY = "/api/v1/namespaces/failoverd/configmaps/failoverd-memory"
APP = '[[apps]]\nname = "sonarr"\nnamespace = "media"\n'


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serve]:
    async with Serve(
        WorldSpec(rules=simple_rules(), shared_access=True, boot=timedelta(seconds=2), seed=1), tmp_path
    ) as made:
        yield made


@pytest.fixture
async def newer(served: Serve) -> AsyncIterator[httpx.AsyncClient]:
    """The other version's way to the API server."""
    headers = {"Authorization": f"Bearer {served.kube.token}"}
    async with httpx.AsyncClient(
        base_url=served.kube_url, headers=headers, verify=served.trust(), trust_env=False, timeout=5
    ) as client:
        yield client


async def memory(newer: httpx.AsyncClient) -> str:
    """What stands there."""
    return str((await newer.get(MEMORY)).json()["data"]["memory.json"])


async def replaced(newer: httpx.AsyncClient, change: dict[str, Any]) -> str:
    """Write Memory with these fields changed, however often the daemon is faster; returns what stands there now."""
    while True:
        found = (await newer.get(MEMORY)).json()
        now = json.loads(found["data"]["memory.json"])
        found["data"]["memory.json"] = json.dumps(now | change)
        if (await newer.put(MEMORY, json=found)).status_code == 200:
            return str(found["data"]["memory.json"])
        await asyncio.sleep(0.05)


def app(found: Status) -> Status:
    told: Status = found["apps"]["media/sonarr"]
    return told


@pytest.mark.timeout(200)
async def test_memory_of_a_newer_version_freezes_an_older_one_and_stays_until_it_is_taken_back(
    served: Serve, newer: httpx.AsyncClient, tmp_path: Path
) -> None:
    change = {"schema": SCHEMA + 1, "fancy": {"new": 1}}
    why = f"has schema {SCHEMA + 1}, this version knows up to {SCHEMA}: run a newer failoverd"
    async with deciding(CONFIG.format(served=served, via="proxy") + APP, tmp_path) as until:
        await until(lambda found: well(app(found)))
        # What it would need to move: without it nothing below would prove anything.
        while not json.loads(await memory(newer)).get("nodes", {}).get("k3s-w1", {}).get("mapped"):  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.5)
        written = await replaced(newer, change)
        await until(lambda found: why in json.dumps(found))
        inject(served.world, "power_off k3s-w1")
        await asyncio.sleep(8)  # longer than the proof takes: an unfrozen daemon would have moved by now
        await until(lambda found: why in json.dumps(found))
        assert await memory(newer) == written
        deployment = await newer.get("/apis/apps/v1/namespaces/media/deployments/sonarr")
        spec = deployment.json()["spec"]
        assert (spec["replicas"], spec["template"]["spec"]["nodeSelector"]) == (1, {"role": "primary"})
        # The newer one is taken back again, with its Memory.
        inject(served.world, "power_on k3s-w1")
        old = {name: value for name, value in json.loads(written).items() if name not in change} | {"schema": SCHEMA}
        kept = (await newer.get(MEMORY)).json()
        kept["data"]["memory.json"] = json.dumps(old)
        assert (await newer.put(MEMORY, json=kept)).status_code == 200
        await until(lambda found: well(app(found)))
    assert served.world.accused == []
