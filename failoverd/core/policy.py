"""Every reason not to move, all evaluated, each with its numbers. An empty answer means go.

A guard is a small pure function from a case and a wish to objections; `GUARDS` is the one list of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import takewhile

from failoverd.core import alarms, gitops, guarding, planned, proof, room
from failoverd.core.case import Case, Wish
from failoverd.core.counts import counted
from failoverd.core.memory import Kind, Move, Phase, Standing
from failoverd.core.model import (
    Api,
    ClaimReading,
    Folder,
    Guest,
    Health,
    Objection,
    Role,
    Snapshot,
    Unknown,
    Why,
)
from failoverd.core.rules import Failback, FenceWhen, Mode, Require, Site, Volume
from failoverd.core.spans import waited

LATE = timedelta(seconds=5)
"""A loop this late, or a wall clock that ran this far away, saw nothing in between."""

TRY_AGAIN = timedelta(seconds=30)
"""After an unplanned move that came to nothing; doubled each time in a row."""
LONGEST_BACK_OFF = timedelta(hours=1)

OVERRIDABLE = frozenset(
    {
        Why.NOT_DEAD,
        Why.MAPPING,
        Why.TASKS_HIDDEN,
        Why.GUEST_BUSY,
        Why.NO_WITNESS,
        Why.WATCHED_ANEW,
        Why.AGE_UNKNOWN,
        Why.AGE_TOO_OLD,
        Why.SOURCE_ERRORS,
        Why.BUDGET,
        Why.COOLDOWN,
        Why.FENCE_FAILED,
        Why.PLANNED,
        Why.NO_ROOM,
        Why.NODE_PRESSURE,
        Why.GUARD_SILENT,
        Why.NOT_OPEN,
    }
).union(alarms.STANDING)
"""What an operator's forced failover may set aside; each one set aside is recorded as evidence of the move."""


PASSING = frozenset(
    {
        Why.SYNCTHING_SILENT,
        Why.WORKLOAD_UNKNOWN,
        Why.API_UNREACHABLE,
        Why.CLOCK_JUMP,
        Why.LOOP_LATE,
        Why.ROOM_UNKNOWN,
        Why.GUARD_SILENT,
    }
)
"""What usually is over within seconds: a command that meets one of these waits instead of being refused."""


Guard = Callable[[Case, Wish], Iterator[Objection]]


def objections(case: Case, wish: Wish) -> tuple[Objection, ...]:
    """Everything that speaks against `wish`, in the order of `GUARDS`."""
    return tuple(dict.fromkeys(objection for guard in GUARDS for objection in guard(case, wish)))


def binding(found: tuple[Objection, ...], wish: Wish) -> tuple[Objection, ...]:
    """Those of `found` that an operator's forced failover may not set aside; all of them for any other wish."""
    return tuple(objection for objection in found if not (wish.forced and objection.why in OVERRIDABLE))


def _object(why: Why, text: str) -> Objection:
    return Objection(why=why, text=text)


def ourselves(case: Case, wish: Wish) -> Iterator[Objection]:
    """Doubts about ourselves: not the leader, cannot see, slept, or may not act."""
    instance = case.snapshot.instance
    if not instance.leader:
        yield _object(Why.NOT_LEADER, f"this instance is not the leader ({instance.holder or 'nobody'} is)")
    if isinstance(case.snapshot.api, Unknown):
        yield _object(Why.API_UNREACHABLE, f"API server: {case.snapshot.api.why}")
    if case.rules.mode is Mode.OBSERVE:
        yield _object(Why.OBSERVING, "mode is observe: nothing is moved")
    if abs(instance.jumped) > LATE:
        yield _object(Why.CLOCK_JUMP, f"the wall clock jumped by {instance.jumped.total_seconds():+.0f} s")
    if instance.late > LATE:
        yield _object(Why.LOOP_LATE, f"the loop woke up {instance.late.total_seconds():.0f} s late")


def paused(case: Case, wish: Wish) -> Iterator[Objection]:
    """Somebody asked for peace."""
    for key in ("*", case.app.key):
        pause = case.memory.pauses_at(case.date).get(key)
        if pause:
            until = f" until {pause.until:%Y-%m-%d %H:%M} UTC" if pause.until else ""
            yield _object(Why.PAUSED, f"paused by {pause.by or 'somebody'}{until}: {pause.why or 'no reason given'}")


def occupied(case: Case, wish: Wish) -> Iterator[Objection]:
    """The app is not at rest."""
    if case.was.phase is Phase.FROZEN:
        yield _object(Why.FROZEN, f"frozen: {case.was.frozen_why}")
    elif case.was.phase is Phase.ADOPTING:
        yield _object(Why.NOT_ADOPTED, "the copies have not been proven equal and given their roles yet")
    elif case.was.phase is not Phase.WATCHING:
        yield _object(Why.MOVING, f"another move of {case.app.key} is {case.was.phase}")


