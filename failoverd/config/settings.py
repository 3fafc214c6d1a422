"""What may be written in the configuration file: a class a table, a field a key, with default and meaning.

`docs/configuration.md`, `config.example.toml` and the JSON schema are all made from this file.
Values are merely typed here; what they mean together is checked in `resolve` and `timing`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from failoverd.config.durations import Duration
from failoverd.config.edges import (
    FencingTable,
    InstanceTable,
    KubernetesTable,
    LeadershipTable,
    LogTable,
    NotifyTable,
    RecordTable,
    Switch,
    SyncthingTable,
    Table,
    WebTable,
    WitnessTable,
)
from failoverd.core.rules import (
    AfterFence,
    Drain,
    Failback,
    FenceWhen,
    Mode,
    Placing,
    Require,
    Site,
    WorkloadKind,
)

ENV_PREFIX = "FAILOVERD__"
"""Variables that override the file: FAILOVERD__FAILOVER__COOLDOWN is `cooldown` in `[failover]`."""
ENV_DELIMITER = "__"


class SiteTable(Table):
    """One place of a pair."""

    node: str = Field(min_length=1)
    """Name of the Kubernetes node."""
    node_selector: dict[str, str] = Field(default={})
    """Labels a pod selects to run here. Empty: the claim's volume alone decides where the pod goes."""
    domain: str = ""
    """What fails together with this node, such as its hypervisor. Empty: the node is a domain of its own."""


class SitesTable(Table):
    """The two places between which apps move."""

    primary: SiteTable
    """The preferred place."""
    backup: SiteTable
    """The other place."""


class PairTable(Table):
    """One of several pairs of places."""

    name: str = Field(min_length=1)
    """What apps call this pair."""
    primary: SiteTable
    """The preferred place."""
    backup: SiteTable
    """The other place."""


class BudgetTable(Table):
    """How many moves in how long a time."""

    count: int = Field(default=3, ge=1)
    """Moves of one app that failoverd began by itself; what you ask for does not count."""
    per: Duration = timedelta(hours=24)
    """In any stretch of this length."""


class FailoverTable(Table):
    """When an app leaves a lost node."""

    require: Require = Require.PROOF
    """`proof`: the node must be provably dead. `silence`: a long silent node is enough."""
    max_data_age: Duration = timedelta(minutes=5)
    """A copy older than this is not promoted."""
    place: Placing = Placing.NEWEST
    """With a guard, what a failover starts databases from. `newest`: their newest restore point that opens. `live`:
    whatever replication left there, which nothing proves."""
    cooldown: Duration = timedelta(minutes=15)
    """Between two elective moves of one app."""
    max_moves: BudgetTable = BudgetTable()
    """Budget of moves of one app, failovers included."""
    proof_after: Duration = timedelta(seconds=10)
    """How long a guest must have been stopped before that counts as death."""
    silence_after: Duration = timedelta(seconds=60)
    """How long a node's lease must have been silent. The default survives a 45 s network stall."""
    up_after: Duration = timedelta(seconds=20)
    """How long a node must have been healthy before it is UP again."""
    witness_within: Duration = timedelta(seconds=15)
    """Silence counts only while another failure domain's lease moved this recently."""
    failure_threshold: int = Field(default=3, ge=1)
    """Readings in a row that must say DOWN."""
    success_threshold: int = Field(default=3, ge=1)
    """Readings in a row that must say UP."""
    fence_when: FenceWhen = FenceWhen.ALL
    """Fence a silent node when `all` or `any` of our apps on it may move, even while it still serves (`isolated`), or
    `never`."""
    after_fence: AfterFence = AfterFence.START
    """Whether a node we fenced is started again once its apps have moved."""
    max_unhealthy: int = Field(default=1, ge=1)
    """Failure domains that may be silent at once; with more, nothing moves."""
    max_deleted: float = Field(default=0.5, gt=0, le=1)
    """Share of a volume's files (and at least 20) that may vanish. More: nothing moves before `failoverd ack`."""
    displaced_budget_mb: int = Field(default=10_000, ge=1)
    """Displaced files that one copy of a volume may keep. More is an alarm that holds nothing: none is pruned."""


