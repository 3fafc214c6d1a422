"""One lab for the whole suite: brought up with the first test that wants it, gone after the last.

FAILOVERD_LAB_STATE names the folder of a lab that runs already: the suite then uses that one and leaves it up.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.lab import REPOSITORY, Lab

STATE = REPOSITORY / ".cache" / "e2e"
LOGS = REPOSITORY / ".cache" / "e2e-logs"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Clusters take their time: a test without a limit of its own gets five minutes, the lab's coming included."""
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The suite's lab: cluster and Flux, all nodes Ready, no apps. After a failure its logs stay in .cache."""
    running = os.environ.get("FAILOVERD_LAB_STATE")
    if running:
        yield Lab.attach(Path(running))
        return
    # What an interrupted run left behind is not what this one should be judged on.
    Lab.take_down(STATE)
    made = Lab.up(STATE, flux_interval="30s")
    try:
        yield made
    finally:
        shutil.rmtree(LOGS, ignore_errors=True)
        if request.session.testsfailed:
            shutil.copytree(made.layout.logs, LOGS)
        made.down()
