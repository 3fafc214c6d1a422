"""The embedded world without its controllers: its kubelets run the pods that a real cluster has, and nothing else.

What the cluster says comes in by `heard`; what a kubelet asks the API server for is kept in `finished` until
somebody has sent it.
"""

from __future__ import annotations

import json
from typing import Any

from failoverd.core.quantities import amounts, total
from failoverd.simulator.serve_objects import from_api
from failoverd.simulator.world import World
from failoverd.simulator.world_app import AppTruth, PodTruth
from failoverd.simulator.world_control import Control

Raw = dict[str, Any]
THE_API = "the API server"


class Kubelets(Control):
    """Starts and stops containers as it is told, with the embedded world's timing."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.finished: list[tuple[str, str, str]] = []
        """(namespace, name, uid) of pods whose containers have ended: their objects may go."""
        self.evicted: list[tuple[str, str, str]] = []
        """Pods of a node that has been silent for too long: to be deleted."""
        self._gone_already: set[str] = set()

    # what the real controllers and the real scheduler do

    def soon(self, truth: AppTruth) -> None:
        """Nothing."""

    def reconcile(self, truth: AppTruth) -> None:
        """Nothing."""

    def schedule(self, truth: AppTruth, pod: PodTruth) -> None:
        """Nothing."""

    def reschedule(self) -> None:
        """Nothing."""

    # what a node does

    def delete(self, truth: AppTruth, pod: PodTruth) -> None:
        """The eviction of a pod whose node is silent: it is the API server that is asked."""
        self.evicted.append((truth.app.namespace, pod.name, pod.uid))

    def _gone(self, truth: AppTruth, pod: PodTruth) -> None:
        if pod.uid not in self._gone_already:
            self.finished.append((truth.app.namespace, pod.name, pod.uid))
        super()._gone(truth, pod)

    # what is heard of the cluster

    def heard(self, truth: AppTruth, event: str, raw: Raw) -> None:
        """A pod of the app was added, changed or removed."""
        meta, spec = raw["metadata"], raw["spec"]
        pod = next((one for one in truth.pods if one.uid == meta["uid"]), None)
        if event == "DELETED":
            self._gone_already.add(meta["uid"])
            if pod is not None and pod.listed:
                super().force_delete(truth, pod)
            return
        if pod is None:
            if meta["uid"] in self._gone_already or any(meta["uid"] == uid for _, _, uid in self.finished):
                return
            pod = _pod(raw, self.world.time.now_ms)
            truth.pods.append(pod)
            self.world.touch()
        node = spec.get("nodeName")
        if node and pod.node is None:
            pod.node, pod.waiting = node, "ContainerCreating"
            self.world.touch()
            self._start(truth, pod, self.world.nodes[node])
        if meta.get("deletionTimestamp") and not pod.deleting and pod.listed:
            super().delete(truth, pod)


class RealWorld(World):
    """A world whose objects lie in a real API server: what is changed there is changed here, and only then."""

    control: Kubelets

    def __post_init__(self) -> None:
        super().__post_init__()
        for truth in self.apps.values():
            for pod in truth.pods:
                pod.listed = False  # the simulated scheduler has looked at it already, and leaves it alone now
            truth.pods.clear()
        self.control = Kubelets(self)
        self.asked: list[tuple[AppTruth, Raw]] = []
        """What GitOps wants a workload to be: to be written."""

    def replace(self, truth: AppTruth, raw: Raw, *, by: str) -> None:
        """GitOps asks for another object; the API server's word is taken as it is."""
        if by == THE_API:
            super().replace(truth, raw, by="failoverd")
        else:
            self.asked.append((truth, raw))

    def heard(self, truth: AppTruth, raw: Raw) -> None:
        """The workload as the API server has it now."""
        self.replace(truth, from_api(raw), by=THE_API)


def _pod(raw: Raw, now_ms: int) -> PodTruth:
    meta, spec = raw["metadata"], raw["spec"]
    volumes = spec.get("volumes") or ()
    requests = [(one.get("resources") or {}).get("requests") or {} for one in spec["containers"]]
    return PodTruth(
        name=meta["name"],
        uid=meta["uid"],
        key=meta["name"],
        template=json.dumps({"spec": {"containers": spec["containers"]}}, sort_keys=True),
        claims=tuple(v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v),
        selector=dict(spec.get("nodeSelector") or {}),
        created_ms=now_ms,
        grace_ms=1000 * int(spec.get("terminationGracePeriodSeconds", 30)),
        requests=total([(("pods", 1),), *(amounts(one) for one in requests)]),
    )
