"""What must survive a restart or a change of leader. Saved by compare-and-swap before the first act it allows.

All times in here are wall-clock times of the API server (its `Date` header), so that instances on hosts with
different clocks agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from failoverd.core.recall import Recall
from failoverd.core.rules import Site

SCHEMA = 1
"""Version of everything in this file. A newer one found in the cluster freezes an older daemon."""


UNTOUCHED = "aborted: before anything was done"
"""How the outcome of a move begins that was called off before its first patch."""


class Phase(StrEnum):
    """Where an app is in its life. The table in `machine` says how it gets from one to the next."""

    ADOPTING = "adopting"
    WATCHING = "watching"
    FENCING = "fencing"
    STOPPING = "stopping"
    BARRIER = "barrier"
    FLIPPING = "flipping"
    RESTORING = "restoring"
    STARTING = "starting"
    ABORTING = "aborting"
    FROZEN = "frozen"
    RELEASED = "released"


class Kind(StrEnum):
    """Why an app moves: unplanned, planned, or home to the preferred site."""

    FAILOVER = "failover"
    SWITCHOVER = "switchover"
    FAILBACK = "failback"
    RESTORE = "restore"
    """It ends where it began: the app is stopped, a displaced file or databases are put back, it is started again."""

    @property
    def planned(self) -> bool:
        """Whether the source is alive, so that nothing need be lost."""
        return self is not Kind.FAILOVER


class Standing(StrEnum):
    """What a copy is worth. Only `active` is written; only `clean` is ever promoted."""

    ACTIVE = "active"
    CLEAN = "clean"
    OUTDATED = "outdated"
    TAKING_BACK = "taking back"
    UNPROVEN = "unproven"
    """Never compared yet: the standby of an app that is being adopted."""


class TakeBackStep(StrEnum):
    """Steps of turning an outdated copy into a clean standby; each is repeatable."""

    PREPARE = "prepare"
    OVERRIDE = "override"
    REVERT = "revert"
    FINISH = "finish"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyMemory:
    """Standing of one copy of one volume."""

    standing: Standing
    epoch: int = 0
    """The epoch at which `clean` was proven; of an outdated copy, of the move by which it lost: 0 where by none."""
    step: TakeBackStep | None = None
    scanned: int = 0
    """Sequence of the survivor that a take-back must reach."""
    device: str = ""
    """Syncthing device ID this standing was given to: another ID means another (wiped) installation."""
    aside: tuple[str, ...] | None = None
    """Databases whose old files a guard has put aside in this take-back; None where none was asked to, or not yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMemory:
    """Both copies of a volume, and the last moment at which the standby provably held everything."""

    copies: Mapping[Site, CopyMemory]
    proven_at: datetime | None = None
    proven_sequence: int = 0
    files: int = 0
    """The most files the active side was seen to hold since a mass deletion was last acknowledged; 0: not counted."""
    displaced: Mapping[Site, int] = field(default_factory=dict)
    """Bytes that lay in the versions of a copy when it was last taken back; a site not in it was never listed."""
    taken_back: Mapping[Site, datetime] = field(default_factory=dict)
    """When the last take-back of a copy had displaced all it would, before it listed that: no older list is whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """What a workload looked like before we touched it; going home restores exactly this."""

    replicas: int
    claims: tuple[tuple[str, str], ...]
    """(volume name, claim) for every volume of ours."""
    selector: tuple[tuple[str, str | None], ...]
    """(key, value or None where the key was absent) for every nodeSelector key of ours."""
    had_selector: bool = True
    """Whether the pod template had a nodeSelector at all."""
    held: bool = False
    """Whether somebody else's hold was there before ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What an unplanned move may have lost, stated at decision time for one volume."""

    volume: str
    age_seconds: float | None
    """Data age; None where it is unknown."""
    missing: int = 0
    """Items announced by the lost side that the survivor does not hold."""


