"""Apps with replicated volumes, and every object they need in a Flux repository.

An app is a Deployment (or StatefulSet) with one pair of static hostPath volumes for each of its volumes: the
same directory on the node with `role: primary` and on the one with `role: backup`, a claim and a VolSync
ReplicationSource for each. The pod starts on the primary. Names follow the reference cluster: claims
`pvc-<key>` and `pvc-<key>-backup`, volumes `pv-<key>-primary|-backup`, sources `<key>-primary|-backup`, where
the key is the app's name, with the volume's name behind it where the app has several.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

Object = dict[str, Any]
SITES = ("primary", "backup")
WRITER = Path(__file__).parent.parent / "images" / "writer.py"
PORT = 8989


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """One replicated volume."""

    name: str = "data"
    kind: str = "sqlite"
    """What the writer does there: `sqlite` or `files`."""
    path: str = "/config"
    """Where the pod sees it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """One app."""

    name: str
    namespace: str = "media"
    volumes: tuple[Volume, ...] = (Volume(),)
    kind: str = "Deployment"
    """Or `StatefulSet`."""
    strategy: str | None = None
    """`Recreate`, or None for the default, a rolling update."""
    grace: int | None = None
    """terminationGracePeriodSeconds; None for the default of 30."""
    access: str = "ReadWriteOnce"
    """Access mode of its volumes."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Settings of the writer: RATE, BURST, PAUSE, PAYLOAD, PRELOAD_MB, JOURNAL, PUID."""

    def key(self, volume: Volume) -> str:
        """What the names of this volume's objects are made of."""
        return self.name if len(self.volumes) == 1 else f"{self.name}-{volume.name}"

    def claim(self, volume: Volume, site: str) -> str:
        """The claim's name at a site."""
        return f"pvc-{self.key(volume)}" + ("-backup" if site == "backup" else "")

    def source(self, volume: Volume, site: str) -> str:
        """The ReplicationSource's name at a site."""
        return f"{self.key(volume)}-{site}"

    def pod_volume(self, volume: Volume) -> str:
        """The volume's name inside the pod."""
        return f"{self.name}-{volume.name}"

    def sources(self) -> tuple[tuple[str, str], ...]:
        """(primary, backup) names of each volume's pair."""
        return tuple((self.source(v, "primary"), self.source(v, "backup")) for v in self.volumes)


SONARR = App(name="sonarr")
PAPERLESS = App(
    name="paperless",
    volumes=(Volume(name="data", path="/data"), Volume(name="media", kind="files", path="/media")),
)
DEFAULT = (SONARR, PAPERLESS)

Peers = Mapping[str, tuple[str, str]]
"""ReplicationSource -> (device ID, address) of its peer."""


def many(count: int, like: App = SONARR) -> tuple[App, ...]:
    """That many apps, `app01`, `app02`, ..., each like the given one."""
    return tuple(replace(like, name=f"app{number:02d}") for number in range(1, count + 1))


def _volume(name: str, path: str, site: str, claim: str, app: App) -> Object:
    term = {"matchExpressions": [{"key": "role", "operator": "In", "values": [site]}]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "10Gi"},
            "accessModes": [app.access],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "claimRef": {"name": claim, "namespace": app.namespace},
            "hostPath": {"path": path, "type": "DirectoryOrCreate"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
        },
    }


def _claim(app: App, volume: Volume, site: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": app.claim(volume, site), "namespace": app.namespace},
        "spec": {
            "accessModes": [app.access],
            "storageClassName": "",
            "volumeName": f"pv-{app.key(volume)}-{site}",
            "resources": {"requests": {"storage": "10Gi"}},
        },
    }


def _source(app: App, volume: Volume, site: str, peers: Peers) -> Object:
    name = app.source(volume, site)
    syncthing: Object = {"serviceType": "ClusterIP"}
    if name in peers:
        ident, address = peers[name]
        syncthing["peers"] = [{"ID": ident, "address": address, "introducer": False}]
    return {
        "apiVersion": "volsync.backube/v1alpha1",
        "kind": "ReplicationSource",
        "metadata": {"name": name, "namespace": app.namespace},
        "spec": {"sourcePVC": app.claim(volume, site), "syncthing": syncthing},
    }


