"""On which line of a TOML document each key stands, so that an error can name it.

Parsers hand out values without positions. This scanner is run on documents that `tomllib` has accepted, so it
only has to find its way, not to judge.
"""

from __future__ import annotations

import re

Path = tuple[str | int, ...]
"""A key's path: names, and the positions of list members."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]+")
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}


def lines(text: str) -> dict[Path, int]:
    """Line (counted from 1) of every table, key and list member of a valid TOML document."""
    return _Scanner(text).document()


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[Path, int] = {}
        self.counts: dict[Path, int] = {}

    def document(self) -> dict[Path, int]:
        table: Path = ()
        while self._skip(newlines=True):
            if self.text.startswith("[[", self.at):
                table = self._header("[[")
            elif self.text[self.at] == "[":
                table = self._header("[")
            else:
                self._pair(table)
        return self.found

    def _header(self, opening: str) -> Path:
        line = self._line()
        self.at += len(opening)
        names = self._key()
        self._skip()
        self.at += len(opening)
        path: Path = ()
        for name in names[:-1]:
            path = (*path, name)
            self.found.setdefault(path, line)
            if path in self.counts:
                path = (*path, self.counts[path] - 1)
        path = (*path, names[-1])
        self.found.setdefault(path, line)
        if opening == "[[":
            count = self.counts.get(path, 0)
            self.counts[path] = count + 1
            path = (*path, count)
        self.found.setdefault(path, line)
        return path

    def _pair(self, table: Path) -> None:
        line = self._line()
        path = table
        for name in self._key():
            path = (*path, name)
            self.found.setdefault(path, line)
        self._skip()
        self.at += 1
        self._skip()
        self._value(path)

    def _value(self, path: Path) -> None:
        self.found.setdefault(path, self._line())
        start = self.text[self.at]
        if start in "\"'":
            self._string()
        elif start == "[":
            self._list(path)
        elif start == "{":
            self._inline(path)
        else:
            match = _SCALAR.match(self.text, self.at)
            self.at = match.end() if match else self.at + 1

    def _list(self, path: Path) -> None:
        self.at += 1
        count = 0
        while self._skip(newlines=True) and self.text[self.at] != "]":
            if self.text[self.at] == ",":
                self.at += 1
                continue
            self._value((*path, count))
            count += 1
        self.at += 1

    def _inline(self, path: Path) -> None:
        self.at += 1
        while self._skip(newlines=True) and self.text[self.at] != "}":
            if self.text[self.at] == ",":
                self.at += 1
                continue
            self._pair(path)
        self.at += 1

    def _key(self) -> list[str]:
        names: list[str] = []
        while True:
            self._skip()
            if self.text[self.at] in "\"'":
                names.append(self._string())
            else:
                match = _BARE.match(self.text, self.at)
                assert match is not None, "the document was parsed before"
                names.append(match.group())
                self.at = match.end()
            self._skip()
            if self.text[self.at] != ".":
                return names
            self.at += 1

    def _string(self) -> str:
        """Step over a string; its value matters for quoted keys alone."""
        quote = self.text[self.at]
        end = quote * 3 if self.text.startswith(quote * 3, self.at) else quote
        self.at += len(end)
        out: list[str] = []
        while not self.text.startswith(end, self.at):
            char = self.text[self.at]
            if char == "\\" and quote == '"':
                out.append(self._escape())
            else:
                out.append(char)
                self.at += 1
        self.at += len(end)
        # A multi-line string may end in one or two quotes of its own before the closing three.
        while len(end) == 3 and self.text.startswith(quote, self.at):
            self.at += 1
        return "".join(out)

    def _escape(self) -> str:
        kind = self.text[self.at + 1]
        width = {"u": 4, "U": 8}.get(kind, 0)
        digits = self.text[self.at + 2 : self.at + 2 + width]
        self.at += 2 + width
        return chr(int(digits, 16)) if width else _ESCAPES.get(kind, kind)

    def _skip(self, *, newlines: bool = False) -> bool:
        """Step over blanks and comments; whether anything is left."""
        blank = " \t\r\n" if newlines else " \t"
        while self.at < len(self.text):
            if self.text[self.at] in blank:
                self.at += 1
            elif newlines and self.text[self.at] == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                return True
        return False

    def _line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1
