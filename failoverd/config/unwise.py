"""What works, but hardly as meant (notes), and what works and may cost dearly (warnings). Neither is refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from failoverd.config.edges import FenceType
from failoverd.config.locate import Path
from failoverd.config.problems import Origin, Problem
from failoverd.config.settings import Settings
from failoverd.core.rules import App, FenceWhen, Mode, Placing, Require, Rules

REMEDY = 'add a [[fencing]] for {node}, or set require = "silence", at the price that docs/fencing.md names'
"""What lets an app leave a node of which nothing proves that it is dead."""


def notes(settings: Settings, rules: Rules, origin: Origin) -> Iterator[Problem]:
    """What is probably not what was meant, or not known."""
    if rules.mode is Mode.ACTIVE:
        yield origin.problem(("mode",), rules.experimental.removeprefix("mode "))
    for app in _paired(rules):
        node = rules.place(app, app.preferred).node
        if app.require is Require.PROOF and not rules.fence(node):
            text = f"{app.key} moves by proof only, but no [[fencing]] is for {node}: it can never fail over"
            text += f"; {REMEDY.format(node=node)}"
            yield origin.problem(("apps",), text)
    yield from _unprovable(settings, rules, origin)
    yield from _unplaced(settings, origin)
    seen = len({domain for _, domain in rules.witnesses} - {rules.own_domain})
    if seen < 2:
        text = (
            f"{'only one' if seen else 'no'} failure domain can be seen beside our own: silence will have no witness"
        )
        yield origin.problem(("witness",), text)


def _unplaced(settings: Settings, origin: Origin) -> Iterator[Problem]:
    """Without guards nothing is placed, whatever is said of it."""
    if settings.guard.enabled:
        return
    asked: list[Path] = [("failover", "place")] if settings.failover.place is Placing.LIVE else []
    asked += [("apps", index, "place") for index, table in enumerate(settings.apps) if table.place is Placing.LIVE]
    for path in asked:
        yield origin.problem(
            path, '"live" changes nothing without guards ([guard] enabled = true): nothing is placed'
        )


def _unprovable(settings: Settings, rules: Rules, origin: Origin) -> Iterator[Problem]:
    """Apps that stay when what proves their node's death dies with it; a program of one's own may live elsewhere."""
    for index, table in enumerate(settings.fencing):
        if table.type is FenceType.COMMAND:
            continue
        bound = [
            app.key
            for app in _paired(rules)
            if app.require is Require.PROOF
            and table.node in (rules.place(app, app.preferred).node, rules.place(app, app.preferred.other).node)
        ]
        if bound:
            host = table.guest.partition("/")[0] or "its Docker host"
            text = (
                f"{host} proves the death of {table.node}, and only while it lives: when it dies with the node, "
                f"{_listed(bound)} cannot fail over by {_one(bound, 'itself', 'themselves')}; "
                f'require = "silence" lets {_one(bound, "it", "them")}, at the price that '
                'docs/fencing.md names, and so does a fence of type "command" that outlives the host'
            )
            yield origin.problem(("fencing", index), text)


def warnings(settings: Settings, rules: Rules, origin: Origin) -> Iterator[Problem]:
    """Where data may be lost, or where nobody is left to act."""
    yield from _left_by_silence(settings, rules, origin)
    yield from _impatient(rules, origin)
    own = settings.instance.node
    home = [app.key for app in _paired(rules) if own and rules.place(app, app.preferred).node == own]
    if home:
        text = (
            f"this instance runs on {own}, the home of {_listed(home)}, and dies with it: another one must run "
            "elsewhere, so name the node in the nodeAffinity of deployment.yaml"
        )
        yield origin.problem(("instance", "node"), text)


def _impatient(rules: Rules, origin: Origin) -> Iterator[Problem]:
    """Until a silent node is fenced it may write on, and the age of its apps' data grows meanwhile."""
    limit = rules.timings.patience
    late = [
        app.key
        for app in _paired(rules)
        if limit >= app.max_data_age and rules.fence(rules.place(app, app.preferred).node)
    ]
    if late:
        text = (
            f"waits for {limit.total_seconds():.0f} s, by when data of {_listed(late)} may be older than "
            f"{_one(late, 'its', 'their')} max_data_age: a node that falls silent in planned work, and is not off, "
            "is then left by force only"
        )
        yield origin.problem(("planned", "patience"), text)


def _left_by_silence(settings: Settings, rules: Rules, origin: Origin) -> Iterator[Problem]:
    """Both sites of a pair count, for an app may be at either."""
    never = rules.fence_when is FenceWhen.NEVER
    leaving: dict[tuple[Path, str], list[str]] = {}
    for app in _paired(rules):
        if app.require is not Require.SILENCE:
            continue
        key = _required_by(settings, app)
        for site in (app.preferred, app.preferred.other):
            node = rules.place(app, site).node
            if never or not rules.fence(node):
                leaving.setdefault((key, node), []).append(app.key)
    for (key, node), apps in leaving.items():
        why = f"{node}'s fence is never used (failover.fence_when)" if rules.fence(node) else f"{node} has no fence"
        text = (
            f'"silence" lets {_listed(apps)} leave {node} unproven, and {why}: a pod there that is only cut off goes '
            "on writing to its own copy, and no figure can bound what the live copy then lacks; "
            f'write "proof", or have {node} fenced'
        )
        yield origin.problem(key, text)


def _paired(rules: Rules) -> Iterable[App]:
    """Apps of a pair that exists: the others are refused anyway."""
    known = [pair.name for pair in rules.pairs]
    return (app for app in rules.apps if app.pair in known)


def _required_by(settings: Settings, app: App) -> Path:
    """The key that says `silence` for `app`."""
    for index, table in enumerate(settings.apps):
        if table.require is not None and f"{table.namespace}/{table.name}" == app.key:
            return ("apps", index, "require")
    return ("failover", "require")


def _one(apps: list[str], one: str, several: str) -> str:
    return one if len(apps) == 1 else several


def _listed(apps: list[str]) -> str:
    """The first three: with many apps the line is about the node."""
    return ", ".join(apps[:3]) + (f" and {len(apps) - 3} more" if len(apps) > 3 else "")
