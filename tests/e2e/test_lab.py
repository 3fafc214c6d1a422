"""The lab proves itself: what later tests rely on when they say "power cut" or "two writers" is true."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import lifecycle, nodes, processes, rootfs
from tests.lab.lab import REPOSITORY, Lab
from tests.lab.layout import LabError, Layout

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "labels": {"app": "web"}},
    "spec": {
        "nodeSelector": {"role": "primary"},
        "dnsPolicy": "Default",
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {
                "name": "web",
                "image": "lab/node:trixie",
                "command": ["python3", "-m", "http.server", "8000", "--directory", "/data"],
                "readinessProbe": {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }
        ],
        "volumes": [{"name": "data", "hostPath": {"path": "/data/web", "type": "DirectoryOrCreate"}}],
    },
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8000}]},
}
SPACE = "/api/v1/namespaces/lab-test"


def eventually(what: str, there: Callable[[], Any], seconds: float = 60) -> Any:
    """The first true answer. Fails naming what was waited for."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = there()
        except (OSError, LabError, KeyError) as error:
            found = None
            what = f"{what.partition(' (')[0]} ({error!r})"
        if found:
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"not in {seconds:.0f} s: {what}")
        time.sleep(0.2)


def condition(lab: Lab, path: str) -> str:
    _, answer = lab.api("GET", path)
    found = {str(one["type"]): str(one["status"]) for one in answer["status"].get("conditions", [])}
    return found.get("Ready", "")


def node_ready(lab: Lab, node: str) -> str:
    return condition(lab, f"/api/v1/nodes/{node}")


def renewed(lab: Lab, node: str) -> str:
    _, answer = lab.api("GET", f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node}")
    return str(answer["spec"]["renewTime"])


def kubelet_answers(lab: Lab, node: str) -> bool:
    """Whether the node's kubelet sends any HTTP answer to a stranger."""
    url = f"https://{lab.ip(node)}:10250/healthz"
    argv = ["curl", "-sk", "--max-time", "4", "-o", "/dev/null", "-w", "%{http_code}", url]
    return lab.run("pve", argv, check=False).stdout == "401"


@pytest.fixture(autouse=True)
def unharmed(lab: Lab) -> Iterator[None]:
    """What one test broke and did not mend must not fail the next."""
    yield
    lab.restore()


@pytest.fixture
def web(lab: Lab) -> Iterator[str]:
    """A web server on k3s-w1 behind a Service; the path by which the API server reaches it."""
    lab.api("POST", "/api/v1/namespaces", {"metadata": {"name": "lab-test"}})
    eventually("a service account", lambda: lab.api("GET", f"{SPACE}/serviceaccounts/default")[0] == 200)
    assert lab.api("POST", f"{SPACE}/pods", POD)[0] == 201
    lab.api("POST", f"{SPACE}/services", SERVICE)
    eventually("the pod Ready", lambda: condition(lab, f"{SPACE}/pods/web") == "True")
    yield f"{SPACE}/services/web:80/proxy/"
    lab.restore()
    lab.api("DELETE", f"{SPACE}/pods/web")
    eventually("the pod gone", lambda: lab.api("GET", f"{SPACE}/pods/web")[0] == 404)


def test_three_nodes_are_ready_and_labelled(lab: Lab) -> None:
    _, answer = lab.api("GET", "/api/v1/nodes")
    roles = {node["metadata"]["name"]: node["metadata"]["labels"]["role"] for node in answer["items"]}
    assert roles == {"k3s-cp1": "control", "k3s-w1": "primary", "k3s-w2": "backup"}
    assert {node_ready(lab, name) for name in roles} == {"True"}
    assert "k3s-w2" in lab.kubectl("get", "nodes", "--output=name")


def test_lab_addresses_lead_nowhere_from_the_machine(lab: Lab) -> None:
    route = subprocess.run(["ip", "route", "get", str(lab.ip("k3s-cp1"))], capture_output=True, check=False)
    assert route.returncode != 0
    assert "blackhole" in subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout


def test_service_is_reached_through_the_api_server_from_nodes_and_from_pods(lab: Lab, web: str) -> None:
    (lab.data("k3s-w1") / "web" / "hello").write_text("from the disk of w1")
    assert lab.api("GET", f"{web}hello") == (200, {"text": "from the disk of w1"})
    address = lab.api("GET", f"{SPACE}/services/web")[1]["spec"]["clusterIP"]
    fetch = ["curl", "-s", "--max-time", "4", f"http://{address}/hello"]
    eventually("the Service on w2", lambda: lab.run("k3s-w2", fetch).stdout == "from the disk of w1", 10)
    inside = "curl -sk --max-time 5 -o /dev/null -w '%{http_code}' https://$KUBERNETES_SERVICE_HOST/version"
    assert lab.kubectl("exec", "--namespace=lab-test", "web", "--", "sh", "-c", inside) == "200"


