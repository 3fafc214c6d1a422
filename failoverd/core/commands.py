"""What operators ask for. A command is done, or refused, exactly once: Memory lists its id in the same write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from failoverd.core import alarms
from failoverd.core.again import replace
from failoverd.core.case import Wish
from failoverd.core.memory import Alarm, AppMemory, Kind, Memory, Pause, Phase, Restore, Standing
from failoverd.core.model import Command, CommandKind
from failoverd.core.rules import App, Rules, Site

REMEMBERED = 100
"""Ids of finished commands kept in Memory; commands expire long before as many have come."""
REFUSED = "refused: "
"""How the answer to a command begins that was refused."""
REFUSALS, LONGEST = 20, 1000
"""Refusals kept in Memory, and characters of each."""

_MOVES: Mapping[CommandKind, Kind] = {
    CommandKind.SWITCHOVER: Kind.SWITCHOVER,
    CommandKind.FAILOVER: Kind.FAILOVER,
    CommandKind.FAILBACK: Kind.FAILBACK,
    CommandKind.RESTORE: Kind.RESTORE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the pending commands come to."""

    memory: Memory
    wishes: Mapping[str, tuple[Command, Wish]]
    """By app key: a command that wants a move; done once the move begins or is refused."""
    answers: tuple[tuple[Command, str], ...] = ()
    """Commands answered in this tick, with what became of them."""
    resumed: frozenset[str] = frozenset()
    """Apps given back into our hands."""
    acknowledged: tuple[tuple[str, Alarm], ...] = ()
    """By app key: alarms acknowledged in this tick, among them those of which nothing is remembered any more."""


def ask(rules: Rules, memory: Memory, commands: tuple[Command, ...], date: datetime) -> Asked:
    """Sort the commands that Memory does not list yet."""
    asked = Asked(memory=memory, wishes={})
    for command in commands:
        if command.id not in memory.commands:
            asked = _take(rules, asked, command, date)
    return asked


def not_resumed(asked: Asked, key: str, why: str) -> Asked:
    """`asked` with the resumption of `key` refused after all: what must be known for it cannot be read."""
    told = {command.id: f"{REFUSED}{why}" for command, _ in asked.answers if _resumes(command, key)}
    answers = tuple((command, told.get(command.id, text)) for command, text in asked.answers)
    refusals = {**asked.memory.refusals, **dict.fromkeys(told, why[:LONGEST])}
    kept = dict(list(refusals.items())[-REFUSALS:])
    return replace(asked, answers=answers, memory=replace(asked.memory, refusals=kept))


def _resumes(command: Command, key: str) -> bool:
    return command.kind is CommandKind.RESUME and command.app == key


def done(memory: Memory, command: Command, text: str) -> Memory:
    """`memory` with `command` listed as carried out, or refused with what `text` says."""
    listed = replace(memory, commands=(*memory.commands, command.id)[-REMEMBERED:])
    if not text.startswith(REFUSED):
        return listed
    kept = [*memory.refusals.items(), (command.id, text.removeprefix(REFUSED)[:LONGEST])]
    return replace(listed, refusals=dict(kept[-REFUSALS:]))


def _answer(asked: Asked, command: Command, text: str, memory: Memory | None = None) -> Asked:
    return replace(
        asked, memory=done(memory or asked.memory, command, text), answers=(*asked.answers, (command, text))
    )