def lost_side(case: Case, wish: Wish) -> Iterator[Objection]:
    """An unplanned move needs the active node's death, as surely as the app requires it."""
    if wish.kind is not Kind.FAILOVER:
        return
    verdict = case.verdict(case.was.active)
    node = case.place(case.was.active).node
    yield from verdict.doubts
    if wish.forced and verdict.health is Health.UP:
        return
    if case.app.require is Require.PROOF and not verdict.proven:
        said = verdict.unproven or (_object(Why.NOT_DEAD, f"{node} is not proven dead: being read once more"),)
        yield from said
    elif verdict.health is not Health.DOWN:
        yield from verdict.alone
        if verdict.isolated:
            yield _object(Why.NOT_DEAD, f"{node} is cut off, but its kubelet or its Syncthing still answers")
        silent = waited(verdict.silent_for, case.rules.timings.silence_after)
        yield _object(Why.NOT_DEAD, f"{node} may live: silent for {silent}")
    elif not verdict.proven and case.rules.fence_when is not FenceWhen.NEVER:
        # where the hypervisor answers death can be proven: silence is enough only where it cannot be asked
        whys = (Why.NOT_DEAD, Why.FENCE_FAILED)
        asked = case.snapshot.nodes.get(node)
        if asked is not None and isinstance(asked.guest, Guest):
            yield from (objection for objection in verdict.unproven if objection.why in whys)


def still_lost(case: Case, move: Move) -> tuple[str, str]:
    """Why a failover of which nothing is done yet has lost its reason, or what it waits for to be sure: decided and
    saved it may have lain for long, its process dead or the API server away, and the source may run again."""
    if move.kind is not Kind.FAILOVER or move.forced:
        return "", ""
    node, health = case.place(move.source).node, case.verdict(move.source).health
    if health is Health.UP:
        return f"{node} is UP again", ""
    return "", "" if health is Health.DOWN else f"{node} to be DOWN once more: it is {health}"


def domains(case: Case, wish: Wish) -> Iterator[Objection]:
    """With more failure domains silent than allowed, or a moment ago, the fault is more likely ours."""
    if wish.kind is Kind.FAILOVER:
        alone = case.verdict(case.was.active).alone
        yield from (objection for objection in alone if objection.why in (Why.TOO_MANY_SILENT, Why.WATCHED_ANEW))


def target_claims(case: Case, wish: Wish) -> Iterator[Objection]:
    """The target's claims must be bound to volumes its node can mount."""
    for volume in case.app.volumes:
        claim = volume.copy(wish.target).claim
        reading = case.snapshot.claims.get((case.app.key, volume.name, wish.target), Unknown("not read yet"))
        if not isinstance(reading, ClaimReading):
            yield _object(Why.CLAIM, f"claim {claim}: {reading.why}")
        elif not reading.bound:
            yield _object(Why.CLAIM, f"claim {claim} is not bound")
        elif not reading.reachable:
            yield _object(Why.CLAIM, f"claim {claim}: volume {reading.volume} cannot be mounted at {wish.target}")


def target_data(case: Case, wish: Wish) -> Iterator[Objection]:
    """The target's Syncthing must have answered just now, with a healthy copy of standing `clean`."""
    for volume in case.app.volumes:
        yield from _copy_health(case, volume, wish.target)
        standing = case.copy(volume, wish.target).standing
        if standing is not Standing.CLEAN:
            yield _object(
                Why.NOT_CLEAN, f"{volume.name} at {wish.target} is {standing}, only a clean copy is promoted"
            )


def unfit(case: Case, site: Site) -> tuple[Objection, ...]:
    """What of the copies at `site` keeps them from being promoted: read again right before that."""
    return tuple(found for volume in case.app.volumes for found in _copy_health(case, volume, site))


def lasting(case: Case, site: Site, found: tuple[Objection, ...]) -> tuple[Objection, ...]:
    """Those of `unfit` that do not pass by themselves: a mover that restarts is silent for seconds."""
    limit = case.rules.timings.reading_max_age
    heard = [case.seen(volume).answered_at.get(site) for volume in case.app.volumes]
    known = [one for one in found if one.why is not Why.SYNCTHING_SILENT]
    if any(at is not None and case.now.mono - at > limit for at in heard):
        text = f"Syncthing at {site} has been silent for more than {limit.total_seconds():.0f} s"
        known.append(_object(Why.SYNCTHING_SILENT, text))
    return tuple(known)


