"""How old the newest copy of a busy database is that opens at the standby: by the guard's restore points, by plain
scans, and as VolSync leaves a folder. On the real cluster of `tests/lab`, under a writer that commits without pauses.

The age at a moment is that moment less the time of the newest row of the newest copy that had arrived and opens.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.bars import Figure
from tests.e2e import deployed
from tests.e2e.daemon import until
from tests.e2e.guarded import Guards
from tests.e2e.world import APPS, FOLDER, NODE, World
from tests.lab import nodes
from tests.lab.layout import NODE_IMAGE
from tests.lab.manifests.apps import SITES, SONARR, repo_files
from tests.lab.standins import hands
from tests.lab.standins.deploy import wire

APP, VOLUME = SONARR.name, SONARR.volumes[0]
TABLE = {"name": APP, "namespace": SONARR.namespace}
SCAN_EVERY = 5.0
"""Seconds between plain scans, as between the guard's points."""
GUARDED = "restore points"
COMPONENT = "app.kubernetes.io/component"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """One size of database, and what is to be reached with it."""

    name: str
    megabytes: int
    seconds: float
    """How long it is watched."""
    look_every: float
    """Seconds between two looks at a raw copy: each copies and checks all of it."""
    guard: dict[str, object]
    """Settings, where not the default ones."""
    oldest: float | None
    """The bar: seconds, of the 99th percentile, with the guard."""
    share: float | None
    """The bar: of one core, guard and mover of the active side together."""


SIZES = (
    Size(name="1 MB", megabytes=1, seconds=180, look_every=2, guard={}, oldest=6, share=None),
    Size(name="1 GB", megabytes=1024, seconds=480, look_every=20, guard={"keep": 3}, oldest=60, share=0.1),
)


@dataclass(slots=True, kw_only=True)
class Watched:
    """What was seen of the standby in one run."""

    arrived: list[tuple[float, float]] = field(default_factory=list)
    """When a copy came, or a raw one was looked at, and the time of its newest row."""
    looks: int = 0
    opened: int = 0
    ages: tuple[float, ...] = ()
    """Seconds, one for each second watched in which there was a copy that opens; of raw copies one for each look."""
    sent: float = 0.0
    """Bytes a second that the active side's mover sent."""
    cores: float = 0.0
    """CPU seconds a second of the active side's mover and guard."""


def figures(world: World) -> Iterator[Figure]:
    """Every size by every way. Raises AssertionError where a run did not end as it must."""
    deployed.image(world.lab)
    for size in SIZES:
        for way, measure in WAYS.items():
            begin(world, size)
            seen = measure(world, size)
            print(f"{size.name}, {way}: {len(seen.ages)} ages of {seen.looks} looks", file=sys.stderr, flush=True)
            yield from _figures(size, way, seen)


