"""What VolSync's operator does with a mover's Syncthing: read three endpoints, write when it must."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from typing import Any

Object = dict[str, Any]
TIMEOUT = 5.0
"""Seconds, the operator's own HTTP timeout."""


class SyncthingError(Exception):
    """The mover's API did not answer, or not with 200."""


class _Pinned(http.client.HTTPSConnection):
    """HTTPS to an address under the one name its certificate holds."""

    def __init__(self, address: str, server_name: str, cert: str) -> None:
        super().__init__(address, 8384, timeout=TIMEOUT)
        self._tls = ssl.create_default_context(cadata=cert)
        self._name = server_name

    def connect(self) -> None:
        """Connects and checks the name of the certificate."""
        plain = socket.create_connection((self.host, self.port), TIMEOUT)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self._name)


class Syncthing:
    """A mover's REST API by its Service's address."""

    def __init__(self, address: str, server_name: str, cert: str, apikey: str) -> None:
        self._target = (address, server_name, cert)
        self._apikey = apikey

    def call(self, method: str, path: str, body: Object | None = None) -> Object:
        """The answer's JSON. Raises SyncthingError."""
        connection = _Pinned(*self._target)
        try:
            headers = {"X-API-Key": self._apikey, "Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            raw = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise SyncthingError(f"{method} https://{self._target[1]}:8384{path}: {error}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise SyncthingError(f"{method} {path}: status {answer.status}: {raw[:100]!r}")
        parsed: Object = json.loads(raw or b"{}")
        return parsed


def needs_peers(config: Object, own: str, peers: tuple[Object, ...]) -> bool:
    """Whether the set of device IDs differs from the wanted one; addresses and introducers do not count."""
    known = {d["deviceID"] for d in config["devices"] if not d.get("introducedBy")}
    return known != {own} | {p["ID"] for p in peers}


def needs_login(config: Object, user: str) -> bool:
    """Whether the web interface's user is not the Secret's, or has no password."""
    gui = config["gui"]
    return gui.get("user") != user or not gui.get("password")


def rewritten(config: Object, own: str, peers: tuple[Object, ...], login: tuple[str, str]) -> Object:
    """The configuration just read, with bare peers, every folder shared with all of them, and the login set.

    Whatever else somebody has set (folder types, versioning, options) stays; what they set on peers is lost.
    """
    mine = [d for d in config["devices"] if d["deviceID"] == own or d.get("introducedBy")]
    wanted = [
        {"deviceID": p["ID"], "addresses": [p["address"]], "introducer": bool(p.get("introducer"))}
        for p in peers
        if p["ID"] != own
    ]
    devices = mine + wanted
    shared = [{"deviceID": d["deviceID"], "introducedBy": d.get("introducedBy", "")} for d in devices]
    user, password = login
    return config | {
        "devices": devices,
        "folders": [folder | {"devices": shared} for folder in config["folders"]],
        "gui": config["gui"] | {"user": user, "password": password},
    }


def status(address: str, config: Object, connections: Object, system: Object) -> Object:
    """status.syncthing of the ReplicationSource."""
    devices = {d["deviceID"]: d for d in config["devices"]}
    peers = []
    for ident, connection in sorted(connections["connections"].items()):
        if ident == system["myID"] or ident not in devices:
            continue
        device = devices[ident]
        peer = {
            "ID": ident,
            "address": (device.get("addresses") or [""])[0],
            "connected": connection["connected"],
        }
        named = {"name": device.get("name"), "introducedBy": device.get("introducedBy")}
        peers.append(peer | {k: v for k, v in named.items() if v})
    return {"ID": system["myID"], "address": f"tcp://{address}:22000", "peers": peers}
