"""The lab's stand-ins without a lab: real sockets and processes on loopback, no root."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest

from tests.lab.manifests import apps
from tests.lab.standins import volsync_objects as objects
from tests.lab.standins import volsync_syncthing as syncthing
from tests.lab.standins.proxmox import Server
from tests.lab.standins.proxmox_settings import FakeTask, Settings, Switches
from tests.lab.standins.proxmox_setup import Access, prepare
from tests.lab.standins.volsync_objects import Mover

WRITER = Path(apps.WRITER)


# ---------------------------------------------------------------- Proxmox


@dataclass
class Breakers:
    """Power switches that only remember."""

    on: set[str] = field(default_factory=lambda: {"k3s-cp1", "k3s-w1"})
    since: float = field(default_factory=time.monotonic)

    def running(self, host: str) -> bool:
        return host in self.on

    def age(self, host: str) -> float | None:
        return time.monotonic() - self.since if host in self.on else None

    def stop(self, host: str) -> None:
        self.on.discard(host)

    def start(self, host: str) -> None:
        self.on.add(host)


@dataclass
class Pve:
    """A running stand-in and a client of it."""

    access: Access
    port: int
    power: Breakers

    def call(
        self,
        method: str,
        path: str,
        token: str = "fence",
        params: Mapping[str, str] | None = None,
        timeout: float = 5,
    ) -> tuple[int, str, Any]:
        """Status, reason and body."""
        context = ssl.create_default_context(cafile=str(self.access.ca))
        connection = HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=context)
        secret = self.access.tokens.get(token, token)
        query = urllib.parse.urlencode(params or {})
        path = "/api2/json" + path + (f"?{query}" if query and method == "GET" else "")
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            connection.request(
                method,
                path,
                query if method == "POST" else None,
                {"Authorization": f"PVEAPIToken={secret}", **form},
            )
            answer = connection.getresponse()
            raw = answer.read()
            return answer.status, answer.reason, json.loads(raw) if raw else None
        finally:
            connection.close()

    def data(self, method: str, path: str, token: str = "fence", params: Mapping[str, str] | None = None) -> Any:
        """The body's data of a call that must succeed."""
        status, reason, body = self.call(method, path, token, params)
        assert (status, reason) == (200, "OK")
        return body["data"]

    def status(self, guest: str = "lxc/101") -> str:
        return str(self.data("GET", f"/nodes/pve/{guest}/status/current")["status"])

    def ended(self, upid: str) -> str:
        """The exit status of a task, waited for."""
        for _ in range(100):
            task = self.data("GET", f"/nodes/pve/tasks/{upid}/status")
            if task["status"] == "stopped":
                return str(task["exitstatus"])
            time.sleep(0.02)
        raise AssertionError(f"{upid} did not end")

    def switch(self, **switches: Any) -> None:
        Switches(**switches).write(self.access.switches)


@pytest.fixture
def pve(tmp_path: Path) -> Iterator[Pve]:
    access = prepare(tmp_path / "pve", "127.0.0.1", port=0, auth_delay=0.3)
    power = Breakers()
    server = Server(Settings.read(json.loads(access.config.read_text())), power)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield Pve(access, server.server_port, power)
    Switches().write(access.switches)
    server.shutdown()
    server.server_close()
    thread.join()


def test_stop_cuts_the_power_and_status_tells(pve: Pve) -> None:
    assert pve.status() == "running"
    upid = pve.data("POST", "/nodes/pve/lxc/101/status/stop")
    assert upid.startswith("UPID:pve:")
    assert ":vzstop:101:failoverd@pve!fence:" in upid
    assert pve.ended(upid) == "OK"
    assert pve.status() == "stopped"
    assert pve.power.on == {"k3s-cp1"}


def test_a_power_cut_by_other_hands_shows_at_once(pve: Pve) -> None:
    pve.power.stop("k3s-cp1")
    assert pve.status("qemu/100") == "stopped"


def test_a_container_that_restarts_inside_shows_it_in_its_uptime(pve: Pve) -> None:
    def uptime() -> int:
        return int(pve.data("GET", "/nodes/pve/lxc/101/status/current")["uptime"])

    pve.power.since -= 100
    assert uptime() >= 100
    pve.power.since = time.monotonic()
    assert uptime() < 50
    assert pve.status() == "running"


