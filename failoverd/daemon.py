"""The composition root: the only file that names concrete adapters, signals and schedules."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

import structlog

from failoverd import logs
from failoverd.adapters import serving
from failoverd.adapters.fencing import Fence
from failoverd.adapters.fencing.command import Command
from failoverd.adapters.fencing.docker import Docker, DockerHost
from failoverd.adapters.fencing.proxmox import Endpoint, Kind, Proxmox
from failoverd.adapters.kubelet import Kubelets
from failoverd.adapters.kubernetes import displaced, guards
from failoverd.adapters.kubernetes.client import Client
from failoverd.adapters.kubernetes.lease import LeaseLeadership, LeaseTimings, identity
from failoverd.adapters.kubernetes.memory import History, MemoryStore
from failoverd.adapters.kubernetes.read import KubeReader
from failoverd.adapters.kubernetes.taint import Taints
from failoverd.adapters.kubernetes.write import delete_pod, patch_applier, patch_workload
from failoverd.adapters.notify import Notifier
from failoverd.adapters.notify.channel import Target
from failoverd.adapters.syncthing import Syncthing
from failoverd.adapters.syncthing.access import sides
from failoverd.adapters.web.server import Server
from failoverd.adapters.web.status import Board
from failoverd.clock import SystemClock
from failoverd.config import Config
from failoverd.config.edges import FenceType, Via
from failoverd.config.resolved import Fence as FenceConfig
from failoverd.core import names, say
from failoverd.core.memory import Memory
from failoverd.core.model import Decision, Instance, Now, Snapshot, Unknown
from failoverd.core.points import Wanted
from failoverd.core.rules import Rules, Site
from failoverd.core.shared_fate import with_control_plane
from failoverd.execute import DryRun, WorldExecutor
from failoverd.hands import Hands
from failoverd.loop import Loop
from failoverd.observe import WorldObserver
from failoverd.ports import Executor, Leadership, Store
from failoverd.record import Folder, Recorder, Writer
from failoverd.scribe import Scribe
from failoverd.voice import Speaker

log = structlog.get_logger("failoverd")


def fence_of(config: FenceConfig, clock: SystemClock) -> Fence:
    """The fence that `config` describes."""
    if config.type is FenceType.COMMAND:
        return Command(config.argv, config.node, config.timeout, clock)
    if config.type is FenceType.DOCKER:
        host = DockerHost(
            url=config.url,
            ca_file=config.ca_file,
            fingerprint=config.fingerprint,
            cert_file=config.cert_file,
            key_file=config.key_file,
        )
        return Docker(host, config.container, clock)
    kind = Kind.LXC if config.type is FenceType.PROXMOX_LXC else Kind.VM
    endpoint = Endpoint(url=config.url, token=config.token, ca_file=config.ca_file, fingerprint=config.fingerprint)
    return Proxmox(endpoint, kind, config.host, config.guest, clock)


async def check_fences(fences: Mapping[str, Fence]) -> None:
    """Say in the log what would keep a fence from working: found out during an outage it is too late."""
    for node, fence in fences.items():
        for wrong in await fence.check():
            log.warning("a fence would not work", node=node, why=wrong, see=f"failoverd fence test {node}")


async def check_control_plane(reader: KubeReader, rules: Rules) -> None:
    """Say in the log where the control plane fails together with the home of apps."""
    await reader.ready(timedelta(minutes=1))
    for wrong in with_control_plane(rules, reader.control_plane()):
        log.warning("the control plane shares its fate", why=wrong)


class TimedObserver(WorldObserver):
    """The observer of one configuration, with the hours of elective moves in every snapshot."""

    def bind(self, config: Config) -> TimedObserver:
        """The same observer, knowing the hours of `config`."""
        self._hours = config.hours
        return self

    async def observe(self, now: Now, confirm: frozenset[str], instance: Instance) -> Snapshot:
        """One snapshot."""
        return replace(await super().observe(now, confirm, instance), hours_open=self._hours.allow(now.wall))


class Pretended:
    """The Leadership of a dry run: decisions are made as a leader would make them."""

    def instance(self, _: Now) -> Instance:
        """Always the leader."""
        return Instance(leader=True, holder="dry run")


@dataclass(frozen=True, slots=True)
class Untouched:
    """A Store that is read and never written."""

    store: Store

    async def load(self) -> Memory | Unknown | None:
        """What is there."""
        return await self.store.load()

    async def save(self, memory: Memory) -> None:
        """Nothing."""


@dataclass(slots=True)
class Daemon:
    """Everything that runs for one configuration."""

    config: Config
    loop: Loop
    leadership: LeaseLeadership
    reader: KubeReader
    observer: TimedObserver
    scribe: Scribe
    notifier: Notifier
    server: Server | None
    fences: dict[str, Fence]
    sides: dict[tuple[str, str, Site], Syncthing]
    client: Client
    recorder: Recorder | None = None

    def record(self) -> None:
        """Begin to record. Not before the daemon ahead of us has ended: it packs every file that looks left over."""
        self.recorder = self.loop.recording = _recorder(self.config)

    def inherit(self, before: Daemon) -> None:
        """Go on telling what `before`, which has ended, has begun to tell."""
        self.notifier.inherit(before.notifier)
        said = before.loop.watch.said
        # what Memory cannot hold: that it, or the API server, could not be read
        self.loop.watch = replace(
            self.loop.watch, said={key: said[key] for key in (say.API, say.MEMORY) if key in said}
        )

    async def close(self) -> None:
        """End everything in order: what talks to others last."""
        if self.recorder is not None:
            await asyncio.to_thread(self.recorder.close)
        await self.observer.close()
        await self.reader.close()
        await self.notifier.close()
        if self.server is not None:
            await self.server.close()
        for fence in self.fences.values():
            await fence.close()
        for side in self.sides.values():
            await side.close()
        await self.client.close()


async def build(config: Config, *, dry_run: bool = False, clock: SystemClock | None = None) -> Daemon:
    """Put a daemon together. Raises KubeError when the credentials cannot be read.

    `clock`: another than the machine's, for who runs it in a time of his own.
    """
    clock = clock or SystemClock()
    client = await Client.load(config.kubeconfig, clock=clock)
    try:
        return _assembled(config, client, clock, dry_run=dry_run)
    except BaseException:
        await client.close()
        raise


def _assembled(config: Config, client: Client, clock: SystemClock, *, dry_run: bool) -> Daemon:
    namespace = config.settings.kubernetes.namespace
    wake = asyncio.Event()
    leadership = _leadership(config, client, clock, wake)
    rules = config.rules
    reader = KubeReader(client, lambda: rules, leadership, clock=clock, namespace=namespace, wake=wake)
    fences = {fence.node: fence_of(fence, clock) for fence in config.fences.values()}
    via = config.settings.syncthing.via
    direct = via is Via.DIRECT or (via is Via.AUTO and config.kubeconfig is None)
    movers = sides(rules, client, direct=direct)
    observer = TimedObserver(rules, clock, reader, movers, fences, Kubelets(reader.address)).bind(config)
    hands = Hands(
        patch=partial(patch_workload, client),
        patch_applier=partial(patch_applier, client),
        delete_pod=partial(delete_pod, client),
        order=partial(_order, client, namespace),
        keep_list=partial(displaced.write, client, namespace),
        sides=movers,
        fences=fences,
        taints=Taints(client),
        api_now=observer.api_now,
        verify=serving.verify,
    )
    executor: Executor = DryRun() if dry_run else WorldExecutor(rules, clock, leadership, hands)
    notifier = Notifier(targets(config), clock)
    scribe = Scribe(client, History(client, namespace), rules)
    board = Board(
        rules=lambda: rules,
        clock=clock,
        config_hash=lambda: config.hash,
        tallies=lambda: notifier.tallies,
    )

    def show(decision: Decision, snapshot: Snapshot, now: Now) -> None:
        board.show(decision, snapshot, now)
        scribe.see(decision, snapshot)

    store: Store = MemoryStore(client, namespace)
    leads: Leadership = leadership
    if dry_run:
        store, leads = Untouched(store), Pretended()
    loop = Loop(
        rules=lambda: rules,
        clock=clock,
        observer=observer,
        executor=executor,
        store=store,
        leadership=leads,
        voice=Speaker(show=show, chat=notifier.say, events=scribe.note),
        wake=wake,
    )
    return Daemon(
        config=config,
        loop=loop,
        leadership=leadership,
        reader=reader,
        observer=observer,
        scribe=scribe,
        notifier=notifier,
        server=Server(board, config.settings.web.listen) if config.settings.web.listen else None,
        fences=fences,
        sides=movers,
        client=client,
    )


async def _order(client: Client, own: str, namespace: str, claim: str, wanted: Wanted, version: str) -> str:
    return await guards.order(client, own, names.guard_object(namespace, claim), wanted, version)


def _leadership(config: Config, client: Client, clock: SystemClock, wake: asyncio.Event) -> LeaseLeadership:
    wait = config.settings.leadership
    return LeaseLeadership(
        client,
        clock,
        namespace=config.settings.kubernetes.namespace,
        holder=identity(config.instance),
        config=config.hash,
        timings=LeaseTimings(renew=wait.renew_every, deadline=wait.renew_deadline, duration=wait.duration),
        wake=wake,
    )


def _recorder(config: Config) -> Recorder | None:
    table, path = config.settings.record, config.record
    if path is None:
        return None
    folder = Folder(path=path, instance=config.instance, largest=table.largest_mb * 1_000_000, keep=table.keep)
    return Recorder(Writer(folder, config=config.hash, secrets=_secrets(config)), path)


def targets(config: Config) -> list[Target]:
    """The channels of `config`, as their adapters take them."""
    return [
        Target(
            type=channel.type.value,
            name=channel.name,
            url=channel.url,
            token=channel.token,
            secret=channel.secret,
            level=channel.level.value,
        )
        for channel in config.channels
    ]


def configure_logs(config: Config) -> None:
    """Set the log up as `config` says, with every secret of it struck out."""
    logs.configure(
        form=logs.LogFormat(config.settings.log.format.value),
        level=config.settings.log.level.value,
        secrets=_secrets(config),
    )


def _secrets(config: Config) -> list[str]:
    secrets = [fence.token for fence in config.fences.values()]
    secrets += [text for channel in config.channels for text in (channel.url, channel.token, channel.secret)]
    return [secret for secret in secrets if secret]
