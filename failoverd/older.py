"""What recordings of earlier versions call by other names, told in today's. Pure, on JSON data.

Before there were Argo CD Applications an app had its HelmRelease only: `helm_release`, `Release` and `PatchRelease`
became `applier`, `ApplierReading` and `PatchApplier`. Only what was renamed is made anew: all else stays shared.
"""

from __future__ import annotations

from failoverd.codec import TAG, Tree
from failoverd.core.rules import ApplierKind

_HELM = ApplierKind.HELM_RELEASE.value


def is_older(rules: Tree) -> bool:
    """Whether recorded rules, and so the whole recording, name a HelmRelease as versions before appliers did."""
    apps = rules.get("apps") if isinstance(rules, dict) else None
    return isinstance(apps, list) and any(isinstance(app, dict) and "helm_release" in app for app in apps)


def rules(tree: Tree) -> Tree:
    """Recorded rules that are older."""
    return {**tree, "apps": [_renamed(app, helm_release=("applier", _applier)) for app in tree["apps"]]}


def snapshot(tree: Tree) -> Tree:
    """A snapshot of an older recording."""
    seen = {key: _renamed(one, release=("applier", _reading)) for key, one in tree["workloads"].items()}
    receipts = [{**one, "action": _act(one["action"])} for one in tree["receipts"]]
    return {**tree, "workloads": seen, "receipts": receipts}


def answer(tree: Tree) -> Tree:
    """A decision of an older recording."""
    return {**tree, "actions": [_act(act) for act in tree["actions"]]}


def _act(tree: Tree) -> Tree:
    older = isinstance(tree, dict) and tree.get(TAG) == "PatchRelease"
    return {**_renamed(tree, release=("applier", _applier)), TAG: "PatchApplier"} if older else tree


def _renamed(tree: Tree, **names: tuple[str, object]) -> Tree:
    found = {}
    for key, part in tree.items():
        name, made = names.get(key, (key, None))
        found[name] = made(part) if callable(made) else part
    return found


def _applier(name: Tree) -> Tree:
    return {"kind": _HELM, "name": name} if name else None


def _reading(tree: Tree) -> Tree:
    """A HelmRelease as it was read; one that could not be is told as ever."""
    if tree is None or tree.get(TAG) != "Release":
        return tree
    found = _renamed(tree, suspend=("switch", _switch), ours=("ours", _suspension))
    return {**found, TAG: "ApplierReading", "kind": _HELM, "hold": "disabled" if tree.get("held") else None}


def _suspension(tree: Tree) -> Tree:
    return tree and {**_renamed(tree, suspend=("before", _switch)), "kind": _HELM}


def _switch(suspend: Tree) -> Tree:
    return None if suspend is None else str(suspend).lower()
