"""Chat: every note goes to every configured channel. A new one is a file here and a line in `CHANNELS`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

import httpx

from failoverd.adapters.notify import discord, ntfy, slack, webhook
from failoverd.adapters.notify.channel import Builder, Channel, Target
from failoverd.adapters.notify.delivery import Delivery, Limits, Tally
from failoverd.core.model import Note
from failoverd.ports import Clock

CHANNELS: Mapping[str, Builder] = MappingProxyType(
    {
        "discord": discord.build,
        "slack": slack.build,
        "ntfy": ntfy.build,
        "webhook": webhook.build,
    }
)


class Notifier:
    """All channels. `say` returns at once; each channel delivers in its own task, unhurt by the others."""

    def __init__(self, targets: Iterable[Target], clock: Clock, limits: Limits | None = None) -> None:
        """Make every channel, without contacting it. Raises ValueError naming the target that is unusable."""
        self._deliveries = [Delivery(target, _build(target, clock), limits) for target in targets]

    @property
    def tallies(self) -> tuple[Tally, ...]:
        """What became of each channel's messages."""
        return tuple(delivery.tally for delivery in self._deliveries)

    def start(self) -> None:
        """Begin to deliver; needs a running loop."""
        for delivery in self._deliveries:
            delivery.start()

    def say(self, note: Note, at: datetime) -> None:
        """Hand a note to every channel."""
        for delivery in self._deliveries:
            delivery.say(note, at)

    def inherit(self, before: Notifier) -> None:
        """Go on with the incidents of `before`, which has ended, on every channel that is still the same."""
        for delivery in self._deliveries:
            for old in before._deliveries:
                if old.target == delivery.target:
                    delivery.inherit(old)

    async def close(self, grace: timedelta = timedelta(seconds=5)) -> None:
        """Deliver what waits, for at most `grace` altogether, then stop."""
        await asyncio.gather(*(delivery.close(grace) for delivery in self._deliveries))


def _build(target: Target, clock: Clock) -> Channel:
    if target.type not in CHANNELS:
        raise ValueError(f"notify {target.name}: unknown type {target.type!r}, use one of {', '.join(CHANNELS)}")
    try:
        return CHANNELS[target.type](target, clock)
    except ValueError as error:
        raise ValueError(f"notify {target.name}: {error}") from None
    except httpx.InvalidURL:
        raise ValueError(f"notify {target.name}: url is not a valid address") from None
