"""Core nouns as plain JSON data and back, exactly; and what changed between two such pieces of data.

The one rule of this file: `decode(kind, encode(kind, value)) == value`. So a value whose declared type leaves its
class open (`Folder | Unknown`, any `Action`) carries the class's name under `is`, durations are whole microseconds,
and keys that are tuples are JSON lists in a text.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

TAG = "is"
"""Key of the class's name."""
MICROSECOND = timedelta(microseconds=1)
KEPT = 500
"""Pieces of each class that are remembered, so that what stays the same is not worked out every tick."""

Tree = Any
"""What `json.loads` returns."""
Change = list[Any]
"""`[path, value]` sets, `[path]` takes away; a path is a list of keys, the empty one means everything."""


class Undecodable(Exception):
    """Data that is not what its type says; the text names the place."""


@dataclass(frozen=True, slots=True)
class Coder:
    """Both ways of one type. `decode` raises Undecodable."""

    encode: Callable[[Any], Tree]
    decode: Callable[[Tree], Any]


def encode(kind: Any, value: object) -> Tree:
    """`value`, of the type `kind`, as JSON data."""
    return coder(kind).encode(value)


def decode(kind: Any, tree: Tree) -> Any:
    """The value of the type `kind` that `tree` is. Raises Undecodable."""
    return coder(kind).decode(tree)


@cache
def coder(kind: Any) -> Coder:
    """Both ways of `kind`. Raises TypeError for a type that no core noun is made of."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is object or kind is Any:
        return Coder(lambda value: value, lambda tree: tree)
    if kind in (str, int, float, bool, NoneType):
        return _scalar(kind)
    if kind is timedelta:
        return Coder(lambda value: value // MICROSECOND, lambda tree: _needs(int, tree) * MICROSECOND)
    if kind is datetime:
        return Coder(lambda value: value.isoformat(), _moment)
    if origin in (Union, UnionType):
        return _union(inner)
    if origin is tuple:
        return _tuple(inner)
    if origin is frozenset:
        one = coder(inner[0])
        return Coder(
            lambda value: [one.encode(part) for part in sorted(value)],
            lambda tree: frozenset(one.decode(part) for part in _needs(list, tree)),
        )
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(*inner)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return Coder(str, lambda tree: _member(kind, tree))
    if isinstance(kind, type) and is_dataclass(kind):
        return _open(_kinds(kind)) if _kinds(kind) else _record(kind)
    raise TypeError(f"{kind} has no form in JSON")


def _needs(kind: type, tree: Tree) -> Any:
    if not isinstance(tree, kind) or (isinstance(tree, bool) and kind is not bool):
        raise Undecodable(f"{_short(tree)} is no {kind.__name__}")
    return tree


def _short(tree: Tree) -> str:
    text = json.dumps(tree, ensure_ascii=False)
    return text if len(text) <= 40 else text[:40] + "…"


def _scalar(kind: type) -> Coder:
    allowed: type = kind
    if kind is float:  # a whole number is a good float, and JSON tells them apart
        return Coder(lambda value: value, lambda tree: tree if isinstance(tree, int) else _needs(float, tree))
    return Coder(lambda value: value, lambda tree: _needs(allowed, tree))


def _moment(tree: Tree) -> datetime:
    try:
        return datetime.fromisoformat(_needs(str, tree))
    except ValueError as error:
        raise Undecodable(f"{_short(tree)} is no time") from error


def _member(kind: type[StrEnum], tree: Tree) -> StrEnum:
    try:
        return kind(_needs(str, tree))
    except ValueError as error:
        raise Undecodable(f"{_short(tree)} is no {kind.__name__}") from error


def _kinds(kind: type) -> tuple[type, ...]:
    """The classes of `kind`'s module that are kinds of it; none where it has no subclasses."""
    known = vars(sys.modules[kind.__module__]).values()
    return tuple(one for one in known if isinstance(one, type) and issubclass(one, kind) and one is not kind)


