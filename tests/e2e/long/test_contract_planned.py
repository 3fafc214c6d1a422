"""The contract cases of planned work against the real cluster."""

from __future__ import annotations

from tests.contract import test_planned
from tests.e2e.test_contract import gathered, pytestmark, world

__all__ = ["pytestmark", "world"]

globals().update(gathered((test_planned,)))
