"""Tables of the configuration file that concern the systems around us: fences, chat, cluster, web, log.

`settings` has the rest and puts everything together.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_core import PydanticCustomError

from failoverd.config.durations import Duration


class FenceType(StrEnum):
    """Ways of cutting a node's power."""

    PROXMOX_LXC = "proxmox-lxc"
    PROXMOX_VM = "proxmox-vm"
    DOCKER = "docker"
    COMMAND = "command"


class ChannelType(StrEnum):
    """Where messages can be sent."""

    DISCORD = "discord"
    SLACK = "slack"
    NTFY = "ntfy"
    WEBHOOK = "webhook"


class Via(StrEnum):
    """Ways to Syncthing's API."""

    DIRECT = "direct"
    PROXY = "proxy"
    AUTO = "auto"


class LogFormat(StrEnum):
    """How the log is written."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


class Level(StrEnum):
    """Weight of a log line or message."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def _switch(value: object) -> object:
    """Nothing that merely looks like a yes: one of these lets the cluster delete every pod of a node."""
    if value in ("true", "false"):  # as an environment variable has it
        return value == "true"
    if not isinstance(value, bool):
        raise PydanticCustomError("bool_type", "neither true nor false")
    return value


Switch = Annotated[bool, BeforeValidator(_switch)]
"""True or false, and nothing that pydantic would take for it."""


class Table(BaseModel):
    """What all tables share: unknown keys are errors, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class FencingTable(Table):
    """How to cut one node's power, and how to know that it is off. What each type needs: docs/fencing.md."""

    node: str = Field(min_length=1)
    """The node it is for."""
    type: FenceType
    """What the node is: a Proxmox container or virtual machine, a container of a Docker host, or anything else, by a
    program of your own."""
    url: str = ""
    """Address of the Proxmox API, as in "https://pve:8006", or of Docker: "https://host:2376" or
    "unix:///var/run/docker.sock"."""
    guest: str = ""
    """Proxmox: host and number of the guest, as in "pve/101"."""
    token: SecretStr | None = None
    """Proxmox: API token, "user@realm!name=uuid". Better in a file."""
    token_file: str = ""
    """Proxmox: file that holds the token."""
    container: str = ""
    """Docker: name of the container."""
    ca_file: str = ""
    """Certificate authority of the API. Empty: those of the system."""
    fingerprint: str = ""
    """SHA-256 fingerprint of the API's own certificate, instead of an authority."""
    cert_file: str = ""
    """Docker by https: our own certificate."""
    key_file: str = ""
    """Docker by https: its key."""
    argv: tuple[str, ...] = ()
    """Command: the program and its arguments; `state`, `off` or `on` and the node's name are appended. No shell."""
    timeout: Duration = timedelta(seconds=10)
    """Command: how long one call may take."""
    out_of_service: Switch = False
    """Whether the node, once proven dead and left, gets the taint `node.kubernetes.io/out-of-service`: the cluster
    then force-deletes every pod on it and detaches its volumes. Taken off when it returns. Print the Roles anew."""


class WitnessTable(Table):
    """Another node of the cluster whose lease may show that silence is not our own fault."""

    node: str = Field(min_length=1)
    """Name of the Kubernetes node."""
    domain: str = ""
    """What fails together with it. Empty: the node is a domain of its own."""


class NotifyTable(Table):
    """One place where messages are sent."""

    type: ChannelType
    """Kind of place."""
    name: str = ""
    """What the log and metrics call it. Empty: its type and position."""
    url: SecretStr | None = None
    """Address of the webhook or topic, a secret. Better in a file."""
    url_file: str = ""
    """File that holds the address."""
    token: SecretStr | None = None
    """Access token, for ntfy."""
    token_file: str = ""
    """File that holds the access token."""
    secret: SecretStr | None = None
    """Key of the signature (HMAC-SHA256), for `webhook`."""
    secret_file: str = ""
    """File that holds the key."""
    level: Level = Level.INFO
    """Lighter messages are not sent here."""


class InstanceTable(Table):
    """This instance. Belongs into the environment where several instances share one file."""

    name: str = ""
    """Empty: the host's name."""
    node: str = ""
    """Kubernetes node it runs on, if it does."""
    domain: str = ""
    """Failure domain it runs in. Empty: that of `node`, if known."""


class KubernetesTable(Table):
    """The way to the cluster."""

    kubeconfig: str = ""
    """Empty: the pod's service account, else $KUBECONFIG, else ~/.kube/config."""
    namespace: str = "failoverd"
    """Where our own Lease and ConfigMaps are kept."""


class LeadershipTable(Table):
    """The Lease by which one instance leads."""

    renew_every: Duration = timedelta(seconds=7)
    """Between two renewals."""
    renew_deadline: Duration = timedelta(seconds=12)
    """Acting stops this long after the last renewal that succeeded."""
    duration: Duration = timedelta(seconds=17)
    """Another instance may take over after this."""


class SyncthingTable(Table):
    """The way to Syncthing."""

    via: Via = Via.AUTO
    """`direct`: its Service. `proxy`: through the API server. `auto`: direct in the cluster, else proxy."""


class WebTable(Table):
    """The read-only web server."""

    listen: str = "127.0.0.1:8484"
    """Address and port. Empty: none."""


class RecordTable(Table):
    """Recordings of what the daemon saw and decided, for `failoverd replay`."""

    folder: str = ""
    """Folder they are written into; it must be there. Empty: nothing is recorded."""
    largest_mb: int = Field(default=64, ge=1, le=4096)
    """Megabytes of one file. A full one is packed (gzip), to about a twentieth."""
    keep: int = Field(default=20, ge=1, le=10_000)
    """Files kept, the one being written included; the oldest go first."""


class LogTable(Table):
    """The log."""

    format: LogFormat = LogFormat.AUTO
    """`auto`: console on a terminal, JSON elsewhere."""
    level: Level = Level.INFO
    """Lighter lines are not written."""
