"""A file that is not TOML: on which line, and what to write. A parser names the place where it gave up, in its words.

Most often a quote is not closed, text stands without quotes, or a list of tables is written as one table.
"""

from __future__ import annotations

import re

from failoverd.config.problems import Problem, is_list, tables
from failoverd.config.settings import Settings

_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)$")
_QUOTES = re.compile(r"\"\"\"|'''|\"|'|#")


def explained(name: str, text: str, message: str) -> Problem:
    """What `tomllib` says of `text`, in our words where we know better ones."""
    match = _AT_LINE.search(message)
    lines = text.split("\n")
    line = int(match[1]) if match else text.count("\n") + 1
    opened = _unclosed(text)
    if opened is not None and (match is None or opened == line):
        quote = _opening(lines[opened - 1])
        what = f"the quotes ({quote}) of this line do not pair: the text needs one before and one after it"
        if len(quote) == 3:
            what = f"{quote} is opened on this line and never closed"
        return Problem(where=f"{name}:{opened}", key="", text=f"not TOML: {what}")
    what = _AT_LINE.sub("", message).removesuffix(" (at end of document)")
    what = f"{what[:1].lower()}{what[1:]}{_hint(lines[line - 1] if line <= len(lines) else '', what)}"
    return Problem(where=f"{name}:{line}", key="", text=f"not TOML: {what}")


def _hint(line: str, what: str) -> str:
    header = re.match(r"\s*\[{1,2}\s*([a-z.]+)\s*\]", line)
    twice = what.startswith(("Cannot declare", "Cannot overwrite"))
    info = Settings.model_fields.get(header[1]) if header and twice else None
    if header and info is not None and is_list(info.annotation):
        return f"; {header[1]} {tables(header[1])}"
    if twice:
        return ": it stands further up already; keep one of the two"
    if what == "Invalid value":
        return '; text stands in quotes, as in "sonarr"; a duration as in "10s"'
    return ""


def _unclosed(text: str) -> int | None:
    """The line (from 1) of the first quote that is opened and never closed; None where all are closed."""
    at = 0
    while (match := _QUOTES.search(text, at)) is not None:
        mark, at = match[0], match.end()
        if mark == "#":
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
            continue
        closed = _closed(text, at, mark)
        if closed is None:
            return text.count("\n", 0, match.start()) + 1
        at = closed
    return None


def _closed(text: str, at: int, mark: str) -> int | None:
    """Where the string ends that begins at `at`; None where it does not, on its line if it may have one only."""
    end = len(text) if len(mark) == 3 else text.find("\n", at)
    end = len(text) if end < 0 else end
    while at < end:
        if text.startswith(mark, at):
            return at + len(mark)
        at += 2 if text[at] == "\\" and mark[0] == '"' else 1
    return None


def _opening(line: str) -> str:
    """The quote that stays open on this line."""
    at, last = 0, '"'
    while (match := _QUOTES.search(line, at)) is not None and match[0] != "#":
        last = match[0]
        closed = _closed(line, match.end(), last)
        if closed is None:
            return last
        at = closed
    return last
