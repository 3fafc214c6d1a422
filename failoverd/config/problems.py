"""What is wrong with a configuration, one line a problem: where, which key, what, and what to write."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from failoverd.config.locate import Path
from failoverd.config.settings import ENV_DELIMITER, ENV_PREFIX, Settings

LATER_VALUES: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("mode",): ("approve",),
    ("notify", "type"): ("matrix", "gotify", "email", "telegram", "pushover", "teams"),
}
LATER_KEYS = ("drill", "drills", "approve", "restore", "schedule", "after_hours")
"""What is planned but absent is refused by name: ignoring it would promise safety that is not there."""
SECRETS = ("token", "url", "secret")
"""Keys whose values are never repeated, not even wrong ones."""
NOT_HERE = "not available in this version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing to be put right."""

    where: str
    """File and line, or the environment variable."""
    key: str
    text: str
    elsewhere: bool = False
    """Something is not here that may be where the configuration is used."""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.key, self.text) if part)


class ConfigError(Exception):
    """The configuration cannot be used; `problems` holds every reason found, each one line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(in_order(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where values came from: the file with the line of each key, and the environment variables in force."""

    file: str
    lines: Mapping[Path, int]
    environ: Mapping[str, str]

    def where(self, path: Path) -> str:
        """The variable or the line that set `path`, or the nearest table around it."""
        variable = self.variable(path)
        if variable:
            return variable
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return f"{self.file}:{self.lines[path[:end]]}"
        return self.file

    def variable(self, path: Path) -> str:
        """The environment variable that set `path`; empty when none did."""
        for end in range(len(path), 0, -1):
            wanted = ENV_PREFIX + ENV_DELIMITER.join(str(part) for part in path[:end])
            for name in self.environ:
                if name.upper() == wanted.upper():
                    return name
        return ""

    def first(self, *paths: Path) -> Path:
        """The first of `paths` that was set at all: the one to point at when several clash."""
        return next((path for path in paths if path in self.lines or self.variable(path)), paths[0])

    def problem(self, path: Path, text: str) -> Problem:
        """A problem with the value at `path`."""
        return Problem(where=self.where(path), key=dotted(path), text=text)


