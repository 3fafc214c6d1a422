"""A Proxmox VE node's API as a pure function: a request and the datacenter's state in, an answer out.

No socket, clock or power switch in here: the server (`proxmox.py`) and other worlds that want the same
shapes bring their own. Shapes, privileges and failure texts follow Proxmox VE 8: `status/stop` of a container
that does not run fails at once, a lock fails only later, in the task; without Sys.Audit a token sees its own
tasks alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.lab.standins.proxmox_model import (
    Answer,
    Begin,
    Datacenter,
    Guest,
    Kind,
    Request,
    Task,
    Token,
    new_task,
)

PREFIX = "/api2/json"
PARAMETERS = {
    "lxc/start": {"skiplock", "debug"},
    "lxc/stop": {"skiplock", "overrule-shutdown"},
    "lxc/shutdown": {"timeout", "forceStop"},
    "lxc/reboot": {"timeout"},
    "qemu/start": {"skiplock", "timeout"},
    "qemu/stop": {"skiplock", "timeout", "keepActive", "overrule-shutdown"},
    "qemu/shutdown": {"skiplock", "timeout", "keepActive", "forceStop"},
    "qemu/reboot": {"timeout"},
    "tasks": {"errors", "limit", "since", "source", "start", "typefilter", "until", "userfilter", "vmid"},
}
"""What each call may carry; anything else is refused, as the real API does. Cluster-internal ones are left out."""
NUMBERS = ("limit", "since", "start", "timeout", "until", "vmid")
ACTIONS = ("start", "stop", "shutdown", "reboot")


class Refused(Exception):
    """An answer that is not 200; its text goes into the status line and `message`."""

    def __init__(self, status: int, message: str, *, errors: dict[str, str] | None = None) -> None:
        """`errors` names bad parameters."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = errors


def answer(dc: Datacenter, request: Request, now: float) -> Answer:
    """The node's answer to `request` at Unix time `now`."""
    try:
        token = authenticated(dc, request.authorization)
    except Refused as refused:
        return Answer(status=401, reason=refused.message, body=None)
    try:
        data = _routed(dc, token, request, now)
    except Refused as refused:
        body: dict[str, Any] = {"data": None, "message": refused.message + "\n"}
        if refused.errors:
            body["errors"] = refused.errors
        return Answer(status=refused.status, reason=refused.message, body=body)
    if isinstance(data, Begin):
        return Answer(status=200, reason="OK", body={"data": data.task.upid}, begin=data)
    return Answer(status=200, reason="OK", body={"data": data})


def authenticated(dc: Datacenter, header: str) -> Token:
    """The token a header proves; Refused(401) otherwise."""
    match = re.fullmatch(r"PVEAPIToken[= ]([^@!\s]+@[^!\s]+)!([^=\s]+)=(\S+)", header)
    if not match:
        raise Refused(401, "No ticket")
    user, tokenid, secret = match.groups()
    for token in dc.tokens:
        if (token.user, token.tokenid) == (user, tokenid):
            if token.secret != secret:
                raise Refused(401, "invalid token value!")
            return token
    raise Refused(401, f"no such token '{tokenid}' for user '{user}'")


Handler = Callable[[Datacenter, Token, Request, float, tuple[str, ...]], Any]


def _routed(dc: Datacenter, token: Token, request: Request, now: float) -> Any:
    path = request.path.removeprefix(PREFIX).rstrip("/")
    for method, pattern, handler in ROUTES:
        match = re.fullmatch(pattern, path)
        if match and method == request.method:
            if path.startswith("/nodes/") and path.split("/")[2] != dc.node:
                name = path.split("/")[2]
                raise Refused(500, f"hostname lookup '{name}' failed - failed to get address info for: {name}")
            return handler(dc, token, request, now, match.groups())
    raise Refused(501, f"Method '{request.method} {path}' not implemented")


def _known(call: str, params: Mapping[str, str]) -> None:
    """Refuses parameters that the schema of a call lacks, and texts where it wants numbers."""
    undefined = "property is not defined in schema and the schema does not allow additional properties"
    errors = {name: undefined for name in params if name not in PARAMETERS[call]}
    for name in NUMBERS:
        if name in params and name not in errors and not params[name].isdecimal():
            errors[name] = "type check ('integer') failed - got '" + params[name] + "'"
    if errors:
        raise Refused(400, "Parameter verification failed.", errors=errors)


def _need(token: Token, path: str, privilege: str) -> None:
    if not token.allows(path, privilege):
        raise Refused(403, f"Permission check failed ({path}, {privilege})")


def _guest(dc: Datacenter, kind: str, vmid: str) -> Guest:
    for guest in dc.guests:
        if guest.kind == kind and guest.vmid == int(vmid):
            return guest
    folder = "lxc" if kind == "lxc" else "qemu-server"
    raise Refused(500, f"Configuration file 'nodes/{dc.node}/{folder}/{vmid}.conf' does not exist")


