"""Every kind of move: what comes before it, what begins it, and where it has ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from failoverd.core.memory import Kind, Phase, Restore, Standing
from failoverd.core.model import CommandKind
from failoverd.core.rules import Site
from failoverd.simulator.world_data import SETTINGS, Stretch
from tests.kill.scene import Scene, Setting

Part = Callable[[Scene], Awaitable[None]]
OLD = (Stretch("of long ago", Site.PRIMARY, 0, 1),)
"""What the settings were."""
WARM = 14.0
"""Seconds after which every node was seen alive, and its guest running while its lease moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One kind of move."""

    name: str
    trigger: Part
    ended: Callable[[Scene], bool]
    prelude: Part
    setting: Setting = field(default_factory=Setting)
    kind: Kind | None = None
    """What the history calls it; None where it is no move."""
    outcome: str = "done"
    """How the move's outcome begins where nothing disturbs it."""
    may_abort: bool = False
    """Whether giving it up is as good an end."""
    home: bool = False
    """Whether the app must be at home in the end, exactly as it was."""
    cold: bool = False
    """Whether it begins with the start of the daemon."""
    tend: Callable[[Scene], None] = lambda _: None
    """What the world does meanwhile, asked again and again."""


async def _warm(scene: Scene) -> None:
    await scene.until("adopted", lambda: watching(scene, Site.PRIMARY, clean=True))
    await scene.rest(max(0.0, WARM - scene.now))


async def _proven(scene: Scene) -> None:
    """Points are made at home and proven at the backup, whose raw copy does not open."""
    await _warm(scene)
    await scene.rest(20)
    scene.fault("tear media/sonarr data backup")


def _placed(scene: Scene) -> bool:
    """Moved, and the database is one that opens."""
    disk = scene.served.world.apps["media/sonarr"].pairs["data"].sides[Site.BACKUP].disk
    return _at(Site.BACKUP)(scene) and not disk.torn


async def _nothing(scene: Scene) -> None:
    """Adoption begins with the start itself."""


async def _away(scene: Scene) -> None:
    await _warm(scene)
    await scene.command(CommandKind.SWITCHOVER, Site.BACKUP)
    await scene.until("away", lambda: watching(scene, Site.BACKUP, clean=True) and scene.running(Site.BACKUP))
    await scene.rest(3)


async def _lost(scene: Scene) -> None:
    await _warm(scene)
    scene.fault("power_off k3s-w1")
    await scene.until("moved", lambda: watching(scene, Site.BACKUP) and scene.running(Site.BACKUP))
    await scene.rest(3)


async def _kept(scene: Scene) -> None:
    """At home a version of the settings lies from a take-back of long ago."""
    await _warm(scene)
    disk = scene.served.world.apps[scene.key].pairs["data"].sides[Site.PRIMARY].disk
    disk.versions.append((SETTINGS, OLD))


async def _restore(scene: Scene) -> None:
    wanted = Restore(volume="data", path=SETTINGS)
    await scene.command(CommandKind.RESTORE, Site.PRIMARY, wanted)


def _restored(scene: Scene) -> bool:
    """At home again with the old settings, and what was there kept: once, whoever asked how often."""
    disk = scene.served.world.apps[scene.key].pairs["data"].sides[Site.PRIMARY].disk
    kept = [content for path, content in disk.versions if path == SETTINGS]
    return _at(Site.PRIMARY)(scene) and OLD not in kept and bool(kept)


def watching(scene: Scene, site: Site, *, clean: bool = False) -> bool:
    """Whether the app is watched at this site, and the standby is clean if that matters."""
    app = scene.app()
    if app is None or app.phase is not Phase.WATCHING or app.active is not site or app.move is not None:
        return False
    standby = [volume.copies[site.other].standing for volume in app.volumes.values()]
    return not clean or all(standing is Standing.CLEAN for standing in standby)


def _done(scene: Scene) -> bool:
    app, last = scene.app(), scene.last_move()
    return app is not None and app.move is None and last is not None and last.id != scene.before


def _at(site: Site, *, clean: bool = False) -> Callable[[Scene], bool]:
    return lambda scene: watching(scene, site, clean=clean) and scene.running(site) and _done(scene)


def at_rest_somewhere(scene: Scene) -> bool:
    """Whether the move is over, wherever that is."""
    return any(_at(site)(scene) for site in Site)


