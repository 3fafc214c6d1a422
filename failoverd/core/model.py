"""What follows from what is seen: Snapshot, Verdict, Objection, Decision; and one place to import every noun from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from failoverd.core.actions import (
    Action,
    DeletePod,
    Displaced,
    DropConnection,
    FenceOff,
    FenceOn,
    FetchVersions,
    FindVersions,
    Override,
    PatchApplier,
    PatchOp,
    PatchWorkload,
    Receipt,
    Revert,
    Role,
    Scan,
    Scanned,
    ScanPoints,
    SetIgnores,
    SetRole,
    TaintNode,
    UntaintNode,
    Verify,
    Want,
)
from failoverd.core.applied import ApplierReading, Owner, Suspension
from failoverd.core.memory import Kind, Memory, Phase
from failoverd.core.points import GuardReading, GuardWatch
from failoverd.core.readings import (
    Amounts,
    Api,
    ClaimReading,
    Folder,
    Guest,
    GuestState,
    Kubelet,
    Lease,
    Needs,
    NodeObject,
    NodeReading,
    Now,
    Pod,
    Toleration,
    Unknown,
    Workload,
)
from failoverd.core.request import Command, CommandKind
from failoverd.core.rules import Site

__all__ = [
    "NEVER_HEARD", "NEVER_SEEN", "UNJUDGED", "Action", "Amounts", "Apart", "Api", "AppDecision", "ApplierReading",
    "ClaimReading", "Command", "CommandKind", "Decision", "DeletePod", "Displaced", "DropConnection", "FenceOff",
    "FenceOn", "FetchVersions", "FindVersions", "Folder", "GuardReading", "GuardWatch", "Guest", "GuestState",
    "Health", "Instance", "Kubelet", "Lease", "Needs", "NodeObject", "NodeReading", "NodeWatch", "Note", "Now",
    "Objection", "Override", "Owner", "PatchApplier", "PatchOp", "PatchWorkload", "Pod", "Receipt", "Revert", "Role",
    "Scan", "ScanPoints", "Scanned", "SetIgnores", "SetRole", "Snapshot", "Standby", "Suspension", "TaintNode",
    "Toleration", "Unknown", "UntaintNode", "Verdict", "Verify", "VolumeWatch", "Want", "Watch", "Why", "Workload",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """What this instance knows of itself."""

    leader: bool
    holder: str = ""
    generation: int = 0
    """How often the lead has changed hands, as the Lease counts it."""
    late: timedelta = timedelta(0)
    """How much later than asked the loop woke up."""
    jumped: timedelta = timedelta(0)
    """How far the wall clock ran away from the monotonic one since the last tick."""
    link: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All readings of one tick."""

    api: Api | Unknown
    instance: Instance
    nodes: Mapping[str, NodeReading]
    workloads: Mapping[str, Workload | Unknown]
    folders: Mapping[tuple[str, str, Site], Folder | Unknown]
    """By (app key, volume name, site)."""
    claims: Mapping[tuple[str, str, Site], ClaimReading | Unknown]
    guards: Mapping[tuple[str, str, Site], GuardReading | Unknown] = field(default_factory=dict)
    """By the same; empty where no guard is configured."""
    commands: tuple[Command, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    in_flight: frozenset[str] = frozenset()
    """Keys of actions that have been started and not yet answered."""
    hours_open: bool = True
    """Whether now lies within the hours of elective moves."""


class Health(StrEnum):
    """A debounced judgement of a node."""

    UP = "UP"
    DOWN = "DOWN"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Judgement of one node with its evidence."""

    health: Health
    proven: bool = False
    """DOWN because the guest is provably stopped, not merely silent."""
    evidence: tuple[str, ...] = ()
    silent_for: timedelta = timedelta(0)
    down_since: datetime | None = None
    """Last moment (API server time) at which the node could have written."""
    isolated: bool = False
    """Cut off but alive: its pods surely run."""
    fenceable: bool = False
    """Silent long enough, with a witness: a fence may begin."""
    doubts: tuple[Objection, ...] = ()
    """Contradictions: nothing is concluded while one stands."""
    unproven: tuple[Objection, ...] = ()
    """Why it is not provably dead."""
    alone: tuple[Objection, ...] = ()
    """Why its silence may be our own."""

    @property
    def objections(self) -> tuple[Objection, ...]:
        """Everything that keeps this verdict from being DOWN and proven."""
        return self.doubts + self.unproven + self.alone


UNJUDGED = Verdict(health=Health.UNKNOWN)
"""On a node that was not looked at."""


class Why(StrEnum):
    """Every reason not to act. Policy returns all that hold, each with its numbers."""

    NOT_LEADER = "not leader"
    OBSERVING = "observe mode"
    PAUSED = "paused"
    API_UNREACHABLE = "API server unreachable"
    CLOCK_JUMP = "clock jumped"
    LOOP_LATE = "event loop late"
    NO_WITNESS = "no witness"
    TOO_MANY_SILENT = "too many domains silent"
    WATCHED_ANEW = "watched anew"
    NOT_DEAD = "not proven dead"
    CONTRADICTION = "evidence contradicts"
    MAPPING = "guest mapping unproven"
    TASKS_HIDDEN = "guest tasks not visible"
    GUEST_BUSY = "guest task running"
    FENCE_FAILED = "fence failed"
    TARGET_NOT_UP = "target not UP"
    TARGET_CORDONED = "target cordoned"
    NO_ROOM = "no room"
    ROOM_UNKNOWN = "room unknown"
    NO_DEVICE = "extended resource missing"
    TAINT = "taint not tolerated"
    BARRED = "target node not selected"
    NODE_PRESSURE = "node pressure"
    NO_IMAGE = "image not on the target"
    PLANNED = "planned work"
    CLAIM = "target claim not usable"
    SYNCTHING_SILENT = "target's Syncthing silent"
    FOLDER_ERROR = "target folder error"
    NOT_CLEAN = "standing not clean"
    AGE_UNKNOWN = "data age unknown"
    AGE_TOO_OLD = "data too old"
    SOURCE_ERRORS = "source errors"
    NOT_ADOPTED = "roles not adopted"
    COOLDOWN = "cooldown"
    BUDGET = "budget"
    HOURS = "outside hours"
    GITOPS = "GitOps controller unknown"
    RESUMED = "no longer suspended"
    SHAPE = "workload shape"
    WORKLOAD_UNKNOWN = "workload unknown"
    DIVERGED = "two sites at once"
    STRANGER = "another pod mounts the claims"
    MOVING = "another move of the same app"
    FROZEN = "frozen"
    UNSTABLE = "not stable long enough"
    MANUAL = "failback by hand"
    VERIFY = "verify_url"
    DEAD_CONNECTION = "dead connection"
    PEER_PAUSED = "peer paused"
    NOT_READY = "not ready in time"
    GUARD_SILENT = "target's guard silent"
    NOT_OPEN = "copy does not open"
    UNUSABLE = "target volume not usable"
    NO_POINTS = "no new points"
    DELETED = "mass deletion"
    LOCAL_CHANGES = "standby was changed"
    IGNORES = "different files ignored"
    SICK_SOURCE = "database stopped opening"
    DISPLACED = "displaced files over budget"
    NOT_HAD = "cannot be had"


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """A reason not to act, with its numbers, in the words every voice uses."""

    why: Why
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Standby:
    """Whether the standby side could take the app over if its active node died at this moment."""

    site: Site
    node: str
    missing: tuple[Objection, ...] = ()
    """What would speak against it; empty when it could."""
    warnings: tuple[Objection, ...] = ()
    """What would only slow it down, or is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppDecision:
    """What was concluded for one app in one tick."""

    phase: Phase
    objections: tuple[Objection, ...] = ()
    """Why the move that the situation calls for is not made; empty while nothing calls for one."""
    wanted: Kind | None = None
    """The move the situation calls for."""
    ages: Mapping[str, timedelta | None] = field(default_factory=dict)
    """Data age per volume; None where unknown."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """Per volume what its age comes from; empty without a guard, where it always is the scans."""
    waiting: str = ""
    """What the present step waits for."""
    alarms: tuple[Objection, ...] = ()
    """What is wrong though nothing needs to move."""
    standby: Standby | None = None
    """Whether the other side could take over; None while the app is not at rest, or was never read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something to be said, once: `incident` groups what belongs together, the last one resolves it."""

    incident: str
    text: str
    level: str = "info"
    app: str = ""
    resolved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Everything that follows from one look at the world."""

    memory: Memory
    """To be saved before the first action when it differs from what was remembered."""
    watch: Watch
    verdicts: Mapping[str, Verdict]
    apps: Mapping[str, AppDecision]
    actions: tuple[Action, ...] = ()
    notes: tuple[Note, ...] = ()
    wake_at: timedelta
    confirm: frozenset[str] = frozenset()
    """Nodes whose lease and object must be read uncached in the next tick."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeWatch:
    """What this process has seen of one node since it began to look."""

    stamp: str | None = None
    stamp_seen_at: timedelta | None = None
    """When (monotonic) the lease was last *seen to change*; frozen while the API is unreachable."""
    stamp_wall: datetime | None = None
    stamp_moved_at: timedelta | None = None
    """When (monotonic) it was last seen to change, the first sight of it left out. Nothing else sets it."""
    good_count: int = 0
    bad_count: int = 0
    up_since: timedelta | None = None
    stopped_count: int = 0
    stopped_since: timedelta | None = None
    stopped_wall: datetime | None = None
    gone: bool = False
    """Its lease was deleted with it: nobody is silent there, and nobody heard."""
    fence_asked_at: timedelta | None = None
    """When this process last asked for its power to be cut."""
    sequences: Mapping[str, tuple[int, timedelta]] = field(default_factory=dict)
    """Per app and volume: Syncthing's sequence on this node and when it was seen to change."""


NEVER_SEEN = NodeWatch()
"""Of a node that nothing was seen of yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """Two sides that contradict each other: one says it is connected, the other that it is not."""

    holder: Site
    """The one that says connected."""
    processes: tuple[str, str]
    """Start of the holder's process, and of the other's: with another process all begins anew."""
    since: timedelta
    heard: timedelta
    """When both were last read and said so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeWatch:
    """The scan that waits to become a proof, and what becomes of the connection it needs."""

    scanned: Scanned | None = None
    scan_asked_at: timedelta | None = None
    answered_at: Mapping[Site, timedelta] = field(default_factory=dict)
    proven_at: datetime | None = None
    """Newest proof, not necessarily saved yet."""
    proven_sequence: int = 0
    active: Site | None = None
    """The site whose scans these are: sequences of one side say nothing about the other's."""
    apart: Apart | None = None
    dropped_at: timedelta | None = None
    """When this process last asked a side to drop a dead connection, until both say that they are connected."""
    unlike: bool = False
    """Whether the two sides ignored different files when both were last read."""


NEVER_HEARD = VolumeWatch()
"""Of a volume that nothing was heard of yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What this process has seen since it started. Lost at a restart on purpose: observation begins anew."""

    nodes: Mapping[str, NodeWatch] = field(default_factory=dict)
    volumes: Mapping[tuple[str, str], VolumeWatch] = field(default_factory=dict)
    guards: Mapping[tuple[str, str, Site], GuardWatch] = field(default_factory=dict)
    said: Mapping[str, str] = field(default_factory=dict)
    """Incident -> what was last said of it, so that it is said once."""
    looked_at: timedelta | None = None
    api_seen_at: timedelta | None = None
    doubted_at: timedelta | None = None
    """When (monotonic) we last had reason to doubt ourselves; None once that was `silence_after` ago."""
    saved_at: timedelta | None = None
    """When proofs were last put into Memory."""
    verified: Mapping[str, str] = field(default_factory=dict)
    """Move id -> why the app's `verify_url` did not answer after it; empty where it did."""
    unfit: Mapping[str, timedelta] = field(default_factory=dict)
    """App -> since when (monotonic) its standby side could not take over."""
