"""What this package asks of the API server, as data: each module lists its `NEEDS`, this file expands them.

The shipped Roles and the printed ones are compared with these tables; a request that is in no table is a bug.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from failoverd.core.rules import App, ApplierKind, Rules, Site, WorkloadKind


class Where(StrEnum):
    """Which namespaces a need is about."""

    CLUSTER = "cluster"
    NODE_LEASES = "kube-node-lease"
    APPS = "every app's namespace"
    OWN = "the daemon's namespace"
    RELEASES = "every namespace of an app's HelmRelease"
    APPLICATIONS = "every namespace of an app's Argo CD Application"
    KURED = "the namespace of kured"


_APPLIED = {Where.RELEASES: ApplierKind.HELM_RELEASE, Where.APPLICATIONS: ApplierKind.APPLICATION}


class Named(StrEnum):
    """Which objects of a namespace a need is limited to, where the API allows a limit by name."""

    ANY = "any"
    DEPLOYMENTS = "deployments"
    STATEFULSETS = "statefulsets"
    SOURCE_SECRETS = "secrets of the sources"
    SOURCE_SERVICES = "services of the sources"
    APPLIERS = "what the apps are applied from"
    OUT_OF_SERVICE = "nodes that may be given the taint out-of-service"
    KURED = "kured's DaemonSet"
    SOURCE_PROXIES = "services of the sources, through the API server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Verbs on one resource. `fixed` names objects of ours; otherwise `named` derives names from the apps."""

    where: Where
    group: str
    resource: str
    verbs: tuple[str, ...]
    named: Named = Named.ANY
    fixed: tuple[str, ...] = ()
    kind: WorkloadKind | None = None
    """Needed only in namespaces that have an app of this kind."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Grant:
    """One rule of one Role; `namespace` is empty for a ClusterRole, `names` for all objects."""

    namespace: str
    group: str
    resource: str
    names: tuple[str, ...] = ()
    verbs: tuple[str, ...]


def expand(needs: Iterable[Need], rules: Rules, own: str) -> tuple[Grant, ...]:
    """The grants that cover `needs` for the configured apps and the daemon's namespace `own`, sorted."""
    merged: dict[tuple[str, str, str, tuple[str, ...]], set[str]] = {}
    for need in needs:
        for namespace, apps in _spaces(need, rules, own):
            names = need.fixed or _of_rules(need.named, rules) or _names(need.named, apps)
            if need.named is not Named.ANY and not names:
                continue
            key = (namespace, need.group, need.resource, names)
            merged.setdefault(key, set()).update(need.verbs)
    return tuple(
        sorted(
            Grant(namespace=ns, group=group, resource=resource, names=names, verbs=tuple(sorted(verbs)))
            for (ns, group, resource, names), verbs in merged.items()
        )
    )


def _of_rules(named: Named, rules: Rules) -> tuple[str, ...]:
    """Names that are no app's."""
    kured = (rules.kured.partition("/")[2],) if rules.kured else ()
    return {Named.OUT_OF_SERVICE: rules.out_of_service, Named.KURED: kured}.get(named, ())


def _spaces(need: Need, rules: Rules, own: str) -> list[tuple[str, tuple[App, ...]]]:
    if need.where is Where.CLUSTER:
        return [("", rules.apps)]
    if need.where is Where.NODE_LEASES:
        return [(str(Where.NODE_LEASES), ())]
    if need.where is Where.OWN:
        return [(own, ())]
    if need.where is Where.KURED:
        return [(rules.kured.partition("/")[0], ())] if rules.kured else []
    if need.where in _APPLIED:
        applied = [
            (app, app.applier) for app in rules.apps if app.applier and app.applier.kind is _APPLIED[need.where]
        ]
        named = sorted({applier.namespace for _, applier in applied})
        return [(space, tuple(app for app, one in applied if one.namespace == space)) for space in named]
    spaces = []
    for namespace in sorted({app.namespace for app in rules.apps}):
        apps = tuple(app for app in rules.apps if app.namespace == namespace)
        if need.kind is None or any(app.kind is need.kind for app in apps):
            spaces.append((namespace, apps))
    return spaces


def _names(named: Named, apps: tuple[App, ...]) -> tuple[str, ...]:
    names: set[str] = set()
    match named:
        case Named.ANY | Named.OUT_OF_SERVICE | Named.KURED:
            pass
        case Named.DEPLOYMENTS:
            names = {app.name for app in apps if app.kind is WorkloadKind.DEPLOYMENT}
        case Named.STATEFULSETS:
            names = {app.name for app in apps if app.kind is WorkloadKind.STATEFULSET}
        case Named.APPLIERS:
            names = {app.applier.last for app in apps if app.applier}
        case Named.SOURCE_SECRETS:
            names = {f"volsync-{source}" for source in sources(apps)}
        case Named.SOURCE_SERVICES:
            names = {f"volsync-{source}-api" for source in sources(apps)}
        case Named.SOURCE_PROXIES:
            names = {f"https:volsync-{source}-api:8384" for source in sources(apps)}
    return tuple(sorted(names))


def sources(apps: Iterable[App]) -> tuple[str, ...]:
    """The ReplicationSources of `apps`, each once, sorted."""
    return tuple(sorted({volume.copy(site).source for app in apps for volume in app.volumes for site in Site}))