class GuardTable(Table):
    """The guards at the disks (docs/guard.md): restore points of SQLite databases, and proof that they open."""

    enabled: Switch = False
    """Whether they run beside the data: then no app moves to a side whose guard is silent."""
    interval: Duration = timedelta(seconds=5)
    """Between two restore points of a database. A large one gets them as often as the shares below allow."""
    keep: int = Field(default=10, ge=1)
    """Restore points of one database, or file, to keep at most; the newest is always kept."""
    keep_for: Duration = timedelta(hours=1)
    """How long one is kept."""
    share: float = Field(default=0.1, gt=0, le=1)
    """Of one core, at most, averaged over a round of work."""
    io_share: float = Field(default=0.25, gt=0, le=1)
    """Of the time, at most, to be held up by the disk, averaged likewise: the rest is the app's."""
    files: tuple[str, ...] = ()
    """Ordinary files that get restore points as well: patterns within a volume, such as "config.xml", "*.json" or
    "Backups/**". None of databases, which get theirs anyway."""


class PlannedTable(Table):
    """Planned work on the active node: a cordon, a drain, an announced reboot."""

    drain: Drain = Drain.OFFER
    """`offer`: say how to move its apps. `switchover`: move them as soon as it is cordoned. `ignore`: neither."""
    patience: Duration = timedelta(minutes=4)
    """How long it may be silent in the middle of such work before it counts like any other lost node."""
    kured: str = ""
    """kured's DaemonSet, "name" (in kube-system) or "namespace/name": who holds its lock counts as under such work.
    Empty: it is not read."""


class FailbackTable(Table):
    """When an app goes home."""

    policy: Failback = Failback.AUTO
    """`auto`: by itself. `manual`: when asked to."""
    stable_for: Duration = timedelta(minutes=10)
    """How long everything must have been well before."""
    hours: str = "any"
    """When it may: "any", or windows such as "02:00-05:00" or "22:00-02:00, 12:00-13:00"."""
    timezone: str = "UTC"
    """Zone of `hours`, as in "Europe/Berlin"."""


class ObserveTable(Table):
    """What mode `observe` may do."""

    scan: Switch = False
    """Whether it may ask Syncthing for scans: they change nothing, but disks wake."""


class TimingsTable(Table):
    """Paces and patience."""

    tick: Duration = timedelta(seconds=2)
    """How often the world is looked at while nothing moves."""
    reading_max_age: Duration = timedelta(seconds=10)
    """How recently the target's Syncthing must have answered before a move."""
    scan_interval: Duration = timedelta(seconds=10)
    """How often the active side is scanned. A data age cannot get below it."""
    barrier_timeout: Duration = timedelta(minutes=2)
    """How long a planned move waits for both copies to be equal before it is called off; as long before it stops the
    app, for scans and guards at work to end, and as long for the app to stop."""
    ready_timeout: Duration = timedelta(minutes=5)
    """How long a started app may take to be Ready before that is reported."""
    fence_timeout: Duration = timedelta(minutes=1)
    """How long a fence may take to be confirmed."""
    quiet_for: Duration = timedelta(minutes=1)
    """How long a returned node that was not seen to reboot must be Ready and unchanged before we touch it."""
    monitor_for: Duration = timedelta(minutes=2)
    """How long after a move its patch is watched for being undone by GitOps: two of its intervals."""
    unfit_after: Duration = timedelta(minutes=1)
    """How long the other side must have been unable to take over before that is told."""
    save_proofs_every: Duration = timedelta(seconds=30)
    """Proofs are saved in batches. After a restart a data age may be overstated by this."""


