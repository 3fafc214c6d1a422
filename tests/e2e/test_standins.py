"""The stand-ins on the real cluster do what the real things do, as far as the daemon can see."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import network
from tests.lab.lab import Lab
from tests.lab.standins import hands
from tests.lab.standins.deploy import install, until
from tests.lab.standins.proxmox_settings import Switches

MEDIA = "/api/v1/namespaces/media"
MOVERS = "/apis/apps/v1/namespaces/media/deployments"
PASS = 25
"""Seconds in which a pass of the operator (every 20 s) is over."""


@pytest.fixture(scope="module")
def furnished(lab: Lab) -> Iterator[Lab]:
    """The lab with stand-ins and both apps."""
    install(lab)
    yield lab
    hands.switch(lab)


def node_ready(lab: Lab, node: str) -> str:
    _, answer = lab.api("GET", f"/api/v1/nodes/{node}")
    return next(str(c["status"]) for c in answer["status"]["conditions"] if c["type"] == "Ready")


def place(lab: Lab, mover: str) -> Any:
    """The node selector of a mover."""
    _, answer = lab.api("GET", f"{MOVERS}/volsync-{mover}")
    return answer["spec"]["template"]["spec"].get("nodeSelector")


def peers(lab: Lab, source: str) -> list[bool]:
    """What the source's status says of its peers; it is as old as the operator's last pass."""
    told = hands.replication(lab, "media", source)["status"]["syncthing"]
    return [peer["connected"] for peer in told["peers"]]


def in_error(lab: Lab, source: str) -> dict[str, Any] | None:
    """The source's status, if its last pass failed."""
    status: dict[str, Any] = hands.replication(lab, "media", source)["status"]
    return status if status["conditions"][0]["reason"] == "Error" else None


def test_every_pair_syncs_and_its_status_says_so(furnished: Lab) -> None:
    for source in ("sonarr-primary", "paperless-data-backup", "paperless-media-primary"):

        def connected(name: str = source) -> bool:
            assert not in_error(furnished, name)
            return peers(furnished, name) == [True]

        until(connected, 60, f"{source}: status.syncthing.peers is not connected")
    copied = furnished.data("k3s-w2") / "pods"
    until(lambda: any((copied / "paperless-media" / "seq").glob("*.txt")), 60, "no file arrived")
    assert (copied / "sonarr" / "app.db").stat().st_size > 0


def test_the_service_proxy_reads_and_writes_and_the_operator_leaves_folder_types(furnished: Lab) -> None:
    folder = "/rest/config/folders/syncthing-folder-id"
    config = hands.syncthing(furnished, "media", "sonarr-backup", "GET", folder)
    assert (config["type"], config["fsWatcherDelayS"], config["rescanIntervalS"]) == ("sendreceive", 10, 3600)
    hands.syncthing(furnished, "media", "sonarr-backup", "PATCH", folder, {"type": "receiveonly"})
    try:
        time.sleep(PASS)
        config = hands.syncthing(furnished, "media", "sonarr-backup", "GET", folder)
        assert config["type"] == "receiveonly"
    finally:
        hands.syncthing(furnished, "media", "sonarr-backup", "PATCH", folder, {"type": "sendreceive"})


def test_the_certificate_holds_for_the_services_exact_name_only(furnished: Lab) -> None:
    _, service = furnished.api("GET", f"{MEDIA}/services/volsync-sonarr-primary-api")
    assert service["spec"]["ports"][0]["name"] == "api"
    pinned = hands.secret(furnished, "media", "sonarr-primary")["httpsCertPEM"]
    node = furnished.layout.host("k3s-w2")
    name = "volsync-sonarr-primary-api.media"
    for asked, fits in ((name, True), (f"{name}.svc", False)):
        context = ssl.create_default_context(cadata=pinned)
        plain = network.connect(node, (service["spec"]["clusterIP"], 8384), 5)
        if fits:
            context.wrap_socket(plain, server_hostname=asked).close()
        else:
            with pytest.raises(ssl.SSLCertVerificationError):
                context.wrap_socket(plain, server_hostname=asked)
            plain.close()


def test_a_changed_mover_is_put_back_by_the_next_pass(furnished: Lab) -> None:
    furnished.kubectl("-n", "media", "scale", "deployment", "volsync-paperless-media-backup", "--replicas=0")
    path = f"{MOVERS}/volsync-paperless-media-backup"
    until(lambda: furnished.api("GET", path)[1]["spec"]["replicas"] == 1, PASS, "still scaled to 0")
    until(lambda: furnished.api("GET", path)[1]["status"].get("readyReplicas") == 1, 60, "not Ready again")


