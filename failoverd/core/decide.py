"""The only door into the core: `decide(rules, memory, watch, snapshot, now) -> Decision`.

Nothing is decided twice: hysteresis judges nodes, `rest` and `moves` say what an app wants, `policy` says what speaks
against it, `machine` says where that leads. This file only puts them in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from failoverd.core import alarms as remembered
from failoverd.core import (
    commands,
    databases,
    guarding,
    hysteresis,
    intent,
    machine,
    moves,
    policy,
    proof,
    rest,
    restoring,
    room,
    say,
    standby,
)
from failoverd.core.again import replace
from failoverd.core.case import Case, Wish
from failoverd.core.intent import Step
from failoverd.core.machine import Event
from failoverd.core.memory import SCHEMA, AppMemory, Kind, Memory, Phase, Undo
from failoverd.core.model import (
    Action,
    Amounts,
    Api,
    AppDecision,
    Decision,
    Health,
    Note,
    Now,
    Objection,
    Snapshot,
    Unknown,
    Verdict,
    Watch,
    Why,
    Workload,
)
from failoverd.core.nodes import remember_nodes
from failoverd.core.plan import Plan, Sight
from failoverd.core.rules import SITES, App, FenceWhen, Mode, Rules

AT_ONCE = timedelta(milliseconds=50)
"""How soon to look again after a phase has changed: what the next one needs is known already."""
SOON = timedelta(milliseconds=300)
"""How soon to look again while something moves."""
ALERT = timedelta(seconds=1)
"""How soon to look again while a node is in doubt or dead under an app of ours, or a copy is being taken back."""


def decide(rules: Rules, memory: Memory | Unknown | None, watch: Watch, snapshot: Snapshot, now: Now) -> Decision:
    """Everything that follows from one look at the world. Pure: same input, same answer."""
    watch = hysteresis.look(rules, watch, snapshot, now)
    known = memory if isinstance(memory, Memory) else Memory()
    verdicts = hysteresis.judge(rules, known, watch, snapshot, now)
    watch = proof.watch_replication(rules, watch, snapshot, now, {key: was.active for key, was in known.apps.items()})
    blind = _blind(memory)
    if blind:
        frozen = {app.key: AppDecision(phase=Phase.FROZEN, objections=(blind,)) for app in rules.apps}
        scene = say.Scene(rules=rules, snapshot=snapshot, verdicts=verdicts, apps=frozen, memory=known, blind=blind)
        speaks = policy.speaks(snapshot)
        watch, spoken = say.speak(scene, watch, now) if speaks else say.hush(watch, snapshot, blind=True)
        return Decision(
            memory=known,
            watch=watch,
            verdicts=verdicts,
            apps=frozen,
            notes=tuple(spoken),
            wake_at=now.mono + rules.timings.tick,
        )
    api = snapshot.api
    asked = commands.Asked(memory=known, wishes={})
    if isinstance(api, Api) and snapshot.instance.leader:
        asked = commands.ask(rules, known, snapshot.commands, api.date)
    sight = Sight(rules=rules, snapshot=snapshot, verdicts=verdicts, watch=watch, now=now)
    plans = _plans(sight, sorted(rules.apps, key=lambda app: -app.priority), asked)
    for key in sorted(asked.resumed):
        if key in plans and plans[key].case is None:
            asked = commands.not_resumed(asked, key, plans[key].decision.waiting)
    return _conclude(sight, known, asked, _fence(rules, plans))


def _blind(memory: Memory | Unknown | None) -> Objection | None:
    if isinstance(memory, Unknown):
        return Objection(why=Why.FROZEN, text=f"Memory cannot be read: {memory.why}")
    if memory is not None and memory.schema > SCHEMA:
        return Objection(
            why=Why.FROZEN, text=f"Memory has schema {memory.schema}, this version knows {SCHEMA}: upgrade it"
        )
    return None


def _plans(sight: Sight, apps: list[App], asked: commands.Asked) -> dict[str, Plan]:
    """A plan for each of `apps`: what comes first here is begun first, and finds room first."""
    plans: dict[str, Plan] = {}
    moving = [app for app in apps if (was := asked.memory.apps.get(app.key)) is not None and was.move is not None]
    claimed = standby.arriving(_case(sight, app, asked) for app in moving)
    lost: dict[str, Mapping[str, Amounts]] = {}
    for app in apps:
        plan = _plan(replace(sight, claimed=claimed), app, asked)
        case = plan.case
        if case is not None and case.was.phase in (Phase.ADOPTING, Phase.WATCHING):
            here = case.place(case.was.active).node
            found, lost[here] = standby.judge(case, lost.get(here, claimed))
            plan = replace(plan, decision=replace(plan.decision, standby=found))
            leaves = plan.wish is not None and plan.wish.kind is not Kind.RESTORE
            if plan.wish is not None and leaves and not _beyond_fence(plan.decision.objections):
                claimed = room.claim(claimed, case, plan.wish.target)
        plans[app.key] = plan
    return plans


def _case(sight: Sight, app: App, asked: commands.Asked) -> Case:
    was = asked.memory.apps.get(app.key)
    case = Case(
        rules=sight.rules,
        app=app,
        memory=asked.memory,
        was=rest.with_volumes(app, was) if was else rest.newborn(app, app.preferred),
        snapshot=sight.snapshot,
        verdicts=sight.verdicts,
        watch=sight.watch,
        now=sight.now,
        claimed=sight.claimed,
        wish=asked.wishes.get(app.key, (None, None))[1],
    )
    return replace(case, alarmed=remembered.watched(case))


def _plan(sight: Sight, app: App, asked: commands.Asked) -> Plan:
    was = asked.memory.apps.get(app.key)
    newborn, case = was is None, _case(sight, app, asked)
    resumed = app.key in asked.resumed and case.was.phase in (Phase.FROZEN, Phase.RELEASED)
    if newborn or resumed:
        return _first(case, resumed=resumed)
    if case.was.phase in (Phase.ADOPTING, Phase.WATCHING):
        return _at_rest(case, asked)
    command, wish = asked.wishes.get(app.key, (None, None))
    plan = _elsewhere(case)
    if wish is not None and policy.can_see(case):
        plan = replace(plan, wish=wish, command=command, refused=tuple(policy.occupied(case, wish)))
    return plan


def _elsewhere(case: Case) -> Plan:
    """An app that moves, is frozen or was given back: no new wish is heard."""
    if case.was.phase is Phase.FROZEN:
        why = Objection(why=Why.FROZEN, text=f"frozen: {case.was.frozen_why}")
        step = Step(was=case.was, actions=guarding.orders(case))
        return Plan(case=case, step=step, decision=AppDecision(phase=Phase.FROZEN, objections=(why,), alarms=(why,)))
    if case.was.phase is Phase.RELEASED:
        observing = case.rules.mode is Mode.OBSERVE
        step = Step(was=case.was) if observing else rest.released(case)
        return Plan(case=case, step=step, decision=AppDecision(phase=Phase.RELEASED, waiting=step.waiting))
    return _move_on(case)


def _first(case: Case, *, resumed: bool) -> Plan:
    found = rest.first_look(case, resumed=resumed)
    if isinstance(found, str) or not policy.can_see(case):
        text = found if isinstance(found, str) else "not the leader, or the API server cannot be reached"
        why = Objection(why=Why.NOT_ADOPTED, text=text)
        return Plan(case=None, step=None, decision=AppDecision(phase=Phase.ADOPTING, objections=(why,), waiting=text))
    if resumed:
        found = replace(found, epoch=max(found.epoch, case.was.epoch), undo=_undo(case, found), moves=case.was.moves)
        found = replace(found, alarms=case.was.alarms)
    frozen: tuple[Objection, ...] = ()
    if found.phase is Phase.FROZEN:
        frozen = (Objection(why=Why.FROZEN, text=f"frozen: {found.frozen_why}"),)
    decision = AppDecision(phase=found.phase, objections=frozen, alarms=frozen)
    return Plan(case=case, step=Step(was=found), decision=decision)


def _undo(case: Case, found: AppMemory) -> Undo | None:
    """The way home of an app given back: remembered, or what our marks on a workload away from home call for."""
    workload = case.workload
    marked = isinstance(workload, Workload) and workload.epoch is not None
    if case.was.undo is not None or not marked or found.active is case.app.preferred:
        return case.was.undo
    assert isinstance(workload, Workload)
    return intent.undo_now(case, workload)


def _move_on(case: Case) -> Plan:
    move = case.was.move
    assert move is not None
    ages, origins = _ages(case)
    if not policy.can_see(case):
        why = tuple(policy.ourselves(case, Wish(kind=move.kind, target=move.target, reason="")))
        return Plan(case=case, step=None, decision=AppDecision(phase=case.was.phase, objections=why, ages=ages))
    if case.rules.mode is Mode.OBSERVE:
        text = f"mode is observe: the {move.kind} to {move.target} stands still where it is, {case.was.phase}"
        still = (Objection(why=Why.OBSERVING, text=text),)
        decision = AppDecision(phase=case.was.phase, objections=still, ages=ages, waiting=text, alarms=still)
        return Plan(case=case, step=None, decision=decision)
    step = moves.STEPS[case.was.phase](case, move)
    alarms = step.alarms or intent.stands_still(case, move, step)
    decision = AppDecision(phase=case.was.phase, waiting=step.waiting, ages=ages, origins=origins, alarms=alarms)
    return Plan(case=case, step=step, decision=decision)


def _ages(case: Case) -> tuple[dict[str, timedelta | None], dict[str, str]]:
    """Data age of every volume, and where it comes from where a guard has a say."""
    volumes = case.app.volumes
    told = {volume.name: text for volume in volumes if (text := proof.origin(case, volume))}
    return {volume.name: proof.age(case, volume) for volume in volumes}, told


def _at_rest(case: Case, asked: commands.Asked) -> Plan:
    command, wish = asked.wishes.get(case.app.key, (None, None))
    wish = wish or rest.wish_of(case)
    ages, origins = _ages(case)
    restores = wish is not None and wish.kind is Kind.RESTORE
    everything = (restoring if restores else policy).objections(case, wish) if wish else ()
    found = policy.binding(everything, wish) if wish else ()
    no_alarms: tuple[Objection, ...] = ()
    step, alarms = Step(was=case.was), no_alarms
    if policy.can_see(case):
        step, alarms = rest.look_after(case)
    decision = AppDecision(
        phase=case.was.phase,
        wanted=wish.kind if wish else None,
        objections=found,
        ages=ages,
        origins=origins,
        waiting=step.waiting,
        alarms=alarms,
    )
    plan = Plan(case=case, step=step, decision=decision, wish=wish, command=command)
    if wish is None or step.event in (Event.CONTRADICTED, Event.LANDED_LATE):
        return plan
    if _wants_fence(case, wish):
        return replace(plan, fence=not _beyond_fence(found), set_aside=everything if wish.forced else ())
    return replace(plan, step=_leave(case, wish, everything)) if not found else plan


def _wants_fence(case: Case, wish: Wish) -> bool:
    """Whether the move needs the node's death, has no proof of it, and a fence could give it."""
    verdict, node = case.verdict(case.was.active), case.place(case.was.active).node
    if wish.kind is not Kind.FAILOVER or verdict.proven or not case.rules.fence(node):
        return False
    when = case.rules.fence_when
    if when is FenceWhen.NEVER:
        return False
    if wish.forced:  # nobody's word makes the power of an unproven guest ours to cut
        known = case.memory.nodes.get(node)
        return verdict.health is not Health.UP and known is not None and hysteresis.mapped(case.rules, known)
    willing = when in (FenceWhen.ALL, FenceWhen.ANY) and not verdict.isolated
    return verdict.fenceable and (willing or when is FenceWhen.ISOLATED)


