"""From what was written to what is meant: references, secrets and durations checked, `Rules` built.

Finds every problem before giving up. Nothing outside this machine is contacted.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path as FilePath

from failoverd.config import timing, unwise
from failoverd.config.address import misfit
from failoverd.config.apps import Apps
from failoverd.config.edges import ChannelType, NotifyTable
from failoverd.config.fences import Fences, fence_hash
from failoverd.config.hours import Hours, windows, zone
from failoverd.config.locate import Path
from failoverd.config.names import no_label, no_name, no_reference
from failoverd.config.problems import ConfigError, Origin, Problem, in_order, suggestion
from failoverd.config.resolved import Channel, Config
from failoverd.config.secrets import Files, Secrets
from failoverd.config.settings import PairTable, Settings, SitesTable, SiteTable
from failoverd.core import patterns
from failoverd.core.rules import Guarding, Pair, Place, Rules, Site, Timings

ONLY_PAIR = "default"
"""Name of the pair that `[sites]` makes."""
SERVICE_ACCOUNT = FilePath("/var/run/secrets/kubernetes.io/serviceaccount/token")
_OWN = ("instance", "log", "record", "web")
"""Tables that may differ between instances of one installation."""


def resolve(settings: Settings, origin: Origin, path: FilePath, files: Files) -> Config:
    """The complete configuration; where `files` are not to be looked at, secrets are empty.

    Raises ConfigError with every problem there is.
    """
    return _Resolver(settings, origin, path, files).config()


def usual_kubeconfig(environ: Mapping[str, str]) -> FilePath | None:
    """The kubeconfig where none is configured; None where there is none, and in a pod, which has its own account."""
    if SERVICE_ACCOUNT.is_file():
        return None
    usual = FilePath(environ.get("KUBECONFIG") or "~/.kube/config").expanduser()
    return usual if usual.is_file() else None


def no_way(environ: Mapping[str, str], otherwise: str) -> str:
    """What to say where there is no kubeconfig, `otherwise` being the other way to name one."""
    named = environ.get("KUBECONFIG")
    tried = f"$KUBECONFIG names {named}, which is no file" if named else "there is no ~/.kube/config"
    return f"no way to a cluster: {tried}; give --kubeconfig FILE or {otherwise}"


KURED_NAMESPACE = "kube-system"
"""Where kured's own manifests put it."""


