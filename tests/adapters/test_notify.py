"""Delivery to chat: nothing waits for it, nothing is lost by it, and a broken channel is said once."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from failoverd.adapters.notify import CHANNELS, Notifier
from failoverd.adapters.notify.channel import Target
from failoverd.adapters.notify.delivery import Limits, Tally
from failoverd.clock import SystemClock
from failoverd.core.model import Note
from tests.adapters.receiver import Receiver, receiving, status

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FAST = Limits(
    attempt=timedelta(seconds=0.4),
    patience=timedelta(seconds=1.5),
    rest=timedelta(seconds=0.1),
    first_wait=timedelta(seconds=0.02),
    longest_wait=timedelta(seconds=0.1),
    incidents=3,
    lines=5,
)


def note(text: str, incident: str = "i1", *, resolved: bool = False, level: str = "warning") -> Note:
    return Note(incident=incident, text=text, level=level, app="media/sonarr", resolved=resolved)


@asynccontextmanager
async def webhook(url: str, limits: Limits = FAST) -> AsyncIterator[Notifier]:
    target = Target(type="webhook", name="hook", url=url, secret="s3cret-key")
    notifier = Notifier([target], SystemClock(), limits)
    notifier.start()
    try:
        yield notifier
    finally:
        await notifier.close(timedelta(0))


async def until(condition: Callable[[], bool], seconds: float = 8) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - counters have no event to wait for
            await asyncio.sleep(0.01)


def texts(receiver: Receiver) -> list[str]:
    return [request.json["text"] for request in receiver.accepted]


def tally(notifier: Notifier) -> Tally:
    return notifier.tallies[0]


async def test_an_incident_is_opened_updated_and_resolved_in_order() -> None:
    async with receiving() as chat, webhook(chat.url) as notifier:
        for step, words in enumerate(("w1 is silent", "moving", "done")):
            notifier.say(note(words, resolved=words == "done"), AT)
            await chat.until(lambda it, wanted=step + 1: len(it.accepted) == wanted)  # type: ignore[misc]
        bodies = [request.json for request in chat.accepted]
    assert [(body["event"], body["number"], body["text"]) for body in bodies] == [
        ("open", 1, "w1 is silent"),
        ("update", 2, "moving"),
        ("resolve", 3, "done"),
    ]
    assert [line["text"] for line in bodies[-1]["story"]] == ["w1 is silent", "moving", "done"]


async def test_say_returns_at_once_while_the_receiver_hangs() -> None:
    async with receiving() as chat:
        chat.answers = [30.0] * 50
        async with webhook(chat.url) as notifier:
            began = time.perf_counter()
            for number in range(1000):
                notifier.say(note(f"line {number}", f"i{number % 7}"), AT)
            took = time.perf_counter() - began
            await chat.until(lambda it: len(it.requests) >= 1)
    assert took < 0.5


async def test_a_hanging_receiver_is_given_up_and_tried_again() -> None:
    async with receiving() as chat, webhook(chat.url) as notifier:
        chat.answers = [30.0]
        notifier.say(note("w1 is silent"), AT)
        await chat.until(lambda it: len(it.accepted) == 1)
        assert texts(chat) == ["w1 is silent"]
        await until(lambda: tally(notifier).sent == 1)
        assert tally(notifier).failed == 1


async def test_retry_after_is_honoured() -> None:
    async with receiving() as chat, webhook(chat.url) as notifier:
        chat.answers = [status(429, Retry_After="0.7")]
        notifier.say(note("w1 is silent"), AT)
        await chat.until(lambda it: len(it.requests) == 1)
        refused = time.perf_counter()
        await chat.until(lambda it: len(it.accepted) == 1)
        assert 0.6 < time.perf_counter() - refused < 3


async def test_retry_after_longer_than_our_patience_is_honoured_all_the_same() -> None:
    async with receiving() as chat, webhook(chat.url) as notifier:
        chat.answers = [status(429, Retry_After="2")]
        notifier.say(note("w1 is silent"), AT)
        await chat.until(lambda it: len(it.requests) == 1)
        refused = time.perf_counter()
        await chat.until(lambda it: len(it.accepted) == 1)
        assert time.perf_counter() - refused > 1.9


async def test_retry_after_as_a_date_is_measured_by_the_receivers_own_clock() -> None:
    dates = {"Date": "Fri, 02 Jan 1970 00:00:00 GMT", "Retry_After": "Fri, 02 Jan 1970 00:00:01 GMT"}
    async with receiving() as chat, webhook(chat.url) as notifier:
        chat.answers = [status(503, **dates)]
        notifier.say(note("w1 is silent"), AT)
        await chat.until(lambda it: len(it.requests) == 1)
        refused = time.perf_counter()
        await chat.until(lambda it: len(it.accepted) == 1)
        assert 0.9 < time.perf_counter() - refused < 4


async def test_a_flaky_receiver_gets_every_line_once_and_in_order() -> None:
    async with receiving() as chat, webhook(chat.url) as notifier:
        chat.answers = [status(500), 0.0, status(503), status(502), 0.0, status(500)]
        said = [f"line {number}" for number in range(5)]
        for number, text in enumerate(said):
            notifier.say(note(text, resolved=number == 4), AT + timedelta(seconds=number))
            await asyncio.sleep(0.03)
        await chat.until(lambda it: bool(it.accepted) and it.accepted[-1].json["event"] == "resolve")
        assert "\n".join(texts(chat)).split("\n") == said
        assert [request.json["number"] for request in chat.accepted] == list(range(1, len(chat.accepted) + 1))


async def test_a_retry_carries_the_same_delivery_id_and_another_message_another() -> None:
    async with receiving() as chat, webhook(chat.url) as notifier:
        chat.answers = [status(500)]
        notifier.say(note("w1 is silent"), AT)
        await chat.until(lambda it: len(it.accepted) == 1)
        await until(lambda: tally(notifier).queued == 0)
        notifier.say(note("moving"), AT)
        await chat.until(lambda it: len(it.accepted) == 2)
        first, again, second = (request.headers["X-Failoverd-Delivery"] for request in chat.requests)
        assert first == again != second


async def test_a_refused_connection_is_one_log_line_and_a_metric_however_many_retries() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with capture_logs() as lines:
            async with webhook(f"http://127.0.0.1:{port}/hook") as notifier:
                notifier.say(note("w1 is silent"), AT)
                await until(lambda: tally(notifier).failed >= 5)
                assert tally(notifier).broken
    broken = [line for line in lines if line["event"] == "channel broken"]
    assert [(line["channel"], line["why"]) for line in broken] == [("hook", "not reached: ConnectError")]


async def test_a_resolve_outlives_an_outage_longer_than_our_patience() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    limits = Limits(
        attempt=FAST.attempt,
        patience=timedelta(seconds=0.2),
        rest=timedelta(seconds=0.1),
        first_wait=timedelta(seconds=0.02),
        longest_wait=timedelta(seconds=0.05),
    )
    with capture_logs() as lines:
        async with webhook(f"http://127.0.0.1:{port}", limits) as notifier:
            notifier.say(note("w1 is silent"), AT)
            notifier.say(note("done", resolved=True), AT)
            await asyncio.sleep(1)
            assert tally(notifier).failed > 3
            async with receiving(port) as chat:
                await chat.until(lambda it: len(it.accepted) == 1)
                assert chat.accepted[0].json["event"] == "resolve"
                assert texts(chat) == ["w1 is silent\ndone"]
                await until(lambda: not tally(notifier).broken)
    assert [line["event"] for line in lines] == ["channel broken", "channel works again"]


async def test_a_full_queue_pushes_out_the_oldest_update_and_never_a_resolve() -> None:
    async with receiving() as chat:
        chat.answers = [status(429, Retry_After="1")]
        async with webhook(chat.url) as notifier:
            notifier.say(note("head", "head"), AT)
            await chat.until(lambda it: len(it.requests) == 1)
            notifier.say(note("resolved early", "r0", resolved=True), AT)
            for number in range(6):
                notifier.say(note(f"update {number}", f"u{number}"), AT)
            notifier.say(note("resolved late", "r1", resolved=True), AT)
            await until(lambda: tally(notifier).queued == 0)
            assert tally(notifier).dropped == 3
        kept = ["head", "resolved early", "update 3", "update 4", "update 5", "resolved late"]
        assert texts(chat) == kept


@pytest.mark.parametrize(
    ("patience", "heard"),
    [
        # Not given up: what is being sent stays as it is, the rest follows.
        (60, [("open", "silent"), ("resolve", "done"), ("open", "silent again")]),
        # Given up once, after the other incident's turn: all of it moved to the back, in its order.
        (1.5, [("resolve", "silent\ndone"), ("open", "silent again")]),
    ],
)
async def test_a_reopened_incident_never_overtakes_the_resolve_before_it(patience, heard) -> None:
    async with receiving() as chat:
        chat.answers = [status(500)] * 1000
        async with webhook(chat.url, replace(FAST, patience=timedelta(seconds=patience))) as notifier:
            notifier.say(note("silent"), AT)
            await chat.until(lambda it: len(it.requests) == 1)
            notifier.say(note("done", resolved=True), AT)
            notifier.say(note("silent again"), AT)
            notifier.say(note("other", "i2"), AT)
            if patience < 60:
                await chat.until(lambda it: it.requests[-1].json["incident"] == "i2", 20)
            else:
                await chat.until(lambda it: len(it.requests) > 20, 20)
            chat.answers.clear()
            await until(lambda: tally(notifier).queued == 0)
        events = [(r.json["event"], r.json["text"]) for r in chat.accepted if r.json["incident"] == "i1"]
    assert events == heard


async def test_many_lines_of_one_incident_keep_the_first_the_newest_and_the_resolve() -> None:
    async with receiving() as chat:
        chat.answers = [status(429, Retry_After="0.5")]
        async with webhook(chat.url) as notifier:
            notifier.say(note("head", "head"), AT)
            await chat.until(lambda it: len(it.requests) == 1)
            for number in range(20):
                notifier.say(note(f"line {number}"), AT)
            notifier.say(note("done", resolved=True), AT)
            await until(lambda: tally(notifier).queued == 0)
    assert texts(chat)[1] == "line 0\nline 17\nline 18\nline 19\ndone"


async def test_a_refused_message_is_dropped_counted_and_does_not_block_the_next() -> None:
    with capture_logs() as lines:
        async with receiving() as chat, webhook(chat.url) as notifier:
            chat.answers = [status(404)]
            notifier.say(note("lost"), AT)
            notifier.say(note("arrives", "i2"), AT)
            await chat.until(lambda it: len(it.accepted) == 1)
            assert texts(chat) == ["arrives"]
            assert (tally(notifier).dropped, tally(notifier).failed) == (1, 1)
    assert lines[0]["event"] == "message refused"
    assert lines[0]["why"] == "HTTP 404: is its address still valid?"


async def test_a_broken_channel_does_not_hold_up_another() -> None:
    async with receiving() as hung, receiving() as well:
        hung.answers = [30.0] * 50
        targets = [
            Target(type="webhook", name="hung", url=hung.url, secret="s3cret-key"),
            Target(type="webhook", name="well", url=well.url, secret="s3cret-key"),
        ]
        notifier = Notifier(targets, SystemClock(), Limits(attempt=timedelta(seconds=30)))
        notifier.start()
        notifier.say(note("w1 is silent"), AT)
        await well.until(lambda it: len(it.accepted) == 1)
        await notifier.close(timedelta(0))
    assert [each.sent for each in notifier.tallies] == [0, 1]


async def test_a_channel_hears_nothing_lighter_than_its_level_but_every_resolve_of_what_it_heard() -> None:
    async with receiving() as chat:
        target = Target(type="webhook", name="hook", url=chat.url, secret="s3cret-key", level="warning")
        notifier = Notifier([target], SystemClock(), FAST)
        notifier.start()
        notifier.say(note("node is UP", "quiet", level="info"), AT)
        notifier.say(note("over", "quiet", level="info", resolved=True), AT)
        notifier.say(note("data too old"), AT)
        notifier.say(note("still looking", level="info"), AT)
        notifier.say(note("over", level="info", resolved=True), AT)
        await notifier.close(timedelta(seconds=3))
    assert "\n".join(texts(chat)) == "data too old\nover"
    assert chat.accepted[-1].json["event"] == "resolve"


async def test_closing_delivers_what_waits_and_says_what_it_could_not() -> None:
    with capture_logs() as lines:
        async with receiving() as chat:
            chat.answers = [0.1]
            async with webhook(chat.url) as notifier:
                notifier.say(note("done", resolved=True), AT)
                await notifier.close(timedelta(seconds=3))
            assert texts(chat) == ["done"]
        async with webhook(chat.url) as notifier:
            notifier.say(note("lost", "i9"), AT)
            await notifier.close(timedelta(seconds=0.2))
    assert lines[-1]["event"] == "left undelivered"
    assert lines[-1]["incidents"] == ["i9"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"type": "pager"}, "unknown type 'pager', use one of discord, slack, ntfy, webhook"),
        ({"type": "webhook", "secret": ""}, "a webhook needs a secret to sign with: set secret_file"),
        ({"type": "webhook", "url": "nowhere"}, "url must be an http or https address"),
        ({"type": "webhook", "url": "http://host:port/"}, "url is not a valid address"),
        ({"type": "discord", "url": "https://discord.example/nope"}, "url must be a Discord webhook"),
        ({"type": "ntfy", "url": "https://ntfy.example"}, "url must name a topic"),
        ({"type": "slack", "url": "x"}, "url must be a Slack incoming webhook"),
    ],
)
def test_an_unusable_target_is_refused_by_name_and_without_its_address(fields: Any, words: str) -> None:
    target = Target(**{"type": "webhook", "name": "ops", "url": "http://h/x", "secret": "k"} | fields)
    with pytest.raises(ValueError, match="notify ops: ") as raised:
        Notifier([target], SystemClock())
    assert words in str(raised.value)
    assert "discord.example" not in str(raised.value)
    assert "http://h/x" not in repr(target)


def test_every_registered_channel_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs/notifications.md").read_text()
    assert [kind for kind in CHANNELS if f"`{kind}`" not in text] == []
