"""`failoverd config rbac`: Roles for the configured apps, from what the adapters say they ask for."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from failoverd.adapters import kubernetes
from failoverd.adapters.kubernetes import displaced, guards
from failoverd.adapters.kubernetes.commands import OPERATOR_NEEDS, READER_NEEDS
from failoverd.adapters.kubernetes.rbac import Grant, Need, expand
from failoverd.adapters.syncthing import access
from failoverd.config import Config
from failoverd.config.edges import Via
from failoverd.core.rules import Site

HEAD = "# Printed by `failoverd config rbac` for the apps of one configuration: print it anew when these change.\n"
GUARD_HEAD = HEAD.replace("rbac`", "rbac --guard`")
DAEMON = "failoverd"
OPERATOR = "failoverd-operator"
READER = "failoverd-displaced"
"""Who lists displaced files. A Role of its own: the Secrets it may read open every mover of the apps."""
GUARD = "failoverd-guard"


WAYS = {Via.DIRECT: (True,), Via.PROXY: (False,), Via.AUTO: (True, False)}
"""`auto` is direct in the cluster and the proxy outside, and one Role serves the instances of both."""


def daemon_needs(config: Config) -> tuple[Need, ...]:
    """What the daemon asks for: the tables of every module of the adapter, so that none can be forgotten."""
    found: list[Need] = []
    for module in pkgutil.iter_modules(kubernetes.__path__, f"{kubernetes.__name__}."):
        found += getattr(importlib.import_module(module.name), "NEEDS", ())
    found += guards.daemon_needs(config.rules) + displaced.needs(config.rules)
    for direct in WAYS[config.settings.syncthing.via]:
        found += access.needs(direct=direct)
    return tuple(found)


def daemon_grants(config: Config) -> tuple[Grant, ...]:
    """The daemon's rules for the configured apps."""
    return expand(daemon_needs(config), config.rules, config.settings.kubernetes.namespace)


def operator_grants(config: Config) -> tuple[Grant, ...]:
    """The rules of somebody who commands by the CLI."""
    return expand(OPERATOR_NEEDS, config.rules, config.settings.kubernetes.namespace)


def reader_grants(config: Config) -> tuple[Grant, ...]:
    """The rules of somebody who lists what was displaced: from a workstation, so through the API server."""
    needs = (*READER_NEEDS, *displaced.reader_needs(config.rules), *access.reader_needs())
    return expand(needs, config.rules, config.settings.kubernetes.namespace)


def guard_grants(config: Config, namespace: str, site: Site) -> tuple[Grant, ...]:
    """The rules of the guard at `site` of the apps in `namespace`: its own objects, by name."""
    fixed = guards.objects(config.rules.apps, namespace, site)
    return expand(guards.needs(fixed), config.rules, config.settings.kubernetes.namespace)


def guard_manifest(config: Config) -> str:
    """A ServiceAccount for each site in each of the apps' namespaces, and its Role beside the daemon, as YAML."""
    parts = []
    for namespace in sorted({app.namespace for app in config.rules.apps}):
        for site in Site:
            account = f"{GUARD}-{site}"
            parts.append(_account(account, namespace))
            # Roles of several namespaces stand side by side in the daemon's.
            role = f"{GUARD}-{namespace}-{site}"
            parts += _roles(role, guard_grants(config, namespace, site), _subject(account, namespace))
    return GUARD_HEAD + "---\n".join(parts)


def manifest(config: Config, users: Sequence[str]) -> str:
    """ServiceAccounts, Roles and bindings as YAML: the daemon's, then two of operators, which `users` get too."""
    namespace = config.settings.kubernetes.namespace
    parts = [_account(DAEMON, namespace)]
    parts += _roles(DAEMON, daemon_grants(config), _subject(DAEMON, namespace))
    people = "".join(
        f"- apiGroup: rbac.authorization.k8s.io\n  kind: User\n  name: {_quoted(user)}\n" for user in users
    )
    parts.append(_account(OPERATOR, namespace))
    parts += _roles(OPERATOR, operator_grants(config), _subject(OPERATOR, namespace) + people)
    parts.append(_account(READER, namespace))
    parts += _roles(READER, reader_grants(config), _subject(READER, namespace) + people)
    return HEAD + "---\n".join(parts)


def _account(name: str, namespace: str) -> str:
    # Pods say themselves whether they want the token.
    return (
        f"apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {name}\n  namespace: {namespace}\n"
        "automountServiceAccountToken: false\n"
    )


def _subject(name: str, namespace: str) -> str:
    return f"- kind: ServiceAccount\n  name: {name}\n  namespace: {namespace}\n"


def _roles(name: str, grants: Iterable[Grant], subjects: str) -> Iterator[str]:
    for namespace, group in groupby(grants, lambda grant: grant.namespace):
        kind = "Role" if namespace else "ClusterRole"
        where = f"  namespace: {namespace}\n" if namespace else ""
        head = f"metadata:\n  name: {name}\n{where}"
        rules = "".join(_rule(grant) for grant in group)
        yield f"apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\n{head}rules:\n{rules}"
        yield (
            f"apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}Binding\n{head}"
            f"roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {kind}\n  name: {name}\n"
            f"subjects:\n{subjects}"
        )


def _rule(grant: Grant) -> str:
    lines = [
        f"- apiGroups: [{_quoted(grant.group)}]",
        f"  resources: [{grant.resource}]",
        f"  verbs: [{', '.join(grant.verbs)}]",
    ]
    if grant.names:
        lines.append(f"  resourceNames: [{', '.join(_quoted(name) for name in grant.names)}]")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