def _figures(size: Size, way: str, seen: Watched) -> Iterator[Figure]:
    ours = way == GUARDED
    words = f"{size.name}, {way}"
    yield Figure(name=f"{words}: looks at a copy that opens", samples=(100 * seen.opened / seen.looks,), unit="%")
    if seen.ages:
        yield Figure(name=f"{words}: age in the median", samples=(statistics.median(seen.ages),), unit="s")
        bar = size.oldest if ours else None
        yield Figure(name=f"{words}: age, 99 %", samples=(percentile(seen.ages, 0.99),), unit="s", at_most=bar)
        yield Figure(name=f"{words}: age at most", samples=(max(seen.ages),), unit="s")
    yield Figure(name=f"{words}: sent", samples=(seen.sent / 1000,), unit="kB/s")
    bar = size.share if ours else None
    yield Figure(name=f"{words}: share of a core", samples=(100 * seen.cores,), unit="%", at_most=bar and bar * 100)


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that so many are not above."""
    return sorted(samples)[math.ceil(share * len(samples)) - 1]


def begin(world: World, size: Size) -> None:
    """No daemon, no guard; the app at home with a new database of this size, its writer without pauses."""
    world.daemon.stop()
    Guards(world).remove()
    app = replace(SONARR, env={"PAUSE": "0", "PRELOAD_MB": str(size.megabytes)})
    apps = [app if one.name == APP else one for one in APPS.values()]

    def renew() -> None:
        world.lab.flux_commit(repo_files(apps, NODE_IMAGE, wire(world.lab, apps)))
        for node in NODE.values():
            empty(world.copy(node, APP, VOLUME))

    world.reset(renew)


def empty(folder: Path) -> None:
    """Everything of the app and of the guard is gone; what is Syncthing's and its mover's stays."""
    for path in folder.iterdir():
        if path.name not in (".stfolder", ".stignore"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


# -------------------------------------------------------------------- the ways


def guarded(world: World, size: Size) -> Watched:
    """The daemon with guards: every point is looked at once, when it has come."""
    guards = Guards(world, (SONARR,))
    world.daemon.configure(apps=(TABLE,), guard={"enabled": True, **size.guard})
    guards.apply()
    world.daemon.start()
    try:
        until(lambda: aged(world), 900, f"{APP} has a clean standby of known age")
        with spending(world) as seen:
            points = world.copy(NODE["backup"], APP, VOLUME) / ".failoverd" / "points"
            began, known = time.time(), dict[Path, float]()
            while time.time() < began + size.seconds:
                for path in sorted(points.glob("*/*.sqlite")):
                    if path not in known and path.with_suffix(".json").exists():
                        known[path] = path.with_suffix(".json").stat().st_ctime
                        _note(seen, known[path], newest(path))
                time.sleep(0.2)
            seen.ages = tuple(ages(seen.arrived, began, began + size.seconds))
        return seen
    finally:
        world.daemon.stop()
        guards.remove()


def scanned(world: World, size: Size) -> Watched:
    """Roles as for a backup, and a scan of the active side every few seconds."""
    source = SONARR.source(VOLUME, "primary")
    for site, kind in zip(SITES, ("sendonly", "receiveonly"), strict=True):
        hands.syncthing(world.lab, "media", SONARR.source(VOLUME, site), "PATCH", FOLDER, {"type": kind})
    return raw(
        world, size, lambda: hands.syncthing(world.lab, "media", source, "POST", f"/rest/db/scan?{hands.FOLDER}")
    )


def as_it_is(world: World, size: Size) -> Watched:
    """What VolSync makes of a pair: both sides send and receive, a watcher, a scan an hour."""
    return raw(world, size, lambda: None)


def raw(world: World, size: Size, scan: Callable[[], object]) -> Watched:
    """Looks at the raw copy, as a start after a power cut would find it."""
    folder = world.copy(NODE["backup"], APP, VOLUME)
    with spending(world) as seen:
        began = scanned_at = looked_at = time.time()
        while (now := time.time()) < began + size.seconds:
            if now - scanned_at >= SCAN_EVERY:
                scanned_at = now
                scan()
            if now - looked_at >= size.look_every:
                looked_at = now
                found = at_once(folder)
                _note(seen, now, found)
                seen.ages += () if found is None else (now - found,)
            time.sleep(0.2)
    return seen


WAYS: dict[str, Callable[[World, Size], Watched]] = {
    "as VolSync leaves it": as_it_is,
    f"scans every {SCAN_EVERY:g} s": scanned,
    GUARDED: guarded,
}


# -------------------------------------------------------------------- what is seen


def aged(world: World) -> bool:
    """Whether the daemon states an age for the app."""
    return world.daemon.app(APP)["volumes"][VOLUME.name]["age_seconds"] is not None


def _note(seen: Watched, at: float, content: float | None) -> None:
    seen.looks += 1
    if content is not None:
        seen.opened += 1
        seen.arrived.append((at, content))


def ages(arrived: Sequence[tuple[float, float]], begin: float, end: float) -> Iterator[float]:
    """Of the newest copy at each second from the first one on."""
    first = min((at for at, _ in arrived), default=end)
    for second in range(math.ceil(max(begin, first)), math.floor(end)):
        yield second - max(content for at, content in arrived if at <= second)


def at_once(folder: Path) -> float | None:
    """The time of the newest row of a raw database and its log, both as of one moment; None if it does not open."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        held, place = Path(name) / "held", Path(name) / "copy"
        held.mkdir()
        place.mkdir()
        for file in ("app.db", "app.db-wal"):
            with contextlib.suppress(FileNotFoundError):
                # Syncthing replaces files by others: a link holds the one that is there now.
                (held / file).hardlink_to(folder / file)
        for path in held.iterdir():
            shutil.copy(path, place)
        return newest(place / "app.db", "rw") if (place / "app.db").exists() else None


def newest(path: Path, mode: str = "ro&immutable=1") -> float | None:
    """The time of the newest row of a database; None if it does not open."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode={mode}", uri=True)) as db:
            if db.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                return None
            found = db.execute("SELECT max(at) FROM t").fetchone()[0]
            return None if found is None else float(found)
    except sqlite3.DatabaseError:
        return None


@contextlib.contextmanager
def spending(world: World) -> Iterator[Watched]:
    """What the active side's mover and guard spend meanwhile, into what is handed out."""
    seen = Watched()
    began, cpu, sent = time.monotonic(), _cpu(world), _sent(world)
    yield seen
    passed = time.monotonic() - began
    seen.cores, seen.sent = (_cpu(world) - cpu) / passed, (_sent(world) - sent) / passed


def _sent(world: World) -> float:
    source = SONARR.source(VOLUME, "primary")
    told = hands.syncthing(world.lab, "media", source, "GET", "/rest/system/connections")
    return float(told["total"]["outBytesTotal"])


def _cpu(world: World) -> float:
    """Seconds of CPU that the pods of mover and guard at the active side have used."""
    total = 0.0
    for pod in world.lab.api("GET", "/api/v1/namespaces/media/pods")[1]["items"]:
        labels = pod["metadata"]["labels"]
        mover = SONARR.source(VOLUME, "primary") in pod["metadata"]["name"]
        if pod["spec"].get("nodeName") == NODE["primary"] and (mover or labels.get(COMPONENT) == "guard"):
            total += _used(world, pod["metadata"]["uid"])
    return total


def _used(world: World, uid: str) -> float:
    for group in nodes.cgroups(world.lab.layout):
        if group.name == f"pod{uid}" and (group / "cpuacct.usage").exists():
            return int((group / "cpuacct.usage").read_text()) / 1e9
        if group.name == f"pod{uid}" and (group / "cpu.stat").exists():
            words = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
            if "usage_usec" in words:
                return int(words["usage_usec"]) / 1e6
    raise AssertionError(f"no control group of pod {uid}")
