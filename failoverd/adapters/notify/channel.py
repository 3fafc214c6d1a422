"""What every chat channel has in common: the message it is given and the two ways in which sending can fail.

The one rule of this file: no text made here may contain a URL. The addresses of most channels are secrets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Protocol

import httpx

from failoverd.ports import Clock


class Stage(StrEnum):
    """Which part of an incident a message is."""

    OPEN = "open"
    UPDATE = "update"
    RESOLVE = "resolve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing said about an incident, with the wall-clock time at which it was said."""

    at: datetime
    text: str

    def __str__(self) -> str:
        return f"{self.at:%H:%M:%S} {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is to be delivered: the lines this channel has not had yet, and the incident's lines so far."""

    incident: str
    stage: Stage
    number: int
    """Counts the incident's messages on this channel from 1; the same in every attempt."""
    level: str
    app: str
    lines: tuple[Line, ...]
    story: tuple[Line, ...]
    """Old lines of a long story are left out between the first one and the newest."""

    @property
    def subject(self) -> str:
        """The app it is about, or the incident where it is about none."""
        return self.app or self.incident


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One configured channel. `repr` hides what is secret."""

    type: str
    """A key of the registry: `discord`, `slack`, `ntfy`, `webhook`."""
    name: str
    """What log lines and metrics call it."""
    url: str = field(repr=False)
    token: str = field(default="", repr=False)
    """ntfy's access token; the others carry theirs in the URL."""
    secret: str = field(default="", repr=False)
    """The webhook's signing key."""
    level: str = "info"
    """Lighter notes are left out, unless they resolve an incident that this channel was told of."""


class Channel(Protocol):
    """Renders and sends one message. Queueing, retries and time limits are not its business."""

    async def send(self, http: httpx.AsyncClient, message: Message, ref: str) -> str:
        """Deliver `message`; `ref` is what the incident's previous delivery returned, empty for the first.

        Raises Later when trying again may help, Refused when it will not.
        """
        ...


class Builder(Protocol):
    """Makes a channel of a target; the registry holds one for each type."""

    def __call__(self, target: Target, clock: Clock) -> Channel:
        """The channel. Raises ValueError, in words for the operator, for a target it cannot use."""
        ...


class Undelivered(Exception):
    """A message did not arrive.

    Undelivered
    +-- Later      worth another attempt
    +-- Refused    it will never be accepted as it is
    """


class Later(Undelivered):
    """The channel is busy, broken or out of reach; `after` is how long it asked to be left alone."""

    def __init__(self, why: str, after: timedelta | None = None) -> None:
        super().__init__(why)
        self.after = after


class Refused(Undelivered):
    """The channel answered that it does not want this message."""


def judge(response: httpx.Response) -> None:
    """Raise what an HTTP answer means: 408, 425, 429 and 5xx pass, others stay (RFC 9110 section 15)."""
    if response.is_success:
        return
    why = f"HTTP {response.status_code}"
    if response.status_code in {408, 425, 429} or response.status_code >= 500:
        raise Later(why, retry_after(response))
    hint = {401: "check its token", 403: "check its token", 404: "is its address still valid?"}
    raise Refused(f"{why}: {hint[response.status_code]}" if response.status_code in hint else why)


def retry_after(response: httpx.Response) -> timedelta | None:
    """How long the answer asks us to wait: Retry-After in seconds or as a date (RFC 9110 section 10.2.3).

    A date is compared with the same answer's own Date, since the clocks of two hosts differ.
    """
    value = response.headers.get("Retry-After", "").strip()
    try:
        wait = timedelta(seconds=float(value))
    except (ValueError, OverflowError):
        try:
            wait = parsedate_to_datetime(value) - parsedate_to_datetime(response.headers.get("Date", ""))
        except (ValueError, TypeError):
            return None
    return max(wait, timedelta(0))


def shortened(lines: tuple[Line, ...], size: int, *, newest: int = 30) -> str:
    """`lines` as text of at most `size` UTF-8 bytes: the first line and as many of the newest as fit."""
    first, rest = str(lines[0]), [str(line) for line in lines[1:]][-newest:]
    text = "\n".join([first, *(["…"] if len(rest) < len(lines) - 1 else []), *rest])
    while rest and len(text.encode()) > size:
        rest = rest[1:]
        text = "\n".join([first, "…", *rest])
    if len(text.encode()) > size:
        text = text.encode()[: size - len("…".encode())].decode(errors="ignore") + "…"
    return text
