"""failoverd as it is shipped: the image in the cluster by the shipped manifests, and the unit on the hypervisor."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.e2e.daemon import ACCOUNT, FAST, NAMESPACE, PVE_NAME, SCRIPT, SERVICE, Daemon, merged, toml, until
from tests.lab import cache
from tests.lab.commands import require_programs
from tests.lab.lab import REPOSITORY, Lab
from tests.lab.layout import HostName
from tests.lab.manifests.apps import PORT
from tests.lab.standins import hands

Table = dict[str, Any]
MANIFESTS = REPOSITORY / "deploy" / "kubernetes"
UNIT = REPOSITORY / "deploy" / "systemd" / "failoverd.service"
HERE = f"/api/v1/namespaces/{NAMESPACE}"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/failoverd"
CREDENTIALS = "/run/credentials/failoverd.service"
DYNAMIC_USER = 61184
"""The first of the range from which systemd takes users for DynamicUser=."""


def image(lab: Lab) -> Path:
    """The archive that `make image` makes, on the lab's own Debian trixie, loaded into every node."""
    require_programs("buildah")
    archive = lab.state / "failoverd-image.tar"
    words: list[str | Path] = [
        REPOSITORY / "scripts" / "image.py",
        "--rootfs",
        cache.ensure().rootfs,
        "--output",
        archive,
    ]
    subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True)
    lab.import_image(archive)
    return archive


def settings(lab: Lab, **over: Table) -> str:
    """The shipped configuration with the lab's hypervisor, the short durations, and `over` on top."""
    shipped = tomllib.loads((MANIFESTS / "config.toml").read_text())
    del shipped["notify"]
    (fence,) = shipped["fencing"]
    # The stand-in's certificate does not bear the LAN's name for it.
    del fence["ca_file"]
    fence |= {"url": f"https://{PVE_NAME}:8006", "fingerprint": hands.proxmox(lab).fingerprint}
    return toml(merged(merged({**shipped, "mode": "active"}, tomllib.loads(FAST.read_text())), over))


def apply_roles(lab: Lab, config: Path) -> None:
    """The Roles that this configuration needs, as they are printed."""
    argv: list[str | Path] = [SCRIPT, "--config", config, "config", "rbac"]
    roles = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    lab.kubectl("apply", "-f", "-", stdin=roles)


def service(lab: Lab, name: str) -> str:
    """The address of a Service before an app's `/ping`, made where there is none: its owner's `verify_url`."""
    path = "/api/v1/namespaces/media/services"
    spec = {"selector": {"app.kubernetes.io/name": name}, "ports": [{"port": 80, "targetPort": PORT}]}
    lab.api("POST", path, {"metadata": {"name": name}, "spec": spec})
    address = lab.api("GET", f"{path}/{name}")[1]["spec"]["clusterIP"]
    return f"http://{address}/ping"


class Audit:
    """The API server's own record of what failoverd's accounts have asked since this was made."""

    def __init__(self, lab: Lab) -> None:
        self._file = lab.layout.logs / "audit.log"
        self._from = self._file.stat().st_size if self._file.exists() else 0

    def entries(self) -> list[Table]:
        """Every request that has been answered, oldest first."""
        with self._file.open("rb") as log:
            log.seek(self._from)
            return [json.loads(line) for line in log.read().splitlines() if line.endswith(b"}")]

    def refused(self) -> list[str]:
        """Those that were forbidden, as verb and path."""
        found = [one for one in self.entries() if one.get("responseStatus", {}).get("code") == 403]
        return [f"{one['verb']} {one['requestURI']}" for one in found]


class InCluster:
    """The shipped manifests on the lab's cluster."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.folder = lab.state / "manifests"

    def apply(self, urls: Mapping[str, str]) -> None:
        """As an operator does it: the folder copied, config.toml edited, a Secret made, kustomize.

        `urls` are the `verify_url` of some apps.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(MANIFESTS, self.folder)
        made = tomllib.loads(settings(self.lab))
        for app in made["apps"]:
            if app["name"] in urls:
                app["verify_url"] = urls[app["name"]]
        (self.folder / "config.toml").write_text(toml(made))
        token = self.folder / "proxmox-token"
        token.write_text(hands.proxmox(self.lab).tokens["fence"])
        self.lab.kubectl("apply", "-f", str(self.folder / "namespace.yaml"))
        self.lab.kubectl("-n", NAMESPACE, "delete", "secret", "failoverd-secrets", "--ignore-not-found")
        self.lab.kubectl("-n", NAMESPACE, "create", "secret", "generic", "failoverd-secrets", f"--from-file={token}")
        said = self.lab.kubectl("apply", "-k", str(self.folder))
        assert "deployment.apps/failoverd" in said
        until(lambda: len(self.ready()) == 2, 90, "two replicas are Ready")

    def remove(self) -> None:
        """The Deployment and its pods; everything else is overwritten by the next one."""
        for pod in self.pods():
            said = self.lab.kubectl("-n", NAMESPACE, "logs", pod, "--ignore-errors")
            (self.lab.layout.logs / f"{pod}.log").write_text(said)
        self.lab.kubectl("-n", NAMESPACE, "delete", "deployment", "failoverd", "--ignore-not-found")
        until(lambda: not self.pods(), 60, "the replicas are gone")

    def pods(self) -> dict[str, Table]:
        """Every replica by name."""
        path = f"{HERE}/pods?labelSelector=app.kubernetes.io%2Fname%3Dfailoverd"
        return {pod["metadata"]["name"]: pod for pod in self.lab.api("GET", path)[1]["items"]}

    def ready(self) -> dict[str, str]:
        """The Ready replicas and their nodes."""
        return {
            name: pod["spec"]["nodeName"]
            for name, pod in self.pods().items()
            if "deletionTimestamp" not in pod["metadata"]
            and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
        }

    def status(self, pod: str) -> Table:
        """A replica's own `/status`. Raises AssertionError when it gives none."""
        code, answer = self.lab.api("GET", f"{HERE}/pods/{pod}:8080/proxy/status", timeout=4)
        assert code == 200, f"{pod}: {answer}"
        return answer

    def leader(self) -> str:
        """The replica that the Lease names; empty while there is none."""
        code, lease = self.lab.api("GET", LEASE)
        return str(lease["spec"].get("holderIdentity") or "").rpartition("_")[0] if code == 200 else ""

    def freeze(self, pod: str) -> None:
        """Stop a replica where it stands (SIGSTOP), then have its pod removed: it cannot give up the lead."""
        host = self.ready()[pod]
        words = ["pgrep", "-f", "^/opt/failoverd/bin/python.* run "]
        (pid,) = self.lab.run(host, words, inside=True).stdout.split()
        self.lab.run(host, ["kill", "-STOP", pid], inside=True)
        self.lab.kubectl("-n", NAMESPACE, "delete", "pod", pod, "--grace-period=0", "--force")

    def log(self, pod: str) -> list[Table]:
        """A replica's log so far."""
        lines = self.lab.kubectl("-n", NAMESPACE, "logs", pod).splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def cli(self, pod: str, *words: str) -> Any:
        """What a command printed as JSON, run in a replica."""
        return json.loads(self.lab.kubectl("-n", NAMESPACE, "exec", pod, "--", "failoverd", *words, "-o", "json"))


