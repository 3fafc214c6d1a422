"""What everything of one lab is called and where it lives. The one rule: no other file makes these up.

Addresses come from 198.18.0.0/15, which RFC 2544 reserves for tests between devices, so that a packet that
escapes after a teardown has nowhere real to go. Each lab takes a /21 of it, chosen by its number.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

VERSION = "v1.37.2"
RANGE = IPv4Network("198.18.0.0/15")
NUMBERS = 64
"""How many /21 blocks the range has, so how many labs fit on one machine."""

NODE_DIR = Path("/run/node")
"""Where a node sees its own folder. Short, because a unix socket's path ends at 107 bytes."""

NODE_IMAGE = "docker.io/lab/node:trixie"
PAUSE_IMAGE = "docker.io/lab/pause:1"


class LabError(Exception):
    """What the user can do something about; `str()` is one line that says what."""


class HostName(StrEnum):
    """The hosts, named as in the cluster the project was made for."""

    CP1 = "k3s-cp1"
    W1 = "k3s-w1"
    W2 = "k3s-w2"
    PVE = "pve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host of a lab."""

    name: HostName
    number: int
    namespace: str
    ip: IPv4Address
    pods: IPv4Network | None
    """The node's share of the pod network; None for a host that is no node."""
    role: str | None
    """The node's `role` label."""

    @property
    def port(self) -> str:
        """Its port on the bridge (an interface name, so at most 15 characters)."""
        return f"port{self.number}"


ROLES = {HostName.CP1: "control", HostName.W1: "primary", HostName.W2: "backup"}


@cache
def _nth(whole: IPv4Network, prefix: int, index: int) -> IPv4Network:
    """Asked for with every request of the suite: counting them through took half of its time."""
    return list(whole.subnets(new_prefix=prefix))[index]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """All names of one lab. Equal state folder and number give an equal layout."""

    state: Path
    number: int

    @property
    def name(self) -> str:
        """What its namespaces and control groups start with."""
        return f"flab{self.number}"

    @property
    def block(self) -> IPv4Network:
        """Everything this lab may address."""
        return _nth(RANGE, 21, self.number)

    def _slice(self, index: int) -> IPv4Network:
        return _nth(self.block, 24, index)

    @property
    def lan(self) -> IPv4Network:
        """The hosts' network."""
        return self._slice(0)

    @property
    def services(self) -> IPv4Network:
        """Service addresses; the first is the API server's."""
        return self._slice(1)

    @property
    def pods(self) -> IPv4Network:
        """All pods; each node has a /24 of it."""
        return _nth(self.block, 22, 1)

    @property
    def gateway(self) -> IPv4Address:
        """The bridge's own address: it answers, and leads nowhere."""
        return self.lan[1]

    @property
    def lan_namespace(self) -> str:
        """The network namespace that holds nothing but the bridge."""
        return f"{self.name}-lan"

    @property
    def hosts(self) -> tuple[Host, ...]:
        """All hosts, nodes first."""
        return tuple(self._host(number, name) for number, name in enumerate(HostName))

    @property
    def nodes(self) -> tuple[Host, ...]:
        """The hosts that run a kubelet."""
        return tuple(host for host in self.hosts if host.pods is not None)

    def _host(self, number: int, name: HostName) -> Host:
        return Host(
            name=name,
            number=number,
            namespace=f"{self.name}-{name}",
            ip=self.lan[10 + number],
            pods=self._slice(4 + number) if name in ROLES else None,
            role=ROLES.get(name),
        )

    def host(self, name: str) -> Host:
        """The host of that name. Raises LabError naming the ones there are."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise LabError(f"no host {name!r} in the lab: there are {', '.join(HostName)}")

    @property
    def api(self) -> str:
        """The API server's URL on the LAN."""
        return f"https://{self.host(HostName.CP1).ip}:6443"

    def folder(self, host: Host) -> Path:
        """The host's own disk, as seen from the machine."""
        return self.state / host.name

    def seen_by(self, host: Host, path: Path) -> Path:
        """A path below the host's folder as the host's own processes see it."""
        if host.pods is None:
            return path
        return NODE_DIR / path.relative_to(self.folder(host))

    @property
    def logs(self) -> Path:
        """One file a component."""
        return self.state / "logs"

    @property
    def pki(self) -> Path:
        """Keys, certificates and static tokens."""
        return self.state / "pki"

    def kubeconfig(self, user: str) -> Path:
        """A user's kubeconfig; the file is self-contained."""
        return self.state / "kubeconfig" / f"{user}.yaml"

    def save(self) -> None:
        """Write what `load` needs."""
        text = json.dumps({"number": self.number, "name": self.name})
        (self.state / "lab.json").write_text(text + "\n")

    @classmethod
    def load(cls, state: Path) -> Layout | None:
        """The layout of the lab in this state folder; None if there is none."""
        try:
            number = json.loads((state / "lab.json").read_text())["number"]
        except FileNotFoundError:
            return None
        return cls(state=state, number=int(number))
