"""Debounce: from raw readings of a node to a verdict of UP, DOWN or UNKNOWN.

The one rule of this file: only evidence yields DOWN. Silence is evidence only while somebody outside the silent
node's failure domain, and outside our own, is heard; a reading that failed neither counts nor resets anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from failoverd.core.again import replace
from failoverd.core.memory import NOTHING_KNOWN, Memory, NodeMemory
from failoverd.core.model import (
    NEVER_SEEN,
    Api,
    FenceOff,
    Guest,
    GuestState,
    Health,
    Kubelet,
    Lease,
    NodeObject,
    NodeReading,
    NodeWatch,
    Now,
    Objection,
    Snapshot,
    Unknown,
    Verdict,
    Watch,
    Why,
)
from failoverd.core.rules import Rules, Timings
from failoverd.core.spans import waited

LEASE_INTERVAL = timedelta(seconds=10)
"""A kubelet renews its lease this often (Kubernetes: a quarter of the 40 s lease duration)."""
MISSED = LEASE_INTERVAL + timedelta(seconds=2)
"""A lease that has not moved for so long has missed a renewal: intervals vary by 4 %, and a tick passes until one
is seen. A guest said to be stopped whose node has missed none may be the wrong guest."""
WELL_KNOWN = timedelta(seconds=60)
"""What was unseen for longer (no API server, a process that did not run) may have been an outage of everything: nodes
come back in any order, and one that is found off may be about to be started."""
IN_FLIGHT = timedelta(seconds=5)
"""A renewal sent before the power went may still be seen to arrive this much later."""


def look(rules: Rules, watch: Watch, snapshot: Snapshot, now: Now) -> Watch:
    """What has been seen so far, with this tick's readings added."""
    elapsed = now.mono - watch.looked_at if watch.looked_at is not None else timedelta(0)
    reachable = isinstance(snapshot.api, Api)
    gap = now.mono - watch.api_seen_at if watch.api_seen_at is not None else timedelta(0)
    # Whether the server could not be reached or this process did not run: what happened meanwhile was not seen.
    fresh_start = reachable and gap > rules.timings.witness_within
    nodes = dict(watch.nodes)
    for name, reading in snapshot.nodes.items():
        seen = nodes.get(name, NEVER_SEEN)
        if fresh_start:
            seen = replace(seen, good_count=0, bad_count=0, up_since=None)
        seen = _see_lease(seen, reading, snapshot, now, elapsed, anew=fresh_start)
        seen = _see_health(rules.timings, seen, reading, now, reachable=reachable)
        nodes[name] = _see_fence(_see_guest(seen, reading, snapshot, now), snapshot, name, now)
    seen_at = now.mono if reachable else watch.api_seen_at
    looked = replace(watch, nodes=nodes, looked_at=now.mono, api_seen_at=seen_at)
    doubted = _doubted(rules, looked, now, blind=reachable and gap > WELL_KNOWN)
    return looked if doubted == looked.doubted_at else replace(looked, doubted_at=doubted)


def _doubted(rules: Rules, watch: Watch, now: Now, *, blind: bool) -> timedelta | None:
    """When we last doubted ourselves: now, where more fell silent than one fault explains or too much went unseen."""
    if blind or len(silent_domains(rules, watch, now)) > rules.max_unhealthy:
        return now.mono
    over = watch.doubted_at is not None and now.mono - watch.doubted_at >= rules.timings.silence_after
    return None if over else watch.doubted_at


def _see_lease(
    seen: NodeWatch, reading: NodeReading, snapshot: Snapshot, now: Now, elapsed: timedelta, *, anew: bool
) -> NodeWatch:
    if isinstance(snapshot.api, Api) and isinstance(reading.lease, Unknown) and reading.lease.gone:
        # nothing is left that could renew: its silence goes on
        return replace(seen, gone=True, stamp_seen_at=now.mono if anew else seen.stamp_seen_at)
    if not isinstance(snapshot.api, Api) or not isinstance(reading.lease, Lease):
        # the node could not have been seen to renew either: the clock of its silence stands still
        held = seen.stamp_seen_at + elapsed if seen.stamp_seen_at is not None else None
        return replace(seen, stamp_seen_at=held)
    if reading.lease.stamp != seen.stamp:
        moved = now.mono if seen.stamp is not None else None  # a first sight is not a movement
        return replace(
            seen,
            gone=False,
            stamp=reading.lease.stamp,
            stamp_seen_at=now.mono,
            stamp_wall=snapshot.api.date,
            stamp_moved_at=moved,
        )
    return replace(seen, gone=False, stamp_seen_at=now.mono) if anew or seen.gone else seen


