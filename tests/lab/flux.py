"""Flux as the lab runs it: the real kustomize-controller, and a source that is only a served archive.

source-controller's part is done by hand: pack the files, serve them, and write the revision and digest into
the GitRepository's status, which is all that kustomize-controller ever looks at.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import tarfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.lab import api, nodes
from tests.lab.cache import Artefacts
from tests.lab.layout import HostName, LabError, Layout
from tests.lab.pki import FLUX

NAMESPACE = "flux-system"
NAME = "apps"
PORT = 9790
SOURCES = f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{NAMESPACE}/gitrepositories"
KUSTOMIZATIONS = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{NAMESPACE}/kustomizations"
YAML = "application/yaml"
MERGE = "application/merge-patch+json"


def install(layout: Layout, artefacts: Artefacts, interval: str) -> None:
    """Install the kinds, the controller, the web server and the Kustomization `apps`. Raises LabError."""
    for crd in sorted(artefacts.crds.iterdir()):
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        _create(layout, path, crd.read_text(), YAML)
    _create(layout, "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    _create(layout, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", _binding())
    _serve(layout)
    cp1 = layout.host(HostName.CP1)
    nodes.enable(
        layout,
        cp1,
        FLUX,
        argv=[
            artefacts.kustomize_controller,
            "--events-addr=",
            "--watch-all-namespaces",
            "--enable-leader-election=false",
            "--metrics-addr=127.0.0.1:9791",
            "--health-addr=127.0.0.1:9792",
        ],
        env={"RUNTIME_NAMESPACE": NAMESPACE, "KUBECONFIG": str(layout.kubeconfig(FLUX)), "HOME": "/tmp"},
        after=f"tcp:{cp1.ip}:6443",
    )
    _patiently(lambda: _create(layout, SOURCES, _source()))
    _patiently(lambda: _create(layout, KUSTOMIZATIONS, _kustomization(interval)))


def _create(layout: Layout, path: str, body: Any, content_type: str = api.JSON) -> None:
    status, answer = api.call(layout, "POST", path, body, content_type)
    if status not in {200, 201, 409}:
        raise LabError(f"creating in {path}: {status} {answer.get('message', answer)}")


def _patiently(create: Callable[[], None]) -> None:
    """A kind just defined is served a moment later; until then its path is 404."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return create()
        except LabError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def _serve(layout: Layout) -> None:
    cp1 = layout.host(HostName.CP1)
    folder = layout.folder(cp1) / "artifacts"
    folder.mkdir(exist_ok=True)
    argv = [sys.executable, "-m", "http.server", str(PORT), f"--bind={cp1.ip}"]
    argv.append(f"--directory={layout.seen_by(cp1, folder)}")
    nodes.enable(layout, cp1, "artifacts", argv=argv)


def _binding() -> dict[str, Any]:
    user = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io"}
    return {
        "metadata": {"name": "flux-cluster-admin"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{**user, "name": f"system:serviceaccount:{NAMESPACE}:{FLUX}"}],
    }


def _source() -> dict[str, Any]:
    return {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": {"name": NAMESPACE},
        "spec": {"interval": "1m", "url": "https://git.invalid/apps.git", "ref": {"branch": "main"}},
    }


def _kustomization(interval: str) -> dict[str, Any]:
    return {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {"name": NAME},
        "spec": {
            "interval": interval,
            "timeout": "3m",
            "prune": True,
            "wait": True,
            "path": "./",
            "sourceRef": {"kind": "GitRepository", "name": NAMESPACE},
        },
    }


def commit(layout: Layout, files: Mapping[str, str]) -> str:
    """Make these files the whole content of the repository; returns the revision. Raises LabError."""
    data = _pack(files)
    digest = hashlib.sha256(data).hexdigest()
    # The revision is new even when the files are old, as with `git commit --allow-empty`.
    made = hashlib.sha1(data + str(time.time_ns()).encode(), usedforsecurity=False).hexdigest()
    revision = f"main@sha1:{made}"
    cp1 = layout.host(HostName.CP1)
    name = f"{made}.tar.gz"
    (layout.folder(cp1) / "artifacts" / name).write_bytes(data)
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ready = {"type": "Ready", "status": "True", "reason": "Succeeded", "message": "stored artifact"}
    artifact = {
        "url": f"http://{cp1.ip}:{PORT}/{name}",
        "path": name,
        "revision": revision,
        "digest": f"sha256:{digest}",
        "lastUpdateTime": stamp,
        "size": len(data),
    }
    status = {
        "artifact": artifact,
        "observedGeneration": 1,
        "conditions": [{**ready, "lastTransitionTime": stamp}],
    }
    code, answer = api.call(layout, "PATCH", f"{SOURCES}/{NAMESPACE}/status", {"status": status}, MERGE)
    if code != 200:
        raise LabError(f"writing the GitRepository's status: {code} {answer.get('message', answer)}")
    return revision


def _pack(files: Mapping[str, str]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, text in sorted(files.items()):
            entry = tarfile.TarInfo(str(Path(name)))
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return gzip.compress(plain.getvalue(), mtime=0)


def wait_applied(layout: Layout, revision: str, seconds: float = 200) -> None:
    """Wait until the Kustomization has applied this revision and found it healthy. Raises LabError."""
    deadline = time.monotonic() + seconds
    message = "no answer"
    while time.monotonic() < deadline:
        _, answer = api.call(layout, "GET", f"{KUSTOMIZATIONS}/{NAME}")
        status = answer.get("status", {})
        ready = [item for item in status.get("conditions", []) if item["type"] == "Ready"]
        message = ready[0]["message"] if ready else "not reconciled yet"
        if status.get("lastAppliedRevision") == revision and ready and ready[0]["status"] == "True":
            return
        time.sleep(0.3)
    raise LabError(f"Flux has not applied {revision} in {seconds:.0f} s: {message}")
