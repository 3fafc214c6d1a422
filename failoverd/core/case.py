"""Everything known of one app in one tick, gathered so that the verbs of the core take one argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from failoverd.core.memory import AppMemory, CopyMemory, Kind, Memory, Restore, Standing
from failoverd.core.model import (
    NEVER_HEARD,
    UNJUDGED,
    Amounts,
    Api,
    Folder,
    Now,
    PatchWorkload,
    Pod,
    Snapshot,
    Unknown,
    Verdict,
    VolumeWatch,
    Watch,
    Workload,
)
from failoverd.core.rules import App, Place, Rules, Site, Volume

NOT_SEEN = Unknown("not read yet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One app, with all that bears on it."""

    rules: Rules
    app: App
    memory: Memory
    was: AppMemory
    snapshot: Snapshot
    verdicts: Mapping[str, Verdict]
    watch: Watch
    now: Now
    claimed: Mapping[str, Amounts] = field(default_factory=dict)
    """Node -> what apps that come first will take of its room."""
    alarmed: AppMemory | None = None
    """`was` with the alarms of this tick (`alarms.watched`), which several ask for; None where nobody does."""
    wish: Wish | None = None
    """What an operator asks for and is not begun yet."""

    @property
    def date(self) -> datetime:
        """The API server's clock; ours where it cannot be had (nothing is written then)."""
        return self.snapshot.api.date if isinstance(self.snapshot.api, Api) else self.now.wall

    @property
    def workload(self) -> Workload | Unknown:
        """The workload as read in this tick."""
        return self.snapshot.workloads.get(self.app.key, NOT_SEEN)

    def place(self, site: Site) -> Place:
        """Where `site` is."""
        return self.rules.place(self.app, site)

    def overdue(self, since: datetime, limit: timedelta) -> bool:
        """Whether what began then takes too long. In the future it began by a clock that was set since."""
        return not timedelta(0) <= self.date - since <= limit

    def verdict(self, site: Site) -> Verdict:
        """The verdict on the node of `site`."""
        return self.verdicts.get(self.place(site).node, UNJUDGED)

    def folder(self, volume: Volume, site: Site) -> Folder | Unknown:
        """What Syncthing says of one copy."""
        return self.snapshot.folders.get((self.app.key, volume.name, site), NOT_SEEN)

    def folders(self, site: Site) -> list[Folder | Unknown]:
        """What Syncthing says of every copy at `site`."""
        return [self.folder(volume, site) for volume in self.app.volumes]

    def copy(self, volume: Volume, site: Site) -> CopyMemory:
        """What is remembered of one copy."""
        remembered = self.was.volumes.get(volume.name)
        return remembered.copies[site] if remembered else CopyMemory(standing=Standing.UNPROVEN)

    def standings(self, site: Site) -> list[Standing]:
        """Standing of every copy at `site`."""
        return [self.copy(volume, site).standing for volume in self.app.volumes]

    def seen(self, volume: Volume) -> VolumeWatch:
        """What this process has seen of a volume's replication."""
        return self.watch.volumes.get((self.app.key, volume.name), NEVER_HEARD)

    def pods(self, site: Site | None = None) -> list[Pod]:
        """Pods of the workload that have not finished, on one site's node or anywhere."""
        if isinstance(self.workload, Unknown):
            return []
        node = self.place(site).node if site else None
        return [
            pod for pod in self.workload.pods if pod.owned and not pod.finished and (node is None or pod.node == node)
        ]

    def strangers(self) -> list[Pod]:
        """Unfinished pods that mount our claims and are neither the workload's nor VolSync's movers nor our guards.

        A pod object on a node that is provably off writes nothing, and nobody will end it.
        """
        if isinstance(self.workload, Unknown):
            return []
        dead = {name for name, verdict in self.verdicts.items() if verdict.proven}
        return [
            pod
            for pod in self.workload.pods
            if not (pod.owned or pod.mover or pod.guard or pod.finished or pod.node in dead)
        ]

    def mounting(self, volume: Volume, site: Site) -> list[Pod]:
        """Pods, of the app or strangers, that have one copy mounted or may have it yet."""
        claim = volume.copy(site).claim
        here = {pod.uid for pod in self.pods(site)}
        return [pod for pod in (*self.pods(), *self.strangers()) if claim in pod.claims or pod.uid in here]

    @property
    def patching(self) -> bool:
        """Whether a patch of the workload was sent and not answered yet: it may land at any moment."""
        return f"{PatchWorkload.__name__} {self.app.key}" in self.snapshot.in_flight

    def runs_on(self, site: Site) -> bool:
        """Whether the template names this site's claims for every volume of ours."""
        if isinstance(self.workload, Unknown):
            return False
        named = {claim for _, _, claim in self.workload.claims}
        return all(volume.copy(site).claim in named for volume in self.app.volumes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A move that somebody or something asks for."""

    kind: Kind
    target: Site
    reason: str
    forced: bool = False
    command: str = ""
    by: str = ""
    restore: Restore | None = None
    """Of kind `restore`."""

    @property
    def elective(self) -> bool:
        """Whether nobody would miss it if it came later: a planned move that no operator asked for."""
        return self.kind.planned and not self.command
