"""The guards' manifests: the rights they use, the claims of the configuration, nobody but the data's owner."""

from __future__ import annotations

from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from failoverd import __version__
from failoverd.adapters.kubernetes import guards, parse
from failoverd.cli import rbac
from failoverd.cli.guarding import _COPY
from failoverd.cli.parser import build
from failoverd.core import names
from failoverd.core.rules import Site
from tests.adapters.cluster import app as an_app
from tests.adapters.cluster import pod as a_pod
from tests.test_deploy import KUBERNETES, config

GUARD = KUBERNETES / "guard"
Object = dict[str, Any]


def manifests() -> list[Object]:
    listed = yaml.safe_load((GUARD / "kustomization.yaml").read_text())["resources"]
    assert {path.name for path in GUARD.iterdir()} == {*listed, "kustomization.yaml"}
    return [one for name in listed for one in yaml.safe_load_all((GUARD / name).read_text())]


def deployment(site: Site) -> Object:
    (found,) = [
        one
        for one in manifests()
        if one["kind"] == "Deployment" and one["metadata"]["name"] == f"failoverd-guard-{site}"
    ]
    return found


def pod(site: Site) -> Object:
    found: Object = deployment(site)["spec"]["template"]["spec"]
    return found


def test_the_shipped_roles_of_the_guards_are_the_printed_ones() -> None:
    again = "run: failoverd config rbac --guard --config deploy/kubernetes/config.toml >…/guard/rbac.yaml"
    assert (GUARD / "rbac.yaml").read_text() == rbac.guard_manifest(config()), again


@pytest.mark.parametrize("site", list(Site))
def test_a_guard_may_read_and_change_its_own_objects_and_nothing_else(site: Site) -> None:
    objects = manifests()
    bound = [
        one["roleRef"]
        for one in objects
        if one["kind"] == "RoleBinding"
        and one["subjects"]
        == [{"kind": "ServiceAccount", "name": pod(site)["serviceAccountName"], "namespace": "media"}]
    ]
    assert bound == [
        {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": f"failoverd-guard-media-{site}"}
    ]
    (role,) = [one for one in objects if one["kind"] == "Role" and one["metadata"]["name"] == bound[0]["name"]]
    assert role["metadata"]["namespace"] == "failoverd"
    assert role["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "verbs": ["get", "patch"],
            "resourceNames": list(guards.objects(config().rules.apps, "media", site)),
        }
    ]
    assert [one for one in objects if one["kind"].startswith("ClusterRole")] == []


@pytest.mark.parametrize("site", list(Site))
def test_a_guard_is_started_with_every_claim_of_its_site_where_it_is_mounted(site: Site) -> None:
    spec = pod(site)
    (container,) = spec["containers"]
    arguments = build().parse(container["args"])
    assert (arguments.command, arguments.site, arguments.namespace) == ("guard", site, "failoverd")
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    claims = {
        one["persistentVolumeClaim"]["claimName"]: mounts[one["name"]]
        for one in spec["volumes"]
        if "persistentVolumeClaim" in one
    }
    copies = [match.groups() for text in arguments.copy if (match := _COPY.fullmatch(text))]
    assert {(namespace, name): root for namespace, name, root in copies} == {
        ("media", name): root for name, root in claims.items()
    }
    objects = {names.guard_object(namespace, name) for namespace, name, _ in copies}
    assert objects == set(guards.objects(config().rules.apps, "media", site))
    assert str(arguments.scratch) == mounts["scratch"]


@pytest.mark.parametrize("site", list(Site))
def test_a_guard_is_the_datas_owner_and_has_no_other_privilege(site: Site) -> None:
    spec = pod(site)
    (container,) = spec["containers"]
    whole = spec["securityContext"]
    assert whole["runAsNonRoot"] is True
    assert whole["runAsUser"] > 0
    # The group of the data would be changed by it.
    assert "fsGroup" not in whole
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "ports" not in container
    assert container["image"].rpartition(":")[2] == __version__
    assert deployment(site)["spec"]["strategy"] == {"type": "Recreate"}
    assert deployment(site)["spec"]["replicas"] == 1


def test_a_guards_pod_may_mount_the_claims_of_an_app_that_moves_and_others_may_not() -> None:
    labels = deployment(Site.PRIMARY)["spec"]["template"]["metadata"]["labels"]
    raw = a_pod("failoverd-guard-primary-5f7-x")
    raw["metadata"]["ownerReferences"][0]["name"] = "failoverd-guard-primary-5f7"
    for given, known in (
        ({**labels}, True),
        ({**labels, "app.kubernetes.io/component": "daemon"}, False),
        ({}, False),
    ):
        raw["metadata"]["labels"] = given
        found = parse.pod(raw, an_app(), "u-sonarr", ("pvc-sonarr",))
        assert (found.guard, found.owned, found.mover) == (known, False, False)
