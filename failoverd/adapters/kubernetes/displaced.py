"""What take-backs and restores displaced, one ConfigMap per copy in the daemon's namespace.

Written when one ends, for later nobody can ask Syncthing: it lists versions only while it makes them. Nothing is
added to them until the next take-back or restore, which writes it anew.
"""

from __future__ import annotations

from collections.abc import Iterable

from failoverd.adapters.kubernetes import guards
from failoverd.adapters.kubernetes.client import Client, KubeError
from failoverd.adapters.kubernetes.guards import LIMIT, STOCK, Unreadable, stock_of, stock_text
from failoverd.adapters.kubernetes.memory import merge
from failoverd.adapters.kubernetes.rbac import Need, Where
from failoverd.core import names
from failoverd.core.points import Observed
from failoverd.core.rules import App, Rules, Site
from failoverd.core.stock import Stock


def objects(apps: Iterable[App]) -> tuple[str, ...]:
    """The objects of every copy of `apps`, sorted."""
    copies = {(app.namespace, volume.copy(site).claim) for app in apps for volume in app.volumes for site in Site}
    return tuple(sorted(names.displaced_object(*copy) for copy in copies))


def needs(rules: Rules) -> tuple[Need, ...]:
    """What the daemon needs for them, over making objects; `get` is for who asks in its pod."""
    written = Need(where=Where.OWN, group="", resource="configmaps", verbs=("patch",), fixed=objects(rules.apps))
    return (*reader_needs(rules), written)


def reader_needs(rules: Rules) -> tuple[Need, ...]:
    """What somebody needs who only reads the lists: those of take-backs, and those of guards where there are any."""
    fixed = objects(rules.apps)
    if rules.guard is not None:
        fixed += tuple(sorted(guards.every_object(rules)))
    return (Need(where=Where.OWN, group="", resource="configmaps", verbs=("get",), fixed=fixed),)


async def write(client: Client, own: str, namespace: str, claim: str, stock: Stock) -> None:
    """Replace the list of one copy, or make it. Raises KubeError."""
    name = names.displaced_object(namespace, claim)
    await merge(client, own, name, {STOCK: stock_text(stock, LIMIT)})


async def read(client: Client, own: str, name: str) -> Stock | None:
    """What stands in the object `name`, of a guard or of a take-back; None where there is none.

    Raises KubeError, Unreadable.
    """
    try:
        answer = await client.request("GET", f"/api/v1/namespaces/{own}/configmaps/{name}")
    except KubeError as error:
        if error.status == 404:
            return None
        raise
    data = answer.body.get("data")
    text = data.get(STOCK) if isinstance(data, dict) else None
    if text is not None and not isinstance(text, str):
        raise Unreadable(f"ConfigMap {own}/{name}: {STOCK} is no text")
    return stock_of(text, f"ConfigMap {own}/{name}") if text else None


async def said(client: Client, own: str, name: str) -> Observed | None:
    """What a guard said last; None where it has said nothing, or nothing that can be understood. Raises KubeError."""
    try:
        answer = await client.request("GET", f"/api/v1/namespaces/{own}/configmaps/{name}")
    except KubeError as error:
        if error.status == 404:
            return None
        raise
    return guards.reading(answer.body, f"ConfigMap {own}/{name}").observed
