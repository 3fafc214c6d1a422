"""How fast the guard may work: a share of one core and of the disk's time, and only while it may work at all."""

from __future__ import annotations

from collections.abc import Callable

from failoverd.clock import pause, spent

LEAST = 0.02
"""Seconds: a smaller debt is left to grow. To look at the counts costs some 0.1 ms of a core, at a share of a tenth a
debt of a millisecond itself: paid down to that, it was never over (measured: 64 MiB read in 34 s instead of 2.7)."""
SLICE = 0.5
"""Seconds: the longest wait in which nobody asks whether to go on."""


class Halt(Exception):
    """The work must end now, at a point from which it can be taken up again. The text says why."""


class Pace:
    """Called between pieces of work of one thread; waits so that, of the time that passes, the thread uses at most
    `share` of one core and is held up by the disk for at most `io_share`.

    Held up is what neither a core was used for nor waited for; a lock of the app counts as well, nothing tells the
    two apart. A debt is paid after the piece that made it, so a piece that cannot be divided (SQLite's check of a
    file) runs at full speed and is followed by the wait that makes up for it. Idle time is no credit.
    """

    def __init__(
        self, share: float = 1.0, still: Callable[[], None] = lambda: None, *, io_share: float = 1.0
    ) -> None:
        self.share, self.io_share = share, io_share
        self._still = still
        self._last = spent()
        self._paused = 0.0
        self._owed_cpu = self._owed_io = 0.0

    def __call__(self) -> None:
        """Pay what is owed. Raises whatever `still` raises, `Halt` above all."""
        self._still()
        while (owed := self._debt()) > LEAST:
            self._pause(min(owed, SLICE))
            self._still()

    def _pause(self, seconds: float) -> None:
        pause(seconds)
        self._paused += seconds

    def _debt(self) -> float:
        now, last = spent(), self._last
        took = now.mono - last.mono
        # another thread's, or a forked process's, counts begin at zero
        used, queued = max(now.cpu - last.cpu, 0.0), max(now.queued - last.queued, 0.0)
        held = max(took - used - queued - self._paused, 0.0)
        self._owed_cpu = max(self._owed_cpu + used / self.share - took, 0.0)
        self._owed_io = max(self._owed_io + held / self.io_share - took, 0.0)
        self._last, self._paused = now, 0.0
        return max(self._owed_cpu, self._owed_io)