def _take(rules: Rules, asked: Asked, command: Command, date: datetime) -> Asked:
    if command.expires < date:
        return _answer(asked, command, "refused: it has expired")
    known = {app.key: app for app in rules.apps}
    if command.kind is CommandKind.PAUSE and (command.app == "*" or command.app in known):
        pause = Pause(by=command.by, why=command.why, since=date, until=command.until)
        paused = replace(asked.memory, pauses={**asked.memory.pauses, command.app: pause})
        return _answer(asked, command, "paused", paused)
    if command.kind is CommandKind.RESUME and (command.app == "*" or command.app in known):
        pauses = {key: pause for key, pause in asked.memory.pauses.items() if key != command.app}
        # the end of a pause for all is no answer to a contradiction: a frozen app is resumed by name
        resumed = asked.resumed | ({command.app} - {"*"})
        return replace(_answer(asked, command, "resumed", replace(asked.memory, pauses=pauses)), resumed=resumed)
    app = known.get(command.app)
    was = asked.memory.apps.get(command.app)
    if app is None or was is None:
        return _answer(asked, command, f"refused: {command.app} is not an app of ours")
    if command.epoch is not None and command.epoch != was.epoch:
        return _answer(asked, command, f"refused: it was meant for epoch {command.epoch}, the app is at {was.epoch}")
    if command.kind is CommandKind.RELEASE:
        return _release(asked, command, app, was)
    if command.kind is CommandKind.ACK:
        found = alarms.acknowledged(was, command, date)
        if isinstance(found, str):
            return _answer(asked, command, f"{REFUSED}{found}")
        known_apps = {**asked.memory.apps, app.key: found[0]}
        heard = replace(asked, acknowledged=(*asked.acknowledged, *((app.key, one) for one in found[1])))
        return _answer(heard, command, "acknowledged", replace(asked.memory, apps=known_apps))
    return _move(asked, command, app, was)


def _release(asked: Asked, command: Command, app: App, was: AppMemory) -> Asked:
    there = {name: memory.copies[was.active.other].standing for name, memory in was.volumes.items()}
    lost = [name for name, standing in there.items() if _unsafe(standing)]
    unproven = [name for name, standing in there.items() if standing is Standing.UNPROVEN]
    if was.phase not in (Phase.WATCHING, Phase.ADOPTING, Phase.FROZEN):
        return _answer(asked, command, f"refused: {app.key} is {was.phase}")
    if was.undo is not None:
        first = f"`failoverd resume {app.key}` and " if was.phase is Phase.FROZEN else ""
        text = f"refused: {app.key} is away from home, {first}`failoverd failback {app.key}` first"
        return _answer(asked, command, text)
    if lost:
        text = f"refused: {', '.join(lost)} is outdated at {was.active.other}, and would flow back"
        return _answer(asked, command, text)
    if unproven and (was.moves or was.active is not app.preferred):
        # after a move it may be a loser that the configuration left out for a while; and away from home whoever owns
        # the workload may start it there the moment our hold is gone
        text = f"refused: {', '.join(unproven)} at {was.active.other} was not proven equal, and would count again"
        return _answer(asked, command, f"{text}; `failoverd resume {app.key}`, then wait until it is watched")
    freed = replace(was, phase=Phase.RELEASED, frozen_why="")
    return _answer(asked, command, "released", replace(asked.memory, apps={**asked.memory.apps, app.key: freed}))


def _of_volume(app: App, wanted: Restore) -> bool:
    """Whether what is to be restored is of a volume of the app; databases may be of all of them."""
    names = {volume.name for volume in app.volumes}
    if wanted.recall is None:
        return wanted.volume in names
    return not wanted.recall.volume or wanted.recall.volume in names


def _unsafe(standing: Standing) -> bool:
    return standing in (Standing.OUTDATED, Standing.TAKING_BACK)


def _move(asked: Asked, command: Command, app: App, was: AppMemory) -> Asked:
    kind = _MOVES[command.kind]
    target = app.preferred if kind is Kind.FAILBACK else command.target or was.active.other
    wanted = command.restore
    if kind is Kind.RESTORE:
        if wanted is None or not _of_volume(app, wanted):
            return _answer(asked, command, f"{REFUSED}it does not say what to restore of which volume")
        if target is not was.active:
            return _answer(asked, command, f"{REFUSED}it lies at {target}: `failoverd switchover {app.key}` first")
    elif target is was.active:
        return _answer(asked, command, f"refused: {app.key} is at {target} already")
    if app.key in asked.wishes:
        return _answer(asked, command, "refused: another command of the same app is pending")
    forced = kind is Kind.FAILOVER
    wish = Wish(
        kind=kind,
        target=Site(target),
        reason=f"asked for by {command.by or 'an operator'}" + (f": {command.why}" if command.why else ""),
        forced=forced,
        command=command.id,
        by=command.by,
        restore=wanted if kind is Kind.RESTORE else None,
    )
    return replace(asked, wishes={**asked.wishes, app.key: (command, wish)})
