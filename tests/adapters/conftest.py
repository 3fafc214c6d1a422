"""The small API server and a client of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from failoverd.adapters.kubernetes.client import Client
from tests.adapters.apiserver import ApiServer, kubeconfig, serving
from tests.adapters.cluster import populate


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    """Empty, unless `populated` is asked for as well."""
    async with serving() as server:
        yield server


@pytest.fixture
async def client(server: ApiServer, tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.load(kubeconfig(tmp_path, server.port))
    yield client
    await client.close()


@pytest.fixture
def populated(server: ApiServer) -> None:
    """The reference cluster's objects are there."""
    populate(server)
