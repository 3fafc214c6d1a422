"""Field and label selectors, as far as clients use them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from failoverd.simulator.serve_objects import Raw

REQUIREMENT = re.compile(
    r"\s*(?P<none>!?)\s*(?P<name>[\w./-]+)\s*(?:(?P<sign>==|!=|=)\s*(?P<value>[^,]*)"
    r"|\s(?P<set>in|notin)\s*\((?P<values>[^)]*)\))?\s*(?:,|$)"
)


def matches(raw: Raw, query: Mapping[str, str]) -> bool:
    """Whether an object is what the query asks for."""
    labels = raw["metadata"].get("labels") or {}
    return all(_holds(part, labels.get(part["name"])) for part in _parts(query, "labelSelector")) and all(
        _holds(part, _field(raw, part["name"])) for part in _parts(query, "fieldSelector")
    )


def _parts(query: Mapping[str, str], selector: str) -> list[re.Match[str]]:
    return list(REQUIREMENT.finditer(query.get(selector, "")))


def _field(raw: Raw, path: str) -> Any:
    found: Any = raw
    for step in path.split("."):
        found = (found or {}).get(step)
    return found


def _holds(part: re.Match[str], found: Any) -> bool:
    if part["sign"]:
        return bool((found == part["value"].strip()) is (part["sign"] != "!="))
    if part["set"]:
        return bool((found in {value.strip() for value in part["values"].split(",")}) is (part["set"] == "in"))
    return (found is None) is bool(part["none"])
