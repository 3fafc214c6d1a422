"""A workload as the raw object the API server keeps, and the raw object as the core's Workload.

The raw object is the truth of the world: patches change it, controllers and GitOps read it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from failoverd.core import names
from failoverd.core.model import Amounts, Needs, Owner, Pod, Workload
from failoverd.core.quantities import amounts, total
from failoverd.core.rules import App, ApplierKind, Site, WorkloadKind

Raw = dict[str, Any]
MANAGED_BY = "app.kubernetes.io/managed-by"
TRACKING = "argocd.argoproj.io/tracking-id"


def manifest(
    app: App,
    selector: tuple[tuple[str, str], ...],
    *,
    strategy: str,
    flux: bool,
    uid: str,
    requests: tuple[tuple[str, str], ...] = (),
) -> Raw:
    """A workload as Git would have it, running at the app's preferred site.

    What applies it is the app's applier, else with `flux` a Kustomization, else nobody.
    """
    labels: dict[str, str] = {"app": app.name}
    annotations = {"deployment.kubernetes.io/revision": "1"}
    if app.applier is None and flux:
        labels |= {names.FLUX_NAME: "apps", names.FLUX_NAMESPACE: "flux-system"}
    elif app.applier is not None and app.applier.kind is ApplierKind.HELM_RELEASE:
        helm = {names.HELM_NAME: app.applier.last, names.HELM_NAMESPACE: app.applier.namespace}
        labels |= {MANAGED_BY: "Helm", **helm}
    elif app.applier is not None:
        annotations[TRACKING] = f"{app.applier.last}:apps/{app.kind}:{app.namespace}/{app.name}"
    spec: Raw = {
        "replicas": 1,
        "selector": {"matchLabels": {"app": app.name}},
        "template": {
            "metadata": {"labels": {"app": app.name}},
            "spec": {
                "containers": [_container(app, dict(requests))],
                "nodeSelector": dict(selector),
                "terminationGracePeriodSeconds": 30,
                "volumes": [_volume(app, index) for index in range(len(app.volumes))],
            },
        },
    }
    if app.kind is WorkloadKind.DEPLOYMENT:
        spec["strategy"] = {"type": strategy}
    else:
        spec["serviceName"] = app.name
    return {
        "apiVersion": "apps/v1",
        "kind": app.kind.value,
        "metadata": {
            "name": app.name,
            "namespace": app.namespace,
            "uid": uid,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": spec,
    }


def _container(app: App, requests: dict[str, str]) -> Raw:
    mounts = [{"name": f"{app.name}-{v.name}", "mountPath": f"/{v.name}"} for v in app.volumes]
    more = {"resources": {"requests": requests}} if requests else {}
    return {"name": app.name, "image": f"example.org/{app.name}:1.0", "volumeMounts": mounts, **more}


def requests(raw: Raw) -> Amounts:
    """What a pod of the template requests, one of `pods` included."""
    containers = raw["spec"]["template"]["spec"]["containers"]
    return total(
        [(("pods", 1),), *(amounts((one.get("resources") or {}).get("requests") or {}) for one in containers)]
    )


def _needs(raw: Raw) -> Needs:
    images = tuple(one["image"] for one in raw["spec"]["template"]["spec"]["containers"])
    return Needs(requests=requests(raw), images=images)


def _volume(app: App, index: int) -> Raw:
    volume = app.volumes[index]
    claim = volume.copy(app.preferred).claim
    return {"name": f"{app.name}-{volume.name}", "persistentVolumeClaim": {"claimName": claim}}


def claims(raw: Raw) -> tuple[tuple[int, str, str], ...]:
    """(index, volume name, claim) of every volume that names a claim."""
    volumes = raw["spec"]["template"]["spec"].get("volumes") or []
    return tuple(
        (index, volume["name"], volume["persistentVolumeClaim"]["claimName"])
        for index, volume in enumerate(volumes)
        if "persistentVolumeClaim" in volume
    )


def selector(raw: Raw) -> dict[str, str] | None:
    """nodeSelector of the template; None where there is none."""
    found: dict[str, str] | None = raw["spec"]["template"]["spec"].get("nodeSelector")
    return found


def template_key(raw: Raw) -> str:
    """Equal for equal pod templates."""
    return json.dumps(raw["spec"]["template"], sort_keys=True)


def notes(raw: Raw) -> dict[str, str]:
    """The object's annotations."""
    return raw["metadata"].get("annotations") or {}


def held(raw: Raw, hold: str = names.HOLD) -> bool:
    """Whether the controller with this hold leaves the object alone."""
    return str(notes(raw).get(hold, "")).lower() == names.HOLD_VALUE


def owner(labels: dict[str, str], marks: dict[str, str]) -> Owner:
    """Who would undo a patch of an object with these labels and annotations."""
    if names.HELM_NAME in labels:
        return Owner.HELM_RELEASE
    if TRACKING in marks:
        return Owner.ARGO
    if names.FLUX_NAME in labels:
        return Owner.FLUX
    return Owner.UNSUPPORTED if MANAGED_BY in labels else Owner.NONE


def site_of(app: App, raw: Raw) -> Site | None:
    """The site whose claims the template names; None where they are mixed or foreign."""
    used = {claim for _, _, claim in claims(raw)}
    for site in Site:
        if {volume.copy(site).claim for volume in app.volumes} <= used:
            return site
    return None


def workload(raw: Raw, version: int, pods: Iterable[Pod], *, updated: bool = True) -> Workload:
    """The raw object as the core reads it."""
    marks, labels = notes(raw), raw["metadata"].get("labels") or {}
    found = selector(raw)
    who = owner(labels, marks)
    replicas = int(raw["spec"].get("replicas", 1))
    return Workload(
        uid=raw["metadata"]["uid"],
        version=str(version),
        replicas=replicas,
        claims=claims(raw),
        selector=None if found is None else tuple(sorted(found.items())),
        annotations=bool(marks),
        epoch=_number(marks, names.EPOCH),
        leader=_number(marks, names.LEADER),
        active=marks.get(names.ACTIVE, ""),
        held=bool(who.hold) and held(raw, who.hold),
        owner=who,
        owner_name=_owner_name(labels, marks),
        shape=f"{replicas} replicas cannot share one copy" if replicas > 1 else "",
        pods=tuple(pods),
        updated=updated,
        needs=_needs(raw),
    )


def _number(marks: dict[str, str], key: str) -> int | None:
    text = marks.get(key)
    return int(text) if text is not None and str(text).lstrip("-").isdigit() else None


def _owner_name(labels: dict[str, str], marks: dict[str, str]) -> str:
    if names.HELM_NAME in labels:
        return f"{labels[names.HELM_NAMESPACE]}/{labels[names.HELM_NAME]}"
    if TRACKING in marks:
        return marks[TRACKING].partition(":")[0]
    if names.FLUX_NAME in labels:
        return f"{labels[names.FLUX_NAMESPACE]}/{labels[names.FLUX_NAME]}"
    return "Helm release" if MANAGED_BY in labels else ""
