"""The life of a daemon: signals, a changed configuration, an orderly end.

The one rule of this file: what runs goes on until what follows it stands ready; an error on the way changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger

from failoverd import heap, logs
from failoverd.adapters.kubernetes.client import KubeError
from failoverd.config import Config, ConfigError, ConfigSource, load
from failoverd.core.model import Note
from failoverd.core.rules import Mode
from failoverd.daemon import Daemon, build, check_control_plane, check_fences, configure_logs
from failoverd.mirror import Mirror

log = structlog.get_logger("failoverd")

POLL_CONFIG = timedelta(seconds=5)
"""How often the configuration file is looked at for a change."""
FAILED, UNREACHABLE = 1, 3
"""Exit statuses: something here is in the way; the cluster could not be reached at all."""
NOT_TAKEN = "configuration not taken over, the old one stays in force"
UNMIRRORED = "the cluster's configuration cannot be used here, the local copy stays in force"


def run(config: Config, kubeconfig: Path | None = None, files_in: Path | None = None) -> int:
    """Run until SIGTERM or SIGINT; a changed configuration is taken over without a pause in leadership's rules.

    `kubeconfig` comes from the command line, and goes before the file's; `files_in` is where the files are that the
    configuration names.
    """
    heap.give_back()
    configure_logs(config)
    return asyncio.run(_run(ConfigSource(config.path, files_in), kubeconfig))


def run_shared(mirror: Mirror, kubeconfig: Path | None = None) -> int:
    """The same with the configuration that the cluster keeps, from its local copy where it cannot be read.

    Raises ConfigError where neither can be used, KubeError where there is no copy and the cluster does not answer.
    """
    heap.give_back()
    logs.configure(form=logs.LogFormat.AUTO, level="info", secrets=())
    return asyncio.run(_run_shared(mirror, kubeconfig))


def once(config: Config, *, dry_run: bool = False) -> int:
    """Look until there is a complete picture, decide once, act once (or not), and leave."""
    configure_logs(config)
    return asyncio.run(_once(config, dry_run=dry_run))


@dataclass(slots=True)
class Orders:
    """What a daemon is told while it runs, and the file it is told by."""

    source: ConfigSource
    kubeconfig: Path | None
    mirror: Mirror | None
    stop: asyncio.Event
    reload: asyncio.Event
    refused: str = ""
    """What was last said against the file; empty when it is in force."""
    unmirrored: str = ""
    """What was last said against the configuration that the cluster keeps."""

    def effective(self, config: Config) -> Config:
        """`config` with what the command line says."""
        return replace(config, kubeconfig=self.kubeconfig) if self.kubeconfig else config


async def _run_shared(mirror: Mirror, kubeconfig: Path | None) -> int:
    try:
        if mirror.path.exists():
            with contextlib.suppress(ConfigError):  # a copy that has become bad is replaced, if it can be
                configure_logs(load(mirror.path, files_in=mirror.files_in))
        await mirror.look()
        if not mirror.path.exists():
            if mirror.refused:
                raise ConfigError(mirror.refused)
            raise KubeError(0, f"{mirror.origin}: there is no local copy {mirror.path} yet, and {mirror.away}")
        source = ConfigSource(mirror.path, mirror.files_in)
        configure_logs(source.config)
        looking = asyncio.create_task(mirror.run(), name="mirror")
        try:
            return await _run(source, kubeconfig, mirror)
        finally:
            looking.cancel()
    finally:
        await mirror.close()


async def _run(source: ConfigSource, kubeconfig: Path | None, mirror: Mirror | None = None) -> int:
    orders = Orders(source, kubeconfig, mirror, asyncio.Event(), asyncio.Event())
    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, orders.stop.set)
    running.add_signal_handler(signal.SIGHUP, orders.reload.set)
    try:
        daemon: Daemon | None = await _ready(orders.effective(source.config))
        while daemon is not None:
            follower = await _serve(daemon, orders)
            if follower is not None:
                configure_logs(follower.config)
                follower.inherit(daemon)
            daemon = follower
    except KubeError as error:
        log.error("cannot start", why=str(error))
        return UNREACHABLE
    except (OSError, ValueError) as error:
        log.error("cannot start", why=str(error))
        return FAILED
    log.info("stopped")
    return 0


async def _ready(config: Config, before: Daemon | None = None) -> Daemon:
    """A daemon that only needs to be started: everything that can fail has been done.

    Raises KubeError, OSError, ValueError.
    """
    daemon = await build(config)
    try:
        if daemon.server is not None:
            await daemon.server.bind(before.server if before else None)
    except BaseException:
        await daemon.close()
        raise
    return daemon


async def _serve(daemon: Daemon, orders: Orders) -> Daemon | None:
    """Run one daemon until it is told to stop (None), or another stands ready to follow it."""
    _introduce(daemon.config)
    async with _started(daemon) as tasks:
        while not orders.stop.is_set():
            await _either(orders.stop, orders.reload, *tasks, within=POLL_CONFIG)
            for task in tasks:
                if task.done():
                    error = task.exception()
                    log.error(
                        "a part of the daemon has ended, starting anew", part=task.get_name(), error=repr(error)
                    )
                    return await _ready(daemon.config, daemon)
            follower = await _look(daemon, orders)
            if follower is not None:
                return follower
    return None


def _introduce(config: Config) -> None:
    log.info(
        "starting",
        instance=config.instance,
        mode=config.rules.mode.value,
        apps=[app.key for app in config.rules.apps],
        config=config.hash,
    )
    for warning in config.warnings:
        log.warning("unwise configuration", why=str(warning))
    if config.rules.mode is Mode.ACTIVE:
        log.warning(config.rules.experimental)


async def _look(daemon: Daemon, orders: Orders) -> Daemon | None:
    """Look at the configuration file: the daemon that is to follow, where it has changed for good."""
    before = orders.source.config
    asked = orders.reload.is_set()
    orders.reload.clear()
    if orders.mirror is not None:
        if asked:
            await orders.mirror.look()
        _tell_mirrored(daemon, orders, orders.mirror)
    found = orders.source.reload() if asked else orders.source.poll()
    if found is None:
        return None
    if found.problems:
        _refuse(daemon, orders, [str(problem) for problem in found.problems], aloud=True)
        return None
    if not found.changed:
        if asked:
            log.info("configuration read again: nothing has changed")
        _accept(daemon, orders)
        return None
    try:
        follower = await _ready(orders.effective(orders.source.config), daemon)
    except Exception as error:
        orders.source.refuse(before, str(error))
        _refuse(daemon, orders, [str(error) or repr(error)], aloud=asked)
        return None
    log.info("configuration changed", tables=list(found.changed))
    if orders.kubeconfig and before.kubeconfig != orders.source.config.kubeconfig:
        log.warning("kubernetes.kubeconfig of the file is not used: --kubeconfig goes before it")
    _accept(daemon, orders)
    return follower


def _refuse(daemon: Daemon, orders: Orders, problems: list[str], *, aloud: bool) -> None:
    """Say that a configuration is not in force; for the same reasons once, or `aloud` in the log again."""
    told = "; ".join(problems)
    for problem in problems if aloud or told != orders.refused else ():
        log.error(NOT_TAKEN, problem=problem)
    if told != orders.refused:
        orders.refused = told
        _tell(daemon, f"{NOT_TAKEN}: {told}", level="error")


def _accept(daemon: Daemon, orders: Orders) -> None:
    """Say that what was refused is over."""
    if orders.refused:
        orders.refused = ""
        _tell(daemon, "the configuration file is in force again", resolved=True)


def _tell_mirrored(daemon: Daemon, orders: Orders, mirror: Mirror) -> None:
    """Say, once, that what the cluster keeps cannot be used here, and that this is over."""
    told = "; ".join(map(str, mirror.refused))
    if told == orders.unmirrored:
        return
    orders.unmirrored = told
    text = f"{UNMIRRORED}: {told}" if told else "the cluster's configuration is in force again"
    (log.error if told else log.info)(text)
    _tell(daemon, text, level="error" if told else "info", resolved=not told, about="shared configuration")


def _tell(
    daemon: Daemon, text: str, *, level: str = "info", resolved: bool = False, about: str = "configuration"
) -> None:
    incident = f"{about} {daemon.config.instance}"
    note = Note(incident=incident, text=f"{daemon.config.instance}: {text}", level=level, resolved=resolved)
    daemon.notifier.say(note, daemon.loop.clock.now().wall)


async def _either(*what: asyncio.Event | asyncio.Task[None], within: timedelta) -> None:
    waits = [asyncio.ensure_future(one.wait()) if isinstance(one, asyncio.Event) else one for one in what]
    await asyncio.wait(waits, timeout=within.total_seconds(), return_when=asyncio.FIRST_COMPLETED)
    for wait, one in zip(waits, what, strict=True):
        if isinstance(one, asyncio.Event):
            wait.cancel()


@contextlib.asynccontextmanager
async def _started(daemon: Daemon) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Start the parts; on the way out the loop ends first, then leadership is given up, then the rest."""
    scheduler = _schedule(daemon)
    daemon.record()
    daemon.notifier.start()
    if daemon.server is not None:
        await daemon.server.start()
    leading = asyncio.create_task(daemon.leadership.run(), name="leadership")
    looping = asyncio.create_task(daemon.loop.run(), name="loop")
    writing = asyncio.create_task(daemon.scribe.run(), name="scribe")
    checking = asyncio.create_task(check_fences(daemon.fences), name="fences")
    sharing = asyncio.create_task(check_control_plane(daemon.reader, daemon.config.rules), name="control plane")
    try:
        yield [leading, looping, writing]
    finally:
        scheduler.shutdown(wait=False)
        daemon.loop.stop.set()
        daemon.loop.wake.set()
        await asyncio.wait([looping], timeout=15)
        ended = (leading, looping, writing, checking, sharing)
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)
        await daemon.close()


