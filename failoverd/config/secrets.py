"""Secrets: given in the file or the environment, or (better) in a file of their own; and the other files named."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path as FilePath

from pydantic import BaseModel, SecretStr

from failoverd.config import pem
from failoverd.config.locate import Path
from failoverd.config.problems import Origin, Problem

LARGEST = 64 * 1024
"""Nothing that is a secret is longer; a mistyped path to a device or a log is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where the files are that a configuration names."""

    folder: FilePath
    """Of the configuration: what is named without a `/` at its beginning is in there."""
    gathered: FilePath | None = None
    """Where all of them are on this machine instead, each by the last part of its name: for a configuration that is
    shared with machines on which they are elsewhere."""
    looked_at: bool = True

    def place(self, name: str) -> FilePath:
        """Where the file called `name` is."""
        return self.gathered / FilePath(name).name if self.gathered else self.folder / FilePath(name).expanduser()


class Secrets:
    """Reads secrets; what is wrong goes to `problems`. A secret's text never enters a message.

    Without `files` nothing that is named is looked at; `unseen` then says what that leaves unknown.
    """

    def __init__(self, files: Files, origin: Origin) -> None:
        self.place = files.place
        self.origin = origin
        self.files = files.looked_at
        self.problems: list[Problem] = []
        self.unseen: list[Problem] = []

    def look(self, path: Path, file: FilePath) -> bool:
        """Whether to look at `file`, named at `path`."""
        if not self.files:
            self.unseen.append(self.origin.problem(path, str(file)))
        return self.files

    def existing(self, path: Path, name: str) -> FilePath | None:
        """The file called `name`, which is no secret but has to be there; None when none is named."""
        if not name:
            return None
        file = self.place(name)
        if self.look(path, file) and not file.is_file():
            self.missing(path, f"there is no file {file}; make it, or name another")
        return file

    def certificates(self, path: Path, name: str) -> FilePath | None:
        """The same of a file that must hold one or more certificates."""
        file = self.existing(path, name)
        if self.files and file is not None and file.is_file():
            self._unless_good(path, pem.certificates(file))
        return file

    def key_of(self, path: Path, name: str, cert: FilePath | None) -> FilePath | None:
        """The same of a file that must hold the private key of `cert`."""
        file = self.existing(path, name)
        if self.files and all(one is not None and one.is_file() for one in (file, cert)):
            assert file is not None
            assert cert is not None
            if not pem.certificates(cert):  # what is wrong with that one is said with its own key
                self._unless_good(path, pem.key_of(cert, file))
        return file

    def _unless_good(self, path: Path, wrong: str) -> None:
        if wrong:
            self._say(path, wrong)

    def missing(self, path: Path, text: str) -> None:
        """Say that something is not here, which it may be where the configuration is used."""
        self.problems.append(replace(self.origin.problem(path, text), elsewhere=True))

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
            return self._file((*path, f"{field}_file"), self.place(file))
        if needed:
            self._say((*path, field), f"is missing: give {field}_file (a file that holds it) or {field}")
        return ""

    def origin_of(self, table: BaseModel, path: Path, field: str) -> tuple[Path, str]:
        """Where the secret called `field` came from: the key that gave it, and how a message about it begins.

        What is wrong with what a file holds is put right in that file, so the message names it.
        """
        file: str = getattr(table, f"{field}_file")
        return ((*path, f"{field}_file"), f"what {self.place(file)} holds ") if file else ((*path, field), "")

    def _file(self, path: Path, file: FilePath) -> str:
        if not self.look(path, file):
            return ""
        try:
            with file.open("rb") as stream:
                text = stream.read(LARGEST + 1).decode()
        except OSError as error:
            todo = "make it" if isinstance(error, FileNotFoundError) else "let this user read it"
            self.missing(path, f"cannot read {file}: {error.strerror}; {todo}, or name another")
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
