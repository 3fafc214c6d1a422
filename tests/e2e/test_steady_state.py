"""Fifty apps at rest, on the embedded cluster and spoken to directly: three times the bars of the benchmark.

Adopting them takes minutes on two cores and a rate needs half a minute to be told, so it stands here and not in
`make test`; few and many one after the other, since both at once take longer than either.
"""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.steady_state import FEW, MANY, weigh
from tests.e2e.world import FIGURES

SECONDS = 30.0
READS, WRITES, MEMORY = 3 * 10, 3 * 12, 3 * 110
"""A minute more for many apps than for few; a minute; MiB."""


@pytest.mark.timeout(900)
def test_fifty_apps_cost_the_api_server_no_more_than_five() -> None:
    few, many = (asyncio.run(weigh(apps, SECONDS)) for apps in (FEW, MANY))
    FIGURES.append(
        f"{MANY} apps at rest: {many.reads:.0f} reads a minute ({FEW} apps: {few.reads:.0f}), "
        f"{many.writes:.0f} writes, {many.rss_mib:.0f} MiB"
    )
    assert many.reads <= few.reads + READS, (few, many)
    assert many.writes <= WRITES, many
    assert many.rss_mib <= MEMORY, many
