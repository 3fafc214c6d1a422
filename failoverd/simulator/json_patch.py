"""JSON Patch (RFC 6902) as an API server applies it: all operations or none; a failing `test` is a 422."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping


class PatchFailed(Exception):
    """An operation could not be applied; nothing was changed."""


def apply(document: dict[str, object], operations: Iterable[Mapping[str, object]]) -> dict[str, object]:
    """A patched copy of `document`. Raises PatchFailed at the first operation that does not apply."""
    box: dict[str, object] = {"": copy.deepcopy(document)}
    for operation in operations:
        _apply_one(box, operation)
    result = box[""]
    if not isinstance(result, dict):
        raise PatchFailed("the patch replaces the whole object by something else")
    return result


def _apply_one(box: dict[str, object], operation: Mapping[str, object]) -> None:
    name, path = str(operation.get("op")), str(operation.get("path"))
    match name:
        case "add":
            _add(box, path, copy.deepcopy(operation.get("value")))
        case "remove":
            _remove(box, path)
        case "replace":
            _replace(box, path, copy.deepcopy(operation.get("value")))
        case "test":
            if not equal(_found(box, path), operation.get("value")):
                raise PatchFailed(f"testing value {path} failed")
        case "move":
            value = _remove(box, str(operation.get("from")))
            _add(box, path, value)
        case "copy":
            _add(box, path, copy.deepcopy(_get(box, str(operation.get("from")))))
        case _:
            raise PatchFailed(f"unexpected kind of operation: {name}")


def equal(one: object, other: object) -> bool:
    """JSON equality: `true` is not `1`."""
    if isinstance(one, bool) is not isinstance(other, bool):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def _parts(path: str) -> list[str]:
    if path and not path.startswith("/"):
        raise PatchFailed(f"path {path!r} does not begin with /")
    return [part.replace("~1", "/").replace("~0", "~") for part in ["", *path.split("/")[1:]]]


def _parent(box: dict[str, object], path: str) -> tuple[object, str]:
    parts = _parts(path)
    here: object = box
    for part in parts[:-1]:
        here = _step(here, part, path)
    return here, parts[-1]


def _step(here: object, part: str, path: str) -> object:
    if isinstance(here, dict) and part in here:
        return here[part]
    if isinstance(here, list) and part.isdigit() and int(part) < len(here):
        return here[int(part)]
    raise PatchFailed(f"path {path} does not exist")


def _get(box: dict[str, object], path: str) -> object:
    parent, last = _parent(box, path)
    return _step(parent, last, path)


def _found(box: dict[str, object], path: str) -> object:
    """As `_get`, but what an object lacks counts as null (so does the API server's library)."""
    parent, last = _parent(box, path)
    return parent.get(last) if isinstance(parent, dict) else _step(parent, last, path)


def _replace(box: dict[str, object], path: str, value: object) -> None:
    """Also where an object lacks it: against the RFC, an API server adds it then."""
    if not isinstance(_parent(box, path)[0], dict):
        _remove(box, path)
    _add(box, path, value)


def _add(box: dict[str, object], path: str, value: object) -> None:
    parent, last = _parent(box, path)
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list) and last == "-":
        parent.append(value)
    elif isinstance(parent, list) and last.isdigit() and int(last) <= len(parent):
        parent.insert(int(last), value)
    else:
        raise PatchFailed(f"path {path} does not exist")


def _remove(box: dict[str, object], path: str) -> object:
    parent, last = _parent(box, path)
    _step(parent, last, path)
    if isinstance(parent, list):
        return parent.pop(int(last))
    assert isinstance(parent, dict)
    return parent.pop(last)


def merge(document: object, patch: object) -> object:
    """JSON Merge Patch (RFC 7386): null removes, objects merge, all else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result
