"""Options of the whole suite."""

import os

import pytest

LAB = "FAILOVERD_LAB_STATE"
"""Where the lab of the e2e suite is."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rewrite`: write the scenario transcripts anew instead of comparing them."""
    parser.addoption("--rewrite", action="store_true", help="write the scenario transcripts anew")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Side by side, the longest first, which are those with a timeout of their own: begun last, one process
    would be alone with it."""
    if not hasattr(config, "workerinput"):
        return

    def allowed(item: pytest.Item) -> float:
        marker = item.get_closest_marker("timeout")
        return float(marker.args[0]) if marker else 0.0

    items.sort(key=allowed, reverse=True)


@pytest.fixture(autouse=True)
def _no_settings_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting can also come from the environment; a test's come from the test."""
    for name in [name for name in os.environ if name.upper().startswith("FAILOVERD") and name != LAB]:
        monkeypatch.delenv(name)
