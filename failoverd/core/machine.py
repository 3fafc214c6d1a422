"""The life of an app as a table, with a reason in every row; `docs/states.md` is generated from it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from failoverd.core.memory import Phase


class Event(StrEnum):
    """What moves an app from one phase to the next."""

    ADOPTED = "adopted"
    FENCE = "fence"
    LEAVE = "leave"
    FENCED = "fenced"
    FENCE_GIVEN_UP = "fence given up"
    CALLED_OFF = "called off"
    STOPPED = "stopped"
    STOPPED_UNPLANNED = "stopped, unplanned"
    STOPPED_TO_RESTORE = "stopped to restore"
    EQUAL = "equal"
    NOT_EQUAL = "not equal in time"
    FLIPPED = "flipped"
    READY = "ready"
    TARGET_LOST = "target lost"
    TARGET_UNFIT = "target unfit"
    LANDED_LATE = "landed late"
    RESTORED = "restored"
    CONTRADICTED = "contradicted"
    RELEASED = "released"
    RESUMED = "resumed"


class Row(NamedTuple):
    """One transition."""

    phase: Phase
    event: Event
    next: Phase
    reason: str


TRANSITIONS: tuple[Row, ...] = (
    Row(Phase.ADOPTING, Event.ADOPTED, Phase.WATCHING, "both copies were proven equal and have their roles"),
    Row(
        Phase.ADOPTING,
        Event.CONTRADICTED,
        Phase.FROZEN,
        "what is remembered and what is there contradict each other",
    ),
    Row(Phase.WATCHING, Event.FENCE, Phase.FENCING, "the active node is silent and must be proven dead first"),
    Row(Phase.WATCHING, Event.LEAVE, Phase.STOPPING, "nothing objects to the move"),
    Row(
        Phase.WATCHING,
        Event.CONTRADICTED,
        Phase.FROZEN,
        "what is remembered and what is there contradict each other",
    ),
    Row(Phase.FENCING, Event.FENCED, Phase.STOPPING, "the lost node is provably off"),
    Row(
        Phase.FENCING,
        Event.FENCE_GIVEN_UP,
        Phase.STOPPING,
        "no proof could be had: the hypervisor is silent and silence is enough here, or an operator forces it",
    ),
    Row(
        Phase.FENCING,
        Event.CALLED_OFF,
        Phase.WATCHING,
        "the node came back, could not be proven dead, or wrote too long, before anything was done",
    ),
    Row(
        Phase.STOPPING,
        Event.CALLED_OFF,
        Phase.WATCHING,
        "paused, or the target's copy is not fit any more, before anything was done",
    ),
    Row(Phase.STOPPING, Event.STOPPED, Phase.BARRIER, "no pod of the app is left, both copies can be compared"),
    Row(
        Phase.STOPPING,
        Event.STOPPED_UNPLANNED,
        Phase.FLIPPING,
        "no pod of the app is left on a living node",
    ),
    Row(
        Phase.STOPPING,
        Event.STOPPED_TO_RESTORE,
        Phase.RESTORING,
        "no pod of the app is left, what is wanted can be brought back",
    ),
    Row(Phase.STOPPING, Event.NOT_EQUAL, Phase.ABORTING, "the app did not stop in time"),
    Row(
        Phase.STOPPING,
        Event.TARGET_UNFIT,
        Phase.ABORTING,
        "the target's copy is not fit any more, and the lost node lives again with its own",
    ),
    Row(Phase.BARRIER, Event.EQUAL, Phase.FLIPPING, "both copies are equal"),
    Row(Phase.BARRIER, Event.NOT_EQUAL, Phase.ABORTING, "both copies were not equal in time"),
    Row(Phase.FLIPPING, Event.FLIPPED, Phase.STARTING, "the target sends, the source can no longer reach it"),
    Row(Phase.STARTING, Event.READY, Phase.WATCHING, "the app is ready at the target"),
    Row(
        Phase.STARTING,
        Event.TARGET_LOST,
        Phase.WATCHING,
        "the target was lost before the app was ready there",
    ),
    Row(Phase.RESTORING, Event.RESTORED, Phase.WATCHING, "the app runs again where it was"),
    Row(Phase.ABORTING, Event.RESTORED, Phase.WATCHING, "the app runs again where it was"),
    Row(
        Phase.WATCHING,
        Event.LANDED_LATE,
        Phase.ABORTING,
        "the stop of a move that was called off has landed after all",
    ),
    Row(Phase.FROZEN, Event.RESUMED, Phase.ADOPTING, "an operator resolved the contradiction"),
    Row(Phase.ADOPTING, Event.RELEASED, Phase.RELEASED, "an operator took the app out of our hands"),
    Row(Phase.WATCHING, Event.RELEASED, Phase.RELEASED, "an operator took the app out of our hands"),
    Row(Phase.FROZEN, Event.RELEASED, Phase.RELEASED, "an operator took the app out of our hands"),
    Row(Phase.RELEASED, Event.RESUMED, Phase.ADOPTING, "an operator gave the app back"),
)

_NEXT = {(row.phase, row.event): row for row in TRANSITIONS}


def advance(phase: Phase, event: Event) -> Row:
    """The row for `event` in `phase`. Raises KeyError where the table has none: that is a bug."""
    return _NEXT[phase, event]
