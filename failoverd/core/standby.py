"""Whether the standby side could take over, judged while nothing is wrong: found missing in an outage is too late.

The one rule of this file: it asks the very guards a failover will ask, as if the active node had just died with
every app on it, highest priority first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from failoverd.core import guarding, policy, room
from failoverd.core.again import replace
from failoverd.core.case import Case
from failoverd.core.memory import Kind, Phase
from failoverd.core.model import (
    Amounts,
    AppDecision,
    Health,
    Note,
    Now,
    Objection,
    Standby,
    Verdict,
    Watch,
    Why,
)
from failoverd.core.rules import Rules

GUARDS: tuple[policy.Guard, ...] = (
    *room.GUARDS,
    policy.target_claims,
    policy.target_data,
    policy.data_age,
    guarding.target,
    policy.unacknowledged,
    policy.workload,
    policy.strangers,
)
"""Everything about the other side and the app. What is about us, about timing or about the lost node is left out."""

NODE_WIDE = frozenset({Why.TARGET_CORDONED, Why.NODE_PRESSURE})
"""Said once of the node, not once of each app."""
UNFIT: str = "standby"
NODE: str = "standby-node"
"""How these incidents begin: `standby media/sonarr`, `standby-node k3s-w2`."""


def judge(case: Case, claimed: Mapping[str, Amounts]) -> tuple[Standby, Mapping[str, Amounts]]:
    """What would speak against a failover now, `claimed` being what apps that come first would take; and that with
    what this app would take: nothing where it could not go."""
    lost, wish = room.if_lost(case, claimed)
    missing = tuple(dict.fromkeys(one for guard in GUARDS for one in guard(lost, wish)))
    node, warnings = case.place(wish.target).node, room.warnings(case, wish.target)
    found = Standby(site=wish.target, node=node, missing=missing, warnings=warnings)
    return found, claimed if missing else room.claim(claimed, case, wish.target)


def arriving(cases: Iterable[Case]) -> Mapping[str, Amounts]:
    """Room taken by apps on their way."""
    claimed: Mapping[str, Amounts] = {}
    for case in cases:
        if case.was.move is not None and room.is_arriving(case):
            claimed = room.claim(claimed, case, case.was.move.target)
    return claimed


def observe(watch: Watch, apps: Mapping[str, AppDecision], verdicts: Mapping[str, Verdict], now: Now) -> Watch:
    """Since when each reason why a standby side could not take over has stood, its node being UP."""
    unfit = {
        name: watch.unfit.get(name, now.mono)
        for key, decision in apps.items()
        if decision.standby is not None and _is_up(verdicts, decision.standby)
        for name in (_name(key, one) for one in decision.standby.missing)
    }
    return watch if unfit == watch.unfit else replace(watch, unfit=unfit)


def _is_up(verdicts: Mapping[str, Verdict], standby: Standby) -> bool:
    return standby.node in verdicts and verdicts[standby.node].health is Health.UP


def _name(key: str, one: Objection) -> str:
    return f"{key} {one.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What bears on what is said: this tick's decisions and verdicts, and what was said before."""

    rules: Rules
    apps: Mapping[str, AppDecision]
    verdicts: Mapping[str, Verdict]
    watch: Watch
    said: Mapping[str, str]
    now: Now


Topics = dict[str, tuple[str, Note | None]]
"""Incident -> reasons, and the note that tells of them; None where what was said still stands."""


def topics(heard: Heard) -> Topics:
    """What is said of sides that could not take over: what has stood for long enough, and is not told otherwise."""
    found: Topics = {}
    wide: dict[str, dict[str, tuple[Objection, list[str]]]] = {}
    for key, decision in heard.apps.items():
        standby, incident = decision.standby, f"{UNFIT} {key}"
        if standby is None or not _speaking(heard, decision):
            _keep(found, heard, incident, "" if standby is None else f"{NODE} {standby.node}")
            continue
        lasting = [one for one in standby.missing if _lasts(heard, key, one)]
        # an alarm that stands until acknowledged is said as that, once
        own = [one for one in lasting if one.why not in NODE_WIDE and one not in decision.alarms]
        if own:
            text = f"{standby.node} could not take over {key} now: {'; '.join(map(str, own))}"
            _tell(found, heard, own, Note(incident=incident, text=text, level="warning", app=key))
        elif any(one.why not in NODE_WIDE for one in standby.missing):
            _keep(found, heard, incident)
        for one in standby.missing:
            if one.why in NODE_WIDE and one in lasting:
                wide.setdefault(standby.node, {}).setdefault(one.text, (one, []))[1].append(key)
            elif one.why in NODE_WIDE:
                _keep(found, heard, f"{NODE} {standby.node}")
    for node, counts in wide.items():
        apps = max((keys for _, keys in counts.values()), key=len)
        listed = ", ".join(apps[:3]) + (f" and {len(apps) - 3} more" if len(apps) > 3 else "")
        text = f"{node} could not take over {listed} now: {'; '.join(counts)}"
        reasons = [one for one, _ in counts.values()]
        _tell(found, heard, reasons, Note(incident=f"{NODE} {node}", text=text, level="warning"))
    return found


def _speaking(heard: Heard, decision: AppDecision) -> bool:
    """Whether the app is at rest with a standby whose own verdict says nothing louder."""
    up = decision.standby is not None and _is_up(heard.verdicts, decision.standby)
    return up and decision.phase is Phase.WATCHING and decision.wanted is not Kind.FAILOVER


def _lasts(heard: Heard, key: str, one: Objection) -> bool:
    since = heard.watch.unfit.get(_name(key, one))
    return since is not None and heard.now.mono - since >= heard.rules.timings.unfit_after


def _keep(found: Topics, heard: Heard, *incidents: str) -> None:
    """What was said stands: nothing is known that would end it."""
    for incident in incidents:
        if incident in heard.said and incident not in found:
            found[incident] = (heard.said[incident], None)


def _tell(found: Topics, heard: Heard, reasons: Iterable[Objection], note: Note) -> None:
    """A note of its own is only for a reason that has come up since: one that has gone is no news."""
    now, before = {one.why.value for one in reasons}, heard.said.get(note.incident, "")
    known = now <= set(before.split(", "))
    found[note.incident] = (before, None) if known else (", ".join(sorted(now)), note)
