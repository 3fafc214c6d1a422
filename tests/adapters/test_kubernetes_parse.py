import copy
from datetime import timedelta
from typing import Any

import pytest

from failoverd.adapters.kubernetes import parse, resources
from failoverd.adapters.kubernetes.cache import slim
from failoverd.adapters.kubernetes.parse_tools import Malformed
from failoverd.core.model import ClaimReading, Lease, NodeObject, Owner, Unknown, Workload
from failoverd.core.rules import WorkloadKind
from tests.adapters.cluster import app, deployment, mover_pod, pod, statefulset


def set_at(raw: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    raw = copy.deepcopy(raw)
    place: Any = raw
    *parents, last = path.split(".")
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
    key: Any = int(last) if isinstance(place, list) else last
    if value is None:
        del place[key]
    else:
        place[key] = value
    return raw


def read(raw: dict[str, Any], *pods: dict[str, Any]) -> Workload:
    found = parse.workload(slim(raw, resources.KEEP["deployments"]), app(), pods)
    assert isinstance(found, Workload), found
    return found


def test_a_lease_is_its_renew_time_and_without_one_unknown():
    assert parse.lease({"spec": {"renewTime": "t1"}}, "w1") == Lease(stamp="t1")
    broken: list[dict[str, Any]] = [{}, {"spec": {}}, {"spec": {"renewTime": 5}}, {"spec": "x"}]
    for raw in broken:
        found = parse.lease(raw, "w1")
        assert isinstance(found, Unknown)
        assert "Lease kube-node-lease/w1: spec" in found.why


def test_a_node_tells_ready_cordon_deletion_and_taints():
    raw = {
        "metadata": {"deletionTimestamp": "now"},
        "spec": {
            "unschedulable": True,
            "taints": [{"key": "a", "value": "b", "effect": "NoExecute"}, {"key": "c", "effect": "NoSchedule"}],
        },
        "status": {"conditions": [{"type": "Disk", "status": "True"}, {"type": "Ready", "status": "Unknown"}]},
    }
    wanted = NodeObject(ready="Unknown", unschedulable=True, deleting=True, taints=("a=b:NoExecute", "c:NoSchedule"))
    assert parse.node(raw, "w1") == wanted
    assert parse.node({}, "w1") == NodeObject(ready="")
    assert isinstance(parse.node({"status": {"conditions": "x"}}, "w1"), Unknown)


def test_a_workload_as_the_reference_cluster_has_it():
    found = read(deployment())
    assert found.replicas == 1
    assert found.claims == ((1, "sonarr-data", "pvc-sonarr"),)
    assert found.selector == (("role", "primary"),)
    assert (found.epoch, found.active, found.held, found.shape) == (None, "", False, "")
    assert (found.owner, found.owner_name) == (Owner.FLUX, "flux-system/apps")
    assert found.updated


def test_our_marks_and_the_hold_are_read_from_the_live_object():
    marks = {
        "failoverd.io/epoch": "7",
        "failoverd.io/active": "backup",
        "kustomize.toolkit.fluxcd.io/reconcile": "Disabled",
    }
    found = read(set_at(deployment(), "metadata.annotations", marks))
    assert (found.epoch, found.active, found.held, found.annotations) == (7, "backup", True, True)
    assert not read(set_at(deployment(), "metadata.annotations", None)).annotations


def test_a_workload_without_a_selector_has_none_and_a_stale_status_is_seen():
    assert read(set_at(deployment(), "spec.template.spec.nodeSelector", None)).selector is None
    assert not read(set_at(deployment(), "metadata.generation", 9)).updated
    assert not read(set_at(deployment(), "status", None)).updated


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.uid", None),
        ("metadata.generation", None),
        ("metadata.resourceVersion", None),
        ("spec.replicas", None),
        ("spec.replicas", "1"),
        ("spec.replicas", True),
        ("spec.template", None),
        ("spec.template.spec.volumes", {}),
        ("spec.template.spec.volumes.1.name", None),
        ("spec.template.spec.nodeSelector", []),
        ("metadata.annotations", {"failoverd.io/epoch": "seven"}),
        ("metadata.annotations", {"failoverd.io/epoch": "-1"}),
        ("metadata.annotations", {"failoverd.io/active": "elsewhere"}),
    ],
)
def test_a_missing_or_malformed_field_makes_the_workload_unknown_and_is_named(path, value):
    found = parse.workload(set_at(deployment(), path, value), app(), ())
    assert isinstance(found, Unknown)
    assert found.why.startswith("Deployment media/sonarr: ")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("spec.replicas", 2, "2 replicas"),
        ("spec.paused", True, "paused"),
        ("metadata.deletionTimestamp", "now", "being deleted"),
        ("spec.template.spec.nodeName", "w1", "names node w1"),
        ("spec.template.spec.volumes", [], "mounts neither claim pvc-sonarr nor pvc-sonarr-backup"),
        (
            "spec.template.spec.volumes.0",
            {"name": "b", "persistentVolumeClaim": {"claimName": "pvc-sonarr-backup"}},
            "mounts pvc-sonarr and pvc-sonarr-backup 2 times",
        ),
        (
            "spec.template.spec.volumes.0",
            {"name": "b", "persistentVolumeClaim": {"claimName": "pvc-sonarr"}},
            "mounts pvc-sonarr 2 times",
        ),
    ],
)
def test_a_shape_that_cannot_be_switched_is_said(path, value, said):
    assert said in read(set_at(deployment(), path, value)).shape