def _union(members: tuple[Any, ...]) -> Coder:
    some = [member for member in members if member is not NoneType]
    inner = coder(some[0]) if len(some) == 1 else _open(tuple(some))
    if len(some) == len(members):
        return inner
    return Coder(
        lambda value: None if value is None else inner.encode(value),
        lambda tree: None if tree is None else inner.decode(tree),
    )


def _open(members: tuple[type, ...]) -> Coder:
    """Of several classes, of which at most one is not a dataclass: that one goes without a name."""
    by_class: dict[type, Coder] = {one: _record(one, tagged=True) for one in members if is_dataclass(one)}
    named = {one.__name__: its for one, its in by_class.items()}
    plain = [coder(one) for one in members if one not in by_class]
    if len(plain) > 1:
        raise TypeError(f"{members} cannot be told apart in JSON")

    def encode_one(value: object) -> Tree:
        its = by_class.get(type(value))
        return plain[0].encode(value) if its is None else its.encode(value)

    def decode_one(tree: Tree) -> Any:
        if not isinstance(tree, dict) and plain:
            return plain[0].decode(tree)
        its = named.get(_needs(dict, tree).get(TAG, ""))
        if its is None:
            raise Undecodable(f"{_short(tree.get(TAG))} is none of {', '.join(named)}")
        return its.decode(tree)

    return Coder(encode_one, decode_one)


def _tuple(inner: tuple[Any, ...]) -> Coder:
    if len(inner) == 2 and inner[1] is Ellipsis:
        one = coder(inner[0])
        return Coder(
            lambda value: [one.encode(part) for part in value],
            lambda tree: tuple(one.decode(part) for part in _needs(list, tree)),
        )
    parts = [coder(part) for part in inner]

    def decode_parts(tree: Tree) -> tuple[Any, ...]:
        if len(_needs(list, tree)) != len(parts):
            raise Undecodable(f"{_short(tree)} has not {len(parts)} parts")
        return tuple(its.decode(part) for its, part in zip(parts, tree, strict=True))

    return Coder(
        lambda value: [its.encode(part) for its, part in zip(parts, value, strict=True)],
        decode_parts,
    )


def _mapping(key: Any, value: Any) -> Coder:
    keys, values = coder(key), coder(value)
    if get_origin(key) is tuple:
        keys = _joined(keys)

    def decode_all(tree: Tree) -> dict[Any, Any]:
        found = {}
        for name, part in _needs(dict, tree).items():
            with_name = keys.decode(name)
            found[with_name] = _within(name, values.decode, part)
        return found

    return Coder(
        lambda value: {keys.encode(name): values.encode(part) for name, part in value.items()},
        decode_all,
    )


def _joined(parts: Coder) -> Coder:
    def split(tree: Tree) -> Any:
        try:
            found = json.loads(_needs(str, tree))
        except ValueError as error:
            raise Undecodable(f"{_short(tree)} is no key") from error
        return parts.decode(found)

    return Coder(lambda value: json.dumps(parts.encode(value), separators=(",", ":"), ensure_ascii=False), split)


@cache
def _record(kind: Any, *, tagged: bool = False) -> Coder:
    hints = get_type_hints(kind)
    known = {one.name: coder(hints[one.name]) for one in fields(kind)}
    needed = {one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING}
    tag = {TAG: kind.__name__} if tagged else {}

    def encode_record(value: Any) -> Tree:
        return {**tag, **{name: its.encode(getattr(value, name)) for name, its in known.items()}}

    def decode_record(tree: Tree) -> Any:
        given = _needs(dict, tree)
        for name in given:
            if name not in known and not (tagged and name == TAG):
                raise Undecodable(f"{name}: unknown to this version's {kind.__name__}")
        for name in needed:
            if name not in given:
                raise Undecodable(f"{name}: missing in {kind.__name__}")
        return kind(
            **{name: _within(name, known[name].decode, part) for name, part in given.items() if name in known}
        )

    return Coder(_once(encode_record) if _firm(kind) else encode_record, _once_each(decode_record))


