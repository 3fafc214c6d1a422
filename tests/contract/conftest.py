"""The cases of this folder run against the embedded cluster; tests/e2e runs the same ones against the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.contract.embedded import embedded
from tests.contract.worlds import World


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One embedded cluster for all cases: they put back what they change."""
    async with embedded(tmp_path_factory.mktemp("cluster")) as made:
        yield made