def _schedule(daemon: Daemon) -> AsyncIOScheduler:
    """What belongs to the wall clock: the loop looks at once when the hours of failback open."""
    scheduler = AsyncIOScheduler(job_defaults={"coalesce": True, "misfire_grace_time": None})
    hours = daemon.config.hours

    async def opened() -> None:
        # a coroutine runs in our loop; a plain function would run in a thread, where no Event may be set
        daemon.loop.wake.set()

    for begin, _ in hours.windows:
        trigger = CronTrigger(hour=begin.hour, minute=begin.minute, timezone=hours.zone)
        scheduler.add_job(opened, trigger, name="hours of failback open")
    scheduler.start()
    return scheduler


async def _once(config: Config, *, dry_run: bool) -> int:
    try:
        daemon = await build(config, dry_run=dry_run)
    except KubeError as error:
        log.error("cannot start", why=str(error))
        return UNREACHABLE
    try:
        doubts = await daemon.reader.ready(timedelta(seconds=10))
        if doubts:
            log.error("the cluster could not be read", why=doubts)
            return UNREACHABLE
        if not dry_run:
            await daemon.leadership.turn()
        decision = await daemon.loop.step()
        await daemon.loop.drain()
        for key, app in decision.apps.items():
            texts = [str(objection) for objection in app.objections]
            log.info(
                "decided", app=key, phase=str(app.phase), wanted=app.wanted and str(app.wanted), objections=texts
            )
        return 0
    finally:
        await daemon.leadership.release()
        await daemon.close()
