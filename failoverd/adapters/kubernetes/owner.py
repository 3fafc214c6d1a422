"""Which GitOps controller owns an object, and so would undo a patch of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from failoverd.core import names
from failoverd.core.model import Owner

ARGO_TRACKING = "argocd.argoproj.io/tracking-id"
ARGO_INSTANCE = "argocd.argoproj.io/instance"
MANAGED_BY = "app.kubernetes.io/managed-by"
HELM_RELEASE = "meta.helm.sh/release-name"
INSTANCE = "app.kubernetes.io/instance"
"""Argo CD before 3.0 tracks by this label unless told otherwise; charts set it to names of their own."""
RESOURCE_SET = "resourceset.fluxcd.controlplane.io/name"

APPLICATION_CONTROLLER = "argocd-application-controller"
ARGO_MANAGERS = frozenset(("argocd-controller", APPLICATION_CONTROLLER))

APPLIERS = {
    "kustomize-controller": "a Flux Kustomization",
    "helm-controller": "a Flux HelmRelease",
    "helm": "a Helm release",
    **dict.fromkeys(sorted(ARGO_MANAGERS), "an Argo CD application"),
    "flux-operator": "a ResourceSet of the Flux operator",
    "fleet": "a Fleet bundle",
    "fleetagent": "a Fleet bundle",
    "kapp-controller": "a kapp App",
    "pulumi-kubernetes": "a Pulumi program",
    "Terraform": "a Terraform configuration",
}
"""Field managers that write whole manifests again: a trace that stays where labels were taken off."""


def owner(meta: Mapping[str, Any], *, but: str = "") -> tuple[Owner, str]:
    """Who owns an object with this metadata, and its name: `namespace/name`, or for people where it is none.

    Argo CD leaves the namespace out where it is its controller's own. The most specific trace wins: a chart's own
    labels may carry those of the Kustomization that installed it. Field manager `but` is no trace without a label.
    """
    labels, annotations = _texts(meta.get("labels")), _texts(meta.get("annotations"))
    if helm := labels.get(names.HELM_NAME):
        return Owner.HELM_RELEASE, f"{labels.get(names.HELM_NAMESPACE, '?')}/{helm}"
    if argo := annotations.get(ARGO_TRACKING, "").split(":")[0] or labels.get(ARGO_INSTANCE):
        return Owner.ARGO, _application(argo)
    if operator := labels.get(RESOURCE_SET):
        return Owner.UNSUPPORTED, f"ResourceSet {operator} of the Flux operator"
    for reference in meta.get("ownerReferences") or []:
        if isinstance(reference, Mapping) and reference.get("controller"):
            return Owner.UNSUPPORTED, f"{reference.get('kind')} {reference.get('name')}"
    if flux := labels.get(names.FLUX_NAME):
        return Owner.FLUX, f"{labels.get(names.FLUX_NAMESPACE, '?')}/{flux}"
    managers = [str(one.get("manager", "")) for one in meta.get("managedFields") or [] if isinstance(one, Mapping)]
    # What Argo CD renders from a chart says "Helm" too, but names no release.
    if (instance := labels.get(INSTANCE)) and HELM_RELEASE not in annotations and set(managers) & ARGO_MANAGERS:
        return Owner.ARGO, _application(instance)
    if labels.get(MANAGED_BY) == "Helm":
        return Owner.UNSUPPORTED, f"Helm release {annotations.get(HELM_RELEASE, '?')}"
    for manager in managers:  # who last wrote the whole object, where no label says it
        if manager in APPLIERS and manager != but:
            return Owner.UNSUPPORTED, f"{APPLIERS[manager]} (field manager {manager}, no label names it)"
    return Owner.NONE, ""


def is_held(meta: Mapping[str, Any], hold: str) -> bool:
    """Whether the object is held by `hold`: a label or an annotation, in any case; one of them is enough for Flux."""
    marks = (_texts(meta.get("labels")), _texts(meta.get("annotations")))
    return any(one.get(hold, "").casefold() == names.HOLD_VALUE for one in marks)


def _application(tracked: str) -> str:
    """An Application as Argo CD names it in labels and annotations: outside its own namespace with that before it."""
    return tracked.replace("_", "/", 1)


def _texts(value: Any) -> dict[str, str]:
    return {str(k): str(v) for k, v in value.items()} if isinstance(value, Mapping) else {}