def _see_health(timings: Timings, seen: NodeWatch, reading: NodeReading, now: Now, *, reachable: bool) -> NodeWatch:
    node = reading.node
    if not reachable or seen.stamp_seen_at is None or (isinstance(node, Unknown) and not node.gone):
        return seen
    fresh = now.mono - seen.stamp_seen_at <= timings.witness_within
    off = isinstance(reading.guest, Guest) and reading.guest.state is GuestState.STOPPED
    if fresh and not off and isinstance(node, NodeObject) and node.ready == "True" and not node.deleting:
        if seen.good_count >= timings.success_threshold and seen.bad_count == 0 and seen.up_since is not None:
            return seen  # more of the same says nothing new
        since = seen.up_since if seen.up_since is not None else now.mono
        return replace(seen, good_count=seen.good_count + 1, bad_count=0, up_since=since)
    bad = min(seen.bad_count + 1, timings.failure_threshold)
    if bad < timings.failure_threshold:
        return replace(seen, bad_count=bad)
    if seen.bad_count == bad and seen.good_count == 0 and seen.up_since is None:
        return seen
    return replace(seen, good_count=0, bad_count=bad, up_since=None)


def _see_guest(seen: NodeWatch, reading: NodeReading, snapshot: Snapshot, now: Now) -> NodeWatch:
    guest = reading.guest
    if not isinstance(guest, Guest):
        if seen.stopped_since is not None and seen.stamp_moved_at is not None:
            if seen.stamp_moved_at - seen.stopped_since > IN_FLIGHT:  # it ran on: what was found then is over
                return replace(seen, stopped_count=0, stopped_since=None, stopped_wall=None)
        return seen
    if guest.state is GuestState.RUNNING:
        if seen.stopped_count == 0 and seen.stopped_since is None and seen.stopped_wall is None:
            return seen
        return replace(seen, stopped_count=0, stopped_since=None, stopped_wall=None)
    if guest.busy:  # the dwell begins when nothing explains the state any more
        return replace(seen, stopped_count=0, stopped_since=now.mono)
    wall = seen.stopped_wall
    if wall is None and isinstance(snapshot.api, Api):
        wall = snapshot.api.date + timedelta(seconds=1)  # the Date header is cut to whole seconds
    since = seen.stopped_since if seen.stopped_since is not None else now.mono
    return replace(seen, stopped_count=seen.stopped_count + 1, stopped_since=since, stopped_wall=wall)


def _see_fence(seen: NodeWatch, snapshot: Snapshot, name: str, now: Now) -> NodeWatch:
    if not snapshot.receipts:
        return seen
    begun = [receipt.action for receipt in snapshot.receipts]
    asked = any(isinstance(act, FenceOff) and act.node == name for act in begun)
    return replace(seen, fence_asked_at=now.mono) if asked else seen


def silent_for(seen: NodeWatch, now: Now) -> timedelta:
    """How long the node's lease has not been seen to change."""
    return now.mono - seen.stamp_seen_at if seen.stamp_seen_at is not None else timedelta(0)


def silent_domains(rules: Rules, watch: Watch, now: Now) -> set[str]:
    """Failure domains none of whose known nodes has a lease that moves."""
    loud: set[str] = set()
    quiet: set[str] = set()
    for name, seen in watch.nodes.items():
        if seen.gone:
            continue
        fresh = seen.stamp_seen_at is not None and silent_for(seen, now) <= rules.timings.witness_within
        (loud if fresh else quiet).add(rules.domain(name))
    return quiet - loud


def witnesses(rules: Rules, watch: Watch, node: str, now: Now) -> list[str]:
    """Nodes outside the failure domains of `node` and of ourselves whose lease has just moved."""
    excluded = {rules.domain(node), rules.own_domain} - {""}
    return [
        name
        for name, seen in watch.nodes.items()
        if name != node
        and rules.domain(name) not in excluded
        and seen.stamp_seen_at is not None
        and silent_for(seen, now) <= rules.timings.witness_within
    ]


def judge(rules: Rules, memory: Memory, watch: Watch, snapshot: Snapshot, now: Now) -> Mapping[str, Verdict]:
    """A verdict for every node that was looked at."""
    return {
        name: _judge_node(rules, memory.nodes.get(name, NOTHING_KNOWN), watch, snapshot, name, now)
        for name in snapshot.nodes
    }


