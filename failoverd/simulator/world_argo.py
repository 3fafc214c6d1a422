"""Argo CD: what Git says reaches a workload by way of an Application that syncs by itself and heals what has changed.

Harsher than the real one in one thing: the Kustomization that applies the Application removes annotations that Git
does not name, so that nothing here rests on who owns `skip-reconcile`.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from failoverd.core import names
from failoverd.core.model import ApplierReading
from failoverd.core.rules import Applier
from failoverd.simulator import world_render as render
from failoverd.simulator.world_applied import Applied, flux_labels

if TYPE_CHECKING:
    from failoverd.simulator.world import World
    from failoverd.simulator.world_app import AppTruth

HEAL_MS = 5_000
"""From a change of a live object to the sync that undoes it."""


class ApplicationTruth(Applied):
    """One Application, with the application controller and the Kustomization that act on it."""

    def __init__(self, world: World, which: Applier, raw: render.Raw) -> None:
        super().__init__(world=world, which=which, raw=raw, git=copy.deepcopy(raw["spec"]))
        self.reconciled: datetime = world.wall()

    @property
    def switch(self) -> str | None:
        """The annotation `skip-reconcile`."""
        return render.notes(self.raw).get(names.SKIP)

    def reading(self) -> ApplierReading:
        """The object as the core reads it."""
        return replace(super().reading(), reconciled=self.reconciled)

    def changed(self) -> None:
        """Nothing in its spec ever changes here."""

    def commit(self, truth: AppTruth) -> None:  # noqa: ARG002 - Git and the live object are compared as they are
        """Git got a new manifest for the app: found like a live object that has changed."""
        self.look()

    def look(self) -> None:
        """Something changed: plan the moment at which it would be found."""
        if self.planned or not (self._stripped() or self._drifted()):
            return
        self.planned = True
        self.world.time.after(HEAL_MS, self._reconcile)

    def _stripped(self) -> bool:
        return not render.held(self.raw) and self.switch is not None

    def _drifted(self) -> bool:
        return not self.suspended and any(truth.raw["spec"] != truth.git["spec"] for truth in self.truths)

    def _reconcile(self) -> None:
        self.planned = False
        if not self.world.api_up or not self.world.flux.running:
            self.look()
            return
        if self._stripped():
            self.annotate({k: v for k, v in render.notes(self.raw).items() if k != names.SKIP}, by="flux")
        if not self._drifted():
            return
        self.reconciled = self.world.wall()
        self.version += 1
        for truth in self.truths:
            if truth.raw["spec"] != truth.git["spec"]:
                self.world.replace(truth, {**truth.raw, "spec": copy.deepcopy(truth.git["spec"])}, by="argo")


def make(world: World, which: Applier, uid: str) -> ApplicationTruth:
    """An Application as a Kustomization has applied it."""
    raw: render.Raw = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": which.last, "namespace": which.namespace, "uid": uid, "labels": flux_labels()},
        "spec": {
            "project": "default",
            "source": {"repoURL": "https://git.example.org/home.git", "path": "media", "targetRevision": "HEAD"},
            "destination": {"server": "https://kubernetes.default.svc"},
            "syncPolicy": {"automated": {"prune": True, "selfHeal": True}},
        },
    }
    return ApplicationTruth(world, which, raw)
