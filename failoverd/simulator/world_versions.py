"""Versions of one side, found and fetched back as Syncthing does it: by name and time, with what is there put aside.

A version's time is its place in the list, and how many were fetched before, for the world keeps no other; its content
is known by its last write.
"""

from __future__ import annotations

from failoverd.core.memory import Version
from failoverd.core.rules import Site
from failoverd.simulator.world import World
from failoverd.simulator.world_data import FILE_BYTES, Content, File
from failoverd.simulator.world_look import stamp
from failoverd.simulator.world_pair import SyncPair
from failoverd.simulator.world_side import Side


def listed(world: World, side: Side) -> list[Version]:
    """All versions this side keeps."""
    return [
        Version(path=path, at=_time(world, 1000 * number), modified=written(world, content), size=FILE_BYTES)
        for number, (path, content) in enumerate(side.disk.versions, side.disk.fetched)
    ]


def written(world: World, content: Content) -> str:
    """When this content was last written."""
    return _time(world, max((part.until_ms for part in content), default=0))


def found(world: World, side: Side, path: str) -> tuple[Version, ...]:
    """The newest version of one file; none where there is none."""
    return tuple([one for one in listed(world, side) if one.path == path][-1:])


def fetch(world: World, pair: SyncPair, site: Site, files: tuple[Version, ...]) -> str:
    """Put them in their places, once; says what was found, empty where a version is gone."""
    side, told = pair.sides[site], "there already"
    for wanted in files:
        if there(world, side, (wanted,)):
            continue
        alike = [one for one in listed(world, side) if (one.path, one.modified) == (wanted.path, wanted.modified)]
        if not alike or not restore(world, side, wanted.path, alike[-1].at):
            return ""
        told = "fetched, read back"
    pair.scan(site)
    pair.kick()
    return told


def there(world: World, side: Side, files: tuple[Version, ...]) -> bool:
    """Whether all of them are in their places."""
    held = [(one, side.disk.files.get(one.path)) for one in files]
    return all(file is not None and written(world, file.content) == one.modified for one, file in held)


def restore(world: World, side: Side, path: str, at: str) -> bool:
    """What Syncthing itself does when asked: put aside what is there first, and only then look for the version."""
    held = side.disk.files.pop(path, None)
    number = next((n for n, one in enumerate(listed(world, side)) if (one.path, one.at) == (path, at)), None)
    content = side.disk.versions.pop(number)[1] if number is not None else None
    side.disk.fetched += content is not None
    if held is not None:
        side.disk.versions.append((path, held.content))
    if content is None:
        return False
    if side.disk.writers:
        side.accuse("I1", f"{side.name}: a version of {path} replaced the running app's")
    side.disk.files[path] = File(content=content, changed_ms=world.time.now_ms)
    side.tell(f"restored {side.name} {path}")
    return True


def _time(world: World, ms: int) -> str:
    return stamp(world, ms)[:19] + "Z"
