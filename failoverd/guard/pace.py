"""How fast the guard may work: a share of one core, and only while it may work at all."""

from __future__ import annotations

from collections.abc import Callable

from failoverd.clock import pause, spent

SLICE = 0.5
"""Seconds: the longest wait in which nobody asks whether to go on."""


class Halt(Exception):
    """The work must end now, at a point from which it can be taken up again. The text says why."""


class Pace:
    """Called between pieces of work of one thread; waits so that its CPU time stays within `share` of one core.

    A debt is paid after the piece that made it, so a piece that cannot be divided (SQLite's check of a file) runs at
    full speed and is followed by the wait that makes up for it. Idle time is no credit.
    """

    def __init__(self, share: float = 1.0, still: Callable[[], None] = lambda: None) -> None:
        self.share = share
        self._still = still
        self._cpu, self._mono = spent()
        self._owed = 0.0

    def __call__(self) -> None:
        """Pay what is owed. Raises whatever `still` raises, `Halt` above all."""
        self._still()
        while (owed := self._debt()) > 0.001:
            pause(min(owed, SLICE))
            self._still()

    def _debt(self) -> float:
        cpu, mono = spent()
        self._owed += (cpu - self._cpu) / self.share - (mono - self._mono)
        self._owed = max(self._owed, 0.0)
        self._cpu, self._mono = cpu, mono
        return self._owed
