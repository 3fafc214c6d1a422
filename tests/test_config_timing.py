"""Durations that cannot work together are refused with the smallest value that does, and that value does work."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failoverd.config.durations import show
from failoverd.config.settings import Settings
from failoverd.config.timing import Violation, check

SECOND = timedelta(seconds=1)


def violations(**tables: Any) -> dict[str, Violation]:
    found = check(Settings(**tables))
    return {".".join(str(part) for part in violation.key): violation for violation in found}


def test_the_defaults_work_together() -> None:
    assert check(Settings()) == ()


def test_the_default_silence_survives_the_stalls_it_promises_to() -> None:
    # A lease renewed just before a 45 s network stall moves again within 10 s of its end, seen a tick later.
    failover, tick = Settings().failover, Settings().timings.tick
    assert failover.silence_after > timedelta(seconds=45) + timedelta(seconds=10) + tick
    assert failover.silence_after > timedelta(seconds=28) + timedelta(seconds=10) + tick


# table, key, a value just too small (or large), the bound, and another key that the text must name
BOUNDS = [
    ("timings", "tick", "5.1s", "5s", "lease"),
    ("timings", "tick", "200ms", "250ms", "readings"),
    ("timings", "reading_max_age", "4.9s", "5s", "timings.tick"),
    ("timings", "scan_interval", "1.9s", "2s", "timings.tick"),
    ("failover", "proof_after", "5.9s", "6s", "failover.failure_threshold"),
    ("failover", "up_after", "5.9s", "6s", "failover.success_threshold"),
    ("failover", "silence_after", "39s", "40s", "API stall"),
    ("failover", "witness_within", "12s", "12s400ms", "lease"),
    ("failover", "witness_within", "51s", "50s", "failover.silence_after"),
    ("failover", "max_data_age", "51s", "52s", "timings.save_proofs_every"),
    ("timings", "barrier_timeout", "33s", "34s", "mover"),
    ("timings", "ready_timeout", "11s", "12s", "pod"),
    ("timings", "fence_timeout", "11s", "12s", "stop"),
    ("timings", "quiet_for", "49s", "50s", "measured"),
    ("failback", "stable_for", "19s", "20s", "failover.up_after"),
    ("leadership", "renew_deadline", "11s", "12s", "leadership.renew_every"),
    ("leadership", "duration", "16s", "17s", "leadership.renew_deadline"),
    ("leadership", "renew_every", "500ms", "1s", "API server"),
]


@pytest.mark.parametrize(("table", "key", "value", "bound", "other"), BOUNDS)
def test_each_inequality_names_its_other_side_and_a_bound_that_works(
    table: str, key: str, value: str, bound: str, other: str
) -> None:
    found = violations(**{table: {key: value}})[f"{table}.{key}"]
    assert found.text.startswith(f'"{value.replace("5.1s", "5s100ms").replace(".9s", "s900ms")}" is ')
    assert other in found.text
    assert found.text.endswith(f'value that works: "{bound}"')
    assert f"{table}.{key}" not in violations(**{table: {key: bound}})


def test_a_failback_by_itself_needs_a_budget_of_three() -> None:
    few = {"max_moves": {"count": 2}}
    assert violations(failover=few)["failover.max_moves.count"].text == (
        "2 is too few for an automatic failback, which must leave one failover in the budget;"
        ' smallest value that works: 3, or failback.policy = "manual"'
    )
    assert violations(failover=few, failback={"policy": "manual"}) == {}
    app = [{"name": "a", "namespace": "b", "failback": "auto"}]
    assert list(violations(failover=few, failback={"policy": "manual"}, apps=app)) == ["failover.max_moves.count"]


def test_a_budget_shorter_than_the_cooldown_is_refused() -> None:
    found = violations(failover={"max_moves": {"per": "10m"}})
    assert list(found) == ["failover.max_moves.per"]


def test_an_app_that_wants_younger_data_than_can_be_proven_is_refused() -> None:
    app = {"name": "a", "namespace": "b", "max_data_age": "30s"}
    assert list(violations(apps=[app])) == ["apps.0.max_data_age"]
    assert violations(apps=[app], timings={"save_proofs_every": "5s"}) == {}


@given(
    tick=st.integers(250, 5000),
    threshold=st.integers(1, 50),
    proof=st.integers(0, 300_000),
    silence=st.integers(0, 600_000),
)
def test_what_passes_really_waits_for_every_reading_and_outlives_every_stall(
    tick: int, threshold: int, proof: int, silence: int
) -> None:
    milliseconds = {
        name: timedelta(milliseconds=value) for name, value in {"t": tick, "p": proof, "s": silence}.items()
    }
    found = violations(
        timings={"tick": show(milliseconds["t"])},
        failover={
            "failure_threshold": threshold,
            "proof_after": show(milliseconds["p"]),
            "silence_after": show(milliseconds["s"]),
        },
    )
    enough = milliseconds["t"] * threshold
    assert ("failover.proof_after" in found) == (milliseconds["p"] < enough)
    stall = 38 * SECOND + milliseconds["t"]
    assert ("failover.silence_after" in found) == (milliseconds["s"] < max(enough, stall))
