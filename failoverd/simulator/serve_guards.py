"""The guards' objects over HTTP: what the daemon writes becomes an order, what the world's guards say is shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from failoverd.core import names
from failoverd.core.points import Observed, Wanted
from failoverd.core.rules import SITES
from failoverd.simulator.world import World
from failoverd.simulator.world_guard import Key

OWN = "failoverd"
"""The namespace of the objects."""
LABELS = {"app.kubernetes.io/part-of": names.PART_OF, "app.kubernetes.io/component": names.GUARD_COMPONENT}

_WANTED: TypeAdapter[Wanted] = TypeAdapter(Wanted)
_OBSERVED: TypeAdapter[Observed] = TypeAdapter(Observed)


def _copies(world: World) -> Iterator[tuple[str, Key]]:
    for truth in world.apps.values() if world.guards is not None else ():
        for volume in truth.app.volumes:
            for site in SITES:
                name = names.guard_object(truth.app.namespace, volume.copy(site).claim)
                yield name, (truth.app.key, volume.name, site)


def find(world: World, plural: str, namespace: str, name: str) -> Key | None:
    """Whose object this is; None where it is nobody's."""
    if (plural, namespace) != ("configmaps", OWN):
        return None
    return next((key for known, key in _copies(world) if known == name), None)


def take(world: World, key: Key, raw: dict[str, Any]) -> None:
    """Take the order in an object that was written. Raises ValueError for one that no guard would understand."""
    assert world.guards is not None
    wanted = _WANTED.validate_json((raw.get("data") or {}).get("wanted", ""), strict=True)
    world.guards.order(key, wanted, world.guards.reading(key).version)


def objects(world: World) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, what is in it) of every object there is."""
    for name, key in _copies(world):
        assert world.guards is not None
        reading = world.guards.reading(key)
        if reading.version:
            data = {}
            if reading.wanted is not None:
                data["wanted"] = _WANTED.dump_json(reading.wanted).decode()
            if reading.observed is not None:
                data["observed"] = _OBSERVED.dump_json(reading.observed).decode()
            yield name, {"metadata": {"labels": LABELS}, "data": data}
