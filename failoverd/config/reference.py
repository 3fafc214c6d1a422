"""`config.example.toml`, `docs/configuration.md` and the JSON schema, all made from the settings themselves.

`python -m failoverd.config.reference example|markdown` writes the first two to standard output.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from failoverd.config.durations import show
from failoverd.config.problems import is_list, table_of
from failoverd.config.settings import Settings

EXAMPLES: dict[str, object] = {
    "sites.primary.node": "k3s-w1",
    "sites.backup.node": "k3s-w2",
    "pairs.name": "attic",
    "pairs.primary.node": "k3s-w3",
    "pairs.backup.node": "k3s-w4",
    "apps.name": "sonarr",
    "apps.namespace": "media",
    "apps.require": "proof",
    "apps.place": "newest",
    "apps.max_data_age": "5m",
    "apps.failback": "auto",
    "apps.volumes.name": "config",
    "fencing.node": "k3s-w1",
    "fencing.type": "proxmox-lxc",
    "fencing.url": "https://pve:8006",
    "fencing.guest": "pve/101",
    "fencing.token": "failoverd@pve!fence=00000000-0000-0000-0000-000000000000",
    "fencing.token_file": "/etc/failoverd/proxmox-token",
    "fencing.container": "k3s-w2",
    "fencing.argv": ("/usr/local/bin/fence", "--outlet=3"),
    "witness.node": "k3s-cp1",
    "notify.type": "discord",
    "notify.url": "https://discord.com/api/webhooks/…",
    "notify.url_file": "/etc/failoverd/discord-url",
    "notify.token": "tk_…",
    "notify.secret": "…",
}
"""Values for what has no default, by key."""
OPTIONAL = ("pairs", "fencing", "witness", "notify", "volumes")
"""Tables that the example has in comments: with them it would no longer equal the defaults."""
WIDTH = 100
EXAMPLE_HEAD = """\
# Every key there is, with its default. Only [sites] (or [[pairs]]) and [[apps]] must be written.
# Durations are a number and a unit: "10s", "5m", "1h30m". `failoverd config check` checks a file.
# FAILOVERD__FAILOVER__COOLDOWN=10m in the environment overrides `cooldown` in [failover].
# A line that begins with # and no blank is a key that is not set here.
"""
MARKDOWN_HEAD = """\
# Configuration

One TOML file: `--config FILE`, else the one named in `$FAILOVERD_CONFIG`, else `/etc/failoverd/config.toml`.
`config.example.toml` has every key with its default. This page is made from the same source as both.

- **Durations** are a number and a unit (`d`, `h`, `m`, `s`, `ms`): `"10s"`, `"5m"`, `"1h30m"`.
- **Environment**: `FAILOVERD__FAILOVER__COOLDOWN=10m` overrides `cooldown` in `[failover]`. A list is set
  as a whole, in JSON: `FAILOVERD__APPS='[{"name": "sonarr", "namespace": "media"}]'`.
- **Secrets** (`token`, `url`, `secret`) can each be given in a file of their own (`token_file`, …). A file's
  name is relative to the folder of the configuration. Secrets are never printed.
- **Errors** are one line each, with file, line, key and what to write instead; exit status 2,
  before anything is contacted. They are said all at once, but in two steps where the first hides the second:
  what is no TOML hides the rest, and where a key that must be there is missing, or holds no such value, others are
  compared (names, nodes, durations, files) once that is mended.
  An unknown key is an error. So is a duration that does not go with the others:
  the inequalities stand, with their reasons, in `failoverd/config/timing.py`. So is a file that is named and not
  there, or a certificate or key that cannot be parsed; `failoverd config check --without-files` checks the rest
  where the daemon does not run.
- **Reload**: on SIGHUP, and when the file or a secret's file changes. A bad file is reported and the old
  configuration stays in force.
