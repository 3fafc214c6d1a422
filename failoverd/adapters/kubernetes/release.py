"""A raw HelmRelease to the core's reading of it. Pure; whatever is malformed becomes Unknown."""

from __future__ import annotations

from collections.abc import Mapping

from failoverd.adapters.kubernetes.owner import owner
from failoverd.adapters.kubernetes.parse_tools import Malformed, Raw, dig, need
from failoverd.core import names
from failoverd.core.model import Release, Suspension, Unknown


def release(raw: Raw, name: str) -> Release | Unknown:
    """The HelmRelease `name` (`namespace/name`)."""
    try:
        meta = need(raw, "metadata", kind=Mapping)
        annotations = dig(meta, "annotations", kind=Mapping) or {}
        labels = dig(meta, "labels", kind=Mapping) or {}
        hold = labels.get(names.HOLD) or annotations.get(names.HOLD) or ""
        who, owner_name = owner(meta)
        return Release(
            uid=need(meta, "uid", kind=str),
            version=need(meta, "resourceVersion", kind=str),
            suspend=dig(raw, "spec", "suspend", kind=bool),
            annotations=bool(annotations),
            ours=_suspension(annotations),
            held=str(hold).casefold() == names.HOLD_VALUE,
            owner=who,
            owner_name=owner_name,
            busy=_busy(raw),
            deleting=dig(meta, "deletionTimestamp") is not None,
        )
    except Malformed as error:
        return Unknown(f"HelmRelease {name}: {error}")


def _suspension(annotations: Raw) -> Suspension | None:
    text = annotations.get(names.SUSPENDED)
    if text is None:
        return None
    try:
        return Suspension.of(str(text))
    except ValueError as error:
        raise Malformed(f"annotation {names.SUSPENDED}: {error}") from None


def _busy(raw: Raw) -> str:
    """The action that helm-controller runs: it says so in `Reconciling` before it begins, and takes that back."""
    for condition in dig(raw, "status", "conditions", kind=list) or []:
        running = dig(condition, "status") == "True" and dig(condition, "reason") == "Progressing"
        message = str(dig(condition, "message") or "")
        if dig(condition, "type") == "Reconciling" and running and message.startswith("Running "):
            return message
    return ""
