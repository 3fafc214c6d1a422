"""What a template asks and what a node has, from raw objects; and room on a node, read by one watch of its pods."""

import copy
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from failoverd.adapters.kubernetes import fit, parse, resources
from failoverd.adapters.kubernetes.cache import slim
from failoverd.adapters.kubernetes.parse_tools import Malformed
from failoverd.adapters.kubernetes.read import KubeReader
from failoverd.core.model import NodeObject, Toleration, Unknown, Workload
from tests.adapters.apiserver import status
from tests.adapters.cluster import DEPLOYMENT, app, deployment, pod, rules
from tests.adapters.test_kubernetes_read import SONARR, SOON, clock, reader, reading, wake, workload

__all__ = ["clock", "reader", "wake"]  # fixtures
MIB = 1 << 20


def container(
    cpu: str = "", restart: str = "", limits: dict[str, str] | None = None, **requests: str
) -> dict[str, Any]:
    asked = {**({"cpu": cpu} if cpu else {}), **requests}
    raw: dict[str, Any] = {"name": "c", "resources": {"requests": asked}}
    if limits:
        raw["resources"]["limits"] = limits
    return raw | ({"restartPolicy": restart} if restart else {})


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({}, {}),
        ({"containers": [{"name": "c"}]}, {}),
        ({"containers": [container("500m", memory="64Mi"), container("250m")]}, {"cpu": 750, "memory": 64 * MIB}),
        ({"containers": [container(limits={"cpu": "1"})]}, {"cpu": 1000}),
        ({"containers": [container("200m", limits={"cpu": "1"})]}, {"cpu": 200}),
        ({"containers": [container(limits={"nvidia.com/gpu": "1"})]}, {"nvidia.com/gpu": 1}),
        ({"initContainers": [container("2")], "containers": [container("500m")]}, {"cpu": 2000}),
        ({"initContainers": [container("100m")], "containers": [container("500m")]}, {"cpu": 500}),
        ({"initContainers": [container("1", "Always")], "containers": [container("500m")]}, {"cpu": 1500}),
        (
            {"initContainers": [container("1", "Always"), container("1")], "containers": [container("500m")]},
            {"cpu": 2000},
        ),
        (
            {"initContainers": [container("1"), container("1", "Always")], "containers": [container("500m")]},
            {"cpu": 1500},
        ),
        ({"containers": [container("500m")], "overhead": {"cpu": "250m"}}, {"cpu": 750}),
        ({"containers": [container("500m")], "resources": {"requests": {"cpu": "2"}}}, {"cpu": 2000}),
    ],
)
def test_a_pod_requests_what_the_scheduler_counts(spec, wanted):
    assert dict(fit.requests(spec)) == {"pods": 1, **wanted}


def test_finished_pods_take_no_room_and_one_that_is_malformed_makes_the_sum_unknown():
    running = {"metadata": {"name": "a"}, "spec": {"containers": [container("1")]}, "status": {"phase": "Running"}}
    done = {**running, "status": {"phase": "Succeeded"}}
    assert fit.used([running, done, running], "w1") == (("cpu", 2000), ("pods", 2))
    broken = {"metadata": {"namespace": "x", "name": "b"}, "spec": {"containers": [container("a lot")]}}
    found = fit.used([running, broken], "w1")
    assert isinstance(found, Unknown)
    assert "pod x/b on w1" in found.why


def test_a_node_says_what_it_has_what_presses_it_and_who_reboots_it():
    raw = {
        "metadata": {"annotations": {"weave.works/kured-reboot-in-progress": "2026-01-05T09:00:00Z"}},
        "status": {
            "allocatable": {"cpu": "3800m", "memory": "8Gi", "gpu.intel.com/i915": "1"},
            "conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "DiskPressure", "status": "True"},
                {"type": "MemoryPressure", "status": "Unknown"},
            ],
            "images": [{"names": ["ghcr.io/x/sonarr@sha256:ab", "ghcr.io/x/sonarr:4"]}],
        },
    }
    found = parse.node(slim(raw, resources.KEEP[resources.NODES]), "w1")
    assert found == NodeObject(
        ready="True",
        pressures=("DiskPressure",),
        allocatable=(("cpu", 3800), ("gpu.intel.com/i915", 1), ("memory", 8 << 30)),
        images=frozenset({"ghcr.io/x/sonarr@sha256:ab", "ghcr.io/x/sonarr:4"}),
        rebooting="kured",
    )


@pytest.mark.parametrize("listed", [None, [], [{"names": [f"i{n}"]} for n in range(50)]])
def test_a_list_of_images_that_may_be_cut_says_nothing(listed):
    assert fit.images({"status": {"images": listed} if listed is not None else {}}) is None


def test_a_node_that_does_not_say_what_it_has_is_not_one_without_anything():
    assert fit.allocatable({"status": {}}) is None
    assert isinstance(parse.node({"status": {"allocatable": {"cpu": "x"}}}, "w1"), Unknown)


def template(**parts: Any) -> dict[str, Any]:
    raw = copy.deepcopy(deployment())
    raw["spec"]["template"]["spec"] |= parts
    return slim(raw, resources.KEEP["deployments"])


