"""The objects VolSync's operator makes for a ReplicationSource with the Syncthing mover, as pure data.

Names, labels, keys and shapes are VolSync's (0.14), because clients rely on them. Three things differ, where
no client can tell: the mover's image, the scripts mounted into it from a ConfigMap (VolSync bakes them in),
and a memory request (VolSync's limit alone would reserve 1 GiB a mover).
"""

from __future__ import annotations

import secrets
import subprocess
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Object = dict[str, Any]

CREATED_BY = {"app.kubernetes.io/created-by": "volsync"}
SCRIPTS = "volsync-mover-syncthing"
"""The ConfigMap with the mover's entry script and configuration template."""
GROUP = "volsync.backube/v1alpha1"
PRIVILEGED = "volsync.backube/privileged-movers"
"""Annotation on a namespace: its movers get the capabilities to read and write other users' files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mover:
    """What a ReplicationSource asks for, with what the operator has to look up for it."""

    name: str
    namespace: str
    uid: str
    claim: str
    peers: tuple[Object, ...]
    """`{ID, address, introducer}` each."""
    options: Object
    """The rest of spec.syncthing."""

    @classmethod
    def of(cls, source: Object) -> Mover:
        """From a ReplicationSource; KeyError where it is not one of ours."""
        spec = source["spec"]
        return cls(
            name=source["metadata"]["name"],
            namespace=source["metadata"]["namespace"],
            uid=source["metadata"]["uid"],
            claim=spec["sourcePVC"],
            peers=tuple(spec["syncthing"].get("peers") or ()),
            options=spec["syncthing"],
        )

    @property
    def full(self) -> str:
        """Name of Deployment and Secret."""
        return f"volsync-{self.name}"

    def service(self, kind: str) -> str:
        """Name of the `api` or `data` Service; too long ones become a checksum."""
        name = f"volsync-{self.name}-{kind}"
        return name if len(name) <= 63 else f"volsync-{kind}-{zlib.crc32(name.encode()):x}"

    @property
    def server_name(self) -> str:
        """The only name the certificate holds."""
        return f"{self.service('api')}.{self.namespace}"

    def meta(self, name: str, **labels: str) -> Object:
        """Metadata of an object that goes with the ReplicationSource."""
        owner = {"apiVersion": GROUP, "kind": "ReplicationSource", "name": self.name, "uid": self.uid}
        return {
            "name": name,
            "namespace": self.namespace,
            "labels": CREATED_BY | labels,
            "ownerReferences": [owner | {"controller": True, "blockOwnerDeletion": True}],
        }

    @property
    def selector(self) -> dict[str, str]:
        """The mover pod's labels."""
        return {
            "app.kubernetes.io/name": self.name,
            "app.kubernetes.io/component": "syncthing-mover",
            "app.kubernetes.io/part-of": "volsync",
        }


def printable(length: int = 32) -> str:
    """Random characters from all of printable ASCII, quotes and percent signs included."""
    return "".join(chr(33 + secrets.randbelow(94)) for _ in range(length))