def dotted(path: Path) -> str:
    """`("apps", 0, "name")` as `apps[0].name`."""
    out = ""
    for part in path:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else part
    return out


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?` where something known resembles `word`, else what is known if that is short."""
    names = [str(name) for name in known]
    meant = [name for name in names if len(word) > 2 and name.startswith(f"{word.lower()}-")]
    if len(meant) > 1:  # "proxmox" is a beginning of several, and resembles one of them by chance
        return f"; did you mean {one_of(meant)}?"
    close = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f"; choose {one_of(names)}" if 0 < len(names) <= 6 else ""


def one_of(names: Iterable[str]) -> str:
    """`"a", "b" or "c"`."""
    quoted = [f'"{name}"' for name in names]
    return " or ".join(part for part in (", ".join(quoted[:-1]), quoted[-1]) if part) if quoted else "nothing"


def tables(header: str) -> str:
    """What is said where `[header]` was written, one table, and `[[header]]` is meant."""
    return f"may be there several times: write [[{header}]], in double brackets"


def translate(error: ValidationError, origin: Origin) -> list[Problem]:
    """Each error of the typed settings in our words."""
    return [_one(details, origin) for details in error.errors(include_url=False)]


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """By file and line, environment first; of one place and key only the first."""
    first: dict[tuple[str, str], Problem] = {}
    for problem in problems:
        first.setdefault((problem.where, problem.key), problem)
    return sorted(first.values(), key=_order)


def _order(problem: Problem) -> tuple[str, int]:
    file, _, line = problem.where.rpartition(":")
    return (file, int(line)) if line.isdigit() else ("", 0)


def unknown_key(path: Path, origin: Origin) -> Problem:
    """The problem of a key that nobody knows."""
    key = str(path[-1])
    if key in LATER_KEYS:
        return origin.problem(path, NOT_HERE)
    siblings = fields_at(path[:-1])
    close = difflib.get_close_matches(key.lower(), siblings, n=1, cutoff=0.6)
    if close:
        return origin.problem(path, f'unknown key; did you mean "{close[0]}"?')
    elsewhere = [name for name in known_keys() if name.rpartition(".")[2] == key and "[" not in name]
    if elsewhere:
        return origin.problem(path, f"unknown key here; {_belongs(elsewhere[0])}")
    return origin.problem(path, f"unknown key; known here: {', '.join(siblings)}")


def _belongs(name: str) -> str:
    """Where a misplaced key is to stand: one of no table before the first header, for what follows is in that one."""
    table, _, key = name.rpartition(".")
    return f"it belongs to {name}" if table else f'"{key}" belongs to no table: write it above the first [table]'


def _one(details: ErrorDetails, origin: Origin) -> Problem:
    path = details["loc"]
    kind, value = details["type"], details["input"]
    context = details.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown_key(path, origin)
    if kind == "missing":
        return origin.problem(path, "is missing")
    if kind in ("enum", "literal_error"):
        return origin.problem(path, _choice(path, value, str(context["expected"])))
    if kind == "value_error":
        return origin.problem(path, str(context["error"]))
    if path and path[-1] in SECRETS:
        return origin.problem(path, "must be text")
    header = ".".join(part for part in path if isinstance(part, str))
    if kind == "tuple_type" and isinstance(value, dict) and fields_at(path):
        return origin.problem(path, tables(header))
    if kind.startswith("model_") and isinstance(value, list):
        return origin.problem(path, f"is one table, not several: write [{header}], in single brackets")
    return origin.problem(path, _plain(kind, value, context, details["msg"]))


def _choice(path: Path, value: object, expected: str) -> str:
    where = tuple(part for part in path if isinstance(part, str))
    if value in LATER_VALUES.get(where, ()):
        return f'"{value}" is {NOT_HERE}'
    known = re.findall(r"'([^']*)'", expected)
    return f"{_quoted(value)} is unknown{suggestion(str(value), known)}"


def _plain(kind: str, value: object, context: Mapping[str, object], message: str) -> str:
    shapes = {"int": "a whole number", "string": "text", "bool": "true or false", "float": "a number"}
    shapes |= {"tuple": "a list", "model": "a table", "dict": "a table", "secret": "text"}
    for start, shape in shapes.items():
        if kind.startswith(start + "_") and kind.rpartition("_")[2] in ("type", "parsing", "float", "size"):
            return f"must be {shape}, not {_quoted(value)}"
    if kind == "greater_than_equal":
        return f"must be at least {context['ge']}, not {value}"
    if kind == "greater_than":
        return f"must be more than {context['gt']:g}, not {value}"
    if kind == "less_than_equal":
        return f"must be at most {context['le']:g}, not {value}"
    if kind == "string_too_short":
        return "must not be empty"
    return message[:1].lower() + message[1:]


def _quoted(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (dict, BaseModel)):
        return "a table"
    return f'"{value}"' if isinstance(value, str) else str(value)


def fields_at(path: Path) -> list[str]:
    """Keys that may be written in the table at `path`; empty where none are fixed."""
    model: type[BaseModel] = Settings
    for part in path:
        if isinstance(part, int):
            continue
        inner = part in model.model_fields and table_of(model.model_fields[part].annotation)
        if not inner:
            return []
        model = inner
    return list(model.model_fields)


def table_of(annotation: object) -> type[BaseModel] | None:
    """The table class inside an annotation such as `tuple[AppTable, ...]`; None where there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (table_of(argument) for argument in getattr(annotation, "__args__", ()))
    return next((table for table in inner if table is not None), None)


def is_list(annotation: object) -> bool:
    """Whether a key holds a list."""
    return getattr(annotation, "__origin__", None) is tuple


def known_keys(model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Every key there is, as `failover.cooldown` or `apps[].name`."""
    names: list[str] = []
    for name, info in model.model_fields.items():
        inner = table_of(info.annotation)
        if inner is None:
            names.append(prefix + name)
        else:
            dots = "[]." if is_list(info.annotation) else "."
            names += known_keys(inner, f"{prefix}{name}{dots}")
    return names
