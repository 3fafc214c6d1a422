"""A Proxmox VE container or virtual machine as the power switch of the node inside it.

Facts this stands on: `stop` of a container that is off fails with "not running"; a `lock` lets the stop's task
fail later, not the call; an HA-managed guest would be started again by its manager; a task's success alone
proves nothing, the status read after it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from failoverd.adapters.fencing import FenceError
from failoverd.adapters.fencing.pve import Endpoint, Pve, PveError
from failoverd.clock import sleep
from failoverd.core.model import Guest, GuestState, Unknown
from failoverd.ports import Clock

__all__ = ["Endpoint", "Kind", "Proxmox"]

NODE_WIDE = frozenset({"stopall", "startall", "suspendall", "migrateall", "vzdump"})
"""Task types that concern every guest of the node when they name none."""
POLL = timedelta(milliseconds=250)
GRANTS_AFTER = timedelta(minutes=10)
"""How long an answer about the token's own privileges is believed."""
OFF_WITHIN = timedelta(seconds=50)
"""For the task and the confirming reads together; less than the core's `fence_timeout` (60 s)."""
NEEDED = ("VM.Audit", "VM.PowerMgmt")


class Kind(StrEnum):
    """What the guest is; the value is its path segment in the API."""

    LXC = "lxc"
    VM = "qemu"


@dataclass(frozen=True, slots=True)
class _Grants:
    """What the token may see, and when that was asked."""

    tasks_visible: bool
    read_at: timedelta


