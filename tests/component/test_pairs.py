"""Two pairs of nodes, one daemon, real adapters over HTTP: a dead node concerns the apps of its own pair alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from failoverd.core.rules import Pair, Place
from failoverd.simulator.serve import Serve
from failoverd.simulator.world_faults import inject
from failoverd.simulator.world_spec import WorldSpec, simple_app, simple_rules
from tests.component.daemon import Status, deciding, moved, well

PAIRS = {"main": ("k3s-w1", "k3s-w2"), "attic": ("k3s-w3", "k3s-w4")}
FENCED = {"k3s-w1": 101, "k3s-w3": 102}
APPS = {"sonarr": "main", "radarr": "main", "paperless": "attic"}
LABEL = "example.org/place"


def spec() -> WorldSpec:
    def place(node: str) -> Place:
        fence = node if node in FENCED else ""
        return Place(node=node, selector=((LABEL, node),), domain=f"host-{node}", fence=fence)

    pairs = tuple(Pair(name=name, primary=place(one), backup=place(other)) for name, (one, other) in PAIRS.items())
    apps = tuple(replace(simple_app(name), pair=pair) for name, pair in APPS.items())
    witnesses = tuple((node, f"host-{node}") for node in ("k3s-cp1", *PAIRS["main"], *PAIRS["attic"]))
    rules = simple_rules(apps, pairs=pairs, witnesses=witnesses)
    return WorldSpec(rules=rules, shared_access=True, seed=1)


def toml(served: Serve) -> str:
    lines = [
        'mode = "active"',
        "[[witness]]", 'node = "k3s-cp1"',
        "[failover]", 'proof_after = "4s"', 'up_after = "2s"',
        "[timings]", 'tick = "500ms"', 'scan_interval = "3s"', 'save_proofs_every = "3s"',
        "[kubernetes]", f'kubeconfig = "{served.kubeconfig}"',
        "[syncthing]", 'via = "proxy"',
    ]  # fmt: skip
    for name, nodes in PAIRS.items():
        lines += ["[[pairs]]", f'name = "{name}"']
        for site, node in zip(("primary", "backup"), nodes, strict=True):
            lines += [f"[pairs.{site}]", f'node = "{node}"', f'node_selector = {{ "{LABEL}" = "{node}" }}']
            lines.append(f'domain = "host-{node}"')
    for node, guest in FENCED.items():
        lines += ["[[fencing]]", f'node = "{node}"', 'type = "proxmox-lxc"', f'guest = "pve/{guest}"']
        lines += [f'url = "{served.proxmox_url}"', f'token = "{served.proxmox.token}"']
    for name, pair in APPS.items():
        lines += ["[[apps]]", f'name = "{name}"', 'namespace = "media"', f'pair = "{pair}"']
    return "\n".join(lines)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("dead", ["main", "attic"])
async def test_only_the_apps_of_the_pair_whose_node_dies_move(dead: str, tmp_path: Path) -> None:
    concerned = {name for name, pair in APPS.items() if pair == dead}

    def app(found: Status, name: str) -> Status:
        told: Status = found["apps"][f"media/{name}"]
        return told

    async with Serve(spec(), tmp_path) as served, deciding(toml(served), tmp_path) as until:
        await until(lambda found: all(well(app(found, name)) for name in APPS))
        # A guest proves nothing before its node's lease was seen to move, which it does every 10 s.
        await asyncio.sleep(11)
        inject(served.world, f"power_off {PAIRS[dead][0]}")
        found = await until(lambda found: all(moved(app(found, name)) for name in concerned))
        for name in APPS.keys() - concerned:
            there = app(found, name)
            assert (there["active"], there["moves"], well(there)) == ("primary", [], True)
        where = {name: [pod.node for pod in served.world.apps[f"media/{name}"].pods if pod.running] for name in APPS}
        assert where == {name: [PAIRS[pair][1 if name in concerned else 0]] for name, pair in APPS.items()}
    assert served.world.accused == []
