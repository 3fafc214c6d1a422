"""Syncthing's REST API of every mover, as recorded from 1.29.5, reached through the API server's Service
proxy; `serve_movers` answers from it as well."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from aiohttp import web

from failoverd.clock import sleep
from failoverd.core.model import Role
from failoverd.core.names import FOLDER
from failoverd.core.rules import Site
from failoverd.simulator import world_versions
from failoverd.simulator.serve_faults import WireFault, status, strike
from failoverd.simulator.serve_objects import API_KEY
from failoverd.simulator.world import World
from failoverd.simulator.world_app import AppTruth
from failoverd.simulator.world_data import FILE_BYTES
from failoverd.simulator.world_look import stamp, state
from failoverd.simulator.world_pair import RELAUNCH_MS, SyncPair
from failoverd.simulator.world_side import CHANGING, Side

SCAN = timedelta(milliseconds=300)
HEALTH = "/rest/noauth/health"
NOWHERE = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Mover:
    """One mover as it is asked."""

    world: World
    truth: AppTruth
    volume: str
    site: Site

    @property
    def pair(self) -> SyncPair:
        """Both sides."""
        return self.truth.pairs[self.volume]

    @property
    def side(self) -> Side:
        """This side."""
        return self.pair.sides[self.site]

    @property
    def service(self) -> tuple[str, str]:
        """Namespace and name of its Service."""
        volume = next(one for one in self.truth.app.volumes if one.name == self.volume)
        return self.truth.app.namespace, f"volsync-{volume.copy(self.site).source}-api"

    @property
    def silent(self) -> bool:
        """Whether what is sent to it gets lost."""
        node = self.world.node_at(self.truth, self.site)
        return not node.alive or not node.linked or self.side.hung

    @property
    def refuses(self) -> bool:
        """Whether its Service has no endpoint: the process ended, or the cluster knows that the node is
        dead."""
        if self.silent:
            return self.world.node_at(self.truth, self.site).ready(self.world.time.now_ms) != "True"
        return not self.side.up

    @property
    def peer(self) -> Side:
        """The other side."""
        return self.pair.sides[self.site.other]


@dataclass(slots=True)
class SyncthingApi:
    """All movers of the world."""

    world: World
    tick: Callable[[], None]
    faults: list[WireFault]
    kept: dict[str, dict[str, str]] = field(default_factory=dict)
    """Parameters of each side's versioning, by device."""
    scan: timedelta = SCAN
    """How long a scan takes, in the machine's time."""

    async def __call__(self, namespace: str, service: str, request: web.Request) -> web.StreamResponse:
        """One request to the Service of a mover."""
        mover = next((one for one in self.movers() if one.service == (namespace, service)), None)
        if mover is None:
            return status(404, f'services "{service}" not found')
        if not await self.reached(mover):
            return status(503, f'no endpoints available for service "{service}"', "ServiceUnavailable")
        return await self.answer(mover, request.match_info["rest"], request)

    async def answer(self, mover: Mover, path: str, request: web.Request) -> web.StreamResponse:
        """What the mover itself makes of it."""
        fault = next((fault for fault in self.faults if fault.hits(request)), None)
        if fault is not None:
            fault.times -= 1
            return await strike(fault, request)
        if request.headers.get("X-API-Key") != API_KEY and path != HEALTH:
            return web.Response(status=403, text="CSRF Error\n")
        return await self._serve(mover, path.removeprefix("/rest/"), request)

    def movers(self) -> Iterator[Mover]:
        """Every one there is."""
        for truth in self.world.apps.values():
            for volume in truth.app.volumes:
                for site in Site:
                    yield Mover(self.world, truth, volume.name, site)

    async def reached(self, mover: Mover) -> bool:
        """Whether a request gets to the mover. One to a dead node waits until the cluster knows that it is."""
        while mover.silent and not mover.refuses:
            await sleep(timedelta(milliseconds=200))
        return not mover.refuses

    async def _serve(self, mover: Mover, path: str, request: web.Request) -> web.StreamResponse:
        method = request.method
        if path == f"config/folders/{FOLDER}" and method == "PATCH":
            return self._configure(mover, json.loads(await request.text()))
        if method == "POST" and path == "system/restart":
            mover.pair.restart(mover.site, RELAUNCH_MS)
            return web.json_response({"ok": "restarting"})
        if method == "POST" and path.startswith("db/"):
            return await self._act(mover, path.removeprefix("db/"), request)
        if path == "db/file" and method == "GET":
            return _file(mover, request.query.get("file", ""))
        if path == "folder/versions" and method == "POST":
            return _restore(mover, json.loads(await request.text()))
        if path.startswith(("db/", "folder/")) and request.query.get("folder") != FOLDER:
            return web.Response(status=404, text="no such folder\n")
        if path == "db/completion" and mover.side.paused:
            return web.Response(status=404, text="folder is paused\n")
        if path == "folder/versions" and not mover.side.versioning:
            return web.Response(status=500, text="no versioner\n")
        answers: dict[str, Callable[[Mover], Any]] = {
            "system/status": _system,
            "system/ping": lambda _: {"ping": "pong"},
            "noauth/health": lambda _: {"status": "OK"},
            "system/connections": _connections,
            f"config/folders/{FOLDER}": lambda m: _config(m, self.kept.get(m.side.device, {})),
            "db/status": _status,
            "db/ignores": lambda m: {"ignore": list(m.side.ignores), "expanded": [], "error": None},
            "db/need": _need,
            "db/completion": _completion,
            "folder/errors": _errors,
            "folder/versions": _versions,
        }
        answer = answers.get(path)
        if answer is None or method != "GET":
            return web.Response(status=404, text="404 page not found\n")
        return web.json_response(answer(mover))

    def _configure(self, mover: Mover, body: dict[str, Any]) -> web.Response:
        side = mover.side
        try:
            kind = Role(body.get("type", side.kind))
        except ValueError:
            return web.Response(status=400, text="unknown folder type\n")
        if kind is not side.kind:
            side.set_kind(kind)
            self.world.tell(f"folder {side.name} is {kind}")
        if "versioning" in body:
            side.versioning = body["versioning"].get("type", "")
            self.kept[side.device] = body["versioning"].get("params") or {}
        side.paused = bool(body.get("paused", side.paused))
        mover.pair.scan(mover.site)
        mover.pair.kick()
        return web.Response()

    async def _act(self, mover: Mover, act: str, request: web.Request) -> web.Response:
        side = mover.side
        if request.query.get("folder") != FOLDER:
            return web.Response(status=500, text="no such folder\n")
        if act in ("scan", "ignores"):
            if act == "ignores":
                side.ignores = tuple(json.loads(await request.text()).get("ignore") or ())
            await sleep(self.scan)
            self.tick()
            if side.paused or side.error:
                return web.Response(status=500, text=f"{side.error or 'folder is paused'}\n")
            mover.pair.scan(mover.site, request.query.get("sub", ""))
            mover.pair.kick()
            return web.json_response({"ignore": list(side.ignores)}) if act == "ignores" else web.Response()
        if act in ("override", "revert"):
            asyncio.get_running_loop().call_soon(side.override if act == "override" else side.revert)
            asyncio.get_running_loop().call_soon(mover.pair.kick)
            return web.Response()
        return web.Response(status=404, text="404 page not found\n")