class _Resolver:
    def __init__(self, settings: Settings, origin: Origin, path: FilePath, files: Files) -> None:
        self.settings = settings
        self.origin = origin
        self.path = path
        self.files = files
        self.secrets = Secrets(files, origin)
        self.problems: list[Problem] = []

    def config(self) -> Config:
        settings = self.settings
        self._gathered()
        builder = Fences(settings, self.origin, self.secrets)
        fences = builder.build()
        pairs = self._pairs(frozenset(fences))
        self._known_nodes(pairs)
        witnesses = self._witnesses(pairs)
        apps = Apps(settings, self.origin, pairs)
        rules = Rules(
            mode=settings.mode,
            pairs=pairs,
            apps=apps.build(),
            witnesses=witnesses,
            own_domain=self._own_domain(dict(witnesses)),
            fence_when=settings.failover.fence_when,
            after_fence=settings.failover.after_fence,
            out_of_service=tuple(sorted({table.node for table in settings.fencing if table.out_of_service})),
            drain=settings.planned.drain,
            kured=self._kured(),
            max_unhealthy=settings.failover.max_unhealthy,
            max_deleted=settings.failover.max_deleted,
            displaced_budget=settings.failover.displaced_budget_mb * 1_000_000,
            timings=_timings(settings),
            observe_scan=settings.observe.scan,
            guard=_guard(settings),
            fence_hash=fence_hash(fences),
        )
        channels = self._channels()
        hours = self._hours()
        kubeconfig = self._kubeconfig()
        record = self._record()
        self._listen()
        self._durations()
        self._patterns()
        problems = [*self.problems, *builder.problems, *apps.problems, *self.secrets.problems]
        if problems:
            raise ConfigError(problems)
        return Config(
            path=self.path,
            settings=settings,
            rules=rules,
            fences=fences,
            channels=channels,
            hours=hours,
            instance=settings.instance.name or socket.gethostname(),
            kubeconfig=kubeconfig,
            record=record,
            hash=_hash(settings),
            notes=tuple(unwise.notes(settings, rules, self.origin)),
            warnings=tuple(unwise.warnings(settings, rules, self.origin)),
            unseen=tuple(in_order(self.secrets.unseen)),
        )

    def _pairs(self, fenced: frozenset[str]) -> tuple[Pair, ...]:
        sites, tables = self.settings.sites, self.settings.pairs
        if sites and tables:
            self._say(("pairs",), "there is [sites] as well; keep one of the two")
        if not sites and not tables:
            self._say(("sites",), "is missing: write [sites.primary] and [sites.backup], each with a node")
        found: dict[str, Pair] = {}
        if sites:
            self._names(("sites",), sites)
            found[ONLY_PAIR] = Pair(
                name=ONLY_PAIR, primary=_place(sites.primary, fenced), backup=_place(sites.backup, fenced)
            )
            self._two_nodes(found[ONLY_PAIR], ("sites", "backup", "node"))
        for index, table in enumerate(tables):
            if table.name in found:
                self._say(("pairs", index, "name"), f'there are two pairs called "{table.name}"')
                continue
            self._names(("pairs", index), table)
            found[table.name] = Pair(
                name=table.name, primary=_place(table.primary, fenced), backup=_place(table.backup, fenced)
            )
            self._two_nodes(found[table.name], ("pairs", index, "backup", "node"))
        return tuple(found.values())

    def _names(self, path: Path, table: SitesTable | PairTable) -> None:
        """Whether Kubernetes can have such nodes and labels."""
        for site in Site:
            place: SiteTable = getattr(table, site)
            self._node((*path, site.value, "node"), place.node)
            for key, value in place.node_selector.items():
                if wrong := no_label(key, value):
                    self._say((*path, site.value, "node_selector", key), wrong)

    def _node(self, path: Path, name: str) -> None:
        if wrong := no_name(name):
            self._say(path, wrong)

    def _two_nodes(self, pair: Pair, path: Path) -> None:
        if pair.primary.node == pair.backup.node:
            self._say(path, f'"{pair.backup.node}" is the primary as well; a pair needs two nodes')

    def _witnesses(self, pairs: tuple[Pair, ...]) -> tuple[tuple[str, str], ...]:
        domains: dict[str, str] = {}
        for pair in pairs:
            for place in (pair.primary, pair.backup):
                if domains.setdefault(place.node, place.domain) != place.domain:
                    self._say(
                        ("pairs",),
                        f'node "{place.node}" is in domain "{domains[place.node]}" and in "{place.domain}"; '
                        "write the same domain everywhere",
                    )
        for index, table in enumerate(self.settings.witness):
            path: Path = ("witness", index)
            self._node((*path, "node"), table.node)
            if table.node in domains:
                self._say((*path, "node"), f'"{table.node}" is listed already; nodes of pairs witness by themselves')
                continue
            domains[table.node] = table.domain or table.node
        return tuple(domains.items())

    def _known_nodes(self, pairs: tuple[Pair, ...]) -> None:
        nodes = dict.fromkeys(place.node for pair in pairs for place in (pair.primary, pair.backup))
        for index, table in enumerate(self.settings.fencing):
            if nodes and table.node not in nodes:
                self._say(
                    ("fencing", index, "node"),
                    f'no site has the node "{table.node}"{suggestion(table.node, nodes)}',
                )

    def _channels(self) -> tuple[Channel, ...]:
        channels: dict[str, Channel] = {}
        for index, table in enumerate(self.settings.notify):
            path: Path = ("notify", index)
            channel = self._channel(path, table, table.name or f"{table.type}-{index + 1}")
            if channel.name in channels:
                self._say((*path, "name"), f'there are two channels called "{channel.name}"')
            channels[channel.name] = channel
        return tuple(channels.values())

    def _channel(self, path: Path, table: NotifyTable, name: str) -> Channel:
        url = self.secrets.read(table, path, "url", needed=True)
        wrong = misfit(table.type, url) if url else ""
        if wrong:
            where, what = self.secrets.origin_of(table, path, "url")
            self._say(where, f"{what}{wrong}")
        for field, kind in (("token", ChannelType.NTFY), ("secret", ChannelType.WEBHOOK)):
            given = [name for name in (field, f"{field}_file") if getattr(table, name)]
            if given and table.type is not kind:
                self._say((*path, given[0]), f'is for type "{kind}"; "{table.type}" has no use for it')
        signed = table.type is ChannelType.WEBHOOK
        return Channel(
            name=name,
            type=table.type,
            url=url,
            token=self.secrets.read(table, path, "token", needed=False),
            secret=self.secrets.read(table, path, "secret", needed=signed),
            level=table.level,
        )

    def _hours(self) -> Hours:
        hours = Hours(zone=zone("UTC"))
        try:
            hours = replace(hours, windows=windows(self.settings.failback.hours))
        except ValueError as error:
            self._say(("failback", "hours"), str(error))
        try:
            hours = replace(hours, zone=zone(self.settings.failback.timezone))
        except ValueError as error:
            self._say(("failback", "timezone"), str(error))
        return hours

    def _own_domain(self, domains: Mapping[str, str]) -> str:
        instance = self.settings.instance
        if instance.node:
            self._node(("instance", "node"), instance.node)
        return instance.domain or (domains.get(instance.node, instance.node) if instance.node else "")

    def _kubeconfig(self) -> FilePath | None:
        given = self.settings.kubernetes.kubeconfig
        if given:
            return self.secrets.existing(("kubernetes", "kubeconfig"), given)
        return usual_kubeconfig(self.origin.environ)

    def _record(self) -> FilePath | None:
        if not self.settings.record.folder:
            return None
        folder = self.path.parent / FilePath(self.settings.record.folder).expanduser()
        path = ("record", "folder")
        if self.secrets.look(path, folder):
            if not folder.is_dir():
                self.secrets.missing(path, f"there is no folder {folder}; make it, or leave the key out")
            elif not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
                text = f"cannot write into {folder}; let the daemon's user, or name another"
                self.secrets.missing(path, text)
        return folder

    def _kured(self) -> str:
        kured = self.settings.planned.kured
        if kured and (wrong := no_reference(kured)):
            self._say(("planned", "kured"), wrong)
        return kured if "/" in kured or not kured else f"{KURED_NAMESPACE}/{kured}"

    def _listen(self) -> None:
        listen = self.settings.web.listen
        match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+):(\d{1,5})", listen, re.ASCII)
        if listen and (match is None or int(match[2]) > 65535):
            self._say(("web", "listen"), f'"{listen}" is not an address and port, as in "127.0.0.1:8484"')

    def _gathered(self) -> None:
        """Files that are told apart by their folders alone cannot be found in one folder."""
        taken: dict[str, str] = {}
        tables = [("fencing", self.settings.fencing), ("notify", self.settings.notify)]
        for name, listed in tables if self.files.gathered else ():
            for index, table in enumerate(listed):
                for key in [key for key in type(table).model_fields if key.endswith("_file")]:
                    file = getattr(table, key)
                    other = taken.setdefault(FilePath(file).name, file) if file else file
                    if other != file:
                        text = f"{file} and {other} would be the same file in {self.files.gathered}; rename one"
                        self._say((name, index, key), text)

    def _durations(self) -> None:
        for violation in timing.check(self.settings):
            at = self.origin.first(violation.key, *violation.others)
            where = self.origin.where(at)
            self.problems.append(
                Problem(where=where, key=self.origin.problem(violation.key, "").key, text=violation.text)
            )

    def _patterns(self) -> None:
        texts = self.settings.guard.files
        for number, text in enumerate(texts):
            if why := patterns.trouble(text):
                self._say(("guard", "files", number), why)
            elif text in texts[:number]:
                self._say(("guard", "files", number), f'"{text}" is there twice')

    def _say(self, path: Path, text: str) -> None:
        self.problems.append(self.origin.problem(path, text))


