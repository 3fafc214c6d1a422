"""What one look has come to before any app is considered, and what one app comes to in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from failoverd.core.case import Case, Wish
from failoverd.core.intent import Step
from failoverd.core.model import Amounts, AppDecision, Command, Now, Objection, Snapshot, Verdict, Watch
from failoverd.core.rules import Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one look at the world has come to, before any app is considered."""

    rules: Rules
    snapshot: Snapshot
    verdicts: Mapping[str, Verdict]
    watch: Watch
    now: Now
    claimed: Mapping[str, Amounts] = field(default_factory=dict)
    """Room that apps which come first take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one app comes to in this tick."""

    case: Case | None
    step: Step | None
    decision: AppDecision
    wish: Wish | None = None
    command: Command | None = None
    set_aside: tuple[Objection, ...] = ()
    """What an operator's force overrides: recorded with the move."""
    fence: bool = False
    """Nothing but the missing proof objects, and a fence could give it."""
    refused: tuple[Objection, ...] = ()
    """Why a command cannot be heard now, where that is no objection to what goes on."""
