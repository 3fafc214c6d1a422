"""Everything on top of the bare cluster: stand-ins, apps through Flux, pairs wired and synced.

`install(lab)` is what `python -m tests.lab up` ends with. The rest are the hands that tests share: a mover's
REST API through the API server's service proxy, the Proxmox stand-in's access and switches.
"""

from __future__ import annotations

import base64
import http.client
import json
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from tests.lab import api
from tests.lab.lab import Lab
from tests.lab.layout import NODE_IMAGE, HostName, LabError
from tests.lab.manifests.apps import DEFAULT, App, Peers, repo_files
from tests.lab.manifests.crd import replication_source
from tests.lab.standins.proxmox import Switches
from tests.lab.standins.proxmox_setup import Access, prepare
from tests.lab.standins.volsync_objects import Mover, Object

FOLDER = "folder=syncthing-folder-id"
T = TypeVar("T")
UNREACHABLE = (OSError, http.client.HTTPException)


def install(lab: Lab, apps: Iterable[App] = DEFAULT) -> None:
    """Brings everything up on a bare lab: pods Ready, every pair synced once. Raises LabError."""
    apps = tuple(apps)
    crd = replication_source()
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    status, answer = lab.api("POST", path, crd)
    if status not in (201, 409):
        raise LabError(f"ReplicationSource cannot be defined: {answer.get('message', status)}")
    start_proxmox(lab)
    start_volsync(lab)
    _until(
        lambda: lab.api("GET", "/apis/volsync.backube/v1alpha1")[0] == 200,
        20,
        "ReplicationSource is not served",
    )
    deploy(lab, apps)


def start_volsync(lab: Lab) -> None:
    """The operator, on the control plane's host."""
    argv = [sys.executable, "-u", "-m", "tests.lab.standins.volsync"]
    lab.spawn(
        HostName.CP1,
        [*argv, "--kubeconfig", lab.kubeconfig(), "--image", NODE_IMAGE],
        "volsync",
        restart=True,
    )


def start_proxmox(lab: Lab) -> None:
    """The hypervisor's API, on `pve`."""
    access = prepare(_proxmox(lab), str(lab.ip(HostName.PVE)))
    argv = [sys.executable, "-u", "-m", "tests.lab.standins.proxmox"]
    lab.spawn(HostName.PVE, [*argv, "--config", access.config, "--state", lab.state], "proxmox")


def _proxmox(lab: Lab) -> Path:
    return lab.state / "proxmox"


def proxmox(lab: Lab) -> Access:
    """How to reach the running stand-in, from inside the lab's network."""
    return Access.load(_proxmox(lab))


def switch(lab: Lab, switches: Switches | None = None) -> None:
    """Makes the Proxmox stand-in misbehave from its next answer on; None sets it straight again."""
    (switches or Switches()).write(proxmox(lab).switches)


def deploy(lab: Lab, apps: Iterable[App]) -> None:
    """Commits these apps as all there is, first alone and then with their peers. Raises LabError."""
    apps = tuple(apps)
    lab.flux_commit(repo_files(apps, NODE_IMAGE))
    peers = wire(lab, apps)
    revision = lab.flux_commit(repo_files(apps, NODE_IMAGE, peers))
    with ThreadPoolExecutor(8) as pool:
        pairs = [(app.namespace, *pair) for app in apps for pair in app.sources()]
        list(pool.map(lambda pair: wait_synced(lab, *pair), pairs))
    lab.wait_applied(revision)


def wire(lab: Lab, apps: Iterable[App], seconds: float = 120) -> Peers:
    """Each source's peer, once every mover has told its identity. Raises LabError."""
    peers: dict[str, tuple[str, str]] = {}
    for app in apps:
        for primary, backup in app.sources():
            for name, other in ((primary, backup), (backup, primary)):
                peers[name] = _identity(lab, app.namespace, other, seconds)
    return peers


def _identity(lab: Lab, namespace: str, source: str, seconds: float) -> tuple[str, str]:
    def told() -> tuple[str, str] | None:
        status = replication(lab, namespace, source).get("status", {}).get("syncthing", {})
        if status.get("ID"):
            return status["ID"], status["address"]
        poke(lab, namespace, source)
        return None

    return _until(told, seconds, f"{source}: VolSync's operator reports no device ID, see logs/volsync.log")


def poke(lab: Lab, namespace: str, source: str) -> None:
    """Has the operator look at a source at once: after errors its delay grows to many minutes."""
    path = f"/apis/volsync.backube/v1alpha1/namespaces/{namespace}/replicationsources/{source}"
    note = {"metadata": {"annotations": {"lab/poked": str(time.time())}}}
    lab.api("PATCH", path, note, "application/merge-patch+json")


def replication(lab: Lab, namespace: str, source: str) -> Object:
    """A ReplicationSource as it is; empty where there is none yet."""
    path = f"/apis/volsync.backube/v1alpha1/namespaces/{namespace}/replicationsources/{source}"
    status, answer = lab.api("GET", path)
    return answer if status == 200 else {}


def wait_synced(lab: Lab, namespace: str, primary: str, backup: str, seconds: float = 120) -> None:
    """Waits until both movers are connected and the backup holds files of the primary. Raises LabError.

    It does not wait for the backup to lack nothing: under a running database that may never be so.
    """

    def synced() -> bool:
        for source, peer in ((primary, backup), (backup, primary)):
            ident = replication(lab, namespace, peer)["status"]["syncthing"]["ID"]
            known = syncthing(lab, namespace, source, "GET", "/rest/system/connections")["connections"]
            if not known.get(ident, {}).get("connected"):
                return False
        # The watcher would report the first files only after its 10 s.
        syncthing(lab, namespace, primary, "POST", f"/rest/db/scan?{FOLDER}")
        status = syncthing(lab, namespace, backup, "GET", f"/rest/db/status?{FOLDER}")
        return bool(status["globalFiles"] > 0 and status["inSyncFiles"] > 0)

    _until(synced, seconds, f"{primary} and {backup} have not synced")


def syncthing(
    lab: Lab, namespace: str, source: str, method: str, path: str, body: Any = None, *, user: str = "admin"
) -> Any:
    """A mover's REST API through the service proxy. Raises LabError, or OSError where nothing answers."""
    mover = Mover(name=source, namespace=namespace, uid="", claim="", peers=(), options={})
    status, secret = lab.api("GET", f"/api/v1/namespaces/{namespace}/secrets/{mover.full}")
    if status != 200:
        raise LabError(f"no Secret {mover.full}: {secret.get('message', status)}")
    key = base64.b64decode(secret["data"]["apikey"]).decode()
    service = f"/api/v1/namespaces/{namespace}/services/https:{mover.service('api')}:8384/proxy"
    raw = None if body is None else json.dumps(body).encode()
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    status, answer = api.request(lab.layout, method, service + path, raw, headers, user=user)
    if status != 200:
        raise LabError(f"{source} {method} {path}: {status} {answer[:200]!r}")
    return json.loads(answer) if answer else None


def _until(look: Callable[[], T | None], seconds: float, problem: str) -> T:
    """What `look` returns once that is true. Raises LabError with what `look` last raised."""
    deadline = time.monotonic() + seconds
    why = ""
    while time.monotonic() < deadline:
        try:
            found = look()
        except (LabError, LookupError, *UNREACHABLE) as error:
            found, why = None, f" ({error})"
        if found:
            return found
        time.sleep(0.3)
    raise LabError(f"{problem} after {seconds:.0f} s{why}")
