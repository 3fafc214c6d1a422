"""`failoverd restore --point` and `--set`: have the leader stop an app, put databases of it back, start it again."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import quote

from failoverd.cli.cluster import connect, find
from failoverd.cli.configuration import loaded_apart
from failoverd.cli.displaced import narrowed
from failoverd.cli.exits import Exit, Stop
from failoverd.cli.operate import asked, sent
from failoverd.core.memory import Restore
from failoverd.core.model import CommandKind
from failoverd.core.names import GUARD_FOLDER
from failoverd.core.recall import Recall
from failoverd.core.rules import App
from failoverd.guard.files import quoted

_SET = re.compile(r"(?P<move>.+?)(?P<slot>/\d{4})?(?:/[^/]*)?", re.DOTALL)
"""A move, or one set of it; whoever copies the path of a file in it means that set."""


async def put_back(arguments: argparse.Namespace) -> int:
    """Ask for it, and watch it done; what can be had the guard there knows. Raises Stop."""
    config = loaded_apart(arguments)
    app = find(config.rules, arguments.app)
    recall = _recall(arguments, app)
    if config.rules.guard is None:
        why = "restore points and sets are the guard's, and there is none ([guard] enabled = false)"
        raise Stop(Exit.REFUSED, f"{app.key}: {why}")
    async with connect(config, arguments) as cluster:
        known = (await cluster.memory()).apps.get(app.key)
        if known is None:
            raise Stop(Exit.REFUSED, f"{app.key}: the daemon has not taken it in yet")
        if arguments.point is not None and arguments.point > cluster.date:
            raise Stop(Exit.USAGE, f"--point: {recall.at:%Y-%m-%d %H:%M:%S} UTC is still to come")
        command = replace(
            asked(arguments, CommandKind.RESTORE, cluster, app.key),
            target=known.active,
            epoch=known.epoch,
            restore=Restore(recall=recall),
        )
        return await sent(arguments, cluster, command, f"restore of {recall} for {app.key} at {known.active}")


def _recall(arguments: argparse.Namespace, app: App) -> Recall:
    if arguments.point is not None and arguments.set is not None:
        raise Stop(Exit.USAGE, "--point and --set are two ways to say which databases: give one of them")
    for name in ("at", "site"):
        if getattr(arguments, name) is not None:
            raise Stop(
                Exit.USAGE, f"--{name} is of a PATH that was put aside, and says nothing with --point or --set"
            )
    narrowed(app, arguments.volume)
    if arguments.path is not None and arguments.volume is None and len(app.volumes) > 1:
        names = ", ".join(volume.name for volume in app.volumes)
        raise Stop(Exit.USAGE, f"{app.key} has several volumes: say which by --volume ({names})")
    return Recall(
        at=_whole(arguments.point),
        moved="" if arguments.set is None else _folder(arguments.set),
        volume=arguments.volume or (app.volumes[0].name if arguments.path is not None else ""),
        database="" if arguments.path is None else quoted(arguments.path),
    )


def _whole(moment: datetime | None) -> datetime | None:
    """A moment named by its second means all of that second: so points are shown, and who copies one means it."""
    return moment if moment is None or moment.microsecond else moment + timedelta(microseconds=999_999)


def _folder(said: str) -> str:
    """The folder of a move below `.failoverd/moves`, said by its name there, its path, or the move's id."""
    name = said.removeprefix("./").removeprefix(f"{GUARD_FOLDER}/moves/").rstrip("/")
    if "#" in name:  # an id, which has a slash of its own
        space, _, rest = name.partition("/")
        found = _SET.fullmatch(rest)
        moved = quote(f"{space}/{found['move']}", safe="") if found else ""
    else:
        found = _SET.fullmatch(name)
        moved = found["move"] if found else ""
    if found is None or not moved or "/" in moved:
        raise Stop(Exit.USAGE, f'--set: "{said}" is no folder of a move, as `failoverd displaced` shows them')
    return moved + (found["slot"] or "")
