"""Simulated time: an ordered list of what will happen. Whole milliseconds, so that runs repeat exactly."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from random import Random

Planned = tuple[int, int, Callable[[], None], str]
"""(when, order, what, kind)."""

MS = timedelta(milliseconds=1)
LOOK = "look"
"""Kind of what changes nothing by itself: somebody wants to look at that moment."""


class Stirred(Exception):
    """Something happened that belongs to no beat, where nothing may: it has not been done."""


class Timeline:
    """The world's clock and its future. Nothing here reads a real clock; chance comes from the seed alone."""

    def __init__(self, seed: int = 0) -> None:
        self.now_ms = 0
        self.random = Random(seed)  # noqa: S311 - reproducible chance is the point, secrecy is not
        self.stirs = 0
        """Counts what may end a quiet stretch: things that happen once, faults, chance."""
        self._future: list[Planned] = []
        self._order = count()
        self._still = False

    def after(self, delay_ms: int, act: Callable[[], None], kind: str = "") -> None:
        """Let `act` happen in `delay_ms` milliseconds; equal times keep the order they were asked in.

        A `kind` says that it belongs to a beat, which comes again and again for as long as nothing happens.
        """
        assert delay_ms >= 0, "nothing happens in the past"
        heapq.heappush(self._future, (self.now_ms + delay_ms, next(self._order), act, kind))

    def between(self, low_ms: int, high_ms: int) -> int:
        """A duration in milliseconds, by the seed."""
        self.stir()
        return self.random.randint(low_ms, high_ms)

    def stir(self) -> None:
        """Something happens that was not planned here: a fault, a command."""
        if self._still:
            raise Stirred
        self.stirs += 1

    @contextmanager
    def still(self) -> Iterator[None]:
        """Within this, chance and whatever else `stir` counts raises Stirred instead: it can be taken back."""
        self._still = True
        try:
            yield
        finally:
            self._still = False

    @property
    def next_ms(self) -> int | None:
        """When the next thing happens; None when nothing is planned."""
        return self._future[0][0] if self._future else None

    def advance(self, to_ms: int) -> None:
        """Let everything happen that is due up to and including `to_ms`."""
        while self._future and self._future[0][0] <= to_ms:
            at_ms, _, act, kind = heapq.heappop(self._future)
            self.now_ms = max(self.now_ms, at_ms)
            if not kind:
                self.stirs += 1
            act()
        self.now_ms = max(self.now_ms, to_ms)

    # ---------------------------------------------------------------- quiet stretches

    def beat(self) -> list[tuple[int, str]]:
        """Everything planned that belongs to a beat: (how far away, kind)."""
        return [(at_ms - self.now_ms, kind) for at_ms, _, _, kind in sorted(self._future, key=_when) if _beats(kind)]

    def planned(self) -> list[Planned]:
        """All that is planned, to be planned again by `plan` after it was tried out."""
        return list(self._future)

    def plan(self, future: list[Planned]) -> None:
        """Let what `planned` found be all that lies ahead."""
        self._future = list(future)

    def take(self, acts: Sequence[Callable[[], None]]) -> list[int]:
        """Take these acts out of what is planned; their places in `acts`, by when they would have happened."""
        places = {id(act): place for place, act in enumerate(acts)}
        found = [places[id(one[2])] for one in sorted(self._future, key=_when) if id(one[2]) in places]
        self._future = [one for one in self._future if id(one[2]) not in places]
        heapq.heapify(self._future)
        return found

    def next_once_ms(self) -> int | None:
        """When the next thing happens that belongs to no beat."""
        return min((at_ms for at_ms, _, _, kind in self._future if not _beats(kind)), default=None)

    def leap(self, by_ms: int) -> None:
        """Skip so much time: the beat goes on from there, and what happens once stays where it is."""
        once = self.next_once_ms()
        assert once is None or self.now_ms + by_ms < once, "a leap over something that happens"
        moved = [
            # renumbered: it would have been planned again and again since, each time after what is there now
            (at_ms + by_ms, next(self._order), act, kind) if _beats(kind) else (at_ms, order, act, kind)
            for at_ms, order, act, kind in sorted(self._future, key=_when)
        ]
        self.now_ms += by_ms
        self._future = moved
        heapq.heapify(self._future)


def _beats(kind: str) -> bool:
    return kind not in ("", LOOK)


def _when(planned: Planned) -> tuple[int, int]:
    return planned[0], planned[1]
