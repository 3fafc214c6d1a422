"""The suite's labs: each process of `make e2e` has its own, up with the first test that wants it, gone at the end.

FAILOVERD_LAB_STATE names the folder of a lab that runs already: the suite then uses that one and leaves it up.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.e2e import deployed
from tests.e2e.guarded import Guards
from tests.e2e.world import FIGURES, World
from tests.lab.lab import REPOSITORY, Lab

CACHE = REPOSITORY / ".cache"
ALONE = "alone"
"""What a lab is called that only one process has."""
GROUPS = (
    ("test_steady_state",),
    ("test_planned",),
    ("test_lab", "test_standins", "test_contract"),
    ("test_silence", "test_no_move"),
    ("test_failover", "test_refusals", "test_fence"),
    ("test_data",),
    ("test_deployed", "test_soak"),
    ("test_kills", "test_kills_real", "test_every_act"),
)
"""Files that share a lab, in this order. The lab is proven before anything is proven with it: what those tests leave
behind, the others furnish anew. A lab at rest takes a fifth of a core or two, so several find room on two cores."""


def place(stem: str) -> tuple[int, int]:
    """Group of a file, and its place there."""
    known = {name: (group, index) for group, names in enumerate(GROUPS) for index, name in enumerate(names)}
    return known.get(stem, (len(GROUPS), 0))


class ByGroup(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Each group is played by one process, in order."""

    def _split_scope(self, nodeid: str) -> str:
        return str(place(PurePosixPath(nodeid.partition("::")[0]).stem)[0])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByGroup:
    """Not by marks (`loadgroup`): pytest 9.2 has no place any more where xdist 3.8 puts them."""
    return ByGroup(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Clusters take their time: a test without a limit of its own gets seven minutes.

    The lab's coming is included, and undoing what a failed test has left.
    """
    items.sort(key=lambda item: place(item.path.stem))
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(420))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows what the daemon said last: of a run elsewhere often only this is left."""
    report = yield
    world = getattr(item, "funcargs", {}).get("world")
    if report.when == "call" and report.failed and isinstance(world, World):
        with suppress(OSError, ValueError):
            said = [" ".join(map(str, line.values()))[:200] for line in world.daemon.log()[-20:]]
            report.sections.append(("last of failoverd.log", "\n".join(said)))
    return report


@pytest.fixture(scope="session")
def process(request: pytest.FixtureRequest) -> str:
    """Which of the processes side by side this one is."""
    return str(getattr(request.config, "workerinput", {}).get("workerid", ALONE))


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest, process: str) -> Iterator[Lab]:
    """The process's lab: cluster and Flux, all nodes Ready, no apps. After a failure its logs stay in .cache."""
    running = os.environ.get("FAILOVERD_LAB_STATE")
    if running:
        yield Lab.attach(Path(running))
        return
    state = CACHE / f"e2e-{process}"
    # What an interrupted run left behind is not what this one should be judged on.
    Lab.take_down(state)
    made = Lab.up(state, flux_interval="30s")
    try:
        yield made
    finally:
        logs = CACHE / f"e2e-logs-{process}"
        shutil.rmtree(logs, ignore_errors=True)
        if request.session.testsfailed:
            shutil.copytree(made.layout.logs, logs)
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
        furnished_world.keep_logs(CACHE / "e2e-daemon" / request.node.name)
        furnished_world.daemon.stop()


@pytest.fixture
def guards(world: World) -> Iterator[Guards]:
    """Guards at the disks, to be applied once the daemon is configured; gone after the test."""
    deployed.image(world.lab)
    made = Guards(world)
    try:
        yield made
    finally:
        made.remove()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """What this process has measured goes to the one that prints it."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["figures"] = FIGURES


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object, error: object) -> None:
    """It arrives."""
    FIGURES.extend(getattr(node, "workeroutput", {}).get("figures", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was measured."""
    if FIGURES:
        terminalreporter.section("measured")
        for line in FIGURES:
            terminalreporter.write_line(line)