def test_stopping_a_stopped_container_fails_and_a_stopped_machine_does_not(pve: Pve) -> None:
    pve.power.on.clear()
    status, reason, body = pve.call("POST", "/nodes/pve/lxc/101/status/stop")
    assert (status, reason, body["data"]) == (500, "CT 101 not running", None)
    assert pve.ended(pve.data("POST", "/nodes/pve/qemu/100/status/stop")) == "OK"


def test_a_wrong_secret_is_401_after_a_delay(pve: Pve) -> None:
    began = time.monotonic()
    status, reason, body = pve.call("GET", "/version", token="failoverd@pve!fence=wrong")
    assert (status, reason, body) == (401, "invalid token value!", None)
    assert time.monotonic() - began >= 0.3


def test_without_sys_audit_only_own_tasks_are_seen(pve: Pve) -> None:
    pve.switch(seconds={"reboot": 0.5})
    upid = pve.data("POST", "/nodes/pve/lxc/101/status/reboot", token="lab")
    assert pve.data("GET", "/nodes/pve/tasks", "narrow", {"source": "active"}) == []
    assert pve.call("GET", f"/nodes/pve/tasks/{upid}/status", "narrow")[0] == 403
    (seen,) = pve.data("GET", "/nodes/pve/tasks", "fence", {"source": "active", "vmid": "101"})
    assert (seen["type"], seen["status"], seen["upid"]) == ("vzreboot", "RUNNING", upid)
    assert "endtime" not in seen
    assert pve.status() == "stopped"
    assert pve.ended(upid) == "OK"
    assert pve.status() == "running"
    assert pve.data("GET", "/nodes/pve/tasks", params={"source": "active"}) == []
    assert [task["status"] for task in pve.data("GET", "/nodes/pve/tasks")] == ["OK"]


def test_privileges_decide_what_is_seen_and_done(pve: Pve) -> None:
    status, reason, _ = pve.call("GET", "/nodes/pve/lxc/101/status/current", "blind")
    assert (status, reason) == (403, "Permission check failed (/vms/101, VM.Audit)")
    assert pve.data("GET", "/cluster/resources", "blind", {"type": "vm"}) == []
    seen = pve.data("GET", "/cluster/resources", params={"type": "vm"})
    assert [(guest["id"], guest["name"], guest["status"]) for guest in seen] == [
        ("qemu/100", "k3s-cp1", "running"),
        ("lxc/101", "k3s-w1", "running"),
    ]
    granted = pve.data("GET", "/access/permissions", "narrow", params={"path": "/vms/101"})
    assert granted == {"/vms/101": {"VM.Audit": 1, "VM.PowerMgmt": 1}}


def test_a_lock_fails_the_task_not_the_call(pve: Pve) -> None:
    pve.switch(lock={"101": "backup"})
    assert pve.data("GET", "/nodes/pve/lxc/101/status/current")["lock"] == "backup"
    assert pve.ended(pve.data("POST", "/nodes/pve/lxc/101/status/stop")) == "CT is locked (backup)"
    assert pve.status() == "running"


def test_node_wide_tasks_carry_no_guest(pve: Pve) -> None:
    now = time.time()
    pve.switch(tasks=(FakeTask(type="vzdump", since=now - 5, until=now + 60),))
    (task,) = pve.data("GET", "/nodes/pve/tasks", params={"source": "active"})
    assert (task["type"], task["id"], task["user"]) == ("vzdump", "", "root@pam")
    pve.switch(tasks=(FakeTask(type="stopall", since=now - 5, until=now - 1),))
    assert pve.data("GET", "/nodes/pve/tasks", params={"source": "active"}) == []


def test_a_guest_under_ha_is_stopped_by_the_manager_later(pve: Pve) -> None:
    pve.switch(ha=("101",))
    status, _, body = pve.call("POST", "/nodes/pve/lxc/101/status/stop", params={"overrule-shutdown": "1"})
    assert (status, list(body["errors"])) == (400, ["overrule-shutdown"])
    upid = pve.data("POST", "/nodes/pve/lxc/101/status/stop")
    assert ":hastop:101:" in upid
    assert pve.ended(upid) == "OK"
    assert pve.status() == "running"
    assert pve.data("GET", "/nodes/pve/lxc/101/status/current")["ha"]["managed"] == 1


