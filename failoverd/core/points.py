"""What is said between the daemon and the guards at the disks, and what a restore point says of itself.

A path is relative to the volume's root and percent-encoded byte by byte (as in a URL): names may hold newlines and
bytes that are no UTF-8, and both the manifest and the Kubernetes API carry text.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from failoverd.core.filed import Filed
from failoverd.core.recall import Recall, Recalled
from failoverd.core.rules import Placing, Site
from failoverd.core.stock import Stock

POINTS_SCHEMA = 1
"""Of manifests, wanted and observed; a reader refuses a higher one."""


FILES = ""
"""In place of a database's name: all files together."""


class Duty(StrEnum):
    """What a guard does at its copy: make points, prove them, or keep its hands off."""

    MAKE = "make"
    PROVE = "prove"
    REST = "rest"


class Ailment(StrEnum):
    """Why there is no point of a database, or why a copy does not open."""

    LOCKED = "locked"
    CORRUPT = "corrupt"
    NOT_A_DATABASE = "not a database"
    """Encrypted, or overwritten: the file's first bytes are not SQLite's."""
    UNCHECKED = "cannot be checked"
    """The check itself needs something that only the app brings, for example a collation of its own."""
    UNREADABLE = "unreadable"
    NO_ROOM = "no room"
    CHANGING = "changes faster than it can be copied"
    INTERRUPTED = "interrupted"
    """Only the app may roll back the transaction that a crash left behind."""
    FOREIGN = "foreign"
    """Points of a later epoch lie here: whoever wants this one knows less than the disk."""
    MISMATCH = "does not match its manifest"
    NONE = "no point"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One consistent copy of one database: the content of its manifest.

    Ordered by (`epoch`, `serial`). The serial is the guard's own count within the epoch, because SQLite has none that
    would do: the header's change counter (offset 24) stands still in WAL mode (100 commits moved it by 1), and the
    WAL's own counters begin anew when the last connection closes. Both are recorded all the same.
    """

    database: str
    site: Site
    epoch: int
    serial: int
    made_at: datetime
    """Just before the snapshot was taken, by the API server's clock."""
    size: int
    """Bytes of the copy."""
    sha256: str
    wal: bool
    """Whether the database was in WAL mode."""
    counter_before: int
    """The header's change counter before the snapshot, and after it: rollback mode counts every transaction there."""
    counter_after: int
    wal_changes: int = 0
    """The WAL index's count of transactions before the snapshot; 0 without a WAL."""
    wal_salt: str = ""
    """What tells this WAL from the next one in the same file, in hex; empty where it is not known."""
    wal_frame: int = 0
    """The WAL's last frame before the snapshot: later ones may be in the point or not."""
    mode: int = 0o644
    """Permission bits of the database file."""
    last_held: datetime | None = None
    """The last moment at which the point before this one was seen to hold everything; None where it is not known."""
    schema: int = POINTS_SCHEMA

    @property
    def order(self) -> tuple[int, int]:
        """What points are ordered by, never a time."""
        return self.epoch, self.serial


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the daemon wants of the guard at one copy of a volume."""

    duty: Duty
    epoch: int
    active: Site
    """The site whose points of `epoch` count. While databases are placed: the lost one, and the epoch of then."""
    interval: timedelta = timedelta(seconds=5)
    """Between two points of one database, where the share allows it."""
    keep: int = 10
    """Points of one database to keep at most; the newest is kept whatever its age."""
    keep_for: timedelta = timedelta(hours=1)
    share: float = 0.1
    """Of one core's time, at most, averaged over a few seconds."""
    io_share: float = 0.25
    """Of the time, at most, to be held up by the disk, averaged likewise."""
    files: tuple[str, ...] = ()
    """Patterns of ordinary files that get points beside the databases; none: no file does."""
    recheck: timedelta = timedelta(hours=1)
    """After this long a point that was proven is proven again: disks forget."""
    move: str = ""
    """Id of the move that waits for databases to be placed here; empty for none."""
    place: Placing = Placing.NEWEST
    as_of: datetime | None = None
    """While databases are placed: the moment that all of one app are placed as of; None: each at its newest."""
    recall: Recall | None = None
    """Databases to be put back at the active side: without `move` a question, what of them can be had."""
    lay: bool = False
    """With `recall` and `move`: lay the copies beside their databases, and move nothing yet."""
    clear: bool = False
    """With `move`, at a returned side that receives nothing yet: its databases are moved aside, each with all that
    belongs to it, and nothing takes their place."""
    lost: str = ""
    """With `move`, at a returned side: the failover by which it lost, whose points its databases are held against."""
    rewound: bool = False
    """Databases were put back since: their change counters went back, and tell nothing of which copy is newer."""
    owner: tuple[int, int] | None = None
    """uid and gid that the app's files must have; None: not looked at."""
    room: int = 0
    """Bytes that must be free before the app may start here."""
    ask: str = ""
    """Any new text has everything proven again at once; `Observed.asked` repeats it when that is done."""
    schema: int = POINTS_SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class Sickness:
    """One database, or one point of it, that is not well."""

    database: str
    ailment: Ailment
    text: str
    earlier: bool = False
    """At the standby: only points of an earlier epoch are there, before whose end the app may have deleted it."""


