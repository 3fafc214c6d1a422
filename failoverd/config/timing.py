"""Which durations go together: the inequalities between what is configured and what the cluster imposes.

Every promise that waits rests on one of them, so a value that breaks one is refused at start, with the
smallest (or largest) value that works.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from failoverd.config.durations import show
from failoverd.config.locate import Path
from failoverd.config.settings import Settings
from failoverd.core.rules import Failback

LEASE_INTERVAL = timedelta(seconds=10)
"""A kubelet renews its Lease every 10 s (a quarter of the Lease's 40 s), with 4 % jitter."""
LEASE_JITTER = timedelta(milliseconds=400)
API_STALL = timedelta(seconds=28)
"""The longest stall of the API server that is nobody's death."""
LINGER = timedelta(seconds=50)
"""An old pod was measured writing this long after its node's network had healed."""
READ_DEADLINE = timedelta(seconds=3)
"""The slowest reading of a tick is given up after this."""
MOVER_RETURNS = timedelta(seconds=30)
"""VolSync moves its mover after the app within 20 s, and stopping the old one takes up to 10 s."""
REQUEST_TIMEOUT = timedelta(seconds=5)
"""An attempt to renew our Lease may take this long."""
FENCE_CONFIRMED = timedelta(seconds=10)
"""A hypervisor's stop task and the reads that confirm it."""
GUARD_SAYS = timedelta(seconds=10)
"""A guard says what is new at most this often, so as to spare the API server."""
GUARD_LOOKS = timedelta(seconds=1)
"""Two rounds of a guard are half a second apart."""
POD_START = timedelta(seconds=10)
"""Scheduling, mounting and starting even a small pod, with room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One broken inequality: the key with the wrong value, the others it depends on, and what is wrong."""

    key: Path
    others: tuple[Path, ...] = ()
    text: str


def check(settings: Settings) -> tuple[Violation, ...]:
    """Every inequality that `settings` breaks; empty when the durations work together."""
    return (
        *_seeing(settings),
        *_judging(settings),
        *_data(settings),
        *_guarding(settings),
        *_moving(settings),
        *_leading(settings),
    )


def _seeing(settings: Settings) -> Iterator[Violation]:
    timings = settings.timings
    tick = ("timings", "tick")
    # Slower than half a lease interval, a lease that moved twice could look as if it had moved once;
    # faster than a quarter of a second, one tick's readings are not back before the next.
    yield from _at_most(tick, timings.tick, LEASE_INTERVAL / 2, "half of a node lease's 10s")
    yield from _at_least(tick, timings.tick, timedelta(milliseconds=250), "the pace readings can keep")
    # A reading is as old as the tick that took it plus the time it took.
    yield from _at_least(
        ("timings", "reading_max_age"),
        timings.reading_max_age,
        timings.tick + READ_DEADLINE,
        f"timings.tick {show(timings.tick)} + the {show(READ_DEADLINE)} a reading may take",
        tick,
    )
    yield from _at_least(
        ("timings", "scan_interval"),
        timings.scan_interval,
        timings.tick,
        f"timings.tick {show(timings.tick)}: scans begin with a tick",
        tick,
    )


def _judging(settings: Settings) -> Iterator[Violation]:
    failover, pace = settings.failover, settings.timings.tick
    tick = ("timings", "tick")
    # A dwell shorter than its count of readings is no dwell: the count alone would decide.
    for key, dwell, count_key, count in (
        ("proof_after", failover.proof_after, "failure_threshold", failover.failure_threshold),
        ("up_after", failover.up_after, "success_threshold", failover.success_threshold),
    ):
        yield from _at_least(
            ("failover", key),
            dwell,
            pace * count,
            f"failover.{count_key} {count} x timings.tick {show(pace)}",
            ("failover", count_key),
            tick,
        )
    # A live node's lease may have been renewed just before a stall began and is next renewed just after it
    # has ended; one more tick until that is seen. Its count of readings must fit as well.
    survives = LEASE_INTERVAL + API_STALL + pace
    yield from _at_least(
        ("failover", "silence_after"),
        failover.silence_after,
        survives,
        f"a lease's {show(LEASE_INTERVAL)} + an API stall's {show(API_STALL)} + timings.tick {show(pace)}",
        tick,
    )
    yield from _at_least(
        ("failover", "silence_after"),
        failover.silence_after,
        pace * failover.failure_threshold,
        f"failover.failure_threshold {failover.failure_threshold} x timings.tick {show(pace)}",
        ("failover", "failure_threshold"),
        tick,
    )
    # A healthy witness moves every 10.4 s at worst and is seen to a tick later: below that it comes and goes.
    yield from _at_least(
        ("failover", "witness_within"),
        failover.witness_within,
        LEASE_INTERVAL + LEASE_JITTER + pace,
        f"a lease's {show(LEASE_INTERVAL + LEASE_JITTER)} + timings.tick {show(pace)}",
        tick,
    )
    # A witness must have moved since the silence began, or it bears witness to nothing.
    yield from _at_most(
        ("failover", "witness_within"),
        failover.witness_within,
        failover.silence_after - LEASE_INTERVAL,
        f"failover.silence_after {show(failover.silence_after)} - a lease's {show(LEASE_INTERVAL)}",
        ("failover", "silence_after"),
    )


def _data(settings: Settings) -> Iterator[Violation]:
    timings = settings.timings
    # The youngest age that can always be stated: the last proof may be a scan interval old and, after a
    # restart, unsaved as long as proofs are batched; a silent node may have written until its lease was due.
    youngest = timings.scan_interval + timings.save_proofs_every + LEASE_INTERVAL + timings.tick
    why = (
        f"timings.scan_interval {show(timings.scan_interval)} + timings.save_proofs_every"
        f" {show(timings.save_proofs_every)} + a lease's {show(LEASE_INTERVAL)}"
        f" + timings.tick {show(timings.tick)}"
    )
    others: tuple[Path, ...] = (
        ("timings", "scan_interval"),
        ("timings", "save_proofs_every"),
        ("timings", "tick"),
    )
    yield from _at_least(("failover", "max_data_age"), settings.failover.max_data_age, youngest, why, *others)
    for index, app in enumerate(settings.apps):
        if app.max_data_age is not None:
            yield from _at_least(("apps", index, "max_data_age"), app.max_data_age, youngest, why, *others)


def _guarding(settings: Settings) -> Iterator[Violation]:
    guard, interval = settings.guard, ("guard", "interval")
    if not guard.enabled:
        return
    yield from _at_least(interval, guard.interval, GUARD_LOOKS, "the pace a guard can keep")
    # A point is made once an interval and looked for once an interval, both are said a little later, and a silent
    # node may have written until its lease was due.
    youngest = guard.interval * 2 + GUARD_SAYS * 2 + LEASE_INTERVAL + settings.timings.tick
    why = (
        f"2 x guard.interval {show(guard.interval)} + 2 x the {show(GUARD_SAYS)} between two words of a guard"
        f" + a lease's {show(LEASE_INTERVAL)} + timings.tick {show(settings.timings.tick)}"
    )
    limits: list[tuple[Path, timedelta]] = [(("failover", "max_data_age"), settings.failover.max_data_age)]
    limits += [
        (("apps", index, "max_data_age"), app.max_data_age)
        for index, app in enumerate(settings.apps)
        if app.max_data_age is not None
    ]
    for key, value in limits:
        yield from _at_least(key, value, youngest, why, interval, ("timings", "tick"))


def _moving(settings: Settings) -> Iterator[Violation]:
    timings, failover, failback = settings.timings, settings.failover, settings.failback
    tick = ("timings", "tick")
    # Movers restart when the app stops, and both sides are scanned after that.
    yield from _at_least(
        ("timings", "barrier_timeout"),
        timings.barrier_timeout,
        MOVER_RETURNS + timings.tick * 2,
        f"the {show(MOVER_RETURNS)} a mover's restart takes + 2 x timings.tick {show(timings.tick)}",
        tick,
    )
    yield from _at_least(
        ("timings", "ready_timeout"),
        timings.ready_timeout,
        POD_START + timings.tick,
        f"a pod's start {show(POD_START)} + timings.tick {show(timings.tick)}",
        tick,
    )
    yield from _at_least(
        ("timings", "fence_timeout"),
        timings.fence_timeout,
        FENCE_CONFIRMED + timings.tick,
        f"a stop and its confirmation {show(FENCE_CONFIRMED)} + timings.tick {show(timings.tick)}",
        tick,
    )
    yield from _at_least(
        ("timings", "quiet_for"),
        timings.quiet_for,
        LINGER,
        f"the {show(LINGER)} an old pod was measured writing after its node had returned",
    )
    yield from _at_least(
        ("failback", "stable_for"),
        failback.stable_for,
        failover.up_after,
        f"failover.up_after {show(failover.up_after)}: a node must be UP before it can be stable",
        ("failover", "up_after"),
    )
    yield from _at_least(
        ("failover", "max_moves", "per"),
        failover.max_moves.per,
        failover.cooldown,
        f"failover.cooldown {show(failover.cooldown)}: in a shorter time the budget would never bind",
        ("failover", "cooldown"),
    )
    # Away, home, and one failover left over: with less an app never goes home by itself.
    automatic = failback.policy is Failback.AUTO or any(app.failback is Failback.AUTO for app in settings.apps)
    if automatic and failover.max_moves.count < 3:
        yield Violation(
            key=("failover", "max_moves", "count"),
            others=(("failback", "policy"),),
            text=f"{failover.max_moves.count} is too few for an automatic failback, which must leave one"
            ' failover in the budget; smallest value that works: 3, or failback.policy = "manual"',
        )


def _leading(settings: Settings) -> Iterator[Violation]:
    lease = settings.leadership
    # A renewal that is asked for in time must be able to answer before the deadline; and everything begun
    # before the deadline must have ended before another instance may take over.
    yield from _at_least(
        ("leadership", "renew_deadline"),
        lease.renew_deadline,
        lease.renew_every + REQUEST_TIMEOUT,
        f"leadership.renew_every {show(lease.renew_every)} + a request's {show(REQUEST_TIMEOUT)}",
        ("leadership", "renew_every"),
    )
    yield from _at_least(
        ("leadership", "duration"),
        lease.duration,
        lease.renew_deadline + REQUEST_TIMEOUT,
        f"leadership.renew_deadline {show(lease.renew_deadline)} + a request's {show(REQUEST_TIMEOUT)}",
        ("leadership", "renew_deadline"),
    )
    yield from _at_least(
        ("leadership", "renew_every"),
        lease.renew_every,
        timedelta(seconds=1),
        "a pace that spares the API server",
    )


def _at_least(key: Path, value: timedelta, least: timedelta, why: str, *others: Path) -> Iterator[Violation]:
    if value < least:
        text = f'"{show(value)}" is less than {why}; smallest value that works: "{show(least)}"'
        yield Violation(key=key, others=others, text=text)


def _at_most(key: Path, value: timedelta, most: timedelta, why: str, *others: Path) -> Iterator[Violation]:
    if value > most:
        works = f'largest value that works: "{show(most)}"' if most > timedelta(0) else "no value works beside it"
        text = f'"{show(value)}" is more than {why}; {works}'
        yield Violation(key=key, others=others, text=text)