def _system(mover: Mover) -> dict[str, Any]:
    side, now = mover.side, mover.world.time.now_ms
    return {
        "myID": side.device,
        "startTime": stamp(mover.world, side.started_ms)[:19] + "Z",
        "uptime": (now - side.started_ms) // 1000,
    }


def _known(mover: Mover) -> str:
    """The other side's device as this side's configuration has it."""
    return mover.side.expects or mover.peer.device


def _connections(mover: Mover) -> dict[str, Any]:
    up, paused = mover.pair.connected(mover.site), mover.side.peer_paused
    now = stamp(mover.world, mover.world.time.now_ms)
    one = {"connected": up, "paused": paused, "at": now if up else NOWHERE, "type": "tcp-client" if up else ""}
    return {"connections": {_known(mover): one}, "total": {"at": now}}


def _config(mover: Mover, params: dict[str, str]) -> dict[str, Any]:
    side = mover.side
    devices = [{"deviceID": device, "introducedBy": ""} for device in (side.device, _known(mover))]
    return {
        "id": FOLDER, "label": "synced volume", "path": "/data", "type": side.kind.value, "devices": devices,
        "paused": side.paused, "markerName": ".stfolder", "fsWatcherDelayS": 10, "rescanIntervalS": 3600,
        "versioning": {"type": side.versioning, "params": params, "cleanupIntervalS": 3600},
    }  # fmt: skip