def _place(table: SiteTable, fenced: frozenset[str]) -> Place:
    return Place(
        node=table.node,
        selector=tuple(sorted(table.node_selector.items())),
        domain=table.domain or table.node,
        fence=table.node if table.node in fenced else "",
    )


def _timings(settings: Settings) -> Timings:
    failover, timings = settings.failover, settings.timings
    return Timings(
        tick=timings.tick,
        failure_threshold=failover.failure_threshold,
        success_threshold=failover.success_threshold,
        proof_after=failover.proof_after,
        silence_after=failover.silence_after,
        up_after=failover.up_after,
        witness_within=failover.witness_within,
        reading_max_age=timings.reading_max_age,
        scan_interval=timings.scan_interval,
        barrier_timeout=timings.barrier_timeout,
        ready_timeout=timings.ready_timeout,
        fence_timeout=timings.fence_timeout,
        stable_for=settings.failback.stable_for,
        cooldown=failover.cooldown,
        max_moves=failover.max_moves.count,
        max_moves_per=failover.max_moves.per,
        quiet_for=timings.quiet_for,
        monitor_for=timings.monitor_for,
        patience=settings.planned.patience,
        unfit_after=timings.unfit_after,
        save_proofs_every=timings.save_proofs_every,
    )


def _guard(settings: Settings) -> Guarding | None:
    table = settings.guard
    if not table.enabled:
        return None
    return Guarding(
        interval=table.interval,
        keep=table.keep,
        keep_for=table.keep_for,
        share=table.share,
        io_share=table.io_share,
        files=table.files,
    )


def _hash(settings: Settings) -> str:
    """Of everything but what belongs to one instance, and secrets and the paths of files."""
    shown = settings.model_dump(mode="json", exclude=set(_OWN))
    shown["kubernetes"].pop("kubeconfig")
    for table in (*shown["fencing"], *shown["notify"]):
        for key in [key for key in table if key.endswith("_file") or key in ("token", "secret")]:
            table.pop(key)
    for table in shown["notify"]:
        table.pop("url")
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:16]