def test_parameters_the_schema_lacks_are_refused(pve: Pve) -> None:
    status, reason, body = pve.call("POST", "/nodes/pve/lxc/101/status/stop", params={"timeout": "5"})
    assert (status, reason, list(body["errors"])) == (400, "Parameter verification failed.", ["timeout"])
    assert pve.call("GET", "/nodes/pve/tasks", params={"since": "yesterday"})[0] == 400
    assert pve.status() == "running"


def test_it_lies_refuses_and_hangs_on_demand(pve: Pve) -> None:
    pve.switch(lie={"101": "stopped"})
    assert pve.status() == "stopped"
    assert "k3s-w1" in pve.power.on
    pve.switch(refuse=True)
    assert pve.call("GET", "/nodes/pve/lxc/101/status/current")[:2] == (500, "got no worker")
    pve.switch(hang=True)
    with pytest.raises(TimeoutError):
        pve.call("GET", "/version", timeout=0.5)


def test_onboot_is_absent_when_off(pve: Pve) -> None:
    assert pve.data("GET", "/nodes/pve/lxc/101/config")["onboot"] == 1
    pve.switch(onboot={"101": False})
    assert "onboot" not in pve.data("GET", "/nodes/pve/lxc/101/config")


def test_unknown_guests_nodes_and_paths_answer_as_the_real_api(pve: Pve) -> None:
    status, reason, _ = pve.call("GET", "/nodes/pve/lxc/999/status/current")
    assert (status, reason) == (500, "Configuration file 'nodes/pve/lxc/999.conf' does not exist")
    assert pve.call("GET", "/nodes/other/lxc/101/status/current")[0] == 500
    assert pve.call("GET", "/nowhere")[0] == 501
    assert pve.call("GET", "/nodes/pve/tasks/UPID:pve:none:/status")[0] == 400


# ---------------------------------------------------------------- VolSync


def source(name: str = "sonarr-primary", **syncthing_spec: Any) -> Mover:
    return Mover.of(
        {
            "metadata": {"name": name, "namespace": "media", "uid": "1"},
            "spec": {"sourcePVC": "pvc-sonarr", "syncthing": syncthing_spec},
        }
    )


def pod(name: str, phase: str, node: str = "k3s-w1", **labels: str) -> dict[str, Any]:
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "pvc-sonarr"}}
    spec = {"nodeName": node, "volumes": [volume], "tolerations": [{"key": "t", "operator": "Exists"}]}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": {"phase": phase}}


def claim(mode: str = "ReadWriteOnce") -> dict[str, Any]:
    return {"metadata": {"name": "pvc-sonarr"}, "spec": {"accessModes": [mode], "storageClassName": ""}}


def test_the_secret_has_five_keys_and_a_certificate_for_one_name() -> None:
    data = objects.secret(source())["stringData"]
    assert set(data) == {"apikey", "username", "password", "httpsCertPEM", "httpsKeyPEM"}
    assert len(data["apikey"]) == 32
    text = subprocess.run(
        ["openssl", "x509", "-noout", "-subject", "-issuer", "-text"],
        input=data["httpsCertPEM"],
        text=True,
        capture_output=True,
        check=True,
    ).stdout
    assert text.count("DNS:") == 1
    assert "DNS:volsync-sonarr-primary-api.media\n" in text
    subject, issuer = text.splitlines()[:2]
    assert subject.removeprefix("subject=") == issuer.removeprefix("issuer=")
    assert "Basic Constraints" not in text
    assert "Key Identifier" not in text


def test_long_service_names_become_checksums() -> None:
    long = source("a" * 60).service("api")
    assert long.startswith("volsync-api-")
    assert len(long) <= 63
    assert source().service("data") == "volsync-sonarr-primary-data"


