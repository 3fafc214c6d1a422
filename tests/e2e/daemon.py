"""The daemon as an operator runs it: the console script on the hypervisor, a file of settings, a token, its CLI.

It runs under the Roles that `failoverd config rbac` prints, reaches Proxmox by a name that only the LAN's name
server knows, and sends its chat to a receiver beside it. Tests see what an operator sees: `/status`, `/metrics`,
chat, the CLI and the history.
"""

from __future__ import annotations

import http.client
import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tests.lab import network, nodes, processes
from tests.lab.lab import REPOSITORY, Lab
from tests.lab.layout import HostName
from tests.lab.standins import hands

T = TypeVar("T")
Table = dict[str, Any]
FAST = REPOSITORY / "tests" / "fast.toml"
SCRIPT = Path(sys.executable).with_name("failoverd")
NAMESPACE = "failoverd"
ACCOUNT = f"{NAMESPACE}/failoverd"
OPERATOR = f"{NAMESPACE}/failoverd-operator"
READER = f"{NAMESPACE}/failoverd-displaced"
PORT = 8484
CHAT_PORT = 9009
SECRET = "of the lab"
PVE_NAME = "pve.lab.test"
SERVICE, CHAT = "failoverd", "chat"
APPS: tuple[Table, ...] = (
    {"name": "sonarr", "namespace": "media"},
    {"name": "paperless", "namespace": "media", "volumes": [{"name": "data"}, {"name": "media"}]},
    {"name": "radarr", "namespace": "media"},
    {"name": "lidarr", "namespace": "media", "kind": "StatefulSet"},
)


class Late(AssertionError):
    """Something did not come in time."""


def until(look: Callable[[], T | None], seconds: float, what: str, every: float = 0.2) -> T:
    """What `look` returns once that is true. Raises Late, naming what was waited for and what was seen instead."""
    deadline = time.monotonic() + seconds
    why = ""
    while True:
        try:
            found = look()
        except (OSError, http.client.HTTPException, LookupError, AssertionError) as error:
            found, why = None, f": {error}"
        if found:
            return found
        if time.monotonic() > deadline:
            raise Late(f"not in {seconds:.0f} s: {what}{why}")
        time.sleep(every)


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> Table:
    """`one` with `other` over it, table by table."""
    both = dict(one)
    for key, value in other.items():
        known = both.get(key)
        both[key] = merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return both


def toml(table: Mapping[str, Any]) -> str:
    """A file of settings: plain values first, then a header for each table or list of tables."""
    plain = {k: v for k, v in table.items() if not isinstance(v, dict) and not _tables(v)}
    lines = [f"{key} = {_value(value)}" for key, value in plain.items()]
    for key, value in table.items():
        if key not in plain:
            heads = [(f"[[{key}]]", one) for one in value] if isinstance(value, list) else [(f"[{key}]", value)]
            for head, one in heads:
                lines += [head, *(f"{name} = {_value(what)}" for name, what in one.items())]
    return "\n".join(lines) + "\n"


def _tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    return json.dumps(value)