class Obstacle(StrEnum):
    """What in a volume stands in the way of an app's start."""

    MISSING = "missing"
    EMPTY = "empty"
    OWNER = "wrong owner"
    READ_ONLY = "read only"
    ROOM = "too little room"
    MARKER = "folder marker missing"
    """Syncthing stops such a folder, and nothing would be replicated from it."""
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One obstacle, with its numbers."""

    obstacle: Obstacle
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One database at the active side, and its newest point."""

    database: str
    size: int
    serial: int
    made_at: datetime
    current_at: datetime
    """The last moment the database was seen not to have changed since the point."""
    every: timedelta
    """From one point to the next, as it went last: the cost of a large one is spread by the share."""
    age: timedelta
    """How old the newest point was just before this one was complete: what a loss then would have cost."""
    oldest: datetime | None = None
    """When the oldest point of this epoch that is kept was made; None of a guard that does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """The newest point of one database that opens, at the standby."""

    database: str
    serial: int
    made_at: datetime
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """By how much a displaced database was ahead of the point that the app went on with at the other side."""

    database: str
    transactions: int | None
    """At most; None where nothing tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """What became of a placing: the databases put in place, and every file that had to make room."""

    move: str
    done: bool
    databases: tuple[str, ...] = ()
    live: tuple[str, ...] = ()
    """Databases whose live copy was left where it is."""
    displaced: tuple[str, ...] = ()
    """Where the displaced files are now, as paths of the volume."""
    why: str = ""
    """What stopped it; it goes on when that is mended."""
    files: int = 0
    """Ordinary files put in place beside them."""
    told: str = ""
    """Which these are, and which were left as they were and why, for people."""
    laid: bool = False
    """Whether all copies lie beside their databases, as `Wanted.lay` asks for."""
    ahead: tuple[Ahead, ...] = ()
    """Of every displaced database, where `Wanted.lost` asks for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What a guard last saw and did at one copy."""

    site: Site
    at: datetime
    """By the API server's clock."""
    duty: Duty
    epoch: int
    kept: tuple[Kept, ...] = ()
    proven: tuple[Proven, ...] = ()
    sick: tuple[Sickness, ...] = ()
    findings: tuple[Finding, ...] = ()
    """What would stand in the way of a start here."""
    placed: Placed | None = None
    recalled: Recalled | None = None
    """What can be had of `Wanted.recall`."""
    asked: str = ""
    filed: Filed | None = None
    """Of ordinary files; None where no points of them are wanted, and of an older guard."""
    stock: Stock | None = None
    """What is kept beside the app's files, as it was last looked at; None until then, and of an older guard. In the
    cluster only its numbers stand here: names have a place of their own, for the daemon asks for none."""
    left_out: int = 0
    """Entries left out because the object must stay small."""
    schema: int = POINTS_SCHEMA

    @property
    def newest(self) -> tuple[tuple[str, int], ...]:
        """Database and serial of every newest point that was made here; of files how many were."""
        files = ((FILES, self.filed.made),) if self.filed is not None and self.filed.made else ()
        return (*((one.database, one.serial) for one in self.kept), *files)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardReading:
    """What stands in the object of one copy."""

    version: str = ""
    """resourceVersion, which a new order is written against; empty where there is no object yet."""
    wanted: Wanted | None = None
    """None where nothing was ordered, or nothing that can be understood."""
    observed: Observed | None = None
    """None where nothing was said yet, or nothing that can be understood."""
    trouble: str = ""
    """Why what was said cannot be understood; empty where it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardWatch:
    """What this process has seen of the guard of one copy."""

    said: datetime | None = None
    """The guard's own time of what it said last."""
    heard_at: timedelta | None = None
    """When (monotonic) that was seen to change. At the first sight as long ago as both times say."""
    wanted: Wanted | None = None
    wanted_at: timedelta | None = None
    """When (monotonic) this order was first seen to stand."""
    announced: tuple[tuple[str, int], ...] = ()
    """(database, serial) of the points that a scan was last asked for."""
