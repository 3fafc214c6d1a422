"""A real control plane on loopback: etcd, kube-apiserver, the controllers of Deployments and the scheduler, from the
lab's cached binary and without its hosts. Whoever plays kubelet writes pods' status and nodes' leases into it.
"""

from __future__ import annotations

import asyncio
import base64
import ctypes
import json
import secrets
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from failoverd.simulator import serve_cert
from failoverd.simulator.daemon_process import free_port
from tests.lab.commands import run
from tests.lab.manifests import crd

HOST = "127.0.0.1"
STARTS_WITHIN = 60.0
CONTROLLERS = "deployment-controller,replicaset-controller,statefulset-controller"
"""Nodes' health, claims and service accounts are the embedded world's affair."""
UNWANTED = "ServiceAccount,TaintNodesByCondition,StorageObjectInUseProtection"
"""Admission that waits for controllers which do not run here."""
JSON = "application/json"
MERGE = "application/merge-patch+json"
Raw = dict[str, Any]


class PlaneError(Exception):
    """A part of the control plane did not start; the text says which and why."""


class Refused(Exception):
    """The API server refused a request of ours; the text says what and why."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """How to reach a control plane that runs; can be handed to another process."""

    url: str
    certificate: str
    token: str
    """Of somebody who may do everything."""

    def trust(self) -> ssl.SSLContext:
        """What its certificate is checked against."""
        return ssl.create_default_context(cadata=self.certificate)


@dataclass(slots=True)
class Api:
    """An administrator's plain requests. `async with Api(plane) as api`."""

    plane: Plane
    _session: aiohttp.ClientSession = field(init=False)
    _trust: ssl.SSLContext = field(init=False)

    async def __aenter__(self) -> Api:
        self._trust = self.plane.trust()
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self.plane.token}"}, timeout=aiohttp.ClientTimeout(total=20)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, body: Raw | None = None, content: str = JSON) -> Raw:
        """One request. Raises Refused, aiohttp.ClientError, TimeoutError."""
        async with self._session.request(
            method, self.plane.url + path, ssl=self._trust, headers={"Content-Type": content},
            data=None if body is None else json.dumps(body),
        ) as answer:  # fmt: skip
            found = await answer.json(content_type=None)
            if answer.status >= 400:
                raise Refused(answer.status, f"{method} {path}: {found.get('message')}")
            assert isinstance(found, dict)
            return found

    async def create(self, path: str, raw: Raw) -> Raw:
        """Create it, unless it is there."""
        try:
            return await self.call("POST", path, raw)
        except Refused as refused:
            if refused.code != 409:
                raise
            return {}

    async def watch(self, path: str, selector: Mapping[str, str] | None = None) -> AsyncIterator[tuple[str, Raw]]:
        """Everything of a collection and every change of it, until the server ends the watch."""
        listed = await self.call("GET", path)
        yield "LISTED", listed
        version = listed["metadata"]["resourceVersion"]
        asked = {"watch": "true", "resourceVersion": version, "timeoutSeconds": "600", **(selector or {})}
        async with self._session.get(
            self.plane.url + path, params=asked, ssl=self._trust, timeout=aiohttp.ClientTimeout(total=None)
        ) as answer:
            async for line in answer.content:
                event = json.loads(line)
                yield event["type"], event["object"]


@contextmanager
def running(folder: Path, kube: Path) -> Iterator[Plane]:
    """A control plane of its own in `folder`. `kube`: the lab's multi-call binary. Raises PlaneError."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        yield _start(folder, kube, processes)
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


def _start(folder: Path, kube: Path, processes: list[subprocess.Popen[bytes]]) -> Plane:
    etcd, peer, port = free_port(), free_port(), free_port()
    certificate = serve_cert.write(folder / "apiserver.pem", HOST)
    plane = Plane(url=f"https://{HOST}:{port}", certificate=certificate, token=secrets.token_hex(16))
    (folder / "tokens.csv").write_text(f'{plane.token},admin,admin,"system:masters"\n')
    key, theirs = folder / "sa.key", folder / "kubeconfig"
    run(["openssl", "genrsa", "-out", key, "2048"])
    theirs.touch(mode=0o600)
    theirs.write_text(kubeconfig(plane, plane.token))

    def start(name: str, *arguments: str) -> None:
        with (folder / f"{name}.log").open("wb") as log:
            processes.append(
                subprocess.Popen(
                    [kube, name, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=_die_with_parent,  # noqa: PLW1509 - no thread runs yet
                )
            )

    here = f"http://{HOST}:{etcd}"
    start(
        "etcd", f"--data-dir={folder}/etcd", "--unsafe-no-fsync", "--log-level=warn",
        f"--listen-client-urls={here}", f"--advertise-client-urls={here}",
        f"--listen-peer-urls=http://{HOST}:{peer}", f"--initial-advertise-peer-urls=http://{HOST}:{peer}",
        f"--initial-cluster=default=http://{HOST}:{peer}",
    )  # fmt: skip
    start(
        "kube-apiserver", f"--etcd-servers={here}", f"--bind-address={HOST}", f"--secure-port={port}",
        f"--advertise-address={HOST}", "--endpoint-reconciler-type=none",
        f"--tls-cert-file={folder}/apiserver.pem", f"--tls-private-key-file={folder}/apiserver.pem",
        f"--token-auth-file={folder}/tokens.csv", "--authorization-mode=RBAC", "--profiling=false",
        f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
        "--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=198.18.64.0/18",
        f"--disable-admission-plugins={UNWANTED}", f"--cert-dir={folder}",
    )  # fmt: skip
    asyncio.run(_ready(plane, processes, folder))
    alone = (f"--kubeconfig={theirs}", "--leader-elect=false", f"--bind-address={HOST}")
    start("kube-controller-manager", *alone, f"--secure-port={free_port()}", f"--controllers={CONTROLLERS}")
    start("kube-scheduler", *alone, f"--secure-port={free_port()}")
    return plane


def _die_with_parent() -> None:
    """Whoever started it may be ended without a chance to end it (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


async def _ready(plane: Plane, processes: list[subprocess.Popen[bytes]], folder: Path) -> None:
    last = ""
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    async with Api(plane) as api:
        with suppress(TimeoutError):
            async with asyncio.timeout(STARTS_WITHIN):
                while all(process.poll() is None for process in processes):
                    try:
                        await api.call("GET", "/api/v1/namespaces/kube-node-lease")
                        await api.create(definitions, crd.replication_source())
                        await api.call("GET", "/apis/volsync.backube/v1alpha1/replicationsources")
                    except (aiohttp.ClientError, Refused, ValueError) as error:
                        last = str(error)
                        await asyncio.sleep(0.2)
                    else:
                        return
    tail = (folder / "kube-apiserver.log").read_text(errors="replace")[-1500:]
    raise PlaneError(f"no API server within {STARTS_WITHIN:g} s: {last}; {tail}")


def kubeconfig(plane: Plane, token: str) -> str:
    """The text of a kubeconfig for `token`. JSON is YAML."""
    trusted = base64.b64encode(plane.certificate.encode()).decode()
    cluster = {"server": plane.url, "certificate-authority-data": trusted}
    return json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    })  # fmt: skip
