"""`failoverd restore`: have the leader stop an app, fetch a displaced file back where it lives, start it again."""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import replace
from datetime import datetime

from failoverd.adapters.syncthing.choose import refused
from failoverd.cli.cluster import connect, find
from failoverd.cli.configuration import loaded_apart
from failoverd.cli.displaced import narrowed, plain
from failoverd.cli.exits import Exit, Stop
from failoverd.cli.operate import asked, sent
from failoverd.cli.shelves import Shelf, shelves
from failoverd.core.memory import Restore
from failoverd.core.model import CommandKind
from failoverd.core.rules import App, Site
from failoverd.core.stock import Aside, Lying


def restore(arguments: argparse.Namespace) -> int:
    """Ask for it, and watch it done. Raises Stop."""
    return asyncio.run(_restore(arguments))


async def _restore(arguments: argparse.Namespace) -> int:
    config = loaded_apart(arguments)
    app = _one_volume(find(config.rules, arguments.app), arguments.volume)
    if why := refused(arguments.path):
        raise Stop(Exit.REFUSED, why)
    async with connect(config, arguments) as cluster:
        known = (await cluster.memory()).apps.get(app.key)
        if known is None:
            raise Stop(Exit.REFUSED, f"{app.key}: the daemon has not taken it in yet")
        found = [one async for one in shelves(cluster, app, arguments.kubeconfig or config.kubeconfig)]
        _choose(found, app, known.active, arguments)
        command = replace(
            asked(arguments, CommandKind.RESTORE, cluster, app.key),
            target=known.active,
            epoch=known.epoch,
            restore=Restore(volume=app.volumes[0].name, path=arguments.path, at=arguments.at),
        )
        words = f"restore of {arguments.path} for {app.key} at {known.active}"
        return await sent(arguments, cluster, command, words)


def _one_volume(app: App, name: str | None) -> App:
    """`app` with the volume that is meant alone. Raises Stop."""
    if name is None and len(app.volumes) > 1:
        names = ", ".join(volume.name for volume in app.volumes)
        raise Stop(Exit.USAGE, f"{app.key} has several volumes: say which by --volume ({names})")
    return narrowed(app, name)


def _choose(found: list[Shelf], app: App, active: Site, arguments: argparse.Namespace) -> None:
    """Look whether there is such a version where the app lives, before it is stopped for it. Raises Stop."""
    here, there = (next(one for one in found if one.site is site) for site in (active, active.other))
    if arguments.site is active.other or not _versions(here, arguments):
        elsewhere = _versions(there, arguments)
        if elsewhere or arguments.site is active.other:
            lies = f"{arguments.path} of {elsewhere[0].at:%Y-%m-%d %H:%M:%S}" if elsewhere else arguments.path
            text = f"{lies} lies at {active.other}, and the app lives at {active}: move it there first"
            raise Stop(Exit.REFUSED, f"{text}: failoverd switchover {app.name} --to {active.other}")
        if not here.unknown:
            raise Stop(Exit.REFUSED, f"no such version is kept at {active}: failoverd displaced {app.name}")
        print(f"note: {here.where}: unknown: {here.unknown[0]}; it is looked for there", file=sys.stderr)


def _versions(shelf: Shelf, arguments: argparse.Namespace) -> list[Aside]:
    """What is known of that file there, newest first."""
    at: datetime | None = arguments.at
    alike = [one for one in shelf.files if one.kind is Lying.VERSION and plain(one.path) == arguments.path]
    return [one for one in alike if at is None or one.at.replace(microsecond=0) == at.replace(microsecond=0)]