class Systemd:
    """The unit's daemon on the hypervisor, in a Debian root of its own; what systemd does, `start` does.

    Namespaces, users, credentials, environment and rights are as the unit says; its system call filter is not.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.root = lab.state / "systemd"
        self.seen = Daemon(lab)

    def install(self, archive: Path) -> None:
        """A Debian root with /opt/failoverd and the files the unit names."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir()
        _unpack(archive, self.root)
        for folder in ("etc/failoverd", CREDENTIALS[1:]):
            (self.root / folder).mkdir(parents=True)
        token = {"token_file": f"{CREDENTIALS}/proxmox-token"}
        plain = tomllib.loads(settings(self.lab))
        config = self.root / "etc" / "failoverd" / "config.toml"
        config.write_text(toml({**plain, "fencing": [plain["fencing"][0] | token], "syncthing": {"via": "proxy"}}))
        with_files = self.root / "etc" / "failoverd"
        (with_files / "proxmox-token").write_text(hands.proxmox(self.lab).tokens["fence"])
        resolver = self.lab.layout.folder(self.lab.layout.host(HostName.W2)) / "etc" / "resolv.conf"
        (self.root / "etc" / "resolv.conf").unlink(missing_ok=True)
        shutil.copy(resolver, self.root / "etc" / "resolv.conf")
        apply_roles(self.lab, config)
        shutil.copy(self.lab.kubeconfig(ACCOUNT), with_files / "kubeconfig")

    def start(self) -> None:
        """Load the credentials and run the unit's command as its user."""
        unit = UNIT.read_text()
        for name, source in re.findall(r"(?m)^LoadCredential=(\w[\w-]*):(.+)$", unit):
            loaded = self.root / CREDENTIALS[1:] / name
            shutil.copy(self.root / source[1:], loaded)
            loaded.chmod(0o400)
            shutil.chown(loaded, DYNAMIC_USER, DYNAMIC_USER)
        given = ["PATH=/usr/local/bin:/usr/bin:/bin", f"CREDENTIALS_DIRECTORY={CREDENTIALS}", "USER=failoverd"]
        given += [
            one
            for line in re.findall(r"(?m)^Environment=(.+)$", unit)
            for one in line.replace("%d", CREDENTIALS).split()
        ]
        (command,) = (one.replace("%d", CREDENTIALS) for one in re.findall(r"(?m)^ExecStart=(.+)$", unit))
        root = shlex.quote(str(self.root))
        user = f"setpriv --reuid={DYNAMIC_USER} --regid={DYNAMIC_USER} --clear-groups"
        script = (
            f"mount --bind {root} {root} && mount -o remount,bind,ro {root} && mount -t proc proc {root}/proc"
            f" && mount --rbind /dev {root}/dev && mount -t tmpfs tmpfs {root}/tmp && umask 0077"
            f" && exec chroot {root} {user} --no-new-privs --bounding-set=-all --inh-caps=-all"
            f" env -i {shlex.join(given)} {command}"
        )
        self.lab.spawn(HostName.PVE, ["unshare", "--mount", "sh", "-c", script], SERVICE, restart=False)
        until(self.seen.status, 30, f"/status answers (see {self.lab.layout.logs / f'{SERVICE}.log'})")

    def stop(self) -> None:
        """End it as systemd would."""
        self.lab.stop(HostName.PVE, SERVICE)


def _unpack(archive: Path, root: Path) -> None:
    """The file system of an OCI archive with one image. Its layers only add files."""
    with tarfile.open(archive) as outer:

        def blob(digest: str) -> Any:
            return outer.extractfile(f"blobs/sha256/{digest.removeprefix('sha256:')}")

        index = json.load(outer.extractfile("index.json") or sys.stdin)
        manifest = json.load(blob(index["manifests"][0]["digest"]))
        for layer in manifest["layers"]:
            with tarfile.open(fileobj=blob(layer["digest"]), mode="r:*") as files:
                members = [one for one in files if not (one.isdev() or "/.wh." in f"/{one.name}")]
                files.extractall(root, members, filter="fully_trusted")
