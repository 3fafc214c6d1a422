"""Every reason not to act, each brought about by the world; all that hold are told, none is passed over."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from failoverd.core import policy
from failoverd.core.memory import Kind, Move, Phase
from failoverd.core.model import (
    ClaimReading,
    CommandKind,
    FenceOff,
    Guest,
    GuestState,
    Instance,
    Kubelet,
    Needs,
    NodeObject,
    Owner,
    Pod,
    SetRole,
    Unknown,
    Why,
)
from failoverd.core.rules import Failback, FenceWhen, Mode, Require
from tests.core.build import CP, KEY, ROOM, W1, W2, B, P, an_app
from tests.core.life import Life, at_rest, command, healthy

HERE, THERE = (KEY, "data", P), (KEY, "data", B)
SILENCE = an_app(require=Require.SILENCE)


def dead(app=None, **rules):
    """The primary has lost its power: what objects now objects to a failover."""
    life = healthy(app or an_app(), **rules)
    life.world.off.add(W1)
    return life


def away(seconds=0, **rules):
    """The app lives at the backup, the primary is well again: what objects now objects to a failback."""
    life = dead(**rules)
    life.until(lambda one: at_rest(one) and one.app().active is B)
    life.world.off.clear()
    life.until(lambda one: set(one.standings().values()) == {("clean", "active")}, 200)
    life.run(seconds)
    return life


def not_leading():
    life = dead()
    life.leader = False
    return life


def api_gone():
    life = dead()
    life.world.nodes[W1] = {"guest": Unknown("hypervisor: 500")}
    life.run(75)
    life.world.api = False
    return life


def pinned(**fields):
    def made():
        life = dead()
        life.snapshot.update(fields)
        return life

    return made


def paused():
    life = healthy()
    life.commands = (command(CommandKind.PAUSE),)
    life.run(4)
    life.world.off.add(W1)
    return life


def world_with(change, app=None, **rules):
    def made():
        life = dead(app, **rules)
        change(life.world)
        return life

    return made


def nodes(**readings):
    return lambda world: world.nodes.update(readings)


def a_node(**fields):
    return NodeObject(ready="True", allocatable=ROOM, **fields)


def asks(**fields):
    return lambda world: world.needs.update({KEY: Needs(**fields)})


def folder(site, **fields):
    return lambda world: world.pinned.update({(KEY, "data", site): fields})


def stranger(world):
    world.pods[KEY].append(Pod(name="debug", uid="x", node=W2, claims=("pvc-sonarr-backup",), owned=False))


def other_claims(world):
    spec = world.raw[KEY]["spec"]["template"]["spec"]
    spec["volumes"][0]["persistentVolumeClaim"]["claimName"] = "pvc-sonarr-backup"


def scaled_down(world):
    world.raw[KEY]["spec"]["replicas"] = 0


def shaped(**fields):
    def made():
        life = dead()
        real = life.world.workload
        life.snapshot["workloads"] = {KEY: replace(real(KEY), **fields)}
        return life

    return made


def old_data():
    life = healthy()
    life.world.pinned[THERE] = {"need_items": 9}
    life.run(400)
    life.world.off.add(W1)
    return life


def never_proven():
    life = healthy()
    memory = life.app()
    volumes = {name: replace(one, proven_at=None) for name, one in memory.volumes.items()}
    life.memory = replace(life.memory, apps={KEY: replace(memory, volumes=volumes)})
    life.restart()
    life.world.pinned[THERE] = {"need_items": 9}
    life.world.off.add(W1)
    return life


def budget_spent():
    life = dead(max_unhealthy=1)
    began = life.world.date
    life.run(1)
    done = [move_done(life, number, began) for number in range(3)]
    life.memory = replace(life.memory, apps={KEY: replace(life.app(), moves=tuple(done))})
    return life


def move_done(life, number, began):
    return Move(
        id=f"m{number}",
        app=KEY,
        kind=Kind.FAILOVER,
        source=P,
        target=B,
        epoch=0,
        reason="",
        began_at=began,
        outcome="done",
        ended_at=began,
    )


def fence_failing():
    life = healthy()
    life.world.cut.add(W1)
    life.world.deaf.add(FenceOff)
    life.until(lambda one: bool(one.app().moves), 300)
    return life


def frozen():
    life = healthy()
    life.world.folders[THERE] = replace(life.world.folders[THERE], type="sendonly")
    life.run(4)
    life.world.off.add(W1)
    return life


def adopting():
    life = healthy()
    life.memory = replace(life.memory, apps={KEY: replace(life.app(), phase=Phase.ADOPTING)})
    life.world.folders[THERE] = replace(life.world.folders[THERE], type="sendreceive")
    life.world.off.add(W1)
    return life


def cordoned(world):
    world.nodes[W2] = {"node": NodeObject(ready="True", unschedulable=True)}


def hours_closed():
    life = away()
    life.snapshot["hours_open"] = False
    return life


def silent_backup(world):
    world.unread[THERE] = "connection refused"


def stopped(**fields):
    return {W1: {"guest": Guest(state=GuestState.STOPPED, **fields)}}


def dead_in_observe():
    life = healthy()
    life.world.rules = replace(life.world.rules, mode=Mode.OBSERVE)
    life.world.off.add(W1)
    return life


WORLDS: dict[Why, Callable[[], Life] | None] = {
    Why.NOT_LEADER: not_leading,
    Why.OBSERVING: dead_in_observe,
    Why.PAUSED: paused,
    Why.API_UNREACHABLE: api_gone,
    Why.CLOCK_JUMP: pinned(instance=Instance(leader=True, jumped=timedelta(seconds=-90))),
    Why.LOOP_LATE: pinned(instance=Instance(leader=True, late=timedelta(seconds=9))),
    Why.NO_WITNESS: world_with(lambda world: world.cut.update({CP, W2}), SILENCE, fence=""),
    Why.TOO_MANY_SILENT: world_with(lambda world: world.cut.update({CP})),
    Why.WATCHED_ANEW: None,
    Why.NOT_DEAD: world_with(nodes(w1={"guest": Unknown("hypervisor: 500")})),
    Why.CONTRADICTION: world_with(nodes(w1={"kubelet": Kubelet.ALIVE})),
    Why.MAPPING: world_with(lambda world: setattr(world, "rules", replace(world.rules, fence_hash="f2"))),
    Why.TASKS_HIDDEN: world_with(nodes(**stopped(tasks_visible=False))),
    Why.GUEST_BUSY: world_with(nodes(**stopped(busy="stopall"))),
    Why.FENCE_FAILED: fence_failing,
    Why.TARGET_NOT_UP: world_with(nodes(w2={"node": NodeObject(ready="False")})),
    Why.TARGET_CORDONED: world_with(cordoned),
    Why.NO_ROOM: world_with(asks(requests=(("cpu", 4001),))),
    Why.ROOM_UNKNOWN: None,
    Why.NO_DEVICE: world_with(asks(requests=(("nvidia.com/gpu", 1),))),
    Why.TAINT: world_with(nodes(w2={"node": a_node(taints=("dedicated=build:NoSchedule",))})),
    Why.BARRED: world_with(asks(barred=((W2, "no such label"),))),
    Why.NODE_PRESSURE: world_with(nodes(w2={"node": a_node(pressures=("DiskPressure",))})),
    Why.NO_IMAGE: None,
    Why.PLANNED: world_with(nodes(w1={"node": a_node(unschedulable=True)})),
    Why.CLAIM: world_with(lambda world: world.claims.update({THERE: ClaimReading(bound=False)})),
    Why.SYNCTHING_SILENT: world_with(silent_backup),
    Why.FOLDER_ERROR: world_with(folder(B, local_files=0)),
    Why.NOT_CLEAN: world_with(folder(B, device="WIPED")),
    Why.AGE_UNKNOWN: never_proven,
    Why.AGE_TOO_OLD: old_data,
    Why.SOURCE_ERRORS: world_with(folder(B, errors=1, error_files=("app.db",))),
    Why.NOT_ADOPTED: adopting,
    Why.COOLDOWN: lambda: away(400, fence_when=FenceWhen.NEVER),
    Why.BUDGET: budget_spent,
    Why.HOURS: hours_closed,
    Why.RESUMED: None,  # an alarm, never an objection: test_gitops
    Why.GITOPS: None,
    Why.SHAPE: world_with(scaled_down),
    Why.WORKLOAD_UNKNOWN: world_with(lambda world: world.unread.update({KEY: "403"})),
    Why.DIVERGED: world_with(other_claims),
    Why.STRANGER: world_with(stranger),
    Why.MOVING: None,
    Why.FROZEN: frozen,
    Why.UNSTABLE: away,
    Why.MANUAL: None,
    Why.VERIFY: None,
    Why.DISPLACED: None,  # an alarm, never an objection: test_displaced
    Why.DEAD_CONNECTION: None,
    Why.PEER_PAUSED: None,
    Why.NOT_READY: None,
    Why.GUARD_SILENT: None,
    Why.NOT_OPEN: None,
    Why.UNUSABLE: None,
    Why.NO_POINTS: None,
    Why.DELETED: None,
    Why.LOCAL_CHANGES: None,
    Why.IGNORES: None,
    Why.SICK_SOURCE: None,
    Why.NOT_HAD: None,
}
"""A world for every reason; None where the reason has a test of its own: below, or in test_alarms, test_commands,
test_doubt, test_guarding, test_links, test_moves, test_recalling or test_room."""


def made(why):
    build = WORLDS[why]
    assert build
    return build()


def test_every_reason_has_a_world():
    assert sorted(set(Why) - WORLDS.keys()) == []


@pytest.mark.parametrize("why", [why for why, world in WORLDS.items() if world])
def test_a_reason_holds_the_move_and_is_told(why):
    life = made(why)
    moves, active = len(life.app().moves), life.app().active
    heard = set()
    until = life.world.s + 75
    while life.world.s < until:
        life.tick()
        heard |= life.why()
    assert why in heard
    assert life.app().active is active
    if why is not Why.FENCE_FAILED:  # the one that is tried again by itself, each time later
        assert (len(life.app().moves), life.app().move) == (moves, None)


@pytest.mark.parametrize("why", [Why.CLAIM, Why.SYNCTHING_SILENT, Why.TARGET_CORDONED, Why.WORKLOAD_UNKNOWN])
def test_when_the_reason_has_gone_the_move_is_made(why):
    life = made(why)
    life.run(30)
    for pins in (life.world.claims, life.world.unread, life.world.nodes):
        pins.clear()
    life.until(lambda one: at_rest(one) and one.app().active is B, 30)


def test_all_reasons_that_hold_are_told_at_once_and_each_only_once():
    life = dead()
    life.world.claims[THERE] = ClaimReading(bound=False)
    cordoned(life.world)
    stranger(life.world)
    life.run(30)
    assert {Why.CLAIM, Why.TARGET_CORDONED, Why.STRANGER} <= life.why()
    told = [str(one) for one in life.decision.apps[KEY].objections]
    assert len(told) == len(set(told))


def test_a_workload_that_a_foreign_controller_owns_is_not_moved():
    life = shaped(owner=Owner.UNSUPPORTED, owner_name="HelmRelease media/sonarr")()
    life.run(30)
    assert Why.GITOPS in life.why()
    assert "HelmRelease media/sonarr" in life.told()


def test_a_failback_by_hand_waits_for_the_hand():
    life = away(seconds=1500, app=an_app(failback=Failback.MANUAL))
    assert life.app().active is B


def test_a_scaled_down_app_is_not_started_by_a_failover():
    life = made(Why.SHAPE)
    life.run(60)
    assert life.world.raw[KEY]["spec"]["replicas"] == 0


def test_one_folder_reading_that_fails_at_the_moment_of_decision_holds_the_move():
    life = dead()
    life.run(9)
    silent_backup(life.world)
    life.run(4)
    assert life.why() >= {Why.SYNCTHING_SILENT}


def test_an_operator_may_set_aside_only_what_is_listed_and_it_is_recorded():
    life = old_data()
    life.run(20)
    assert life.why() == {Why.AGE_TOO_OLD}
    life.commands = (command(CommandKind.FAILOVER, target=B),)
    life.until(lambda one: at_rest(one) and one.app().active is B, 60)
    move = life.app().moves[-1]
    assert move.forced
    assert move.losses[0].age_seconds > 300
    assert any("set aside" in line and "s old, limit 300 s" in line for line in move.evidence)


@pytest.mark.parametrize("why", [Why.CLAIM, Why.NOT_CLEAN, Why.FOLDER_ERROR, Why.STRANGER, Why.SHAPE, Why.PAUSED])
def test_a_forced_failover_does_not_set_these_aside(why):
    assert why not in policy.OVERRIDABLE
    life = made(why)
    life.run(5)
    life.commands = (command(CommandKind.FAILOVER, target=B, id="forced"),)
    life.run(60)
    assert life.app().active is P


def test_the_reasons_to_wait_are_never_roles_already_set():
    life = made(Why.STRANGER)
    life.run(60)
    assert SetRole not in {type(act) for act in life.world.did}


def test_no_objection_is_made_nowhere():
    core = Path(policy.__file__).parent
    text = "".join(path.read_text(encoding="utf-8") for path in core.glob("*.py") if path.name != "model.py")
    assert [why.name for why in Why if f"Why.{why.name}" not in text] == []
