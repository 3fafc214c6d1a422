"""What an operator asks for, as it is written into the cluster."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from failoverd.core.memory import Restore
from failoverd.core.rules import Site


class CommandKind(StrEnum):
    """What an operator can ask for."""

    SWITCHOVER = "switchover"
    FAILOVER = "failover"
    FAILBACK = "failback"
    PAUSE = "pause"
    RESUME = "resume"
    RELEASE = "release"
    ACK = "ack"
    RESTORE = "restore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One request of an operator, done at most once."""

    id: str
    kind: CommandKind
    app: str
    """App key, or `*`."""
    target: Site | None = None
    epoch: int | None = None
    """The epoch it was meant for: after another move it is refused."""
    expires: datetime
    until: datetime | None = None
    why: str = ""
    by: str = ""
    seen: tuple[str, ...] = ()
    """Of `ack`: the marks of the alarms that whoever asks was shown."""
    restore: Restore | None = None
    """Of `restore`: what is to be fetched or put back."""
