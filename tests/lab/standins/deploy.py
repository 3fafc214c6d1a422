"""Everything on top of the bare cluster: stand-ins, apps through Flux, pairs wired and synced.

`install(lab)` is what `python -m tests.lab up` ends with. It may be called again, with the same or other apps.
"""

from __future__ import annotations

import http.client
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tests.lab.lab import Lab
from tests.lab.layout import NODE_IMAGE, HostName, LabError
from tests.lab.manifests.apps import DEFAULT, App, Peers, repo_files
from tests.lab.manifests.crd import replication_source
from tests.lab.standins.hands import FOLDER, MERGE, poke, reconnect, replication, syncthing
from tests.lab.standins.proxmox_setup import prepare

T = TypeVar("T")
ONE_SIDED = 20
"""Seconds for which one mover may say that it is connected and the other that it is not."""
UNREACHABLE = (OSError, http.client.HTTPException)


def install(lab: Lab, apps: Iterable[App] = DEFAULT) -> None:
    """Brings everything up on a bare lab: pods Ready, every pair synced once. Raises LabError."""
    crd = replication_source()
    status, answer = lab.api("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
    if status not in (201, 409):
        raise LabError(f"ReplicationSource cannot be defined: {answer.get('message', status)}")
    start_proxmox(lab)
    group = "/apis/volsync.backube/v1alpha1"
    until(lambda: lab.api("GET", group)[0] == 200, 20, "ReplicationSource is not served")
    deploy(lab, apps)


def _runs(lab: Lab, host: str, service: str) -> bool:
    return service in lab.status()[host]["services"]


def start_volsync(lab: Lab) -> None:
    """The operator, on the control plane's host, unless it is there."""
    if _runs(lab, HostName.CP1, "volsync"):
        return
    argv = [sys.executable, "-u", "-m", "tests.lab.standins.volsync"]
    argv += ["--kubeconfig", str(lab.kubeconfig()), "--image", NODE_IMAGE]
    lab.spawn(HostName.CP1, argv, "volsync")


def start_proxmox(lab: Lab) -> None:
    """The hypervisor's API, on `pve`, unless it is there."""
    if _runs(lab, HostName.PVE, "proxmox"):
        return
    access = prepare(lab.state / "proxmox", str(lab.ip(HostName.PVE)))
    argv = [sys.executable, "-u", "-m", "tests.lab.standins.proxmox"]
    lab.spawn(HostName.PVE, [*argv, "--config", access.config, "--state", lab.state], "proxmox")


def deploy(lab: Lab, apps: Iterable[App]) -> None:
    """Commits these apps as all there is, with their peers as soon as these are known. Raises LabError.

    The operator is started here too, if it is not there yet.
    """
    apps = tuple(apps)
    known = {
        source: identity
        for app in apps
        for source, other in _mutual(app)
        if (identity := _identity(lab, app.namespace, other))
    }
    revision = lab.flux_commit(repo_files(apps, NODE_IMAGE, known))
    # A mover made before the app's pod has its node would be made again, for its node, right afterwards.
    until(lambda: _placed(lab, apps), 60, "the apps' pods are not scheduled")
    start_volsync(lab)
    peers = wire(lab, apps)
    if peers != known:
        revision = lab.flux_commit(repo_files(apps, NODE_IMAGE, peers))
    pairs = [(app.namespace, *pair) for app in apps for pair in app.sources()]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda pair: wait_synced(lab, *pair), pairs))
    lab.wait_applied(revision)
    # A claim that is still going would be in the way of the next one with its name.
    until(lambda: not _leaving(lab), 120, "what is not wanted any more does not go")


def _placed(lab: Lab, apps: Iterable[App]) -> bool:
    """Whether every app has a pod with a node."""
    for app in apps:
        path = f"/api/v1/namespaces/{app.namespace}/pods?labelSelector=app.kubernetes.io%2Fname%3D{app.name}"
        pods = lab.api("GET", path)[1].get("items") or [{"spec": {}}]
        if not all("nodeName" in pod["spec"] for pod in pods):
            _poke_claims(lab, app.namespace)
            return False
    return True


def _poke_claims(lab: Lab, namespace: str) -> None:
    """Has the volume controller look at pending claims: one it saw before its volume waits 15 s for a resync."""
    path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    note = {"metadata": {"annotations": {"lab/poked": str(time.time())}}}
    for claim in lab.api("GET", path)[1].get("items", ()):
        if claim.get("status", {}).get("phase") == "Pending":
            lab.api("PATCH", f"{path}/{claim['metadata']['name']}", note, MERGE)


def _leaving(lab: Lab) -> list[str]:
    """Volumes, claims and pods that are being deleted."""
    kinds = ("persistentvolumes", "persistentvolumeclaims", "pods")
    items = [one for kind in kinds for one in lab.api("GET", f"/api/v1/{kind}")[1]["items"]]
    return [one["metadata"]["name"] for one in items if "deletionTimestamp" in one["metadata"]]


def _mutual(app: App) -> list[tuple[str, str]]:
    """Each source of the app with its peer."""
    return [both for one, other in app.sources() for both in ((one, other), (other, one))]


def wire(lab: Lab, apps: Iterable[App], seconds: float = 120) -> Peers:
    """Each source's peer, once every mover has told its identity. Raises LabError."""
    peers: dict[str, tuple[str, str]] = {}
    for app in apps:
        for source, other in _mutual(app):

            def told(namespace: str = app.namespace, name: str = other) -> tuple[str, str] | None:
                identity = _identity(lab, namespace, name)
                if identity is None:
                    poke(lab, namespace, name, str(time.time()))
                return identity

            peers[source] = until(told, seconds, f"{other} has no device ID (see logs/volsync.log)")
    return peers


def _identity(lab: Lab, namespace: str, source: str) -> tuple[str, str] | None:
    """(device ID, address) as the operator reports them."""
    told = replication(lab, namespace, source).get("status", {}).get("syncthing", {})
    return (told["ID"], told["address"]) if told.get("ID") else None


def wait_synced(lab: Lab, namespace: str, primary: str, backup: str, seconds: float = 120) -> None:
    """Waits until both movers are connected and the backup holds files of the primary. Raises LabError.

    It does not wait for the backup to lack nothing: under a running database that may never be so.
    """

    # A node that has just been rebooted leaves its peers with dead connections; one being made is given its time.
    due = time.monotonic() + ONE_SIDED

    def synced() -> bool:
        nonlocal due
        if time.monotonic() > due:
            due = time.monotonic() + ONE_SIDED
            reconnect(lab, namespace, primary, backup)
        for source, peer in ((primary, backup), (backup, primary)):
            identity = _identity(lab, namespace, peer)
            known = syncthing(lab, namespace, source, "GET", "/rest/system/connections")["connections"]
            if identity is None or not known.get(identity[0], {}).get("connected"):
                return False
        # The watcher would report the first files only after its 10 s.
        syncthing(lab, namespace, primary, "POST", f"/rest/db/scan?{FOLDER}")
        status = syncthing(lab, namespace, backup, "GET", f"/rest/db/status?{FOLDER}")
        return bool(status["globalFiles"] > 0 and status["inSyncFiles"] > 0)

    until(synced, seconds, f"{primary} and {backup} have not synced")


def until(look: Callable[[], T | None], seconds: float, problem: str) -> T:
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
