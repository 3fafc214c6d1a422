"""What a world consists of, from the same Rules the daemon runs with; impossible worlds are refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from failoverd.core.rules import App, Copy, Mode, Pair, Place, Rules, Timings, Volume, WorkloadKind
from failoverd.simulator.world_data import Rhythm

BEGINNING = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
"""Wall-clock time at which every simulated world begins: a Monday morning."""


class ImpossibleWorld(Exception):
    """The described world could not exist; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldSpec:
    """Everything about a world that is not in the Rules."""

    rules: Rules
    seed: int = 0
    strategy: str = "RollingUpdate"
    """Deployment strategy: what a manifest without one gets."""
    flux: bool = True
    flux_interval: timedelta = timedelta(seconds=60)
    rhythm: Rhythm = field(default_factory=Rhythm)
    boot: timedelta = timedelta(seconds=20)
    shared_access: bool = False
    """Whether claims are ReadWriteMany: movers then do not restart when the app moves."""
    requests: tuple[tuple[str, str], ...] = ()
    """What each app's container requests: (resource, quantity)."""
    api_node: str = ""
    """The node whose death takes the API server along; empty: it lives elsewhere."""
    instances: int = 1
    """How many instances of the daemon run; `failoverd-0` leads until something changes that."""
    beginning: datetime = BEGINNING
    """What the API server's clock shows when the world begins."""
    start: tuple[timedelta, timedelta] = (timedelta(seconds=1), timedelta(seconds=3))
    """How long a pod takes from being scheduled to Ready, least and most."""

    def check(self) -> None:
        """Raises ImpossibleWorld, naming what could not be."""
        rules = self.rules
        if len({app.key for app in rules.apps}) != len(rules.apps):
            raise ImpossibleWorld("two apps have one name")
        owners: dict[tuple[str, str], str] = {}
        for app in rules.apps:
            for volume in app.volumes:
                for copy in (volume.primary, volume.backup):
                    owner = owners.setdefault((app.namespace, copy.claim), f"{app.key} {volume.name}")
                    if owner != f"{app.key} {volume.name}":
                        raise ImpossibleWorld(f"claim {copy.claim} belongs to {owner} and {app.key}")
                if volume.primary.claim == volume.backup.claim:
                    raise ImpossibleWorld(
                        f"both copies of {app.key} {volume.name} are the claim {volume.primary.claim}"
                    )
        for pair in rules.pairs:
            if pair.primary.node == pair.backup.node:
                raise ImpossibleWorld(f"both sites of pair {pair.name} are the node {pair.primary.node}")
        if self.strategy not in ("RollingUpdate", "Recreate"):
            raise ImpossibleWorld(f"no Deployment has the strategy {self.strategy}")


def simple_app(name: str = "sonarr", namespace: str = "media", volumes: tuple[str, ...] = ("data",)) -> App:
    """An app by the usual naming conventions, with as many volumes as named."""

    def volume(part: str) -> Volume:
        stem = name if len(volumes) == 1 else f"{name}-{part}"
        return Volume(
            name=part,
            primary=Copy(claim=f"pvc-{stem}", source=f"{stem}-primary"),
            backup=Copy(claim=f"pvc-{stem}-backup", source=f"{stem}-backup"),
        )

    return App(
        key=f"{namespace}/{name}",
        namespace=namespace,
        name=name,
        kind=WorkloadKind.DEPLOYMENT,
        pair="main",
        volumes=tuple(volume(part) for part in volumes),
    )


def simple_rules(apps: tuple[App, ...] = (), *, fenced: tuple[str, ...] = ("k3s-w1",), **changes: object) -> Rules:
    """Rules for one pair k3s-w1 / k3s-w2 with a control-plane node as witness. `changes` replace fields of
    Rules."""

    def place(node: str, role: str) -> Place:
        return Place(
            node=node, selector=(("role", role),), domain=f"host-{node}", fence=node if node in fenced else ""
        )

    pair = Pair(name="main", primary=place("k3s-w1", "primary"), backup=place("k3s-w2", "backup"))
    given: dict[str, object] = {
        "mode": Mode.ACTIVE,
        "pairs": (pair,),
        "apps": apps or (simple_app(),),
        "witnesses": (("k3s-cp1", "host-k3s-cp1"), ("k3s-w1", "host-k3s-w1"), ("k3s-w2", "host-k3s-w2")),
        "timings": Timings(),
        "fence_hash": "simulated" if fenced else "",
    }
    return Rules(**{**given, **changes})  # type: ignore[arg-type]
