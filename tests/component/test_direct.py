"""The daemon speaks to Syncthing straight, at its Service's address: it adopts, it moves, and it knows whom it asks.

The unmodified daemon as a process against the served world; `via = "direct"` is what an instance within the cluster
does by default.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from failoverd.core.rules import Site
from failoverd.simulator.serve import Serve
from failoverd.simulator.serve_loopback import Network
from failoverd.simulator.world_faults import inject
from failoverd.simulator.world_spec import WorldSpec, simple_app, simple_rules
from tests.component.daemon import CONFIG, Status, deciding, moved, well

NAMES = ("sonarr", "radarr", "lidarr")
REASONS = {
    "radarr": "at backup: .*the API key from its Secret is refused .403 CSRF Error.",
    "lidarr": "at backup: .*its certificate is not the one in its Secret.*volsync-lidarr-backup-api.media",
}


def said(found: Status) -> bool:
    """Whether both reasons stand where a person looks: as what it waits for, or against a move."""
    for name, why in REASONS.items():
        app = found["apps"][f"media/{name}"]
        texts = [app["waiting"], *(objection["text"] for objection in app["objections"])]
        if not any(re.search(why, text) for text in texts):
            return False
    return True


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serve]:
    rules = simple_rules(tuple(simple_app(name) for name in NAMES))
    # Movers that need not follow the app restart only when the test says so.
    async with Serve(WorldSpec(rules=rules, shared_access=True, seed=1), tmp_path) as made:
        yield made


@pytest.mark.timeout(200)
async def test_it_adopts_and_moves_and_a_wrong_key_or_certificate_moves_nothing(
    served: Serve, tmp_path: Path
) -> None:
    apps = "".join(f'[[apps]]\nname = "{name}"\nnamespace = "media"\n' for name in NAMES)
    async with deciding(CONFIG.format(served=served, via="direct") + apps, tmp_path) as until:
        await until(lambda found: all(well(found["apps"][f"media/{name}"]) for name in NAMES))
        standby = {name: served.world.apps[f"media/{name}"].pairs["data"].sides[Site.BACKUP] for name in NAMES}
        standby["radarr"].secret["apikey"] = "of another Syncthing"
        standby["lidarr"].secret["httpsCertPEM"] = standby["radarr"].secret["httpsCertPEM"]
        for name in ("radarr", "lidarr"):
            # What is known of a mover is read anew only when it ceases to answer.
            served.world.apps[f"media/{name}"].pairs["data"].restart(Site.BACKUP)
        await until(lambda found: said(found) and well(found["apps"]["media/sonarr"]))
        inject(served.world, "power_off k3s-w1")
        found = await until(lambda found: moved(found["apps"]["media/sonarr"]))
        # The node is as dead for them as for the one that moved.
        await until(lambda found: said(found) and all(found["apps"][f"media/{n}"]["objections"] for n in REASONS))
    assert [move["kind"] for move in found["apps"]["media/sonarr"]["moves"]] == ["failover"]
    for name in REASONS:
        app = found["apps"][f"media/{name}"]
        assert (app["active"], app["move"], app["moves"]) == ("primary", None, [])
    assert served.world.accused == []


async def test_worlds_at_one_time_have_addresses_of_their_own(tmp_path: Path) -> None:
    networks = [Network() for _ in range(20)]
    try:
        assert len({network.address(0) for network in networks}) == len(networks)
    finally:
        for network in networks:
            network.close()
