"""What is seen and what follows from it: Reading, Snapshot, Verdict, Objection, Action, Receipt, Decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from failoverd.core.memory import Kind, Memory, Phase
from failoverd.core.rules import Site


@dataclass(frozen=True, slots=True)
class Unknown:
    """A reading that could not be had. It never means DOWN."""

    why: str


@dataclass(frozen=True, slots=True)
class Now:
    """One moment, read once per tick: durations are measured on `mono`, people are told `wall`."""

    mono: timedelta
    wall: datetime


class Kubelet(StrEnum):
    """Answer of a node's kubelet to an unauthenticated request."""

    ALIVE = "alive"
    """401 (or any HTTP answer): the process lives, so the pods surely run."""
    REFUSED = "refused"
    """The host lives, the kubelet does not; containers may still run."""
    SILENT = "silent"
    """No answer: no evidence either way."""


class GuestState(StrEnum):
    """State of the virtual machine or container that is a node."""

    RUNNING = "running"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A node's lease. Only a change of `stamp` counts: clocks of other hosts are never compared with ours."""

    stamp: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeObject:
    """What the Node object says."""

    ready: str
    """`True`, `False`, `Unknown` as the Ready condition has it; empty when the condition is missing."""
    unschedulable: bool = False
    deleting: bool = False
    taints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """What the hypervisor says of the guest that is a node."""

    state: GuestState
    busy: str = ""
    """A task, lock or node-wide job that explains or may soon change the state; empty when there is none."""
    tasks_visible: bool = True
    """Whether the token may see other people's tasks (Sys.Audit): without it, `busy` may be missing something."""
    uptime: timedelta | None = None
    managed: str = ""
    """Why fencing it would be undone or refused (HA-managed); empty when it would not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReading:
    """All readings of one node in one tick."""

    lease: Lease | Unknown
    node: NodeObject | Unknown
    uncached: bool = False
    """Whether lease and node were read from the API server itself in this tick, not from a watch."""
    kubelet: Kubelet | Unknown = Unknown("not probed")
    guest: Guest | Unknown | None = None
    """None where no fence is configured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """What one side's Syncthing says of one volume."""

    device: str
    started: str
    """Start time of the process: a new one means the mover restarted."""
    type: str
    """`sendreceive`, `sendonly` or `receiveonly`."""
    paused: bool = False
    state: str
    error: str = ""
    sequence: int
    remote_sequence: int | None
    """The peer's sequence up to which this side has received the index; None when unknown."""
    connected: bool
    errors: int = 0
    error_files: tuple[str, ...] = ()
    need_items: int = 0
    need_deletes: int = 0
    need_bytes: int = 0
    receive_only: int = 0
    """Local changes of a `receiveonly` folder."""
    local_files: int = 0
    ignores: tuple[str, ...] = ()
    versioning: str = ""
    """Type of versioning in force, empty for none."""

    @property
    def needs_nothing(self) -> bool:
        """Whether this side holds everything it has been told of. The percentage proves nothing; these do."""
        return self.need_items == 0 and self.need_deletes == 0 and self.need_bytes == 0

    @property
    def idle(self) -> bool:
        """Whether it is running, at rest and without errors. A paused folder reports zeros and state ``""``."""
        return self.state == "idle" and not self.paused and not self.error and self.errors == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimReading:
    """Whether one claim could be mounted at its site."""

    bound: bool
    volume: str = ""
    reachable: bool = True
    """Whether the volume's node affinity admits the site's node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod that mounts one of the app's claims."""

    name: str
    uid: str
    node: str
    claims: tuple[str, ...]
    owned: bool
    """Whether it belongs to the app's workload."""
    mover: bool = False
    """Whether it is VolSync's mover of one of our sources."""
    ready: bool = False
    deleting: bool = False
    finished: bool = False
    grace: timedelta = timedelta(seconds=30)
    waiting: str = ""
    """Why it does not run yet, as the kubelet or the scheduler put it."""


