"""What daemon and guards say to each other: one ConfigMap per copy of a volume, in the daemon's namespace.

Its `wanted` is the daemon's, its `observed` the guard's. The daemon makes the object; a guard may read it and change
it, and nothing else in the cluster. What is kept in the volume it names in a third text, `stock`, for whoever asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from failoverd.adapters.kubernetes.client import MERGE_PATCH, Client, KubeError
from failoverd.adapters.kubernetes.rbac import Need, Where
from failoverd.core import names
from failoverd.core.points import POINTS_SCHEMA, GuardReading, Observed, Wanted
from failoverd.core.rules import SITES, App, Rules, Site
from failoverd.core.stock import STOCK_SCHEMA, Stock, shorter

WANTED, OBSERVED, STOCK = "wanted", "observed", "stock"
LABELS = {"app.kubernetes.io/part-of": names.PART_OF, "app.kubernetes.io/component": names.GUARD_COMPONENT}
"""Of every object; the daemon watches what bears them."""
LIMIT = 900_000
"""Bytes of an `observed`: a ConfigMap may hold 1 MiB in all, what is wanted included."""
STOCK_LIMIT = 50_000
"""Bytes of a guard's `stock`: the daemon watches the object, and gets all of it with every change."""

Told = TypeVar("Told", Wanted, Observed, Stock)
_WANTED: TypeAdapter[Wanted] = TypeAdapter(Wanted)
_OBSERVED: TypeAdapter[Observed] = TypeAdapter(Observed)
_STOCK: TypeAdapter[Stock] = TypeAdapter(Stock)


class Unreadable(Exception):
    """The object is there and says nothing that can be acted on; the text names the place and what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is wanted, and the API server's time when it was read."""

    wanted: Wanted
    date: datetime


def objects(apps: Iterable[App], namespace: str, site: Site) -> tuple[str, ...]:
    """The objects of one guard: of every volume of `apps` in `namespace`, the copy at `site`. Sorted."""
    claims = {volume.copy(site).claim for app in apps if app.namespace == namespace for volume in app.volumes}
    return tuple(sorted(names.guard_object(namespace, claim) for claim in claims))


def every_object(rules: Rules) -> tuple[str, ...]:
    """The objects of all guards there may be, sorted."""
    spaces = sorted({app.namespace for app in rules.apps})
    return tuple(sorted(one for space in spaces for site in SITES for one in objects(rules.apps, space, site)))


def needs(fixed: Iterable[str]) -> tuple[Need, ...]:
    """What a guard of these objects needs."""
    return (Need(where=Where.OWN, group="", resource="configmaps", verbs=("get", "patch"), fixed=tuple(fixed)),)


def daemon_needs(rules: Rules) -> tuple[Need, ...]:
    """What the daemon needs for its guards, over making the objects: nothing where it has none."""
    if rules.guard is None:
        return ()
    return (
        # A watch of many objects cannot be limited to their names: one watch serves them all.
        Need(where=Where.OWN, group="", resource="configmaps", verbs=("list", "watch")),
        Need(where=Where.OWN, group="", resource="configmaps", verbs=("patch",), fixed=every_object(rules)),
    )


def reading(raw: Mapping[str, Any] | None, where: str) -> GuardReading:
    """What stands in an object, None for one that is not there. What cannot be understood is said, never empty."""
    if raw is None:
        return GuardReading()
    version = str((raw.get("metadata") or {}).get("resourceVersion") or "")
    data = raw.get("data")
    texts = data if isinstance(data, dict) else {}
    try:
        wanted = parse(texts[WANTED], where) if texts.get(WANTED) else None
    except Unreadable:  # told anew: it is ours alone to write
        wanted = None
    try:
        said = observed(texts[OBSERVED], where) if texts.get(OBSERVED) else None
    except Unreadable as error:
        return GuardReading(version=version, wanted=wanted, trouble=str(error))
    if said is not None and said.at.tzinfo is None:
        return GuardReading(version=version, wanted=wanted, trouble=f"{where}: {OBSERVED}: a time without a zone")
    return GuardReading(version=version, wanted=wanted, observed=said)


async def order(client: Client, own: str, name: str, wanted: Wanted, version: str) -> str:
    """Order it, against the `version` that was read; an empty one makes the object. Says what was done.

    Raises KubeError: 409 where it is of another version by now, and nothing was ordered.
    """
    base, query = f"/api/v1/namespaces/{own}/configmaps", {"fieldManager": names.FIELD_MANAGER}
    metadata: dict[str, Any] = {"labels": LABELS}
    if version:
        body = {"metadata": {**metadata, "resourceVersion": version}, "data": {WANTED: wanted_text(wanted)}}
        await client.request("PATCH", f"{base}/{name}", body, content_type=MERGE_PATCH, query=query)
        return f"ordered to {wanted.duty}"
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**metadata, "name": name}}
    try:
        await client.request("POST", base, {**made, "data": {WANTED: wanted_text(wanted)}}, query=query)
    except KubeError as error:
        if error.status != 409:
            raise
        # Somebody made it without our labels, so that no watch of ours has shown it: nothing is ordered unread.
        await client.request("PATCH", f"{base}/{name}", {"metadata": metadata}, content_type=MERGE_PATCH, query=query)
        return "it was there already: labelled, and ordered once it was read"
    return f"made, ordered to {wanted.duty}"


