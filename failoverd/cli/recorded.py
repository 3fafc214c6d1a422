"""What every command that reads recordings does: hand on their ticks, within the time that was asked for."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from failoverd.cli.exits import Exit, Stop
from failoverd.core.rules import Rules
from failoverd.recording import BadRecording, Recording, Tick

NOTHING = "nothing to replay: no tick of these files lies within the time asked for"


def read(arguments: argparse.Namespace, take: Callable[[Tick, bool], None]) -> tuple[str, ...]:
    """Hand every tick on, with whether it lies within that time (earlier ones are needed for what is remembered).

    Returns what is to be noted of the files. Raises Stop.
    """
    recording = Recording(tuple(arguments.files))
    try:
        for tick in recording.ticks():
            at = tick.seen.now.wall
            if arguments.until and at > arguments.until:
                continue
            take(tick, not arguments.since or at >= arguments.since)
    except BadRecording as error:
        raise Stop(Exit.USAGE, str(error)) from None
    return tuple(recording.notes)


def in_common(arguments: argparse.Namespace, path: Path, rules: Rules) -> None:
    """Raises Stop where none of the recorded apps is in `rules`, those of the configuration `path`."""
    try:
        known = {app.key for one in Recording(tuple(arguments.files)).headers() for app in one.rules.apps}
    except BadRecording as error:
        raise Stop(Exit.USAGE, str(error)) from None
    if known and not known & {app.key for app in rules.apps}:
        names = ", ".join(sorted(known))
        raise Stop(Exit.USAGE, f"{path} has none of the recorded apps, which are {names}")


def moment(at: datetime) -> str:
    """For people; UTC."""
    return f"{at:%Y-%m-%d %H:%M:%S}"
