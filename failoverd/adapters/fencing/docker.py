"""A container of a Docker host as the power switch of the node inside it.

Facts this stands on (Docker's source, and its issues 35166 and 47846): `exited` alone says that every process of
the container has ended, and only where it has a process namespace of its own; a container stopped through the API
stays so until the daemon or its host starts again, when `always` and `on-failure` start it and `unless-stopped`
does not; `paused` and `restarting` containers are running ones; a `created` one never ran, so it is not the one
that was the node.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from failoverd.adapters.fencing import FenceError
from failoverd.adapters.fencing.engine import DockerHost, Engine, EngineError
from failoverd.clock import sleep
from failoverd.core.model import Guest, GuestState, Unknown
from failoverd.ports import Clock

__all__ = ["Docker", "DockerHost"]

GRACE = timedelta(seconds=3)
"""What the container's first process gets between SIGTERM and SIGKILL."""
POLL = timedelta(milliseconds=250)
OFF_WITHIN = timedelta(seconds=50)
"""For the request and the confirming reads together; less than the core's `fence_timeout` (60 s)."""
ON_BOOT = "unless-stopped"
RETURNING = ("always", "on-failure")
NO_STATE = {
    "created": "it was created but never started: another container was the node",
    "removing": "it is being removed",
    "dead": "Docker could not remove it completely (dead)",
}
PRIVATE = ("", "private")
"""How Docker and Podman write that a container has a process namespace of its own."""
SWARM = "com.docker.swarm.service.id"


class Docker:
    """One container, by its name."""

    def __init__(self, host: DockerHost, container: str, clock: Clock) -> None:
        self.name = f"container {container} ({host.host})"
        self._engine = Engine(host)
        self._container = container
        self._clock = clock

    async def check(self) -> tuple[str, ...]:
        """What is wrong with daemon, certificates or container, one line each; empty when a fence would work."""
        try:
            found = await self._engine.inspect(self._container)
            state = _state(found)
            managed = _managed(found)
        except EngineError as error:
            return (f"{self.name}: {error}",)
        wrong = [f"{self.name}: {managed}"] if managed else []
        if isinstance(state, Unknown):
            wrong.append(f"{self.name}: {state.why}")
        return tuple(wrong)

    async def state(self) -> Guest | Unknown:
        """Whether the container runs, and what would undo a fence. Never raises."""
        try:
            found = await self._engine.inspect(self._container)
            state = _state(found)
            if isinstance(state, Unknown):
                return Unknown(f"{self.name}: {state.why}")
            status = found["State"]["Status"]
            return Guest(
                state=state,
                busy=status if status in ("paused", "restarting") else "",
                uptime=self._uptime(found) if status == "running" else None,
                managed=_managed(found),
            )
        except EngineError as error:
            return Unknown(f"{self.name}: {error}")

    async def off(self) -> str:
        """Stop it, kill it if that is not enough, and read `exited`. Raises FenceError."""
        end = self._clock.now().mono + OFF_WITHIN
        try:
            found = await self._engine.inspect(self._container)
            state = _state(found)
            if state is GuestState.STOPPED:
                return f"{self.name} was stopped already"
            refused = state.why if isinstance(state, Unknown) else _managed(found)
            if refused:
                raise FenceError(f"{self.name}: stop refused: {refused}")
            # By id from here on: a name may belong to another container the next moment.
            ident = _ident(found)
            notes = [await self._try(ident, "stop", GRACE, t=f"{GRACE.total_seconds():.0f}")]
            if _state(await self._engine.inspect(ident)) is not GuestState.STOPPED:
                notes.append(await self._try(ident, "kill"))
            return await self._confirm("stop", ident, GuestState.STOPPED, notes, end)
        except EngineError as error:
            raise FenceError(f"{self.name}: stop: {error}") from None

    async def on(self) -> str:
        """Start it and read `running`. Raises FenceError."""
        end = self._clock.now().mono + OFF_WITHIN
        try:
            found = await self._engine.inspect(self._container)
            status = _status(found)
            if status == "running":
                return f"{self.name} was running already"
            if status == "paused":
                raise FenceError(f"{self.name}: start: somebody has paused it; unpause it by hand")
            ident = _ident(found)
            note = await self._try(ident, "start")
            return await self._confirm("start", ident, GuestState.RUNNING, [note], end)
        except EngineError as error:
            raise FenceError(f"{self.name}: start: {error}") from None

    async def close(self) -> None:
        """Close connections."""
        await self._engine.close()

    async def _try(self, ident: str, verb: str, wait: timedelta = timedelta(0), **query: str) -> str:
        """Ask for it; what went wrong, for the state decides and not the answer. Raises EngineError for 404."""
        try:
            await self._engine.post(ident, verb, wait, **query)
        except EngineError as error:
            if error.status == 404:
                raise
            return f"{verb}: {error}"
        return ""

    async def _confirm(self, verb: str, ident: str, wanted: GuestState, notes: list[str], end: timedelta) -> str:
        """Read the state until it is as wanted; once only where the last request failed, or at `end`."""
        said = "; ".join(note for note in notes if note)
        while True:
            found = await self._engine.inspect(ident)
            state = _state(found)
            if state is wanted and _status(found) in ("running", "exited"):
                return f"{self.name} is {wanted}"
            if notes[-1] or self._clock.now().mono >= end:
                now = state.why if isinstance(state, Unknown) else f"it is still {_status(found)}"
                raise FenceError(f"{self.name}: {verb}: {now}" + (f" ({said})" if said else ""))
            await sleep(POLL)

    def _uptime(self, found: dict[str, Any]) -> timedelta | None:
        """By the wall clocks of two hosts: for people only."""
        try:
            began = datetime.fromisoformat(str(found["State"]["StartedAt"])[:19]).replace(tzinfo=UTC)
        except (KeyError, ValueError):
            return None
        return max(self._clock.now().wall - began, timedelta(0))


