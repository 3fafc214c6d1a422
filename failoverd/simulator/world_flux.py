"""GitOps: an object that differs from Git is brought back at the next interval, unless it carries the
hold."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from failoverd.simulator import world_render as render
from failoverd.simulator.world_app import AppTruth

if TYPE_CHECKING:
    from failoverd.simulator.world import World


class Flux:
    """One kustomize-controller. It costs an event only while something has drifted."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.running = True

    def look(self, truth: AppTruth) -> None:
        """The object changed: plan the reconcile at which the drift would be found."""
        if truth.applier is not None:
            truth.applier.look()
            return
        if not truth.flux or truth.flux_planned or truth.raw["spec"] == truth.git["spec"]:
            return
        interval = int(self.world.spec.flux_interval.total_seconds() * 1000)
        truth.flux_planned = True
        self.world.time.after(interval - self.world.time.now_ms % interval, lambda: self._reconcile(truth))

    def commit(self, truth: AppTruth) -> None:
        """Git says something new of the app."""
        if truth.applier is not None:
            truth.applier.commit(truth)
        else:
            self.look(truth)

    def _reconcile(self, truth: AppTruth) -> None:
        truth.flux_planned = False
        if not self.world.api_up or not self.running:
            self.look(truth)
        elif render.held(truth.raw):
            return
        elif truth.raw["spec"] != truth.git["spec"]:
            raw = copy.deepcopy(truth.raw)
            raw["spec"] = copy.deepcopy(truth.git["spec"])
            self.world.replace(truth, raw, by="flux")