def _beyond_fence(found: tuple[Objection, ...]) -> tuple[Objection, ...]:
    return tuple(objection for objection in found if objection.why is not Why.NOT_DEAD)


def _leave(case: Case, wish: Wish, set_aside: tuple[Objection, ...], event: Event = Event.LEAVE) -> Step:
    verdict = case.verdict(case.was.active)
    evidence = (*verdict.evidence, *(f"set aside: {objection}" for objection in set_aside))
    return Step(was=intent.begin(case, wish, evidence), event=event)


def _fence(rules: Rules, plans: Mapping[str, Plan]) -> Mapping[str, Plan]:
    """One fence a node: with `fence_when = all` only when every app of ours on it may leave."""
    if not any(plan.fence for plan in plans.values()):
        return plans
    by_node: dict[str, list[str]] = {}
    wanting: dict[str, list[str]] = {}
    for key, plan in plans.items():
        if plan.case is None:  # never read yet: it may run on either node, and nobody knows whether it may leave
            for site in SITES:
                by_node.setdefault(rules.place(rules.app(key), site).node, []).append(key)
            continue
        if plan.case.was.phase is Phase.RELEASED or intent.leaving(plan.case):
            continue  # an app that is leaving already keeps no other from it; one that has come here may
        node = plan.case.place(plan.case.was.active).node
        by_node.setdefault(node, []).append(key)
        if plan.wish is not None and plan.fence:
            wanting.setdefault(node, []).append(key)
    fenced = dict(plans)
    for node, keys in wanting.items():
        bound = [key for key in by_node[node] if key not in keys]
        for key in keys:
            plan = plans[key]
            assert plan.case is not None
            assert plan.wish is not None
            if rules.fence_when is FenceWhen.ALL and bound and not plan.wish.forced:
                text = f"{node} is not fenced: not every app of ours on it may move: {', '.join(bound)}"
                why = Objection(why=Why.NOT_DEAD, text=text)
                fenced[key] = replace(
                    plan, decision=replace(plan.decision, objections=(*plan.decision.objections, why))
                )
                continue
            fenced[key] = replace(plan, step=_leave(plan.case, plan.wish, plan.set_aside, Event.FENCE))
    return fenced


