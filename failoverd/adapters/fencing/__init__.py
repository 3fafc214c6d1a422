"""Fences: what says whether a node's guest is off, and can make sure that it is.

One rule for every kind: only a status of `stopped`, read after the power was cut, is a success. Everything
that goes wrong while reading is Unknown, never `stopped`.
"""

from __future__ import annotations

from typing import Protocol

from failoverd.core.model import Guest, Unknown


class FenceError(Exception):
    """Power could not be cut or given back, or not confirmed to be; the text names guest and why."""


class Fence(Protocol):
    """The power switch of one node."""

    name: str
    """What it switches, for people."""

    async def check(self) -> tuple[str, ...]:
        """What is wrong with the configuration, one line each; empty when it would work. Never raises."""
        ...

    async def state(self) -> Guest | Unknown:
        """Whether the guest runs. Never raises."""
        ...

    async def off(self) -> str:
        """Cut the power and confirm it; says how. Done at once when it is off. Raises FenceError."""
        ...

    async def on(self) -> str:
        """Start the guest and confirm it; says how. Done at once when it runs. Raises FenceError."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...
