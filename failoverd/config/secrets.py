"""Secrets: given in the file or the environment, or (better) in a file of their own."""

from __future__ import annotations

from pathlib import Path as FilePath

from pydantic import BaseModel, SecretStr

from failoverd.config.locate import Path
from failoverd.config.problems import Origin, Problem

LARGEST = 64 * 1024
"""Nothing that is a secret is longer; a mistyped path to a device or a log is."""


class Secrets:
    """Reads secrets; what is wrong goes to `problems`. A secret's text never enters a message."""

    def __init__(self, folder: FilePath, origin: Origin, *, files: bool = True) -> None:
        """`files`: whether the files that are named must be there, and are read."""
        self.folder = folder
        self.origin = origin
        self.files = files
        self.problems: list[Problem] = []

    def read(self, table: BaseModel, path: Path, field: str, *, needed: bool) -> str:
        """The secret called `field` of `table` at `path`; empty when there is none."""
        given: SecretStr | None = getattr(table, field)
        file: str = getattr(table, f"{field}_file")
        if given is not None and file:
            self._say((*path, field), f"given twice: keep either {field} or {field}_file")
            return ""
        if given is not None:
            if not given.get_secret_value().strip():
                self._say((*path, field), "must not be empty")
            return given.get_secret_value().strip()
        if file:
            return self._file((*path, f"{field}_file"), self.folder / FilePath(file).expanduser())
        if needed:
            self._say((*path, field), f"is missing: give {field}_file (a file that holds it) or {field}")
        return ""

    def _file(self, path: Path, file: FilePath) -> str:
        if not self.files:
            return ""
        try:
            with file.open("rb") as stream:
                text = stream.read(LARGEST + 1).decode()
        except OSError as error:
            self._say(path, f"cannot read {file}: {error.strerror}")
            return ""
        except UnicodeDecodeError:
            self._say(path, f"{file} is not text")
            return ""
        if len(text) > LARGEST or not text.strip():
            self._say(path, f"{file} is {'empty' if not text.strip() else 'too large to be a secret'}")
            return ""
        return text.strip()

    def _say(self, path: Path, text: str) -> None:
        self.problems.append(self.origin.problem(path, text))
