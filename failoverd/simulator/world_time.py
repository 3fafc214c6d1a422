"""Simulated time: an ordered list of what will happen. Whole milliseconds, so that runs repeat exactly."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from random import Random


class Timeline:
    """The world's clock and its future. Nothing here reads a real clock; chance comes from the seed alone."""

    def __init__(self, seed: int = 0) -> None:
        self.now_ms = 0
        self.random = Random(seed)  # noqa: S311 - reproducible chance is the point, secrecy is not
        self._future: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()

    def after(self, delay_ms: int, act: Callable[[], None]) -> None:
        """Let `act` happen in `delay_ms` milliseconds; equal times keep the order they were asked in."""
        assert delay_ms >= 0, "nothing happens in the past"
        heapq.heappush(self._future, (self.now_ms + delay_ms, next(self._order), act))

    def between(self, low_ms: int, high_ms: int) -> int:
        """A duration in milliseconds, by the seed."""
        return self.random.randint(low_ms, high_ms)

    @property
    def next_ms(self) -> int | None:
        """When the next thing happens; None when nothing is planned."""
        return self._future[0][0] if self._future else None

    def advance(self, to_ms: int) -> None:
        """Let everything happen that is due up to and including `to_ms`."""
        while self._future and self._future[0][0] <= to_ms:
            at_ms, _, act = heapq.heappop(self._future)
            self.now_ms = max(self.now_ms, at_ms)
            act()
        self.now_ms = max(self.now_ms, to_ms)
