"""`failoverd switchover`, `failover`, `failback`, `release`, `pause`, `resume`, `ack`: ask the leader,
and watch it done.

A command is a wish with an id, the epoch it was meant for and an expiry. The API server's RBAC says who may.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

from failoverd.cli.bars import bars, ready
from failoverd.cli.cluster import Cluster, connect, find
from failoverd.cli.configuration import loaded_apart
from failoverd.cli.exits import Exit, Stop
from failoverd.cli.follow import follow
from failoverd.cli.table import brief
from failoverd.core import alarms
from failoverd.core.memory import AppMemory, Memory
from failoverd.core.model import Command, CommandKind, Health
from failoverd.core.rules import App, Site

EXPIRES = timedelta(minutes=2)
"""A command nobody has taken by then is never done: a wish of the past must not surprise anybody."""
EVERYTHING = "*"
FORCED = (
    "Set aside are proof that the node is dead, data age, guards, room and limits on moves. Whatever else\n"
    "`failoverd why` lists refuses it: a node that is not up, a copy that is outdated, empty or in error, a pause."
)
"""What `policy.OVERRIDABLE` comes to, and what it leaves."""
NEVER = "never proven equal"
_MOVES = (CommandKind.SWITCHOVER, CommandKind.FAILOVER, CommandKind.FAILBACK)


def act(arguments: argparse.Namespace) -> int:
    """Carry out one of the commands of this file."""
    return asyncio.run(_act(arguments, CommandKind(arguments.command)))


async def _act(arguments: argparse.Namespace, kind: CommandKind) -> int:
    config = loaded_apart(arguments)
    app = find(config.rules, arguments.app) if arguments.app else None
    async with connect(config, arguments) as cluster:
        memory = await cluster.memory()
        known = memory.apps.get(app.key) if app else None
        if app and known is None and kind not in (CommandKind.PAUSE, CommandKind.RESUME):
            raise Stop(Exit.REFUSED, f"{app.key}: the daemon has not taken it in yet")
        target = _target(arguments, kind, app, known)
        if app and known and kind in _MOVES and known.active is target:
            print(f"{app.key} is on {target} already")
            return Exit.OK
        if app and known and target:
            await _ask(arguments, kind, cluster, app, known)
        seen = tuple(_unacknowledged(known)) if known and kind is CommandKind.ACK else ()
        if app and kind is CommandKind.ACK and not seen:
            print(f"{app.key} has no alarm to acknowledge")
            return Exit.OK
        length = getattr(arguments, "length", None)
        command = replace(
            asked(arguments, kind, cluster, app.key if app else EVERYTHING),
            target=target,
            epoch=known.epoch if known and kind in _MOVES else None,
            until=cluster.date + length if length else None,
            seen=seen,
        )
        return await sent(arguments, cluster, command, _words(command, memory))


def asked(arguments: argparse.Namespace, kind: CommandKind, cluster: Cluster, app: str) -> Command:
    """A command of this moment, by whoever runs this; `app` is its key, or everything."""
    return Command(
        id=f"{cluster.date:%Y%m%dT%H%M%S}-{kind}-{uuid.uuid4().hex[:8]}",
        kind=kind,
        app=app,
        expires=cluster.date + EXPIRES,
        why=arguments.why,
        by=getpass.getuser(),
    )


async def sent(arguments: argparse.Namespace, cluster: Cluster, command: Command, words: str) -> int:
    """Send it, say so in these words, and see it done unless that is not waited for. Raises Stop."""
    await cluster.send(command)
    print(f"asked for: {words} ({command.id})")
    return Exit.OK if arguments.no_wait else await follow(cluster, command, arguments.timeout, EXPIRES)


def _target(
    arguments: argparse.Namespace, kind: CommandKind, app: App | None, known: AppMemory | None
) -> Site | None:
    if app is None or known is None or kind in (CommandKind.PAUSE, CommandKind.RESUME):
        return None
    if kind is CommandKind.FAILBACK:
        return app.preferred
    if kind is CommandKind.ACK:
        return None
    if kind is CommandKind.RELEASE:
        return known.active
    return arguments.to or known.active.other


async def _ask(
    arguments: argparse.Namespace, kind: CommandKind, cluster: Cluster, app: App, known: AppMemory
) -> None:
    """Name what is lost or given up, and go on only with a yes."""
    if kind is CommandKind.FAILOVER:
        found, live = await cluster.status()
        if why := bars(cluster, app, known, known.active.other, found if live else {}):
            raise Stop(Exit.REFUSED, why)
        lines = [f"{app.key} is forced away from {known.active}. What was written there and has not arrived is lost:"]
        node, other = (cluster.config.rules.place(app, site).node for site in (known.active, known.active.other))
        if found["nodes"].get(node, {}).get("verdict") == Health.UP and ready(found, app.key, other):
            lines.insert(0, f"{node} is UP: `failoverd switchover {app.name}` moves it from there and loses nothing.")
        lines += _at_risk(cluster, known, found["apps"].get(app.key) or {})
        waiting = [one for one in known.alarms if one.acknowledged_at is None and one.why in alarms.STANDING]
        lines += ["It sets aside what nobody has acknowledged:"] if waiting else []
        lines += [f"  {one.text} ({one.since})" for one in waiting]
        lines += [FORCED]
    elif kind is CommandKind.RELEASE:
        lines = [f"{app.key} is given up where it runs: roles go back to sendreceive, holds and marks are removed."]
    else:
        return
    print("\n".join(lines))
    if arguments.yes:
        return
    if not sys.stdin.isatty():
        raise Stop(Exit.REFUSED, "nobody is there to ask: confirm with --yes")
    answer = input(f"Type {app.name} to go on: ")  # noqa: ASYNC250 - nothing else runs while a person thinks
    if answer.strip() != app.name:
        raise Stop(Exit.REFUSED, "not confirmed; nothing was done")


def _unacknowledged(known: AppMemory) -> Iterator[str]:
    """The marks of what is acknowledged, each alarm printed on the way: nobody acknowledges what was not shown."""
    for alarm in known.alarms:
        if alarm.acknowledged_at is None:
            print(f"  {alarm.text} ({alarm.since})")
            yield alarm.mark


def _at_risk(cluster: Cluster, known: AppMemory, app: dict[str, Any]) -> Iterator[str]:
    for name, volume in known.volumes.items():
        age = (app.get("volumes", {}).get(name) or {}).get("age_seconds")
        if age is not None:
            yield f"  {name}: up to the last {brief(timedelta(seconds=age))}"
        elif volume.proven_at is not None:
            since = brief(cluster.date - volume.proven_at)
            yield f"  {name}: data age unknown; both copies were last proven equal {since} ago"
        else:
            yield f"  {name}: data age unknown; the copies were {_unproven_since(known)}"


def _unproven_since(known: AppMemory) -> str:
    """Of copies that are not proven equal now: a failover forgets the proofs of before it."""
    last = next((one for one in reversed(known.moves) if one.moved), None)
    return f"not proven equal since the {last.kind} of {last.began_at:%Y-%m-%d %H:%M} UTC" if last else NEVER


def _words(command: Command, memory: Memory) -> str:
    what = "everything" if command.app == EVERYTHING else command.app
    if command.target and command.kind in _MOVES:
        return f"{command.kind} of {what} from {memory.apps[command.app].active} to {command.target}"
    until = f" until {command.until:%Y-%m-%d %H:%M} UTC" if command.until else ""
    return f"{command.kind} of {what}{until}"
