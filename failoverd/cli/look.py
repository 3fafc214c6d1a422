"""`failoverd status`, `why` and `history`: read, and say it in the daemon's own words."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from failoverd.cli.cluster import connect, find
from failoverd.cli.configuration import loaded_apart
from failoverd.cli.exits import Exit
from failoverd.cli.table import brief, table
from failoverd.core.ahead import LOST
from failoverd.core.counts import counted
from failoverd.core.model import Why
from failoverd.core.rules import Mode

MEMORY_ONLY = (
    "no daemon's web server was reached, nor the leading pod: "
    "this is what Memory holds, without nodes, ages and objections"
)


def status(arguments: argparse.Namespace) -> int:
    """Show every app, or one."""
    return asyncio.run(_status(arguments))


def why(arguments: argparse.Namespace) -> int:
    """Explain one app."""
    return asyncio.run(_why(arguments))


def history(arguments: argparse.Namespace) -> int:
    """Show past moves and holds."""
    return asyncio.run(_history(arguments))


async def _status(arguments: argparse.Namespace) -> int:
    config = loaded_apart(arguments)
    only = find(config.rules, arguments.app).key if arguments.app else ""
    async with connect(config, arguments) as cluster:
        found, live = await cluster.status()
    apps = {key: app for key, app in found["apps"].items() if only in ("", key)}
    if arguments.output == "json":
        print(json.dumps({**found, "apps": apps, "live": live}, indent=2))
        return Exit.OK
    _say_who_answers(found, live=live)
    if Mode.ACTIVE in (config.rules.mode, (found.get("instance") or {}).get("mode")):
        print(f"note: {config.rules.experimental}", file=sys.stderr)
    heads = ("APP", "ACTIVE", "PHASE", "PRIMARY", "BACKUP", "STANDBY", "DATA AGE", "SAYS")
    print(table(heads, [_row(key, app) for key, app in apps.items()]))
    if found.get("nodes") and not only:
        print()
        print(table(("NODE", "VERDICT", "DOMAIN", "SAYS"), [_node(*item) for item in found["nodes"].items()]))
    return Exit.OK


async def _why(arguments: argparse.Namespace) -> int:
    config = loaded_apart(arguments)
    key = find(config.rules, arguments.app).key
    async with connect(config, arguments) as cluster:
        found, live = await cluster.status()
    app = found["apps"].get(key)
    if arguments.output == "json":
        print(json.dumps({"app": key, "live": live, **(app or {})}, indent=2))
        return Exit.OK
    _say_who_answers(found, live=live)
    print("\n".join(explain(key, app, found.get("nodes", {}))))
    return Exit.OK


def _say_who_answers(found: dict[str, Any], *, live: bool) -> None:
    """Whether it was a daemon, and the one that decides: `kubectl exec deploy/…` picks any."""
    instance = found.get("instance") or {}
    if not live:
        print(f"note: {MEMORY_ONLY}", file=sys.stderr)
    elif instance.get("leader") is False:
        leads = f"{instance['holder']} leads and decides" if instance.get("holder") else "nobody leads now"
        print(f"note: asked was an instance that only follows, and says what it sees; {leads}", file=sys.stderr)


async def _history(arguments: argparse.Namespace) -> int:
    config = loaded_apart(arguments)
    key = find(config.rules, arguments.app).key if arguments.app else ""
    async with connect(config, arguments) as cluster:
        entries = [entry for entry in await cluster.history() if key in ("", entry.get("app"))]
    entries = entries[-arguments.count :]
    if arguments.output == "json":
        print(json.dumps(entries, indent=2))
    elif entries:
        print(
            table(
                ("WHEN", "APP", "WHAT", "OUTCOME", "TOOK", "LOST AT MOST", "MOVE", "BECAUSE"),
                [_past(one) for one in entries],
            )
        )
    else:
        print("nothing has moved or been held yet")
    return Exit.OK


def explain(key: str, app: dict[str, Any] | None, nodes: dict[str, Any]) -> Iterator[str]:
    """One app in sentences: what it does, what objects, what its copies are worth, what its node looks like."""
    if app is None or app.get("phase") is None:
        yield f"{key}: nothing is known of it yet"
        return
    where = f"active on {app['active']} ({app['node']})" if app["active"] else "not adopted yet"
    yield f"{key}: {app['phase']}, {where}, epoch {app['epoch']}"
    yield from (f"  {line}" for line in _reasons(app))
    for name, volume in app["volumes"].items():
        yield f"  volume {name}: {_copies(volume)}, data age {_age(volume)}{_origin(volume)}"
    node = nodes.get(app["node"])
    if node:
        yield f"  node {app['node']}: {'; '.join([node['verdict'], *node['evidence']])}"
    for move in app["moves"][:1]:
        yield f"  last move: {_arrow(move)} at {move['began_at']}: {move['outcome']}, {move['reason']}"


def _reasons(app: dict[str, Any]) -> Iterator[str]:
    if app["frozen"]:
        yield f"frozen: {app['frozen']}"
    if app["paused"]:
        yield _pause(app["paused"])
    if app["move"]:
        yield f"moving: {_arrow(app['move'])}: {app['move']['reason']}"
    if app["waiting"]:
        yield f"waiting for: {app['waiting']}"
    if app["wanted"] and not app["move"]:
        yield f"wanted: {app['wanted']}" + ("" if app["objections"] else ", and nothing objects")
    elif not app["move"] and not app["frozen"]:
        yield "nothing calls for a move"
    standby = app.get("standby")
    if standby and standby["ready"]:
        yield f"{standby['node']} could take it over now"
    elif standby:
        alarms = {one["text"] for one in app["alarms"]}  # told below, once
        missing = [one["text"] for one in standby["missing"]]
        told = [text for text in missing if text not in alarms] or ["see the alarm"]
        yield from (f"{standby['node']} could not take it over now: {text}" for text in told)
    if standby:
        yield from (f"warning: {one['text']}" for one in standby["warnings"])
    yield from (f"objects: {objection['text']}" for objection in _unsaid(app, "objections"))
    objected = {objection["text"] for objection in app["objections"]}
    yield from (f"alarm: {one['text']}" for one in _unsaid(app, "alarms") if one["text"] not in objected)


def _pause(pause: dict[str, Any]) -> str:
    """In the words of the objection that speaks against a move meanwhile."""
    until = f" until {pause['until'][:16].replace('T', ' ')} UTC" if pause["until"] else ""
    return f"paused by {pause['by'] or 'somebody'}{until}: {pause['why'] or 'no reason given'}"


def _unsaid(app: dict[str, Any], kind: str) -> Iterator[dict[str, Any]]:
    """Objections or alarms; that an app is frozen, which is both, is told once, and first."""
    return (one for one in app[kind] if not (app["frozen"] and one.get("why") == Why.FROZEN))


def _row(key: str, app: dict[str, Any]) -> tuple[str, ...]:
    volumes = app["volumes"].values()
    standings = ["\n".join(_standing(volume, site) for volume in volumes) for site in ("primary", "backup")]
    ages = "\n".join(_age(volume) for volume in volumes)
    return (
        key,
        app["active"] or "?",
        app["phase"] or "unknown",
        *standings,
        _fit(app),
        ages,
        "\n".join(dict.fromkeys(_says(app))),
    )


def _fit(app: dict[str, Any]) -> str:
    standby = app.get("standby")
    return "?" if standby is None else "ready" if standby["ready"] else "not ready"


def _says(app: dict[str, Any]) -> Iterator[str]:
    if app["frozen"]:
        yield f"frozen: {app['frozen']}"
    if app["paused"]:
        yield _pause(app["paused"])
    if app["move"]:
        yield f"{_arrow(app['move'])}: {app['waiting'] or app['move']['reason']}"
    if app["wanted"] and not app["move"]:
        yield f"wants a {app['wanted']}:"
    told = dict.fromkeys(one["text"] for kind in ("objections", "alarms") for one in _unsaid(app, kind))
    yield from told
    standby = app.get("standby") or {"missing": (), "warnings": ()}
    yield from (one["text"] for one in (*standby["missing"], *standby["warnings"]) if one["text"] not in told)


def _node(name: str, node: dict[str, Any]) -> tuple[str, ...]:
    says = [*node["evidence"], *(objection["text"] for objection in node["objections"])]
    return name, node["verdict"], node["domain"], "\n".join(says)


def _past(entry: dict[str, Any]) -> tuple[str, ...]:
    when = str(entry.get("began_at") or entry.get("at") or "")[:19].replace("T", " ")
    parts = entry.get("rto") or {}
    took = brief(timedelta(seconds=sum(parts.values()))) if parts else _lasted(entry)
    held = [str(one.get("text")) for one in entry.get("objections") or ()]
    because = [str(entry["reason"]), *_set_aside(entry)] if entry.get("reason") else held
    what = _arrow(entry) if "target" in entry else f"{entry.get('kind', '')} of a {entry.get('wanted') or 'move'}"
    outcome = str(entry.get("outcome") or "") + ("; stood" if "stood" in (entry.get("marks") or {}) else "")
    lost, move = "\n".join(_losses(entry)), str(entry.get("id", "")) if "target" in entry else ""
    return when, str(entry.get("app", "")), what, outcome, took, lost, move, "\n".join(because)


def _set_aside(entry: dict[str, Any]) -> list[str]:
    """What spoke against a forced move all the same."""
    return [str(one) for one in entry.get("evidence") or () if str(one).startswith("set aside: ")]


def _lasted(entry: dict[str, Any]) -> str:
    """How long a hold that is over lasted."""
    try:
        return brief(datetime.fromisoformat(str(entry["until"])) - datetime.fromisoformat(str(entry["at"])))
    except (KeyError, TypeError, ValueError):
        return ""


def _losses(move: dict[str, Any]) -> Iterable[str]:
    """What a move may have lost, one line a volume; nothing for a planned one."""
    for loss in move.get("losses") or ():
        age = loss.get("age_seconds")
        yield f"{loss.get('volume')}: {brief(timedelta(seconds=age)) if age is not None else 'unknown'}"
    for volume, kept in (move.get("displaced") or {}).items():
        files, size = (int(kept.get(name) or 0) for name in ("files", "size"))
        yield f"{volume}: {counted(files, 'file')} kept, {counted(size, 'byte')}"
    yield from (str(one) for one in move.get("evidence") or () if f": {LOST}: " in str(one))


def _arrow(move: dict[str, Any]) -> str:
    forced = "forced " if move.get("forced") else ""
    return f"{forced}{move.get('kind')} {move.get('source')} -> {move.get('target')}"


def _standing(volume: dict[str, Any], site: str) -> str:
    copy = volume["copies"].get(site)
    return str(copy["standing"]) if copy else "?"


def _copies(volume: dict[str, Any]) -> str:
    return ", ".join(f"{site} {_standing(volume, site)}" for site in volume["copies"])


def _origin(volume: dict[str, Any]) -> str:
    """Where the age comes from, where a guard has a say in it."""
    return f" ({volume['origin']})" if volume.get("origin") else ""


def _age(volume: dict[str, Any]) -> str:
    age = volume["age_seconds"]
    return brief(timedelta(seconds=age) if age is not None else None)
