"""What workloads are applied from, as the world keeps it: the object, what Git says of it, and who acts on it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from failoverd.core import names
from failoverd.core.model import ApplierReading, PatchOp, Suspension
from failoverd.core.rules import Applier
from failoverd.simulator import json_patch
from failoverd.simulator import world_render as render

if TYPE_CHECKING:
    from failoverd.simulator.world import World
    from failoverd.simulator.world_app import AppTruth


@dataclass(slots=True, kw_only=True)
class Applied:
    """One HelmRelease or Application, its controller, and the workloads that this applies."""

    world: World
    which: Applier
    raw: render.Raw
    git: render.Raw
    """Its spec in Git."""
    truths: list[AppTruth] = field(default_factory=list)
    version: int = 1
    generation: int = 1
    planned: bool = False
    busy: str = ""
    """What runs on it, in its controller's words."""

    @property
    def switch(self) -> str | None:
        """What stands where it is suspended."""
        raise NotImplementedError

    def look(self) -> None:
        """Something changed: plan the moment at which its controller would find out."""
        raise NotImplementedError

    def commit(self, truth: AppTruth) -> None:
        """Git got something new for the app."""
        raise NotImplementedError

    def changed(self) -> None:
        """Its spec is another one."""
        raise NotImplementedError

    def reading(self) -> ApplierReading:
        """The object as the core reads it."""
        meta, marks = self.raw["metadata"], render.notes(self.raw)
        return ApplierReading(
            kind=self.which.kind,
            uid=meta["uid"],
            version=str(self.version),
            switch=self.switch,
            annotations=bool(marks),
            ours=Suspension.of(marks[names.SUSPENDED]) if names.SUSPENDED in marks else None,
            held=render.held(self.raw),
            hold=marks.get(names.HOLD),
            owner=render.owner(meta["labels"], marks),
            owner_name="flux-system/apps",
            busy=self.busy,
        )

    @property
    def suspended(self) -> bool:
        """Whether it is told to leave everything alone."""
        return self.reading().suspended

    @property
    def interval_ms(self) -> int:
        """How often its controller and its Kustomization look."""
        return int(self.world.spec.flux_interval.total_seconds() * 1000)

    def patch(self, ops: tuple[PatchOp, ...]) -> None:
        """A JSON Patch of the object. Raises PatchFailed; then nothing changed."""
        document = copy.deepcopy(self.raw)
        document["metadata"]["resourceVersion"] = str(self.version)
        changed = json_patch.apply(document, [{"op": op.op, "path": op.path, "value": op.value} for op in ops])
        meta = changed["metadata"]
        assert isinstance(meta, dict)
        meta.pop("resourceVersion", None)
        self.replace(changed, by="failoverd")

    def replace(self, raw: render.Raw, *, by: str) -> None:
        """A new object in its place; everybody takes note."""
        if not raw["metadata"].get("annotations", True):
            raw = {**raw, "metadata": {k: v for k, v in raw["metadata"].items() if k != "annotations"}}
        if raw == self.raw:
            return
        changed = raw["spec"] != self.raw["spec"]
        self.raw, self.version = raw, self.version + 1
        if changed:
            self.generation += 1
            self.changed()
        self.world.touch()
        if by != "failoverd":
            self.world.tell(f"{by} changed {self.which}")
        self.look()

    def annotate(self, kept: dict[str, str], *, by: str) -> None:
        """Other annotations."""
        self.replace({**self.raw, "metadata": {**self.raw["metadata"], "annotations": kept}}, by=by)


def flux_labels() -> dict[str, str]:
    """What a Kustomization labels what it applies with."""
    return {names.FLUX_NAME: "apps", names.FLUX_NAMESPACE: "flux-system"}