def storage(app: App, peers: Peers) -> list[Object]:
    """Volumes, claims and ReplicationSources of both sites, and the volumes for VolSync's own claims."""
    made = []
    for volume in app.volumes:
        for site in SITES:
            key, source = app.key(volume), app.source(volume, site)
            made += [
                _volume(f"pv-{key}-{site}", f"/data/pods/{key}", site, app.claim(volume, site), app),
                _claim(app, volume, site),
                _volume(
                    f"pv-volsync-{source}-config",
                    f"/data/volsync/{source}-config",
                    site,
                    f"volsync-{source}-config",
                    app,
                ),
                _source(app, volume, site, peers),
            ]
    return made


def _container(app: App, image: str) -> Object:
    fields = {"NODE_NAME": "spec.nodeName", "POD_NAME": "metadata.name"}
    told = {
        "APP": app.name,
        "VOLUMES": ",".join(f"{v.name}:{v.path}:{v.kind}" for v in app.volumes),
        "PORT": str(PORT),
        "PUID": "1000",
        **app.env,
    }
    env: list[Object] = [{"name": name, "value": value} for name, value in told.items()]
    env += [{"name": n, "valueFrom": {"fieldRef": {"fieldPath": path}}} for n, path in fields.items()]
    mounts = [{"name": app.pod_volume(v), "mountPath": v.path} for v in app.volumes]
    return {
        "name": app.name,
        "image": image,
        "command": ["python3", "-u", "/app/writer.py"],
        "env": env,
        "ports": [{"name": "http", "containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/ping", "port": "http"}, "periodSeconds": 1},
        "volumeMounts": [
            *mounts,
            {"name": "writer", "mountPath": "/app"},
            {"name": "timeline", "mountPath": "/timeline"},
        ],
    }


def workload(app: App, image: str) -> Object:
    """The Deployment or StatefulSet, on the primary."""
    volumes: list[Object] = [
        {
            "name": app.pod_volume(v),
            "persistentVolumeClaim": {"claimName": app.claim(v, "primary")},
        }
        for v in app.volumes
    ]
    timeline = {"path": "/data/timeline", "type": "DirectoryOrCreate"}
    volumes += [
        {"name": "writer", "configMap": {"name": "writer"}},
        {"name": "timeline", "hostPath": timeline},
    ]
    pod: Object = {
        "nodeSelector": {"role": "primary"},
        "containers": [_container(app, image)],
        "volumes": volumes,
    }
    if app.grace is not None:
        pod["terminationGracePeriodSeconds"] = app.grace
    labels = {"app.kubernetes.io/name": app.name}
    spec: Object = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    if app.kind == "StatefulSet":
        spec["serviceName"] = app.name
    if app.strategy is not None:
        spec["strategy"] = {"type": app.strategy}
    return {
        "apiVersion": "apps/v1",
        "kind": app.kind,
        "metadata": {"name": app.name, "namespace": app.namespace},
        "spec": spec,
    }


def base(namespace: str) -> list[Object]:
    """What a namespace's apps share: itself, with movers that may read everybody's files, and the writer."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": namespace, "annotations": {"volsync.backube/privileged-movers": "true"}},
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "writer", "namespace": namespace},
            "data": {"writer.py": WRITER.read_text()},
        },
    ]


def repo_files(apps: Iterable[App], image: str, peers: Peers | None = None) -> dict[str, str]:
    """The repository: path -> content, one file per namespace and two per app. JSON, which is YAML."""
    apps = tuple(apps)
    files = {f"{namespace}.yaml": base(namespace) for namespace in sorted({a.namespace for a in apps})}
    for app in apps:
        files[f"{app.name}/storage.yaml"] = storage(app, peers or {})
        files[f"{app.name}/app.yaml"] = [workload(app, image)]
    return {path: "\n---\n".join(json.dumps(o, indent=2) for o in made) for path, made in files.items()}