def _judge_node(
    rules: Rules, remembered: NodeMemory, watch: Watch, snapshot: Snapshot, name: str, now: Now
) -> Verdict:
    reading, seen, timings = snapshot.nodes[name], watch.nodes[name], rules.timings
    silent = silent_for(seen, now)
    evidence = tuple(_evidence(timings, reading, seen, silent))
    if isinstance(snapshot.api, Unknown):
        return Verdict(health=Health.UNKNOWN, evidence=(f"API server: {snapshot.api.why}",), silent_for=silent)
    doubts = tuple(_doubts(rules, reading, seen, name, now))
    stopped = _stopped_long_enough(timings, remembered, reading, seen, now)
    read = not isinstance(reading.lease, Unknown) and not isinstance(reading.node, Unknown)
    if read and _is_up(timings, seen, now):
        return Verdict(health=Health.UP, evidence=evidence, silent_for=silent, doubts=doubts)
    proof_doubts = tuple(_proof_doubts(rules, remembered, reading, seen, name, now))
    alone = tuple(_loneliness(rules, watch, name, now))
    serving = reading.kubelet in (Kubelet.ALIVE, Kubelet.REFUSED) or _advancing(seen, timings, now)
    proven = stopped and silent > MISSED and not doubts and not proof_doubts and reading.uncached
    # what it wrote shortly before its proven death was seen to arrive after its last renewal
    isolated = serving and silent > timings.witness_within and not proven
    long_silent = silent >= timings.silence_after and reading.uncached and read
    down = proven or (long_silent and not isolated and not doubts and not alone)
    return Verdict(
        health=Health.DOWN if down else Health.UNKNOWN,
        proven=proven,
        evidence=evidence,
        silent_for=silent,
        down_since=_last_write(reading, seen),
        isolated=isolated,
        fenceable=long_silent and not alone and not doubts and _can_fence(rules, remembered, reading),
        doubts=doubts,
        unproven=() if proven else proof_doubts,
        alone=alone,
    )


def _is_up(timings: Timings, seen: NodeWatch, now: Now) -> bool:
    return (
        seen.up_since is not None
        and now.mono - seen.up_since >= timings.up_after
        and seen.good_count >= timings.success_threshold
    )


def _stopped_long_enough(
    timings: Timings, remembered: NodeMemory, reading: NodeReading, seen: NodeWatch, now: Now
) -> bool:
    guest = reading.guest
    if not isinstance(guest, Guest) or guest.state is not GuestState.STOPPED or guest.busy:
        return False
    if remembered.fence_began_at is not None and remembered.started_at is None:
        return True  # we cut the power ourselves: nothing else can explain the state
    return (
        seen.stopped_count >= timings.failure_threshold
        and seen.stopped_since is not None
        and now.mono - seen.stopped_since >= timings.proof_after
    )


def _can_fence(rules: Rules, remembered: NodeMemory, reading: NodeReading) -> bool:
    """Whether a fence could work at all: the hypervisor answers, and says nothing that would undo it."""
    return isinstance(reading.guest, Guest) and not reading.guest.managed and mapped(rules, remembered)


def mapped(rules: Rules, remembered: NodeMemory) -> bool:
    """Whether the guest of a node is known to be the right one, under this very configuration."""
    return bool(remembered.mapped) and remembered.mapped == rules.fence_hash


def _last_write(reading: NodeReading, seen: NodeWatch) -> datetime | None:
    if isinstance(reading.guest, Guest) and reading.guest.state is GuestState.STOPPED:
        wall = seen.stopped_wall
        lived_on = wall is not None and seen.stamp_wall is not None and seen.stamp_wall - wall > IN_FLIGHT
        if not lived_on:
            return wall
    return seen.stamp_wall + LEASE_INTERVAL if seen.stamp_wall is not None else None


def _advancing(seen: NodeWatch, timings: Timings, now: Now) -> bool:
    return any(
        now.mono - changed <= timings.witness_within and changed > (seen.stamp_seen_at or changed) + IN_FLIGHT
        for _, changed in seen.sequences.values()
    )


def _evidence(timings: Timings, reading: NodeReading, seen: NodeWatch, silent: timedelta) -> list[str]:
    fresh = silent <= timings.witness_within
    said = [
        f"lease moved {silent.total_seconds():.0f} s ago"
        if fresh
        else f"lease silent for {silent.total_seconds():.0f} s"
    ]
    if isinstance(reading.node, NodeObject):
        said.append(f"Ready={reading.node.ready or 'missing'}")
    if reading.work:
        said.append(reading.work)
    if not isinstance(reading.kubelet, Unknown):
        said.append(f"kubelet {reading.kubelet}")
    if isinstance(reading.guest, Guest):
        said.append(f"guest {reading.guest.state}" + (f" ({reading.guest.busy})" if reading.guest.busy else ""))
    elif isinstance(reading.guest, Unknown):
        said.append(f"guest unknown: {reading.guest.why}")
    unknown = [f"lease unknown: {reading.lease.why}"] if isinstance(reading.lease, Unknown) else []
    # One that was never seen may be so because it may not be read: that is what has to be mended then.
    return [*(said if seen.stamp is not None else ["not seen yet"]), *unknown]


