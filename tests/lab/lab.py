"""The lab's verbs. Each is stateless: it reads the state folder, acts, and may be called from any process.

lab = Lab.up()                  # or Lab.attach(state) for one that runs
lab.power_cut("k3s-w1")
lab.kubectl("get", "nodes")
lab.down()
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Literal

from tests.lab import api, flux, lifecycle, network, nodes, pki, processes
from tests.lab import timeline as timelines
from tests.lab.commands import SEARCH
from tests.lab.layout import NODE_DIR, Host, HostName, LabError, Layout
from tests.lab.timeline import Interval, Line

REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT_STATE = REPOSITORY / ".lab"
CLEAN_ENVIRONMENT = {"PATH": SEARCH, "HOME": "/root", "LANG": "C.UTF-8"}

Argv = Sequence[object]
"""Words of a command; paths and addresses are made strings."""


class Lab:
    """One running lab."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    # ------------------------------------------------------------ the whole

    @classmethod
    def up(cls, state: Path = DEFAULT_STATE, *, number: int | None = None, flux_interval: str = "1m") -> Lab:
        """Bring a lab up, building what is missing; the one that is up already, if there is one.

        `number` (0 to 63) chooses its addresses and names, by default after the state folder's path;
        `flux_interval` is how often Flux compares the cluster with its source.
        Raises LabError, and then leaves nothing behind.
        """
        return cls(lifecycle.up(Path(state).resolve(), number, flux_interval))

    @classmethod
    def attach(cls, state: Path | str = DEFAULT_STATE) -> Lab:
        """The lab that runs in this state folder. Raises LabError if there is none."""
        layout = Layout.load(Path(state).resolve())
        if layout is None:
            raise LabError(f"no lab in {state}: `python -m tests.lab up` makes one")
        return cls(layout)

    @staticmethod
    def take_down(state: Path | str = DEFAULT_STATE) -> bool:
        """Remove whatever a lab, whole or broken, left in this state folder; False if there was nothing."""
        return lifecycle.down(Path(state).resolve())

    def down(self) -> None:
        """End every process of the lab and remove every trace of it."""
        api.forget()
        lifecycle.down(self.layout.state)

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.layout.state

    def status(self) -> dict[str, dict[str, Any]]:
        """For every host: its power, its cable and its services with their process numbers."""
        found: dict[str, dict[str, Any]] = {}
        for host in self.layout.hosts:
            names = sorted(path.stem for path in (self.layout.folder(host) / "services").glob("*.json"))
            found[host.name] = {
                "ip": str(host.ip),
                "power": self.power_state(host.name),
                "cable": "in" if network.is_plugged(self.layout, host) else "out",
                "services": {name: nodes.service_pid(self.layout, host, name) for name in names},
            }
        return found

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One verb at a time changes the hosts, whichever process calls it."""
        handle = os.open(self.state, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    # ------------------------------------------------------------ power and cables

    def power_cut(self, host: str) -> None:
        """Take the host's power: its link goes, then every process at once. Its disk keeps all."""
        with self._exclusive():
            nodes.power_cut(self.layout, self._node(host))

    def power_on(self, host: str) -> None:
        """Boot the host from its disk, with every service it had."""
        with self._exclusive():
            nodes.power_on(self.layout, self._node(host))

    def reboot(self, host: str, seconds: float) -> None:
        """A restart from inside the guest: off for `seconds`, its power state stays "running". Blocks."""
        found = self._node(host)
        mark = self.layout.folder(found) / "rebooting"
        mark.touch()
        try:
            self.power_cut(host)
            time.sleep(seconds)
            self.power_on(host)
        finally:
            mark.unlink()

    def power_state(self, host: str) -> Literal["running", "stopped"]:
        """What the hypervisor knows of the guest."""
        found = self.layout.host(host)
        rebooting = (self.layout.folder(found) / "rebooting").exists()
        return "running" if rebooting or nodes.init_pid(self.layout, found) is not None else "stopped"

    def cut(self, host: str) -> None:
        """Pull the host's network cable; it stays out across a power cut."""
        with self._exclusive():
            found = self.layout.host(host)
            nodes.mark_cut(self.layout, found, cut=True)
            network.plug(self.layout, found, connected=False)

    def heal(self, host: str) -> None:
        """Put the cable back in."""
        with self._exclusive():
            found = self.layout.host(host)
            nodes.mark_cut(self.layout, found, cut=False)
            if nodes.init_pid(self.layout, found) is not None:
                network.plug(self.layout, found, connected=True)

    def restore(self) -> None:
        """Undo what the verbs did: every cable in, every node under power, every process going."""
        for host in self.layout.hosts:
            (self.layout.folder(host) / "rebooting").unlink(missing_ok=True)
            self.heal(host.name)
            if host.pods is not None:
                self.power_on(host.name)
            for pid in self.status()[host.name]["services"].values():
                if pid is not None:
                    processes.send(pid, signal.SIGCONT)

    def _node(self, name: str) -> Host:
        host = self.layout.host(name)
        if host.pods is None:
            raise LabError(f"{name} is the hypervisor: its power stays on (cut and heal work on it)")
        return host

    # ------------------------------------------------------------ single processes

    def freeze(self, component: str) -> None:
        """Stop a process where it stands (SIGSTOP). `component` is NAME for k3s-cp1, or NAME@HOST."""
        processes.send(self._pid(component), signal.SIGSTOP)

    def thaw(self, component: str) -> None:
        """Let a frozen process go on."""
        processes.send(self._pid(component), signal.SIGCONT)

    def stall_api(self, seconds: float, *, wait: bool = False) -> None:
        """Freeze the API server for `seconds`: connections are taken and never answered.

        Returns at once, and the thaw comes whatever becomes of the caller; with `wait`, when it is over.
        """
        pid = self._pid("kube-apiserver")
        processes.send(pid, signal.SIGSTOP)
        thaw = f"sleep {float(seconds)}; kill -CONT {pid}"
        waiting = subprocess.Popen(
            [*nodes.inside(self.layout, self.layout.host(HostName.PVE), namespaces=False), "sh", "-c", thaw],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if wait:
            waiting.wait()
        else:
            # Nobody waits for it: it must not be reported as forgotten when this object goes.
            waiting.returncode = 0

    def _pid(self, component: str) -> int:
        name, _, host = component.partition("@")
        found = self.layout.host(host or HostName.CP1)
        pid = nodes.service_pid(self.layout, found, name)
        if pid is None:
            names = ", ".join(sorted(path.stem for path in (self.layout.folder(found) / "services").glob("*.json")))
            raise LabError(f"no {name} runs on {found.name}: its services are {names}")
        return pid

    def run(
        self,
        host: str,
        argv: Argv,
        *,
        inside: bool = False,
        check: bool = True,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the host's network, with `inside` also among its processes and mounts.

        Raises LabError if it fails and `check` is set, subprocess.TimeoutExpired after `timeout` seconds.
        """
        words = nodes.inside(self.layout, self.layout.host(host), namespaces=inside)
        result = subprocess.run(
            [*words, *(str(word) for word in argv)],
            input=stdin,
            text=True,
            capture_output=True,
            env={**CLEAN_ENVIRONMENT, **(env or {})},
            timeout=timeout,
            check=False,
        )
        if check and result.returncode != 0:
            said = (result.stderr or result.stdout).strip()[-400:]
            raise LabError(f"`{argv[0]}` on {host} ended with {result.returncode}: {said}")
        return result

    def spawn(
        self, host: str, argv: Argv, name: str, env: Mapping[str, str] | None = None, *, restart: bool = True
    ) -> int:
        """Start a service on the host and return its process number; logs/<name>.log has its output.

        It runs among the host's processes and mounts, from the repository's root, ends with the host's power
        and starts again with it. With `restart` it is also started again a second after it ended by itself.
        """
        found = self.layout.host(host)
        if (self.layout.folder(found) / "services" / f"{name}.json").exists():
            raise LabError(f"{name} is a service of {host} already: stop it first")
        run_folder = self.layout.folder(found) / "run"
        # How an earlier service of this name ended says nothing of this one.
        (run_folder / f"{name}.exit").unlink(missing_ok=True)
        nodes.enable(self.layout, found, name, argv=argv, env=env, restart=restart, cwd=REPOSITORY)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            pid = nodes.service_pid(self.layout, found, name)
            if pid is not None:
                return pid
            if (run_folder / f"{name}.exit").exists():
                break
            time.sleep(0.02)
        raise LabError(f"{name} did not start on {host}: see {self.layout.logs / f'{name}.log'}")

    def stop(self, host: str, name: str) -> None:
        """End a spawned service (SIGTERM, after 5 s SIGKILL) and forget it; fine if there is none."""
        found = self.layout.host(host)
        pid = nodes.service_pid(self.layout, found, name)
        (self.layout.folder(found) / "services" / f"{name}.json").unlink(missing_ok=True)
        if pid is not None:
            processes.wait_gone([pid])
        # The supervisor takes note of the end in its next turn; until then the name is not free.
        time.sleep(0.15)

    def exit_code(self, host: str, name: str) -> int | None:
        """How a service last ended: its exit code, or minus the signal; None while it runs."""
        try:
            return int((self.layout.folder(self.layout.host(host)) / "run" / f"{name}.exit").read_text())
        except FileNotFoundError:
            return None

    # ------------------------------------------------------------ the cluster

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl as admin and return what it printed. Raises LabError with what it said."""
        return self.run(HostName.PVE, [self.state / "bin" / "kubectl", *arguments], stdin=stdin, timeout=600).stdout

    def api(
        self,
        method: str,
        path: str,
        body: Any = None,
        content_type: str = api.JSON,
        *,
        user: str = "admin",
        timeout: float = 10.0,
    ) -> tuple[int, dict[str, Any]]:
        """One request to the API server, made on pve: status and object. Raises OSError if none comes."""
        return api.call(self.layout, method, path, body, content_type, user=user, timeout=timeout)

    def kubeconfig(self, who: str = "admin") -> Path:
        """A kubeconfig for a static user (`admin`), or a ServiceAccount `NAMESPACE/NAME` (for a day)."""
        if "/" not in who:
            path = self.layout.kubeconfig(who)
            if not path.exists():
                raise LabError(f"no user {who!r}: there are {', '.join(pki.USERS)}, or NAMESPACE/SERVICEACCOUNT")
            return path
        namespace, _, name = who.partition("/")
        request = {"spec": {"expirationSeconds": 86400}}
        token = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        status, answer = self.api("POST", token, request)
        if status != 201:
            raise LabError(f"no token for ServiceAccount {who}: {answer.get('message', status)}")
        return pki.write_kubeconfig(self.layout, f"{namespace}.{name}", str(answer["status"]["token"]))

    def import_image(self, archive: Path, hosts: Sequence[str] = (HostName.CP1, HostName.W1, HostName.W2)) -> None:
        """Load an image archive into these nodes; it stays on their disks."""
        socket = NODE_DIR / "state" / "containerd.sock"
        for host in hosts:
            argv = ["ctr", "-a", socket, "-n", "k8s.io", "images", "import", archive]
            self.run(host, argv, inside=True, timeout=300)

    def flux_commit(self, files: Mapping[str, str], *, wait: bool = False) -> str:
        """Make these files (path -> YAML) all that the GitOps repository holds; returns the revision.

        With `wait`, until Flux has applied them and found them healthy. Raises LabError.
        """
        revision = flux.commit(self.layout, files)
        if wait:
            flux.wait_applied(self.layout, revision)
        return revision

    def wait_applied(self, revision: str, seconds: float = 200) -> None:
        """Wait until Flux has applied a revision and found it healthy. Raises LabError with its reason."""
        flux.wait_applied(self.layout, revision, seconds)

    # ------------------------------------------------------------ places and times

    def ip(self, host: str) -> IPv4Address:
        """The host's address on the LAN."""
        return self.layout.host(host).ip

    def data(self, host: str) -> Path:
        """The host's /data as seen from outside; it can be read whether the host has power or not."""
        return self.layout.folder(self.layout.host(host)) / "data"

    def timeline(self) -> list[Line]:
        """What every writer noted on every node's disk, oldest first."""
        return timelines.read({str(host.name): self.data(host.name) for host in self.layout.nodes})

    def writers(self, app: str) -> dict[str, list[Interval]]:
        """For each host the intervals in which the app was written there."""
        return timelines.writers(self.timeline(), app)

    def overlap(self, app: str) -> float:
        """Seconds in which the app was written on more than one host."""
        return timelines.overlap(self.timeline(), app)
