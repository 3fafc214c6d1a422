"""Options of the whole suite."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rewrite`: write the scenario transcripts anew instead of comparing them."""
    parser.addoption("--rewrite", action="store_true", help="write the scenario transcripts anew")
