"""The cases of this folder run against the embedded cluster; tests/e2e runs the same ones against the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.contract.embedded import embedded
from tests.contract.worlds import World


# Not the session's: its time would run on to the end of the suite, and be made up for in the last teardown.
@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One embedded cluster for all cases: they put back what they change."""
    async with embedded(tmp_path_factory.mktemp("cluster")) as made:
        yield made
