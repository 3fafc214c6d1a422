"""One moment of a small installation: a failover that is held up, for tests of what is shown and said."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from failoverd.adapters.notify.delivery import Tally
from failoverd.adapters.web import Board
from failoverd.core.memory import (
    AppMemory,
    CopyMemory,
    Kind,
    Loss,
    Memory,
    Move,
    NodeMemory,
    Pause,
    Phase,
    Standing,
    VolumeMemory,
)
from failoverd.core.model import (
    Api,
    AppDecision,
    ClaimReading,
    Decision,
    Health,
    Instance,
    Lease,
    NodeObject,
    NodeReading,
    Now,
    Objection,
    Snapshot,
    Standby,
    Verdict,
    Watch,
    Why,
    Workload,
)
from failoverd.core.rules import App, Copy, Mode, Pair, Place, Rules, Site, Volume, WorkloadKind

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
APP = "media/sonarr"


def later(seconds: float) -> datetime:
    """`seconds` after `AT`."""
    return AT + timedelta(seconds=seconds)


def rules() -> Rules:
    """Two nodes, one app with two volumes."""
    place = Place(node="k3s-w1", selector=(("role", "primary"),), domain="pve1", fence="pve")
    other = Place(node="k3s-w2", selector=(("role", "backup"),), domain="pve2")
    volumes = tuple(
        Volume(
            name=name,
            primary=Copy(claim=f"pvc-{name}", source=f"{name}-primary"),
            backup=Copy(claim=f"pvc-{name}-backup", source=f"{name}-backup"),
        )
        for name in ("config", "media")
    )
    app = App(key=APP, namespace="media", name="sonarr", kind=WorkloadKind.DEPLOYMENT, pair="main", volumes=volumes)
    return Rules(mode=Mode.ACTIVE, pairs=(Pair(name="main", primary=place, backup=other),), apps=(app,))


def finished(**changes: object) -> Move:
    """A failover that took 18 s from the last write."""
    facts: dict[str, object] = {
        "id": "mv-1",
        "app": APP,
        "kind": Kind.FAILOVER,
        "source": Site.PRIMARY,
        "target": Site.BACKUP,
        "epoch": 4,
        "reason": "k3s-w1 is provably off",
        "evidence": ("guest stopped for 10 s",),
        "began_at": later(12),
        "last_write_at": AT,
        "marks": (
            ("dead", later(10)),
            ("decided", later(12)),
            ("stopped", later(13)),
            ("flipped", later(14)),
            ("started", later(15)),
            ("ready", later(18)),
        ),
        "losses": (Loss(volume="config", age_seconds=4.0, missing=2),),
        "outcome": "done",
    }
    return Move(**(facts | changes))  # type: ignore[arg-type]


def memory(**changes: object) -> Memory:
    """The app runs at the backup after one failover."""
    volumes = {
        "config": VolumeMemory(
            copies={
                Site.PRIMARY: CopyMemory(standing=Standing.OUTDATED, epoch=3),
                Site.BACKUP: CopyMemory(standing=Standing.ACTIVE, epoch=4),
            },
            proven_at=AT,
        )
    }
    facts: dict[str, object] = {
        "phase": Phase.WATCHING,
        "active": Site.BACKUP,
        "epoch": 4,
        "volumes": volumes,
        "moves": (finished(),),
    }
    app = AppMemory(**(facts | changes))  # type: ignore[arg-type]
    pause = Pause(by="ada", why="disk swap", since=AT, until=later(3600))
    return Memory(apps={APP: app}, nodes={"k3s-w1": NodeMemory()}, pauses={APP: pause})


TOO_OLD = Objection(why=Why.AGE_TOO_OLD, text="data of config is 340 s old, the limit is 300 s")
NO_ROOM = Objection(why=Why.NO_ROOM, text="no room on target k3s-w1: cpu needs 2, free 500m of 4")
NO_IMAGE = Objection(why=Why.NO_IMAGE, text="image <sonarr>:4 is not on k3s-w1: it has to be pulled first")
NOT_CLEAN = Objection(why=Why.NOT_CLEAN, text="the copy of config at primary is <outdated> & not clean")


def decision(**changes: object) -> Decision:
    """k3s-w2 is silent, and nothing may move home."""
    facts: dict[str, object] = {
        "memory": memory(),
        "watch": Watch(),
        "verdicts": {
            "k3s-w1": Verdict(health=Health.UP, evidence=("lease moved 3 s ago",)),
            "k3s-w2": Verdict(
                health=Health.UNKNOWN,
                evidence=("lease silent for 31 s",),
                silent_for=timedelta(seconds=31),
                unproven=(Objection(why=Why.NOT_DEAD, text="k3s-w2 is not provably dead: no fence"),),
            ),
        },
        "apps": {
            APP: AppDecision(
                phase=Phase.WATCHING,
                wanted=Kind.FAILOVER,
                objections=(TOO_OLD, NOT_CLEAN),
                ages={"config": timedelta(seconds=340), "media": None},
                waiting="k3s-w2 to be proven dead",
                alarms=(Objection(why=Why.SOURCE_ERRORS, text="2 files of config cannot be read"),),
                standby=Standby(site=Site.PRIMARY, node="k3s-w1", missing=(NO_ROOM,), warnings=(NO_IMAGE,)),
            )
        },
        "wake_at": timedelta(seconds=2),
    }
    return Decision(**(facts | changes))  # type: ignore[arg-type]


def snapshot(**changes: object) -> Snapshot:
    """Everything that Kubernetes keeps was read; Syncthing answered nothing."""
    reading = NodeReading(lease=Lease(stamp="1"), node=NodeObject(ready="True"))
    claims = {(APP, volume, site): ClaimReading(bound=True) for volume in ("config", "media") for site in Site}
    facts: dict[str, object] = {
        "api": Api(date=AT),
        "instance": Instance(leader=True, holder="pve-1", late=timedelta(seconds=0.25)),
        "nodes": {"k3s-w1": reading, "k3s-w2": reading},
        "workloads": {APP: Workload(uid="u", version="1", replicas=1, claims=(), selector=None)},
        "folders": {},
        "claims": claims,
    }
    return Snapshot(**(facts | changes))  # type: ignore[arg-type]


@dataclass(slots=True)
class HandClock:
    """A clock that stands until it is moved."""

    mono: timedelta = timedelta(seconds=100)
    wall: datetime = field(default=AT)

    def now(self) -> Now:
        """This moment."""
        return Now(self.mono, self.wall)

    async def sleep_until(self, mono: timedelta, wake: object) -> None:
        """Jump there."""
        self.mono = max(self.mono, mono)


def board(clock: HandClock) -> Board:
    """An empty board."""
    tally = Tally("ops", sent=3, failed=7, dropped=1, queued=2, broken=True)
    return Board(rules=rules, clock=clock, config_hash=lambda: "c0ffee", tallies=lambda: (tally,))
