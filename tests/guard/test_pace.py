"""Shares of a core and of the disk's time, by clocks that the test turns."""

from __future__ import annotations

import pytest

from failoverd.clock import Spent
from failoverd.guard import pace
from failoverd.guard.pace import Pace


class Clocks:
    """A thread's clocks, and how long it was told to pause."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = Spent(0.0, 0.0, 0.0)
        self.paused = 0.0
        monkeypatch.setattr(pace, "spent", lambda: self.now)
        monkeypatch.setattr(pace, "pause", self._pause)

    def work(self, *, cpu: float = 0.0, queued: float = 0.0, held: float = 0.0) -> None:
        """Seconds of a core, of waiting for one, of waiting for the disk."""
        was = self.now
        self.now = Spent(was.cpu + cpu, was.queued + queued, was.mono + cpu + queued + held)

    def _pause(self, seconds: float) -> None:
        self.paused += seconds
        self.work(held=seconds)


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


def test_time_at_the_disk_is_made_up_for(clocks: Clocks) -> None:
    step = Pace(1.0, io_share=0.25)
    clocks.work(held=2.0)
    step()
    assert clocks.paused == pytest.approx(6.0, abs=0.01)  # 2 s of 8


def test_waiting_for_a_core_is_not_the_disk(clocks: Clocks) -> None:
    step = Pace(1.0, io_share=0.25)
    clocks.work(queued=20.0, cpu=1.0)
    step()
    assert clocks.paused == 0.0


def test_pauses_are_not_the_disk(clocks: Clocks) -> None:
    step = Pace(0.1, io_share=0.25)
    for _ in range(3):
        clocks.work(cpu=1.0)
        step()
    assert clocks.paused == pytest.approx(27.0, abs=0.01)


def test_the_larger_debt_is_paid_and_pays_the_other(clocks: Clocks) -> None:
    step = Pace(0.1, io_share=0.25)
    clocks.work(cpu=1.0, held=2.0)
    step()
    assert clocks.paused == pytest.approx(7.0, abs=0.01)  # ten seconds for the core's one, eight for the disk's two


def test_without_bounds_nothing_waits(clocks: Clocks) -> None:
    step = Pace()
    clocks.work(cpu=3.0, held=5.0)
    step()
    assert clocks.paused == 0.0


def test_counts_that_begin_anew_are_no_debt(clocks: Clocks) -> None:
    """Those of a forked process, whose clock goes on."""
    clocks.work(cpu=50.0, queued=10.0)
    step = Pace()
    clocks.now = Spent(0.1, 0.0, clocks.now.mono + 0.1)
    step()
    assert clocks.paused == 0.0


def test_a_look_that_is_dear_itself_is_no_debt_without_end(clocks: Clocks, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def dear() -> Spent:
        nonlocal looks
        looks += 1
        clocks.work(cpu=0.000_15)
        return clocks.now

    monkeypatch.setattr(pace, "spent", dear)
    step = Pace(0.1)
    for _ in range(100):
        clocks.work(cpu=0.001)
        step()
    assert looks < 250
    assert clocks.paused == pytest.approx(9 * (0.1 + looks * 0.000_15), abs=0.03)