def certificate(server_name: str) -> tuple[str, str]:
    """(certificate, key) in PEM as VolSync's: one SAN, subject equal to issuer, signed by a lost key.

    The key is elliptic where VolSync's is RSA-4096, which takes seconds to make. Raises CalledProcessError.
    """
    subject = "/O=Backube/OU=VolSync"
    extensions = (
        f"subjectAltName=DNS:{server_name}\n"
        "keyUsage=digitalSignature\nextendedKeyUsage=clientAuth,serverAuth\n"
        "subjectKeyIdentifier=none\nauthorityKeyIdentifier=none\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        at = Path(folder)
        (at / "extensions").write_text(extensions)
        steps = (
            [*new, "-x509", "-subj", subject, "-keyout", "ca.key", "-out", "ca.crt", "-days", "3650"],
            [*new, "-subj", subject, "-keyout", "leaf.key", "-out", "leaf.csr"],
            ["openssl", "x509", "-req", "-in", "leaf.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
             "-CAcreateserial", "-days", "3650", "-extfile", "extensions", "-out", "leaf.crt"],
        )  # fmt: skip
        for step in steps:
            subprocess.run(step, cwd=folder, check=True, capture_output=True)
        return (at / "leaf.crt").read_text(), (at / "leaf.key").read_text()


def secret(mover: Mover) -> Object:
    """The five keys; made once, never changed afterwards."""
    cert, key = certificate(mover.server_name)
    data = {
        "apikey": printable(),
        "username": "syncthing",
        "password": printable(),
        "httpsCertPEM": cert,
        "httpsKeyPEM": key,
    }
    return {"metadata": mover.meta(mover.full), "type": "Opaque", "stringData": data}


def service(mover: Mover, kind: str) -> Object:
    """The `api` or the `data` Service."""
    port = (
        {"name": "api", "port": 8384, "targetPort": "api", "protocol": "TCP"}
        if kind == "api"
        else {"name": "data", "port": 22000, "targetPort": "data", "protocol": "TCP"}
    )
    type_ = "ClusterIP" if kind == "api" else mover.options.get("serviceType", "ClusterIP")
    spec = {"type": type_, "selector": mover.selector, "ports": [port]}
    return {"metadata": mover.meta(mover.service(kind)), "spec": spec}


def config_claim(mover: Mover, data_claim: Object) -> Object:
    """The claim for Syncthing's configuration, index and device key; classes are the data claim's."""
    of_data = data_claim["spec"]
    spec: Object = {
        "accessModes": mover.options.get("configAccessModes") or of_data["accessModes"],
        "resources": {"requests": {"storage": mover.options.get("configCapacity", "1Gi")}},
    }
    class_ = mover.options.get("configStorageClassName", of_data.get("storageClassName"))
    if class_ is not None:
        spec["storageClassName"] = class_
    return {"metadata": mover.meta(f"{mover.full}-config"), "spec": spec}


def account(mover: Mover) -> tuple[Object, Object, Object]:
    """ServiceAccount, Role and RoleBinding of the mover."""
    name = f"volsync-src-{mover.name}"
    rule = {
        "apiGroups": ["security.openshift.io"],
        "resources": ["securitycontextconstraints"],
        "resourceNames": ["volsync-privileged-mover"],
        "verbs": ["use"],
    }
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": mover.namespace}
    return (
        {"metadata": mover.meta(name)},
        {"metadata": mover.meta(name), "rules": [rule]},
        {"metadata": mover.meta(name), "roleRef": role, "subjects": [subject]},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Affinity:
    """Where the mover has to run because the app's pod uses the same volume there."""

    node_selector: dict[str, str] | None = None
    tolerations: list[Object] | None = None


class NodeUnknown(Exception):
    """A pod that uses the volume has no node yet; VolSync's reconcile ends in an error then."""


def affinity(pods: list[Object], claim: Object, hostnames: dict[str, str]) -> Affinity:
    """The place of the pod that uses `claim`; none for a volume that many nodes may write.

    A running pod goes before a pending one. `hostnames`: node -> its `kubernetes.io/hostname` label.
    Raises NodeUnknown.
    """
    if "ReadWriteMany" in claim["spec"]["accessModes"]:
        return Affinity()
    name = claim["metadata"]["name"]
    for phase in ("Running", "Pending"):
        for pod in pods:
            if pod["status"].get("phase") != phase or not _uses(pod, name):
                continue
            node = pod["spec"].get("nodeName", "")
            if node not in hostnames:
                raise NodeUnknown(f'Node "{node}" not found')
            return Affinity(
                node_selector={"kubernetes.io/hostname": hostnames[node]},
                tolerations=pod["spec"].get("tolerations"),
            )
    return Affinity()


def _uses(pod: Object, claim: str) -> bool:
    if pod["metadata"].get("labels", {}).get("app.kubernetes.io/created-by") == "volsync":
        return False
    volumes = pod["spec"].get("volumes") or ()
    return any(v.get("persistentVolumeClaim", {}).get("claimName") == claim for v in volumes)


def deployment(mover: Mover, place: Affinity, image: str, *, privileged: bool) -> Object:
    """The mover. None stands for a field that must be absent."""
    context: Object = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"add": ["DAC_OVERRIDE", "CHOWN", "FOWNER"] if privileged else None, "drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsUser": 0 if privileged else None,
    }
    apikey = {"secretKeyRef": {"name": mover.full, "key": "apikey"}}
    env = [
        {"name": "SYNCTHING_DATA_DIR", "value": "/data"},
        {"name": "SYNCTHING_CONFIG_DIR", "value": "/config"},
        {"name": "SYNCTHING_CERT_DIR", "value": "/certs"},
        {"name": "STGUIAPIKEY", "valueFrom": apikey},
        {"name": "PRIVILEGED_MOVER", "value": "1" if privileged else "0"},
    ]
    mounts = {
        "syncthing-data": "/data",
        "syncthing-config": "/config",
        "https-certs": "/certs",
        "tempdir": "/tmp",
    }
    pem = [{"key": key, "path": key} for key in ("httpsCertPEM", "httpsKeyPEM")]
    container = {
        "name": "syncthing",
        "image": image,
        "command": ["/mover-syncthing/entry.sh"],
        "args": ["run"],
        "env": env,
        "ports": [{"name": "api", "containerPort": 8384}, {"name": "data", "containerPort": 22000}],
        "resources": mover.options.get("moverResources")
        or {"limits": {"memory": "1Gi"}, "requests": {"memory": "64Mi"}},
        "securityContext": context,
        "volumeMounts": [{"name": n, "mountPath": p} for n, p in mounts.items()]
        + [{"name": "scripts", "mountPath": "/mover-syncthing"}],
    }
    pod = {
        "serviceAccountName": f"volsync-src-{mover.name}",
        "terminationGracePeriodSeconds": 10,
        "restartPolicy": "Always",
        "securityContext": mover.options.get("moverSecurityContext"),
        "nodeSelector": place.node_selector,
        "tolerations": place.tolerations,
        "containers": [container],
        "volumes": [
            {"name": "syncthing-data", "persistentVolumeClaim": {"claimName": mover.claim}},
            {"name": "syncthing-config", "persistentVolumeClaim": {"claimName": f"{mover.full}-config"}},
            {"name": "https-certs", "secret": {"secretName": mover.full, "defaultMode": 0o600, "items": pem}},
            {"name": "tempdir", "emptyDir": {"medium": "Memory"}},
            {"name": "scripts", "configMap": {"name": SCRIPTS, "defaultMode": 0o755}},
        ],
    }
    labels = mover.selector | CREATED_BY | mover.options.get("moverPodLabels", {})
    spec = {
        "replicas": 1,
        "strategy": {"type": "Recreate", "rollingUpdate": None},
        "selector": {"matchLabels": mover.selector},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    return {"metadata": mover.meta(mover.full, app=mover.name), "spec": spec}


def drifted(wanted: Any, live: Any) -> bool:
    """Whether `live` differs from what is wanted. Defaults added by the API server are no difference."""
    if wanted is None or wanted == {}:
        return bool(live)
    if isinstance(wanted, dict):
        return not isinstance(live, dict) or any(drifted(v, live.get(k)) for k, v in wanted.items())
    if isinstance(wanted, list):
        return not isinstance(live, list) or len(wanted) != len(live) or any(map(drifted, wanted, live))
    return bool(wanted != live)