class Daemon:
    """One daemon on `pve`. `start` and `stop` it as often as needed; its settings are a file, see `configure`."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.folder = lab.state / "failoverd"
        self.folder.mkdir(exist_ok=True)
        self.config = self.folder / "config.toml"
        self.chat_file = self.folder / "chat.jsonl"
        self.program: tuple[str | Path, ...] = (SCRIPT,)
        """What is run as `failoverd`."""
        self.unchanged = False
        """Whether the last `configure` wrote what was there already."""
        self._host = lab.layout.host(HostName.PVE)

    # ------------------------------------------------------------ settings

    def configure(
        self, *, fast: bool = True, fence: bool = True, apps: tuple[Table, ...] = APPS, **over: Table
    ) -> None:
        """Write the settings: with `fast` the short durations, with `fence` Proxmox for k3s-w1, `over` on top."""
        access = hands.proxmox(self.lab)
        (self.folder / "token").write_text(access.tokens["fence"])
        (self.folder / "secret").write_text(SECRET)
        (self.folder / "kubeconfig").touch()
        settings: Table = {
            "mode": "active",
            "sites": {
                "primary": {"node": "k3s-w1", "node_selector": {"role": "primary"}, "domain": "proxmox"},
                "backup": {"node": "k3s-w2", "node_selector": {"role": "backup"}, "domain": "unraid"},
            },
            "witness": [{"node": "k3s-cp1", "domain": "proxmox-vm"}],
            "kubernetes": {"kubeconfig": str(self.folder / "kubeconfig"), "namespace": NAMESPACE},
            "web": {"listen": f"127.0.0.1:{PORT}"},
            "log": {"format": "json"},
            "notify": [
                {
                    "type": "webhook",
                    "url": f"http://127.0.0.1:{CHAT_PORT}/",
                    "secret_file": str(self.folder / "secret"),
                }
            ],
            "apps": list(apps),
        }
        if fence:
            settings["fencing"] = [
                {
                    "node": "k3s-w1",
                    "type": "proxmox-lxc",
                    "url": f"https://{PVE_NAME}:8006",
                    "guest": "pve/101",
                    "token_file": str(self.folder / "token"),
                    "fingerprint": access.fingerprint,
                }
            ]
        if fast:
            settings = merged(settings, tomllib.loads(FAST.read_text()))
        text = toml(merged(settings, over))
        self.unchanged = self.config.exists() and self.config.read_text() == text
        fresh = self.config.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self.config)

    # ------------------------------------------------------------ its life

    def start(self) -> None:
        """Start it as its own ServiceAccount. It can ask the LAN's name server alone, no cluster DNS."""
        shutil.copy(self.lab.kubeconfig(ACCOUNT), self.folder / "kubeconfig")
        resolver = self.lab.layout.folder(self.lab.layout.host("k3s-w2")) / "etc" / "resolv.conf"
        program = shlex.join(map(str, self.program))
        script = f"mount --bind {resolver} $(realpath /etc/resolv.conf) && exec {program} run --config {self.config}"
        self.lab.spawn(HostName.PVE, ["unshare", "--mount", "sh", "-c", script], SERVICE, restart=False)
        if CHAT not in self.lab.status()[HostName.PVE]["services"]:
            words = [sys.executable, "-m", "tests.e2e.receiver", str(CHAT_PORT), self.chat_file, SECRET]
            self.lab.spawn(HostName.PVE, words, CHAT)
        until(self.status, 20, f"/status answers (see {self.lab.layout.logs / 'failoverd.log'})")

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return nodes.service_pid(self.lab.layout, self._host, SERVICE)

    def stop(self) -> None:
        """End it as systemd would; fine if it does not run."""
        self.lab.stop(HostName.PVE, SERVICE)

    def kill(self) -> None:
        """SIGKILL: nothing is given up or written down."""
        pid = self.pid
        assert pid is not None, "the daemon is gone already"
        processes.send(pid, signal.SIGKILL)
        processes.wait_gone([pid])
        self.lab.stop(HostName.PVE, SERVICE)

    # ------------------------------------------------------------ what can be seen of it

    def get(self, path: str) -> str:
        """A page of its web server. Raises OSError, HTTPException."""
        connection = http.client.HTTPConnection("127.0.0.1", PORT)
        connection.sock = network.connect(self._host, ("127.0.0.1", PORT), 3)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def status(self) -> Table:
        """`/status`. Raises OSError, HTTPException."""
        found: Table = json.loads(self.get("/status"))
        return found

    def app(self, name: str) -> Table:
        """One app's part of it."""
        found: Table = self.status()["apps"][f"media/{name}"]
        return found

    def why(self, name: str) -> dict[str, str]:
        """What objects to a move of the app: its code and text."""
        return {one["why"]: one["text"] for one in self.app(name)["objections"]}

    def metrics(self, name: str) -> dict[str, float]:
        """The samples of one metric by their labels, as written."""
        lines = [line for line in self.get("/metrics").splitlines() if line.startswith(name + "{")]
        return {line[len(name) : line.rindex(" ")]: float(line.rsplit(" ", 1)[1]) for line in lines}

    def chat(self) -> list[Table]:
        """Every message so far, oldest first."""
        if not self.chat_file.exists():
            return []
        said = [json.loads(line) for line in self.chat_file.read_text().splitlines()]
        assert not [one for one in said if "forged" in one], "a message was not signed as it should be"
        return said

    def log(self) -> list[Table]:
        """Every line of its log that is an object."""
        found = []
        for line in (self.lab.layout.logs / f"{SERVICE}.log").read_text(errors="replace").splitlines():
            if line.startswith("{"):
                found.append(json.loads(line))
        return found

    def memory(self) -> Table:
        """Memory as it is kept in the cluster; empty where there is none."""
        status, answer = self.lab.api("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps/failoverd-memory")
        return json.loads(answer["data"]["memory.json"]) if status == 200 else {}

    def history(self, app: str) -> list[Table]:
        """What `failoverd history` tells of an app, oldest first."""
        found: list[Table] = json.loads(self.cli("history", app, "-o", "json").stdout)
        return found

    def cli(
        self, *words: str, check: bool = True, seconds: float = 300, who: str = OPERATOR
    ) -> subprocess.CompletedProcess[str]:
        """Run the CLI as an operator, under the operator's Role. With `check` it must end with 0."""
        argv = [SCRIPT, "--config", self.config, "--kubeconfig", self.lab.kubeconfig(who), *words]
        done = self.lab.run(HostName.PVE, argv, check=False, timeout=seconds)
        assert not check or done.returncode == 0, f"{words} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done
