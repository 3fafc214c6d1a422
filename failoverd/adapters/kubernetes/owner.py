"""Which GitOps controller owns a workload, and so would undo a patch of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from failoverd.core import names
from failoverd.core.model import Owner

HELM_NAME = "helm.toolkit.fluxcd.io/name"
HELM_NAMESPACE = "helm.toolkit.fluxcd.io/namespace"
ARGO_TRACKING = "argocd.argoproj.io/tracking-id"
ARGO_INSTANCE = "argocd.argoproj.io/instance"
MANAGED_BY = "app.kubernetes.io/managed-by"
HELM_RELEASE = "meta.helm.sh/release-name"


def owner(meta: Mapping[str, Any]) -> tuple[Owner, str]:
    """Who owns an object with this metadata, and its name for people.

    The most specific trace wins: a chart's own labels may carry those of the Kustomization that installed it.
    """
    labels, annotations = _texts(meta.get("labels")), _texts(meta.get("annotations"))
    if helm := labels.get(HELM_NAME):
        return Owner.UNSUPPORTED, f"HelmRelease {labels.get(HELM_NAMESPACE, '?')}/{helm}"
    if argo := annotations.get(ARGO_TRACKING, "").split(":")[0] or labels.get(ARGO_INSTANCE):
        return Owner.UNSUPPORTED, f"Argo CD application {argo}"
    for reference in meta.get("ownerReferences") or []:
        if isinstance(reference, Mapping) and reference.get("controller"):
            return Owner.UNSUPPORTED, f"{reference.get('kind')} {reference.get('name')}"
    if flux := labels.get(names.FLUX_NAME):
        return Owner.FLUX, f"{labels.get(names.FLUX_NAMESPACE, '?')}/{flux}"
    if labels.get(MANAGED_BY) == "Helm":
        return Owner.UNSUPPORTED, f"Helm release {annotations.get(HELM_RELEASE, '?')}"
    return Owner.NONE, ""


def _texts(value: Any) -> dict[str, str]:
    return {str(k): str(v) for k, v in value.items()} if isinstance(value, Mapping) else {}
