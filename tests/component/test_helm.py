"""An app of a Flux HelmRelease moves and comes home: through the real adapters, against the served world.

helm-controller and the Kustomization of the HelmRelease look every few seconds there, and bring back whatever is not
held or suspended.
"""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from failoverd.core import names
from failoverd.simulator.serve import Serve
from failoverd.simulator.world_faults import inject
from failoverd.simulator.world_spec import WorldSpec, simple_app, simple_rules
from tests.adapters.cluster import HELM_RELEASE
from tests.component.daemon import CONFIG, Status, deciding, moved, well

WORKLOAD = "/apis/apps/v1/namespaces/media/deployments/sonarr"
RELEASE = "/apis/helm.toolkit.fluxcd.io/v2/namespaces/media/helmreleases/sonarr"
APP = '[[apps]]\nname = "sonarr"\nnamespace = "media"\nhelm_release = "sonarr"\nfailback = "manual"\n'
COUNTED = ("resourceVersion", "generation")
"""What the API server counts up."""


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serve]:
    rules = simple_rules((replace(simple_app(), applier=HELM_RELEASE),))
    spec = WorldSpec(rules=rules, shared_access=True, seed=1, flux_interval=timedelta(seconds=2))
    async with Serve(spec, tmp_path) as made:
        yield made


@pytest.fixture
async def kube(served: Serve) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {served.kube.token}"}
    async with httpx.AsyncClient(
        base_url=served.kube_url, headers=headers, verify=served.trust(), trust_env=False, timeout=5
    ) as client:
        yield client


async def looked(kube: httpx.AsyncClient, path: str) -> dict[str, Any]:
    """An object without what is counted up and what a controller says of it."""
    found: dict[str, Any] = (await kube.get(path)).json()
    found.pop("status", None)
    for part in COUNTED:
        found["metadata"].pop(part)
    return found


def sonarr(found: Status) -> Status:
    app: Status = found["apps"]["media/sonarr"]
    return app


def command(served: Serve, kind: str, target: str, number: int) -> None:
    order = {
        "id": f"c{number}", "kind": kind, "app": "media/sonarr", "target": target,
        "expires": "2099-01-01T00:00:00Z", "by": "anna", "why": "test",
    }  # fmt: skip
    metadata = {"name": names.COMMANDS, "namespace": "failoverd"}
    data = {f"c{number}": json.dumps(order)}
    served.kube.store.put("configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def at_home(app: Status) -> bool:
    return bool(app["active"] == "primary" and app["phase"] == "watching" and len(app["moves"]) == 2)


@pytest.mark.timeout(200)
async def test_there_and_back_both_objects_are_what_they_were(
    served: Serve, kube: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with deciding(CONFIG.format(served=served, via="direct") + APP, tmp_path) as until:
        await until(lambda found: well(sonarr(found)))
        before = copy.deepcopy((await looked(kube, WORKLOAD), await looked(kube, RELEASE)))
        command(served, "switchover", "backup", 1)
        await until(lambda found: moved(sonarr(found)) and well(sonarr(found)))
        away, release = await looked(kube, WORKLOAD), await looked(kube, RELEASE)
        assert away["spec"]["template"]["spec"]["nodeSelector"] == {"role": "backup"}
        assert away["metadata"]["annotations"][names.HELM_HOLD] == names.HOLD_VALUE
        assert release["spec"]["suspend"] is True
        inject(served.world, "resume_release media/sonarr")
        await until(lambda found: any("no longer suspended" in one["text"] for one in sonarr(found)["alarms"]))
        await until(lambda found: not sonarr(found)["alarms"])
        assert (await looked(kube, RELEASE))["spec"]["suspend"] is True
        command(served, "failback", "primary", 2)
        await until(
            lambda found: at_home(sonarr(found)) and "suspend" not in served.world.appliers[HELM_RELEASE].raw["spec"]
        )
        after = (await looked(kube, WORKLOAD), await looked(kube, RELEASE))
    assert json.dumps(after, sort_keys=True) == json.dumps(before, sort_keys=True)
    assert "helm changed" not in "\n".join(text for _, text in served.world.told)
    assert served.world.accused == []


@pytest.mark.timeout(200)
async def test_without_its_name_in_the_configuration_it_is_not_moved_and_the_line_to_add_is_said(
    served: Serve, tmp_path: Path
) -> None:
    text = APP.replace('helm_release = "sonarr"\n', "")
    async with deciding(CONFIG.format(served=served, via="direct") + text, tmp_path) as until:
        await until(lambda found: well(sonarr(found)))
        inject(served.world, "power_off k3s-w1")
        wanted = 'belongs to HelmRelease media/sonarr, which would undo the patch: set helm_release = "media/sonarr"'
        await until(lambda found: any(wanted in one["text"] for one in sonarr(found)["objections"]))
    assert "suspend" not in served.world.appliers[HELM_RELEASE].raw["spec"]