def _copy_health(case: Case, volume: Volume, site: Site) -> Iterator[Objection]:
    if case.was.move is not None and volume.name not in case.was.volumes:
        text = f"{volume.name} was added to the configuration in the middle of a move, and was never proven"
        yield _object(Why.NOT_CLEAN, f"{text}: take it out until the move has ended")
    folder, known = case.folder(volume, site), case.copy(volume, site)
    heard = case.seen(volume).answered_at.get(site)
    ago = case.now.mono - heard if heard is not None else None
    if isinstance(folder, Unknown) or ago is None or ago > case.rules.timings.reading_max_age:
        why = folder.why if isinstance(folder, Unknown) else "silent"
        since = f"{ago.total_seconds():.0f} s ago" if ago is not None else "never"
        yield _object(Why.SYNCTHING_SILENT, f"{volume.name} at {site}: Syncthing last answered {since}: {why}")
    else:
        yield from _folder_health(volume.name, site, folder)
    other = case.folder(volume, site.other)
    if isinstance(folder, Folder) and isinstance(other, Folder) and (odd := folder.unlike(other)):
        yield _object(Why.NOT_CLEAN, f"{volume.name}: {odd}")
    if isinstance(folder, Folder) and known.device and folder.device != known.device:
        yield _object(Why.NOT_CLEAN, f"{volume.name} at {site} is another Syncthing installation than the one proven")


def _folder_health(name: str, site: Site, folder: Folder) -> Iterator[Objection]:
    if folder.error or folder.paused or folder.state in ("", "error"):
        yield _object(Why.FOLDER_ERROR, f"{name} at {site}: {folder.error or folder.state or 'folder paused'}")
    elif folder.local_files == 0:
        yield _object(Why.FOLDER_ERROR, f"{name} at {site} holds no files at all")
    if folder.type == Role.SEND_RECEIVE:
        yield _object(Why.NOT_ADOPTED, f"{name} at {site} is sendreceive: roles not adopted")
    if folder.type == Role.RECEIVE_ONLY and folder.receive_only:
        yield _object(Why.NOT_CLEAN, f"{name} at {site}: {counted(folder.receive_only, 'local change')} on a standby")


def data_age(case: Case, wish: Wish) -> Iterator[Objection]:
    """An unplanned move may lose at most `max_data_age`; a planned one is proven equal by its barrier."""
    if wish.kind is not Kind.FAILOVER:
        return
    limit = case.app.max_data_age
    # a node that must still be fenced may write until it is
    writing = bool(case.rules.fence(case.place(case.was.active).node)) and not case.verdict(case.was.active).proven
    for volume in case.app.volumes:
        measured = proof.age(case, volume, case.date if writing else None)
        if measured is None:
            because = guarding.unknown_because(case, volume)
            yield _object(Why.AGE_UNKNOWN, f"data age of {volume.name} at {wish.target} is unknown{because}")
        elif measured > limit:
            yield _object(
                Why.AGE_TOO_OLD,
                f"data of {volume.name} at {wish.target} is {measured.total_seconds():.0f} s old, "
                f"limit {limit.total_seconds():.0f} s",
            )
        folder = case.folder(volume, wish.target)
        # what cannot be pulled because its source died is missing, and counted as that by the age
        if isinstance(folder, Folder) and folder.errors > folder.need_items:
            told = f"{counted(folder.errors, 'error')}: {', '.join(folder.error_files[:3])}"
            yield _object(Why.SOURCE_ERRORS, f"{volume.name} at {wish.target}: {told}")


def workload(case: Case, wish: Wish) -> Iterator[Objection]:
    """The workload must be one we can switch, and nobody may undo it."""
    seen = case.workload
    if isinstance(seen, Unknown):
        yield _object(Why.WORKLOAD_UNKNOWN, f"{case.app.kind} {case.app.key}: {seen.why}")
        return
    if seen.shape:
        yield _object(Why.SHAPE, f"{case.app.kind} {case.app.key}: {seen.shape}")
    yield from gitops.objections(case, seen, planned=wish.kind.planned)
    if not case.runs_on(case.was.active):
        claims = ", ".join(claim for _, _, claim in seen.claims)
        yield _object(Why.DIVERGED, f"{case.app.key} names {claims}, but its active site is {case.was.active}")
    if seen.replicas == 0:
        yield _object(Why.SHAPE, f"{case.app.kind} {case.app.key} has been scaled to 0: there is nothing to move")
    if seen.epoch is not None and not case.was.written_epoch <= seen.epoch <= case.was.epoch:
        yield _object(Why.DIVERGED, f"{case.app.key} carries epoch {seen.epoch}, remembered is {case.was.epoch}")


def unacknowledged(case: Case, wish: Wish) -> Iterator[Objection]:
    """Alarms that nobody has acknowledged speak against every move; those of this very tick do so already."""
    told = alarms.told(case, case.alarmed or case.was)
    yield from (one for one in told if one.why in alarms.STANDING)


