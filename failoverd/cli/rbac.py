"""`failoverd config rbac`: Roles for the configured apps, from what the Kubernetes adapter says it asks for."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from failoverd.adapters import kubernetes
from failoverd.adapters.kubernetes.commands import OPERATOR_NEEDS
from failoverd.adapters.kubernetes.rbac import Grant, Need, expand
from failoverd.core.rules import Rules

DAEMON = "failoverd"
OPERATOR = "failoverd-operator"


def daemon_needs() -> tuple[Need, ...]:
    """What the daemon asks for: the tables of every module of the adapter, so that none can be forgotten."""
    found: list[Need] = []
    for module in pkgutil.iter_modules(kubernetes.__path__, f"{kubernetes.__name__}."):
        found += getattr(importlib.import_module(module.name), "NEEDS", ())
    return tuple(found)


def manifest(rules: Rules, namespace: str, users: Sequence[str]) -> str:
    """All Roles and bindings as YAML: the daemon's to its ServiceAccount, the operator's to `users`."""
    account = f"- kind: ServiceAccount\n  name: {DAEMON}\n  namespace: {namespace}\n"
    parts = [f"apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {DAEMON}\n  namespace: {namespace}\n"]
    parts += _roles(DAEMON, expand(daemon_needs(), rules, namespace), account)
    people = "".join(
        f"- apiGroup: rbac.authorization.k8s.io\n  kind: User\n  name: {_quoted(user)}\n" for user in users
    )
    parts += _roles(OPERATOR, expand(OPERATOR_NEEDS, rules, namespace), people)
    return "---\n".join(parts)


def _roles(name: str, grants: Iterable[Grant], subjects: str) -> Iterator[str]:
    for namespace, group in groupby(grants, lambda grant: grant.namespace):
        kind = "Role" if namespace else "ClusterRole"
        where = f"  namespace: {namespace}\n" if namespace else ""
        head = f"metadata:\n  name: {name}\n{where}"
        rules = "".join(_rule(grant) for grant in group)
        yield f"apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\n{head}rules:\n{rules}"
        if subjects:
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
