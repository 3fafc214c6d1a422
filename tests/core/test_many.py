"""Many apps on one dead node: side by side, by one fence, and none waits for another that is stuck."""

import pytest

from failoverd.core.memory import Phase
from failoverd.core.model import CommandKind, FenceOff, PatchWorkload, Why
from failoverd.core.rules import Require
from tests.core.build import CP, W1, W2, B, P, an_app
from tests.core.life import Life, command, healthy, kinds

KEYS = [f"media/app{number}" for number in range(10)]


def ten(require: Require = Require.PROOF, **rules) -> Life:
    return healthy(*(an_app(key, require=require) for key in KEYS), **rules)


def away(life: Life) -> set[str]:
    return {key for key in KEYS if life.app(key).active is B and life.phase(key) is Phase.WATCHING}


@pytest.mark.parametrize("lost", ["off", "cut"])
def test_ten_apps_of_a_dead_node_move_side_by_side_and_share_one_fence(lost):
    one, many = healthy(an_app(KEYS[0])), ten()
    cuts, carry_out = [], many.world.do

    def act(action):
        if isinstance(action, FenceOff):
            cuts.append((many.world.s, action.key))
        return carry_out(action)

    many.do = act
    for life in (one, many):
        getattr(life.world, lost).add(W1)
    alone = one.until(lambda life: life.app().active is B and life.phase() is Phase.WATCHING)
    together = many.until(lambda life: len(away(life)) == len(KEYS))
    assert together <= alone + 2
    # asked for by each in the same tick under one key, of which the loop carries out one: test_loop
    assert len(set(cuts)) == (1 if lost == "cut" else 0)
    began = {many.app(key).moves[-1].began_at for key in KEYS}
    assert len(began) == 1
    stopped = [act.app for act in many.world.did if isinstance(act, PatchWorkload)][: len(KEYS)]
    assert sorted(stopped) == KEYS  # every stop before the first start


STUCK = {
    "its workload cannot be patched": lambda life: None,
    "its pod never becomes ready": lambda life: life.world.needs.clear(),
    "its target's Syncthing is silent": lambda life: life.world.unread.update({(KEYS[3], "data", B): "no answer"}),
    "its workload cannot be read": lambda life: life.world.unread.update({KEYS[3]: "403"}),
}


@pytest.mark.parametrize("what", STUCK)
def test_one_that_is_stuck_holds_up_no_other(what):
    life = ten()
    carry_out = life.world.do

    def deaf(action):
        patched = isinstance(action, PatchWorkload) and action.app == KEYS[3]
        if patched and what == "its workload cannot be patched":
            life.world.deaf.add(PatchWorkload)
            receipt = carry_out(action)
            life.world.deaf.clear()
            return receipt
        return carry_out(action)

    life.do = deaf
    if what == "its pod never becomes ready":
        whole = life.world._reconcile
        life.world._reconcile = lambda app: None if app.key == KEYS[3] and life.app(app.key).move else whole(app)  # type: ignore[method-assign]
    life.world.off.add(W1)
    life.tick()
    STUCK[what](life)
    life.until(lambda one: len(away(one)) >= len(KEYS) - 1, 60)
    assert away(life) == set(KEYS) - {KEYS[3]}
    life.run(400)  # and says what it waits for
    decision = life.decision.apps[KEYS[3]]
    assert decision.waiting or decision.objections or decision.alarms


def test_with_more_domains_silent_than_allowed_none_of_ten_moves_and_each_says_why():
    life = ten(Require.SILENCE, fence="")
    life.world.cut.update({W1, CP})
    life.run(300)
    assert away(life) == set()
    assert not {"FenceOff", "PatchWorkload", "DeletePod"} & set(kinds(life.world.did))
    for key in KEYS:
        assert Why.TOO_MANY_SILENT in life.why(key)


def test_the_age_stands_still_from_the_confirmed_death_so_that_consent_after_ten_minutes_is_not_too_late():
    life = healthy(an_app(KEYS[0], require=Require.PROOF))
    life.world.pinned[KEYS[0], "data", B] = {"error": "disk gone", "state": "error"}
    life.world.off.add(W1)
    life.run(30)
    at_death = life.decision.apps[KEYS[0]].ages["data"]
    life.run(600)
    assert life.decision.apps[KEYS[0]].ages["data"] == at_death
    assert life.app(KEYS[0]).active is P
    life.world.pinned.clear()
    life.commands = (command(CommandKind.FAILOVER, KEYS[0], target=B),)
    life.until(lambda one: one.app(KEYS[0]).active is B, 20)
    (loss,) = life.app(KEYS[0]).move.losses
    assert loss.age_seconds == at_death.total_seconds()


def test_a_failback_leaves_one_failover_in_the_budget_of_every_app():
    life = ten()
    life.world.off.add(W1)
    life.until(lambda one: len(away(one)) == len(KEYS))
    life.world.off.clear()
    life.until(lambda one: all(one.app(key).active is P and one.app(key).move is None for key in KEYS), 3000)
    life.run(60)
    life.world.off.add(W1)
    life.until(lambda one: len(away(one)) == len(KEYS), 60)
    assert W2 not in life.world.off
