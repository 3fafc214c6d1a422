"""One side of a Syncthing pair: its configuration, its index, and what it does to its disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import lru_cache

from failoverd.core.model import Displaced, Folder, Role
from failoverd.core.names import GUARD_FOLDER
from failoverd.core.rules import Site
from failoverd.simulator.world_data import DATABASE, FILE_BYTES, SHM, Content, Disk, File, Stretch, missing
from failoverd.simulator.world_index import Entry, beats, bump, conflict, merge

CHANGING = "hashing: file changed during hashing"
NO_VERSION = "syncing: pull: no such file"
NO_MARKER = (
    "folder marker missing (this indicates potential data loss, "
    "search docs/forum to get information about how to proceed)"
)
"""Syncthing's own words."""


@dataclass(slots=True, kw_only=True)
class Side:
    """A mover with its configuration (kept on its own volume) and its index."""

    name: str
    site: Site
    device: str
    disk: Disk
    expects: str = ""
    """The peer's device, as Git has it: another one is turned away."""
    peer_paused: bool = False
    """Somebody paused the peer here."""
    tell: Callable[[str], None]
    """Says what happened to data, for the transcript."""
    accuse: Callable[[str, str], None]
    """(promise, what happened): something a promise forbids."""
    live: Callable[[], bool] = lambda: True
    """Whether the workload names this side's copy: a leftover pod elsewhere writes what counts for nothing."""
    elsewhere: Callable[[str, Content], bool] = lambda *_: False
    """Whether the other side keeps this content among its versions: somebody has fetched another one back there."""
    kind: Role = Role.SEND_RECEIVE
    paused: bool = False
    versioning: str = ""
    ignores: tuple[str, ...] = ("lost+found",)
    up: bool = True
    hung: bool = False
    started_ms: int = 0
    address: str = ""
    """Of its Service, where the world is served."""
    secret: dict[str, str] = field(default_factory=dict)
    """What its Secret says, where that is not what every Secret says."""
    sequence: int = 0
    index: dict[str, Entry] = field(default_factory=dict)
    remote: dict[str, Entry] = field(default_factory=dict)
    remote_sequence: int = 0
    errors: dict[str, str] = field(default_factory=dict)
    edition: int = 0
    """Changes whenever one of the two indexes does."""
    shown: tuple[object, Folder] | None = None
    """What was shown of it last, and for which state."""
    _needs: tuple[int, tuple[str, ...], list[Entry]] = (-1, (), [])

    @property
    def running(self) -> bool:
        """Whether it works: a hung process is connected, and silent."""
        return self.up and not self.hung

    @property
    def error(self) -> str:
        """Why the folder as a whole stands still."""
        return "" if self.disk.marker else NO_MARKER

    def ignored(self, path: str) -> bool:
        """Whether a pattern leaves `path` out."""
        return _ignored(path, self.ignores)

    def scan(self, below: str = "") -> None:
        """Compare disk and index, of files `below` a folder or of all. A file that changes meanwhile keeps its old
        entry and counts as an error."""
        if self.error or self.paused:
            return
        self.disk.settle()
        if not below:
            self.errors = {path: why for path, why in self.errors.items() if why == NO_VERSION}
        for path, file in self.disk.files.items():
            if self.ignored(path) or not path.startswith(below):
                continue
            if self.disk.busy(path):
                self.errors[path] = CHANGING
            elif self._differs(path, file):
                self._enter(path, file.content, file.changed_ms)
        for path, entry in list(self.index.items()):
            gone = entry.content is not None and path not in self.disk.files and path.startswith(below)
            if gone and not self.ignored(path):
                self._enter(path, None, self.disk.now_ms())

    def _differs(self, path: str, file: File) -> bool:
        entry = self.index.get(path)
        if entry is None or entry.content is None:
            return True
        return path != SHM and entry.content != file.content

    def _enter(self, path: str, content: Content | None, changed_ms: int, version: Entry | None = None) -> None:
        old = version or self.index.get(path)
        self._next()
        self.index[path] = Entry(
            path=path,
            version=bump(old.version if old else (), self.device),
            content=content,
            changed_ms=changed_ms,
            sequence=self.sequence,
            local=self.kind is Role.RECEIVE_ONLY,
        )

    def _next(self) -> None:
        """One more change of the index."""
        self.sequence += 1
        self.edition += 1

    def hear(self, peer: Side) -> bool:
        """Take the peer's index; says whether there was anything new."""
        if self.remote_sequence == peer.sequence:
            return False
        self.remote = {path: entry for path, entry in peer.index.items() if not entry.local}
        self.remote_sequence = peer.sequence
        self.edition += 1
        return True

    def needs(self) -> list[Entry]:
        """What the peer has and this side lacks. Changes of one's own on a `receiveonly` side wait for a
        revert."""
        edition, ignores, found = self._needs
        if edition != self.edition or ignores != self.ignores:
            found = self._lacking()
            self._needs = (self.edition, self.ignores, found)
        return found

    def _lacking(self) -> list[Entry]:
        found = []
        for path, entry in self.remote.items():
            own = self.index.get(path)
            if self.ignored(path) or (own is not None and own.local):
                continue
            if own is None and entry.content is None:
                continue
            if own is None or beats(entry, own):
                found.append(entry)
        return found

    def local_changes(self) -> list[Entry]:
        """Changes of its own that a `receiveonly` side holds."""
        return [entry for entry in self.index.values() if entry.local]

    def pull(self, peer: Side) -> bool:
        """Fetch what is needed from `peer`; says whether anything arrived."""
        if self.kind is Role.SEND_ONLY or self.paused or self.error:
            return False
        self.errors = {path: why for path, why in self.errors.items() if why != NO_VERSION}
        arrived = False
        for entry in self.needs():
            arrived = self._fetch(entry, peer) or arrived
        return arrived

    def _fetch(self, entry: Entry, peer: Side) -> bool:
        if entry.content is not None:
            peer.disk.settle()
            held = peer.disk.files.get(entry.path)
            stale = entry.path == SHM and bool(peer.disk.writers)
            if held is None or held.content != entry.content or stale:
                self.errors[entry.path] = NO_VERSION
                return False
        self._take(entry)
        self._next()
        self.index[entry.path] = replace(entry, sequence=self.sequence)
        return True

    def _take(self, entry: Entry) -> None:
        self.disk.settle()
        old, own = self.disk.files.get(entry.path), self.index.get(entry.path)
        if old is not None and old.content != entry.content:
            self._displace(entry, old, own)
        if entry.path == DATABASE:
            self.disk.torn = False
        if entry.content is None:
            self.disk.files.pop(entry.path, None)
        else:
            self.disk.files[entry.path] = File(content=entry.content, changed_ms=entry.changed_ms)

    def _displace(self, entry: Entry, old: File, own: Entry | None) -> None:
        if entry.path.startswith(GUARD_FOLDER):  # points are copies, and made to be replaced
            return
        if self.disk.writers and self.live():
            self.accuse("I1", f"{self.name}: the peer's {entry.path} replaced the running app's")
        if entry.path == SHM:
            return
        gone = missing(entry.content or (), old.content)
        if own is not None and conflict(own, entry) and entry.content is not None:
            name = f"{entry.path}.sync-conflict-{entry.changed_ms}"
            self.disk.files[name] = replace(old)
            self._enter(name, old.content, old.changed_ms)
            self.tell(f"conflict {self.name} {entry.path}")
        elif self.versioning:
            self.disk.versions.append((entry.path, old.content))
            if gone:
                self.tell(f"displaced {self.name} {entry.path}, kept: {self._worth(entry.path, gone)}")
        elif gone and not self.elsewhere(entry.path, old.content):
            self.accuse("I10", f"{self.name}: {_seconds(gone)} s of writing in {entry.path} gone for good")

    def kept(self) -> Displaced:
        """What its versions hold, as a take-back that ends lists it."""
        names = [path for path, _ in self.disk.versions]
        return Displaced(files=len(names), size=FILE_BYTES * len(names), names=tuple(dict.fromkeys(names[:-11:-1])))

    def _worth(self, path: str, gone: tuple[Stretch, ...]) -> str:
        """What a displaced file held, and what of it is really lost: most was replicated before it was displaced."""
        theirs = self.remote.get(path.partition(".sync-conflict-")[0])
        has = {part.pod: part.until_ms for part in (theirs.content or () if theirs else ())}
        lost = 0
        for part in gone:
            held = has.get(part.pod)
            first = part.since_ms if held is None else self.disk.rhythm.next_write_ms(part.since_ms, held)
            lost += max(part.until_ms - first, 0)
        return f"{_seconds(gone)} s of writing, all but {lost / 1000:g} s of it in the live copy too"

    def override(self) -> None:
        """Make this side's state the newest, also where it lacks a file: that deletes it on the peer."""
        if self.kind is not Role.SEND_ONLY or self.error or self.paused:
            return
        for entry in self.needs():
            own = self.index.get(entry.path)
            both = replace(entry, version=merge(own.version if own else (), entry.version))
            self._enter(entry.path, own.content if own else None, own.changed_ms if own else 0, both)

    def revert(self) -> None:
        """Drop a `receiveonly` side's own changes: deleted here, or fetched again from the peer."""
        if self.kind is not Role.RECEIVE_ONLY or self.error or self.paused:
            return
        for entry in self.local_changes():
            theirs = self.remote.get(entry.path)
            if theirs is not None and theirs.content is not None:
                self._next()
                self.index[entry.path] = replace(entry, version=(), local=False, sequence=self.sequence)
                continue
            gone = self.disk.files.get(entry.path)
            if gone is not None:
                self._take(replace(entry, content=None))
            if theirs is not None:
                self._next()
                self.index[entry.path] = replace(theirs, sequence=self.sequence)
            else:
                del self.index[entry.path]
                self.edition += 1

    def set_kind(self, kind: Role) -> None:
        """Another folder type. Leaving `receiveonly` turns one's own changes into ordinary ones."""
        if self.kind is Role.RECEIVE_ONLY and kind is not Role.RECEIVE_ONLY:
            for entry in self.local_changes():
                self._next()
                self.index[entry.path] = replace(entry, local=False, sequence=self.sequence)
        self.kind = kind

    def forget(self, device: str) -> None:
        """The configuration volume is lost: another device, VolSync's defaults, an empty index."""
        self.device, self.kind, self.versioning, self.ignores = device, Role.SEND_RECEIVE, "", ("lost+found",)
        self.sequence, self.remote_sequence = 0, 0
        self.index, self.remote, self.errors = {}, {}, {}
        self.edition += 1
        self.paused = False


@lru_cache(maxsize=1024)
def _ignored(path: str, ignores: tuple[str, ...]) -> bool:
    return any(fnmatch(path, pattern.removeprefix("(?d)")) for pattern in ignores)


def _seconds(parts: tuple[Stretch, ...]) -> str:
    return f"{sum(part.until_ms - part.since_ms for part in parts) / 1000:g}"