def _firm(kind: Any) -> bool:
    """Whether equal values of `kind` are alike to the last bit: no mapping (it has an order), nothing untyped."""
    if is_dataclass(kind):
        return all(_firm(hint) for hint in get_type_hints(kind).values()) and not _kinds(cast("type", kind))
    if get_args(kind):
        origin = get_origin(kind)
        mapping = isinstance(origin, type) and issubclass(origin, Mapping)
        return not mapping and all(_firm(inner) for inner in get_args(kind) if inner is not Ellipsis)
    return kind is not object and kind is not Any


def _once(work: Callable[[Any], Tree]) -> Callable[[Any], Tree]:
    """`work`, done once for equal values: from one tick to the next most readings say the same."""
    known: dict[Any, Tree] = {}

    def from_memory(value: Any) -> Tree:
        found = known.get(value)
        if found is None:
            if len(known) >= KEPT:
                known.clear()
            found = known[value] = work(value)
        return found

    return from_memory


def _once_each(work: Callable[[Tree], Any]) -> Callable[[Tree], Any]:
    """`work`, done once for each piece of data: `apply` shares what has not changed."""
    known: dict[int, tuple[Tree, Any]] = {}

    def from_memory(tree: Tree) -> Any:
        found = known.get(id(tree))
        if found is None or found[0] is not tree:
            if len(known) >= KEPT:
                known.clear()
            found = known[id(tree)] = (tree, work(tree))  # holding the data keeps its id from being another's
        return found[1]

    return from_memory


def _within(name: str, work: Callable[[Tree], Any], tree: Tree) -> Any:
    try:
        return work(tree)
    except Undecodable as error:
        raise Undecodable(f"{name}: {error}") from None


def changes(before: Tree, after: Tree) -> list[Change]:
    """What makes `after` of `before`, the order of keys included: `apply` does it."""
    return list(_changes((), before, after))


def _changes(path: tuple[str, ...], before: Tree, after: Tree) -> Iterator[Change]:
    if before is after:
        return
    if isinstance(before, dict) and isinstance(after, dict) and before.get(TAG) == after.get(TAG):
        kept = [key for key in before if key in after]
        # Notes are made in the order of what was said: a key that has gone and come back stands elsewhere.
        if kept + [key for key in after if key not in before] == list(after):
            for key in before:
                if key not in after:
                    yield [[*path, key]]
            for key, part in after.items():
                if key not in before:
                    yield [[*path, key], part]
                else:
                    yield from _changes((*path, key), before[key], part)
            return
    if not _same(before, after):
        yield [list(path), after]


def _same(one: Tree, other: Tree) -> bool:
    """Equality of JSON: True is not 1 there, and keys have an order."""
    if isinstance(one, dict | list):
        return json.dumps(one) == json.dumps(other)
    return (type(one), one) == (type(other), other)


def apply(tree: Tree, made: list[Change]) -> Tree:
    """`tree` after the changes `made`; the parts that stay are shared with it. Raises Undecodable."""
    for change in made:
        whole: object = change
        if not isinstance(whole, list) or len(whole) not in (1, 2) or not isinstance(whole[0], list):
            raise Undecodable(f"{_short(change)} is no change")
        tree = _changed(tree, change[0], change[1:])
    return tree


def _changed(tree: Tree, path: list[Any], value: list[Tree]) -> Tree:
    if not path:
        if not value:
            raise Undecodable("a change takes everything away")
        return value[0]
    key = path[0]
    if not isinstance(tree, dict) or not isinstance(key, str) or (key not in tree and (len(path) > 1 or not value)):
        raise Undecodable(f"{_short(key)} of a change is not there")
    if len(path) == 1 and not value:
        return {name: part for name, part in tree.items() if name != key}
    return {**tree, key: _changed(tree.get(key), path[1:], value)}
