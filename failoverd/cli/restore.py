"""`failoverd restore`: have the leader stop an app, fetch a displaced file back where it lives, start it again."""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import replace
from datetime import datetime

from failoverd.adapters.syncthing.choose import refused
from failoverd.cli.bars import barred
from failoverd.cli.cluster import connect, find
from failoverd.cli.configuration import loaded_apart
from failoverd.cli.displaced import narrowed, plain, readable
from failoverd.cli.exits import Exit, Stop
from failoverd.cli.operate import asked, sent
from failoverd.cli.recall import put_back
from failoverd.cli.shelves import Shelf, shelves
from failoverd.core.memory import Restore
from failoverd.core.model import CommandKind
from failoverd.core.rules import App, Site
from failoverd.core.stock import Aside, Lying
from failoverd.guard.files import shown


def restore(arguments: argparse.Namespace) -> int:
    """Ask for it, and watch it done. Raises Stop."""
    if arguments.point is not None or arguments.set is not None:
        return asyncio.run(put_back(arguments))
    if arguments.path is None:
        raise Stop(Exit.USAGE, "say what to restore: PATH, --point TIME or --set NAME")
    return asyncio.run(_restore(arguments))


async def _restore(arguments: argparse.Namespace) -> int:
    config = loaded_apart(arguments)
    app = _one_volume(find(config.rules, arguments.app), arguments.volume)
    _encodes(arguments.path, Exit.USAGE)
    if why := refused(arguments.path):
        raise Stop(Exit.REFUSED, why)
    async with connect(config, arguments) as cluster:
        known = (await cluster.memory()).apps.get(app.key)
        if known is None:
            raise Stop(Exit.REFUSED, f"{app.key}: the daemon has not taken it in yet")
        found = [one async for one in shelves(cluster, app, arguments.kubeconfig or config.kubeconfig)]
        if text := _elsewhere(found, known.active, arguments):
            there = known.active.other
            first = f"move it there first: failoverd switchover {app.name} --to {there}"
            raise Stop(Exit.REFUSED, f"{text}: {await barred(cluster, app, known, there) or first}")
        path = _choose(found, app, known.active, arguments)
        command = replace(
            asked(arguments, CommandKind.RESTORE, cluster, app.key),
            target=known.active,
            epoch=known.epoch,
            restore=Restore(volume=app.volumes[0].name, path=path, at=arguments.at),
        )
        words = f"restore of {shown(path)} for {app.key} at {known.active}"
        return await sent(arguments, cluster, command, words)


def _one_volume(app: App, name: str | None) -> App:
    """`app` with the volume that is meant alone. Raises Stop."""
    if name is None and len(app.volumes) > 1:
        names = ", ".join(volume.name for volume in app.volumes)
        raise Stop(Exit.USAGE, f"{app.key} has several volumes: say which by --volume ({names})")
    return narrowed(app, name)


def _encodes(path: str, status: Exit) -> None:
    """Raises Stop with `status` for a name that neither a command nor Syncthing could carry."""
    try:
        path.encode()
    except UnicodeEncodeError:
        why = "its name is no UTF-8, which Syncthing does not know: copy it out of .stversions by hand"
        raise Stop(status, f"{shown(path)} can't be restored: {why}") from None


def _elsewhere(found: list[Shelf], active: Site, arguments: argparse.Namespace) -> str:
    """That what is meant lies at the other side; empty where it may lie where the app lives."""
    here, there = (next(one for one in found if one.site is site) for site in (active, active.other))
    elsewhere = _versions(there, arguments)
    if arguments.site is not active.other and (not elsewhere or _versions(here, arguments) or _doubt(here)):
        return ""
    name = shown(arguments.path)
    lies = f"{name} of {elsewhere[0].at:%Y-%m-%d %H:%M:%S}" if elsewhere else name
    return f"{lies} lies at {active.other}, and the app lives at {active}"


def _choose(found: list[Shelf], app: App, active: Site, arguments: argparse.Namespace) -> str:
    """The file that is meant, once nothing known speaks against stopping the app for it. Raises Stop.

    Only a side of which everything is known and named can deny a version; of any other the leader looks itself.
    """
    here = next(one for one in found if one.site is active)
    if not _versions(here, arguments):
        doubt = _doubt(here)
        if not doubt:
            raise Stop(Exit.REFUSED, f"no such version is kept at {active}: failoverd displaced {app.name}")
        print(f"note: {here.where}: {doubt}; it is looked for there", file=sys.stderr)
    return _meant(here, arguments.path)


def _doubt(shelf: Shelf) -> str:
    """Why there may be versions that are not named; empty where all of them are."""
    if shelf.unknown:
        return f"unknown: {shelf.unknown[0]}"
    unnamed = sum(one.files for one in shelf.counts if one.kind is Lying.VERSION) - len(_kept(shelf))
    return f"{unnamed} of its versions are not named" if unnamed else ""


def _meant(shelf: Shelf, said: str) -> str:
    """The path as the disk has it, of one given so or as `displaced` shows it. Raises Stop."""
    names = {plain(one.path) for one in _kept(shelf) if _is(one, said)}
    if len(names) > 1:
        hint = "copy the one that is meant by hand"
        raise Stop(Exit.REFUSED, f"{shelf.where}: {len(names)} files are shown as {shown(said)}: {hint}")
    path = names.pop() if names else said
    _encodes(path, Exit.REFUSED)
    return path


def _is(one: Aside, said: str) -> bool:
    return said in (plain(one.path), readable(one.path))


def _kept(shelf: Shelf) -> list[Aside]:
    return [one for one in shelf.files if one.kind is Lying.VERSION]


def _versions(shelf: Shelf, arguments: argparse.Namespace) -> list[Aside]:
    """What is known of that file there, newest first."""
    at: datetime | None = arguments.at
    alike = [one for one in _kept(shelf) if _is(one, arguments.path)]
    return [one for one in alike if at is None or one.at.replace(microsecond=0) == at.replace(microsecond=0)]