def _usage(guest: Guest) -> dict[str, Any]:
    """Fields that `status/current`, the guest lists and cluster/resources share."""
    busy = guest.running
    shared: dict[str, Any] = {
        "vmid": guest.vmid,
        "name": guest.name,
        "status": "running" if busy else "stopped",
        "uptime": guest.uptime if busy else 0,
        "cpu": 0.02 if busy else 0,
        "mem": guest.memory // 4 if busy else 0,
        "maxmem": guest.memory,
        "disk": 0,
        "maxdisk": 32 * 1024**3,
        "netin": 0,
        "netout": 0,
        "diskread": 0,
        "diskwrite": 0,
    }
    if guest.lock:
        shared["lock"] = guest.lock
    return shared


def _status(dc: Datacenter, token: Token, _req: Request, _now: float, args: tuple[str, ...]) -> Any:
    _, kind, vmid = args
    _need(token, f"/vms/{vmid}", "VM.Audit")
    guest = _guest(dc, kind, vmid)
    state = "started" if guest.running else "stopped"
    ha = {"managed": 1, "state": state} if guest.ha else {"managed": 0}
    current = _usage(guest) | {"cpus": guest.cores, "ha": ha}
    if guest.running:
        current["pid"] = guest.pid
    if guest.kind is Kind.LXC:
        return current | {"type": "lxc", "swap": 0, "maxswap": 512 * 1024**2}
    return current | {"qmpstatus": current["status"]}


def _config(dc: Datacenter, token: Token, _req: Request, _now: float, args: tuple[str, ...]) -> Any:
    _, kind, vmid = args
    _need(token, f"/vms/{vmid}", "VM.Audit")
    guest = _guest(dc, kind, vmid)
    named = "hostname" if guest.kind is Kind.LXC else "name"
    config: dict[str, Any] = {
        named: guest.name,
        "cores": guest.cores,
        "memory": guest.memory // 1024**2,
        "ostype": "debian" if guest.kind is Kind.LXC else "l26",
        "digest": f"{guest.vmid:040x}",
    }
    # Absent is how Proxmox says no: `onboot: 0` is only there when somebody wrote it.
    if guest.onboot:
        config["onboot"] = 1
    if guest.lock:
        config["lock"] = guest.lock
    return config


def _power(dc: Datacenter, token: Token, req: Request, now: float, args: tuple[str, ...]) -> Any:
    _, kind, vmid, action = args
    _known(f"{kind}/{action}", req.params)
    _need(token, f"/vms/{vmid}", "VM.PowerMgmt")
    guest = _guest(dc, kind, vmid)
    if req.params.get("skiplock", "0") not in ("", "0") and (token.user, token.tokenid) != ("root@pam", ""):
        problem = {"skiplock": "Only root may use this option."}
        raise Refused(400, "Parameter verification failed.", errors=problem)
    label = "CT" if guest.kind is Kind.LXC else "VM"
    if action == "start" and guest.running and guest.kind is Kind.LXC:
        raise Refused(500, f"CT {vmid} already running")
    # A virtual machine that is off makes `stop` and `shutdown` tasks that end well; only `reboot` refuses.
    if not guest.running and (action == "reboot" or (action in ("stop", "shutdown") and guest.kind is Kind.LXC)):
        raise Refused(500, f"{'VM' if action == 'reboot' else label} {vmid} not running")
    if guest.ha and action != "reboot":
        if req.params.get("overrule-shutdown", "0") not in ("", "0"):
            problem = {"overrule-shutdown": "Not applicable for HA resources."}
            raise Refused(400, "Parameter verification failed.", errors=problem)
        type_ = "hastart" if action == "start" else "hastop"
    else:
        type_ = ("vz" if guest.kind is Kind.LXC else "qm") + action
    return Begin(
        action=action,
        vmid=guest.vmid,
        task=new_task(dc.node, dc.serial, type_, vmid, (token.user, token.tokenid), now),
        timeout=int(req.params.get("timeout", "60") or 60),
        force=req.params.get("forceStop", "0") not in ("", "0"),
    )


def _owns(token: Token, task: Task) -> bool:
    return (token.user, token.tokenid) == (task.user, task.tokenid)


def _task_fields(task: Task) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "upid": task.upid,
        "node": task.node,
        "pid": task.pid,
        "pstart": task.pstart,
        "starttime": task.starttime,
        "type": task.type,
        "id": task.id,
        "user": task.user,
    }
    return fields | ({"tokenid": task.tokenid} if task.tokenid else {})


