"""`failoverd config …`: nothing here contacts anything."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from failoverd.cli.exits import Exit
from failoverd.cli.parts import part
from failoverd.config import Config, ConfigError, Problem, load

REFERENCE = "failoverd.config.reference"
DEFAULT = Path("/etc/failoverd/config.toml")
ELSEWHERE = "; if it lies elsewhere on this machine: --files DIR"
BESIDE = f"{ELSEWHERE}; if it is only where the daemon runs, do this there"
"""What may help where a file that the configuration names is not there: the daemon itself, and whoever asks."""


def path_of(arguments: argparse.Namespace) -> Path:
    """The configuration file that was asked for."""
    return arguments.config or Path(os.environ.get("FAILOVERD_CONFIG") or DEFAULT)


def loaded(arguments: argparse.Namespace) -> Config:
    """The configuration with everything it names. Raises ConfigError."""
    try:
        return load(path_of(arguments), files_in=arguments.files)
    except ConfigError as error:
        hint = "" if arguments.files else ELSEWHERE if arguments.command == "run" else BESIDE
        raise ConfigError(_hinted(problem, hint) for problem in error.problems) from error


def loaded_apart(arguments: argparse.Namespace) -> Config:
    """The configuration for a command that needs no file it names: these are where the daemon runs, which may not be
    here. Raises ConfigError."""
    return load(path_of(arguments), files=False)


def check(arguments: argparse.Namespace) -> int:
    """Say that all is well, and what is unwise."""
    config = _looked_over(arguments)
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
    unseen = f" ({_many(len(config.unseen), 'file')} not looked at)" if config.unseen else ""
    print(f"{config.path}: good{unseen}: {', '.join(parts)}")
    return Exit.OK


def print_shown(arguments: argparse.Namespace) -> int:
    """Print the configuration in force."""
    config = _looked_over(arguments)
    as_toml = arguments.output == "toml"
    shown = part("failoverd.config.show", "as_toml" if as_toml else "shown")(config)
    print(shown if as_toml else json.dumps(shown, indent=2) + "\n", end="")
    return Exit.OK


def print_schema(arguments: argparse.Namespace) -> int:  # noqa: ARG001 - every command takes them
    """Print the JSON schema."""
    print(json.dumps(part(REFERENCE, "schema")(), indent=2))
    return Exit.OK


def print_example(arguments: argparse.Namespace) -> int:  # noqa: ARG001 - every command takes them
    """Print the example."""
    print(part(REFERENCE, "example")(), end="")
    return Exit.OK


def print_rbac(arguments: argparse.Namespace) -> int:
    """Print Roles and their bindings."""
    config = loaded_apart(arguments)
    more = () if arguments.guard else (arguments.user,)
    print(part("failoverd.cli.rbac", "guard_manifest" if arguments.guard else "manifest")(config, *more), end="")
    return Exit.OK


def _looked_over(arguments: argparse.Namespace) -> Config:
    """The configuration, as `--without-files` says; what was not looked at is said. Raises ConfigError."""
    if arguments.without_files:
        config = loaded_apart(arguments)
        for file in config.unseen:
            print(f"not looked at: {file}", file=sys.stderr)
        return config
    try:
        return load(path_of(arguments), files_in=arguments.files)
    except ConfigError as error:
        hint = "; if it is only where the daemon runs: --without-files"
        raise ConfigError(_hinted(problem, hint) for problem in error.problems) from error


def _hinted(problem: Problem, hint: str) -> Problem:
    return replace(problem, text=problem.text + hint) if problem.elsewhere else problem


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
