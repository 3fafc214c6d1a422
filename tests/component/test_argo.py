"""An app of an Argo CD Application moves and comes home: through the real adapters, against the served world.

Argo CD heals within five seconds there whatever differs from Git, and the Kustomization of the Application removes
`skip-reconcile` unless it is held.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from failoverd.core import names
from failoverd.simulator.serve import Serve
from failoverd.simulator.world_faults import inject
from failoverd.simulator.world_spec import WorldSpec, simple_app, simple_rules
from tests.adapters.cluster import APPLICATION, ARGO_APPLICATION
from tests.component.daemon import CONFIG, deciding, moved, well
from tests.component.test_helm import WORKLOAD, at_home, command, kube, looked, sonarr

__all__ = ["kube"]  # a fixture
APP = '[[apps]]\nname = "sonarr"\nnamespace = "media"\nargo_application = "media"\nfailback = "manual"\n'


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serve]:
    rules = simple_rules((replace(simple_app(), applier=ARGO_APPLICATION),))
    async with Serve(WorldSpec(rules=rules, shared_access=True, seed=1), tmp_path) as made:
        yield made


@pytest.mark.timeout(200)
async def test_there_and_back_both_objects_are_what_they_were(
    served: Serve, kube: httpx.AsyncClient, tmp_path: Path
) -> None:
    application = served.world.appliers[ARGO_APPLICATION]
    async with deciding(CONFIG.format(served=served, via="direct") + APP, tmp_path) as until:
        await until(lambda found: well(sonarr(found)))
        before = copy.deepcopy((await looked(kube, WORKLOAD), await looked(kube, APPLICATION)))
        command(served, "switchover", "backup", 1)
        await until(lambda found: moved(sonarr(found)) and well(sonarr(found)))
        await asyncio.sleep(6)  # longer than Argo CD takes to heal
        away, held = await looked(kube, WORKLOAD), await looked(kube, APPLICATION)
        assert away["spec"]["template"]["spec"]["nodeSelector"] == {"role": "backup"}
        assert {names.SKIP, names.SUSPENDED, names.HOLD} <= set(held["metadata"]["annotations"])
        inject(served.world, "resume_release media/sonarr")
        await until(lambda found: any("no longer suspended" in one["text"] for one in sonarr(found)["alarms"]))
        await until(lambda found: not sonarr(found)["alarms"])
        assert (await looked(kube, APPLICATION))["metadata"]["annotations"][names.SKIP] == names.SKIP_VALUE
        command(served, "failback", "primary", 2)
        await until(lambda found: at_home(sonarr(found)) and not application.suspended)
        after = (await looked(kube, WORKLOAD), await looked(kube, APPLICATION))
    assert json.dumps(after, sort_keys=True) == json.dumps(before, sort_keys=True)
    assert "argo changed" not in "\n".join(text for _, text in served.world.told)
    assert served.world.accused == []


@pytest.mark.timeout(200)
async def test_without_its_name_in_the_configuration_it_is_not_moved_and_the_line_to_add_is_said(
    served: Serve, tmp_path: Path
) -> None:
    text = APP.replace('argo_application = "media"\n', "")
    async with deciding(CONFIG.format(served=served, via="direct") + text, tmp_path) as until:
        await until(lambda found: well(sonarr(found)))
        inject(served.world, "power_off k3s-w1")
        wanted = 'belongs to Application media, which would undo the patch: set argo_application = "media"'
        await until(lambda found: any(wanted in one["text"] for one in sonarr(found)["objections"]))
    assert not served.world.appliers[ARGO_APPLICATION].suspended
