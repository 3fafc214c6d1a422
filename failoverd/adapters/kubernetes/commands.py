"""Commands of operators, in a ConfigMap: who may write it, may command.

One key a command, its id; the value is JSON. A command is done once Memory lists its id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError

from failoverd.adapters.kubernetes.client import Client, KubeError
from failoverd.adapters.kubernetes.memory import MemoryStore, merge
from failoverd.adapters.kubernetes.rbac import Need, Where
from failoverd.clock import sleep
from failoverd.core import names
from failoverd.core.memory import Memory
from failoverd.core.model import Command, Unknown
from failoverd.ports import Clock

NEEDS = (
    # Listing and watching may be limited to a name, because the request carries it as a field selector.
    Need(
        where=Where.OWN,
        group="",
        resource="configmaps",
        verbs=("get", "list", "watch"),
        fixed=(names.COMMANDS,),
    ),
)
READER_NEEDS = (
    Need(
        where=Where.OWN,
        group="",
        resource="configmaps",
        verbs=("get",),
        fixed=(names.HISTORY, names.MEMORY),
    ),
)
"""What somebody needs who looks at what has happened."""
OPERATOR_NEEDS = (
    Need(where=Where.OWN, group="", resource="configmaps", verbs=("create",)),
    Need(where=Where.OWN, group="", resource="configmaps", verbs=("get", "patch"), fixed=(names.COMMANDS,)),
    *READER_NEEDS,
    Need(
        where=Where.OWN,
        group="coordination.k8s.io",
        resource="leases",
        verbs=("get",),
        fixed=(names.LEASE,),
    ),
    # The leader's page (leader.py). A pod's name is not known beforehand; ours are alone in this namespace.
    Need(where=Where.OWN, group="", resource="pods/proxy", verbs=("get",)),
)
"""What somebody needs who commands by the CLI and reads status and history."""

_COMMAND: TypeAdapter[Command] = TypeAdapter(Command)
_ID = re.compile(r"[A-Za-z0-9][-_.A-Za-z0-9]{0,99}")
_KEEP = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbox:
    """What the ConfigMap holds: commands in order of their id, and what could not be understood."""

    commands: tuple[Command, ...] = ()
    malformed: tuple[str, ...] = ()


def path(namespace: str) -> str:
    """Where the commands of the daemon in `namespace` lie."""
    return f"/api/v1/namespaces/{namespace}/configmaps/{names.COMMANDS}"


def parse(raw: Mapping[str, Any] | None) -> Inbox:
    """The commands in a ConfigMap as read, None for one that does not exist. Never raises."""
    data = raw.get("data") if raw is not None else None
    commands, malformed = [], []
    for key, text in sorted(data.items()) if isinstance(data, dict) else ():
        found = _command(str(key), text)
        if isinstance(found, Command):
            commands.append(found)
        else:
            malformed.append(f"command {key}: {found}")
    return Inbox(commands=tuple(commands), malformed=tuple(malformed))


async def read(client: Client, namespace: str) -> Inbox:
    """The commands that stand now, read from the API server itself. Raises KubeError."""
    try:
        return parse((await client.request("GET", path(namespace))).body)
    except KubeError as error:
        if error.status == 404:
            return Inbox()
        raise


async def write(client: Client, namespace: str, command: Command, now: datetime) -> None:
    """Add one command, and drop those that expired an hour before `now`.

    Raises KubeError (403: this operator may not command), ValueError for an id that can be no key.
    """
    if not _ID.fullmatch(command.id):
        raise ValueError(f"command id {command.id!r}: letters, digits, '-', '_' and '.', at most 100")
    old = await read(client, namespace)
    data: dict[str, str | None] = {
        past.id: None for past in old.commands if past.expires + _KEEP < now and past.id != command.id
    }
    data[command.id] = _COMMAND.dump_json(command).decode()
    await merge(client, namespace, names.COMMANDS, data)


async def wait(store: MemoryStore, command: str, clock: Clock, within: timedelta) -> Memory | None:
    """Memory as soon as it lists the command's id; None when that did not happen `within`.

    Looks every half second; what cannot be read meanwhile is read again.
    """
    until = clock.now().mono + within
    while clock.now().mono < until:
        memory = await store.load()
        if memory is not None and not isinstance(memory, Unknown) and command in memory.commands:
            return memory
        await sleep(timedelta(milliseconds=500))
    return None


def _command(key: str, text: object) -> Command | str:
    try:
        found = _COMMAND.validate_json(text if isinstance(text, str) else json.dumps(text), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        return f"{place} can't be understood: {first['msg']}"
    if found.id != key:
        return f"its id says {found.id!r}"
    times = [found.expires, found.until]
    if found.restore is not None:
        times += [found.restore.at, found.restore.recall.at if found.restore.recall is not None else None]
    if any(one is not None and one.tzinfo is None for one in times):
        return "a time has no time zone"
    return found
