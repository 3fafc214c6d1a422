"""The lab as a World of the contract cases: the real API server, controllers, kubelets, Flux and Syncthing."""

from __future__ import annotations

import asyncio
import ctypes
import os
import secrets
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.contract.worlds import OWN, PODS, Wire, get
from tests.lab import network
from tests.lab.flux import KUSTOMIZATIONS, MERGE, NAME
from tests.lab.lab import Lab
from tests.lab.layout import HostName
from tests.lab.pki import token_of
from tests.lab.standins import hands
from tests.lab.standins.deploy import install, until
from tests.lab.standins.proxmox_settings import FakeTask, Switches

NODES = {"primary": HostName.W1, "backup": HostName.W2}
ROLE = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "watch", "delete"]},
]
"""Of the limited user: no list."""
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True, kw_only=True)
class Real(Wire):
    """The lab with stand-ins and apps."""

    lab: Lab
    contents: dict[str, str] = field(default_factory=dict)
    """What was last written under a name."""

    def write(self, source: str, name: str) -> None:
        """See World."""
        self.contents[name] = f"{secrets.token_hex(8)}\n"
        self._path(source, name).write_text(self.contents[name])

    def remove(self, source: str, name: str) -> None:
        """See World."""
        self._path(source, name).unlink(missing_ok=True)

    def holds(self, source: str, name: str) -> bool:
        """See World."""
        path = self._path(source, name)
        return path.exists() and path.read_text() == self.contents[name]

    def marker(self, source: str, *, present: bool) -> None:
        """See World."""
        here, away = self._path(source, ".stfolder"), self._path(source, ".stfolder-away")
        if present and away.exists():
            away.rename(here)
        elif not present:
            here.rename(away)

    def hypervisor(self, *, task: str = "", lock: str = "") -> None:
        """See World."""
        now = time.time()
        tasks = (FakeTask(type=task, id="101", since=now - 5, until=now + 600),) if task else ()
        hands.switch(self.lab, Switches(lock={"101": lock} if lock else {}, tasks=tasks))

    async def reconcile(self) -> None:
        """See World: it is asked to, and says when it has."""
        word = secrets.token_hex(4)
        body = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": word}}}
        await self.kube("PATCH", f"{KUSTOMIZATIONS}/{NAME}", body, kind=MERGE)

        async def handled() -> bool:
            found = await get(self, f"{KUSTOMIZATIONS}/{NAME}")
            return bool(found["status"].get("lastHandledReconcileAt") == word)

        await self.until(handled, 90, "Flux has reconciled")

    async def restart_mover(self, source: str) -> None:
        """See World."""
        query = {"labelSelector": f"app.kubernetes.io/name={source}"}
        for pod in (await self.kube("GET", PODS, query=query)).json["items"]:
            await self.kube("DELETE", f"{PODS}/{pod['metadata']['name']}", {"gracePeriodSeconds": 1})

    def _path(self, source: str, name: str) -> Path:
        stem, _, site = source.rpartition("-")
        return self.lab.data(NODES[site]) / "pods" / stem / name


def furnish(lab: Lab) -> str:
    """Stand-ins, both apps, a namespace of our own, and the token of the limited user. Blocks."""
    lab.stop(HostName.PVE, "failoverd")
    install(lab)
    hands.switch(lab)
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/media"
    lab.api("POST", "/api/v1/namespaces", {"metadata": {"name": OWN}})
    lab.api("POST", f"/api/v1/namespaces/{OWN}/serviceaccounts", {"metadata": {"name": "limited"}})
    lab.api("POST", f"{rbac}/roles", {"metadata": {"name": "limited"}, "rules": ROLE})
    binding = {
        "metadata": {"name": "limited"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "limited"},
        "subjects": [{"kind": "ServiceAccount", "name": "limited", "namespace": OWN}],
    }
    lab.api("POST", f"{rbac}/rolebindings", binding)
    until(lambda: home(lab), 60, "sonarr and paperless are not Ready on k3s-w1")
    return token_of(lab.kubeconfig(f"{OWN}/limited"))


def home(lab: Lab) -> bool:
    """Whether both apps run on the primary, one Ready pod each."""
    for app in ("sonarr", "paperless"):
        query = f"?labelSelector=app.kubernetes.io%2Fname%3D{app}"
        found: list[dict[str, Any]] = lab.api("GET", PODS + query)[1]["items"]
        conditions = [{c["type"]: c["status"] for c in pod["status"].get("conditions", ())} for pod in found]
        if [pod["spec"].get("nodeName") for pod in found] != ["k3s-w1"] or conditions[0].get("Ready") != "True":
            return False
    return True


def tidy(lab: Lab) -> None:
    """Nothing of ours stays behind. Blocks."""
    hands.switch(lab)
    lab.restore()
    # An app that is moved and brought back without a take-back leaves conflicts: later tests want none.
    for node in NODES.values():
        for path in (lab.data(node) / "pods").rglob("*.sync-conflict-*"):
            path.unlink()
    lab.api("DELETE", f"/api/v1/namespaces/{OWN}")
    for kind in ("rolebindings", "roles"):
        lab.api("DELETE", f"/apis/rbac.authorization.k8s.io/v1/namespaces/media/{kind}/limited")


@asynccontextmanager
async def real(lab: Lab) -> AsyncIterator[Real]:
    """The lab furnished, requests made from its hypervisor."""
    limited = await asyncio.to_thread(furnish, lab)
    access = hands.proxmox(lab)
    tls = ssl.create_default_context(cafile=str(lab.layout.pki / "ca.crt"))
    tls.load_verify_locations(cafile=str(access.ca))
    namespace = lab.layout.host(HostName.PVE).namespace
    connector = aiohttp.TCPConnector(ssl=tls, socket_factory=lambda address: socket_in(namespace, address))
    limits = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(connector=connector, timeout=limits, trust_env=False) as session:
        fence = access.tokens["fence"]
        pve_tokens = {**access.tokens, "wrong": fence[:-1] + ("0" if fence[-1] != "0" else "1")}
        tokens = {"admin": token_of(lab.kubeconfig()), "limited": limited, "wrong": "no-such-token"}
        try:
            yield Real(
                session=session, kube_url=lab.layout.api, tokens=tokens, pve_url=access.url,
                pve_tokens=pve_tokens, lab=lab,
            )  # fmt: skip
        finally:
            await asyncio.to_thread(tidy, lab)


def socket_in(namespace: str, address: Iterable[Any]) -> socket.socket:
    """A socket of a lab host. It belongs to the namespace its thread was in, whoever uses it later."""
    family, kind, *_ = address
    made: list[socket.socket] = []

    def make() -> None:
        with (network.NAMED / namespace).open("rb") as there:
            if _libc.setns(there.fileno(), network.CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), namespace)
        made.append(socket.socket(family, kind))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    made[0].setblocking(False)
    return made[0]
