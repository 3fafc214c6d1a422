"""The page: `/status` for people, in one HTML text without scripts or foreign assets.

The one rule of this file: it shows what `/status` says and nothing else, and everything it shows is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

REFRESH = 5
"""Seconds between two loads."""
STYLE = """
:root { color-scheme: light dark; --line: #8884; --bad: #dc2626; --warn: #b45309; --good: #15803d; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; margin: 0; } h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
table { border-collapse: collapse; width: 100%; } td, th { border-bottom: 1px solid var(--line);
padding: .35rem .6rem .35rem 0; text-align: left; vertical-align: top; } th { font-weight: 600; }
ul { margin: 0; padding-left: 1.1rem; } .bad { color: var(--bad); } .warn { color: var(--warn); }
.good { color: var(--good); } .dim { opacity: .7; } code { font-size: .9em; }
"""


def render(status: Mapping[str, Any]) -> str:
    """The page of one moment."""
    instance = status["instance"]
    title = "failoverd"
    return "\n".join(
        (
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="{REFRESH}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title><style>{STYLE}</style></head><body>",
            f"<h1>{title}</h1>",
            _instance(status["at"], instance),
            "<h2>Apps</h2>",
            _table(
                ("app", "phase", "runs at", "standby", "data age", "copies", "why"), map(_app, status["apps"].items())
            ),
            "<h2>Nodes</h2>",
            _table(("node", "verdict", "evidence", "objections"), map(_node, status["nodes"].items())),
            "<h2>Last moves</h2>",
            _table(("began", "app", "move", "took", "outcome"), _moves(status["apps"])),
            *(("<h2>Channels</h2>", _channels(status["channels"])) if status["channels"] else ()),
            '<p class="dim">Also: <a href="/status">/status</a>, <a href="/metrics">/metrics</a></p>',
            "</body></html>",
            "",
        )
    )


def _instance(at: str | None, instance: Mapping[str, Any]) -> str:
    role = "leader" if instance["leader"] else f"not leader (leader: {instance['holder'] or 'unknown'})"
    facts = [
        f"mode {_text(instance['mode'])}",
        _text(role),
        f"as of {_text(at or 'no tick yet')}",
        f"version {_text(instance['version'])}",
        f"config <code>{_text(instance['config_hash'])}</code>",
    ]
    lines = [f"<p>{' · '.join(facts)}</p>"]
    if instance["api"] != "ok":
        lines.append(f'<p class="bad">API server: {_text(instance["api"])}</p>')
    if instance["paused"]:
        lines.append(f'<p class="warn">{_pause(instance["paused"])}</p>')
    if instance["missing"]:
        lines.append(f'<div class="warn">not read: {_list(instance["missing"])}</div>')
    return "\n".join(lines)


def _app(item: tuple[str, Mapping[str, Any]]) -> tuple[str, ...]:
    key, app = item
    volumes = app["volumes"]
    ages = [f"{_text(name)}: {_age(volume['age_seconds'])}" for name, volume in volumes.items()]
    copies = [
        f"{_text(name)} {_text(site)}: {_text(copy['standing'])}"
        + (f" ({_text(copy['step'])})" if copy["step"] else "")
        for name, volume in volumes.items()
        for site, copy in volume["copies"].items()
        if copy
    ]
    why = []
    if app["frozen"]:
        why.append(f'<div class="bad">frozen: {_text(app["frozen"])}</div>')
    if app["paused"]:
        why.append(f'<div class="warn">{_pause(app["paused"])}</div>')
    if app["wanted"]:
        why.append(f"<div>wants a {_text(app['wanted'])}</div>")
    if app["objections"]:
        why.append(f'<div class="bad">{_list(each["text"] for each in app["objections"])}</div>')
    if app["alarms"]:
        why.append(f'<div class="warn">{_list(each["text"] for each in app["alarms"])}</div>')
    if app["standby"] and not app["standby"]["ready"]:
        head = f"{_text(app['standby']['node'])} could not take over:"
        why.append(f'<div class="warn">{head}{_list(each["text"] for each in app["standby"]["missing"])}</div>')
    if app["standby"] and app["standby"]["warnings"]:
        why.append(f'<div class="dim">{_list(each["text"] for each in app["standby"]["warnings"])}</div>')
    if app["waiting"]:
        why.append(f"<div>waits: {_text(app['waiting'])}</div>")
    site = f"{_text(app['active'])} ({_text(app['node'])}), epoch {_text(app['epoch'])}" if app["active"] else "?"
    return (
        f"<b>{_text(key)}</b>",
        _text(app["phase"] or "?"),
        site,
        _ready(app["standby"]),
        "<br>".join(ages),
        "<br>".join(copies),
        "".join(why) or '<span class="good">nothing to do</span>',
    )


def _ready(standby: Mapping[str, Any] | None) -> str:
    if standby is None:
        return '<span class="dim">not judged</span>'
    return '<span class="good">ready</span>' if standby["ready"] else '<span class="warn">not ready</span>'


def _node(item: tuple[str, Mapping[str, Any]]) -> tuple[str, ...]:
    name, node = item
    colour = {"UP": "good", "DOWN": "bad"}.get(node["verdict"], "warn")
    extra = " proven" * bool(node["proven"]) + " isolated" * bool(node["isolated"])
    return (
        f"<b>{_text(name)}</b>",
        f'<span class="{colour}">{_text(node["verdict"] + extra)}</span>',
        _list(node["evidence"]),
        _list(each["text"] for each in node["objections"]),
    )


def _moves(apps: Mapping[str, Mapping[str, Any]]) -> Iterable[tuple[str, ...]]:
    moves = [(key, move) for key, app in apps.items() for move in [app["move"], *app["moves"]] if move]
    for key, move in sorted(moves, key=lambda pair: str(pair[1]["began_at"]), reverse=True)[:20]:
        took = ", ".join(f"{_text(name)} {seconds} s" for name, seconds in move["parts"].items())
        yield (
            _text(move["began_at"]),
            _text(key),
            _text(f"{move['kind']} {move['source']} → {move['target']}: {move['reason']}"),
            f"{move['seconds']} s" + (f' <span class="dim">({took})</span>' if took else ""),
            _text(move["outcome"] or "in progress"),
        )


def _channels(channels: Iterable[Mapping[str, Any]]) -> str:
    rows = (
        (
            f"<b>{_text(each['name'])}</b>",
            '<span class="bad">broken</span>' if each["broken"] else '<span class="good">works</span>',
            f"{each['sent']} sent, {each['failed']} attempts failed, "
            f"{each['dropped']} lines dropped, {each['queued']} waiting",
        )
        for each in channels
    )
    return _table(("channel", "", "messages"), rows)


def _table(heads: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    return f"<table><tr>{head}</tr>\n{body}\n</table>" if body else '<p class="dim">none</p>'


def _list(items: Iterable[str]) -> str:
    inside = "".join(f"<li>{_text(item)}</li>" for item in items)
    return f"<ul>{inside}</ul>" if inside else ""


def _age(seconds: float | None) -> str:
    return '<span class="warn">unknown</span>' if seconds is None else f"{seconds} s"


def _pause(pause: Mapping[str, Any]) -> str:
    until = f" until {_text(pause['until'])}" if pause["until"] else ""
    return f"paused by {_text(pause['by'])}{until}: {_text(pause['why'])}"


def _text(value: object) -> str:
    return escape(value if isinstance(value, str) else json.dumps(value))
