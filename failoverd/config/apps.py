"""Apps and their volumes, with the naming conventions applied."""

from __future__ import annotations

import string
from collections.abc import Iterator

from failoverd.config.address import is_http
from failoverd.config.locate import Path
from failoverd.config.names import is_name, no_name, no_reference
from failoverd.config.problems import Origin, Problem, dotted, suggestion
from failoverd.config.settings import AppTable, ConventionsTable, Settings, VolumeTable
from failoverd.core.rules import App, Applier, ApplierKind, Copy, Pair, Site, Volume

ONLY_VOLUME = "data"
"""What the one volume of an app is called that lists none."""
ARGO_NAMESPACE = "argocd"
"""Where Argo CD's own manifests put it, and Applications that name no other namespace."""
_FIELDS = ("namespace", "app", "volume")


class Apps:
    """Builds every App; what is wrong goes to `problems`."""

    def __init__(self, settings: Settings, origin: Origin, pairs: tuple[Pair, ...]) -> None:
        self.settings = settings
        self.origin = origin
        self.pairs = {pair.name: pair for pair in pairs}
        self.problems: list[Problem] = []
        self._taken: dict[tuple[str, str, str], Path] = {}

    def build(self) -> tuple[App, ...]:
        """The apps, in the order they were written; those with problems may be missing."""
        if not self._templates_work():
            return ()
        seen: dict[str, Path] = {}
        apps: list[App] = []
        for index, table in enumerate(self.settings.apps):
            path: Path = ("apps", index)
            key = f"{table.namespace}/{table.name}"
            if key in seen:
                self._say((*path, "name"), f"{key} is configured twice; the first is {self._place(seen[key])}")
                continue
            seen[key] = path
            named = [self._check_name((*path, field), getattr(table, field)) for field in ("name", "namespace")]
            if all(named):
                apps.append(self._app(path, key, table))
        if not self.settings.apps:
            self._say(("apps",), "no app to look after; add an [[apps]] table with name and namespace")
        return tuple(apps)

    def _app(self, path: Path, key: str, table: AppTable) -> App:
        failover, failback = self.settings.failover, self.settings.failback
        if table.verify_url and not is_http(table.verify_url):
            example = f'write it as "http://{table.name}.{table.namespace}.svc/ping"'
            self._say((*path, "verify_url"), f'"{table.verify_url}" is not an address; {example}')
        max_age = failover.max_data_age if table.max_data_age is None else table.max_data_age
        return App(
            key=key,
            namespace=table.namespace,
            name=table.name,
            kind=table.kind,
            pair=self._pair(path, table),
            volumes=tuple(self._volumes(path, table)),
            preferred=table.preferred,
            require=table.require or failover.require,
            max_data_age=max_age,
            place=table.place or failover.place,
            failback=table.failback or failback.policy,
            priority=table.priority,
            verify_url=table.verify_url,
            applier=self._applier(path, table),
        )

    def _applier(self, path: Path, table: AppTable) -> Applier | None:
        if table.helm_release and table.argo_application:
            self._say((*path, "argo_application"), "helm_release is set as well: name the one that owns the workload")
        for kind, field, usual in (
            (ApplierKind.HELM_RELEASE, "helm_release", table.namespace),
            (ApplierKind.APPLICATION, "argo_application", ARGO_NAMESPACE),
        ):
            text = getattr(table, field)
            wrong = no_reference(text) if text else ""
            if wrong:
                self._say((*path, field), wrong)
            elif text:
                return Applier(kind=kind, name=text if "/" in text else f"{usual}/{text}")
        return None

    def _pair(self, path: Path, table: AppTable) -> str:
        if table.pair and table.pair not in self.pairs:
            self._say((*path, "pair"), f'no pair is called "{table.pair}"{suggestion(table.pair, self.pairs)}')
        elif not table.pair and len(self.pairs) > 1:
            self._say((*path, "pair"), f"is missing: there are {len(self.pairs)} pairs{suggestion('', self.pairs)}")
        elif not table.pair:
            return next(iter(self.pairs), "")
        return table.pair

    def _volumes(self, path: Path, table: AppTable) -> Iterator[Volume]:
        names: set[str] = set()
        for index, volume in enumerate(table.volumes or (VolumeTable(name=ONLY_VOLUME),)):
            here: Path = (*path, "volumes", index) if table.volumes else path
            if volume.name in names:
                self._say((*here, "name"), f'the app lists the volume "{volume.name}" twice')
                continue
            names.add(volume.name)
            bad = [name for name in self._by_convention(table, volume) if not is_name(name)]
            if bad and table.volumes and not is_name(volume.name):
                text = f'{no_name(volume.name)}; claims and sources are named after it, as in "{bad[0]}"'
                self._say((*here, "name"), text)
                continue
            copies = {
                site: Copy(
                    claim=self._named(here, table, volume, f"claim_{site}"),
                    source=self._named(here, table, volume, f"source_{site}"),
                )
                for site in Site
            }
            yield Volume(name=volume.name, primary=copies[Site.PRIMARY], backup=copies[Site.BACKUP])

    def _named(self, here: Path, table: AppTable, volume: VolumeTable, field: str) -> str:
        """The claim or source: as written, else by convention; each belongs to one copy only."""
        name = str(getattr(volume, field)) or self._conventional(table, volume, field)
        path = (*here, field) if table.volumes else here
        self._check_name(path, name)
        kind = field.partition("_")[0]
        taken = self._taken.setdefault((kind, table.namespace, name), path)
        if taken is not path:
            thing = "claim" if kind == "claim" else "ReplicationSource"
            self._say(
                path,
                f'the {thing} "{name}" of namespace {table.namespace} is also {dotted(taken)}'
                f" ({self._place(taken)}); every copy needs its own",
            )
        return name

    def _conventional(self, table: AppTable, volume: VolumeTable, field: str) -> str:
        template = getattr(self.settings.conventions, f"volume_{field}" if table.volumes else field)
        return str(template.format(namespace=table.namespace, app=table.name, volume=volume.name))

    def _by_convention(self, table: AppTable, volume: VolumeTable) -> Iterator[str]:
        """The names of a volume's claims and sources that nobody has written."""
        for field in [f"{kind}_{site}" for kind in ("claim", "source") for site in Site]:
            if not getattr(volume, field):
                yield self._conventional(table, volume, field)

    def _templates_work(self) -> bool:
        before = len(self.problems)
        for field in ConventionsTable.model_fields:
            template = getattr(self.settings.conventions, field)
            known = _FIELDS if field.startswith("volume_") else _FIELDS[:2]
            try:
                used = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
            except ValueError as error:
                self._say(("conventions", field), f'"{template}" is not a template: {error}')
                continue
            for name in used:
                if name not in known:
                    self._say(("conventions", field), f'unknown placeholder "{{{name}}}"{suggestion(name, known)}')
            if "app" not in used:
                self._say(("conventions", field), "must contain {app}: apps may not share a claim")
            if field.startswith("volume_") and "volume" not in used:
                self._say(("conventions", field), "must contain {volume}: volumes may not share a claim")
        return len(self.problems) == before

    def _check_name(self, path: Path, name: str) -> bool:
        wrong = no_name(name)
        if wrong:
            self._say(path, wrong)
        return not wrong

    def _place(self, path: Path) -> str:
        return f"at {self.origin.where(path)}"

    def _say(self, path: Path, text: str) -> None:
        self.problems.append(self.origin.problem(path, text))
