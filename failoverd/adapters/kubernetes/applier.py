"""A raw HelmRelease or Application to the core's reading of it. Pure; whatever is malformed becomes Unknown."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from failoverd.adapters.kubernetes.owner import APPLICATION_CONTROLLER, is_held, owner
from failoverd.adapters.kubernetes.parse_tools import Malformed, Raw, dig, need
from failoverd.core import names
from failoverd.core.model import ApplierReading, Owner, Suspension, Unknown
from failoverd.core.rules import App, ApplierKind

CONTROLLER = "controllerNamespace"
"""Every Argo CD that writes this into the status knows `skip-reconcile`, which came first."""


def reading(raw: Raw, app: App) -> ApplierReading | Unknown:
    """What `app` is applied from."""
    try:
        argo = app.applier is not None and app.applier.kind is ApplierKind.APPLICATION
        return _application(raw, app) if argo else _helm_release(raw)
    except Malformed as error:
        return Unknown(f"{app.applier}: {error}")


def _helm_release(raw: Raw) -> ApplierReading:
    meta = need(raw, "metadata", kind=Mapping)
    suspend = dig(raw, "spec", "suspend", kind=bool)
    who, owner_name = owner(meta)
    return ApplierReading(
        kind=ApplierKind.HELM_RELEASE,
        switch=None if suspend is None else str(suspend).lower(),
        owner=who,
        owner_name=owner_name,
        busy=_action(raw),
        **_common(meta),
    )


def _application(raw: Raw, app: App) -> ApplierReading:
    meta = need(raw, "metadata", kind=Mapping)
    # Its controller writes the status of every Application: that it did is no sign of a parent.
    who, owner_name = owner(meta, but=APPLICATION_CONTROLLER)
    for reference in dig(meta, "ownerReferences", kind=list) or []:
        who, owner_name = Owner.UNSUPPORTED, f"{dig(reference, 'kind')} {dig(reference, 'name')}"
    switch = (dig(meta, "annotations", kind=Mapping) or {}).get(names.SKIP)
    return ApplierReading(
        kind=ApplierKind.APPLICATION,
        switch=None if switch is None else str(switch),
        owner=who,
        owner_name=owner_name,
        busy=_operation(raw),
        applies=_lists(raw, app),
        heeds=bool(dig(raw, "status", CONTROLLER, kind=str)),
        reconciled=_moment(raw, "status", "reconciledAt"),
        **_common(meta),
    )


def _common(meta: Raw) -> dict[str, Any]:
    annotations = dig(meta, "annotations", kind=Mapping) or {}
    hold = annotations.get(names.HOLD)
    return {
        "uid": need(meta, "uid", kind=str),
        "version": need(meta, "resourceVersion", kind=str),
        "annotations": bool(annotations),
        "ours": _suspension(annotations),
        "held": is_held(meta, names.HOLD),
        "hold": None if hold is None else str(hold),
        "deleting": dig(meta, "deletionTimestamp") is not None,
    }


def _suspension(annotations: Raw) -> Suspension | None:
    text = annotations.get(names.SUSPENDED)
    if text is None:
        return None
    try:
        return Suspension.of(str(text))
    except ValueError as error:
        raise Malformed(f"annotation {names.SUSPENDED}: {error}") from None


def _action(raw: Raw) -> str:
    """The action that helm-controller runs: it says so in `Reconciling` before it begins, and takes that back."""
    for condition in dig(raw, "status", "conditions", kind=list) or []:
        running = dig(condition, "status") == "True" and dig(condition, "reason") == "Progressing"
        message = str(dig(condition, "message") or "")
        if dig(condition, "type") == "Reconciling" and running and message.startswith("Running "):
            return message
    return ""


def _operation(raw: Raw) -> str:
    """The operation that was asked of Argo CD, until it has ended: then `operation` is gone again."""
    phase = str(dig(raw, "status", "operationState", "phase") or "")
    if phase in ("Running", "Terminating"):
        return f"operation {phase}"
    return "operation asked for" if dig(raw, "operation") is not None else ""


def _lists(raw: Raw, app: App) -> bool:
    """Whether the workload is among what the Application says to consist of."""
    wanted = {"group": "apps", "kind": app.kind.value, "namespace": app.namespace, "name": app.name}
    listed = dig(raw, "status", "resources", kind=list) or []
    return any(all(dig(one, part) == value for part, value in wanted.items()) for one in listed)


def _moment(raw: Raw, *path: str) -> datetime | None:
    text = dig(raw, *path, kind=str)
    try:
        found = datetime.fromisoformat(text) if text else None
    except ValueError:
        found = None
    if text and (found is None or found.tzinfo is None):
        raise Malformed(f"{'.'.join(path)} is malformed")
    return found
