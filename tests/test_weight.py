"""How growth is judged: a peak is none, a leak is one, and a restart hides neither."""

from __future__ import annotations

from collections.abc import Iterator

from tests.weight import FLAT, Weighed, grown

SECONDS = 270
"""Of faults that are played with every `make e2e`."""


def life(pid: int, seconds: int, *, leak: float = 0, begin: int = 0) -> Iterator[Weighed]:
    """A look every second: a start, then 92 MiB, a minute in which a stall takes 15 more for half of it, MiB of
    `leak` a minute."""
    for second in range(seconds):
        young, stalled = min(0, 2 * (second - 20)), 15 if second % 60 > 30 else 0
        yield Weighed(at=begin + second, pid=pid, mib=92 + young + stalled + leak * second / 60)


def test_what_a_stall_takes_and_gives_back_is_no_growth() -> None:
    assert grown([*life(1, SECONDS)]) == 0


def test_a_peak_in_the_last_third_alone_is_no_growth_but_a_higher_floor_is() -> None:
    flat = [one for one in life(1, SECONDS) if one.mib <= 92]
    last = flat[-1]
    peak = Weighed(at=last.at + 1, pid=1, mib=112)
    assert grown([*flat, peak]) == 0
    held = [one if one.at < SECONDS / 2 else Weighed(at=one.at, pid=1, mib=one.mib + 16) for one in flat]
    assert grown(held) == 16 > FLAT


def test_a_leak_is_growth_behind_any_peaks() -> None:
    assert grown([*life(1, SECONDS, leak=4)]) > FLAT
    assert grown([*life(1, 3600, leak=0.3)]) > FLAT


def test_a_restart_hides_no_leak_and_is_none() -> None:
    half = 180
    assert grown([*life(1, half), *life(2, half, begin=half)]) == 0
    assert grown([*life(1, half, leak=7), *life(2, 40, leak=7, begin=half)]) > FLAT


def test_a_life_too_short_to_tell_says_nothing() -> None:
    assert grown([*life(1, 80, leak=60)]) == 0
    assert grown([]) == 0
