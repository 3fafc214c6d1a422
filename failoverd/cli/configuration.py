"""`failoverd config …`: nothing here contacts anything."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from failoverd.cli import rbac
from failoverd.cli.exits import Exit
from failoverd.config import Config, load, reference, show

DEFAULT = Path("/etc/failoverd/config.toml")


def path_of(arguments: argparse.Namespace) -> Path:
    """The configuration file that was asked for."""
    return arguments.config or Path(os.environ.get("FAILOVERD_CONFIG") or DEFAULT)


def loaded(arguments: argparse.Namespace) -> Config:
    """The configuration. Raises ConfigError."""
    return load(path_of(arguments))


def check(arguments: argparse.Namespace) -> int:
    """Say that all is well, and what is unwise."""
    config = loaded(arguments)
    for warning in config.warnings:
        print(f"WARNING: {warning}", file=sys.stderr)
    for note in config.notes:
        print(f"note: {note}", file=sys.stderr)
    rules = config.rules
    parts = (
        f"mode {rules.mode}",
        f"{_many(len(rules.apps), 'app')} in {_many(len(rules.pairs), 'pair')}",
        _many(len(config.fences), "fence"),
        _many(len(config.channels), "channel"),
        f"hash {config.hash}",
    )
    print(f"{config.path}: good: {', '.join(parts)}")
    return Exit.OK


def print_shown(arguments: argparse.Namespace) -> int:
    """Print the configuration in force."""
    config = loaded(arguments)
    text = show.as_toml(config) if arguments.output == "toml" else json.dumps(show.shown(config), indent=2) + "\n"
    print(text, end="")
    return Exit.OK


def print_schema(arguments: argparse.Namespace) -> int:  # noqa: ARG001 - every command takes them
    """Print the JSON schema."""
    print(json.dumps(reference.schema(), indent=2))
    return Exit.OK


def print_example(arguments: argparse.Namespace) -> int:  # noqa: ARG001 - every command takes them
    """Print the example."""
    print(reference.example(), end="")
    return Exit.OK


def print_rbac(arguments: argparse.Namespace) -> int:
    """Print Roles and their bindings."""
    print(rbac.manifest(load(path_of(arguments), files=False), arguments.user), end="")
    return Exit.OK


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
