"""Loading the configuration, and again when it changes. A bad new one leaves the old one in force."""

from __future__ import annotations

import copy
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings import SettingsError

from failoverd.config.locate import lines
from failoverd.config.problems import ConfigError, Origin, Problem, dotted, suggestion, translate, unknown_key
from failoverd.config.resolve import resolve
from failoverd.config.resolved import Config
from failoverd.config.secrets import Files
from failoverd.config.settings import ENV_DELIMITER, ENV_PREFIX, Settings
from failoverd.config.syntax import explained

LARGEST = 1024 * 1024
"""Bytes of the largest file that is read; one that the cluster keeps in a ConfigMap cannot be longer."""


def load(path: Path, *, files: bool = True, files_in: Path | None = None) -> Config:
    """The configuration in `path` and the environment. Raises ConfigError with every problem found.

    Without `files` the files it names need not be here: where it is edited is seldom where it is used. `files_in`: a
    folder that has all of them on this machine, whatever folders it names.
    """
    return parsed(_text(path), path, str(path), Files(folder=path.parent, gathered=files_in, looked_at=files))


def parsed(text: str, path: Path, name: str, files: Files) -> Config:
    """The configuration that `text`, called `name` in messages, is when it stands in `path`. Raises ConfigError."""
    try:
        written = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([explained(name, text, str(error))]) from error
    origin = Origin(file=name, lines=lines(text), environ=dict(os.environ))
    problems = [*_unknown(written, origin), *_unknown_variables(origin)]
    known = {key: value for key, value in written.items() if key in Settings.model_fields}
    try:
        settings = Settings(**known)
    except ValidationError as error:
        # A variable that was refused above also makes its table malformed: said once is enough.
        said = {problem.key for problem in problems if problem.where in origin.environ}
        more = [problem for problem in translate(error, origin) if problem.key not in said]
        raise ConfigError([*problems, *more, *_beyond(known, error, origin, path, files)]) from error
    except SettingsError as error:
        raise ConfigError([*problems, _not_json(str(error), origin)]) from error
    try:
        config = resolve(settings, origin, path, files)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from error
    if problems:
        raise ConfigError(problems)
    return config


def _beyond(
    known: Mapping[str, object], error: ValidationError, origin: Origin, path: Path, files: Files
) -> list[Problem]:
    """What else is wrong, as far as that can be told with the misfitting values left out; nothing where they are
    needed. What might be wrong only because they are left out is not said."""
    wrong = [details["loc"] for details in error.errors(include_url=False)]
    rest = copy.deepcopy(dict(known))
    if not all(len(loc) > 1 and _left_out(rest, loc) for loc in wrong):
        return []
    try:
        resolve(Settings(**rest), origin, path, files)  # type: ignore[arg-type]
    except (ValidationError, SettingsError):
        return []
    except ConfigError as found:
        return [one for one in found.problems if not any(_touches(one, loc) for loc in wrong)]
    return []


def _left_out(tables: object, loc: tuple[str | int, ...]) -> bool:
    """Take the value at `loc` out of `tables`; False where it is not there, or no key of a table."""
    for part in loc[:-1]:
        inside = isinstance(tables, dict) and part in tables
        if not inside and not (isinstance(tables, list) and isinstance(part, int) and part < len(tables)):
            return False
        tables = tables[part]  # type: ignore[index]
    if not isinstance(tables, dict) or loc[-1] not in tables:
        return False
    del tables[loc[-1]]
    return True


def _touches(problem: Problem, loc: tuple[str | int, ...]) -> bool:
    """Whether it may be there only because the value at `loc` was left out."""
    member = dotted(loc[:2]) if isinstance(loc[1], int) else dotted(loc)
    return problem.key in (loc[0], dotted(loc)) or problem.key.startswith(f"{member}.") or dotted(loc) in problem.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """What came of loading again: the tables that changed, or the problems that left the old one in force."""

    changed: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