def _conclude(sight: Sight, known: Memory, asked: commands.Asked, plans: Mapping[str, Plan]) -> Decision:
    rules, verdicts, watch = sight.rules, sight.verdicts, sight.watch
    apps: dict[str, AppMemory] = dict(asked.memory.apps)
    decisions: dict[str, AppDecision] = {}
    actions: list[Action] = []
    notes: list[Note] = [say.answered(command, text) for command, text in asked.answers]
    memory, moving, changed = asked.memory, False, False
    for key, plan in plans.items():
        decision, was = plan.decision, apps.get(key)
        if plan.step is not None:
            was, said = _take(key, plan.step)
            apps[key] = was
            actions += plan.step.actions
            notes += said + say.stood(asked.memory.apps.get(key), was)
            moving = moving or was.move is not None
            changed = changed or plan.step.event is not None
            decision = decision if decision.phase is was.phase else replace(decision, phase=was.phase)
        memory, answer = _answer(memory, plan, was)
        notes += answer
        decisions[key] = decision
    memory = memory if apps == memory.apps else replace(memory, apps=apps)
    if policy.can_see_snapshot(sight.snapshot):
        memory, fences = remember_nodes(rules, memory, sight.snapshot, verdicts, watch, actions)
        actions += fences
        memory, watch = proof.remember(rules, memory, watch, sight.snapshot, sight.now, changed=memory != known)
        watch = databases.announced(proof.asked(watch, actions, sight.now), actions, sight.snapshot)
    else:
        memory, actions = known, []
    watch = standby.observe(watch, decisions, verdicts, sight.now)
    if policy.speaks(sight.snapshot):
        scene = say.Scene(rules=rules, snapshot=sight.snapshot, verdicts=verdicts, apps=decisions, memory=memory)
        watch, spoken = say.speak(replace(scene, acknowledged=asked.acknowledged), watch, sight.now)
    else:
        watch, spoken = say.hush(watch, sight.snapshot, blind=False)
    if policy.can_see_snapshot(sight.snapshot):
        memory = say.remembered(memory, watch)
    suspects = frozenset(
        name for name, verdict in verdicts.items() if verdict.health is not Health.UP and name in rules.nodes
    )
    alert = _in_doubt(verdicts, suspects, plans) or any("take-back" in one.decision.waiting for one in plans.values())
    still = min(ALERT, rules.timings.tick) if alert else rules.timings.tick
    pause = AT_ONCE if changed else SOON if moving else still
    return Decision(
        memory=memory,
        watch=watch,
        verdicts=verdicts,
        apps=decisions,
        actions=tuple(actions),
        notes=(*notes, *spoken),
        wake_at=sight.now.mono + pause,
        confirm=suspects,
    )


