"""The configuration as the rest of the program uses it: complete, checked, with its secrets read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from failoverd.config.edges import ChannelType, FenceType, Level
from failoverd.config.hours import Hours
from failoverd.config.problems import Problem
from failoverd.config.settings import Settings
from failoverd.core.rules import Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """How to cut the power of one node; what its type has no use for is empty. `name` is what `Place.fence` says."""

    name: str
    node: str
    type: FenceType
    url: str = ""
    host: str = ""
    """Proxmox's name of the host that runs the guest."""
    guest: int = 0
    """The guest's number (vmid)."""
    token: str = field(default="", repr=False)
    container: str = ""
    ca_file: Path | None = None
    fingerprint: str = ""
    """SHA-256 of the API's certificate: 64 lower-case hexadecimal digits, no colons."""
    cert_file: Path | None = None
    key_file: Path | None = None
    argv: tuple[str, ...] = ()
    timeout: timedelta = timedelta(0)
    """For each call of the command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One place where messages are sent."""

    name: str
    type: ChannelType
    url: str = field(repr=False)
    token: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    level: Level = Level.INFO


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A loaded configuration."""

    path: Path
    settings: Settings
    """As written, for what needs no resolving: kubernetes, leadership, syncthing, web, log."""
    rules: Rules
    fences: Mapping[str, Fence]
    """By name."""
    channels: tuple[Channel, ...]
    hours: Hours
    """When an app may go home by itself."""
    instance: str
    """Name of this instance."""
    kubeconfig: Path | None
    """None: the pod's service account."""
    record: Path | None = None
    """Folder of recordings; None: nothing is recorded."""
    hash: str
    """Fingerprint of everything that must be equal on all instances."""
    notes: tuple[Problem, ...] = ()
    """What works but is probably not what was meant."""
    warnings: tuple[Problem, ...] = ()
    """What works and may cost data, or leaves nobody to act."""
    unseen: tuple[Problem, ...] = ()
    """Files it names that were not looked at."""
