"""`failoverd run`, `once`, `demo` and `simulate`: hand over to the part that does it.

Those parts are imported only here and only then, so that `failoverd config check` starts fast and needs nothing.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from failoverd.cli.configuration import loaded
from failoverd.cli.exits import Exit, Stop
from failoverd.config import Config


def run(arguments: argparse.Namespace) -> int:
    """Run the daemon."""
    return int(part("failoverd.life", "run")(_config(arguments), arguments.kubeconfig))


def once(arguments: argparse.Namespace) -> int:
    """One look, one decision."""
    config = _config(arguments)
    return int(part("failoverd.life", "once")(config, dry_run=arguments.dry_run))


def demo(arguments: argparse.Namespace) -> int:
    """Tell the story."""
    return int(part("failoverd.simulator.demo", "main")(arguments.rest))


def simulate(arguments: argparse.Namespace) -> int:
    """Run scenarios."""
    return int(part("failoverd.simulator.simulate", "main")(arguments.rest))


def _config(arguments: argparse.Namespace) -> Config:
    config = loaded(arguments)
    return replace(config, kubeconfig=arguments.kubeconfig) if arguments.kubeconfig else config


def part(module: str, name: str) -> Callable[..., Any]:
    """`name` of `module`, imported now. Raises Stop where there is none."""
    try:
        found: Callable[..., Any] | None = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        found = None
    if found is None:
        raise Stop(Exit.REFUSED, f"not available in this version: {module}.{name} is missing")
    return found
