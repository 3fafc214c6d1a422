"""One lab for the whole suite: brought up with the first test that wants it, gone after the last.

FAILOVERD_LAB_STATE names the folder of a lab that runs already: the suite then uses that one and leaves it up.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.world import FIGURES, World
from tests.lab.lab import REPOSITORY, Lab

STATE = REPOSITORY / ".cache" / "e2e"
LOGS = REPOSITORY / ".cache" / "e2e-logs"
FIRST = ("test_steady_state", "test_lab", "test_standins", "test_contract")
"""Many apps at rest are weighed before the lab takes its share of the machine; and the lab is proven before anything
is proven with it: what they leave behind, the others furnish anew."""
LAST = ("test_deployed",)
"""It brings an image and instances of its own, and makes the lab afresh for them."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Clusters take their time: a test without a limit of its own gets five minutes, the lab's coming included."""

    def place(item: pytest.Item) -> int:
        name = item.path.stem
        return FIRST.index(name) if name in FIRST else len(FIRST) + (name in LAST)

    items.sort(key=place)
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


@pytest.fixture(scope="session")
def furnished_world(lab: Lab) -> Iterator[World]:
    """The lab with stand-ins, four apps and the daemon's Roles."""
    made = World(lab)
    made.furnish()
    yield made
    made.daemon.stop()
    lab.stop("pve", "chat")


@pytest.fixture
def world(furnished_world: World, request: pytest.FixtureRequest) -> Iterator[World]:
    """The furnished lab. Where the test has failed, the daemon ends and its log stays in .cache."""
    failed = request.session.testsfailed
    yield furnished_world
    if request.session.testsfailed > failed:
        furnished_world.keep_logs(LOGS.with_name("e2e-daemon") / request.node.name)
        furnished_world.daemon.stop()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was measured."""
    if FIGURES:
        terminalreporter.section("measured")
        for line in FIGURES:
            terminalreporter.write_line(line)