def _tasks(dc: Datacenter, token: Token, req: Request, _now: float, args: tuple[str, ...]) -> Any:
    """Newest first. `source=active` lists what runs, with status RUNNING; by default what has ended."""
    _known("tasks", req.params)
    source = req.params.get("source", "archive")
    if source not in ("archive", "active", "all"):
        bad = {"source": f"value '{source}' does not have a value in the enumeration 'archive, active, all'"}
        raise Refused(400, "Parameter verification failed.", errors=bad)
    auditor = token.allows(f"/nodes/{dc.node}", "Sys.Audit")
    vmid, type_ = req.params.get("vmid"), req.params.get("typefilter")
    since, until = int(req.params.get("since", 0)), int(req.params.get("until", 2**62))
    listed = []
    for task in reversed(dc.tasks):
        if source != "all" and task.active is not (source == "active"):
            continue
        if not (auditor or _owns(token, task)) or not since <= task.starttime <= until:
            continue
        if req.params.get("userfilter", "") not in task.user:
            continue
        if (vmid and task.id != vmid) or (type_ and task.type != type_):
            continue
        if req.params.get("errors", "0") == "1" and task.exitstatus in ("", "OK"):
            continue
        ended = {"status": "RUNNING"} if task.active else {"endtime": task.endtime, "status": task.exitstatus}
        listed.append(_task_fields(task) | ended)
    start, limit = int(req.params.get("start", 0)), int(req.params.get("limit", 50))
    return listed[start : start + limit]


def _task_status(dc: Datacenter, token: Token, _req: Request, _now: float, args: tuple[str, ...]) -> Any:
    found = next((t for t in dc.tasks if t.upid == args[1]), None)
    if not args[1].startswith("UPID:"):
        raise Refused(400, "Parameter verification failed.", errors={"upid": "unable to parse worker upid"})
    if found is None:
        raise Refused(400, "Parameter verification failed.", errors={"upid": "no such task"})
    if not _owns(token, found):
        _need(token, f"/nodes/{dc.node}", "Sys.Audit")
    ended = {} if found.active else {"exitstatus": found.exitstatus}
    return _task_fields(found) | {"status": "running" if found.active else "stopped"} | ended


def _list(dc: Datacenter, token: Token, _req: Request, _now: float, args: tuple[str, ...]) -> Any:
    seen = (g for g in dc.guests if g.kind == args[1] and token.allows(f"/vms/{g.vmid}", "VM.Audit"))
    return [_usage(g) | {"cpus": g.cores} for g in seen]


def _resources(dc: Datacenter, token: Token, req: Request, _now: float, _args: tuple[str, ...]) -> Any:
    # The real list is up to 10 s old (pvestatd's round); here it is fresh. `status/current` is always fresh.
    wanted = req.params.get("type", "")
    listed: list[dict[str, Any]] = []
    if wanted in ("", "vm"):
        for guest in dc.guests:
            if token.allows(f"/vms/{guest.vmid}", "VM.Audit"):
                same = {"id": f"{guest.kind}/{guest.vmid}", "type": str(guest.kind), "node": dc.node}
                ha = {"hastate": "started" if guest.running else "stopped"} if guest.ha else {}
                listed.append(_usage(guest) | same | ha | {"maxcpu": guest.cores, "template": 0})
    if wanted in ("", "node"):
        # Listed for everybody, the numbers only for auditors.
        status = "online" if token.allows(f"/nodes/{dc.node}", "Sys.Audit") else "unknown"
        listed.append({"id": f"node/{dc.node}", "type": "node", "node": dc.node, "status": status})
    return listed


def _permissions(_dc: Datacenter, token: Token, req: Request, _now: float, _args: tuple[str, ...]) -> Any:
    asked = req.params.get("path")
    paths = [asked] if asked else sorted(token.acl)
    everything = sorted({p for granted in token.acl.values() for p in granted})
    return {p: {priv: 1 for priv in everything if token.allows(p, priv)} for p in paths}


def _version(_dc: Datacenter, _tok: Token, _req: Request, _now: float, _args: tuple[str, ...]) -> Any:
    return {"version": "8.4.1", "release": "8.4", "repoid": "2a5fa54a8503f96d"}


def _nodes(dc: Datacenter, _tok: Token, _req: Request, _now: float, _args: tuple[str, ...]) -> Any:
    return [{"node": dc.node, "id": f"node/{dc.node}", "type": "node", "status": "online"}]


_NODE = r"/nodes/([^/]+)"
_GUEST = _NODE + r"/(lxc|qemu)/(\d+)"
ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", r"/version", _version),
    ("GET", r"/nodes", _nodes),
    ("GET", r"/access/permissions", _permissions),
    ("GET", r"/cluster/resources", _resources),
    ("GET", _NODE + r"/(lxc|qemu)", _list),
    ("GET", _GUEST + r"/status/current", _status),
    ("GET", _GUEST + r"/config", _config),
    ("POST", _GUEST + rf"/status/({'|'.join(ACTIONS)})", _power),
    ("GET", _NODE + r"/tasks", _tasks),
    ("GET", _NODE + r"/tasks/([^/]+)/status", _task_status),
)