class Proxmox:
    """One guest. `node` is the Proxmox node it lives on, the first part of the configured `pve/101`."""

    def __init__(self, endpoint: Endpoint, kind: Kind, node: str, vmid: int, clock: Clock) -> None:
        self.name = f"{'CT' if kind is Kind.LXC else 'VM'} {vmid} on {node} ({endpoint.host})"
        self._pve = Pve(endpoint)
        self._node = node
        self._vmid = vmid
        self._path = f"/nodes/{quote(node, safe='')}/{kind}/{vmid}/status"
        self._clock = clock
        self._grants: _Grants | None = None

    async def check(self) -> tuple[str, ...]:
        """What is wrong with token, guest or host, one line each; empty when a fence would work."""
        try:
            found = await self._granted(f"/vms/{self._vmid}")
            wrong = [f"{self.name}: the token lacks {right}" for right in NEEDED if right not in found]
            if "Sys.Audit" not in await self._granted(f"/nodes/{self._node}"):
                wrong.append(
                    f"{self.name}: the token lacks Sys.Audit on /nodes/{self._node}: "
                    "it cannot see reboots and backups begun by others"
                )
            guest = await self._guest()
        except PveError as error:
            return (f"{self.name}: {error}",)
        if guest.managed:
            wrong.append(f"{self.name}: {guest.managed}")
        return tuple(wrong)

    async def state(self) -> Guest | Unknown:
        """Whether the guest runs, and what may soon change that. Never raises."""
        try:
            return await self._guest()
        except PveError as error:
            return Unknown(f"{self.name}: {error}")

    async def off(self) -> str:
        """Cut the power, wait for the task, and read `stopped`. Raises FenceError."""
        return await self._switch("stop", GuestState.STOPPED)

    async def on(self) -> str:
        """Start it, wait for the task, and read `running`. Raises FenceError."""
        return await self._switch("start", GuestState.RUNNING)

    async def close(self) -> None:
        """Close connections."""
        await self._pve.close()

    async def _switch(self, verb: str, wanted: GuestState) -> str:
        end = self._clock.now().mono + OFF_WITHIN
        try:
            current = await self._current()
            if _state(current) is wanted:
                return f"{self.name} was {wanted} already"
            managed = _managed(current)
            if managed:
                raise FenceError(f"{self.name}: {verb} refused: {managed}")
            upid = await self._begin(verb)
            failed, note = await self._ended(upid, end) if upid else (False, "there was nothing to do")
            return await self._confirm(f"{self.name}: {verb}", wanted, note, end=None if failed else end)
        except PveError as error:
            raise FenceError(f"{self.name}: {verb}: {error}") from None

    async def _begin(self, verb: str) -> str:
        """The task's UPID; empty when the node says that there is nothing to do."""
        try:
            # A shutdown that hangs would hold the guest; Proxmox 8 lets a stop overrule it.
            form = {"overrule-shutdown": "1"} if verb == "stop" else {}
            try:
                upid = await self._pve.post(f"{self._path}/{verb}", form)
            except PveError as error:
                if error.status != 400 or not form:
                    raise
                upid = await self._pve.post(f"{self._path}/{verb}")
        except PveError as error:
            if error.status == 500 and ("not running" in str(error) or "already running" in str(error)):
                return ""
            raise
        if not isinstance(upid, str) or not upid.startswith("UPID:"):
            raise PveError(200, f"'{upid!r:.40}' is no task")
        return upid

    async def _ended(self, upid: str, end: timedelta) -> tuple[bool, str]:
        """Wait for a task: whether it failed, and what it said."""
        path = f"/nodes/{quote(self._node, safe='')}/tasks/{quote(upid, safe=':@!')}/status"
        while self._clock.now().mono < end:
            try:
                task = await self._pve.get(path)
            except PveError as error:
                # The task goes on whether or not it can be watched; the guest's status decides.
                return False, f"its task cannot be followed: {error}"
            if isinstance(task, dict) and task.get("status") == "stopped":
                ended = str(task.get("exitstatus", ""))
                good = ended == "OK" or ended.startswith("WARNINGS")
                return not good, f"its task {'ended' if good else 'failed'}: {ended}"
            await sleep(POLL)
        return True, f"its task has not ended within {OFF_WITHIN.total_seconds():g} s"

    async def _confirm(self, what: str, wanted: GuestState, note: str, end: timedelta | None) -> str:
        """Read the status until it is as wanted or `end` is over: once at least, no success without it."""
        while True:
            state = _state(await self._current())
            if state is wanted:
                return f"{self.name} is {wanted}"
            if end is None or self._clock.now().mono >= end:
                raise FenceError(f"{what}: it is still {state}; {note}")
            await sleep(POLL)

    async def _current(self) -> dict[str, Any]:
        found = await self._pve.get(f"{self._path}/current")
        if not isinstance(found, dict):
            raise PveError(200, "its status is not an object")
        return found

    async def _guest(self) -> Guest:
        # Tasks first: one that ends between the two readings is then still seen.
        tasks = await self._pve.get(
            f"/nodes/{quote(self._node, safe='')}/tasks", {"source": "active", "limit": "500"}
        )
        if not isinstance(tasks, list):
            raise PveError(200, "the list of tasks is not a list")
        current = await self._current()
        uptime = current.get("uptime")
        return Guest(
            state=_state(current),
            busy=_busy(current, tasks, str(self._vmid)),
            tasks_visible=await self._tasks_visible(),
            uptime=timedelta(seconds=uptime) if isinstance(uptime, int) else None,
            managed=_managed(current),
        )

    async def _tasks_visible(self) -> bool:
        now = self._clock.now().mono
        if self._grants is None or now - self._grants.read_at >= GRANTS_AFTER:
            try:
                seen = "Sys.Audit" in await self._granted(f"/nodes/{self._node}")
            except PveError:
                return False
            self._grants = _Grants(seen, now)
        return self._grants.tasks_visible

    async def _granted(self, path: str) -> frozenset[str]:
        found = await self._pve.get("/access/permissions", {"path": path})
        rights = found.get(path) if isinstance(found, dict) else None
        return frozenset(name for name, on in rights.items() if on) if isinstance(rights, dict) else frozenset()


def _state(current: dict[str, Any]) -> GuestState:
    status = current.get("status")
    try:
        return GuestState(str(status))
    except ValueError:
        raise PveError(200, f"its status is '{status}', neither running nor stopped") from None


def _managed(current: dict[str, Any]) -> str:
    ha = current.get("ha")
    if isinstance(ha, dict) and ha.get("managed"):
        return "HA-managed: the HA manager would start it again (take it out of HA, or fence by other means)"
    return ""


def _busy(current: dict[str, Any], tasks: Sequence[object], vmid: str) -> str:
    if current.get("lock"):
        return f"lock '{current['lock']}'"
    for task in tasks:
        # Ended tasks linger in the list of active ones for a moment, with their exit status.
        if not isinstance(task, dict) or task.get("endtime") or task.get("status", "RUNNING") != "RUNNING":
            continue
        kind, ident = str(task.get("type", "")), str(task.get("id") or "")
        if ident == vmid:
            return f"task {kind} {ident} by {task.get('user', 'somebody')}"
        if not ident and kind in NODE_WIDE:
            return f"node-wide task {kind} by {task.get('user', 'somebody')}"
    return ""
