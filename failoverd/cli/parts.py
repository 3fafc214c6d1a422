"""What a command needs is imported when it is given, for nobody should wait a second for `--help`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def part(module: str, name: str) -> Callable[..., Any]:
    """`name` of `module`, imported now. Raises ImportError and AttributeError where there is none."""
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found
