"""Room and planned work through the real adapters: read from the served cluster, told ahead, and acted on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from failoverd.core.rules import Drain
from failoverd.simulator.serve import Serve
from failoverd.simulator.world_faults import inject
from failoverd.simulator.world_spec import WorldSpec, simple_app, simple_rules
from tests.component.daemon import CONFIG, Status, deciding, moved, well

APP = '[[apps]]\nname = "sonarr"\nnamespace = "media"\n'
REQUESTS = (("cpu", "1500m"), ("memory", "1Gi"))


def spec() -> WorldSpec:
    return WorldSpec(rules=simple_rules((simple_app(),)), shared_access=True, seed=1, requests=REQUESTS)


def app(found: Status) -> Status:
    told: Status = found["apps"]["media/sonarr"]
    return told


def reasons(found: Status) -> set[str]:
    standby = app(found)["standby"]
    return {one["why"] for one in standby["missing"]} if standby else {"not judged"}


def ready(found: Status) -> bool:
    return well(app(found)) and reasons(found) == set()


@pytest.mark.timeout(200)
async def test_what_is_missing_is_known_ahead_holds_the_failover_and_lets_it_go(tmp_path: Path) -> None:
    async with (
        Serve(spec(), tmp_path) as served,
        deciding(CONFIG.format(served=served, via="proxy") + APP, tmp_path) as until,
    ):
        found = await until(ready)
        assert app(found)["standby"]["warnings"] == []
        inject(served.world, "tenant k3s-w2 build cpu=3 memory=1Gi")
        inject(served.world, "taint k3s-w2 dedicated=build:NoSchedule")
        inject(served.world, "pressure k3s-w2 DiskPressure")
        inject(served.world, "images k3s-w2 docker.io/library/other:1")
        everything = {"no room", "taint not tolerated", "node pressure"}
        found = await until(lambda found: reasons(found) == everything and app(found)["standby"]["warnings"])
        assert "cpu needs 1500m, free 1 of 4" in str(app(found)["standby"]["missing"])
        assert [one["why"] for one in app(found)["standby"]["warnings"]] == ["image not on the target"]
        await asyncio.sleep(11)  # a lease moves every 10 s: until then the guest is not known to be the right one
        inject(served.world, "power_off k3s-w1")
        await until(lambda found: {one["why"] for one in app(found)["objections"]} == everything)
        for line in ("tenant k3s-w2 build", "taint k3s-w2", "pressure k3s-w2"):
            inject(served.world, line)
        await until(lambda found: moved(app(found)))


@pytest.mark.timeout(200)
async def test_a_cordon_of_the_active_node_moves_the_app_where_the_policy_says_so(tmp_path: Path) -> None:
    async with Serve(spec(), tmp_path) as served:
        text = CONFIG.format(served=served, via="proxy") + f'[planned]\ndrain = "{Drain.SWITCHOVER}"\n' + APP
        async with deciding(text, tmp_path) as until:
            await until(ready)
            inject(served.world, "cordon k3s-w1")
            found = await until(lambda found: moved(app(found)))
            assert app(found)["moves"][0]["reason"] == "k3s-w1 is cordoned"
            assert found["nodes"]["k3s-w1"]["planned"] == "cordoned"
            inject(served.world, "delete_node k3s-w1")
            await until(lambda found: found["nodes"]["k3s-w1"]["planned"] == "deleted from the cluster")
