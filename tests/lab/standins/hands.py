"""Hands that tests and people share: a mover's Syncthing, the Proxmox stand-in and its switches, from outside."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import urllib.parse
from collections.abc import Mapping
from typing import Any

from tests.lab import api, network
from tests.lab.lab import Lab
from tests.lab.layout import HostName, LabError
from tests.lab.standins.proxmox_settings import Switches
from tests.lab.standins.proxmox_setup import Access
from tests.lab.standins.volsync_objects import Mover, Object

FOLDER = "folder=syncthing-folder-id"
MERGE = "application/merge-patch+json"


def _source(namespace: str, name: str) -> str:
    return f"/apis/volsync.backube/v1alpha1/namespaces/{namespace}/replicationsources/{name}"


def mover(namespace: str, source: str) -> Mover:
    """The names that belong to a ReplicationSource."""
    return Mover(name=source, namespace=namespace, uid="", claim="", peers=(), options={})


def replication(lab: Lab, namespace: str, source: str) -> Object:
    """A ReplicationSource as it is; empty where there is none."""
    status, answer = lab.api("GET", _source(namespace, source))
    return answer if status == 200 else {}


def poke(lab: Lab, namespace: str, source: str, word: str) -> None:
    """Has the operator look at a source at once: after errors its delay grows to many minutes."""
    note = {"metadata": {"annotations": {"lab/poked": word}}}
    lab.api("PATCH", _source(namespace, source), note, MERGE)


def secret(lab: Lab, namespace: str, source: str) -> dict[str, str]:
    """A mover's five keys. Raises LabError where there are none."""
    name = mover(namespace, source).full
    status, answer = lab.api("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")
    if status != 200:
        raise LabError(f"no Secret {name}: {answer.get('message', status)}")
    return {key: base64.b64decode(value).decode() for key, value in answer["data"].items()}


def syncthing(
    lab: Lab, namespace: str, source: str, method: str, path: str, body: Any = None, *, user: str = "admin"
) -> Any:
    """A mover's REST API through the service proxy. Raises LabError, or OSError where nothing answers."""
    service = f"https:{mover(namespace, source).service('api')}:8384"
    proxy = f"/api/v1/namespaces/{namespace}/services/{service}/proxy"
    raw = None if body is None else json.dumps(body).encode()
    headers = {"X-API-Key": secret(lab, namespace, source)["apikey"], "Content-Type": "application/json"}
    status, answer = api.request(lab.layout, method, proxy + path, raw, headers, user=user)
    if status != 200:
        raise LabError(f"{source} {method} {path}: {status} {answer[:200]!r}")
    return json.loads(answer) if answer else None


def reconnect(lab: Lab, namespace: str, *pair: str) -> bool:
    """Has the one mover of a pair that alone says it is connected begin anew; True when both are connected.

    A mover keeps a connection that died with the other's node, and takes no new one, for up to 447 s.
    Raises LabError, or OSError where one does not answer.
    """
    known = {one: syncthing(lab, namespace, one, "GET", "/rest/system/connections")["connections"] for one in pair}
    linked = [(one, device) for one in pair for device, link in known[one].items() if link["connected"]]
    if len(linked) == 1:
        ((one, device),) = linked
        for paused in (True, False):
            syncthing(lab, namespace, one, "PATCH", f"/rest/config/devices/{device}", {"paused": paused})
    return len(linked) == len(pair)


def proxmox(lab: Lab) -> Access:
    """How to reach the running stand-in, from inside the lab's network."""
    return Access.load(lab.state / "proxmox")


def switch(lab: Lab, switches: Switches | None = None) -> None:
    """Makes the Proxmox stand-in misbehave from its next answer on; None sets it straight again."""
    (switches or Switches()).write(proxmox(lab).switches)


class _FromHost(http.client.HTTPSConnection):
    """HTTPS to a host of the lab, from its hypervisor."""

    def __init__(self, lab: Lab, address: str, port: int, context: ssl.SSLContext) -> None:
        super().__init__(address, port, timeout=10)
        self._source = lab.layout.host(HostName.PVE)
        self._tls = context

    def connect(self) -> None:
        """Connect from within the hypervisor's network namespace."""
        plain = network.connect(self._source, (self.host, self.port), 10)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


def pve(
    lab: Lab, method: str, path: str, token: str = "fence", params: Mapping[str, str] | None = None
) -> tuple[int, str, Any]:
    """One call of the Proxmox API: status, reason, `data`. `path` begins after `/api2/json`. Raises OSError."""
    access = proxmox(lab)
    url = urllib.parse.urlsplit(access.url)
    query = urllib.parse.urlencode(params or {})
    context = ssl.create_default_context(cafile=str(access.ca))
    connection = _FromHost(lab, url.hostname or "", url.port or 8006, context)
    headers = {
        "Authorization": f"PVEAPIToken={access.tokens[token]}",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    asked = "/api2/json" + path + (f"?{query}" if query and method == "GET" else "")
    try:
        connection.request(method, asked, query if method == "POST" else None, headers)
        answer = connection.getresponse()
        raw = answer.read()
        return answer.status, answer.reason, json.loads(raw)["data"] if raw else None
    finally:
        connection.close()
