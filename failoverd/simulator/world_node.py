"""Nodes and the guests they are: power, link, kubelet, lease, and what a hypervisor says.

Lease renewals cost no events: the last one is computed when somebody looks. Measured: a renewal every 10
s, Ready becomes Unknown 50 s after the last one, a node is Ready 1 s after it has booted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from failoverd.core import names
from failoverd.core.model import GuestState, Lease

OUT_OF_SERVICE = f"{names.OUT_OF_SERVICE}={names.OUT_OF_SERVICE_VALUE}:{names.OUT_OF_SERVICE_EFFECT}"
RENEW_MS = 10_000
GRACE_MS = 50_000


@dataclass(slots=True, kw_only=True)
class GuestTruth:
    """A hypervisor's guest. Its state follows the node's power unless the hypervisor is told to lie."""

    name: str
    reachable: bool = True
    lie: GuestState | None = None
    task: str = ""
    lock: str = ""
    """What holds it, e.g. `backup`: the hypervisor says so, and tasks on it fail."""
    managed: str = ""
    tasks_visible: bool = True
    refuses: str = ""
    """Why the hypervisor will not stop it."""
    stop_ms: int = 1_500


@dataclass(slots=True, kw_only=True)
class Node:
    """One node of the cluster, as it really is."""

    name: str
    domain: str
    address: str
    labels: dict[str, str] = field(default_factory=dict)
    guest: GuestTruth | None = None
    powered: bool = True
    booted: bool = True
    linked: bool = True
    kubelet: bool = True
    cordoned: bool = False
    drained: bool = False
    """Its pods were evicted, movers too: none of them comes back before it is uncordoned."""
    rebooting: bool = False
    """kured has announced a reboot."""
    deleted: bool = False
    """Its Node object is gone, and its lease with it."""
    taints: tuple[str, ...] = ()
    marked: bool = False
    """Whether our mark is on it: that the taint `out-of-service` among its taints is ours."""
    pressures: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    """Images its kubelet lists; empty: none are listed."""
    has: dict[str, str] = field(default_factory=lambda: {"cpu": "4", "memory": "8Gi", "pods": "110"})
    """Allocatable resources as quantities."""
    tenants: dict[str, dict[str, str]] = field(default_factory=dict)
    """Pods of others that run on it: name -> requests as quantities."""
    boot_ms: int = 20_000
    powered_at_ms: int = 0
    generation: int = 0
    """Counts power cycles, so that what was planned for an earlier life does not happen in a later one."""
    phase_ms: int = 0
    """Offset of its renewals, so that nodes do not all renew at once."""
    renewing_since_ms: int | None = 0
    """When it began to reach the API server; None while it does not."""
    last_renewal_ms: int = 0
    shown: tuple[int, Lease] | None = None
    """What was shown of its lease last, and for which renewal."""
    relisted_ms: int = 0
    """From when its kubelet knows again what it should run (after a heal)."""

    @property
    def alive(self) -> bool:
        """Whether anything can run on it."""
        return self.powered and self.booted

    @property
    def out_of_service(self) -> bool:
        """Whether it carries the taint by which its pods are force-deleted."""
        return OUT_OF_SERVICE in self.taints

    @property
    def talks(self) -> bool:
        """Whether its kubelet could reach an API server that answers."""
        return self.alive and self.linked and self.kubelet

    def renewal_ms(self, now_ms: int) -> int:
        """The time of its last lease renewal."""
        if self.renewing_since_ms is None or now_ms < self.renewing_since_ms:
            return self.last_renewal_ms
        return now_ms - (now_ms - self.renewing_since_ms) % RENEW_MS

    def set_renewing(self, now_ms: int, renewing: bool) -> None:
        """Connection to the API server begins or ends."""
        if renewing and self.renewing_since_ms is None:
            self.renewing_since_ms = now_ms
        elif not renewing and self.renewing_since_ms is not None:
            self.last_renewal_ms = self.renewal_ms(now_ms)
            self.renewing_since_ms = None

    def ready(self, now_ms: int) -> str:
        """The Ready condition."""
        return "True" if now_ms - self.renewal_ms(now_ms) < GRACE_MS else "Unknown"

    def uptime_ms(self, now_ms: int) -> int:
        """How long the guest has been running."""
        return now_ms - self.powered_at_ms if self.powered else 0
