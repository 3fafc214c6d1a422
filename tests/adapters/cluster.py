"""Objects shaped like the reference cluster's, and that cluster on the small API server."""

from typing import Any

from failoverd.core.rules import App, Applier, ApplierKind, Copy, Mode, Pair, Place, Rules, Volume, WorkloadKind
from tests.adapters.apiserver import ApiServer

LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
DEPLOYMENT = "/apis/apps/v1/namespaces/media/deployments/sonarr"
PODS = "/api/v1/namespaces/media/pods"
CLAIMS = "/api/v1/namespaces/media/persistentvolumeclaims"
SOURCES = "/apis/volsync.backube/v1alpha1/namespaces/media/replicationsources"
RELEASE = "/apis/helm.toolkit.fluxcd.io/v2/namespaces/media/helmreleases/sonarr"
APPLICATION = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/media"
HELM_RELEASE = Applier(kind=ApplierKind.HELM_RELEASE, name="media/sonarr")
ARGO_APPLICATION = Applier(kind=ApplierKind.APPLICATION, name="argocd/media")
NODES = {"k3s-cp1": "", "k3s-w1": "primary", "k3s-w2": "backup"}


def app(
    kind: WorkloadKind = WorkloadKind.DEPLOYMENT,
    volumes: tuple[str, ...] = ("sonarr",),
    primary: str = "",
    name: str = "sonarr",
    applier: Applier | None = None,
) -> App:
    found = tuple(
        Volume(
            name=f"{volume}-data",
            primary=Copy(claim=primary or f"pvc-{volume}", source=f"{volume}-primary"),
            backup=Copy(claim=f"pvc-{volume}-backup", source=f"{volume}-backup"),
        )
        for volume in volumes
    )
    return App(
        key=f"media/{name}", namespace="media", name=name, kind=kind, pair="p", volumes=found,
        applier=applier,
    )  # fmt: skip


def rules(*apps: App) -> Rules:
    pair = Pair(
        name="p",
        primary=Place(node="k3s-w1", selector=(("role", "primary"),), domain="pve"),
        backup=Place(node="k3s-w2", selector=(("role", "backup"),), domain="unraid"),
    )
    return Rules(mode=Mode.ACTIVE, pairs=(pair,), apps=apps or (app(),), witnesses=(("k3s-cp1", "pve"),))


def deployment(claim: str = "pvc-sonarr", role: str = "primary", replicas: int = 1) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "sonarr",
            "namespace": "media",
            "uid": "u-sonarr",
            "resourceVersion": "5",
            "generation": 2,
            "managedFields": [{"manager": "kustomize-controller"}],
            "annotations": {"deployment.kubernetes.io/revision": "1"},
            "labels": {
                "kustomize.toolkit.fluxcd.io/name": "apps",
                "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
            },
        },
        "spec": {
            "replicas": replicas,
            "template": {
                "spec": {
                    "nodeSelector": {"role": role},
                    "containers": [{"name": "sonarr", "image": "sonarr"}],
                    "volumes": [
                        {"name": "tmp", "emptyDir": {}},
                        {"name": "sonarr-data", "persistentVolumeClaim": {"claimName": claim}},
                    ],
                }
            },
        },
        "status": {"observedGeneration": 2},
    }


def statefulset() -> dict[str, Any]:
    raw = deployment()
    raw["spec"]["updateStrategy"] = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    return raw


def helm_release() -> dict[str, Any]:
    return {
        "metadata": {
            "name": "sonarr",
            "namespace": "media",
            "uid": "u-hr-sonarr",
            "resourceVersion": "6",
            "labels": {
                "kustomize.toolkit.fluxcd.io/name": "apps",
                "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
            },
        },
        "spec": {"interval": "30m"},
        "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "UpgradeSucceeded"}]},
    }


def application() -> dict[str, Any]:
    listed = {"group": "apps", "version": "v1", "kind": "Deployment", "namespace": "media", "name": "sonarr"}
    return {
        "metadata": {"name": "media", "namespace": "argocd", "uid": "u-app-media", "resourceVersion": "7"},
        "spec": {"project": "default"},
        "status": {"controllerNamespace": "argocd", "reconciledAt": "2026-11-20T18:04:31Z", "resources": [listed]},
    }


def pod(name: str, claim: str = "pvc-sonarr", node: str = "k3s-w1") -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "media",
            "uid": f"u-{name}",
            "labels": {"pod-template-hash": "abc12"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "sonarr-abc12", "controller": True}],
        },
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 30,
            "volumes": [{"name": "sonarr-data", "persistentVolumeClaim": {"claimName": claim}}],
        },
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }


def mover_pod(site: str) -> dict[str, Any]:
    raw = pod(f"volsync-sonarr-{site}-1", claim="pvc-sonarr" + ("-backup" if site == "backup" else ""))
    raw["metadata"]["labels"] = {
        "app.kubernetes.io/name": f"sonarr-{site}",
        "app.kubernetes.io/component": "syncthing-mover",
        "app.kubernetes.io/part-of": "volsync",
        "pod-template-hash": "xyz",
    }
    raw["metadata"]["ownerReferences"][0]["name"] = f"volsync-sonarr-{site}-xyz"
    return raw


def renew(server: ApiServer, node: str, stamp: str) -> None:
    server.put(f"{LEASES}/{node}", {"spec": {"renewTime": stamp}})


def populate(server: ApiServer) -> None:
    """The reference cluster at rest: sonarr runs at the primary site."""
    for node, role in NODES.items():
        labels = {"role": role} if role else {}
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        server.put(f"/api/v1/nodes/{node}", {"metadata": {"labels": labels}, "spec": {}, "status": ready})
        renew(server, node, "t0")
    for site, claim in (("primary", "pvc-sonarr"), ("backup", "pvc-sonarr-backup")):
        expression = {"key": "role", "operator": "In", "values": [site]}
        affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}
        server.put(f"/api/v1/persistentvolumes/pv-sonarr-{site}", {"spec": {"nodeAffinity": affinity}})
        bound = {"spec": {"volumeName": f"pv-sonarr-{site}"}, "status": {"phase": "Bound"}}
        server.put(f"{CLAIMS}/{claim}", bound)
        server.put(f"{SOURCES}/sonarr-{site}", {"spec": {"sourcePVC": claim}})
        server.put(f"{PODS}/volsync-sonarr-{site}-1", mover_pod(site))
    server.put(DEPLOYMENT, deployment())
    server.put(RELEASE, helm_release())
    server.put(APPLICATION, application())
    server.put(f"{PODS}/sonarr-abc12-x", pod("sonarr-abc12-x"))
