"""A Proxmox VE node as data: guests, tasks, tokens, and what goes in and out of its API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What a guest is; the value is its path segment."""

    LXC = "lxc"
    QEMU = "qemu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A container or virtual machine of this node, as it is at the time of the request."""

    vmid: int
    kind: Kind
    name: str
    running: bool
    uptime: int = 0
    """Seconds since the start."""
    pid: int = 0
    lock: str = ""
    """`backup`, `snapshot`, `migrate`, ... while such a job holds the guest."""
    onboot: bool = False
    ha: bool = False
    """Managed by the HA manager, which carries out (and may undo) starts and stops itself."""
    cores: int = 4
    memory: int = 8 * 1024**3
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A worker of this node. `id` is empty for node-wide tasks (stopall, startall, vzdump of everything)."""

    upid: str
    type: str
    id: str
    user: str
    """Owner, `user@realm`."""
    tokenid: str = ""
    node: str
    pid: int
    pstart: int
    starttime: int
    """Unix time in seconds, like `endtime`."""
    endtime: int | None = None
    exitstatus: str = ""
    """`OK` or the error's text; empty while it runs."""

    @property
    def active(self) -> bool:
        """Still at work."""
        return self.endtime is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """An API token. `acl` maps paths such as `/vms/101` to privileges; the deepest match decides."""

    user: str
    tokenid: str
    secret: str
    acl: Mapping[str, frozenset[str]]

    def allows(self, path: str, privilege: str) -> bool:
        """Whether the token has `privilege` on `path`."""
        while path not in self.acl and path != "/":
            path = path.rsplit("/", 1)[0] or "/"
        return privilege in self.acl.get(path, frozenset())


@dataclass(frozen=True, slots=True, kw_only=True)
class Datacenter:
    """Everything an answer depends on."""

    node: str
    guests: tuple[Guest, ...]
    tasks: tuple[Task, ...] = ()
    """Oldest first."""
    tokens: tuple[Token, ...] = ()
    serial: int = 0
    """How many tasks this node has ever started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call. `path` includes `/api2/json`; `params` holds query and body, as text."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    authorization: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """A power action the answer has promised: the world starts `task` and does `action` to guest `vmid`."""

    action: str
    vmid: int
    task: Task
    timeout: int = 60
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes back. `reason` is the status line's text; `body` None is empty, as after a failed login."""

    status: int
    reason: str
    body: dict[str, Any] | None
    begin: Begin | None = None


def new_task(node: str, serial: int, kind: str, ident: str, owner: tuple[str, str], now: float) -> Task:
    """A task that starts now: `serial` makes its process number, `owner` is (user, tokenid or "")."""
    user, tokenid = owner
    pid, pstart, start = 4000 + serial, 100_000 + serial, int(now)
    full = f"{user}!{tokenid}" if tokenid else user
    return Task(
        upid=f"UPID:{node}:{pid:08X}:{pstart:08X}:{start:08X}:{kind}:{ident}:{full}:",
        type=kind,
        id=ident,
        user=user,
        tokenid=tokenid,
        node=node,
        pid=pid,
        pstart=pstart,
        starttime=start,
    )