class ConventionsTable(Table):
    """Names of claims and ReplicationSources, from {namespace}, {app} and {volume}.

    The first four are for apps without `volumes`, the other four for apps that list them.
    """

    claim_primary: str = "pvc-{app}"
    """Claim at the primary site."""
    claim_backup: str = "pvc-{app}-backup"
    """Claim at the backup site."""
    source_primary: str = "{app}-primary"
    """ReplicationSource at the primary site."""
    source_backup: str = "{app}-backup"
    """ReplicationSource at the backup site."""
    volume_claim_primary: str = "pvc-{app}-{volume}"
    """Claim of one volume at the primary site."""
    volume_claim_backup: str = "pvc-{app}-{volume}-backup"
    """Claim of one volume at the backup site."""
    volume_source_primary: str = "{app}-{volume}-primary"
    """ReplicationSource of one volume at the primary site."""
    volume_source_backup: str = "{app}-{volume}-backup"
    """ReplicationSource of one volume at the backup site."""


class VolumeTable(Table):
    """One replicated volume of an app, where the conventions for a single one do not fit. Where the names alone say
    enough, a list in the app's table does the same: `volumes = ["config", "media"]`. A listed volume, even the only
    one, is named by the `volume_…` conventions: pvc-sonarr-config."""

    name: str = Field(min_length=1)
    """What to call it: {volume} of the conventions."""
    claim_primary: str = ""
    """Claim at the primary site. Empty: by convention, as below."""
    claim_backup: str = ""
    """Claim at the backup site."""
    source_primary: str = ""
    """ReplicationSource at the primary site."""
    source_backup: str = ""
    """ReplicationSource at the backup site."""


def _named(value: object) -> object:
    """A volume given by its name alone."""
    return {"name": value} if isinstance(value, str) else value


class AppTable(Table):
    """One workload that moves."""

    name: str = Field(min_length=1)
    """Name of the workload."""
    namespace: str = Field(min_length=1)
    """Its namespace."""
    kind: WorkloadKind = WorkloadKind.DEPLOYMENT
    """Its kind."""
    pair: str = ""
    """The pair it moves within. Empty: the only one there is."""
    volumes: tuple[
        Annotated[VolumeTable, BeforeValidator(_named, json_schema_input_type=str | VolumeTable)], ...
    ] = ()
    """Its replicated volumes: names, or tables of names. Empty: one, named by the conventions."""
    preferred: Site = Site.PRIMARY
    """Where it is at home."""
    require: Require | None = None
    """Instead of `failover.require`."""
    max_data_age: Duration | None = None
    """Instead of `failover.max_data_age`."""
    place: Placing | None = None
    """Instead of `failover.place`."""
    failback: Failback | None = None
    """Instead of `failback.policy`."""
    priority: int = 0
    """Of apps that may move in the same moment, those with a higher one begin first."""
    verify_url: str = ""
    """Asked once the app is Ready; anything but a 2xx is an alarm."""
    helm_release: str = ""
    """The Flux HelmRelease that renders it, "name" or "namespace/name": suspended while the app is not at home."""
    argo_application: str = ""
    """The Argo CD Application it belongs to, "name" (in argocd) or "namespace/name": not reconciled while the app is
    not at home."""


class Settings(BaseSettings):
    """Everything that may be configured."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
    )

    mode: Mode = Mode.OBSERVE
    """`observe`: say what would be done; a move that has begun stands still, and says so. `active`: do it."""
    sites: SitesTable | None = None
    pairs: tuple[PairTable, ...] = ()
    failover: FailoverTable = FailoverTable()
    failback: FailbackTable = FailbackTable()
    guard: GuardTable = GuardTable()
    planned: PlannedTable = PlannedTable()
    observe: ObserveTable = ObserveTable()
    timings: TimingsTable = TimingsTable()
    conventions: ConventionsTable = ConventionsTable()
    apps: tuple[AppTable, ...] = ()
    fencing: tuple[FencingTable, ...] = ()
    witness: tuple[WitnessTable, ...] = ()
    notify: tuple[NotifyTable, ...] = ()
    instance: InstanceTable = InstanceTable()
    kubernetes: KubernetesTable = KubernetesTable()
    leadership: LeadershipTable = LeadershipTable()
    syncthing: SyncthingTable = SyncthingTable()
    web: WebTable = WebTable()
    record: RecordTable = RecordTable()
    log: LogTable = LogTable()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the library names its arguments
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file; nothing else is read."""
        return env_settings, init_settings
