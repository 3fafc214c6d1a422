"""The daemon dies at every act and save of a move, and the move ends well; of more of them in tests/e2e."""

from __future__ import annotations

import pytest

from tests.simulator.every_act import QUICK, killed_at_every_act


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", QUICK)
def test_killed_at_every_act_and_save_it_ends_well(name: str) -> None:
    assert killed_at_every_act(name)