def strangers(case: Case, wish: Wish) -> Iterator[Objection]:
    """Nobody else may be writing to either copy."""
    for pod in case.strangers():
        yield _object(Why.STRANGER, f"pod {pod.name} on {pod.node or 'no node'} mounts {', '.join(pod.claims)}")


def motion(case: Case, wish: Wish) -> Iterator[Objection]:
    """Bounded motion: a budget for all automatic moves, a cooldown for elective ones."""
    if wish.command:
        return
    yield from _back_off(case, wish)
    timings = case.rules.timings
    moves = case.was.counted(case.date - timings.max_moves_per)
    allowed = timings.max_moves - (1 if wish.elective else 0)
    if len(moves) >= allowed:
        kept = ", one failover is kept back" if wish.elective else ""
        yield _object(
            Why.BUDGET,
            f"{counted(len(moves), 'move')} in {timings.max_moves_per.total_seconds() / 3600:g} h, "
            f"{timings.max_moves} allowed{kept}",
        )
    last = next((move for move in reversed(case.was.moves) if move.moved), None)
    if wish.elective and last is not None:
        left = (last.ended_at or last.began_at) + timings.cooldown - case.date
        if left > timedelta(0):
            yield _object(Why.COOLDOWN, f"cooldown: {left.total_seconds():.0f} s left")


def _back_off(case: Case, wish: Wish) -> Iterator[Objection]:
    """What has just come to nothing is not tried again at once, and each time in a row twice as much later."""
    tried = (move for move in reversed(case.was.moves) if move.kind is not Kind.RESTORE)
    nothing = list(takewhile(lambda move: move.aborted, tried))
    if not wish.kind.planned:  # moves by plan that came to nothing say nothing of a node that dies
        nothing = [move for move in nothing if not move.kind.planned]
    if not nothing:
        return
    first = case.rules.timings.cooldown if wish.elective else TRY_AGAIN
    wait = min(first * 2 ** min(len(nothing) - 1, 10), max(first, LONGEST_BACK_OFF))
    left = (nothing[0].ended_at or nothing[0].began_at) + wait - case.date
    if left > timedelta(0):
        why = Why.FENCE_FAILED if "fence" in nothing[0].outcome else Why.COOLDOWN
        yield _object(
            why,
            f"{counted(len(nothing), 'move')} in a row came to nothing ({nothing[0].outcome}): "
            f"tried again in {left.total_seconds():.0f} s",
        )


def going_home(case: Case, wish: Wish) -> Iterator[Objection]:
    """An automatic failback waits until everything has been well for long enough."""
    if wish.kind is not Kind.FAILBACK or wish.command:
        return
    if case.app.failback is Failback.MANUAL:
        yield _object(Why.MANUAL, "failback is by hand: `failoverd failback`")
    if not case.snapshot.hours_open:
        yield _object(Why.HOURS, "outside the hours of failback")
    since, needed = case.was.stable_since, case.rules.timings.stable_for
    stable = case.date - since if since else timedelta(0)
    if stable < needed:
        yield _object(Why.UNSTABLE, f"{wish.target} has been well for {waited(stable, needed)}")


def planned_source(case: Case, wish: Wish) -> Iterator[Objection]:
    """A planned move needs both sides alive: the barrier compares them."""
    if not wish.kind.planned:
        return
    node, verdict = case.place(case.was.active).node, case.verdict(case.was.active)
    if verdict.health is not Health.UP:
        yield _object(Why.TARGET_NOT_UP, f"active node {node} is {verdict.health}: a planned move needs both sides")
    for volume in case.app.volumes:
        folder = case.folder(volume, case.was.active)
        if isinstance(folder, Unknown):
            yield _object(Why.SYNCTHING_SILENT, f"{volume.name} at {case.was.active}: {folder.why}")


GUARDS: tuple[Guard, ...] = (
    ourselves,
    paused,
    occupied,
    lost_side,
    planned.patience,
    planned.announced,
    domains,
    *room.GUARDS,
    target_claims,
    target_data,
    planned_source,
    data_age,
    guarding.target,
    unacknowledged,
    workload,
    strangers,
    motion,
    going_home,
)


def can_see(case: Case) -> bool:
    """Whether this instance may act at all in this tick."""
    return can_see_snapshot(case.snapshot)


def can_see_snapshot(snapshot: Snapshot) -> bool:
    """Whether the leader sees the API server."""
    return snapshot.instance.leader and isinstance(snapshot.api, Api)


def speaks(snapshot: Snapshot) -> bool:
    """Whether this instance is the one that tells people: the leader, or anybody while nobody leads."""
    return snapshot.instance.leader or not snapshot.instance.holder
