"""Writes the simulator's modules as mypyc compiles them best: dataclasses become plain classes.

A dataclass's methods are made when the program runs, so they stay interpreted, and every object of a tick is made by
one. Here `__init__`, `__eq__`, `__hash__` and what `again.replace` does are written out. Nothing else is changed: it
is ordinary Python that does the same when interpreted, but that nothing is frozen and no `repr` made.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

AGAIN = '''"""`replace` and a table of fields for classes that were dataclasses."""

from __future__ import annotations

import dataclasses
from dataclasses import Field, field
from typing import Any, TypeVar

T = TypeVar("T")


def field_table(*names: str) -> dict[str, Field[Any]]:
    kind: Any = dataclasses
    table: dict[str, Any] = {}
    for name in names:
        one: Any = field()
        one.name, one._field_type = name, kind._FIELD
        table[name] = one
    return table


def replace(one: T, /, **changes: Any) -> T:
    given: Any = one
    made: T = given.again_(changes)
    return made
'''
IMPORTS = (
    "from dataclasses import Field\nfrom typing import Any, ClassVar\nfrom failoverd.core.again import field_table\n"
)
FUTURE = "from __future__ import annotations\n"
PLAIN = frozenset({"int", "bool", "float", "str"})
"""Compared by value alone; everything else by identity first, as tuples compare what is in them."""
EMPTY = {"dict": "{}", "list": "[]"}


class Unprepared(Exception):
    """Something that is not understood here, by file and line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class One:
    """One field, in words of the source."""

    name: str
    type: str
    usual: str = ""
    """Its default; empty where there is none."""
    made: str = ""
    """What makes its default anew each time."""
    given: bool = True
    """Whether it is an argument."""
    by_name: bool


def rewrite(path: Path) -> str:
    """The text of a module with its dataclasses written out. Raises Unprepared, OSError."""
    text = path.read_text(encoding="utf-8")
    lines, known = text.split("\n"), _known(path, text)
    for node in reversed([one for one in ast.parse(text).body if isinstance(one, ast.ClassDef)]):
        mark = _mark(node)
        if mark is not None:
            _write_out(lines, node, mark, known)
    text = "\n".join(lines)
    if known:
        text = text.replace(FUTURE, FUTURE + IMPORTS, 1)
    found = re.search(r"^from dataclasses import (?:.*, )?replace$", text, re.MULTILINE)
    if found is not None:
        kept = found[0].removesuffix(", replace")
        kept = f"{kept}\n" if kept != found[0] else ""
        text = text.replace(found[0], f"{kept}from failoverd.core.again import replace", 1)
    return text


Known = dict[str, list[tuple[ast.AnnAssign | None, One]]]
"""Fields by class, with where they stand in its body; nowhere where they are inherited."""


def _known(path: Path, text: str) -> Known:
    known: Known = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef) and (mark := _mark(node)) is not None:
            known[node.name] = []
            for base in node.bases:
                if not isinstance(base, ast.Name) or base.id not in known:
                    raise Unprepared(f"{path}:{node.lineno}: a base class that is no dataclass of this file")
                known[node.name] += [(None, one) for _, one in known[base.id]]
            known[node.name] += _fields(path, text, node, mark)
    return known


