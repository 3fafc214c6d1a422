"""What is seen of whom a workload belongs to, and of the HelmRelease or Application that it is applied from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from failoverd.core import names
from failoverd.core.rules import ApplierKind


class Owner(StrEnum):
    """Which GitOps controller would undo a patch."""

    FLUX = "flux kustomization"
    HELM_RELEASE = "flux helm release"
    ARGO = "argo cd application"
    NONE = "none"
    UNSUPPORTED = "unsupported"

    @property
    def hold(self) -> str:
        """The annotation by which this controller leaves a live object alone; empty where there is none."""
        return {Owner.FLUX: names.HOLD, Owner.HELM_RELEASE: names.HELM_HOLD}.get(self, "")


_SWITCHES = {ApplierKind.HELM_RELEASE: "suspend", ApplierKind.APPLICATION: "skip-reconcile"}
_SUSPENSION = re.compile(
    r"failoverd: (\S+), epoch ([0-9]{1,18}), (.*); before: "
    r"(suspend(?= absent| true| false)|skip-reconcile(?= absent| \")) (.*), "
    r"hold (absent|present|\"[^;,]*\")(?:; since (\S+))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspension:
    """Our annotation on an applier: that it was us who suspended it, for whom, and what was there before."""

    kind: ApplierKind
    app: str
    epoch: int
    why: str
    before: str | None
    """What stood at its switch; None where nothing did."""
    held: bool
    """Whether somebody else's hold was on it before ours."""
    hold: str | None = None
    """What stood where ours is now and held nothing; None where nothing did."""
    since: datetime | None = None
    """When it was suspended, by the API server's clock; of an Application only."""

    def __str__(self) -> str:
        text = "absent" if self.before is None else self.before
        if self.kind is ApplierKind.APPLICATION and self.before is not None:
            text = _quoted(self.before)
        before = f"{_SWITCHES[self.kind]} {text}"
        hold = "present" if self.held else "absent" if self.hold is None else _quoted(self.hold).replace(",", "\\x2c")
        since = f"; since {self.since.isoformat()}" if self.since else ""
        return f"failoverd: {self.app}, epoch {self.epoch}, {self.why}; before: {before}, hold {hold}{since}"

    @classmethod
    def of(cls, text: str) -> Suspension:
        """What `text`, an annotation, says. Raises ValueError for one that is not ours word by word."""
        found = _SUSPENSION.fullmatch(text)
        try:
            made = cls._read(found) if found else None
        except ValueError:
            made = None
        if made is None or str(made) != text:
            raise ValueError(f"{text!r} is not what failoverd writes")
        return made

    @classmethod
    def _read(cls, found: re.Match[str]) -> Suspension:
        app, epoch, why, switch, before, hold, since = found.groups()
        kind = next(kind for kind, word in _SWITCHES.items() if word == switch)
        if kind is ApplierKind.HELM_RELEASE and before not in ("absent", "true", "false"):
            raise ValueError(before)
        return cls(
            kind=kind,
            app=app,
            epoch=int(epoch),
            why=why,
            before=None if before == "absent" else _unquoted(before) if before.startswith('"') else before,
            held=hold == "present",
            hold=_unquoted(hold) if hold.startswith('"') else None,
            since=datetime.fromisoformat(since) if since else None,
        )


def _quoted(text: str) -> str:
    """Any text on one line; no semicolon in it ends what is said before."""
    return '"' + text.encode("unicode_escape").decode("ascii").replace(";", "\\x3b") + '"'


def _unquoted(text: str) -> str:
    return text[1:-1].encode("ascii").decode("unicode_escape")


SUSPENDING = {
    ApplierKind.HELM_RELEASE: frozenset(("true",)),
    ApplierKind.APPLICATION: frozenset(("1", "t", "T", "TRUE", "true", "True")),
}
"""What stands at the switch of each kind while its controller leaves it alone; Argo CD takes Go's words for true."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplierReading:
    """The HelmRelease or Application that a workload is applied from."""

    kind: ApplierKind
    uid: str
    version: str
    switch: str | None
    """`spec.suspend` of a HelmRelease, annotation `skip-reconcile` of an Application; None where it is absent."""
    annotations: bool = True
    """Whether the object has any annotations."""
    ours: Suspension | None = None
    """None where nobody of us suspended it."""
    held: bool = False
    """Whether its Kustomization leaves it alone."""
    hold: str | None = None
    """The annotation by which we have that; None where it is absent."""
    owner: Owner = Owner.NONE
    owner_name: str = ""
    busy: str = ""
    """What its controller does with it at this moment, in its words; empty while that is nothing."""
    deleting: bool = False
    applies: bool = True
    """Whether it counts the workload among what it applies; of an Application only."""
    heeds: bool = True
    """Whether its controller is known to be new enough to know the switch; of an Application only."""
    reconciled: datetime | None = None
    """When it was last compared with Git, by its controller's clock; of an Application only."""

    @property
    def suspended(self) -> bool:
        """Whether its controller is told to leave everything alone that it applies."""
        return self.switch in SUSPENDING[self.kind]
