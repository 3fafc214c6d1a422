"""Reaching into raw objects: what is there, of the kind it should be; and the selector terms they contain. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Raw = Mapping[str, Any]


class Malformed(Exception):
    """A field that must be there is not, or is of another type; the text names it."""


def dig(raw: Any, *path: str | int, kind: type | tuple[type, ...] = object) -> Any:
    """The value at `path`, None where any part of it is absent. Raises Malformed when it is not of `kind`."""
    value = raw
    for part in path:
        if isinstance(part, str) and isinstance(value, Mapping):
            value = value.get(part)
        elif value is None:
            return None
        else:
            raise Malformed(f"{_dotted(path)} is malformed")
    if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise Malformed(f"{_dotted(path)} is malformed")
    return value


def need(raw: Any, *path: str | int, kind: type | tuple[type, ...]) -> Any:
    """Like `dig`, but absence is Malformed too."""
    value = dig(raw, *path, kind=kind)
    if value is None:
        raise Malformed(f"{_dotted(path)} is missing")
    return value


def _dotted(path: Iterable[str | int]) -> str:
    return ".".join(str(part) for part in path)


def met(terms: Iterable[Any], labels: Mapping[str, str], node_name: str) -> bool:
    """Whether node selector terms admit a node with these labels. Raises Malformed.

    Terms are alternatives, the requirements of one must all hold, an empty term admits nothing (core/v1).
    """
    return any(_term(term, labels, node_name) for term in terms)


def _term(term: Raw, labels: Mapping[str, str], node_name: str) -> bool:
    expressions = dig(term, "matchExpressions", kind=list) or []
    fields = dig(term, "matchFields", kind=list) or []
    met = [_met(part, labels) for part in expressions]
    met += [_met(part, {"metadata.name": node_name}) for part in fields]
    return bool(met) and all(met)


def _met(requirement: Raw, labels: Mapping[str, str]) -> bool:
    key, operator = need(requirement, "key", kind=str), need(requirement, "operator", kind=str)
    values = dig(requirement, "values", kind=list) or []
    found = labels.get(key)
    match operator:
        case "In":
            return found in values
        case "NotIn":
            return found not in values
        case "Exists":
            return found is not None
        case "DoesNotExist":
            return found is None
        case "Gt" | "Lt":
            try:
                have, limit = int(found or ""), int(values[0])
            except (ValueError, IndexError):
                return False
            return have > limit if operator == "Gt" else have < limit
    raise Malformed(f"node affinity uses operator {operator!r}")
