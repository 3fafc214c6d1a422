"""A webhook for everything else: JSON, signed so that the receiver can tell it from anybody's.

The signature covers the time and the body, so that neither a changed nor a replayed request passes; how to
check it stands in docs/notifications.md.
"""

from __future__ import annotations

import hashlib
import hmac
import json

import httpx

from failoverd.adapters.notify.channel import Channel, Line, Message, Target, judge
from failoverd.ports import Clock

TIMESTAMP = "X-Failoverd-Timestamp"
"""Seconds since 1970 at which this attempt was made."""
SIGNATURE = "X-Failoverd-Signature"
"""`v1=` and the hexadecimal HMAC-SHA256 of `<timestamp>.<body>`."""
DELIVERY = "X-Failoverd-Delivery"
"""The same in every attempt to deliver one message: a receiver that has seen it can ignore the second."""


class Webhook:
    """Any HTTP receiver."""

    def __init__(self, target: Target, clock: Clock) -> None:
        self._url = httpx.URL(target.url)
        if not self._url.host:
            raise ValueError("url must be an http or https address")
        if not target.secret:
            raise ValueError("a webhook needs a secret to sign with: set secret_file")
        self._secret, self._clock = target.secret.encode(), clock

    async def send(self, http: httpx.AsyncClient, message: Message, ref: str) -> str:
        """Post the message, signed anew for every attempt."""
        body = render(message)
        stamp = str(int(self._clock.now().wall.timestamp()))
        headers = {
            "Content-Type": "application/json",
            TIMESTAMP: stamp,
            SIGNATURE: sign(self._secret, stamp, body),
            DELIVERY: delivery(message),
        }
        judge(await http.post(self._url, content=body, headers=headers))
        return ref


def sign(secret: bytes, stamp: str, body: bytes) -> str:
    """The value of the signature header."""
    return "v1=" + hmac.new(secret, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def delivery(message: Message) -> str:
    """Names one message: its incident, number, stage and the times of its lines."""
    parts = [
        message.incident,
        str(message.number),
        message.stage,
        *(line.at.isoformat() for line in message.lines),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def render(message: Message) -> bytes:
    """The body; its shape is promised in docs/notifications.md."""
    return json.dumps(
        {
            "version": 1,
            "event": message.stage,
            "incident": message.incident,
            "number": message.number,
            "app": message.app or None,
            "level": message.level,
            "text": "\n".join(line.text for line in message.lines),
            "lines": [_line(line) for line in message.lines],
            "story": [_line(line) for line in message.story],
        },
        ensure_ascii=False,
    ).encode()


def _line(line: Line) -> dict[str, str]:
    return {"at": line.at.isoformat(), "text": line.text}


def build(target: Target, clock: Clock) -> Channel:
    """A signed webhook. Raises ValueError without an address or a secret."""
    return Webhook(target, clock)
