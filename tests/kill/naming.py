"""What a request is called: verb, path template and, for a write, what it changes.

Two requests with one name in one state of the move are the same point: killing at the first is killing at each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MEMORY = "configmaps/failoverd-memory"
_API = re.compile(r"^/(?:api/v1|apis/[^/]+/[^/]+)/")
_PROXY = re.compile(r"services/https:volsync-(?P<source>[^/]+)-api:[^/]+/proxy/rest/(?P<path>.*)$")
_UPID = re.compile(r"UPID[^/]*")
_LANE = re.compile(r"-x\d+\b")
"""Ends the names of what lies beside other worlds at one real API server."""
_POD = re.compile(r"\b(pods|events)/[^/?]+")
"""Whose names are made by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One outgoing request of an instance."""

    number: int
    """From 1, per instance."""
    front: str
    """Which server it is for: `kube`, `proxmox`."""
    method: str
    path: str
    query: Mapping[str, str]
    body: bytes
    state: str
    """Of the app as Memory had it when the request came."""
    name: str
    token: str = ""
    """The bearer token it was sent with."""

    @property
    def point(self) -> str:
        """Where in a move this is."""
        return f"{self.state} | {self.name}"

    @property
    def writes(self) -> bool:
        """Whether it asks for a change, our own Lease left out."""
        return self.method != "GET" and "leases/" not in self.name


def name_of(front: str, method: str, path: str, query: Mapping[str, str], body: bytes, before: str) -> str:
    """The name of a request; `before` is the Memory last seen, as JSON text."""
    if front != "kube":
        return f"{method} {front} {_UPID.sub('*', path.removeprefix('/api2/json/'))}"
    found = _PROXY.search(path)
    if found:
        what = f" {_folder_change(body)}" if method == "PATCH" else ""
        return f"{method} syncthing {found['source']} {found['path']}{what}"
    short = _LANE.sub("", _POD.sub(r"\1/*", _API.sub("", path)))
    short = re.sub(r"namespaces/[^/]+/", "", short)
    verb = "WATCH" if query.get("watch") else method
    if method == "PATCH" and ("deployments/" in short or "statefulsets/" in short):
        return f"{verb} {short} {_patch(body)}"
    if method in ("PUT", "POST") and (short == MEMORY or _creates(body, "failoverd-memory")):
        return f"{verb} {MEMORY} {memory_change(before, _memory_text(body))}"
    if method == "PATCH" and "configmaps/failoverd-guard" in short:
        wanted = _json(_json(body).get("data", {}).get("wanted", "{}"))
        return f"{verb} {short} {wanted.get('duty')}{' and place' if wanted.get('move') else ''}"
    if method == "POST" and short in ("configmaps", "leases"):
        return f"{verb} {short}/{_LANE.sub('', str(_json(body).get('metadata', {}).get('name')))}"
    return f"{verb} {short}"


def state_of(text: str) -> str:
    """The state of the one app in a Memory: its phase, and what its copies are worth unless all is well."""
    for app in (_json(text).get("apps") or {}).values():
        parts = [str(app.get("phase"))]
        for volume in app.get("volumes", {}).values():
            for site, copy in sorted(volume.get("copies", {}).items()):
                if copy.get("standing") not in ("active", "clean"):
                    parts.append(f"{site} {copy['standing']}{' ' + copy['step'] if copy.get('step') else ''}")
        return ", ".join(parts)
    return "nothing remembered"


def memory_change(before: str, after: str) -> str:
    """What a write of Memory is for, in a few words."""
    if state_of(before) != state_of(after):
        return f"to {state_of(after)}"
    old, new = _json(before), _json(after)
    changed = [key for key in ("nodes", "commands", "pauses", "incidents") if old.get(key) != new.get(key)]
    for key, app in (new.get("apps") or {}).items():
        was = (old.get("apps") or {}).get(key) or {}
        changed += [part for part in ("move", "moves", "undo", "stable_since") if was.get(part) != app.get(part)]
    return " ".join(changed) or "proofs"


def memory_text(answer: bytes) -> str:
    """The Memory within an answered ConfigMap; empty when there is none."""
    return _memory_text(answer)


def _memory_text(body: bytes) -> str:
    data = _json(body).get("data")
    return str(data.get("memory.json", "")) if isinstance(data, dict) else ""


def _creates(body: bytes, name: str) -> bool:
    metadata = _json(body).get("metadata")
    return isinstance(metadata, dict) and metadata.get("name") == name


def _folder_change(body: bytes) -> str:
    found = _json(body)
    versioning = found.get("versioning")
    kept = f" versioning {versioning.get('type') or 'off'}" if isinstance(versioning, dict) else ""
    return f"{found.get('type', '')}{kept}".strip()


def _patch(body: bytes) -> str:
    try:
        ops = json.loads(body)
    except ValueError:
        return "unreadable"
    told = []
    for op in ops if isinstance(ops, list) else ():
        if op.get("op") == "test":
            continue
        last = str(op.get("path", "")).rpartition("/")[2].replace("~1", "/").rpartition("/")[2]
        if last == "leader":  # who leads in this run is no part of what is done
            continue
        value = op.get("value")
        tells = isinstance(value, str | int) and len(str(value)) < 24 and last != "epoch"  # each move has its own
        shown = f"={value}" if tells else ""
        told.append(f"{'-' if op.get('op') == 'remove' else ''}{last}{shown}")
    return " ".join(told)


def _json(text: bytes | str) -> dict[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
