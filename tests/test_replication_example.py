"""The replicated app of docs/installation.md is the one the configuration names and the lab runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from failoverd.config import load, show
from failoverd.core.rules import Site
from tests.lab.manifests import apps

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "installation.md").read_text()
CONFIG = load(ROOT / "deploy" / "kubernetes" / "config.toml", files=False)
Object = dict[str, Any]


def objects(kind: str) -> dict[str, Object]:
    """By name."""
    (block,) = re.findall(r"(?ms)^```yaml\n(.*?)^```", PAGE)
    return {one["metadata"]["name"]: one for one in yaml.safe_load_all(block) if one["kind"] == kind}


def test_names_are_those_that_config_show_resolves() -> None:
    (shown,) = [app for app in show.shown(CONFIG)["apps"] if app["name"] == "sonarr"]
    (volume,) = shown["volumes"]
    assert set(objects("PersistentVolumeClaim")) == {volume["claim_primary"], volume["claim_backup"]}
    assert {name: one["spec"]["sourcePVC"] for name, one in objects("ReplicationSource").items()} == {
        volume["source_primary"]: volume["claim_primary"],
        volume["source_backup"]: volume["claim_backup"],
    }
    named = [*objects("PersistentVolumeClaim").values(), *objects("ReplicationSource").values()]
    assert {one["metadata"]["namespace"] for one in named} == {shown["namespace"]} == set(objects("Namespace"))


@pytest.mark.parametrize("site", Site)
def test_each_copy_is_bound_to_the_node_of_its_site(site: Site) -> None:
    copy = CONFIG.rules.app("media/sonarr").volumes[0].copy(site)
    volumes = objects("PersistentVolume")
    data = volumes[objects("PersistentVolumeClaim")[copy.claim]["spec"]["volumeName"]]
    own = volumes[f"pv-volsync-{copy.source}-config"]
    assert [one["spec"]["claimRef"]["name"] for one in (data, own)] == [copy.claim, f"volsync-{copy.source}-config"]
    for one in (data, own):
        (term,) = one["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
        (rule,) = term["matchExpressions"]
        assert {rule["key"]: rule["values"][0]} == dict(CONFIG.rules.pairs[0].place(site).selector)


@pytest.mark.parametrize("site", Site)
def test_each_side_names_the_other_as_its_only_peer(site: Site) -> None:
    volume = CONFIG.rules.app("media/sonarr").volumes[0]
    (peer,) = objects("ReplicationSource")[volume.copy(site).source]["spec"]["syncthing"]["peers"]
    other = volume.copy(site.other).source
    assert peer["address"] == f"tcp://volsync-{other}-data.media:22000"
    assert peer["ID"] == f"ID-OF-{other.upper()}"
    assert f"get replicationsource {other} --output jsonpath='{{.status.syncthing.ID}}" in PAGE


def test_it_is_what_the_lab_runs() -> None:
    sources = objects("ReplicationSource")
    peers = {name: one["spec"]["syncthing"]["peers"][0] for name, one in sources.items()}
    known = {name: (peer["ID"], peer["address"]) for name, peer in peers.items()}
    ours = objects("PersistentVolume") | objects("PersistentVolumeClaim") | sources
    theirs = {one["metadata"]["name"]: one for one in apps.storage(apps.SONARR, known)}
    for one in (*ours.values(), *theirs.values()):
        one["spec"].pop("capacity", None)  # of a hostPath nobody holds it to
    assert ours == theirs
