"""The few calls of the Proxmox VE API that fencing needs, for every guest of the world."""

from __future__ import annotations

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


@dataclass(slots=True)
class Task:
    """One task of the hypervisor."""

    upid: str
    type: str
    id: str
    began_s: int
    exit: str = ""


@dataclass(slots=True)
class ProxmoxApi:
    """One hypervisor host called `pve`; its guests are numbered from 101 in the order of the nodes."""

    world: World
    token: str
    tick: Callable[[], None]
    tasks: dict[str, Task] = field(default_factory=dict)

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
        if request.headers.get("Authorization") != f"PVEAPIToken={self.token}":
            return web.Response(status=401, reason="authentication failure")
        return await handler(request)

    def _node(self, request: web.Request) -> Node:
        for node in self.world.nodes.values():
            if node.guest and str(self.number(node.name)) == request.match_info["id"]:
                return node
        raise web.HTTPInternalServerError(reason=f"CT {request.match_info['id']} does not exist")

    async def _answering(self, node: Node) -> None:
        """A hypervisor that does not answer: the client's patience ends first."""
        while node.guest is not None and not node.guest.reachable:
            await sleep(timedelta(milliseconds=200))

    async def _permissions(self, request: web.Request) -> web.Response:
        path = request.query.get("path", "/")
        rights = {"VM.Audit": 1, "VM.PowerMgmt": 1}
        if all(node.guest.tasks_visible for node in self.world.nodes.values() if node.guest):
            rights["Sys.Audit"] = 1
        return _data({path: rights})

    async def _current(self, request: web.Request) -> web.Response:
        node = self._node(request)
        await self._answering(node)
        assert node.guest is not None
        found: dict[str, Any] = {
            "status": self.world.guest_state(node).value,
            "vmid": self.number(node.name),
            "name": node.name,
            "uptime": node.uptime_ms(self.world.time.now_ms) // 1000,
            "ha": {"managed": 1 if node.guest.managed else 0},
        }
        return _data(found)

    async def _task_list(self, request: web.Request) -> web.Response:
        del request
        for node in self.world.nodes.values():
            await self._answering(node)
        running = [
            {"upid": f"UPID:{HOST}:{node.guest.task}", "type": node.guest.task, "user": "root@pam",
             "id": str(self.number(node.name)), "status": "RUNNING"}
            for node in self.world.nodes.values()
            if node.guest and node.guest.task and node.guest.tasks_visible
        ]  # fmt: skip
        own = [
            {"upid": task.upid, "type": task.type, "id": task.id, "user": "failoverd@pve", "status": "RUNNING"}
            for task in self.tasks.values()
            if not task.exit
        ]
        return _data(running + own)

    async def _task(self, request: web.Request) -> web.Response:
        task = self.tasks.get(request.match_info["upid"])
        if task is None:
            raise web.HTTPInternalServerError(reason="unable to parse worker upid")
        found = {"upid": task.upid, "type": task.type, "id": task.id}
        ended = {"status": "stopped", "exitstatus": task.exit} if task.exit else {"status": "running"}
        return _data(found | ended)

    async def _switch(self, request: web.Request) -> web.Response:
        node, verb = self._node(request), request.match_info["verb"]
        await self._answering(node)
        running = self.world.guest_state(node) is GuestState.RUNNING
        if verb == "start" and running:
            raise web.HTTPInternalServerError(reason=f"CT {self.number(node.name)} already running")
        if verb != "start" and not running:
            raise web.HTTPInternalServerError(reason=f"CT {self.number(node.name)} not running")
        kind = "vzstart" if verb == "start" else "vzstop"
        upid = f"UPID:{HOST}:{len(self.tasks) + 1:08X}:{kind}:{self.number(node.name)}:failoverd@pve:"
        task = Task(upid, kind, str(self.number(node.name)), self.world.time.now_ms // 1000)
        self.tasks[upid] = task

        def ended(error: str) -> None:
            task.exit = error or "OK"

        if verb == "start":
            self.world.power_on(node.name)
            ended("")
        else:
            self.world.fence_off(node.name, ended)
        return _data(upid)


def _data(value: object) -> web.Response:
    return web.json_response({"data": value})


async def _version(request: web.Request) -> web.Response:
    del request
    return _data({"version": "8.2.4", "release": "8.2"})
