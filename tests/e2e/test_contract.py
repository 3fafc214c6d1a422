"""The contract cases against the real cluster: what the embedded one shows must be what this one does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from types import ModuleType

import pytest
import pytest_asyncio

from tests.contract import (
    test_dead_node,
    test_json_patch,
    test_permissions,
    test_proxmox,
    test_reading,
    test_roles,
    test_syncthing,
    test_watching,
    test_workloads,
    test_writing,
)
from tests.contract.real import real
from tests.contract.worlds import World
from tests.lab.lab import Lab

pytestmark = pytest.mark.asyncio(loop_scope="session")

MODULES = (
    test_reading, test_watching, test_writing, test_json_patch, test_permissions, test_syncthing, test_roles,
    test_proxmox, test_workloads, test_dead_node,
)  # fmt: skip
"""In this order: the apps are moved and the power is cut last. Planned work is in `long/`, for it takes minutes."""

FIXTURE = type(test_proxmox.normal)


def gathered(modules: Iterable[ModuleType]) -> dict[str, object]:
    """Cases and fixtures of all of them, by name."""
    found: dict[str, object] = {}
    for module in modules:
        for name, thing in vars(module).items():
            if name.lower().startswith("test") or isinstance(thing, FIXTURE):
                assert name not in found, f"{name} of {module.__name__} is a name in another module too"
                found[name] = thing
    return found


globals().update(gathered(MODULES))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(lab: Lab) -> AsyncIterator[World]:
    """The lab with its apps at home."""
    async with real(lab) as made:
        yield made
