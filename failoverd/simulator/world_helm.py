"""HelmReleases: what Git says reaches a workload by way of a HelmRelease, which upgrades and corrects drift.

Harsher than Flux in one thing: its Kustomization brings back the whole spec of a HelmRelease, also a field that Git
does not name, so that nothing here rests on who owns `suspend`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from failoverd.core import names
from failoverd.core.model import PatchOp, Release, Suspension
from failoverd.core.rules import App
from failoverd.simulator import json_patch
from failoverd.simulator import world_render as render

if TYPE_CHECKING:
    from failoverd.simulator.world import World
    from failoverd.simulator.world_app import AppTruth


AT_ONCE_MS = 300
"""From a change of a HelmRelease's spec to what helm-controller makes of it, least."""


@dataclass(slots=True, kw_only=True)
class ReleaseTruth:
    """One HelmRelease, and the workloads it renders."""

    raw: render.Raw
    git: render.Raw
    """Its spec in Git."""
    applied: render.Raw
    """The values of its last upgrade."""
    truths: list[AppTruth] = field(default_factory=list)
    version: int = 1
    generation: int = 1
    planned: bool = False
    busy: str = ""
    """The action that runs on it, in helm-controller's words."""

    @property
    def suspended(self) -> bool:
        """Whether helm-controller leaves it alone."""
        return self.raw["spec"].get("suspend") is True

    def reading(self) -> Release:
        """The HelmRelease as the core reads it."""
        meta, marks = self.raw["metadata"], render.notes(self.raw)
        return Release(
            uid=meta["uid"],
            version=str(self.version),
            suspend=self.raw["spec"].get("suspend"),
            annotations=bool(marks),
            ours=Suspension.of(marks[names.SUSPENDED]) if names.SUSPENDED in marks else None,
            held=render.held(self.raw),
            owner=render.owner(meta["labels"]),
            owner_name="flux-system/apps",
            busy=self.busy,
        )


def make(app: App, uid: str) -> ReleaseTruth:
    """The HelmRelease of an app as a Kustomization has applied it."""
    namespace, _, name = app.helm_release.partition("/")
    labels = {names.FLUX_NAME: "apps", names.FLUX_NAMESPACE: "flux-system"}
    raw: render.Raw = {
        "apiVersion": "helm.toolkit.fluxcd.io/v2",
        "kind": "HelmRelease",
        "metadata": {"name": name, "namespace": namespace, "uid": uid, "labels": labels},
        "spec": {
            "interval": "30m",
            "chartRef": {"kind": "OCIRepository", "name": "app-template", "namespace": "flux-system"},
            "driftDetection": {"mode": "enabled"},
            "values": {},
        },
    }
    return ReleaseTruth(raw=raw, git=copy.deepcopy(raw["spec"]), applied={})


class Helm:
    """One helm-controller, and the Kustomization that its HelmReleases come from."""

    def __init__(self, world: World) -> None:
        self.world = world

    def patch(self, release: ReleaseTruth, ops: tuple[PatchOp, ...]) -> None:
        """A JSON Patch of the HelmRelease. Raises PatchFailed; then nothing changed."""
        document = copy.deepcopy(release.raw)
        document["metadata"]["resourceVersion"] = str(release.version)
        changed = json_patch.apply(document, [{"op": op.op, "path": op.path, "value": op.value} for op in ops])
        meta = changed["metadata"]
        assert isinstance(meta, dict)
        meta.pop("resourceVersion", None)
        self.replace(release, changed, by="failoverd")

    def replace(self, release: ReleaseTruth, raw: render.Raw, *, by: str) -> None:
        """A new object for the HelmRelease; both controllers take note."""
        if not raw["metadata"].get("annotations", True):
            raw = {**raw, "metadata": {k: v for k, v in raw["metadata"].items() if k != "annotations"}}
        if raw == release.raw:
            return
        changed = raw["spec"] != release.raw["spec"]
        release.raw, release.version = raw, release.version + 1
        if changed:  # another generation is looked at right away, not at the next interval
            release.generation += 1
            self.world.time.after(AT_ONCE_MS, lambda: self._run(release))
        self.world.touch()
        if by != "failoverd":
            self.world.tell(f"{by} changed HelmRelease {raw['metadata']['namespace']}/{raw['metadata']['name']}")
        self.look(release)

    def commit(self, truth: AppTruth) -> None:
        """Git got new values for the app."""
        assert truth.release is not None
        truth.release.git["values"] = {**truth.release.git["values"], truth.app.key: copy.deepcopy(truth.git["spec"])}
        self.look(truth.release)

    def look(self, release: ReleaseTruth) -> None:
        """Something changed: plan the reconcile at which it would be found."""
        if release.planned or not (self._from_git(release) or self._acts_on(release)):
            return
        interval = int(self.world.spec.flux_interval.total_seconds() * 1000)
        release.planned = True
        self.world.time.after(interval - self.world.time.now_ms % interval, lambda: self._reconcile(release))

    def _from_git(self, release: ReleaseTruth) -> bool:
        return not render.held(release.raw) and release.raw["spec"] != release.git

    def _acts_on(self, release: ReleaseTruth) -> bool:
        if release.suspended:
            return False
        upgrade = release.raw["spec"]["values"] != release.applied
        return upgrade or any(self._drifted(release, truth) for truth in release.truths)

    def _drifted(self, release: ReleaseTruth, truth: AppTruth) -> bool:
        held = render.held(truth.raw, names.HELM_HOLD)
        return not held and bool(truth.raw["spec"] != _rendered(truth, release.applied))

    def _reconcile(self, release: ReleaseTruth) -> None:
        release.planned = False
        if not self.world.api_up or not self.world.flux.running:
            self.look(release)
            return
        if self._from_git(release):
            self.replace(release, {**release.raw, "spec": copy.deepcopy(release.git)}, by="flux")
        self._run(release)

    def _run(self, release: ReleaseTruth) -> None:
        if release.suspended or not self.world.api_up or not self.world.flux.running:
            return
        upgrade = release.raw["spec"]["values"] != release.applied
        release.applied = copy.deepcopy(release.raw["spec"]["values"])
        for truth in release.truths:
            if upgrade or self._drifted(release, truth):
                raw = copy.deepcopy(truth.raw)
                raw["spec"] = _rendered(truth, release.applied)
                self.world.replace(truth, raw, by="helm")


def _rendered(truth: AppTruth, values: render.Raw) -> render.Raw:
    """What the chart makes of these values."""
    return copy.deepcopy(values.get(truth.app.key, truth.first))