def test_what_a_template_asks_survives_what_is_kept_of_it():
    raw = template(
        containers=[{"name": "c", "image": "ghcr.io/x/sonarr:4", "resources": {"limits": {"cpu": "1"}}}],
        initContainers=[{"name": "i", "image": "busybox", "resources": {"requests": {"cpu": "2"}}}],
        tolerations=[
            {"key": "a", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "b", "value": "c", "tolerationSeconds": 60},
        ],
    )
    found = parse.workload(raw, app(), ())
    assert isinstance(found, Workload)
    assert found.needs is not None
    assert found.needs.requests == (("cpu", 2000), ("pods", 1))
    assert found.needs.images == ("busybox", "ghcr.io/x/sonarr:4")
    assert found.needs.tolerations == (
        Toleration(key="a", exists=True, effect="NoSchedule"),
        Toleration(key="b", value="c", passing=True),
    )


LABELS = {"k3s-w1": {"role": "primary", "disk": "ssd"}, "k3s-w2": {"role": "backup"}}


def affinity(*expressions: dict[str, Any]) -> dict[str, Any]:
    terms = {"nodeSelectorTerms": [{"matchExpressions": list(expressions)}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [
        ({"nodeSelector": {"role": "primary"}}, {}),
        ({"nodeSelector": {"role": "primary", "disk": "ssd"}}, {"k3s-w2": "disk=ssd, the node has no such label"}),
        ({"nodeSelector": None}, {}),
        ({"affinity": affinity({"key": "disk", "operator": "Exists"})}, {"k3s-w2": "required node affinity"}),
        ({"affinity": affinity({"key": "role", "operator": "In", "values": ["primary", "backup"]})}, {}),
    ],
)
def test_a_node_that_the_template_would_not_select_after_the_move_is_named(parts, wanted):
    found = dict(fit.barred(template(**parts)["spec"]["template"]["spec"], rules().pairs[0], LABELS))
    assert found.keys() == wanted.keys()
    assert all(text in found[node] for node, text in wanted.items())


def test_a_site_whose_node_lacks_the_label_of_its_own_selector_is_named():
    labels = {**LABELS, "k3s-w2": {"role": "spare"}}
    assert dict(fit.barred(template()["spec"]["template"]["spec"], rules().pairs[0], labels)) == {
        "k3s-w2": "its nodeSelector asks for role=backup, the node has spare"
    }


def test_an_affinity_nobody_knows_is_malformed_and_not_a_yes():
    parts = {"affinity": affinity({"key": "disk", "operator": "Near"})}
    with pytest.raises(Malformed, match="Near"):
        fit.barred(template(**parts)["spec"]["template"]["spec"], rules().pairs[0], LABELS)


def refusing(path: str, code: int) -> Callable[[web.Request], web.Response | None]:
    def answer(request: web.Request) -> web.Response | None:
        return web.json_response(status(code, "no"), status=code) if request.path == path else None

    return answer


@pytest.mark.usefixtures("populated")
async def test_what_a_nodes_pods_request_follows_them_whosever_they_are(server, reader):
    await reader.ready(SOON)
    found = await reading(reader, lambda found: found.nodes["k3s-w1"].used == (("pods", 3),))
    assert found.nodes["k3s-w2"].used == ()
    assert isinstance(found.nodes["k3s-cp1"].used, Unknown)
    foreign = pod("build", node="k3s-w2")
    foreign["spec"]["containers"] = [container("1500m", memory="1Gi")]
    server.put("/api/v1/namespaces/ci/pods/build", foreign)
    wanted = (("cpu", 1500), ("memory", 1 << 30), ("pods", 1))
    await reading(reader, lambda found: found.nodes["k3s-w2"].used == wanted)
    server.drop("/api/v1/namespaces/ci/pods/build")
    await reading(reader, lambda found: found.nodes["k3s-w2"].used == ())


@pytest.mark.usefixtures("populated")
async def test_without_the_right_to_list_all_pods_room_alone_is_unknown(server, reader: KubeReader):
    server.fault = refusing("/api/v1/pods", 403)
    await reader.ready(timedelta(seconds=1))
    found = await reading(reader, lambda found: isinstance(found.workloads[SONARR], Workload))
    used = found.nodes["k3s-w2"].used
    assert isinstance(used, Unknown)
    assert "pods on k3s-w2 not listed" in used.why
    assert reader.doubts() == ()


@pytest.mark.usefixtures("populated")
async def test_the_workload_names_the_nodes_that_it_would_not_select(server, reader):
    raw = deployment()
    raw["spec"]["template"]["spec"]["nodeSelector"] = {"role": "primary", "disk": "ssd"}
    server.put(DEPLOYMENT, raw)
    await reader.ready(SOON)
    found = await reading(reader, lambda found: isinstance(found.workloads[SONARR], Workload))
    needs = workload(found).needs
    assert needs is not None
    assert [node for node, _ in needs.barred] == ["k3s-w1", "k3s-w2"]


@pytest.mark.usefixtures("populated")
async def test_a_node_that_was_deleted_is_told_from_one_that_cannot_be_read(server, reader):
    await reader.ready(SOON)
    server.drop("/api/v1/nodes/k3s-w1")
    found = await reading(reader, lambda found: isinstance(found.nodes["k3s-w1"].node, Unknown))
    assert found.nodes["k3s-w1"].work == "deleted from the cluster"
    sure = (await reader.read(frozenset({"k3s-w1"}))).nodes["k3s-w1"]
    assert (sure.work, sure.uncached) == ("deleted from the cluster", True)
    server.fault = refusing("/api/v1/nodes/k3s-w1", 500)
    failed = (await reader.read(frozenset({"k3s-w1"}))).nodes["k3s-w1"]
    assert (failed.work, failed.uncached) == ("", False)