def test_volumes_at_different_sites_are_a_shape_that_cannot_be_switched():
    raw = set_at(
        deployment(),
        "spec.template.spec.volumes.0",
        {"name": "m", "persistentVolumeClaim": {"claimName": "pvc-more-backup"}},
    )
    found = parse.workload(raw, app(volumes=("sonarr", "more")), ())
    assert isinstance(found, Workload)
    assert found.shape == "its template mixes claims of both sites"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("spec.replicas", 1, ""),
        ("spec.updateStrategy", {"rollingUpdate": {"partition": 1}}, "partition is 1"),
        ("spec.updateStrategy", {"rollingUpdate": {"partition": 0}}, ""),
        ("spec.volumeClaimTemplates", [{"metadata": {"name": "cache"}}], ""),
        ("spec.volumeClaimTemplates", [{"metadata": {"name": "pvc"}}], "comes from volumeClaimTemplates"),
    ],
)
def test_statefulsets_have_shapes_of_their_own(path, value, said):
    raw = slim(set_at(statefulset(), path, value), resources.KEEP["statefulsets"])
    one = app(kind=WorkloadKind.STATEFULSET, primary="pvc-sonarr-0")
    raw["spec"]["template"]["spec"]["volumes"][1]["persistentVolumeClaim"]["claimName"] = "pvc-sonarr-0"
    found = parse.workload(raw, one, ())
    assert isinstance(found, Workload)
    assert said in found.shape
    assert bool(found.shape) is bool(said)


@pytest.mark.parametrize(
    ("labels", "annotations", "owner", "name"),
    [
        ({}, {}, Owner.NONE, ""),
        ({"app.kubernetes.io/managed-by": "Helm"}, {"meta.helm.sh/release-name": "r"}, Owner.UNSUPPORTED, "r"),
        (
            {"helm.toolkit.fluxcd.io/name": "h", "kustomize.toolkit.fluxcd.io/name": "k"},
            {},
            Owner.HELM_RELEASE,
            "?/h",
        ),
        ({"argocd.argoproj.io/instance": "a"}, {}, Owner.ARGO, "a"),
        ({}, {"argocd.argoproj.io/tracking-id": "a:apps/Deployment:media/x"}, Owner.ARGO, "a"),
        ({"kustomize.toolkit.fluxcd.io/name": "k"}, {}, Owner.FLUX, "?/k"),
    ],
)
def test_who_owns_a_workload(labels, annotations, owner, name):
    raw = set_at(set_at(deployment(), "metadata.labels", labels), "metadata.annotations", annotations)
    found = read(set_at(raw, "metadata.managedFields", [{"manager": "kubectl-client-side-apply"}]))
    assert found.owner is owner
    assert name in found.owner_name


def test_an_operator_that_owns_a_workload_is_a_controller_we_cannot_hold():
    references = [{"kind": "Sonarr", "name": "s", "controller": True}]
    found = read(set_at(deployment(), "metadata.ownerReferences", references))
    assert (found.owner, found.owner_name) == (Owner.UNSUPPORTED, "Sonarr s")


def test_pods_of_both_sites_are_found_by_claim_and_told_apart():
    stranger = set_at(pod("debug", claim="pvc-sonarr-backup"), "metadata.ownerReferences", None)
    other = pod("radarr-1", claim="pvc-radarr")
    found = read(deployment(), pod("sonarr-abc12-x"), mover_pod("backup"), stranger, other).pods
    assert [(p.name, p.owned, p.mover) for p in found] == [
        ("debug", False, False),
        ("sonarr-abc12-x", True, False),
        ("volsync-sonarr-backup-1", False, True),
    ]


