"""A part of what `make chaos` compiles, compiled: its days are those that are played interpreted.

It needs a C compiler and Python's headers, and half a minute of a core.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import compiled
from scripts.compiled import ROOT
from tests.test_compiled import FEW

TWO_INSTANCES = 1_039


@pytest.mark.timeout(600)
def test_days_are_the_same_compiled(tmp_path: Path) -> None:
    folder = compiled.build(compiled.compiler(), FEW, checked=(TWO_INSTANCES,), builds=tmp_path)  # it compares
    assert list((folder / "failoverd/core").glob("rules.*.so"))
    assert not list((ROOT / "failoverd").rglob("*.so"))