def _doubts(rules: Rules, reading: NodeReading, seen: NodeWatch, name: str, now: Now) -> list[Objection]:
    """Contradictions: while one of these stands, nothing is concluded about the node."""
    found = []
    guest = reading.guest
    stopped = isinstance(guest, Guest) and guest.state is GuestState.STOPPED
    if stopped and seen.stopped_since is not None and seen.stamp_moved_at is not None:
        after = seen.stamp_moved_at - seen.stopped_since
        if after > IN_FLIGHT and silent_for(seen, now) < rules.timings.silence_after:
            found.append(
                Objection(
                    why=Why.CONTRADICTION,
                    text=f"{name}: guest says stopped, but its lease moved {after.total_seconds():.0f} s later: "
                    "is this the right guest?",
                )
            )
    if stopped and reading.kubelet in (Kubelet.ALIVE, Kubelet.REFUSED):
        how = "its kubelet answers" if reading.kubelet is Kubelet.ALIVE else "its host refuses its kubelet's port"
        found.append(Objection(why=Why.CONTRADICTION, text=f"{name}: guest says stopped, but {how}"))
    if stopped and (wrote := _wrote_after(seen, now, rules.timings)):
        found.append(Objection(why=Why.CONTRADICTION, text=f"{name}: guest says stopped, but {wrote} wrote on after"))
    return found


def _wrote_after(seen: NodeWatch, now: Now, timings: Timings) -> str:
    """What was seen to write on a node after its guest was found stopped; empty when nothing was, or long ago."""
    if seen.stopped_since is None:
        return ""
    late = seen.stopped_since + IN_FLIGHT
    wrote = [
        mark
        for mark, (_, changed) in seen.sequences.items()
        if changed > late and now.mono - changed < timings.silence_after
    ]
    return ", ".join(sorted(wrote))


def _proof_doubts(
    rules: Rules, remembered: NodeMemory, reading: NodeReading, seen: NodeWatch, name: str, now: Now
) -> list[Objection]:
    """Why the node is not provably dead, as far as its guest goes."""
    guest = reading.guest
    if guest is None:
        return [Objection(why=Why.NOT_DEAD, text=f"{name} is not proven dead: no fence is configured for it")]
    if isinstance(guest, Unknown):
        return [Objection(why=Why.NOT_DEAD, text=f"{name} is not proven dead: guest unknown: {guest.why}")]
    found = []
    if not mapped(rules, remembered):
        found.append(
            Objection(
                why=Why.MAPPING,
                text=f"{name}: its guest was never seen running while the node's lease moved, under this config",
            )
        )
    if not guest.tasks_visible:
        found.append(
            Objection(
                why=Why.TASKS_HIDDEN,
                text=f"{name}: the token sees only its own tasks (no Sys.Audit): a reboot would look like death",
            )
        )
    if guest.state is GuestState.RUNNING:
        found.append(Objection(why=Why.NOT_DEAD, text=f"{name} is not proven dead: its guest is running"))
        if guest.managed:
            found.append(Objection(why=Why.FENCE_FAILED, text=f"{name} cannot be fenced: {guest.managed}"))
    elif guest.busy:
        found.append(Objection(why=Why.GUEST_BUSY, text=f"{name}: guest stopped, but {guest.busy}"))
    elif not _stopped_long_enough(rules.timings, remembered, reading, seen, now):
        stopped = now.mono - seen.stopped_since if seen.stopped_since is not None else timedelta(0)
        spent = waited(stopped, rules.timings.proof_after)
        looks = f"seen in {seen.stopped_count} of {rules.timings.failure_threshold} looks"
        text = f"{name} is not proven dead: guest stopped for {spent}"
        text += f", {looks}" if stopped >= rules.timings.proof_after else ""
        found.append(Objection(why=Why.NOT_DEAD, text=text))
    return found


def _loneliness(rules: Rules, watch: Watch, name: str, now: Now) -> list[Objection]:
    """Reasons to doubt ourselves rather than the node."""
    found = []
    if not witnesses(rules, watch, name, now):
        found.append(
            Objection(
                why=Why.NO_WITNESS,
                text=f"{name} is silent, but no node outside its failure domain and ours is heard either",
            )
        )
    silent = silent_domains(rules, watch, now)
    if len(silent) > rules.max_unhealthy:
        found.append(
            Objection(
                why=Why.TOO_MANY_SILENT,
                text=f"{len(silent)} failure domains are silent ({', '.join(sorted(silent))}), "
                f"{rules.max_unhealthy} may be",
            )
        )
    elif watch.doubted_at is not None:
        spent = waited(now.mono - watch.doubted_at, rules.timings.silence_after)
        text = f"{name} is watched anew since much was silent or unseen at once: for {spent}"
        found.append(Objection(why=Why.WATCHED_ANEW, text=text))
    return found
