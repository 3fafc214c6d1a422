"""What is done, as data, and what came of it. Every action is idempotent and carries its reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from failoverd.core.counts import counted
from failoverd.core.memory import Version
from failoverd.core.points import Wanted
from failoverd.core.rules import Applier, Site


class Role(StrEnum):
    """Folder types we set."""

    SEND_ONLY = "sendonly"
    RECEIVE_ONLY = "receiveonly"
    SEND_RECEIVE = "sendreceive"


AIMS = frozenset(("app", "volume", "site", "node", "pod"))
"""Fields of actions that say what an act is done to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One idempotent act, as data. `reason` says why, `key` keeps a second one from starting meanwhile."""

    reason: str

    @property
    def key(self) -> str:
        """Two actions with the same key are the same act."""
        aims = [str(getattr(self, name)) for name in self.__dataclass_fields__ if name in AIMS]
        return " ".join([type(self).__name__, *aims])


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
class PatchApplier(Action):
    """One JSON Patch of what `app` is applied from: suspended for a move, or as it was before."""

    app: str
    applier: Applier
    """Of several apps that are applied from it, one patch at a time is on its way."""
    ops: tuple[PatchOp, ...]

    @property
    def key(self) -> str:
        """By the applier, not by the app."""
        return f"{type(self).__name__} {self.applier}"


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
    move: str = ""
    """Of one that turns it off: the move whose files were kept meanwhile; empty where none is remembered."""
    since: datetime | None = None
    """When that move began: what was put aside before is not of it."""


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
class ScanPoints(Action):
    """Scan the guard's folder of one side, so that a new point is announced at once. It proves nothing."""

    app: str
    volume: str
    site: Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Want(Action):
    """Order what the guard of one copy does. Fails where its object is not of `version` any more."""

    app: str
    volume: str
    site: Site
    wanted: Wanted
    version: str
    """Empty: there is no object yet, and it is made."""


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
class FindVersions(Action):
    """Look which versions must be fetched for one file of one side: the receipt names them, or says why none are.

    It changes nothing but that what the app has just written is scanned.
    """

    app: str
    volume: str
    site: Site
    path: str
    at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchVersions(Action):
    """Put these versions where their files are, all or none; what is there by then becomes a version. Done twice it
    is done once: a file that is there already is known. With versioning off it is a look whether they are there.
    """

    app: str
    volume: str
    site: Site
    files: tuple[Version, ...]
    unsure: bool = False
    """Whether an earlier one may have been carried out in part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DropConnection(Action):
    """Have one side's Syncthing let go of a dead connection: its process ends and starts anew.

    `started` is the start of the process that holds it: another one is left alone, so a second time does nothing.
    """

    app: str
    volume: str
    site: Site
    started: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceOff(Action):
    """Cut the power of a node."""

    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceOn(Action):
    """Start a node we fenced."""

    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaintNode(Action):
    """Tell the cluster that a node is off: the taint `out-of-service`, marked as ours."""

    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UntaintNode(Action):
    """Take that taint off again, where it is ours."""

    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify(Action):
    """Ask the app's `verify_url` whether it really serves, for up to a minute."""

    app: str
    move: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """What a scan found."""

    at: datetime
    """API server time at which it was asked for."""
    sequence: int
    errors: int
    error_files: tuple[str, ...] = ()
    changing: tuple[str, ...] = ()
    """Those of them that a writer was just changing: no sign of a broken disk, and read again at the next scan."""
    started: str = ""
    device: str = ""
    """The installation that was scanned: sequences of another one say nothing about it."""
    took: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Displaced:
    """What versioning has put aside at one side, as it stood when a take-back or a restore ended."""

    files: int
    size: int
    """Bytes."""
    names: tuple[str, ...] = ()
    """The newest ones, of this move alone."""
    older_files: int = 0
    older_size: int = 0
    """How much of it lay there before this move."""

    def __str__(self) -> str:
        new = self.files - self.older_files
        more = ", …" if new > len(self.names) else ""
        told = f"{counted(new, 'file')}, {counted(self.size - self.older_size, 'byte')}"
        told += f": {', '.join(self.names)}{more}" if self.names else ""
        older = f"{counted(self.older_files, 'file')}, {counted(self.older_size, 'byte')}"
        return f"{told}; of before: {older}" if self.older_files else told


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What came of an action; fed into the next snapshot."""

    action: Action
    ok: bool
    detail: str = ""
    scanned: Scanned | None = None
    displaced: Displaced | None = None
    found: tuple[Version, ...] = ()
    """Of `FindVersions`; none where `detail` says why there is nothing to fetch."""
    unsure: bool = False
    """Of `FetchVersions`: whether a part of the files may be fetched now, and the rest not."""
