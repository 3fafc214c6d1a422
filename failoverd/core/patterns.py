"""Patterns of file names, relative to a volume: what may be written, and what matches.

Between two slashes `*` stands for any characters, `?` for one and `[ab]` for one of these; `**` alone between slashes
stands for any number of folders, and at the end for everything below. A leading dot is a character like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from failoverd.core.names import GUARD_FOLDER

RESERVED = (GUARD_FOLDER, ".stfolder", ".stversions", ".stignore")
"""Ours and Syncthing's, wherever they lie: nothing of the app's."""
ANY = "**"
STARS = 3
"""Of one part of a pattern: each more multiplies what a long name costs by its length."""


def trouble(pattern: str) -> str:
    """What is wrong with a pattern; empty where it can be used."""
    parts = pattern.split("/")
    if not pattern:
        return "must not be empty"
    if pattern.startswith("/"):
        return f'"{pattern}" must be relative to the volume: leave the leading / out'
    if "\0" in pattern:
        return "no file has a NUL in its name"
    if any(part in ("", ".", "..") for part in parts):
        return f'"{pattern}" must name what is in the volume: no empty part, no "." and no ".." between slashes'
    if any(ANY in part and part != ANY for part in parts):
        return f'"{pattern}": ** stands alone between slashes, as in "Backups/**"'
    if any(part.count("*") > STARS and part != ANY for part in parts):
        return f'"{pattern}": at most {STARS} * between two slashes'
    if reserved := next((part for part in parts if part in RESERVED), ""):
        return f'"{pattern}": {reserved} is not the app\'s, and nothing in it is copied'
    return ""


class Patterns:
    """Several of them: a path matches where one of them does. Paths are as the operating system's functions take."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._all = [_compiled(text) for text in texts if not trouble(text)]

    def match(self, path: str) -> bool:
        """Whether a file of that path is meant."""
        parts = path.split("/")
        return not any(part in RESERVED for part in parts) and any(
            len(one) in _reached(one, parts) for one in self._all
        )

    def lead(self, folder: str) -> bool:
        """Whether anything below that folder may be meant."""
        return any(any(at < len(one) for at in _reached(one, folder.split("/"))) for one in self._all)


def _compiled(text: str) -> tuple[re.Pattern[str] | None, ...]:
    """One entry a part, None for `**`."""
    parts = text.split("/")
    if parts[-1] == ANY:  # everything below, but not the folder's own name
        parts.append("*")
    return tuple(None if part == ANY else re.compile(_translated(part), re.DOTALL) for part in parts)


def _translated(part: str) -> str:
    found, rest = "", part
    while rest:
        sign, rest = rest[0], rest[1:]
        if sign == "[" and (end := rest.find("]", 2 if rest.startswith("!") else 1)) > 0:
            inside, rest = rest[:end], rest[end + 1 :]
            wrong = inside.startswith("!")
            found += f"[{'^' if wrong else ''}{_class(inside[wrong:])}]"
        else:
            found += {"*": ".*", "?": "."}.get(sign, re.escape(sign))
    return found


def _class(inside: str) -> str:
    """What stands between brackets: characters, and ranges that go up; one that goes down is its two ends."""
    found, rest = "", inside
    while rest:
        if len(rest) > 2 and rest[1] == "-":
            first, last, rest = rest[0], rest[2], rest[3:]
            found += re.escape(first) + ("-" if first <= last else "") + re.escape(last)
        else:
            found, rest = found + re.escape(rest[0]), rest[1:]
    return found


def _reached(pattern: Sequence[re.Pattern[str] | None], parts: Sequence[str]) -> set[int]:
    """How much of a pattern these parts may have used up."""
    at = _past(pattern, {0})
    for part in parts:
        went = {n for n in at if n < len(pattern) and pattern[n] is None}
        went |= {n + 1 for n in at if n < len(pattern) and (one := pattern[n]) is not None and one.fullmatch(part)}
        at = _past(pattern, went)
    return at


def _past(pattern: Sequence[re.Pattern[str] | None], at: set[int]) -> set[int]:
    """The same where `**` may stand for nothing as well."""
    found = set(at)
    for n, one in enumerate(pattern):
        if one is None and n in found:
            found.add(n + 1)
    return found