def _status(mover: Mover) -> dict[str, Any]:
    side = mover.side
    if side.paused:
        keys = ("errors", "pullErrors", "needTotalItems", "needDeletes", "needBytes", "localFiles", "sequence")
        return {**dict.fromkeys(keys, 0), "state": "", "error": "", "remoteSequence": None}
    needs, errors = side.needs(), _error_list(side)
    return {
        "errors": len(errors), "pullErrors": len(errors), "invalid": "",
        "localFiles": sum(entry.content is not None for entry in side.index.values()),
        "needTotalItems": len(needs), "needDeletes": sum(entry.content is None for entry in needs),
        "needBytes": sum(1000 for entry in needs if entry.content is not None),
        "receiveOnlyTotalItems": len(side.local_changes()) if side.kind is Role.RECEIVE_ONLY else 0,
        "state": state(side, pulling=mover.pair.pulling and bool(needs)), "error": side.error,
        "sequence": side.sequence, "version": side.sequence, "ignorePatterns": bool(side.ignores),
        "remoteSequence": {_known(mover): side.remote_sequence}, "watchError": "",
    }  # fmt: skip


def _need(mover: Mover) -> dict[str, Any]:
    rest = [{"name": entry.path, "size": 1000, "deleted": entry.content is None} for entry in mover.side.needs()]
    return {"progress": [], "queued": [], "rest": rest, "page": 1, "perpage": 100}


def _completion(mover: Mover) -> dict[str, Any]:
    needs = mover.peer.needs()
    return {
        "completion": 100 if not needs else 95, "needItems": len(needs), "needBytes": 1000 * len(needs),
        "needDeletes": 0, "remoteState": "valid" if mover.pair.real else "unknown",
        "sequence": mover.side.remote_sequence,
    }  # fmt: skip


def _error_list(side: Side) -> list[dict[str, str]]:
    send = side.kind is Role.SEND_ONLY
    shown = {path: why for path, why in sorted(side.errors.items()) if why == CHANGING or not send}
    return [{"path": path, "error": why} for path, why in shown.items()]


def _errors(mover: Mover) -> dict[str, Any]:
    return {"folder": FOLDER, "errors": _error_list(mover.side) or None, "page": 1, "perpage": 100}


def _versions(mover: Mover) -> dict[str, Any]:
    found: dict[str, list[dict[str, Any]]] = {}
    for one in world_versions.listed(mover.world, mover.side):
        entry = {"versionTime": one.at, "modTime": one.modified, "size": one.size}
        found.setdefault(one.path, []).append(entry)
    return found


def _file(mover: Mover, path: str) -> web.Response:
    """What this side's index says of one file."""
    entry = mover.side.index.get(path)
    if entry is None:
        return web.Response(status=404, text="no such object in the index\n")
    content = entry.content
    modified = world_versions.written(mover.world, content or ())
    size = 0 if content is None else FILE_BYTES
    return web.json_response(
        {"local": {"name": path, "size": size, "modified": modified, "deleted": content is None, "invalid": False}}
    )


def _restore(mover: Mover, wanted: dict[str, str]) -> web.Response:
    if not mover.side.versioning:
        return web.Response(status=500, text="no versioner\n")
    failed = {
        path: "version not found"
        for path, at in wanted.items()
        if not world_versions.restore(mover.world, mover.side, path, at)
    }
    return web.json_response(failed)
