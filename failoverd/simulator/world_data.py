"""What was written by whom, where and when: the truth against which promises are judged.

A file's content is a tuple of stretches of writing, oldest first, one a writer. A copy taken at some
moment holds every stretch up to that moment, so "lost", "two writers" and "an old side's change arrived"
are computed, not assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from failoverd.core.rules import Site

DATABASE = "app.db"
"""Written all the time while the app runs."""
FILE_BYTES = 1000
"""What every file is taken to hold."""
SHM = "app.db-shm"
"""Written through mmap while the app runs: hashed once, then never right again."""
SETTINGS = "config.xml"
"""Written once whenever the app starts."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Everything one pod wrote into one file from its start until `until_ms`."""

    pod: str
    site: Site
    since_ms: int
    until_ms: int


Content = tuple[Stretch, ...]


def extend(content: Content, stretch: Stretch) -> Content:
    """`content` after `stretch` was written on top of it."""
    if not any(part.pod == stretch.pod for part in content):
        return (*content, stretch)
    return tuple(
        replace(part, until_ms=max(part.until_ms, stretch.until_ms)) if part.pod == stretch.pod else part
        for part in content
    )


def missing(content: Content, reference: Content) -> tuple[Stretch, ...]:
    """What of `reference` is not in `content`: one stretch for each writer whose end is lacking."""
    has = {part.pod: part.until_ms for part in content}
    return tuple(
        replace(part, since_ms=max(part.since_ms, has.get(part.pod, -1)))
        for part in reference
        if has.get(part.pod, -1) < part.until_ms
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """How the app writes: bursts with pauses, like the real ones (5 s on, 10 s off); no pause: never at
    rest."""

    on_ms: int = 5_000
    off_ms: int = 10_000

    @property
    def period_ms(self) -> int:
        """From the beginning of one burst to that of the next."""
        return self.on_ms + self.off_ms

    def busy(self, since_ms: int, now_ms: int) -> bool:
        """Whether the writer that began at `since_ms` is writing at this moment."""
        return not self.off_ms or (now_ms - since_ms) % (self.on_ms + self.off_ms) < self.on_ms

    def last_write_ms(self, since_ms: int, now_ms: int) -> int:
        """The last moment up to `now_ms` at which it wrote."""
        into = (now_ms - since_ms) % (self.on_ms + self.off_ms) if self.off_ms else 0
        return now_ms if not self.off_ms else now_ms - max(0, into - self.on_ms)

    def next_write_ms(self, since_ms: int, after_ms: int) -> int:
        """The first moment from `after_ms` on at which the writer that began at `since_ms` writes."""
        into = (after_ms - since_ms) % (self.on_ms + self.off_ms)
        return after_ms if not self.off_ms or into < self.on_ms else after_ms + self.on_ms + self.off_ms - into


@dataclass(slots=True, kw_only=True)
class File:
    """One file on one disk."""

    content: Content
    changed_ms: int


@dataclass(frozen=True, slots=True)
class Writer:
    """A pod that has the disk mounted and writes."""

    pod: str
    since_ms: int
    rhythm: Rhythm


@dataclass(slots=True)
class Disk:
    """One copy of a volume. Writing is filled in when somebody looks: a running app costs no events."""

    site: Site
    now_ms: Callable[[], int]
    files: dict[str, File] = field(default_factory=dict)
    versions: list[tuple[str, Content]] = field(default_factory=list)
    """What was displaced and kept, by path."""
    fetched: int = 0
    """How many of them were fetched back: no version takes the place, and so the time, of one that is used up."""
    writers: dict[str, Writer] = field(default_factory=dict)
    ended: list[Stretch] = field(default_factory=list)
    """Every finished stretch of writing, for the books."""
    marker: bool = True
    """Whether Syncthing's folder marker is there: it is gone where the real disk is not mounted."""
    rhythm: Rhythm = Rhythm()
    """How the last app that ran here wrote."""
    torn: bool = False
    """Whether the database does not open: replication brought it in pieces that do not fit."""
    checkpoints: bool = False
    """Whether a clean end of the app writes its database once more, as SQLite does."""

    def begin(self, pod: str, rhythm: Rhythm) -> None:
        """A pod starts writing here."""
        self.settle()
        now, self.rhythm = self.now_ms(), rhythm
        self.writers[pod] = Writer(pod, now, rhythm)
        self._write(SETTINGS, Stretch(pod, self.site, now, now))
        self._write(DATABASE, Stretch(pod, self.site, now, now))
        self.files[SHM] = File(content=self.files[DATABASE].content, changed_ms=now)

    def end(self, pod: str, *, clean: bool) -> None:
        """It stops; a clean stop takes the shared-memory file away as SQLite does."""
        self.settle()
        writer = self.writers.pop(pod, None)
        if writer is None:
            return
        last = self._stretch(writer, self.now_ms())
        if clean and self.checkpoints:
            last = Stretch(writer.pod, self.site, writer.since_ms, self.now_ms())
            self._write(DATABASE, last)
        self.ended.append(last)
        if clean and not self.writers:
            self.files.pop(SHM, None)

    def settle(self) -> None:
        """Bring the files up to this moment."""
        for writer in self.writers.values():
            stretch = self._stretch(writer, self.now_ms())
            file = self.files.get(DATABASE)
            held = next((part.until_ms for part in file.content if part.pod == writer.pod), -1) if file else -1
            if stretch.until_ms > held:
                self._write(DATABASE, stretch)

    def busy(self, path: str) -> bool:
        """Whether `path` changes under the eyes of a reader."""
        now = self.now_ms()
        return path == DATABASE and any(w.rhythm.busy(w.since_ms, now) for w in self.writers.values())

    def written(self) -> Iterator[Stretch]:
        """Every stretch of writing of this disk, the running ones up to now."""
        yield from self.ended
        for writer in self.writers.values():
            yield self._stretch(writer, self.now_ms())

    def wipe(self) -> None:
        """An empty directory where the data was."""
        self.files.clear()
        self.marker = self.torn = False

    def _stretch(self, writer: Writer, now_ms: int) -> Stretch:
        return Stretch(writer.pod, self.site, writer.since_ms, writer.rhythm.last_write_ms(writer.since_ms, now_ms))

    def _write(self, path: str, stretch: Stretch) -> None:
        old = self.files.get(path)
        content = extend(old.content if old else (), stretch)
        self.files[path] = File(content=content, changed_ms=max(stretch.until_ms, old.changed_ms if old else 0))
