"""Discord: one message per incident through a channel webhook, edited as the story goes on.

An edit does not ring again: the phone rings when an incident opens, the colour and title show how it ended.
Limits and calls: discord.com/developers/docs/resources/webhook (execute, edit).
"""

from __future__ import annotations

import re

import httpx

from failoverd.adapters.notify.channel import Channel, Later, Message, Stage, Target, judge, shortened
from failoverd.ports import Clock

SIZE = 1900
"""Bytes of text, far inside the 4096 characters of an embed: escapes and a reader's patience count too."""
COLOURS = {"info": 0x3B82F6, "warning": 0xF59E0B}
RED, GREEN = 0xDC2626, 0x16A34A


class Discord:
    """A webhook of one Discord channel."""

    def __init__(self, target: Target) -> None:
        url = httpx.URL(target.url)
        if not url.host or "/webhooks/" not in url.path:
            raise ValueError("url must be a Discord webhook: https://discord.com/api/webhooks/<id>/<token>")
        self._post = url.copy_merge_params({"wait": "true"})
        """`wait` makes Discord answer with the message, whose id the edits need."""
        self._url = url

    async def send(self, http: httpx.AsyncClient, message: Message, ref: str) -> str:
        """Post the incident's message, or edit the one it has; a message deleted by hand is posted anew."""
        body = render(message)
        if ref:
            path = f"{self._url.path.rstrip('/')}/messages/{ref}"
            answer = await http.patch(self._url.copy_with(path=path), json=body)
            if answer.status_code != 404:
                judge(answer)
                return ref
        answer = await http.post(self._post, json=body)
        judge(answer)
        try:
            return str(answer.json()["id"])
        except (ValueError, KeyError, TypeError) as error:
            raise Later("the answer carries no message id") from error


def render(message: Message) -> dict[str, object]:
    """The message as an embed; nothing in it may mention anybody."""
    colour = GREEN if message.stage is Stage.RESOLVE else COLOURS.get(message.level, RED)
    done = "resolved: " if message.stage is Stage.RESOLVE else ""
    text = re.sub(r"([\\*_~`|>#\[\]])", r"\\\1", shortened(message.story, SIZE))
    embed = {
        "title": f"{done}{message.subject}"[:256],
        "description": text,
        "color": colour,
        "timestamp": message.lines[-1].at.isoformat(),
        "footer": {"text": f"failoverd · {message.incident}"[:2048]},
    }
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def build(target: Target, clock: Clock) -> Channel:  # noqa: ARG001 - every builder is called alike
    """A Discord channel. Raises ValueError for an address that is no webhook."""
    return Discord(target)
