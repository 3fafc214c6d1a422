"""What the Proxmox stand-in is told: its settings at start, and the switches that bend it while it runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.standins.proxmox_model import Kind, Token


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeTask:
    """A task nobody started: a backup, a node-wide stopall. Its times are Unix seconds."""

    type: str
    id: str = ""
    since: float
    until: float
    user: str = "root@pam"


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """How the stand-in misbehaves: not at all by default. Guests are named by their number, as text."""

    refuse: bool = False
    """Every call is answered 500."""
    hang: bool = False
    """Every call is taken and never answered while this is set."""
    lie: Mapping[str, str] = field(default_factory=dict)
    """Guest -> the status it claims to have (`running` or `stopped`), whatever is true."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Action -> how long its task takes. For `reboot`: between power off and power on (default 6)."""
    lock: Mapping[str, str] = field(default_factory=dict)
    """Guest -> its `lock`; actions on it end with an error."""
    ha: tuple[str, ...] = ()
    """Guests under the HA manager."""
    onboot: Mapping[str, bool] = field(default_factory=dict)
    """Guest -> `onboot`; default true."""
    tasks: tuple[FakeTask, ...] = ()
    """Tasks shown beside the real ones."""

    @classmethod
    def read(cls, path: Path) -> Switches:
        """The switches in a file, all off where there is none. ValueError or TypeError if malformed."""
        if not path.exists():
            return cls()
        raw = json.loads(path.read_text())
        raw["tasks"] = tuple(FakeTask(**task) for task in raw.get("tasks", ()))
        raw["ha"] = tuple(raw.get("ha", ()))
        return cls(**raw)

    def write(self, path: Path) -> None:
        """Puts these switches in force with the next request."""
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self)))
        fresh.rename(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """A guest as it is configured: number, kind and the lab host behind it."""

    vmid: int
    kind: Kind
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the server is told at start."""

    node: str
    address: str
    port: int
    cert: Path
    key: Path
    switches: Path
    residents: tuple[Resident, ...]
    tokens: tuple[Token, ...]
    auth_delay: float = 3.0
    """Seconds a failed login waits for its answer, as in pve-http-server."""

    @classmethod
    def read(cls, raw: dict[str, Any]) -> Settings:
        """From parsed JSON, as `dump` makes it."""
        paths = {k: Path(raw[k]) for k in ("cert", "key", "switches")}
        residents = tuple(Resident(vmid=r["vmid"], kind=Kind(r["kind"]), host=r["host"]) for r in raw["residents"])
        tokens = tuple(
            Token(**{**t, "acl": {p: frozenset(granted) for p, granted in t["acl"].items()}}) for t in raw["tokens"]
        )
        return cls(**{**raw, **paths, "residents": residents, "tokens": tokens})

    def dump(self) -> str:
        """JSON that `read` understands."""
        raw = asdict(self)
        for token in raw["tokens"]:
            token["acl"] = {path: sorted(granted) for path, granted in token["acl"].items()}
        return json.dumps(raw, default=str, indent=1)
