"""HelmReleases: what Git says reaches a workload by way of a HelmRelease, which upgrades and corrects drift.

Harsher than Flux in one thing: its Kustomization brings back the whole spec of a HelmRelease, also a field that Git
does not name, so that nothing here rests on who owns `suspend`.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from failoverd.core import names
from failoverd.core.rules import Applier
from failoverd.simulator import world_render as render
from failoverd.simulator.world_applied import Applied, flux_labels

if TYPE_CHECKING:
    from failoverd.simulator.world import World
    from failoverd.simulator.world_app import AppTruth


AT_ONCE_MS = 300
"""From a change of a HelmRelease's spec to what helm-controller makes of it, least."""


class ReleaseTruth(Applied):
    """One HelmRelease, with the helm-controller and the Kustomization that act on it."""

    def __init__(self, world: World, which: Applier, raw: render.Raw) -> None:
        super().__init__(world=world, which=which, raw=raw, git=copy.deepcopy(raw["spec"]))
        self.applied: render.Raw = {}
        """The values of its last upgrade."""

    @property
    def switch(self) -> str | None:
        """`spec.suspend`."""
        suspend = self.raw["spec"].get("suspend")
        return None if suspend is None else str(suspend).lower()

    def changed(self) -> None:
        """Another generation is looked at right away, not at the next interval."""
        self.world.time.after(AT_ONCE_MS, self._run)

    def commit(self, truth: AppTruth) -> None:
        """Git got new values for the app."""
        self.git["values"] = {**self.git["values"], truth.app.key: copy.deepcopy(truth.git["spec"])}
        self.look()

    def look(self) -> None:
        """Something changed: plan the reconcile at which it would be found."""
        if self.planned or not (self._from_git() or self._acts()):
            return
        self.planned = True
        self.world.time.after(self.interval_ms - self.world.time.now_ms % self.interval_ms, self._reconcile)

    def _from_git(self) -> bool:
        return not render.held(self.raw) and self.raw["spec"] != self.git

    def _acts(self) -> bool:
        if self.suspended:
            return False
        return self.raw["spec"]["values"] != self.applied or any(self._drifted(truth) for truth in self.truths)

    def _drifted(self, truth: AppTruth) -> bool:
        held = render.held(truth.raw, names.HELM_HOLD)
        return not held and bool(truth.raw["spec"] != _rendered(truth, self.applied))

    def _reconcile(self) -> None:
        self.planned = False
        if not self.world.api_up or not self.world.flux.running:
            self.look()
            return
        if self._from_git():
            self.replace({**self.raw, "spec": copy.deepcopy(self.git)}, by="flux")
        self._run()

    def _run(self) -> None:
        if self.suspended or not self.world.api_up or not self.world.flux.running:
            return
        upgrade = self.raw["spec"]["values"] != self.applied
        self.applied = copy.deepcopy(self.raw["spec"]["values"])
        for truth in self.truths:
            if upgrade or self._drifted(truth):
                raw = copy.deepcopy(truth.raw)
                raw["spec"] = _rendered(truth, self.applied)
                self.world.replace(truth, raw, by="helm")


def make(world: World, which: Applier, uid: str) -> ReleaseTruth:
    """A HelmRelease as a Kustomization has applied it."""
    raw: render.Raw = {
        "apiVersion": "helm.toolkit.fluxcd.io/v2",
        "kind": "HelmRelease",
        "metadata": {"name": which.last, "namespace": which.namespace, "uid": uid, "labels": flux_labels()},
        "spec": {
            "interval": "30m",
            "chartRef": {"kind": "OCIRepository", "name": "app-template", "namespace": "flux-system"},
            "driftDetection": {"mode": "enabled"},
            "values": {},
        },
    }
    return ReleaseTruth(world, which, raw)


def _rendered(truth: AppTruth, values: render.Raw) -> render.Raw:
    """What the chart makes of these values."""
    return copy.deepcopy(values.get(truth.app.key, truth.first))
