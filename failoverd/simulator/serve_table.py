"""Objects as the tables that kubectl prints: the server fills every cell, the client only draws them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from failoverd.simulator.serve_objects import Raw

API = "meta.k8s.io/v1"
NONE = "<none>"


@dataclass(frozen=True, slots=True)
class Column:
    """One column between name and age; `wide`: behind them, and only with `-o wide`."""

    name: str
    cell: Callable[[Raw], object]
    wide: bool = False


def wanted(accept: str) -> bool:
    """Whether the first of the accepted forms is a table."""
    parts = accept.replace(" ", "").split(",", maxsplit=1)[0].split(";")
    return {"as=Table", "g=meta.k8s.io"} <= set(parts)


def table(plural: str, items: Iterable[Raw], now: datetime, metadata: Raw, include: str = "") -> Raw:
    """These objects as rows; `include`: what kubectl wants to know of each (`Object`, `None`)."""
    columns = COLUMNS.get(plural, ())
    near, wide = [c for c in columns if not c.wide], [c for c in columns if c.wide]
    ages = [Column("Age", lambda raw: _age(raw["metadata"].get("creationTimestamp"), now))]
    shown = [Column("Name", lambda raw: raw["metadata"]["name"]), *near, *ages, *wide]
    rows = [{"cells": [c.cell(raw) for c in shown], "object": _object(raw, include)} for raw in items]
    heads = [{"name": c.name, "type": "string", "format": "", "priority": int(c.wide)} for c in shown]
    heads[0]["format"] = "name"
    return {"kind": "Table", "apiVersion": API, "metadata": metadata, "columnDefinitions": heads, "rows": rows}


def _object(raw: Raw, include: str) -> Raw | None:
    if include == "None":
        return None
    if include == "Object":
        return raw
    return {"kind": "PartialObjectMetadata", "apiVersion": API, "metadata": raw["metadata"]}


def _age(created: str | None, now: datetime) -> str:
    """As kubectl words durations: two units while the smaller one still says something."""
    if created is None:
        return "<unknown>"
    passed = max(now - datetime.fromisoformat(created), timedelta(0))
    seconds = int(passed.total_seconds())
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 2:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    return f"{hours}h" if days < 2 else f"{days}d"


def _ready(raw: Raw) -> bool:
    conditions = (raw.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _pod_ready(raw: Raw) -> str:
    # A pod's own count outlives its node: nobody is left to lower it.
    counted = raw["status"].get("containerStatuses") or [{"ready": raw["status"]["phase"] == "Running"}]
    return f"{sum(bool(one['ready']) for one in counted)}/{len(counted)}"


def _pod_status(raw: Raw) -> str:
    if raw["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for one in raw["status"].get("containerStatuses") or ():
        if reason := (one["state"].get("waiting") or {}).get("reason"):
            return str(reason)
    return str(raw["status"]["phase"])


def _node_status(raw: Raw) -> str:
    off = ",SchedulingDisabled" if raw["spec"].get("unschedulable") else ""
    return f"{'Ready' if _ready(raw) else 'NotReady'}{off}"


def _workload_ready(raw: Raw) -> str:
    return f"{raw['status'].get('readyReplicas', 0)}/{raw['spec'].get('replicas', 1)}"


def _ports(raw: Raw) -> str:
    return ",".join(f"{port['port']}/{port['protocol']}" for port in raw["spec"]["ports"])


def _involved(raw: Raw) -> str:
    about = raw.get("involvedObject") or {}
    return f"{about.get('kind', '').lower()}/{about.get('name', '')}"


COLUMNS: dict[str, tuple[Column, ...]] = {
    "pods": (
        Column("Ready", _pod_ready),
        Column("Status", _pod_status),
        Column("Restarts", lambda _: "0"),
        Column("Node", lambda raw: raw["spec"].get("nodeName") or NONE, wide=True),
    ),
    "nodes": (
        Column("Status", _node_status),
        Column("Internal-IP", lambda raw: raw["status"]["addresses"][0]["address"], wide=True),
    ),
    "namespaces": (Column("Status", lambda raw: raw["status"]["phase"]),),
    "deployments": (
        Column("Ready", _workload_ready),
        Column("Up-to-date", lambda raw: raw["status"].get("updatedReplicas", 0)),
        Column("Available", lambda raw: raw["status"].get("availableReplicas", 0)),
    ),
    "statefulsets": (Column("Ready", _workload_ready),),
    "persistentvolumeclaims": (
        Column("Status", lambda raw: raw["status"]["phase"]),
        Column("Volume", lambda raw: raw["spec"].get("volumeName", "")),
        Column("Access Modes", lambda _: "RWO"),
    ),
    "persistentvolumes": (Column("Reclaim Policy", lambda raw: raw["spec"]["persistentVolumeReclaimPolicy"]),),
    "services": (
        Column("Type", lambda raw: raw["spec"]["type"]),
        Column("Cluster-IP", lambda raw: raw["spec"].get("clusterIP") or NONE),
        Column("Port(s)", _ports),
    ),
    "secrets": (
        Column("Type", lambda raw: raw["type"]),
        Column("Data", lambda raw: len(raw.get("data") or {})),
    ),
    "configmaps": (Column("Data", lambda raw: len(raw.get("data") or {})),),
    "leases": (Column("Holder", lambda raw: (raw.get("spec") or {}).get("holderIdentity", "")),),
    "events": (
        Column("Type", lambda raw: raw.get("type", "")),
        Column("Reason", lambda raw: raw.get("reason", "")),
        Column("Object", _involved),
        Column("Message", lambda raw: raw.get("message", "")),
    ),
    "replicationsources": (Column("Source", lambda raw: raw["spec"]["sourcePVC"]),),
}