class ConfigSource:
    """The configuration in force, and the file it came from."""

    def __init__(self, path: Path, files_in: Path | None = None) -> None:
        """Load it, as `load` does. Raises ConfigError."""
        self.path = path
        self.files_in = files_in
        self.config = self._read(None)
        self._problems: tuple[Problem, ...] = ()

    def poll(self) -> Reload | None:
        """Load again if the file or one of the files it names changed; None when nothing did.

        While the file is bad it is tried every time, for what it lacks may be a secret's file that is yet to
        come; the same problems are reported once.
        """
        if self._signature(self.config) == self._seen and not self._problems:
            return None
        before = self._problems
        found = self.reload()
        return None if found.problems and found.problems == before else found

    def reload(self) -> Reload:
        """Load again in any case (SIGHUP). Never raises: a bad file is reported and the old one stays."""
        before = self.config
        try:
            after = self._read(before)
        except ConfigError as error:
            self._problems = error.problems
            return Reload(problems=error.problems)
        self.config, self._problems = after, ()
        return Reload(changed=tuple(_changed(before, after)))

    def refuse(self, before: Config, why: str) -> None:
        """Keep `before` in force: the new one is good, but could not be put to work. It is tried again."""
        self.config, self._problems = before, (Problem(where=str(self.path), key="", text=why),)

    def _read(self, known: Config | None) -> Config:
        """Load it. What counts as seen was there before: what changes while it is read is seen by the next poll.

        Raises ConfigError.
        """
        self._seen = self._signature(known)
        config = load(self.path, files_in=self.files_in)
        found = self._signature(config)
        if [name for name, *_ in found] != [name for name, *_ in self._seen]:
            self._seen = found  # it names other files, which too are to be looked at before they are read
            config = load(self.path, files_in=self.files_in)
        return config

    def _signature(self, config: Config | None) -> tuple[tuple[str, int, int, int], ...]:
        where = Files(folder=self.path.parent, gathered=self.files_in)
        files = [self.path, *(where.place(name) for name in (_named_files(config) if config else ()))]
        return tuple(_stat(file) for file in files)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            raw = stream.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise ConfigError([Problem(where=str(path), key="", text=f"is larger than {LARGEST} bytes")])
        # Windows begins a text with a mark; TOML counts its \r\n as one line end, and so must line numbers.
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        text = f"cannot be read: {error.strerror}; give another with --config"
        raise ConfigError([Problem(where=str(path), key="", text=text)]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(where=str(path), key="", text="is not UTF-8 text")]) from error


def _unknown(written: Mapping[str, object], origin: Origin) -> Iterator[Problem]:
    for key in written:
        if key not in Settings.model_fields:
            yield unknown_key((key,), origin)


def _unknown_variables(origin: Origin) -> Iterator[Problem]:
    """Variables of ours that set nothing: the settings library passes over them in silence."""
    for name in sorted(origin.environ):
        if not name.upper().startswith(ENV_PREFIX):
            continue
        head, *rest = name[len(ENV_PREFIX) :].lower().split(ENV_DELIMITER)
        if head not in Settings.model_fields:
            text = f"sets nothing{suggestion(head, Settings.model_fields)}"
            yield Problem(where=name, key="", text=text)
        elif rest and head in ("apps", "pairs", "fencing", "witness", "notify"):
            text = f"a list is set as a whole: {ENV_PREFIX}{head.upper()}='[{{...}}]' (JSON); secrets by *_file"
            yield Problem(where=name, key=head, text=text)


def _not_json(message: str, origin: Origin) -> Problem:
    match = re.search(r'field "([^"]+)"', message)
    path = (match[1],) if match else ()
    return Problem(where=origin.where(path), key=match[1] if match else "", text="is not valid JSON")


def _named_files(config: Config) -> Iterator[str]:
    for table in (*config.settings.fencing, *config.settings.notify):
        for name in type(table).model_fields:
            file = getattr(table, name) if name.endswith("_file") else ""
            if file:
                yield file


def _stat(file: Path) -> tuple[str, int, int, int]:
    """What changes with a file's content: mounted ConfigMaps swap a link, so the inode counts as well."""
    try:
        stat = file.stat()
    except OSError:
        return str(file), 0, 0, 0
    return str(file), stat.st_ino, stat.st_mtime_ns, stat.st_size


def _changed(before: Config, after: Config) -> Iterator[str]:
    # A secret's file may have changed under the same name.
    inside = {"fencing": before.fences != after.fences, "notify": before.channels != after.channels}
    for name in Settings.model_fields:
        if getattr(before.settings, name) != getattr(after.settings, name) or inside.get(name):
            yield name
