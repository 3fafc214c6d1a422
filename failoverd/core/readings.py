"""What is seen: one noun per kind of reading. A reading that could not be had is `Unknown`, never a default."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from failoverd.core import names
from failoverd.core.applied import ApplierReading, Owner


@dataclass(frozen=True, slots=True)
class Unknown:
    """A reading that could not be had. It never means DOWN."""

    why: str
    gone: bool = False
    """Whether the API server itself says that there is no such object."""


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


Amounts = tuple[tuple[str, int], ...]
"""How much of each resource, by its name, sorted: `cpu` in thousandths of a core, `memory` and other sizes in bytes,
everything else (`pods`, `nvidia.com/gpu`) as a count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toleration:
    """Which taints a pod puts up with: an empty key is any key, an empty effect any effect."""

    key: str = ""
    exists: bool = False
    """Operator `Exists`: the value does not matter."""
    value: str = ""
    effect: str = ""
    passing: bool = False
    """Of a NoExecute taint, and for a while only: the pod may start, and is evicted later."""

    def tolerates(self, taint: str) -> bool:
        """Whether a pod with this toleration may stay on a node with `taint`, written `key=value:effect`."""
        named, _, effect = taint.rpartition(":")
        key, _, value = named.partition("=")
        if self.effect not in ("", effect) or self.key not in ("", key):
            return False
        if self.passing and effect == "NoExecute":
            return False
        return self.exists or (bool(self.key) and self.value == value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What the pod template of a workload asks of a node."""

    requests: Amounts = ()
    """Of the whole pod as the scheduler counts it, one of `pods` included."""
    tolerations: tuple[Toleration, ...] = ()
    images: tuple[str, ...] = ()
    barred: tuple[tuple[str, str], ...] = ()
    """(node, why) for each node of the pair that nodeSelector or required node affinity would refuse after a move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeObject:
    """What the Node object says."""

    ready: str
    """`True`, `False`, `Unknown` as the Ready condition has it; empty when the condition is missing."""
    unschedulable: bool = False
    deleting: bool = False
    taints: tuple[str, ...] = ()
    """`key=value:effect`, as kubectl writes them."""
    out_of_service: bool = False
    """Whether our mark is on it: that its taint `out-of-service` was set by us."""
    pressures: tuple[str, ...] = ()
    """Conditions that keep pods off: `MemoryPressure`, `DiskPressure`, `PIDPressure`, `NetworkUnavailable`."""
    allocatable: Amounts | None = None
    """What the node has for pods; None where it does not say."""
    images: frozenset[str] | None = None
    """Names of the images it holds; None where the list may leave some out."""
    rebooting: str = ""
    """Who has announced a reboot of it; empty when nobody has."""


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
    used: Amounts | Unknown = Unknown("not read")
    """Sum of what the pods bound to it have requested, whosever they are."""

    @property
    def work(self) -> str:
        """The planned work somebody has announced or done on it; empty when there is none."""
        if isinstance(self.node, Unknown):
            return "deleted from the cluster" if self.node.gone else ""
        if self.node.deleting:
            return "being deleted"
        if self.node.rebooting:
            return f"being rebooted by {self.node.rebooting}"
        return "cordoned" if self.node.unschedulable else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """What one side's Syncthing says of one volume."""

    device: str
    started: str
    """Start time of the process: a new one means the mover restarted."""
    peer: str = ""
    """Device ID of the other side as this side knows it, whose sequence `remote_sequence` is; empty when unknown."""
    type: str
    """`sendreceive`, `sendonly` or `receiveonly`."""
    paused: bool = False
    state: str
    error: str = ""
    sequence: int
    remote_sequence: int | None
    """The peer's sequence up to which this side has received the index; None when unknown."""
    connected: bool
    peer_paused: bool = False
    """Whether somebody paused the peer device at this side: it is not connected for as long as that stands."""
    errors: int = 0
    error_files: tuple[str, ...] = ()
    need_items: int = 0
    """Deletions among them, as Syncthing counts in `needTotalItems`."""
    need_bytes: int = 0
    need_files: tuple[str, ...] = ()
    """Names of what it needs, where a guard makes them worth asking for."""
    receive_only: int = 0
    """Local changes of a `receiveonly` folder."""
    local_files: int = 0
    ignores: tuple[str, ...] = ()
    versioning: str = ""
    """Type of versioning in force, empty for none."""

    @property
    def needs_nothing(self) -> bool:
        """Whether this side holds everything it has been told of. The percentage proves nothing; these do."""
        return self.need_items == 0 and self.need_bytes == 0

    def knows(self, other: Folder) -> bool:
        """Whether what it has heard is of `other`'s installation, not of one before it, whose numbers ran higher."""
        return not self.peer or self.peer == other.device

    def unlike(self, other: Folder) -> str:
        """Which patterns only one side ignores; empty where both ignore the same.

        What one side ignores is in no index it is compared by: it would be missing there, and nothing would say so.
        Their order counts, for the first that fits decides.
        """
        if self.ignores == other.ignores:
            return ""
        here, there = (
            [line for line in one.ignores if line and not line.startswith("//") and line != names.SHM_PATTERN]
            for one in (self, other)
        )
        if here == there:
            return ""
        odd = ", ".join(sorted(set(here) ^ set(there))) or "in another order"
        return f"the two sides ignore different files ({odd}): make .stignore the same on both"

    def incomparable(self, other: Folder) -> str:
        """Why what these two say of each other proves nothing; empty where it may."""
        if not (self.knows(other) and other.knows(self)):
            return "one side was replaced, and the other still speaks of the one before"
        return self.unlike(other)

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
    guard: bool = False
    """Whether it is our guard at the disk."""
    ready: bool = False
    deleting: bool = False
    finished: bool = False
    grace: timedelta = timedelta(seconds=30)
    waiting: str = ""
    """Why it does not run yet, as the kubelet or the scheduler put it."""


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
    leader: int | None = None
    """Our annotation: generation of the leader that wrote last; None when absent."""
    held: bool = False
    """Whether its controller's hold is on the live object."""
    owner: Owner = Owner.NONE
    owner_name: str = ""
    applier: ApplierReading | Unknown | None = None
    """What it is applied from, where the configuration names that."""
    shape: str = ""
    """Why this workload cannot be switched safely; empty when it can."""
    pods: tuple[Pod, ...] = ()
    updated: bool = True
    """Whether the controller has seen the present spec."""
    needs: Needs | None = None
    """What its pods ask of a node; None where it was not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """The API server answered in this tick."""

    date: datetime
    """Its `Date` header: the clock that everything in Memory is written with."""