def worst(ages: Iterable[float | None]) -> float | None:
    """The most of several data ages, 0 of none; None where one is unknown. Seconds."""
    found = 0.0
    for age in ages:
        if age is None:
            return None
        found = max(found, age)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of a file, and what is in it: by time alone the same file is not known again once it moved."""

    path: str
    """As Syncthing writes it."""
    at: str
    """When it was put aside, as Syncthing writes it."""
    modified: str
    """When its content was last written, likewise: it goes with the content wherever that goes."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """What somebody wants back at the active side: versions of a file, or databases."""

    volume: str = ""
    path: str = ""
    """As Syncthing writes it."""
    at: datetime | None = None
    """Of the version put aside in this second; None: the newest."""
    files: tuple[Version, ...] = ()
    """What was found to be fetched, remembered before anything is: a database comes with its `-wal`."""
    failed: str = ""
    """Why it is not fetched; empty while it may be."""
    unsure: bool = False
    """Whether a part of `files` may be fetched and the rest not: asked for, and not answered by all or none yet."""
    recall: Recall | None = None
    """The databases that a guard is to put back; None where it is about versions of a file."""

    def __str__(self) -> str:
        return str(self.recall) if self.recall else f"{self.path} in {self.volume}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One move in progress, or finished and kept as history."""

    id: str
    app: str
    kind: Kind
    source: Site
    target: Site
    epoch: int
    reason: str
    evidence: tuple[str, ...] = ()
    began_at: datetime
    forced: bool = False
    command: str = ""
    """Id of the command that asked for it."""
    by: str = ""
    last_write_at: datetime | None = None
    """Last moment at which the lost side could have written."""
    marks: tuple[tuple[str, datetime], ...] = ()
    """When each part ended: silent (the lost node: its first missed renewal, or where it was seen stopped), decided,
    dead, fenced, stopped, equal, flipped, placed or unplaced, started, ready. Of a restore: fetched or given up, left
    on (its versions), returned; of databases: ordered, laid, placed or given up, returned. After the move: stood or
    undone, its patch."""
    losses: tuple[Loss, ...] = ()
    as_of: datetime | None = None
    """The moment its databases are placed as of, all of them; None where there is one alone, or no such moment."""
    outcome: str = ""
    """Empty while in progress; then `done`, or `aborted: why`."""
    undo: Undo | None = None
    """Of a move called off at home: what must be restored should its first patch land after all."""
    scanned: tuple[tuple[str, Site, int, str], ...] = ()
    """Barrier scans (volume, site, sequence, Syncthing start time); redone when a mover restarted."""

    ended_at: datetime | None = None
    restore: Restore | None = None
    """Of kind `restore`: what it fetches or puts back."""

    @property
    def aborted(self) -> bool:
        """Whether it came to nothing: called off, or undone before the app ran at the target."""
        return self.outcome.startswith("aborted")

    @property
    def moved(self) -> bool:
        """Whether it led anywhere: one called off changes no copy, and a restore ends where it began."""
        return self.kind is not Kind.RESTORE and not self.aborted

    @property
    def renewed(self) -> bool:
        """Whether restore points of before it are of a past that counts no more: it moved, or put databases back."""
        return self.moved or (self.kind is Kind.RESTORE and any(name == "placed" for name, _ in self.marks))

    @property
    def untouched(self) -> bool:
        """Whether it ended before its epoch was written on the workload."""
        return self.outcome.startswith(UNTOUCHED)

    @property
    def landed(self) -> bool:
        """Whether its stop landed after it was called off: later ones may have used up their epochs meanwhile."""
        return any(name == "late" for name, _ in self.marks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something seen at one volume that stands until somebody has acknowledged it."""

    why: str
    """A `Why`."""
    volume: str
    text: str
    what: str = ""
    """Which patterns or databases it is about, where it is about some."""
    amount: int = 0
    """How many files, where it is about a number."""
    seen_at: datetime
    acknowledged_at: datetime | None = None
    """Kept for as long as it is still seen, so that the same is not said twice."""
    acknowledged_by: str = ""
    acknowledged_why: str = ""

    @property
    def since(self) -> str:
        """When it was seen first, for people."""
        return f"first seen {self.seen_at:%Y-%m-%d %H:%M} UTC"

    @property
    def mark(self) -> str:
        """What an acknowledgement names: it is of what was seen, and of no more."""
        return f"{self.why}|{self.volume}|{self.what}|{self.amount}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppMemory:
    """Everything remembered of one app."""

    phase: Phase
    active: Site
    epoch: int
    volumes: Mapping[str, VolumeMemory]
    move: Move | None = None
    undo: Undo | None = None
    """Set from the first touch until everything is restored."""
    replicas: int = 1
    """Replicas to start with, remembered before they are set to 0."""
    moves: tuple[Move, ...] = ()
    """The last finished moves, newest last: cooldown, budget and monitor look here."""
    frozen_why: str = ""
    stable_since: datetime | None = None
    """Since when everything needed for going home has been well."""
    alarms: tuple[Alarm, ...] = ()
    """Those that stand until acknowledged, and those acknowledged that are still seen."""

    def counted(self, since: datetime) -> list[Move]:
        """Moves begun since then that count against the budget: our own that moved the app, or cut a node's power.

        An operator's are no flapping: works on a node must not cost the app its failover on the night after.
        """
        own = [move for move in self.moves if not move.command and move.began_at >= since]
        return [move for move in own if not move.aborted or any(name == "fenced" for name, _ in move.marks)]

    @property
    def written_epoch(self) -> int:
        """The epoch our last patch wrote: moves called off before their first patch used theirs up unwritten."""
        if self.moves and self.moves[-1].landed:
            return self.moves[-1].epoch
        epoch = self.epoch
        for move in reversed(self.moves):
            if not move.untouched:
                break
            epoch = move.epoch - 1
        return epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeMemory:
    """Everything remembered of one node."""

    mapped: str = ""
    """`Rules.fence_hash` under which its guest was seen running while its lease moved."""
    fence_began_at: datetime | None = None
    fenced_at: datetime | None = None
    """Confirmed `stopped` after our own fence; cleared when the node is UP again."""
    started_at: datetime | None = None
    """When we started it again."""
    given_up_at: datetime | None = None
    """When the last move that waited for our fence was called off, its request unanswered: it may cut later still."""


NOTHING_KNOWN = NodeMemory()
"""Of a node that was never heard of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """No moves are begun while this stands."""

    by: str
    why: str
    since: datetime
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the daemon must still know tomorrow."""

    schema: int = SCHEMA
    apps: Mapping[str, AppMemory] = field(default_factory=dict)
    nodes: Mapping[str, NodeMemory] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    """Ids of the commands already carried out or refused, newest last: a command is done once."""
    pauses: Mapping[str, Pause] = field(default_factory=dict)
    """By app key; `*` pauses everything."""
    refusals: Mapping[str, str] = field(default_factory=dict)
    """Command id -> why it was refused, for the last ones: whoever asked reads it here."""
    incidents: tuple[str, ...] = ()
    """Holds, alarms and nodes that people were told of and that are not over: whoever leads says when they are.
    A version that does not know them drops them, and they are said anew."""

    def pauses_at(self, date: datetime) -> dict[str, Pause]:
        """The pauses in force at the API server's time `date`."""
        return {key: pause for key, pause in self.pauses.items() if pause.until is None or pause.until > date}
