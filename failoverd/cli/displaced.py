"""`failoverd displaced`: what was displaced at either side and is kept there, by volume, site and file.

The one rule of this file: a side that cannot be read is unknown, and is said to be; it never looks like an empty one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote_to_bytes

from failoverd.cli.cluster import connect, find
from failoverd.cli.configuration import loaded_apart
from failoverd.cli.exits import Exit, Stop
from failoverd.cli.shelves import Shelf, shelves
from failoverd.cli.table import amount, table
from failoverd.core.counts import counted
from failoverd.core.filed import Filed
from failoverd.core.rules import App
from failoverd.core.stock import Aside, Lying
from failoverd.guard.files import shown

NOUNS = {Lying.VERSION: "version", Lying.SET: "file", Lying.POINT: "restore point"}


def displaced(arguments: argparse.Namespace) -> int:
    """List it. Raises Stop."""
    return asyncio.run(_displaced(arguments))


async def _displaced(arguments: argparse.Namespace) -> int:
    config = loaded_apart(arguments)
    app = narrowed(find(config.rules, arguments.app), arguments.volume)
    async with connect(config, arguments) as cluster:
        found = [one async for one in shelves(cluster, app, arguments.kubeconfig or config.kubeconfig)]
    found = [replace(one, files=tuple(file for file in one.files if _meant(file, arguments))) for one in found]
    if arguments.output == "json":
        print(json.dumps({"app": app.key, "sides": [_plain(one) for one in found]}, indent=2))
    else:
        _show(found)
    for one in found:
        for why in one.unknown:
            print(f"failoverd: {one.where}: unknown: {why}", file=sys.stderr)
    return Exit.NOT_ALL if any(one.unknown for one in found) else Exit.OK


def narrowed(app: App, volume: str | None) -> App:
    """`app` with that volume alone. Raises Stop."""
    if volume is None:
        return app
    chosen = tuple(one for one in app.volumes if one.name == volume)
    if not chosen:
        names = ", ".join(one.name for one in app.volumes)
        raise Stop(Exit.USAGE, f'{app.key} has no volume "{volume}"; it has {names}')
    return replace(app, volumes=chosen)


def _meant(file: Aside, arguments: argparse.Namespace) -> bool:
    if file.kind is Lying.POINT and not arguments.points:
        return False
    return arguments.path is None or fnmatchcase(readable(file.path), arguments.path)


def plain(path: str) -> str:
    """A path as the disk has it."""
    return os.fsdecode(unquote_to_bytes(path))


def readable(path: str) -> str:
    """A path as people write it, on one line whatever is in it."""
    return shown(plain(path))


def _show(found: list[Shelf]) -> None:
    rows = [_row(one, file) for one in found for file in one.files]
    if rows:
        print(table(("VOLUME", "SITE", "KIND", "WHEN (UTC)", "BYTES", "MOVE", "PATH"), rows) + "\n")
    for one in found:
        print("\n".join(_summary(one)))


def _row(shelf: Shelf, file: Aside) -> tuple[str, ...]:
    when = f"{file.at:%Y-%m-%d %H:%M:%S}"
    path = readable(file.path)
    if file.kind is Lying.SET:  # nobody would look for it there
        path += f", now {readable(file.lies)}"
    return shelf.volume, str(shelf.site), str(file.kind), when, str(file.size), shelf.move_of(file), path


def _summary(shelf: Shelf) -> Iterator[str]:
    for count in shelf.counts:
        how, at = shelf.source[count.kind]
        unnamed = count.files - shelf.named[count.kind]
        older = f", the oldest {unnamed} not named" if unnamed else ""
        what = counted(count.files, NOUNS[count.kind]) + (" displaced by placing" if count.kind is Lying.SET else "")
        yield f"{shelf.where}: {what}, {amount(count.size)}{older} ({how}, {at:%Y-%m-%d %H:%M} UTC)"
    if shelf.span is not None and shelf.span[0] <= shelf.span[1]:
        span = " to ".join(f"{at:%Y-%m-%d %H:%M:%S}" for at in shelf.span)
        yield f"{shelf.where}: databases can be put back as of {span} UTC (failoverd restore --point)"
    if shelf.filed is not None and shelf.filed.oldest is not None:
        yield f"{shelf.where}: {_of_files(shelf.filed)}"
    if not shelf.counts and not shelf.unknown:
        yield f"{shelf.where}: nothing"


def _of_files(filed: Filed) -> str:
    """From when on files can be put back: each as of any moment from its oldest point on."""
    since = f"{filed.oldest:%Y-%m-%d %H:%M:%S} UTC"
    text = f"files can be put back as of {since} or later, those that have points of then"
    if filed.since is not None:
        return f"{text}; all {filed.points} of them as of {filed.since:%Y-%m-%d %H:%M:%S} UTC or later"
    return f"{text}; {filed.points} of {filed.files} have one"


def _filed(filed: Filed) -> dict[str, Any]:
    oldest, since = (at.isoformat() if at is not None else None for at in (filed.oldest, filed.since))
    return {"files": filed.files, "with_points": filed.points, "oldest": oldest, "all_since": since}


def _plain(shelf: Shelf) -> dict[str, Any]:
    counts = {
        str(one.kind): {
            "files": one.files,
            "bytes": one.size,
            "named": shelf.named[one.kind],
            "said_by": shelf.source[one.kind][0],
            "as_of": shelf.source[one.kind][1].isoformat(),
        }
        for one in shelf.counts
    }
    files = [
        {**asdict(one), "path": readable(one.path), "at": one.at.isoformat(), "move": shelf.move_of(one)}
        for one in shelf.files
    ]
    return {
        "volume": shelf.volume,
        "site": str(shelf.site),
        "unknown": list(shelf.unknown),
        "points": [at.isoformat() for at in shelf.span] if shelf.span is not None else None,
        "file_points": _filed(shelf.filed) if shelf.filed is not None else None,
        "counts": counts,
        "files": files,
    }