class Owner(StrEnum):
    """Which GitOps controller would undo a patch."""

    FLUX = "flux kustomization"
    NONE = "none"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The workload object and its pods."""

    uid: str
    version: str
    """resourceVersion: used only where there is no annotation of ours to test."""
    replicas: int
    claims: tuple[tuple[int, str, str], ...]
    """(index, volume name, claim) of every volume of the template that names a claim."""
    selector: tuple[tuple[str, str], ...] | None
    """nodeSelector of the template; None where there is none."""
    annotations: bool = True
    """Whether the object has any annotations: an `add` below a missing parent fails."""
    epoch: int | None = None
    """Our annotation; None when absent."""
    active: str = ""
    held: bool = False
    """Whether the GitOps hold is on the live object."""
    owner: Owner = Owner.NONE
    owner_name: str = ""
    shape: str = ""
    """Why this workload cannot be switched safely; empty when it can."""
    pods: tuple[Pod, ...] = ()
    updated: bool = True
    """Whether the controller has seen the present spec."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """The API server answered in this tick."""

    date: datetime
    """Its `Date` header: the clock that everything in Memory is written with."""


class CommandKind(StrEnum):
    """What an operator can ask for."""

    SWITCHOVER = "switchover"
    FAILOVER = "failover"
    FAILBACK = "failback"
    PAUSE = "pause"
    RESUME = "resume"
    RELEASE = "release"


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


class Role(StrEnum):
    """Folder types we set."""

    SEND_ONLY = "sendonly"
    RECEIVE_ONLY = "receiveonly"
    SEND_RECEIVE = "sendreceive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One idempotent act, as data. `reason` says why, `key` keeps a second one from starting meanwhile."""

    reason: str

    @property
    def key(self) -> str:
        """Two actions with the same key are the same act."""
        return f"{type(self).__name__} " + " ".join(
            str(getattr(self, name)) for name in ("app", "volume", "site", "node", "pod") if hasattr(self, name)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchOp:
    """One JSON Patch operation (RFC 6902)."""

    op: str
    path: str
    value: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchWorkload(Action):
    """One JSON Patch of the workload; its `test` operations are its fencing token."""

    app: str
    ops: tuple[PatchOp, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletePod(Action):
    """Delete one pod of a dead node: grace 0, precondition on the uid."""

    app: str
    pod: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRole(Action):
    """Set a folder's type; `keep` also turns on versioning that keeps everything, False turns it off."""

    app: str
    volume: str
    site: Site
    role: Role
    keep: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetIgnores(Action):
    """Write the ignore patterns of one side."""

    app: str
    volume: str
    site: Site
    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan(Action):
    """Scan one side; the receipt says up to which sequence and with how many errors."""

    app: str
    volume: str
    site: Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Override(Action):
    """Make the active side's version of everything the newest."""

    app: str
    volume: str
    site: Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Revert(Action):
    """Drop the local changes of a `receiveonly` side (they go to its versions)."""

    app: str
    volume: str
    site: Site


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceOff(Action):
    """Cut the power of a node."""

    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceOn(Action):
    """Start a node we fenced."""

    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """What a scan found."""

    at: datetime
    """API server time at which it was asked for."""
    sequence: int
    errors: int
    error_files: tuple[str, ...] = ()
    started: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What came of an action; fed into the next snapshot."""

    action: Action
    ok: bool
    detail: str = ""
    scanned: Scanned | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """What this instance knows of itself."""

    leader: bool
    holder: str = ""
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
    commands: tuple[Command, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    in_flight: frozenset[str] = frozenset()
    """Keys of actions that have been started and not yet answered."""


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
    objections: tuple[Objection, ...] = ()
    """Why the evidence does not suffice, or contradicts itself."""


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
    NOT_DEAD = "not proven dead"
    CONTRADICTION = "evidence contradicts"
    MAPPING = "guest mapping unproven"
    TASKS_HIDDEN = "guest tasks not visible"
    GUEST_BUSY = "guest task running"
    FENCE_FAILED = "fence failed"
    TARGET_NOT_UP = "target not UP"
    TARGET_CORDONED = "target cordoned"
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
    GITOPS = "GitOps controller unknown"
    SHAPE = "workload shape"
    WORKLOAD_UNKNOWN = "workload unknown"
    DIVERGED = "two sites at once"
    STRANGER = "another pod mounts the claims"
    MOVING = "another move of the same app"
    FROZEN = "frozen"
    UNSTABLE = "not stable long enough"
    MANUAL = "failback by hand"
    EXPIRED = "command expired"
    STALE_COMMAND = "command meant for another epoch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """A reason not to act, with its numbers, in the words every voice uses."""

    why: Why
    text: str

    def __str__(self) -> str:
        return self.text


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
    waiting: str = ""
    """What the present step waits for."""
    alarms: tuple[Objection, ...] = ()
    """What is wrong though nothing needs to move."""


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
    fresh_count: int = 0
    up_since: timedelta | None = None
    stopped_count: int = 0
    stopped_since: timedelta | None = None
    stopped_wall: datetime | None = None
    sequences: Mapping[str, tuple[int, timedelta]] = field(default_factory=dict)
    """Per app and volume: Syncthing's sequence on this node and when it was seen to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeWatch:
    """The scan that waits to become a proof."""

    scanned: Scanned | None = None
    scan_asked_at: timedelta | None = None
    answered_at: Mapping[Site, timedelta] = field(default_factory=dict)
    proven_at: datetime | None = None
    """Newest proof, not necessarily saved yet."""
    proven_sequence: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What this process has seen since it started. Lost at a restart on purpose: observation begins anew."""

    nodes: Mapping[str, NodeWatch] = field(default_factory=dict)
    volumes: Mapping[tuple[str, str], VolumeWatch] = field(default_factory=dict)
    said: Mapping[str, str] = field(default_factory=dict)
    """Incident -> what was last said of it, so that it is said once."""
    api_seen_at: timedelta | None = None
    saved_at: timedelta | None = None
    """When proofs were last put into Memory."""
    phase_since: Mapping[str, timedelta] = field(default_factory=dict)
