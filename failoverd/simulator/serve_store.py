"""What the API server keeps: objects with versions, compare-and-swap, and the events a watch follows.

Objects of the world are rendered and compared; whatever differs gets a new resourceVersion and becomes an
event. Our own objects (ConfigMaps, Leases, Events) live here alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from failoverd.simulator.serve_objects import Raw, ever_changing, everything
from failoverd.simulator.world import World

REMEMBERED = 1_000
"""Events kept for watches that begin in the past; an older version is gone (410)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource of the API."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    verbs: tuple[str, ...] = ("get", "list", "watch")
    short: tuple[str, ...] = ()
    """Other names that kubectl takes for it."""

    @property
    def api(self) -> str:
        """The `apiVersion` of its objects."""
        return f"{self.group}/{self.version}".removeprefix("/")


_ALL = ("create", "delete", "get", "list", "patch", "update", "watch")
_WRITTEN = ("get", "list", "patch", "update", "watch")
SCALED = ("deployments", "statefulsets")
"""What also has its replicas as a resource of their own."""
KINDS = {
    kind.plural: kind
    for kind in (
        Kind("", "v1", "nodes", "Node", namespaced=False, verbs=("delete", *_WRITTEN), short=("no",)),
        Kind("", "v1", "namespaces", "Namespace", namespaced=False, short=("ns",)),
        Kind("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False, short=("pv",)),
        Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", short=("pvc",)),
        Kind("", "v1", "pods", "Pod", verbs=("delete", "get", "list", "watch"), short=("po",)),
        Kind("", "v1", "secrets", "Secret"),
        Kind("", "v1", "services", "Service", short=("svc",)),
        Kind("", "v1", "configmaps", "ConfigMap", verbs=_ALL, short=("cm",)),
        Kind("", "v1", "events", "Event", verbs=_ALL, short=("ev",)),
        Kind("apps", "v1", "deployments", "Deployment", verbs=_WRITTEN, short=("deploy",)),
        Kind("apps", "v1", "statefulsets", "StatefulSet", verbs=_WRITTEN, short=("sts",)),
        Kind("coordination.k8s.io", "v1", "leases", "Lease", verbs=_ALL),
        Kind("volsync.backube", "v1alpha1", "replicationsources", "ReplicationSource"),
        Kind("helm.toolkit.fluxcd.io", "v2", "helmreleases", "HelmRelease", verbs=_WRITTEN, short=("hr",)),
        Kind("argoproj.io", "v1alpha1", "applications", "Application", verbs=_WRITTEN, short=("app",)),
    )
}
"""Everything that is served, by plural."""

Key = tuple[str, str, str]
"""(plural, namespace, name)."""


@dataclass(frozen=True, slots=True)
class Change:
    """One event of a watch."""

    version: int
    type: str
    plural: str
    raw: Raw
    before: Raw | None = None
    """What it was; None where it was not there."""

    def seen_by(self, chosen: Callable[[Raw], bool]) -> str:
        """The type of event for whoever follows what is `chosen`: an object may come into that, and leave it."""
        was, now = self.before is not None and chosen(self.before), self.type != "DELETED" and chosen(self.raw)
        if now:
            return "MODIFIED" if was else "ADDED"
        return "DELETED" if was else ""


def key_of(plural: str, raw: Raw) -> Key:
    """Where an object is kept."""
    return plural, raw["metadata"].get("namespace", ""), raw["metadata"]["name"]


@dataclass(slots=True)
class Store:
    """All objects of one API server."""

    world: World
    wall: Callable[[], str]
    version: int = 1000
    objects: dict[Key, Raw] = field(default_factory=dict)
    changes: deque[Change] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    oldest: int = 1000
    """Watches may begin at this version or later."""
    _seen_revision: int = -1
    _world_keys: set[Key] = field(default_factory=set)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def sync(self) -> None:
        """Take over what has changed in the world since the last time."""
        whole = self.world.revision != self._seen_revision
        self._seen_revision = self.world.revision
        found = {key_of(p, raw): raw for p, raw in (everything if whole else ever_changing)(self.world)}
        # What makes room goes first, as it did.
        for key in self._world_keys - found.keys() if whole else ():
            self.drop(key)
            self._world_keys.discard(key)
        for key, raw in found.items():
            self._world_keys.add(key)
            if not _same(self.objects.get(key), raw):
                self.put(key[0], raw)

    def put(self, plural: str, raw: Raw) -> Raw:
        """Keep an object under a new version; returns it as kept."""
        key = key_of(plural, raw)
        kind = "MODIFIED" if key in self.objects else "ADDED"
        self.version += 1
        kept: Raw = {**raw, "metadata": {**raw["metadata"], "resourceVersion": str(self.version)}}
        kept["metadata"].setdefault("uid", f"00000000-0000-4000-8000-{self.version:012x}")
        before = self.objects.get(key)
        old = (before or kept)["metadata"]
        same = old["uid"] == kept["metadata"]["uid"] and "creationTimestamp" in old
        kept["metadata"].setdefault("creationTimestamp", old["creationTimestamp"] if same else self.wall())
        self.objects[key] = kept
        self._note(Change(self.version, kind, plural, kept, before))
        return kept

    def drop(self, key: Key) -> Raw | None:
        """Forget an object; returns what it was."""
        raw = self.objects.pop(key, None)
        if raw is not None:
            self.version += 1
            last: Raw = {**raw, "metadata": {**raw["metadata"], "resourceVersion": str(self.version)}}
            self._note(Change(self.version, "DELETED", key[0], last, raw))
        return raw

    def select(self, plural: str, namespace: str) -> Iterator[Raw]:
        """All objects of one resource, of one namespace or (empty) of all."""
        for (kind, space, _), raw in sorted(self.objects.items()):
            if kind == plural and namespace in ("", space):
                yield raw

    def since(self, version: int, plural: str) -> list[Change]:
        """Changes of one resource after `version`."""
        return [change for change in self.changes if change.version > version and change.plural == plural]

    def compact(self) -> None:
        """Forget every past event: watches that begin before now get 410."""
        self.changes.clear()
        self.oldest = self.version

    async def news(self, within_seconds: float) -> None:
        """Wait until something changes, or for so long."""
        event = self._news
        try:
            async with asyncio.timeout(within_seconds):
                await event.wait()
        except TimeoutError:
            return

    def _note(self, change: Change) -> None:
        if len(self.changes) == self.changes.maxlen:
            self.oldest = self.changes[0].version
        self.changes.append(change)
        self._news.set()
        self._news = asyncio.Event()


def _same(one: Raw | None, other: Raw) -> bool:
    if one is None:
        return False
    metadata = {key: value for key, value in one["metadata"].items() if key != "resourceVersion"}
    if "creationTimestamp" not in other["metadata"]:
        metadata.pop("creationTimestamp", None)
    return {**one, "metadata": metadata} == other
