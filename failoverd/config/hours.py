"""Hours of the day in which something may happen, as in "02:00-05:00" or "22:00-02:00, 12:00-13:00"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """Windows of a day in one zone, none for any time. One that ends before it begins spans midnight."""

    windows: tuple[tuple[time, time], ...] = ()
    zone: ZoneInfo

    def allow(self, moment: datetime) -> bool:
        """Whether `moment` (aware) lies in a window; its end is outside."""
        at = moment.astimezone(self.zone).time()
        return not self.windows or any(
            begin <= at < end if begin < end else at >= begin or at < end for begin, end in self.windows
        )


def windows(text: str) -> tuple[tuple[time, time], ...]:
    """The windows written in `text`, none for "any". Raises ValueError saying what to write instead."""
    if text.strip() == "any":
        return ()
    found: list[tuple[time, time]] = []
    for part in text.split(","):
        match = _WINDOW.fullmatch(part.strip())
        if match is None or (match[3] == "24" and match[4] != "00"):
            raise ValueError(f'"{part.strip()}" is not a window; write "any" or "02:00-05:00"')
        begin, end = time(int(match[1]), int(match[2])), time(int(match[3]) % 24, int(match[4]))
        if begin == end:
            raise ValueError(f'"{part.strip()}" is empty; write "any" for the whole day')
        found.append((begin, end))
    return tuple(found)


def zone(name: str) -> ZoneInfo:
    """The time zone called `name`. Raises ValueError when there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f'"{name}" is not a time zone; write one as "UTC" or "Europe/Berlin"') from error
