"""ntfy: one notification per incident. Messages with the same sequence id replace each other on the phone.

Sequence ids need ntfy 2.16; an older server ignores the header and shows each message by itself.
Headers and limits: docs.ntfy.sh/publish (updating notifications, priority, limits).
"""

from __future__ import annotations

import hashlib
from email.header import Header

import httpx

from failoverd.adapters.notify.channel import Channel, Message, Stage, Target, judge, shortened
from failoverd.ports import Clock

SIZE = 3800
"""Bytes; from 4,096 on the server turns the text into an attachment."""
PRIORITIES = {"info": "3", "warning": "4"}
URGENT = "5"


class Ntfy:
    """One topic of an ntfy server."""

    def __init__(self, target: Target) -> None:
        self._url = httpx.URL(target.url)
        if not self._url.host or not self._url.path.strip("/"):
            raise ValueError("url must name a topic: https://ntfy.sh/<topic>")
        self._token = target.token

    async def send(self, http: httpx.AsyncClient, message: Message, ref: str) -> str:
        """Publish the whole story: it takes the place of the notification before it."""
        headers = render(message)
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        judge(await http.post(self._url, content=shortened(message.story, SIZE).encode(), headers=headers))
        return ref


def sequence(incident: str) -> str:
    """A sequence id ntfy accepts (64 letters, digits, `-`, `_`), the same after a restart."""
    return f"failoverd-{hashlib.sha256(incident.encode()).hexdigest()[:32]}"


def render(message: Message) -> dict[str, str]:
    """The headers. A title beyond ASCII is encoded as mail does it (RFC 2047), which ntfy reads."""
    done = message.stage is Stage.RESOLVE
    title = " ".join(f"{'resolved: ' if done else ''}{message.subject}".split())
    return {
        "Title": title if title.isascii() else Header(title, "utf-8", maxlinelen=10_000).encode(),
        "Priority": PRIORITIES["info"] if done else PRIORITIES.get(message.level, URGENT),
        "Tags": "white_check_mark" if done else "warning",
        "X-Sequence-ID": sequence(message.incident),
    }


def build(target: Target, clock: Clock) -> Channel:  # noqa: ARG001 - every builder is called alike
    """An ntfy topic. Raises ValueError for an address without one."""
    return Ntfy(target)
