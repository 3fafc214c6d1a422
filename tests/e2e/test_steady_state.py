"""Fifty apps at rest, on the embedded cluster and spoken to directly: three times the bars of the benchmark.

Adopting them takes minutes on two cores and a rate needs half a minute to be told, so it stands here and not in
`make test`. That reads do not grow with the apps is judged by a number, which `make bench` compares with few apps'.
"""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.steady_state import MANY, weigh
from tests.e2e.world import FIGURES

SECONDS = 30.0
READS, WRITES, MEMORY = 75, 3 * 12, 3 * 110
"""A minute, where 30 were measured with 5 apps and with 50, and one for every app would make it 80; a minute;
MiB."""


@pytest.mark.timeout(600)
def test_fifty_apps_cost_the_api_server_little() -> None:
    many = asyncio.run(weigh(MANY, SECONDS))
    FIGURES.append(
        f"{MANY} apps at rest: {many.reads:.0f} reads and {many.writes:.0f} writes a minute, {many.rss_mib:.0f} MiB"
    )
    assert many.reads <= READS, many
    assert many.writes <= WRITES, many
    assert many.rss_mib <= MEMORY, many
