"""What falls silent together with an app's home: found out during the outage it is too late."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from failoverd.core.rules import Rules

CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
"""Labels of a node that runs the control plane; the second one up to Kubernetes 1.24."""


def with_control_plane(rules: Rules, planes: Collection[str]) -> Iterator[str]:
    """One line for each failure domain that takes the control plane (or its majority) and the home of apps with it.

    `planes` are the nodes that run the control plane. Nodes that nobody described are domains of their own.
    """
    homes: dict[str, set[str]] = {}
    for app in rules.apps:
        place = rules.place(app, app.preferred)
        homes.setdefault(rules.domain(place.node), set()).add(place.node)
    for domain, nodes in homes.items():
        inside = sorted(name for name in planes if rules.domain(name) == domain)
        if inside and len(planes) - len(inside) < len(planes) // 2 + 1:
            yield (
                f"the control plane ({', '.join(inside)}) is in the failure domain {domain} of "
                f"{', '.join(sorted(nodes))}: "
                "when that fails as a whole nothing can be moved, and once it is back everything is watched from zero"
            )