def test_the_mover_follows_the_running_app_and_not_itself() -> None:
    hostnames = {"k3s-w1": "k3s-w1", "k3s-w2": "k3s-w2"}
    mover = pod("mover", "Running", "k3s-w2", **{"app.kubernetes.io/created-by": "volsync"})
    app = pod("app", "Running")
    place = objects.affinity([mover, pod("next", "Pending", ""), app], claim(), hostnames)
    assert place.node_selector == {"kubernetes.io/hostname": "k3s-w1"}
    assert place.tolerations == app["spec"]["tolerations"]
    assert objects.affinity([mover], claim(), hostnames) == objects.Affinity()
    assert objects.affinity([app], claim("ReadWriteMany"), hostnames) == objects.Affinity()
    with pytest.raises(objects.NodeUnknown):
        objects.affinity([pod("next", "Pending", "")], claim(), hostnames)


def test_drift_is_what_somebody_changed_and_not_a_default() -> None:
    wanted = objects.deployment(source(), objects.Affinity(), "image", privileged=True)["spec"]
    live = json.loads(json.dumps(wanted))
    live["progressDeadlineSeconds"] = 600
    live["template"]["spec"]["dnsPolicy"] = "ClusterFirst"
    live["template"]["spec"]["securityContext"] = {}
    assert not objects.drifted(wanted, live)
    for change in (
        {"replicas": 0},
        {"template": {**live["template"], "spec": {**live["template"]["spec"], "nodeSelector": {"a": "b"}}}},
    ):
        assert objects.drifted(wanted, live | change)


def test_the_operator_writes_only_for_another_set_of_peers_or_a_missing_login() -> None:
    devices = [{"deviceID": "OWN"}, {"deviceID": "PEER", "addresses": ["tcp://1"], "paused": True}]
    folder = {"id": "f", "type": "sendonly", "devices": []}
    config = {"devices": devices, "folders": [folder], "gui": {"user": "syncthing", "password": "x"}}
    moved: tuple[dict[str, Any], ...] = ({"ID": "PEER", "address": "tcp://2", "introducer": True},)
    assert not syncthing.needs_peers(config, "OWN", moved)
    assert syncthing.needs_peers(config, "OWN", ())
    assert not syncthing.needs_login(config, "syncthing")
    assert syncthing.needs_login(config | {"gui": {"user": "syncthing", "password": ""}}, "syncthing")
    written = syncthing.rewritten(config, "OWN", moved, ("syncthing", "secret"))
    assert written["folders"][0]["type"] == "sendonly"
    assert [shared["deviceID"] for shared in written["folders"][0]["devices"]] == ["OWN", "PEER"]
    assert written["devices"][1] == {"deviceID": "PEER", "addresses": ["tcp://2"], "introducer": True}


# ---------------------------------------------------------------- manifests


def documents(files: dict[str, str]) -> dict[tuple[str, str], dict[str, Any]]:
    found = [json.loads(text) for content in files.values() for text in content.split("\n---\n")]
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def test_the_repository_is_shaped_like_the_reference_cluster() -> None:
    made = documents(apps.repo_files(apps.DEFAULT, "image", {"sonarr-primary": ("ID", "tcp://1:22000")}))
    spec = made["Deployment", "sonarr"]["spec"]
    assert "strategy" not in spec
    assert spec["template"]["spec"]["nodeSelector"] == {"role": "primary"}
    volume = spec["template"]["spec"]["volumes"][0]
    assert volume == {"name": "sonarr-data", "persistentVolumeClaim": {"claimName": "pvc-sonarr"}}
    for kind, name in (
        ("PersistentVolumeClaim", "pvc-sonarr-backup"),
        ("PersistentVolume", "pv-sonarr-primary"),
        ("PersistentVolume", "pv-volsync-sonarr-backup-config"),
        ("ReplicationSource", "paperless-data-primary"),
        ("PersistentVolumeClaim", "pvc-paperless-media-backup"),
    ):
        assert (kind, name) in made
    path = made["PersistentVolume", "pv-sonarr-backup"]["spec"]["hostPath"]
    assert path == {"path": "/data/pods/sonarr", "type": "DirectoryOrCreate"}
    assert "peers" not in made["ReplicationSource", "sonarr-backup"]["spec"]["syncthing"]
    assert made["ReplicationSource", "sonarr-primary"]["spec"]["syncthing"]["peers"][0]["ID"] == "ID"


def test_any_number_of_apps_has_objects_of_their_own() -> None:
    made = documents(apps.repo_files(apps.many(50), "image"))
    assert len([key for key in made if key[0] == "Deployment"]) == 50
    assert len([key for key in made if key[0] == "ReplicationSource"]) == 100