- **One for all instances**: `failoverd run --config-from configmap:NAMESPACE/NAME` follows what the pods mount and
  keeps a local copy; `--files DIR` finds the named files on a machine that has them elsewhere
  ([installation](installation.md#one-configuration)).
- `failoverd config show` prints what results, conventions applied and secrets masked; `failoverd config
  schema` prints a JSON schema.
"""


def example() -> str:
    """The text of `config.example.toml`."""
    body: list[str] = []
    tables: list[str] = []
    for name, info in Settings.model_fields.items():
        table = table_of(info.annotation)
        if table is None:
            body += _example_key(name, info, name)
        else:
            tables += _example_table(name, table, many=is_list(info.annotation), hidden=name in OPTIONAL)
    return EXAMPLE_HEAD + "\n" + "\n".join([*body, *tables]).rstrip() + "\n"


def markdown() -> str:
    """The text of `docs/configuration.md`."""
    parts = [MARKDOWN_HEAD, "## Top level\n", *_rows(Settings, "")]
    for name, info in Settings.model_fields.items():
        table = table_of(info.annotation)
        if table is not None:
            parts += _section(name, table, many=is_list(info.annotation))
    return "\n".join(parts).rstrip() + "\n"


def schema() -> dict[str, Any]:
    """The JSON schema of the file."""
    return Settings.model_json_schema(mode="validation", schema_generator=_Schema)


class _Schema(GenerateJsonSchema):
    """Defaults as they would be written: left alone, durations would be ISO 8601."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, timedelta):
            return show(dft)
        return dft.model_dump(mode="json") if isinstance(dft, BaseModel) else super().encode_default(dft)


def _example_table(path: str, table: type[BaseModel], *, many: bool, hidden: bool) -> Iterator[str]:
    mark = "#" if hidden else ""
    fields = table.model_fields.items()
    plain = [(name, info) for name, info in fields if table_of(info.annotation) is None]
    inner = [(name, info, found) for name, info in fields if (found := table_of(info.annotation))]
    yield ""
    for line in textwrap.wrap(" ".join((table.__doc__ or "").split()), WIDTH - 2):
        yield f"# {line}"
    if plain or many:
        yield f"{mark}[[{path}]]" if many else f"{mark}[{path}]"
    for name, info in plain:
        for line in _example_key(f"{path}.{name}", info, name):
            yield mark + line if not line.startswith("#") else line
    for name, info, found in inner:
        listed = is_list(info.annotation)
        yield from _example_table(f"{path}.{name}", found, many=listed, hidden=hidden or name in OPTIONAL)


def _example_key(path: str, info: FieldInfo, name: str) -> Iterator[str]:
    choices = kind(info).replace("`", "")
    about = (info.description or "") + (f" One of {choices}." if '"' in choices else "")
    for line in textwrap.wrap(about, WIDTH - 2):
        yield f"# {line}"
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    mark = "#" if default is None and not info.is_required() else ""
    yield f"{mark}{name} = {written(EXAMPLES.get(path, default))}"


def _section(path: str, table: type[BaseModel], *, many: bool) -> Iterator[str]:
    yield f"## `[[{path}]]`\n" if many else f"## `[{path}]`\n"
    yield " ".join((table.__doc__ or "").split()) + "\n"
    yield from _rows(table, path)
    for name, info in table.model_fields.items():
        found = table_of(info.annotation)
        if found is not None:
            yield from _section(f"{path}.{name}", found, many=is_list(info.annotation))


def _rows(table: type[BaseModel], path: str) -> Iterator[str]:
    rows = []
    for name, info in table.model_fields.items():
        if table_of(info.annotation) is None:
            default = "required" if info.is_required() else _default(info)
            about = " ".join((info.description or "").split())
            rows.append(f"| `{name}` | {kind(info)} | {default} | {about} |")
    if rows:
        yield "| key | value | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    elif path:
        yield "Only the tables below.\n"


def _default(info: FieldInfo) -> str:
    value = info.get_default(call_default_factory=True)
    return "none" if value in (None, "", ()) else f"`{written(value)}`"


def kind(info: FieldInfo) -> str:
    """What may be written for a key, in words."""
    types = [part for part in (info.annotation, *getattr(info.annotation, "__args__", ())) if part]
    for part in types:
        if isinstance(part, type) and issubclass(part, StrEnum):
            return " or ".join(f'`"{member}"`' for member in part)
    names = {
        bool: "true or false",
        int: "whole number",
        float: "number",
        timedelta: "duration",
        SecretStr: "secret",
        str: "text",
    }
    if getattr(info.annotation, "__origin__", None) is dict:
        return "table of texts"
    if is_list(info.annotation):
        return "list of texts"
    return next((word for wanted, word in names.items() if wanted in types), "duration")


def written(value: object) -> str:
    """`value` as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return f'"{show(value)}"'
    if isinstance(value, dict):
        inside = ", ".join(f"{key} = {written(one)}" for key, one in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, tuple):
        return f"[{', '.join(written(one) for one in value)}]"
    return str(value) if isinstance(value, int | float) else f'"{value}"'


if __name__ == "__main__":
    sys.stdout.write({"example": example, "markdown": markdown}[sys.argv[1]]())