def _ident(found: dict[str, Any]) -> str:
    ident = found.get("Id")
    if not isinstance(ident, str) or not ident:
        raise EngineError(200, "the container has no id: this is not what Docker sends")
    return ident


def _status(found: dict[str, Any]) -> str:
    state = found.get("State")
    return str(state.get("Status", "")) if isinstance(state, dict) else ""


def _state(found: dict[str, Any]) -> GuestState | Unknown:
    """Running unless every field agrees that it has ended; Unknown wherever they do not. Raises EngineError."""
    state, host = found.get("State"), found.get("HostConfig")
    if not isinstance(state, dict) or not isinstance(host, dict):
        raise EngineError(200, "the answer to an inspect is not what Docker sends")
    status = _status(found)
    flags = [state.get(flag) for flag in ("Running", "Paused", "Restarting")]
    if status in ("running", "paused", "restarting") and flags[0] is True:
        return GuestState.RUNNING
    if status in NO_STATE:
        return Unknown(NO_STATE[status])
    ended = flags == [False, False, False] and type(state.get("Pid")) is int and state["Pid"] == 0
    if status != "exited" or not ended:
        told = f"status '{status}' with Running={flags[0]} and Pid={state.get('Pid')}"
        return Unknown(f"{told} proves nothing")
    if _shared(host):
        return Unknown(_shared(host))
    return GuestState.STOPPED


def _shared(host: dict[str, Any]) -> str:
    """Why the end of its first process would not end the others; empty when it would."""
    mode = host.get("PidMode", "")
    if mode in PRIVATE:
        return ""
    return f"it shares the process namespace of '{mode}' (--pid): its pods would survive its end"


def _managed(found: dict[str, Any]) -> str:
    """Why a fence would prove nothing or be undone; empty when it holds. Raises EngineError."""
    host = found.get("HostConfig")
    policy = host.get("RestartPolicy") if isinstance(host, dict) else None
    config = found.get("Config")
    labels = config.get("Labels") if isinstance(config, dict) else None
    if not isinstance(host, dict) or not isinstance(policy, dict):
        raise EngineError(200, "the answer to an inspect is not what Docker sends")
    if _shared(host):
        return _shared(host)
    if host.get("AutoRemove"):
        return "it is removed when it stops (--rm): nothing could prove its end, nor start it again"
    if isinstance(labels, dict) and SWARM in labels:
        return "it belongs to a Swarm service, which would start another in its place"
    name = policy.get("Name") or "no"
    if name in RETURNING:
        return (
            f"restart policy '{name}': Docker would start it again whenever its daemon or its host starts;"
            f" run: docker update --restart {ON_BOOT} {str(found.get('Name', '')).lstrip('/')}".rstrip()
        )
    return "" if name in ("no", ON_BOOT) else f"restart policy '{name}' is unknown"