def test_the_mover_follows_the_pod_that_uses_its_volume(furnished: Lab) -> None:
    until(
        lambda: place(furnished, "sonarr-primary") == {"kubernetes.io/hostname": "k3s-w1"},
        PASS,
        "the primary's mover is not pinned to the app's node",
    )
    assert place(furnished, "sonarr-backup") is None
    guest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "guest"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": "lab/node:trixie", "command": ["sleep", "1000"]}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "pvc-sonarr-backup"}}],
        },
    }
    assert furnished.api("POST", f"{MEDIA}/pods", guest)[0] == 201
    try:
        until(
            lambda: place(furnished, "sonarr-backup") == {"kubernetes.io/hostname": "k3s-w2"},
            PASS + 10,
            "the backup's mover did not follow",
        )
    finally:
        furnished.api("DELETE", f"{MEDIA}/pods/guest")
    until(lambda: place(furnished, "sonarr-backup") is None, PASS + 10, "the backup's mover stays pinned")


def test_proxmox_stop_cuts_the_power_and_start_brings_the_app_back(furnished: Lab) -> None:
    guest = "/nodes/pve/lxc/101/status"
    until(lambda: peers(furnished, "sonarr-primary") == [True], 60, "status.syncthing.peers is not connected")
    assert hands.pve(furnished, "GET", f"{guest}/current")[2]["status"] == "running"
    status, _, upid = hands.pve(furnished, "POST", f"{guest}/stop")
    assert status == 200
    cut = time.time()

    def ended() -> bool:
        task = hands.pve(furnished, "GET", f"/nodes/pve/tasks/{upid}/status")[2]
        return bool(task.get("exitstatus") == "OK")

    until(ended, 10, "the stop task did not end")
    assert hands.pve(furnished, "GET", f"{guest}/current")[2]["status"] == "stopped"
    assert furnished.power_state("k3s-w1") == "stopped"
    known = peers(furnished, "sonarr-primary")
    time.sleep(3)
    last = max(line.t for line in furnished.timeline() if line.app == "sonarr")
    assert last < cut + 2
    until(lambda: in_error(furnished, "sonarr-primary"), PASS + 10, "the operator noticed nothing")
    assert peers(furnished, "sonarr-primary") == known != [], "stale, as the real one"
    assert hands.pve(furnished, "POST", f"{guest}/start")[0] == 200
    until(lambda: node_ready(furnished, "k3s-w1") == "True", 60, "the node did not come back")

    def writes_again() -> dict[str, Any] | None:
        fresh = [line for line in furnished.timeline() if line.app == "sonarr" and line.t > last]
        starts = [line for line in fresh if line.more.get("event") == "start"]
        return dict(starts[0].more) if starts else None

    began = until(writes_again, 120, "the app did not start again")
    assert (began["fresh"], began["check"]) == (False, "ok")
    assert 1 <= hands.pve(furnished, "GET", f"{guest}/current")[2]["uptime"] < time.time() - cut
    until(lambda: not in_error(furnished, "sonarr-primary"), 60, "the operator does not reach the mover")


def test_a_reboot_by_proxmox_is_a_running_task_while_the_guest_is_off(furnished: Lab) -> None:
    furnished.restore()
    hands.switch(furnished, Switches(seconds={"reboot": 4}))
    status, _, upid = hands.pve(furnished, "POST", "/nodes/pve/lxc/101/status/reboot", "lab")
    assert status == 200
    until(lambda: furnished.power_state("k3s-w1") == "stopped", 5, "the guest did not go down")
    active = hands.pve(furnished, "GET", "/nodes/pve/tasks", "fence", {"source": "active", "vmid": "101"})[2]
    assert [task["upid"] for task in active] == [upid]
    assert hands.pve(furnished, "GET", "/nodes/pve/tasks", "narrow", {"source": "active"})[2] == []
    until(lambda: furnished.power_state("k3s-w1") == "running", 30, "the guest did not come up")
    hands.switch(furnished)
    until(lambda: node_ready(furnished, "k3s-w1") == "True", 60, "the node did not come back")


def test_a_restart_from_inside_shows_only_in_the_uptime(furnished: Lab) -> None:
    furnished.reboot("k3s-w1", 1)
    current = hands.pve(furnished, "GET", "/nodes/pve/lxc/101/status/current")[2]
    assert (current["status"], current["uptime"] < 10) == ("running", True)
    assert hands.pve(furnished, "GET", "/nodes/pve/tasks", "fence", {"source": "active"})[2] == []
    until(lambda: node_ready(furnished, "k3s-w1") == "True", 60, "the node did not come back")


def test_the_stand_in_can_lie_about_a_guest_that_runs(furnished: Lab) -> None:
    hands.switch(furnished, Switches(lie={"101": "stopped"}))
    assert hands.pve(furnished, "GET", "/nodes/pve/lxc/101/status/current")[2]["status"] == "stopped"
    assert furnished.power_state("k3s-w1") == "running"
    hands.switch(furnished)
    assert hands.pve(furnished, "GET", "/nodes/pve/lxc/101/status/current")[2]["status"] == "running"


def test_the_apps_are_fluxs(furnished: Lab) -> None:
    _, answer = furnished.api("GET", f"{MOVERS}/sonarr")
    assert answer["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/name"] == "apps"
    assert answer["spec"]["strategy"]["type"] == "RollingUpdate"