class GuardObject:
    """The object of one copy, as its guard sees it."""

    def __init__(self, client: Client, own: str, name: str) -> None:
        self.where = f"ConfigMap {own}/{name}"
        self._client = client
        self._path = f"/api/v1/namespaces/{own}/configmaps/{name}"
        self._listed: Stock | None = None

    async def read(self) -> Order:
        """What is wanted now, from the API server itself. Raises KubeError, Unreadable."""
        answer = await self._client.request("GET", self._path)
        if answer.date is None:
            raise Unreadable(f"{self.where}: the API server's answer has no Date, and points carry its time")
        data = answer.body.get("data")
        text = data.get(WANTED) if isinstance(data, dict) else None
        if not isinstance(text, str) or not text:
            raise Unreadable(f"{self.where} has no `{WANTED}` yet")
        return Order(wanted=parse(text, self.where), date=answer.date)

    async def write(self, observed: Observed) -> None:
        """Say what was seen and done; the names of what is kept only when they have changed. Raises KubeError."""
        data, stock = {OBSERVED: observed_text(observed)}, observed.stock
        if stock is not None and stock != self._listed:
            data[STOCK] = stock_text(stock)
        query = {"fieldManager": f"{names.FIELD_MANAGER}-guard"}
        await self._client.request("PATCH", self._path, {"data": data}, content_type=MERGE_PATCH, query=query)
        self._listed = stock


def wanted_text(wanted: Wanted) -> str:
    """What the daemon writes."""
    return _WANTED.dump_json(wanted).decode()


def stock_text(stock: Stock, limit: int = STOCK_LIMIT) -> str:
    """What is kept in a volume, as it is written: numbers, and as many of the newest names as there is room for."""
    text, most = _STOCK.dump_json(stock).decode(), len(stock.newest)
    while len(text) > limit and most:
        most //= 2
        text = _STOCK.dump_json(shorter(stock, most)).decode()
    return text


def stock_of(text: str, where: str) -> Stock:
    """It again, out of its text. Raises Unreadable."""
    found = _read(_STOCK, text, f"{where}: {STOCK}", STOCK_SCHEMA)
    if any(one.tzinfo is None for one in (found.at, *(one.at for one in found.newest))):
        raise Unreadable(f"{where}: {STOCK}: a time without a zone")
    return found


def observed_text(observed: Observed) -> str:
    """What a guard writes: all of it, or as much as the object can hold, with the number of entries left out."""
    if observed.stock is not None:
        observed = replace(observed, stock=replace(observed.stock, newest=()))
    text = _OBSERVED.dump_json(observed).decode()
    for most in (1000, 300, 100, 30, 10, 3, 0):
        if len(text) <= LIMIT:
            break
        text = _OBSERVED.dump_json(_cut(observed, most)).decode()
    return text


def _cut(observed: Observed, most: int) -> Observed:
    """At most `most` entries of every kind."""
    placed = observed.placed
    lists: list[tuple[object, ...]] = [observed.kept, observed.proven, observed.sick]
    if placed is not None:
        lists += [placed.databases, placed.live, placed.displaced]
        placed = replace(
            placed,
            databases=placed.databases[:most],
            live=placed.live[:most],
            displaced=placed.displaced[:most],
            ahead=placed.ahead[:most],
        )
    return replace(
        observed,
        kept=observed.kept[:most],
        proven=observed.proven[:most],
        sick=observed.sick[:most],
        placed=placed,
        left_out=sum(max(0, len(one) - most) for one in lists),
    )


def parse(text: str, where: str) -> Wanted:
    """What is wanted, out of its text. Raises Unreadable."""
    wanted = _read(_WANTED, text, f"{where}: {WANTED}")
    shares = 0 < wanted.share <= 1 and 0 < wanted.io_share <= 1
    if not (shares and wanted.keep > 0 and wanted.epoch >= 0):
        rule = "share and io_share must be above 0 and at most 1, keep at least 1, epoch at least 0"
        raise Unreadable(f"{where}: {WANTED}: {rule}")
    return wanted


def observed(text: str, where: str) -> Observed:
    """What a guard said, out of its text. Raises Unreadable."""
    return _read(_OBSERVED, text, f"{where}: {OBSERVED}")


def _read(adapter: TypeAdapter[Told], text: str, where: str, schema: int = POINTS_SCHEMA) -> Told:
    try:
        found = adapter.validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        raise Unreadable(f"{where}: {place} can't be understood: {first['msg']}") from None
    if found.schema > schema:
        raise Unreadable(f"{where} is of a newer failoverd: run that")
    return found
