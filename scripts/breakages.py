"""Every promise broken on purpose, one row a breakage: `scripts/mutants.py` carries them out and asks who notices."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One deliberate breakage: in `file`, the only `old` becomes `new`; `tests` must notice."""

    promise: str
    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def _row(promise: str, what: str, file: str, change: tuple[str, str], *tests: str) -> Mutant:
    old, new = change
    return Mutant(promise=promise, what=what, file=file, old=old, new=new, tests=tests)


MUTANTS = (
    _row(
        "I1",
        "the target is not made to send only before the app starts there",
        "failoverd/core/moves.py",
        ("if target.type != Role.SEND_ONLY:", "if False:"),
        "tests/core/test_moves.py",
        "tests/test_scenarios.py",
    ),
    _row(
        "I1",
        "the standby is made to receive only without proof",
        "failoverd/core/roles.py",
        ('    if missing:\n        return Tended(memory=memory, waiting=f"adopting: {missing}")', ""),
        "tests/core/test_roles.py",
    ),
    _row(
        "I1",
        "an active side that only receives is promoted though nobody knows what the other side is",
        "failoverd/core/roles.py",
        (" and not _borne_out(case):", " and False:"),
        "tests/core/test_roles.py",
    ),
    _row(
        "I2",
        "a fenced guest that runs again in mid-move is left running",
        "failoverd/core/moves.py",
        ("    return bool(fenced and running and", "    return False and bool(fenced and running and"),
        "tests/core/test_fences.py",
        "tests/core/test_moves.py",
    ),
    _row(
        "I2",
        "the flip goes on while pods are left",
        "failoverd/core/moves.py",
        (
            '    if left:\n        return Step(was=case.was, waiting="pods to go: " +',
            '    if False:\n        return Step(was=case.was, waiting="pods to go: " +',
        ),
        "tests/core/test_moves.py",
    ),
    _row(
        "I2",
        "pods on a living node are deleted",
        "failoverd/core/moves.py",
        ("    if move.kind.planned or not (gone or forced):", "    if False:"),
        "tests/core/test_moves.py",
    ),
    _row(
        "I2",
        "a guest said to be stopped whose host refuses the kubelet's port is dead",
        "failoverd/core/hysteresis.py",
        ("in (Kubelet.ALIVE, Kubelet.REFUSED):\n        how", "in (Kubelet.ALIVE,):\n        how"),
        "tests/core/test_hysteresis.py",
    ),
    _row(
        "I2",
        "a guest said to be stopped that writes on is dead",
        "failoverd/core/hysteresis.py",
        ("    if stopped and (wrote :=", "    if False and (wrote :="),
        "tests/core/test_hysteresis.py",
    ),
    _row(
        "I2",
        "silence is enough though the hypervisor says that the guest runs",
        "failoverd/core/fencing.py",
        ("(silent and guest_state(case, node) is None)", "silent"),
        "tests/core/test_fences.py",
    ),
    _row(
        "I2",
        "a cut that comes true late is forgotten",
        "failoverd/core/nodes.py",
        ("snapshot.api.date if unanswered else None", "None"),
        "tests/core/test_fences.py",
    ),
    _row(
        "I2",
        "pods between two places are read from the cache where Flux owns nothing",
        "failoverd/adapters/kubernetes/read.py",
        ("workload.epoch is not None and workload.replicas == 0", "workload.held and workload.replicas == 0"),
        "tests/adapters/test_kubernetes_read.py",
    ),
    _row(
        "I3",
        "a lease that cannot be read counts as silent",
        "failoverd/core/hysteresis.py",
        ("held = seen.stamp_seen_at + elapsed if seen", "held = seen.stamp_seen_at if seen"),
        "tests/core/test_hysteresis.py",
        "tests/test_scenarios.py",
    ),
    _row(
        "I3",
        "a guest that cannot be read counts as stopped",
        "failoverd/core/hysteresis.py",
        (
            "    reading, seen, timings = snapshot.nodes[name], watch.nodes[name], rules.timings",
            "    reading, seen, timings = snapshot.nodes[name], watch.nodes[name], rules.timings\n"
            "    if isinstance(reading.guest, Unknown):\n"
            "        reading = replace(reading, guest=Guest(state=GuestState.STOPPED))",
        ),
        "tests/core/test_hysteresis.py",
    ),
    _row(
        "I4",
        "an outdated copy may be promoted",
        "failoverd/core/policy.py",
        ("        if standing is not Standing.CLEAN:", "        if False:"),
        "tests/core/test_policy.py",
    ),
    _row(
        "I4",
        "an unknown data age is no objection",
        "failoverd/core/policy.py",
        ("        if measured is None:", "        if measured is None:\n            continue\n        if False:"),
        "tests/core/test_policy.py",
    ),
    _row(
        "I4",
        "an empty target may be promoted",
        "failoverd/core/policy.py",
        ("    elif folder.local_files == 0:", "    elif False:"),
        "tests/core/test_policy.py",
        "tests/core/test_promotion.py",
    ),
    _row(
        "I4",
        "a target is not read again before the app is given to it",
        "failoverd/core/moves.py",
        ("    if unfit:\n        return _not_promoted", "    if False:\n        return _not_promoted"),
        "tests/core/test_promotion.py",
    ),
    _row(
        "I4",
        "a target is not read again right before the flip",
        "failoverd/core/moves.py",
        ("    if unfit:\n        alarms =", "    if False:\n        alarms ="),
        "tests/core/test_promotion.py",
    ),
    _row(
        "I4",
        "what is written until a fence ends it does not count in the age",
        "failoverd/core/fencing.py",
        ("if old and not move.forced:", "if False:"),
        "tests/core/test_promotion.py",
    ),
    _row(
        "I4",
        "a stop that was survived counts for the next death",
        "failoverd/core/hysteresis.py",
        ("if seen.stamp_moved_at - seen.stopped_since > IN_FLIGHT:", "if False:"),
        "tests/core/test_hysteresis.py",
    ),
    _row(
        "I4",
        "a death is dated by a stop that was survived",
        "failoverd/core/hysteresis.py",
        ("        if not lived_on:", "        if True:"),
        "tests/core/test_hysteresis.py",
    ),
    _row(
        "I4",
        "what the standby heard of a former installation is a proof",
        "failoverd/core/proof.py",
        ("        and _same(standby.peer, scanned.device)\n", ""),
        "tests/core/test_proof.py",
    ),
    _row(
        "I4",
        "a survivor that cannot read its files overrides the returned side",
        "failoverd/core/take_back.py",
        ("    if unread := _unread(found or before):", '    if unread := "":'),
        "tests/core/test_take_back.py",
    ),
    _row(
        "I5",
        "acts without being the leader and without seeing the API server",
        "failoverd/core/policy.py",
        ("    return snapshot.instance.leader and isinstance(snapshot.api, Api)", "    return True"),
        "tests/core",
        "tests/test_scenarios.py",
    ),
    _row(
        "I5",
        "moves after its clock jumped",
        "failoverd/core/policy.py",
        ("    if abs(instance.jumped) > LATE:", "    if False:"),
        "tests/core/test_policy.py",
    ),
    _row(
        "I5",
        "silence counts without a witness",
        "failoverd/core/hysteresis.py",
        ("    if not witnesses(rules, watch, name, now):", "    if False:"),
        "tests/core/test_hysteresis.py",
    ),
    _row(
        "I5",
        "a move goes on in observe",
        "failoverd/core/decide.py",
        ("    if case.rules.mode is Mode.OBSERVE:\n        text", "    if False:\n        text"),
        "tests/core/test_motion.py",
    ),
    _row(
        "I5",
        "an app that was never read may move as far as its node's fence goes",
        "failoverd/core/decide.py",
        (
            "                by_node.setdefault(rules.place(rules.app(key), site).node, []).append(key)",
            "                pass",
        ),
        "tests/core/test_motion.py",
    ),
    _row(
        "I6",
        "finished moves do not count against the budget",
        "failoverd/core/policy.py",
        ("if not (move.aborted or move.command) and", "if not move.outcome and"),
        "tests/core/test_motion.py",
        "tests/core/test_policy.py",
    ),
    _row(
        "I6",
        "an operator's moves count against the budget",
        "failoverd/core/policy.py",
        ("if not (move.aborted or move.command) and", "if not move.aborted and"),
        "tests/core/test_motion.py",
    ),
    _row(
        "I6",
        "no cooldown between elective moves",
        "failoverd/core/policy.py",
        ("    if wish.elective and last is not None:", "    if False:"),
        "tests/core/test_policy.py",
    ),
    _row(
        "I6",
        "fewer moves are kept than the budget counts",
        "failoverd/core/intent.py",
        ("len(kept) <= KEPT + timings.max_moves", "len(kept) <= KEPT"),
        "tests/core/test_motion.py",
    ),
    _row(
        "I6",
        "a Syncthing whose connection stays dead is restarted again and again",
        "failoverd/core/links.py",
        ("    return last is None or", "    return True or"),
        "tests/core/test_links.py",
    ),
    _row(
        "I7",
        "acts before what it decided is saved",
        "failoverd/loop.py",
        ("            await self.store.save(decision.memory)", "            pass"),
        "tests/core/test_loop.py",
        "tests/simulator/test_resume.py",
    ),
    _row(
        "I7",
        "a move is called off while its first patch is on its way",
        "failoverd/core/moves.py",
        ("        if why and case.patching:", "        if False:"),
        "tests/core/test_late_patch.py",
    ),
    _row(
        "I7",
        "a stop that lands after its move was called off stays",
        "failoverd/core/rest.py",
        ("    if late is not None and case", "    if False and case"),
        "tests/core/test_late_patch.py",
    ),
    _row(
        "I8",
        "going home leaves the hold on the workload",
        "failoverd/core/patch.py",
        ("    if workload.held and not undo.held:", "    if False:"),
        "tests/core/test_patch.py",
        "tests/test_scenarios.py",
    ),
    _row(
        "I8",
        "a HelmRelease stays suspended at home",
        "failoverd/core/gitops.py",
        ("        return list(resume(case)), []", "        return [], []"),
        "tests/core/test_gitops.py",
    ),
    _row(
        "I8",
        "a HelmRelease is resumed to something else than it was",
        "failoverd/core/gitops.py",
        ("suspend=ours.suspend if ours else release.suspend", "suspend=False"),
        "tests/core/test_gitops.py",
    ),
    _row(
        "I8",
        "a workload is touched before its HelmRelease is suspended",
        "failoverd/core/moves.py",
        ("    if not gitops.is_suspended(workload):\n        why", "    if False:\n        why"),
        "tests/core/test_gitops.py",
    ),
    _row(
        "I8",
        "a suspension that vanishes while an app is away is not put back",
        "failoverd/core/gitops.py",
        ("    return list(suspend(case, said)), [alarm]", "    return [], [alarm]"),
        "tests/core/test_gitops.py",
    ),
    _row(
        "I8",
        "going home does not restore the replicas",
        "failoverd/core/patch.py",
        ("value=was.undo.replicas", "value=1"),
        "tests/core/test_patch.py",
    ),
    _row(
        "I8",
        "going home does not restore the nodeSelector",
        "failoverd/core/patch.py",
        ("        ops += _unselect(workload, was.undo)\n", ""),
        "tests/core/test_patch.py",
    ),
    _row(
        "I8",
        "an app whose memory was lost takes the place where it was found for its home",
        "failoverd/core/intent.py",
        ("    if workload.epoch is None:\n        return now\n", "    return now\n"),
        "tests/core/test_lost_memory.py",
    ),
    _row(
        "I9",
        "a hold is not told",
        "failoverd/core/say.py",
        (
            "            notes.append(note)\n            said[incident] = reasons",
            "            said[incident] = reasons",
        ),
        "tests/test_scenarios.py",
        "tests/core",
    ),
    _row(
        "I9",
        "the refusal of a command is not said",
        "failoverd/core/decide.py",
        ("text), [say.answered(plan.command, text)]", "text), []"),
        "tests/core/test_commands.py",
    ),
    _row(
        "I9",
        "an app that is not ready in time is no alarm",
        "failoverd/core/moves.py",
        ("(Objection(why=Why.NOT_READY, text=text),)", "()"),
        "tests/core/test_moves.py",
    ),
    _row(
        "I9",
        "a hold is never resolved once the move begins",
        "failoverd/core/say.py",
        (
            "        notes.append(Note(incident=incident, text=text, level=level, app=app, resolved=True))",
            "        notes += [] if begun else [Note(incident=incident, text=text, level=level, resolved=True)]",
        ),
        "tests/test_scenarios.py",
    ),
    _row(
        "I9",
        "a patch that somebody undid is called one that stood",
        "failoverd/core/rest.py",
        ("    undone = put_back or not case.runs_on(was.active)", "    undone = False"),
        "tests/core/test_stood.py",
    ),
    _row(
        "I10",
        "a take-back does not keep what it displaces",
        "failoverd/core/take_back.py",
        (
            '            keep=True,\n            reason=f"{site} lost; what it displaces is kept",',
            '            keep=None,\n            reason=f"{site} lost; what it displaces is kept",',
        ),
        "tests/core/test_take_back.py",
    ),
    _row(
        "I10",
        "versioning is turned off before the returned side holds everything",
        "failoverd/core/take_back.py",
        ("    missing = _equal_for_take_back(standby, copy) or _unheard", "    missing = _unheard"),
        "tests/core/test_take_back.py",
    ),
)
