"""A bad day, by its seed: a world line and what goes wrong when, written as a scenario."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

Happening = tuple[int, str]
"""(milliseconds since the beginning, scenario command)."""

SETTLED_MS = 90_000
"""By then the first pods run and the copies are adopted."""
RECOVERY_MS = 25 * 60_000
"""After everything is mended: so long until every app must be at rest again."""
NODES = ("k3s-w1", "k3s-w2")
SITES = ("primary", "backup")


@dataclass(frozen=True, slots=True)
class Schedule:
    """One day: the world it happens in, what happens, when all is mended and when it is judged."""

    seed: int
    world: str
    events: tuple[Happening, ...]
    mend_ms: int
    end_ms: int
    last_cut: bool = False
    """Whether, after all has come to rest, the node the apps live on loses power once more."""

    def text(self, story: str = "") -> str:
        """The same day as a scenario file, without what is seen."""
        lines = [f"# {story or f'chaos seed {self.seed}'}", self.world]
        now_ms = 0
        for at_ms, command in [*sorted(self.events, key=lambda event: event[0]), (self.mend_ms, "fault mend")]:
            if at_ms > now_ms:
                lines.append(f"run {at_ms - now_ms}ms")
                now_ms = at_ms
            lines.append(command)
        lines += [f"run {self.end_ms - now_ms}ms", "truth", "----"]
        return "\n".join(lines) + "\n"


@dataclass(slots=True)
class _Draw:
    """What has been drawn so far."""

    random: Random
    apps: list[str]
    volumes: list[str]
    fenced: list[str]
    instances: int
    events: list[Happening] = field(default_factory=list)

    def add(self, at_ms: int, command: str) -> None:
        self.events.append((at_ms, command))

    def one(self, *choices: str) -> str:
        return self.random.choice(choices)

    def node(self) -> str:
        return self.random.choices([*NODES, "k3s-cp1"], [6, 3, 1])[0]

    def guest(self) -> str:
        return self.random.choice(self.fenced)

    def volume(self) -> str:
        """`APP VOLUME SITE` of one copy."""
        return f"{self.random.choice(self.apps)} {self.random.choice(self.volumes)} {self.one(*SITES)}"

    def lasting(self) -> int:
        """A duration in ms: often short, sometimes minutes."""
        return int(self.random.choice((2, 8, 20, 45, 90, 240, 600)) * self.random.uniform(500, 1500))


Episode = Callable[[_Draw, int], None]


def _power(draw: _Draw, at_ms: int) -> None:
    node = draw.node()
    draw.add(at_ms, f"fault power_off {node}")
    draw.add(at_ms + draw.lasting(), f"fault power_on {node}")


def _cut(draw: _Draw, at_ms: int) -> None:
    node = draw.node()
    draw.add(at_ms, f"fault cut {node}")
    draw.add(at_ms + draw.lasting(), f"fault heal {node}")


def _reboot(draw: _Draw, at_ms: int) -> None:
    node, takes = draw.node(), draw.random.choice((6, 12, 25, 60))
    if node in draw.fenced and draw.random.random() < 0.5:
        draw.add(at_ms, f"fault guest_task {node} vzreboot")
        draw.add(at_ms + takes * 1000 + 2000, f"fault guest_task {node}")
    draw.add(at_ms, f"fault reboot {node} {takes}s")


def _kubelet(draw: _Draw, at_ms: int) -> None:
    node = draw.node()
    draw.add(at_ms, f"fault kubelet_stop {node}")
    draw.add(at_ms + draw.lasting(), f"fault kubelet_start {node}")


def _api(draw: _Draw, at_ms: int) -> None:
    takes = max(1, draw.lasting() // 1000)
    draw.add(at_ms, f"fault {draw.one('stall_api', 'api_errors')} {takes}s")


def _answers(draw: _Draw, at_ms: int) -> None:
    draw.add(at_ms, f"fault lose_answers {draw.random.randint(1, 4)}")


def _hypervisor(draw: _Draw, at_ms: int) -> None:
    if not draw.fenced:
        return
    guest = draw.guest()
    begins, ends = draw.random.choice(
        (
            (f"hypervisor {guest} down", f"hypervisor {guest} up"),
            (f"guest_task {guest} vzdump", f"guest_task {guest}"),
            (f"guest_refuses {guest} permission denied", f"guest_refuses {guest}"),
            (f"guest_lies {guest} running", f"guest_lies {guest} no"),
            (f"guest_lies {guest} stopped", f"guest_lies {guest} no"),
            (f"hide_tasks {guest}", f"guest_task {guest}"),
        )
    )
    draw.add(at_ms, f"fault {begins}")
    draw.add(at_ms + draw.lasting(), f"fault {ends}")


def _mover(draw: _Draw, at_ms: int) -> None:
    copy = draw.volume()
    if draw.random.random() < 0.5:
        draw.add(at_ms, f"fault syncthing_restart {copy}")
        return
    draw.add(at_ms, f"fault syncthing_hang {copy}")
    draw.add(at_ms + draw.lasting(), f"fault syncthing_wake {copy}")


def _wiped(draw: _Draw, at_ms: int) -> None:
    copy = draw.volume()
    draw.add(at_ms, f"fault wipe_config {copy}")
    draw.add(at_ms + 6_000 + draw.lasting(), f"fault accept_device {copy}")


def _by_hand(draw: _Draw, at_ms: int) -> None:
    draw.add(at_ms, f"fault set_type {draw.volume()} {draw.one('sendreceive', 'sendreceive', 'receiveonly')}")


def _git(draw: _Draw, at_ms: int) -> None:
    draw.add(at_ms, f"fault {draw.one('commit', 'strip_hold')} {draw.random.choice(draw.apps)}")


def _stranger(draw: _Draw, at_ms: int) -> None:
    copy = draw.volume()
    draw.add(at_ms, f"fault stranger {copy}")
    draw.add(at_ms + draw.lasting(), f"fault stranger_leaves {copy.split()[0]}")


def _cordon(draw: _Draw, at_ms: int) -> None:
    node, what = draw.node(), draw.one("cordon", "drain", "delete", "kured", "tenant", "taint", "pressure")
    back = at_ms + draw.lasting()
    begins, ends = {
        "cordon": (f"cordon {node}", f"uncordon {node}"),
        "drain": (f"drain {node}", f"uncordon {node}"),
        "delete": (f"delete_node {node}", f"register_node {node}"),
        "kured": (f"kured {node} {draw.one('30s', '90s', '8m')}", f"uncordon {node}"),
        "tenant": (f"tenant {node} build cpu=4", f"tenant {node} build"),
        "taint": (f"taint {node} dedicated=build:NoSchedule", f"taint {node}"),
        "pressure": (f"pressure {node} DiskPressure", f"pressure {node}"),
    }[what]
    draw.add(at_ms, f"fault {begins}")
    draw.add(back, f"fault {ends}")


def _clock(draw: _Draw, at_ms: int) -> None:
    draw.add(at_ms, f"fault clock_jump failoverd-0 {draw.one('-', '')}{draw.one('3s', '30s', '10m')}")


def _killed(draw: _Draw, at_ms: int) -> None:
    moment = draw.one("now", "save", "save", "act", "receipt")
    name = f"failoverd-{draw.random.randrange(draw.instances)}"
    draw.add(at_ms, f"restart daemon {moment} {name}")


def _leader(draw: _Draw, at_ms: int) -> None:
    if draw.instances < 2:
        _killed(draw, at_ms)
        return
    back = at_ms + draw.lasting()
    if draw.random.random() < 0.5:
        draw.add(at_ms, "fault isolate failoverd-0")
        draw.add(back + 19_000, "fault isolate failoverd-0 off")
        at_ms += 19_000
    draw.add(at_ms, "fault leader failoverd-1")
    if draw.random.random() < 0.5:
        draw.add(back + 30_000, "fault leader failoverd-0")


def _isolated(draw: _Draw, at_ms: int) -> None:
    draw.add(at_ms, "fault isolate failoverd-0")
    draw.add(at_ms + draw.lasting(), "fault isolate failoverd-0 off")


def _asked(draw: _Draw, at_ms: int) -> None:
    app = draw.random.choice(draw.apps)
    kind = draw.one("switchover", "switchover", "switchover", "failback", "failover", "failover", "pause")
    if kind == "pause":
        whom = draw.one(app, "*")
        draw.add(at_ms, f"command pause {whom}")
        draw.add(at_ms + draw.lasting(), f"command resume {whom}")
    elif kind == "failback":
        draw.add(at_ms, f"command failback {app}")
    else:
        draw.add(at_ms, f"command {kind} {app} {draw.one('primary', 'backup', 'backup')}")


def _forgotten(draw: _Draw, at_ms: int) -> None:
    draw.add(at_ms, "fault lose_memory")


EPISODES: tuple[tuple[Episode, int], ...] = (
    (_power, 20), (_cut, 12), (_reboot, 8), (_kubelet, 3), (_api, 8), (_answers, 4), (_hypervisor, 7), (_mover, 8),
    (_wiped, 4), (_by_hand, 2), (_git, 6), (_stranger, 2), (_cordon, 6), (_clock, 2), (_killed, 14), (_leader, 6),
    (_isolated, 3), (_asked, 14), (_forgotten, 1),
)  # fmt: skip
"""What can go wrong, and how often."""


def _by_release(random: Random, command: str) -> str:
    """Half of the holds taken off a workload of a HelmRelease are one resumed by hand instead."""
    swapped = command.startswith("fault strip_hold ") and random.random() < 0.5
    return command.replace("strip_hold", "resume_release") if swapped else command


GUARDED = 0.3
"""Share of days on which guards run beside the data."""


def _at_the_disk(random: Random, drawn: _Draw, mend_ms: int) -> list[Happening]:
    """Up to three things that go wrong with guards, points and raw copies."""
    found: list[Happening] = []
    for _ in range(random.randint(0, 3)):
        copy = f"{random.choice(drawn.apps)} {random.choice(drawn.volumes)} {random.choice(SITES)}"
        at_ms = SETTLED_MS + random.randrange(max(1, mend_ms - SETTLED_MS))
        what = random.choice(("guard_silent", "points_break", "lock_database", "slow_placing", "tear", "tear"))
        if what == "slow_placing":
            found.append((at_ms, f"fault slow_placing {copy} {random.choice((7, 20, 90))}s"))
        elif what == "tear":
            found.append((at_ms, f"fault tear {copy}"))
        else:
            found.append((at_ms, f"fault {what} {copy}"))
            found.append(
                (at_ms + int(random.choice((20, 90, 400)) * random.uniform(500, 1500)), f"fault {what} {copy} off")
            )
    return [(at, command) for at, command in found if at < mend_ms]


def draw(seed: int) -> Schedule:
    """The day of this seed; the same one every time."""
    random = Random(seed)  # noqa: S311 - reproducible chance is the point
    fenced = random.choices([[], ["k3s-w1"], list(NODES)], [2, 5, 3])[0]
    apps = ["sonarr"] if random.random() < 0.7 else ["sonarr", "radarr"]
    volumes = ["data"] if random.random() < 0.75 else ["data", "config"]
    instances = 2 if random.random() < 0.25 else 1
    given = {
        "seed": str(random.randrange(1_000_000)),
        "apps": ",".join(apps),
        "volumes": ",".join(volumes),
        "fence": ",".join(fenced) or "none",
        "require": random.choices(["proof", "silence"], [6, 4] if fenced else [1, 9])[0],
        "failback": random.choices(["auto", "manual"], [7, 3])[0],
        "kind": random.choices(["Deployment", "StatefulSet"], [8, 2])[0],
        "strategy": random.choice(["RollingUpdate", "Recreate"]),
        "flux": random.choices(["yes", "no"], [8, 2])[0],
        "access": random.choices(["once", "many"], [7, 3])[0],
        "fence_when": random.choices(["all", "any", "isolated", "never"], [6, 2, 1, 1])[0],
        "boot": random.choice(["10s", "20s", "60s"]),
        "instances": str(instances),
        "mode": random.choices(["active", "observe"], [97, 3])[0],
        "stable_for": random.choice(["60s", "180s"]),
        "cooldown": random.choice(["60s", "180s"]),
        "max_moves": random.choice(["2", "3", "6"]),
    }
    if random.random() < 0.1:
        given["api"] = "k3s-cp1"
    # A source of chance of its own: what a seed was before there were HelmReleases it still is, but for them.
    aside = Random(f"helm {seed}")  # noqa: S311
    helm = given["flux"] == "yes" and aside.random() < 0.35
    if helm:
        given["helm"] = "yes"
    if fenced and Random(f"taint {seed}").random() < 0.3:  # noqa: S311
        given["out_of_service"] = "yes"
    beside = Random(f"guard {seed}")  # noqa: S311
    if beside.random() < GUARDED:
        given["guard"] = "yes"
    drawn = _Draw(random, [f"media/{app}" for app in apps], volumes, fenced, instances)
    at_ms = SETTLED_MS
    for _ in range(random.randint(2, 8)):
        at_ms += int(random.choice((0, 3, 15, 60, 240)) * random.uniform(300, 1700))
        episode = random.choices([one for one, _ in EPISODES], [weight for _, weight in EPISODES])[0]
        episode(drawn, at_ms)
    mend_ms = max([at for at, _ in drawn.events], default=at_ms) + random.randint(1_000, 120_000)
    world = "world " + " ".join(f"{key}={value}" for key, value in given.items())
    happenings = drawn.events
    if helm:
        happenings = [(at, _by_release(aside, command)) for at, command in happenings]
    if "guard" in given:
        happenings = [*happenings, *_at_the_disk(beside, drawn, mend_ms)]
    events = tuple(sorted(happenings, key=lambda event: event[0]))
    return Schedule(seed, world, events, mend_ms, mend_ms + RECOVERY_MS, last_cut=random.random() < 0.5)