def _write_out(lines: list[str], node: ast.ClassDef, mark: ast.expr, known: Known) -> None:
    methods = {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
    assert node.end_lineno is not None
    assert mark.end_lineno is not None
    made = _methods(node, [one for _, one in known[node.name]], mark, methods)
    lines[node.end_lineno : node.end_lineno] = ["", *made]
    for place, one in reversed(known[node.name]):
        if place is not None:
            assert place.end_lineno is not None
            lines[place.lineno - 1 : place.end_lineno] = [f"    {one.name}: {one.type}"]
    lines[mark.lineno - 1 : mark.end_lineno] = []


def _mark(node: ast.ClassDef) -> ast.expr | None:
    """The decorator that makes a dataclass of it."""
    for one in node.decorator_list:
        name = one.func if isinstance(one, ast.Call) else one
        if isinstance(name, ast.Name) and name.id == "dataclass":
            return one
    return None


def _given(mark: ast.expr) -> dict[str | None, object]:
    return {one.arg: ast.literal_eval(one.value) for one in mark.keywords} if isinstance(mark, ast.Call) else {}


def _fields(path: Path, text: str, node: ast.ClassDef, mark: ast.expr) -> Iterator[tuple[ast.AnnAssign, One]]:
    given = _given(mark)
    if not given.keys() <= {"frozen", "slots", "kw_only"}:
        raise Unprepared(f"{path}:{node.lineno}: of dataclass only frozen, slots and kw_only are known")

    def words(found: ast.expr | None) -> str:
        return ast.get_source_segment(text, found) or "" if found is not None else ""

    for one in node.body:
        if not isinstance(one, ast.AnnAssign) or not isinstance(one.target, ast.Name):
            continue
        value, by_name = one.value, bool(given.get("kw_only"))
        known = One(name=one.target.id, type=words(one.annotation), by_name=by_name)
        if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "field"):
            yield one, replace(known, usual=f"({words(value)})" if value is not None else "")
            continue
        said = {keyword.arg: words(keyword.value) for keyword in value.keywords}
        factory = said.get("default_factory", "")
        if not said.keys() <= {"default", "default_factory", "init"} or (factory and known.type.endswith("| None")):
            raise Unprepared(f"{path}:{one.lineno}: a field of this kind is not known")
        made = EMPTY.get(factory, f"({factory})()") if factory else ""
        yield one, replace(known, usual=said.get("default", ""), made=made, given=said.get("init") != "False")


def _methods(node: ast.ClassDef, fields: list[One], mark: ast.expr, methods: set[str]) -> Iterator[str]:
    yield f"    def __init__({', '.join(_arguments(fields))}) -> None:"
    for one in fields:
        if one.given:
            made = f"{one.made} if {one.name} is None else {one.name}" if one.made else one.name
            yield f"        self.{one.name} = {made}"
        elif one.made or one.usual:
            yield f"        self.{one.name} = {one.made or one.usual}"
    if "__post_init__" in methods:
        yield "        self.__post_init__()"
    elif not fields:
        yield "        pass"
    if "__eq__" not in methods:
        yield from (
            "    def __eq__(self, other: object) -> bool:",
            "        if self is other:",
            "            return True",
            f"        if not isinstance(other, {node.name}) or type(other) is not type(self):",
            "            return False",
            f"        return {' and '.join(map(_equal, fields)) or 'True'}",
        )
    if _given(mark).get("frozen"):
        yield "    def __hash__(self) -> int:"
        yield f"        return hash(({''.join(f'self.{one.name}, ' for one in fields)}))"
    if all(one.given for one in fields):
        ordered = sorted(fields, key=lambda one: one.by_name)
        same = ", ".join(f"{one.name}=self.{one.name}" if one.by_name else f"self.{one.name}" for one in ordered)
        yield from (
            "    def again_(self, changes: dict[str, Any]) -> Any:",
            f"        made = {node.name}({same})",
            "        for name, value in changes.items():",
            "            setattr(made, name, value)",
            "        return made",
        )
    names = ", ".join(repr(one.name) for one in fields)
    yield f"    __dataclass_fields__: ClassVar[dict[str, Field[Any]]] = field_table({names})"


def _arguments(fields: list[One]) -> Iterator[str]:
    yield "self"
    for by_name in (False, True):
        listed = [one for one in fields if one.given and one.by_name is by_name]
        if by_name and listed:
            yield "*"
        for one in listed:
            if one.made:
                yield f"{one.name}: {one.type} | None = None"
            else:
                yield f"{one.name}: {one.type}" + (f" = {one.usual}" if one.usual else "")


def _equal(one: One) -> str:
    alike = f"self.{one.name} == other.{one.name}"
    return alike if one.type in PLAIN else f"(self.{one.name} is other.{one.name} or {alike})"


def write(folder: Path, modules: list[str]) -> None:
    """Rewrite these modules of a copy in `folder`, by their paths in it. Raises Unprepared, OSError."""
    for name in modules:
        (folder / name).write_text(rewrite(folder / name), encoding="utf-8")
    (folder / "failoverd/core/again.py").write_text(AGAIN, encoding="utf-8")
