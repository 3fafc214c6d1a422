"""What was configured, resolved and checked: the input of the core that never changes within a run.

`failoverd.config` builds it from TOML; the simulator builds it directly. All durations are `timedelta`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum


class Site(StrEnum):
    """A place of a pair. Names of places, not of roles: active and standby are roles and move."""

    PRIMARY = "primary"
    BACKUP = "backup"

    @property
    def other(self) -> Site:
        """The opposite place of the pair."""
        return Site.BACKUP if self is Site.PRIMARY else Site.PRIMARY


SITES = tuple(Site)
"""Both, in order. To go through the class itself takes ten times as long, and every tick does it again and again."""


class Mode(StrEnum):
    """How much the daemon may do by itself."""

    OBSERVE = "observe"
    ACTIVE = "active"


EXPERIMENTAL = 'mode "active" is experimental: a raw copy of a busy database may not open, and nothing here proves it'
"""Said wherever `active` is chosen."""


class Require(StrEnum):
    """What must be known of the lost node before an app may move away from it."""

    PROOF = "proof"
    SILENCE = "silence"


class FenceWhen(StrEnum):
    """When a silent node may be fenced: all our apps on it may move; any may; even while it still serves, cut off
    from the cluster (`isolated`, else like `any`); never."""

    ALL = "all"
    ANY = "any"
    ISOLATED = "isolated"
    NEVER = "never"


class AfterFence(StrEnum):
    """What becomes of a node we fenced once every move from it has ended."""

    START = "start"
    LEAVE = "leave"


class Failback(StrEnum):
    """Whether an app goes home by itself."""

    AUTO = "auto"
    MANUAL = "manual"


class Drain(StrEnum):
    """What planned work on the active node calls for: telling how to move its apps, moving them, or nothing."""

    OFFER = "offer"
    SWITCHOVER = "switchover"
    IGNORE = "ignore"


class Placing(StrEnum):
    """Which copy of a database an app is started with after an unplanned failover."""

    NEWEST = "newest"
    """The newest point of the epoch that opens, or the live copy where that is provably as new."""
    LIVE = "live"
    """Whatever replication left there."""


class WorkloadKind(StrEnum):
    """The kinds of workload whose volumes we can swap."""

    DEPLOYMENT = "Deployment"
    STATEFULSET = "StatefulSet"


def _seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Every duration and count the core waits for; `failoverd.config` derives and checks their algebra."""

    tick: timedelta = _seconds(2)
    """How often the world is looked at while nothing moves."""
    failure_threshold: int = 3
    """Readings in a row that must say DOWN."""
    success_threshold: int = 3
    """Readings in a row that must say UP."""
    proof_after: timedelta = _seconds(10)
    """How long a guest must have been `stopped` before that counts as death."""
    silence_after: timedelta = _seconds(60)
    """How long a lease must have been silent; survives a 28 s API stall and a 45 s network stall."""
    up_after: timedelta = _seconds(20)
    """How long a node must have been healthy before it is UP again."""
    witness_within: timedelta = _seconds(15)
    """Another domain's lease must have moved this recently: leases move every 10 s."""
    reading_max_age: timedelta = _seconds(10)
    """How recently the target's Syncthing must have answered before a move."""
    scan_interval: timedelta = _seconds(10)
    """How often the active side is scanned; each successful one can become a proof."""
    barrier_timeout: timedelta = _seconds(120)
    ready_timeout: timedelta = _seconds(300)
    fence_timeout: timedelta = _seconds(60)
    stable_for: timedelta = _seconds(600)
    """How long everything must have been well before an app goes home by itself."""
    cooldown: timedelta = _seconds(900)
    """Between two elective moves of one app."""
    max_moves: int = 3
    max_moves_per: timedelta = timedelta(hours=24)
    quiet_for: timedelta = _seconds(60)
    """A returned node that was never seen to reboot: Ready and unchanged this long, plus the pod's grace,
    before its copy is touched (an old pod was measured writing 50 s after a heal)."""
    monitor_for: timedelta = _seconds(120)
    """How long after a move the patch is watched for a GitOps controller undoing it."""
    patience: timedelta = _seconds(240)
    """How long a node in the middle of planned work may be silent before it counts like any other. Longer than a
    reboot, and shorter than the default limit of a data age, which grows while the node may still be writing."""
    unfit_after: timedelta = _seconds(60)
    """How long the standby side must have been unable to take over before people are told: movers restart."""
    save_proofs_every: timedelta = _seconds(30)
    """Proofs are saved in batches: after a restart an age may be this much overstated, never understated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One site of a pair: its node, what a pod must select to run there, and what fails together with it."""

    node: str
    selector: tuple[tuple[str, str], ...]
    domain: str
    fence: str = ""
    """Name of the configured fence; empty where none is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two places between which apps move."""

    name: str
    primary: Place
    backup: Place

    def place(self, site: Site) -> Place:
        """The place called `site`."""
        return self.primary if site is Site.PRIMARY else self.backup


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One copy of a volume: its claim, its ReplicationSource and the names VolSync derives from it."""

    claim: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """One replicated volume of an app, with a copy at each site."""

    name: str
    primary: Copy
    backup: Copy

    def copy(self, site: Site) -> Copy:
        """The copy at `site`."""
        return self.primary if site is Site.PRIMARY else self.backup


class ApplierKind(StrEnum):
    """Kinds of objects from which a controller applies workloads, and which can be told to keep still."""

    HELM_RELEASE = "HelmRelease"
    APPLICATION = "Application"


@dataclass(frozen=True, slots=True, kw_only=True)
class Applier:
    """The Flux HelmRelease or Argo CD Application from which a workload is applied."""

    kind: ApplierKind
    name: str
    """`namespace/name`."""

    @property
    def namespace(self) -> str:
        """Where it is kept."""
        return self.name.partition("/")[0]

    @property
    def last(self) -> str:
        """Its name within its namespace."""
        return self.name.partition("/")[2]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """One workload with its replicated volumes and the rules it moves by."""

    key: str
    """`namespace/name`, unique."""
    namespace: str
    name: str
    kind: WorkloadKind
    pair: str
    volumes: tuple[Volume, ...]
    preferred: Site = Site.PRIMARY
    require: Require = Require.PROOF
    max_data_age: timedelta = timedelta(minutes=5)
    failback: Failback = Failback.AUTO
    priority: int = 0
    verify_url: str = ""
    applier: Applier | None = None
    """What a controller applies the workload from as a whole; None where nothing of the kind does."""
    place: Placing = Placing.NEWEST
    """Only with a guard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarding:
    """What guards are told of making points; what each number means stands at `points.Wanted`."""

    interval: timedelta = _seconds(5)
    keep: int = 10
    keep_for: timedelta = timedelta(hours=1)
    share: float = 0.1
    io_share: float = 0.25
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Everything configured that a decision depends on."""

    mode: Mode
    pairs: tuple[Pair, ...]
    apps: tuple[App, ...]
    witnesses: tuple[tuple[str, str], ...] = ()
    """(node, failure domain) of every node of the cluster whose lease may witness, members of pairs included."""
    own_domain: str = ""
    """The failure domain this instance runs in; empty when unknown."""
    fence_when: FenceWhen = FenceWhen.ALL
    after_fence: AfterFence = AfterFence.START
    out_of_service: tuple[str, ...] = ()
    """Nodes that are given the taint `out-of-service` when they are proven dead."""
    drain: Drain = Drain.OFFER
    kured: str = ""
    """`namespace/name` of the DaemonSet whose lock announces reboots; empty: none is read."""
    max_unhealthy: int = 1
    """Failure domains that may be silent at once; with more, nothing moves."""
    max_deleted: float = 0.5
    """Share of a volume's files; when more have gone it is an alarm that must be acknowledged."""
    displaced_budget: int = 10_000_000_000
    """Bytes of displaced files that one copy may keep; more is an alarm, and nothing is ever pruned."""
    timings: Timings = field(default_factory=Timings)
    observe_scan: bool = False
    """Whether `observe` may ask Syncthing for scans (it changes nothing, but disks wake)."""
    guard: Guarding | None = None
    """None: there are no guards at the disks, and nothing of them is looked at."""
    fence_hash: str = ""
    """Fingerprint of the fencing configuration: a guest mapping proven under another one proves nothing."""

    def pair(self, app: App) -> Pair:
        """The pair `app` moves within. Raises KeyError for an app of no pair: config refuses it."""
        for pair in self.pairs:
            if pair.name == app.pair:
                return pair
        raise KeyError(app.pair)

    def app(self, key: str) -> App:
        """The app called `namespace/name`. Raises KeyError when there is none."""
        for app in self.apps:
            if app.key == key:
                return app
        raise KeyError(key)

    def place(self, app: App, site: Site) -> Place:
        """Where `app` runs when it runs at `site`."""
        return self.pair(app).place(site)

    @property
    def experimental(self) -> str:
        """What is said of mode `active` under these rules."""
        return EXPERIMENTAL if self.guard is None else EXPERIMENTAL.partition(":")[0]

    @property
    def nodes(self) -> tuple[str, ...]:
        """Every node an app can run on, each once, in order of configuration."""
        names = [place.node for pair in self.pairs for place in (pair.primary, pair.backup)]
        return tuple(dict.fromkeys(names))

    def domain(self, node: str) -> str:
        """The failure domain of `node`; a node nobody described is a domain of its own."""
        for pair in self.pairs:
            for place in (pair.primary, pair.backup):
                if place.node == node:
                    return place.domain
        for name, domain in self.witnesses:
            if name == node:
                return domain
        return node

    def fence(self, node: str) -> str:
        """Name of the fence of `node`, empty where none is configured."""
        for pair in self.pairs:
            for place in (pair.primary, pair.backup):
                if place.node == node and place.fence:
                    return place.fence
        return ""