def test_lan_names_resolve_on_nodes_and_in_pods_and_others_fail_fast(lab: Lab, web: str) -> None:
    look_up = ["getent", "hosts", "pve.lab.test"]
    assert lab.run("k3s-w1", look_up, inside=True).stdout.split()[0] == str(lab.ip("pve"))
    assert lab.kubectl("exec", "--namespace=lab-test", "web", "--", *look_up).split()[0] == str(lab.ip("pve"))
    begun = time.monotonic()
    assert lab.run("k3s-w1", ["getent", "hosts", "example.org"], inside=True, check=False).returncode == 2
    assert time.monotonic() - begun < 3


def test_service_account_may_what_its_role_says_and_no_more(lab: Lab) -> None:
    lab.kubectl("create", "serviceaccount", "viewer", "--namespace=default")
    lab.kubectl(
        "create", "rolebinding", "viewer", "--clusterrole=view", "--serviceaccount=default:viewer", "-ndefault"
    )
    user = lab.kubeconfig("default/viewer").stem
    assert lab.api("GET", "/api/v1/namespaces/default/pods", user=user)[0] == 200
    assert lab.api("GET", "/api/v1/namespaces/default/secrets", user=user)[0] == 403
    lab.kubectl("delete", "rolebinding,serviceaccount", "viewer", "--namespace=default")


def test_restricted_namespace_refuses_a_pod_that_wants_the_host(lab: Lab) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    lab.api("POST", "/api/v1/namespaces", {"metadata": {"name": "strict", "labels": labels}})
    eventually(
        "a service account", lambda: lab.api("GET", "/api/v1/namespaces/strict/serviceaccounts/default")[0] == 200
    )
    status, answer = lab.api("POST", "/api/v1/namespaces/strict/pods", POD)
    assert (status, "PodSecurity" in answer["message"]) == (403, True)


def test_imported_image_is_there_after_a_power_cut(lab: Lab, tmp_path: Path) -> None:
    layer = tmp_path / "layer.tar"
    with tarfile.open(layer, "w") as tar:
        tar.add(__file__, "file")
    rootfs.archive(tmp_path / "image.tar", "docker.io/lab/probe:1", layer, ["/file"])
    lab.import_image(tmp_path / "image.tar", ["k3s-w2"])
    lab.power_cut("k3s-w2")
    lab.power_on("k3s-w2")
    images = ["ctr", "-a", "/run/node/state/containerd.sock", "-n", "k8s.io", "images", "ls", "-q"]
    eventually("the image", lambda: "docker.io/lab/probe:1" in lab.run("k3s-w2", images, inside=True).stdout)


def test_power_cut_takes_everything_at_once_and_power_on_boots_the_same_disk(lab: Lab, web: str) -> None:
    init = nodes.init_pid(lab.layout, lab.layout.host("k3s-w1"))
    assert init is not None
    inside = processes.namespace_of(init, "pid")
    assert kubelet_answers(lab, "k3s-w1")

    lab.power_cut("k3s-w1")

    left = [pid for pid in processes.all_pids() if processes.namespace_of(pid, "pid") == inside]
    assert [pid for pid in left if processes.is_alive(pid)] == []
    assert lab.power_state("k3s-w1") == "stopped"
    assert not kubelet_answers(lab, "k3s-w1")
    last = renewed(lab, "k3s-w1")
    # Node grace period 50 s, counted from the last lease, plus the controller's round of 5 s.
    eventually("Ready=Unknown", lambda: node_ready(lab, "k3s-w1") == "Unknown", 60)
    assert renewed(lab, "k3s-w1") == last

    marker = lab.data("k3s-w1") / "web" / "kept"
    marker.write_text("across the outage")
    lab.power_on("k3s-w1")
    assert lab.power_state("k3s-w1") == "running"
    eventually("Ready", lambda: node_ready(lab, "k3s-w1") == "True")
    assert renewed(lab, "k3s-w1") > last
    eventually("the pod's server again", lambda: lab.api("GET", f"{web}kept") == (200, {"text": marker.read_text()}))