def _in_doubt(verdicts: Mapping[str, Verdict], suspects: frozenset[str], plans: Mapping[str, Plan]) -> bool:
    """Whether a node may turn out to be well or dead, or is dead under an app of ours.

    One that is dead may be so for days: once nothing of ours lives there, nobody waits for it.
    """
    if not suspects:
        return False
    lived_on = {plan.case.place(plan.case.was.active).node if plan.case else "" for plan in plans.values()}
    return any(
        verdicts[name].health is Health.UNKNOWN or name in lived_on or "" in lived_on  # "": it may live anywhere
        for name in suspects
    )


def _take(key: str, step: Step) -> tuple[AppMemory, list[Note]]:
    """Walk the table: the phase that `step.event` leads to, and what is said of it."""
    if step.event is None:
        return step.was, []
    row = machine.advance(step.was.phase, step.event)
    was = replace(step.was, phase=row.next)
    return was, say.changed(key, was, row)


def _answer(memory: Memory, plan: Plan, was: AppMemory | None) -> tuple[Memory, list[Note]]:
    """A command for a move is done once the move has begun, or refused with every reason."""
    if plan.command is None or plan.wish is None:
        return memory, []
    if was is not None and was.move is not None and was.move.command == plan.command.id:
        return commands.done(memory, plan.command, "begun"), [say.answered(plan.command, "begun")]
    held = plan.decision.objections
    if held and not plan.refused and all(objection.why in policy.PASSING for objection in held):
        return memory, []  # asked again until it expires: a mover restarts in seconds
    reasons = (
        "; ".join(str(objection) for objection in plan.refused or plan.decision.objections) or "not possible now"
    )
    text = f"{commands.REFUSED}{reasons}"
    return commands.done(memory, plan.command, text), [say.answered(plan.command, text)]
