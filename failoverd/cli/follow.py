"""Watching a command being done: each phase as it comes, then what became of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from failoverd.adapters.web.status import moved
from failoverd.cli.cluster import Cluster
from failoverd.cli.exits import Exit, Stop
from failoverd.cli.look import losses
from failoverd.cli.table import brief
from failoverd.clock import SystemClock, sleep
from failoverd.core.memory import Memory, Move
from failoverd.core.model import Command, CommandKind

EVERY = timedelta(seconds=1)
_AT_ONCE = (CommandKind.PAUSE, CommandKind.RESUME, CommandKind.RELEASE)


async def follow(cluster: Cluster, command: Command, within: timedelta, expires: timedelta) -> int:
    """Print progress until the command is done, refused or called off. Raises Stop."""
    clock = SystemClock()
    began = clock.now().mono
    said = ""
    while (spent := clock.now().mono - began) < within:
        try:
            memory = await cluster.memory()
            line = _progress(memory, command)
        except Stop as stop:
            # The API server often stumbles just when something moves; what was sent stands all the same.
            memory, line = None, f"cannot see: {stop}"
        if memory and command.id in memory.commands:
            move = _move(memory, command)
            if move is None:
                return await _settled(cluster, memory, command)
            if move.outcome:
                return _ended(command, move)
        elif memory and spent > expires:
            raise Stop(
                Exit.REFUSED,
                f"no leader took it within {brief(expires)}: it has expired and will not be done",
                "is a daemon running? see failoverd status",
            )
        if line != said:
            print(f"{brief(spent):>8}  {line}", flush=True)
            said = line
        await sleep(EVERY)
    raise Stop(Exit.UNFINISHED, f"not finished within {brief(within)}; it goes on: failoverd status {command.app}")


def _progress(memory: Memory, command: Command) -> str:
    if command.id not in memory.commands:
        return "waiting for the leader"
    app = memory.apps.get(command.app)
    return str(app.phase) if app else "taken"


def _move(memory: Memory, command: Command) -> Move | None:
    app = memory.apps.get(command.app)
    if app is None:
        return None
    moves = (*app.moves, *([app.move] if app.move else []))
    return next((move for move in reversed(moves) if move.command == command.id), None)


async def _settled(cluster: Cluster, memory: Memory, command: Command) -> int:
    """The command was taken and no move came of it: done where none was asked for, refused otherwise."""
    if command.kind in _AT_ONCE:
        stands = command.app in memory.pauses
        if command.kind is not CommandKind.RELEASE and stands is not (command.kind is CommandKind.PAUSE):
            raise Stop(Exit.REFUSED, f"{command.kind} was refused; see failoverd status")
        print(f"{command.kind}: done")
        return Exit.OK
    found: dict[str, Any] = await cluster.live() or {"apps": {}}
    objections = (found["apps"].get(command.app) or {}).get("objections") or ()
    texts = [f"refused: {objection['text']}" for objection in objections]
    raise Stop(Exit.REFUSED, *(texts or [f"{command.kind} of {command.app} was refused; see failoverd history"]))


def _ended(command: Command, move: Move) -> int:
    facts = moved(move)
    if move.outcome != "done":
        raise Stop(Exit.REFUSED, f"{command.app}: {command.kind} {move.outcome}")
    parts = ", ".join(f"{name} {brief(timedelta(seconds=took))}" for name, took in facts["parts"].items())  # type: ignore[attr-defined]
    total = brief(timedelta(seconds=float(str(facts["seconds"]))))
    print(f"{command.app} is on {move.target} after {total}" + (f" ({parts})" if parts else ""))
    for line in losses(facts):
        print(f"possibly lost, volume {line}")
    return Exit.OK