def test_control_plane_survives_its_power_cut_with_all_it_knew(lab: Lab) -> None:
    lab.api("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "before"}, "data": {"a": "b"}})
    lab.power_cut("k3s-cp1")
    with pytest.raises(OSError, match=r"timed out|No route"):
        lab.api("GET", "/readyz", timeout=2)
    lab.power_on("k3s-cp1")
    eventually("the API server", lambda: lab.api("GET", "/readyz", timeout=2)[0] == 200)
    assert lab.api("DELETE", "/api/v1/namespaces/default/configmaps/before")[0] == 200
    eventually("Ready", lambda: node_ready(lab, "k3s-cp1") == "True")
    eventually("Flux running", lambda: lab.status()["k3s-cp1"]["services"]["kustomize-controller"])


def test_cut_host_is_silent_but_runs_and_heal_puts_it_back(lab: Lab) -> None:
    before = nodes.init_pid(lab.layout, lab.layout.host("k3s-w2"))
    routes = lab.run("k3s-w2", ["ip", "route"]).stdout
    lab.cut("k3s-w2")
    assert not kubelet_answers(lab, "k3s-w2")
    assert lab.power_state("k3s-w2") == "running"
    lab.heal("k3s-w2")
    eventually("the kubelet", lambda: kubelet_answers(lab, "k3s-w2"))
    assert lab.run("k3s-w2", ["ip", "route"]).stdout == routes
    assert nodes.init_pid(lab.layout, lab.layout.host("k3s-w2")) == before


def test_cable_pulled_by_hand_stays_out_across_a_power_cut(lab: Lab) -> None:
    lab.cut("k3s-w2")
    lab.power_cut("k3s-w2")
    lab.power_on("k3s-w2")
    assert not kubelet_answers(lab, "k3s-w2")
    lab.heal("k3s-w2")
    eventually("Ready and a lease that moves", lambda: kubelet_answers(lab, "k3s-w2"))


def test_restart_from_inside_is_no_stop_for_the_hypervisor(lab: Lab) -> None:
    before = nodes.init_pid(lab.layout, lab.layout.host("k3s-w2"))
    argv = [sys.executable, "-m", "tests.lab", f"--state={lab.state}", "reboot", "k3s-w2", "2"]
    with subprocess.Popen(argv, cwd=REPOSITORY) as reboot:
        states = set()
        while reboot.poll() is None:
            states.add(lab.power_state("k3s-w2"))
            time.sleep(0.05)
    assert (reboot.returncode, states) == (0, {"running"})
    assert nodes.init_pid(lab.layout, lab.layout.host("k3s-w2")) not in {None, before}
    eventually("the kubelet", lambda: kubelet_answers(lab, "k3s-w2"))


def test_stalled_api_server_takes_connections_and_says_nothing(lab: Lab) -> None:
    begun = time.monotonic()
    lab.stall_api(4)
    with pytest.raises(TimeoutError):
        lab.api("GET", "/readyz", timeout=1.5)
    assert lab.api("GET", "/readyz", timeout=20)[0] == 200
    assert 3.5 < time.monotonic() - begun < 8


def test_frozen_kubelet_renews_no_lease(lab: Lab) -> None:
    lab.freeze("kubelet@k3s-w2")
    before = renewed(lab, "k3s-w2")
    time.sleep(12)
    assert renewed(lab, "k3s-w2") == before
    lab.thaw("kubelet@k3s-w2")
    eventually("a fresh lease", lambda: renewed(lab, "k3s-w2") != before)


def test_spawned_service_lives_with_its_host(lab: Lab) -> None:
    pid = lab.spawn("k3s-w2", ["sleep", "1000"], "sleeper")
    processes.send(pid, signal.SIGKILL)
    eventually("its end", lambda: not processes.is_alive(pid), 5)
    restarted = eventually("restarted", lambda: lab.status()["k3s-w2"]["services"]["sleeper"])
    lab.power_cut("k3s-w2")
    assert not processes.is_alive(restarted)
    lab.power_on("k3s-w2")
    again = eventually("booted", lambda: lab.status()["k3s-w2"]["services"]["sleeper"])
    lab.stop("k3s-w2", "sleeper")
    assert not processes.is_alive(again)


def test_service_that_ended_for_good_tells_its_exit_code(lab: Lab) -> None:
    lab.spawn("pve", ["sh", "-c", "sleep 0.5; exit 3"], "brief", restart=False)
    assert eventually("its end", lambda: lab.exit_code("pve", "brief"), 5) == 3
    lab.stop("pve", "brief")


def test_flux_applies_a_commit_undoes_a_hand_and_prunes(lab: Lab) -> None:
    path = "/api/v1/namespaces/default/configmaps/owned"
    owned = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned", "namespace": "default"}}
    lab.flux_commit({"owned.yaml": json.dumps({**owned, "data": {"by": "flux"}})}, wait=True)
    assert lab.api("GET", path)[1]["data"] == {"by": "flux"}
    patched = lab.api("PATCH", path, {"data": {"by": "hand"}}, "application/merge-patch+json")
    assert patched[1]["data"] == {"by": "hand"}
    eventually("the hand undone", lambda: lab.api("GET", path)[1]["data"] == {"by": "flux"}, 75)
    lab.flux_commit({"kustomization.yaml": "resources: []\n"})
    eventually("pruned", lambda: lab.api("GET", path)[0] == 404)


def test_timeline_tells_two_writers_from_one(lab: Lab) -> None:
    def note(host: str, pod: str, times: list[int]) -> None:
        file = lab.data(host) / "timeline" / "probe.data.jsonl"
        file.parent.mkdir(exist_ok=True)
        with file.open("a") as lines:
            for t in times:
                lines.write(json.dumps({"t": t, "host": host, "app": "probe", "pod": pod, "n": t}) + "\n")

    try:
        note("k3s-w1", "a", [100, 101, 102, 112, 113])
        note("k3s-w2", "b", [114, 115])
        assert lab.writers("probe") == {"k3s-w1": [(100.0, 113.0)], "k3s-w2": [(114.0, 115.0)]}
        assert lab.overlap("probe") == 0.0
        note("k3s-w1", "a", [114, 115, 116])
        assert lab.overlap("probe") == 1.0
    finally:
        for host in ("k3s-w1", "k3s-w2"):
            (lab.data(host) / "timeline" / "probe.data.jsonl").unlink()


def test_hypervisor_keeps_its_power_and_unknown_hosts_are_named(lab: Lab) -> None:
    with pytest.raises(LabError, match="hypervisor"):
        lab.power_cut("pve")
    with pytest.raises(LabError, match="k3s-w1"):
        lab.power_cut("k3s-w9")


def lab_command(state: Path, *words: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "tests.lab", f"--state={state}", *words]
    return subprocess.Popen(argv, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finished(state: Path, *words: str) -> tuple[int, str, str]:
    with lab_command(state, *words) as command:
        out, err = command.communicate(timeout=120)
    return command.returncode, out, err


@pytest.fixture
def second() -> Iterator[Path]:
    """A state folder for one more lab, which is gone afterwards whatever the test did."""
    state = REPOSITORY / ".cache" / "e2e-second"
    Lab.take_down(state)
    yield state
    Lab.take_down(state)


def test_second_lab_comes_and_leaves_nothing(lab: Lab, second: Path, tmp_path: Path) -> None:
    state = second
    code, out, err = finished(state, "up", "--bare")
    assert code == 0, err
    assert "export KUBECONFIG=" in out
    layout = Layout.load(state)
    assert layout is not None
    assert layout.block != lab.layout.block

    assert "up already" in finished(state, "up", "--bare")[2]
    other = finished(tmp_path / "other", "up", "--bare", f"--instance={layout.number}")
    assert (other[0], str(state) in other[2], other[2].count("\n")) == (2, True, 1)

    assert finished(state, "down")[0] == 0
    assert lifecycle.traces(layout) == []
    assert finished(state, "down")[2].startswith("no lab in")
    assert node_ready(lab, "k3s-w2") == "True"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_that_is_interrupted_removes_what_it_made(lab: Lab, second: Path, number: signal.Signals) -> None:
    with lab_command(second, "up", "--bare") as command:
        layout = eventually("a beginning", lambda: Layout.load(second), 20)
        time.sleep(2)
        command.send_signal(number)
        _, err = command.communicate(timeout=60)
    assert (command.returncode, "Traceback" in err) == (128 + number, False)
    assert lifecycle.traces(layout) == []


@pytest.mark.parametrize("seconds", [0.6, 2.0, 5.0])
def test_down_cleans_up_after_an_up_that_was_killed(lab: Lab, second: Path, seconds: float) -> None:
    with lab_command(second, "up", "--bare") as command:
        eventually("a beginning", lambda: Layout.load(second), 20)
        layout = Layout.load(second)
        time.sleep(seconds)
        os.kill(command.pid, signal.SIGKILL)
    assert layout is not None
    assert lifecycle.traces(layout) != []
    assert finished(second, "down")[0] == 0
    assert lifecycle.traces(layout) == []
