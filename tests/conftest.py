"""Options of the whole suite."""

import os

import pytest
from hypothesis import settings

# How long an example takes depends on what else the machine does; what hangs is ended by the test's own limit.
settings.register_profile("failoverd", deadline=None)
settings.load_profile("failoverd")

LAB = "FAILOVERD_LAB_STATE"
"""Where the lab of the e2e suite is."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rewrite`: write the scenario transcripts anew instead of comparing them."""
    parser.addoption("--rewrite", action="store_true", help="write the scenario transcripts anew")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Side by side every process begins with its share of the longest, which are those with a timeout of their own:
    begun last, one process would be alone with it. At first each is given as many neighbours of the list (worksteal).
    """
    given = getattr(config, "workerinput", None)
    if given is None:
        return

    def allowed(item: pytest.Item) -> float:
        marker = item.get_closest_marker("timeout")
        return float(marker.args[0]) if marker else 0.0

    count = int(given["workercount"])
    longest = sorted((item for item in items if allowed(item)), key=allowed, reverse=True)
    others = [item for item in items if not allowed(item)]
    dealt: list[pytest.Item] = []
    for number in range(count):
        mine = longest[number::count]
        left = count - number
        room = (len(items) - len(dealt)) // left - len(mine)
        dealt += [*mine, *others[: max(room, 0)]]
        del others[: max(room, 0)]
    items[:] = [*dealt, *others]


@pytest.fixture(autouse=True)
def _no_settings_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting can also come from the environment; a test's come from the test."""
    for name in [name for name in os.environ if name.upper().startswith("FAILOVERD") and name != LAB]:
        monkeypatch.delenv(name)
