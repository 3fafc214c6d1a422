"""Slack: incoming webhooks can neither edit nor thread, so every message says which part of what it is.

Limits and escapes: docs.slack.dev/messaging (incoming webhooks, formatting; about one message a second).
"""

from __future__ import annotations

import httpx

from failoverd.adapters.notify.channel import Channel, Message, Stage, Target, judge, shortened
from failoverd.ports import Clock

SIZE = 3500
"""Bytes; Slack recommends at most 4,000 characters."""
WORDS = {Stage.OPEN: "new", Stage.UPDATE: "update", Stage.RESOLVE: "resolved"}


class Slack:
    """An incoming webhook of one Slack channel."""

    def __init__(self, target: Target) -> None:
        self._url = httpx.URL(target.url)
        if not self._url.host:
            raise ValueError("url must be a Slack incoming webhook: https://hooks.slack.com/services/…")

    async def send(self, http: httpx.AsyncClient, message: Message, ref: str) -> str:
        """Post the lines that are new."""
        judge(await http.post(self._url, json=render(message)))
        return ref


def render(message: Message) -> dict[str, object]:
    """The message as plain text: markup is off; the three characters Slack interprets even so are escaped."""
    head = f"[{WORDS[message.stage]}] {message.subject} ({message.incident} #{message.number})"
    text = f"{head}\n{shortened(message.lines, SIZE)}"
    for raw, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(raw, safe)
    return {"text": text, "mrkdwn": False}


def build(target: Target, clock: Clock) -> Channel:  # noqa: ARG001 - every builder is called alike
    """A Slack channel. Raises ValueError for an address that is none."""
    return Slack(target)