def at_rest_or_refused(scene: Scene) -> bool:
    """The same, or what was asked for was refused, and the app runs where it was."""
    return at_rest_somewhere(scene) or (
        scene.refused() and any(watching(scene, site) and scene.running(site) for site in Site)
    )


def lenient(story: Story) -> Story:
    """Where answers are spoilt planned moves may be refused or given up: then everything is where it was."""
    if story.kind is not None and story.kind.planned:
        return replace(story, ended=at_rest_or_refused, may_abort=True, home=False)
    return story


def _released(scene: Scene) -> bool:
    app, truth = scene.app(), scene.served.world.apps[scene.key]
    kinds = {side.kind.value for pair in truth.pairs.values() for side in pair.sides.values()}
    return app is not None and app.phase is Phase.RELEASED and kinds == {"sendreceive"}


def _fault(words: str) -> Part:
    async def trigger(scene: Scene) -> None:
        scene.fault(words)

    return trigger


def _command(kind: CommandKind, target: Site | None = None) -> Part:
    async def trigger(scene: Scene) -> None:
        await scene.command(kind, target)

    return trigger


def _hang_in_barrier(scene: Scene) -> None:
    """The standby's Syncthing answers nothing from the moment the app was stopped until the move is given up."""
    app, side = scene.app(), scene.served.world.apps[scene.key].pairs["data"].sides[Site.BACKUP]
    stopped = app is not None and app.phase in (Phase.STOPPING, Phase.BARRIER)
    if stopped and not side.hung:
        scene.fault(f"syncthing_hang {scene.key} data backup")
    elif not stopped and side.hung:
        scene.fault(f"syncthing_wake {scene.key} data backup")


STORIES = {
    story.name: story
    for story in (
        Story(
            name="failover", prelude=_warm, trigger=_fault("power_off k3s-w1"), ended=_at(Site.BACKUP),
            kind=Kind.FAILOVER,
        ),
        Story(
            name="guarded", prelude=_proven, trigger=_fault("power_off k3s-w1"), ended=_placed, kind=Kind.FAILOVER,
            setting=Setting(guarded=True),
        ),
        Story(
            name="fenced", prelude=_warm, trigger=_fault("cut k3s-w1"), ended=_at(Site.BACKUP), kind=Kind.FAILOVER,
        ),
        Story(
            name="silence", prelude=_warm, trigger=_fault("power_off k3s-w1"), ended=_at(Site.BACKUP),
            kind=Kind.FAILOVER, setting=Setting(fenced=False, require="silence"),
        ),
        Story(
            name="forced", prelude=_warm, trigger=_command(CommandKind.FAILOVER, Site.BACKUP),
            ended=_at(Site.BACKUP, clean=True), kind=Kind.FAILOVER,
        ),
        Story(
            name="switchover", prelude=_warm, trigger=_command(CommandKind.SWITCHOVER, Site.BACKUP),
            ended=at_rest_somewhere,
            kind=Kind.SWITCHOVER, may_abort=True,
        ),
        Story(
            name="failback", prelude=_away, trigger=_command(CommandKind.FAILBACK), ended=_at(Site.PRIMARY),
            kind=Kind.FAILBACK, home=True,
        ),
        Story(
            name="restore", prelude=_kept, trigger=_restore, ended=_restored, kind=Kind.RESTORE, home=True,
        ),
        Story(
            name="take-back", prelude=_lost, trigger=_fault("power_on k3s-w1"),
            ended=lambda scene: watching(scene, Site.BACKUP, clean=True) and scene.running(Site.BACKUP),
        ),
        Story(
            name="adoption", prelude=_nothing, trigger=_nothing, cold=True, home=True,
            ended=lambda scene: watching(scene, Site.PRIMARY, clean=True) and scene.running(Site.PRIMARY),
        ),
        Story(
            name="release", prelude=_warm, trigger=_command(CommandKind.RELEASE), ended=_released, home=True,
        ),
        Story(
            name="aborted", prelude=_warm, trigger=_command(CommandKind.SWITCHOVER, Site.BACKUP),
            ended=at_rest_somewhere,
            kind=Kind.SWITCHOVER, may_abort=True, outcome="aborted", tend=_hang_in_barrier,
            setting=Setting(barrier_timeout="33s"),
        ),
    )
}  # fmt: skip
