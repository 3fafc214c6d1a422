"""What each kind of channel puts on the wire."""

from __future__ import annotations

import hashlib
import hmac
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from failoverd.adapters.notify import CHANNELS
from failoverd.adapters.notify.channel import Later, Line, Message, Refused, Stage, Target, shortened
from failoverd.clock import SystemClock
from tests.adapters.receiver import Receiver, receiving, status

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def lines(*texts: str) -> tuple[Line, ...]:
    return tuple(Line(at=AT + timedelta(seconds=number), text=text) for number, text in enumerate(texts))


def message(stage: Stage = Stage.OPEN, *, told: int = 0, texts: tuple[str, ...] = ("w1 is silent",)) -> Message:
    story = lines(*texts)
    return Message(
        incident="outage w1",
        stage=stage,
        number=told + 1,
        level="warning",
        app="media/sonarr",
        lines=story[told:],
        story=story,
    )


async def send(chat: Receiver, kind: str, path: str, *messages: Message, ref: str = "") -> str:
    target = Target(type=kind, name=kind, url=chat.url + path, token="t0ken-value", secret="s3cret-key")
    channel = CHANNELS[kind](target, SystemClock())
    async with httpx.AsyncClient() as http:
        for each in messages:
            ref = await channel.send(http, each, ref)
    return ref


async def test_discord_edits_the_message_it_posted() -> None:
    async with receiving() as chat:
        await send(
            chat,
            "discord",
            "/api/webhooks/1/abc?thread_id=7",
            message(),
            message(Stage.UPDATE, told=1, texts=("w1 is silent", "moving")),
            message(Stage.RESOLVE, told=2, texts=("w1 is silent", "moving", "done")),
        )
        post, edit, end = chat.requests
    assert (post.method, post.path, post.query) == ("POST", "/api/webhooks/1/abc", "thread_id=7&wait=true")
    assert (edit.method, edit.path, edit.query) == ("PATCH", "/api/webhooks/1/abc/messages/m1", "thread_id=7")
    assert end.path == edit.path
    embed = end.json["embeds"][0]
    assert embed["title"] == "resolved: media/sonarr"
    assert embed["description"].split("\n") == ["03:04:05 w1 is silent", "03:04:06 moving", "03:04:07 done"]
    assert end.json["allowed_mentions"] == {"parse": []}
    assert post.json["embeds"][0]["color"] != embed["color"]


async def test_discord_posts_anew_when_its_message_was_deleted() -> None:
    async with receiving() as chat:
        chat.answers = [status(404)]
        ref = await send(chat, "discord", "/api/webhooks/1/abc", message(Stage.UPDATE, told=0), ref="gone")
        assert [request.method for request in chat.requests] == ["PATCH", "POST"]
        assert ref == "m1"


async def test_discord_escapes_markup() -> None:
    async with receiving() as chat:
        await send(chat, "discord", "/api/webhooks/1/abc", message(texts=("pvc_a_b `x` @everyone **y**",)))
        text = chat.requests[0].json["embeds"][0]["description"]
    assert text == "03:04:05 pvc\\_a\\_b \\`x\\` @everyone \\*\\*y\\*\\*"


async def test_slack_marks_what_is_an_update_and_sends_only_what_is_new() -> None:
    async with receiving() as chat:
        await send(
            chat,
            "slack",
            "/services/T/B/x",
            message(),
            message(Stage.UPDATE, told=1, texts=("w1 is silent", "needs 3 < 5 & <!channel>")),
            message(Stage.RESOLVE, told=2, texts=("w1 is silent", "moving", "done")),
        )
        texts = [request.json["text"].split("\n") for request in chat.requests]
    assert texts == [
        ["[new] media/sonarr (outage w1 #1)", "03:04:05 w1 is silent"],
        ["[update] media/sonarr (outage w1 #2)", "03:04:06 needs 3 &lt; 5 &amp; &lt;!channel&gt;"],
        ["[resolved] media/sonarr (outage w1 #3)", "03:04:07 done"],
    ]


async def test_ntfy_replaces_the_notification_of_the_same_incident_with_the_whole_story() -> None:
    async with receiving() as chat:
        await send(
            chat,
            "ntfy",
            "/alerts",
            message(),
            message(Stage.RESOLVE, told=1, texts=("w1 is silent", "done")),
        )
        first, last = chat.requests
    sequences = {first.headers["X-Sequence-ID"], last.headers["X-Sequence-ID"]}
    assert len(sequences) == 1
    assert all(char.isalnum() or char in "-_" for char in sequences.pop())
    assert (first.headers["Priority"], last.headers["Priority"]) == ("4", "3")
    assert (first.headers["Title"], last.headers["Title"]) == ("media/sonarr", "resolved: media/sonarr")
    assert first.headers["Authorization"] == "Bearer t0ken-value"
    assert last.body.decode() == "03:04:05 w1 is silent\n03:04:06 done"


async def test_a_webhook_is_signed_over_time_and_body() -> None:
    async with receiving() as chat:
        await send(chat, "webhook", "/hook", message())
        request = chat.requests[0]
    stamp, signature = request.headers["X-Failoverd-Timestamp"], request.headers["X-Failoverd-Signature"]
    expected = hmac.new(b"s3cret-key", f"{stamp}.".encode() + request.body, hashlib.sha256).hexdigest()
    assert signature == f"v1={expected}"
    assert abs(int(stamp) - time.time()) < 5
    line = {"at": "2026-01-02T03:04:05+00:00", "text": "w1 is silent"}
    assert request.json == {
        "version": 1,
        "event": "open",
        "incident": "outage w1",
        "number": 1,
        "app": "media/sonarr",
        "level": "warning",
        "text": "w1 is silent",
        "lines": [line],
        "story": [line],
    }


@pytest.mark.parametrize("kind", list(CHANNELS))
async def test_what_may_pass_is_told_from_what_will_not(kind: str) -> None:
    path = {"discord": "/api/webhooks/1/abc", "ntfy": "/alerts"}.get(kind, "/x")
    async with receiving() as chat:
        for code in (408, 425, 429, 500, 502, 503, 504):
            chat.answers = [status(code)]
            with pytest.raises(Later, match=f"HTTP {code}"):
                await send(chat, kind, path, message())
        for code in (301, 400, 401, 403, 404, 410, 413):
            chat.answers = [status(code)]
            with pytest.raises(Refused, match=f"HTTP {code}"):
                await send(chat, kind, path, message())


@pytest.mark.parametrize("size", [60, 500, 4000])
def test_a_long_story_is_cut_in_the_middle(size: int) -> None:
    story = lines(*(f"line {number} ä" for number in range(100)))
    text = shortened(story, size)
    assert len(text.encode()) <= size
    assert text.split("\n")[0] == "03:04:05 line 0 ä"
    assert text.split("\n")[1] == "…"
    assert text.split("\n")[-1] == "03:05:44 line 99 ä"


def test_one_overlong_line_is_cut_at_its_end() -> None:
    text = shortened(lines("ä" * 500), 100)
    assert len(text.encode()) <= 100
    assert text.endswith("ä…")
