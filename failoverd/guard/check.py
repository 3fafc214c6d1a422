"""Whether an app could start in a volume: looked at while all is well, and again right before. Nothing is written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from failoverd.core.names import GUARD_FOLDER
from failoverd.core.points import Finding, Obstacle, Wanted
from failoverd.guard.files import TEMPORARY, shown

MARKER = ".stfolder"
NOT_THE_APPS = {GUARD_FOLDER, MARKER, ".stignore", ".stversions", "lost+found"}
LOOKED_AT = 10_000
"""Entries whose owner is looked at; a wrong one is hardly ever alone."""


def obstacles(root: Path, wanted: Wanted, pace: Callable[[], None]) -> tuple[Finding, ...]:
    """Everything that stands in the way, each once with its numbers; what cannot be looked at too. Raises Halt."""
    found: list[Finding] = []
    try:
        found.extend(_obstacles(root, wanted, pace))
    except (FileNotFoundError, NotADirectoryError):
        found.append(Finding(obstacle=Obstacle.MISSING, text=f"{shown(root)} is not there, or is no folder"))
    except OSError as error:
        found.append(Finding(obstacle=Obstacle.UNREADABLE, text=shown(str(error))))
    return tuple(found)


def _obstacles(root: Path, wanted: Wanted, pace: Callable[[], None]) -> Iterator[Finding]:
    names = {path.name for path in root.iterdir()}
    if not [name for name in names if name not in NOT_THE_APPS and not name.startswith(TEMPORARY)]:
        yield Finding(obstacle=Obstacle.EMPTY, text=f"{shown(root)} holds nothing of the app")
    if MARKER not in names:
        text = f"{shown(root)} has no {MARKER}: not the folder Syncthing knows, or somebody removed it"
        yield Finding(obstacle=Obstacle.MARKER, text=text)
    system = os.statvfs(root)
    if system.f_flag & os.ST_RDONLY:
        yield Finding(obstacle=Obstacle.READ_ONLY, text=f"{shown(root)} is mounted read only")
    elif not os.access(root, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        yield Finding(obstacle=Obstacle.READ_ONLY, text=f"uid {os.geteuid()} may not write into {shown(root)}")
    ours = root / GUARD_FOLDER
    if ours.is_dir() and not os.access(ours, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        # What replication brings belongs to the mover's user, and with privileged movers that is root.
        text = f"uid {os.geteuid()} may not write into {shown(ours)}: nothing can be placed"
        yield Finding(obstacle=Obstacle.READ_ONLY, text=text)
    free = shutil.disk_usage(root).free
    if free < wanted.room:
        yield Finding(obstacle=Obstacle.ROOM, text=f"{free} bytes are free, {wanted.room} are wanted")
    if wanted.owner is not None:
        yield from _strangers(root, wanted.owner, pace)


def _strangers(root: Path, owner: tuple[int, int], pace: Callable[[], None]) -> Iterator[Finding]:
    first, count = "", 0
    for number, path in enumerate(islice(_walk(root), LOOKED_AT)):
        with suppress(FileNotFoundError):
            look = path.lstat()
            if (look.st_uid, look.st_gid) != owner:
                first = first or f"{shown(path)} belongs to {look.st_uid}:{look.st_gid}"
                count += 1
        if number % 100 == 99:
            pace()
    if count:
        text = f"{first}, not to {owner[0]}:{owner[1]}" + (f"; {count - 1} more" if count > 1 else "")
        yield Finding(obstacle=Obstacle.OWNER, text=text)


def _walk(root: Path) -> Iterator[Path]:
    yield root
    folders = [root]
    while folders:
        folder = folders.pop(0)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except FileNotFoundError:
            continue
        for entry in entries:
            if entry.name in NOT_THE_APPS or entry.name.startswith(TEMPORARY):
                continue
            yield Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
