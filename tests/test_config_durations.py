"""Durations are read as people write them, and written as they are read."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failoverd.config.durations import HOW, LONGEST, parse, show


@given(st.integers(min_value=0, max_value=LONGEST // timedelta(milliseconds=1)))
def test_what_is_shown_is_read_back_to_the_millisecond(milliseconds: int) -> None:
    value = timedelta(milliseconds=milliseconds)
    assert parse(show(value)) == value


@given(
    st.tuples(*(st.integers(min_value=0, max_value=300) for _ in range(5))).filter(any),
)
def test_any_units_in_falling_order_add_up(counts: tuple[int, ...]) -> None:
    units = dict(zip(("d", "h", "m", "s", "ms"), counts, strict=True))
    text = "".join(f"{count}{unit}" for unit, count in units.items() if count)
    assert parse(text) == timedelta(
        days=units["d"], hours=units["h"], minutes=units["m"], seconds=units["s"], milliseconds=units["ms"]
    )


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_a_clear_refusal(text: str) -> None:
    refusal, value = "", timedelta(0)
    try:
        value = parse(text)
    except ValueError as error:
        refusal = str(error)
    assert timedelta(0) <= value <= LONGEST
    assert not refusal or refusal.startswith(f'"{text}" ')


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10s", timedelta(seconds=10)),
        ("5m", timedelta(minutes=5)),
        ("1h30m", timedelta(minutes=90)),
        ("500ms", timedelta(milliseconds=500)),
        ("1.5s", timedelta(milliseconds=1500)),
        ("0s", timedelta(0)),
        ("1d", timedelta(days=1)),
        (" 10s ", timedelta(seconds=10)),
    ],
)
def test_examples(text: str, value: timedelta) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (300, '300 has no unit; write "300s" for seconds'),
        ("300", '"300" has no unit; write "300s" for seconds'),
        ("10 parsecs", f'"10 parsecs" is not a duration; {HOW}'),
        ("", f'"" is not a duration; {HOW}'),
        ("-5s", f'"-5s" is not a duration; {HOW}'),
        ("30m1h", f'"30m1h" is not a duration; {HOW}'),
        ("10s5s", f'"10s5s" is not a duration; {HOW}'),
        ("１０s", f'"１０s" is not a duration; {HOW}'),  # noqa: RUF001 - digits of another script
        (True, f"True is not a duration; {HOW}"),
        ("400d", '"400d" is longer than a year (366 days), the longest that is accepted'),
        ("9999999999999999d", '"9999999999999999d" is longer than a year (366 days), the longest that is accepted'),
    ],
)
def test_a_wrong_one_says_what_to_write(value: object, says: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared below
        parse(value)
    assert str(caught.value) == says