def test_a_pod_of_a_neighbour_with_a_longer_name_is_not_ours():
    raw = pod("sonarr-hd-abc12-x")
    raw["metadata"]["ownerReferences"][0]["name"] = "sonarr-hd-abc12"
    assert [p.owned for p in read(deployment(), raw).pods] == [False]


def test_a_statefulsets_pod_is_known_by_the_uid_of_its_owner():
    raw = pod("sonarr-0")
    raw["metadata"]["ownerReferences"] = [{"kind": "StatefulSet", "name": "sonarr", "uid": "u1", "controller": True}]
    one = app(kind=WorkloadKind.STATEFULSET)
    for uid, owned in (("u1", True), ("u0", False)):
        found = parse.workload(set_at(statefulset(), "metadata.uid", uid), one, (raw,))
        assert isinstance(found, Workload)
        assert [p.owned for p in found.pods] == [owned]


def test_what_a_pod_tells_of_itself():
    (found,) = read(deployment(), pod("sonarr-abc12-x")).pods
    assert (found.node, found.ready, found.deleting, found.finished) == ("k3s-w1", True, False, False)
    assert found.grace == timedelta(seconds=30)
    gone = set_at(set_at(pod("sonarr-abc12-x"), "metadata.deletionTimestamp", "now"), "status.phase", "Failed")
    (found,) = read(deployment(), set_at(gone, "metadata.deletionGracePeriodSeconds", 5)).pods
    assert (found.deleting, found.finished, found.grace) == (True, True, timedelta(seconds=5))


def test_why_a_pod_does_not_run_is_told_in_the_clusters_words():
    pulling = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    (found,) = read(deployment(), set_at(pod("a"), "status.containerStatuses", [pulling])).pods
    assert found.waiting == "ImagePullBackOff: no such image"
    pending = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3"}]
    (found,) = read(deployment(), set_at(pod("a"), "status.conditions", pending)).pods
    assert (found.waiting, found.ready) == ("Unschedulable: 0/3", False)


@pytest.mark.parametrize("path", ["metadata.uid", "status.phase", "spec"])
def test_a_pod_that_cannot_be_read_makes_the_workload_unknown_never_absent(path):
    found = parse.workload(deployment(), app(), (set_at(pod("sonarr-abc12-x"), path, None),))
    assert isinstance(found, Unknown)
    assert "pod sonarr-abc12-x" in found.why


def test_claims_are_bound_unbound_going_or_unknown():
    bound = {"spec": {"volumeName": "pv"}, "status": {"phase": "Bound"}}
    assert parse.claim(bound, "n") == ClaimReading(bound=True, volume="pv")
    assert parse.claim({"spec": {}, "status": {"phase": "Pending"}}, "n") == ClaimReading(bound=False)
    going = {**bound, "metadata": {"deletionTimestamp": "now"}}
    assert parse.claim(going, "n") == ClaimReading(bound=False, volume="pv")
    for raw in ({}, {"status": {"phase": "Bound"}}, {"status": {"phase": 1}}):
        assert isinstance(parse.claim(raw, "n"), Unknown)


@pytest.mark.parametrize(
    ("terms", "admitted"),
    [
        ([{"matchExpressions": [{"key": "role", "operator": "In", "values": ["backup"]}]}], True),
        ([{"matchExpressions": [{"key": "role", "operator": "In", "values": ["primary"]}]}], False),
        ([{"matchExpressions": [{"key": "role", "operator": "NotIn", "values": ["primary"]}]}], True),
        ([{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}], False),
        ([{"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}], True),
        ([{"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["3"]}]}], True),
        ([{"matchExpressions": [{"key": "cores", "operator": "Lt", "values": ["3"]}]}], False),
        ([{"matchExpressions": [{"key": "role", "operator": "Gt", "values": ["3"]}]}], False),
        ([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["k3s-w2"]}]}], True),
        ([{}], False),
        ([], False),
        (
            [
                {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]},
                {"matchExpressions": [{"key": "role", "operator": "Exists"}]},
            ],
            True,
        ),
    ],
)
def test_a_volumes_node_affinity(terms, admitted):
    volume = {"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}}
    assert parse.admits(volume, {"role": "backup", "cores": "4"}, "k3s-w2") is admitted


def test_a_volume_without_affinity_admits_and_an_unheard_of_operator_is_malformed():
    assert parse.admits({"spec": {}}, {}, "w")
    terms = [{"matchExpressions": [{"key": "a", "operator": "Near"}]}]
    with pytest.raises(Malformed, match="Near"):
        parse.admits({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}}, {}, "w")
