"""Watching a command being done: each phase as it comes, then what became of it."""

from __future__ import annotations

from datetime import timedelta

from failoverd.cli.cluster import Cluster
from failoverd.cli.exits import Exit, Stop
from failoverd.cli.table import brief
from failoverd.clock import SystemClock, sleep
from failoverd.core.memory import Kind, Memory, Move, Phase
from failoverd.core.model import Command, CommandKind
from failoverd.core.say import lost, rto

EVERY = timedelta(seconds=1)


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
                return _settled(memory, command)
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


def _settled(memory: Memory, command: Command) -> int:
    """The command was taken and no move came of it: done where none was asked for, refused otherwise."""
    app = memory.apps.get(command.app)
    took_hold = {
        CommandKind.PAUSE: command.app in memory.pauses,
        CommandKind.RESUME: command.app not in memory.pauses,
        CommandKind.ACK: command.id not in memory.refusals,
        CommandKind.RELEASE: app is not None and app.phase is Phase.RELEASED,
    }
    if not took_hold.get(command.kind, False):
        what = "" if command.app == "*" else f" of {command.app}"
        # a version before this one kept no reasons
        why = memory.refusals.get(command.id, "the app's Events and the daemon's log say why")
        raise Stop(Exit.REFUSED, f"{command.kind}{what} was refused: {why}")
    print(f"{command.kind}: done")
    return Exit.OK


def _ended(command: Command, move: Move) -> int:
    if move.outcome != "done":
        raise Stop(Exit.REFUSED, f"{command.app}: {command.kind} {move.outcome}")
    if move.kind is Kind.RESTORE and move.evidence:
        print(move.evidence[-1])
    took = {name: timedelta(seconds=value) for name, value in rto(move).items()}
    parts = ", ".join(f"{name} {brief(value)}" for name, value in took.items())
    total = sum(took.values(), timedelta(0))
    print(f"{command.app} is on {move.target} after {brief(total)}" + (f" ({parts})" if parts else ""))
    if move.losses:
        print(lost(move))
    return Exit.OK
