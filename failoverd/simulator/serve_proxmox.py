"""The few calls of the Proxmox VE API that fencing needs, for every guest of the world."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from aiohttp import web

from failoverd.clock import sleep
from failoverd.core.model import GuestState
from failoverd.simulator.world import World
from failoverd.simulator.world_node import Node

HOST = "pve"
FIRST_GUEST = 101
RIGHTS = frozenset({"VM.Audit", "VM.PowerMgmt", "Sys.Audit"})
PARAMETERS = {"stop": {"skiplock", "overrule-shutdown"}, "start": {"skiplock", "debug"}}
"""What each call may carry; anything else is refused."""


@dataclass(slots=True)
class Task:
    """One task of the hypervisor."""

    upid: str
    type: str
    id: str
    owner: str
    """The token that began it."""
    exit: str = ""


@dataclass(slots=True)
class ProxmoxApi:
    """One hypervisor host called `pve`; its guests are numbered from 101 in the order of the nodes."""

    world: World
    token: str
    """The one that may do all that fencing needs."""
    tick: Callable[[], None]
    tasks: dict[str, Task] = field(default_factory=dict)
    others: dict[str, frozenset[str]] = field(default_factory=dict)
    """More tokens, and what they may."""

    def number(self, node: str) -> int:
        """The number of the guest that is this node."""
        return FIRST_GUEST + [n.name for n in self.world.nodes.values() if n.guest].index(node)

    def app(self) -> web.Application:
        """The HTTP application."""
        application = web.Application(middlewares=[self._guard])
        route = application.router.add_route
        base = f"/api2/json/nodes/{HOST}"
        guest = f"{base}/{{kind:lxc|qemu}}/{{id}}/status"
        route("GET", "/api2/json/version", _version)
        route("GET", "/api2/json/access/permissions", self._permissions)
        route("GET", f"{base}/tasks", self._task_list)
        route("GET", f"{base}/tasks/{{upid}}/status", self._task)
        route("GET", f"{guest}/current", self._current)
        route("POST", f"{guest}/{{verb:stop|start|shutdown}}", self._switch)
        return application

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.tick()
        if self._shown(request) not in (self.token, *self.others):
            return web.Response(status=401, reason="authentication failure")
        try:
            return await handler(request)
        except web.HTTPException as error:
            body = {"data": None, "message": f"{error.reason}\n", **json.loads(error.text or "{}")}
            return web.json_response(body, status=error.status, reason=error.reason)

    @staticmethod
    def _shown(request: web.Request) -> str:
        return request.headers.get("Authorization", "").removeprefix("PVEAPIToken=")

    def _rights(self, request: web.Request) -> frozenset[str]:
        rights = self.others.get(self._shown(request), RIGHTS)
        visible = all(node.guest.tasks_visible for node in self.world.nodes.values() if node.guest)
        return rights if visible else rights - {"Sys.Audit"}

    def _node(self, request: web.Request, right: str) -> Node:
        number = request.match_info["id"]
        if right not in self._rights(request):
            raise web.HTTPForbidden(reason=f"Permission check failed (/vms/{number}, {right})", text="{}")
        for node in self.world.nodes.values():
            if node.guest and str(self.number(node.name)) == number:
                return node
        folder = {"lxc": "lxc", "qemu": "qemu-server"}[request.match_info["kind"]]
        raise web.HTTPInternalServerError(
            reason=f"Configuration file 'nodes/{HOST}/{folder}/{number}.conf' does not exist", text="{}"
        )

    async def _answering(self, node: Node) -> None:
        """A hypervisor that does not answer: the client's patience ends first."""
        while node.guest is not None and not node.guest.reachable:
            await sleep(timedelta(milliseconds=200))

    async def _permissions(self, request: web.Request) -> web.Response:
        path = request.query.get("path", "/")
        kind = "Sys." if path.startswith("/nodes") else "VM." if path.startswith("/vms") else ""
        return _data({path: {right: 1 for right in sorted(self._rights(request)) if right.startswith(kind)}})

    async def _current(self, request: web.Request) -> web.Response:
        node = self._node(request, "VM.Audit")
        await self._answering(node)
        assert node.guest is not None
        found: dict[str, Any] = {
            "status": self.world.guest_state(node).value,
            "vmid": self.number(node.name),
            "name": node.name,
            "uptime": node.uptime_ms(self.world.time.now_ms) // 1000,
            "ha": {"managed": 1 if node.guest.managed else 0},
        }
        return _data(found | ({"lock": node.guest.lock} if node.guest.lock else {}))

    async def _task_list(self, request: web.Request) -> web.Response:
        for node in self.world.nodes.values():
            await self._answering(node)
        auditor = "Sys.Audit" in self._rights(request)
        running = [
            {"upid": f"UPID:{HOST}:{node.guest.task}", "type": node.guest.task, "user": "root@pam",
             "id": str(self.number(node.name)), "status": "RUNNING"}
            for node in self.world.nodes.values()
            if node.guest and node.guest.task and auditor
        ]  # fmt: skip
        own = [
            {"upid": task.upid, "type": task.type, "id": task.id, "user": "failoverd@pve", "status": "RUNNING"}
            for task in self.tasks.values()
            if not task.exit and (auditor or task.owner == self._shown(request))
        ]
        return _data(running + own)

    async def _task(self, request: web.Request) -> web.Response:
        task = self.tasks.get(request.match_info["upid"])
        if task is None:
            raise _bad_parameter("upid", "no such task")
        found = {"upid": task.upid, "type": task.type, "id": task.id}
        ended = {"status": "stopped", "exitstatus": task.exit} if task.exit else {"status": "running"}
        return _data(found | ended)

    async def _switch(self, request: web.Request) -> web.Response:
        node, verb = self._node(request, "VM.PowerMgmt"), request.match_info["verb"]
        for name in set(await request.post()) - PARAMETERS.get(verb, {"timeout", "forceStop"}):
            raise _bad_parameter(name, "property is not defined in schema")
        await self._answering(node)
        running = self.world.guest_state(node) is GuestState.RUNNING
        if verb == "start" and running:
            raise web.HTTPInternalServerError(reason=f"CT {self.number(node.name)} already running", text="{}")
        if verb != "start" and not running:
            raise web.HTTPInternalServerError(reason=f"CT {self.number(node.name)} not running", text="{}")
        kind = "vzstart" if verb == "start" else "vzstop"
        upid = f"UPID:{HOST}:{len(self.tasks) + 1:08X}:{kind}:{self.number(node.name)}:failoverd@pve:"
        task = Task(upid, kind, str(self.number(node.name)), self._shown(request))
        self.tasks[upid] = task

        def ended(error: str) -> None:
            task.exit = error or "OK"

        if verb == "start":
            self.world.power_on(node.name)
            ended("")
        else:
            self.world.fence_off(node.name, ended)
        return _data(upid)


def _bad_parameter(name: str, why: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(reason="Parameter verification failed.", text=json.dumps({"errors": {name: why}}))


def _data(value: object) -> web.Response:
    return web.json_response({"data": value})


async def _version(request: web.Request) -> web.Response:
    del request
    return _data({"version": "8.2.4", "release": "8.2"})
