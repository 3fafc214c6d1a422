"""How a wait is told."""

from __future__ import annotations

from datetime import timedelta

import pytest

from failoverd.core.spans import waited


@pytest.mark.parametrize(
    ("spent", "needed", "said"),
    [
        (0, 10, "0 s of 10 s"),
        (3.9, 4, "3 s of 4 s"),
        (0.2, 0.5, "0 s of 1 s"),
        (1.9, 1.95, "1 s of 2 s"),
        (4, 4, "4 s, past 4 s"),
        (12.5, 4, "12 s, past 4 s"),
    ],
)
def test_a_wait_that_lasts_is_never_told_as_over(spent: float, needed: float, said: str) -> None:
    assert waited(timedelta(seconds=spent), timedelta(seconds=needed)) == said
