"""The daemon dies at every act and save of those moves that `make test` has no time for: simulated time, no lab."""

from __future__ import annotations

import pytest

from tests.e2e.world import figure
from tests.simulator.every_act import QUICK, STORIES, killed_at_every_act


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [name for name in STORIES if name not in QUICK])
def test_killed_at_every_act_and_save_it_ends_well(name: str) -> None:
    figure(f"{name}: killed at each of {killed_at_every_act(name)} acts and saves, and it ended well")
