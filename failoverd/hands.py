"""Everything an action can touch, as `execute` needs it: adapters and tests bring something of this shape."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from urllib.parse import quote, unquote

from failoverd.core.memory import Version
from failoverd.core.model import Guest, PatchOp, Role, Scanned, Unknown
from failoverd.core.points import Wanted
from failoverd.core.rules import App, Applier, Site
from failoverd.core.stock import Aside, Lying, Stock, move_of

Key = tuple[str, str, Site]
"""App key, volume name, site."""


Leads = Callable[[], Awaitable[bool]]
"""Whether we lead, by a look at our Lease that is no older than a second."""


async def _nobody() -> bool:
    return False


class Half(Exception):
    """Of files that belong together a part may have been replaced; the text names the side and says why."""


class Kept(Protocol):
    """One version of a file that was put aside."""

    @property
    def path(self) -> str:
        """The file."""
        ...

    @property
    def at(self) -> str:
        """When it was put aside, as Syncthing writes it (RFC 3339)."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...


def version(kept: Kept) -> Aside:
    """One version as it is kept in a list. Raises ValueError where its time is none."""
    at = datetime.fromisoformat(kept.at)
    if at.tzinfo is None:
        raise ValueError(f"{kept.at!r} has no time zone")
    move = unquote(move_of(kept.path))
    return Aside(kind=Lying.VERSION, path=quote(kept.path), at=at, size=kept.size, move=move)


class Side(Protocol):
    """One side's Syncthing. Each raises an exception whose text names the side and says why."""

    async def set_type(self, role: Role, keep: bool | None = None) -> None:
        """Set the folder's type, and versioning with it."""
        ...

    async def set_ignores(self, patterns: tuple[str, ...]) -> None:
        """Replace the ignore patterns."""
        ...

    async def scan(self, at: datetime) -> Scanned:
        """Scan it; `at` is the API server's time."""
        ...

    async def scan_points(self) -> None:
        """Scan the guard's folder alone."""
        ...

    async def override(self) -> None:
        """Make its version of everything the newest."""
        ...

    async def revert(self) -> None:
        """Drop its local changes."""
        ...

    async def drop_connection(self, started: str) -> str:
        """Restart the process that began at `started`, and no other; says what was found."""
        ...

    async def find(self, path: str, at: datetime | None) -> tuple[Version, ...] | str:
        """The versions to fetch back for one file; a text says why there are none."""
        ...

    async def fetch(self, files: tuple[Version, ...], *, unsure: bool, leads: Leads) -> str:
        """Put versions where their files are, all or none, keeping what is there; says what was found. Raises Half
        where that may have come to pass in part; `unsure`: an earlier one may have.
        """
        ...

    async def versions(self) -> Sequence[Kept]:
        """What versioning has put aside; an error where it is off."""
        ...


class Fence(Protocol):
    """One node's power switch. Each raises an exception whose text names the guest and says why."""

    async def off(self) -> str:
        """Cut the power and confirm it."""
        ...

    async def on(self) -> str:
        """Give it back and confirm it."""
        ...

    async def state(self) -> Guest | Unknown:
        """Whether the guest runs. Never raises."""
        ...


class Taints(Protocol):
    """The taint `out-of-service` of a node."""

    async def set(self, node: str, why: str, off: Callable[[], Awaitable[None]]) -> str:
        """Set it, marked as ours, if `off` raises nothing once the node was read; says what was found."""
        ...

    async def clear(self, node: str) -> str:
        """Take it off where it is ours; says what was found."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """Everything an action can touch."""

    patch: Callable[[App, Sequence[PatchOp]], Awaitable[None]]
    """One JSON Patch of a workload. Raises with `status` 422 when a `test` failed."""
    patch_applier: Callable[[Applier, Sequence[PatchOp]], Awaitable[None]]
    """One JSON Patch of a HelmRelease or Application. Raises like `patch`."""
    delete_pod: Callable[[str, str, str], Awaitable[str]]
    """(namespace, pod, uid): delete exactly this pod, grace 0; says what was found."""
    order: Callable[[str, str, Wanted, str], Awaitable[str]]
    """(namespace, claim, what is wanted, version): order it of the guard of one copy; says what was done."""
    keep_list: Callable[[str, str, Stock], Awaitable[None]]
    """(namespace, claim, list): keep the list of what was displaced at one copy, for whoever asks later."""
    sides: Mapping[Key, Side]
    fences: Mapping[str, Fence]
    """By node."""
    taints: Taints
    api_now: Callable[[], datetime | None]
    """The API server's time."""
    verify: Callable[[str], Awaitable[str]]
    """Asks a URL; what it answered. Raises when it does not answer with success."""
    leads: Leads = _nobody
    """For acts that take long: asked again right before what changes something. The executor sets it."""
