"""The cluster's keys, certificates, static users and kubeconfigs, made anew for every lab."""

from __future__ import annotations

import base64
import json
import secrets
from pathlib import Path

from tests.lab.commands import run
from tests.lab.layout import HostName, Layout

FLUX = "kustomize-controller"
USERS = {
    "admin": ("kubernetes-admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    FLUX: (f"system:serviceaccount:flux-system:{FLUX}", "system:serviceaccounts"),
}
"""Kubeconfig name -> user and group: the ones Kubernetes' own roles are bound to."""


def create(layout: Layout) -> None:
    """Make everything the API server and its clients need."""
    layout.pki.mkdir(parents=True)
    _key(layout.pki / "sa.key")
    run(["openssl", "pkey", "-in", layout.pki / "sa.key", "-pubout", "-out", layout.pki / "sa.pub"])
    _authority(layout.pki)
    api_names = (
        f"IP:127.0.0.1,IP:{layout.host(HostName.CP1).ip},IP:{layout.services[1]},DNS:localhost,"
        "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
    )
    _certificate(layout.pki, "apiserver", "/CN=kube-apiserver", api_names)
    _certificate(layout.pki, "kubelet-client", "/O=system:masters/CN=apiserver-kubelet-client", "DNS:apiserver")
    _users(layout)


def _key(path: Path) -> None:
    run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path])


def _authority(folder: Path) -> None:
    _key(folder / "ca.key")
    run(
        [
            "openssl",
            "req",
            "-x509",
            "-new",
            "-key",
            folder / "ca.key",
            "-days",
            "30",
            "-subj",
            "/CN=lab-ca",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
            "-out",
            folder / "ca.crt",
        ]
    )


def _certificate(folder: Path, name: str, subject: str, names: str) -> None:
    _key(folder / f"{name}.key")
    request = run(["openssl", "req", "-new", "-key", folder / f"{name}.key", "-subj", subject])
    extensions = folder / f"{name}.ext"
    extensions.write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
    run(
        [
            "openssl",
            "x509",
            "-req",
            "-CA",
            folder / "ca.crt",
            "-CAkey",
            folder / "ca.key",
            "-CAcreateserial",
            "-days",
            "30",
            "-extfile",
            extensions,
            "-out",
            folder / f"{name}.crt",
        ],
        stdin=request,
    )


def _users(layout: Layout) -> None:
    users = dict(USERS)
    for node in layout.nodes:
        users[str(node.name)] = (f"system:node:{node.name}", "system:nodes")
    lines = []
    layout.kubeconfig("admin").parent.mkdir(parents=True)
    for name, (user, groups) in users.items():
        token = secrets.token_hex(16)
        lines.append(f'{token},{user},{name},"{groups}"' if groups else f"{token},{user},{name}")
        write_kubeconfig(layout, name, token)
    (layout.pki / "tokens.csv").write_text("\n".join(lines) + "\n")


def write_kubeconfig(layout: Layout, name: str, token: str) -> Path:
    """A self-contained kubeconfig for this bearer token. JSON, which is YAML."""
    authority = base64.b64encode((layout.pki / "ca.crt").read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": layout.api, "certificate-authority-data": authority}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": name}}],
        "current-context": "lab",
    }
    path = layout.kubeconfig(name)
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=1) + "\n")
    return path


def token_of(kubeconfig: Path) -> str:
    """The bearer token in a kubeconfig made here."""
    return str(json.loads(kubeconfig.read_text())["users"][0]["user"]["token"])
