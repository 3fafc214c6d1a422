"""One app of the world: its object, its pods as they really are, its disks and movers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

from failoverd.core.model import Amounts, Pod, Workload
from failoverd.core.rules import App, Site
from failoverd.simulator.world_applied import Applied
from failoverd.simulator.world_data import DATABASE, Rhythm, Stretch
from failoverd.simulator.world_pair import SyncPair
from failoverd.simulator.world_render import Raw


@dataclass(slots=True, kw_only=True)
class PodTruth:
    """A pod: the object (as long as it is listed) and its containers (as long as they run)."""

    name: str
    uid: str
    key: str
    """Tells it from another pod that had the same name."""
    template: str
    claims: tuple[str, ...]
    selector: dict[str, str]
    created_ms: int
    node: str | None = None
    listed: bool = True
    running: bool = False
    ready: bool = False
    reported: bool = False
    """What its kubelet last said: Ready or not. A dead kubelet says nothing more."""
    deleting: bool = False
    deleted_ms: int = 0
    stopping: bool = False
    owned: bool = True
    waiting: str = ""
    grace_ms: int = 30_000
    requests: Amounts = ()
    """Of the whole pod, one of `pods` included."""

    def reading(self, *, node_ready: bool) -> Pod:
        """The pod as the API shows it; a silent node's pods are not ready, whatever they do."""
        return Pod(
            name=self.name,
            uid=self.uid,
            node=self.node or "",
            claims=self.claims,
            owned=self.owned,
            ready=self.reported and node_ready,
            deleting=self.deleting,
            grace=timedelta(milliseconds=self.grace_ms),
            waiting="" if self.reported else self.waiting,
        )


@dataclass(slots=True, kw_only=True)
class AppTruth:
    """Everything real about one app."""

    app: App
    serves: bool = True
    """Whether its own page answers once a pod is Ready."""
    raw: Raw
    git: Raw
    """What Git says: GitOps brings the object back to it."""
    flux: bool
    first: Raw = field(default_factory=dict)
    """The spec that Git began with."""
    applier: Applied | None = None
    """The HelmRelease or Application it comes from; None where Flux or nobody applies it as it is."""
    rhythm: Rhythm
    pairs: dict[str, SyncPair]
    """By volume name."""
    version: int = 1
    generation: int = 1
    observed: int = 1
    pods: list[PodTruth] = field(default_factory=list)
    mover_nodes: dict[tuple[str, Site], bool] = field(default_factory=dict)
    """Whether the mover of (volume, site) is pinned to the app's node at present."""
    unbound: set[str] = field(default_factory=set)
    """Claims that lost their volume."""
    flux_planned: bool = False
    shown: tuple[object, Workload] | None = None
    """What was shown of it last, and for which state of the world."""
    images: int = 0
    rewinds: int = 0
    """How often databases were put back to an earlier state, as somebody asked."""

    def locate(self, claim: str) -> tuple[str, Site] | None:
        """The (volume name, site) of a claim; None for a foreign one."""
        for volume in self.app.volumes:
            for site in Site:
                if volume.copy(site).claim == claim:
                    return volume.name, site
        return None

    def writers(self, site: Site) -> set[str]:
        """Names of pods that write at `site` at this moment."""
        return {pod for pair in self.pairs.values() for pod in pair.sides[site].disk.writers}

    def lost(self, volume: str, live: Site) -> tuple[Stretch, ...]:
        """What was ever written to `volume` and is not in the live copy, each from its first lost write on."""
        pair = self.pairs[volume]
        pair.sides[live].disk.settle()
        file = pair.sides[live].disk.files.get(DATABASE)
        has = {part.pod: part.until_ms for part in (file.content if file else ())}
        found = []
        for side in pair.sides.values():
            for part in side.disk.written():
                held = has.get(part.pod)
                first = part.since_ms if held is None else self.rhythm.next_write_ms(part.since_ms, held)
                if (held is None or held < part.until_ms) and first <= part.until_ms:
                    found.append(replace(part, since_ms=first))
        return tuple(found)
