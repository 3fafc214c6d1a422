"""The taint `out-of-service`: by proof alone, where something of ours leaves, and off by the first sign of life."""

from dataclasses import replace

import pytest

from failoverd.core.memory import Phase
from failoverd.core.model import (
    FenceOff,
    Guest,
    GuestState,
    Kubelet,
    NodeObject,
    TaintNode,
    Unknown,
    UntaintNode,
)
from failoverd.core.rules import AfterFence, Mode, Require
from tests.core.build import KEY, W1, B, an_app
from tests.core.life import healthy, kinds
from tests.core.test_moves import arrived, powered_off


def tainting(require=Require.PROOF, **rules):
    return healthy(an_app(require=require), out_of_service=(W1,), **rules)


def test_a_node_proven_dead_is_tainted_once_and_not_before_its_apps_move_is_remembered():
    life = tainting()
    carry_out, remembered = life.world.do, []

    def act(action):
        if isinstance(action, TaintNode):
            remembered.append(life.app().move)
        return carry_out(action)

    life.do = act
    powered_off(life)
    life.until(arrived(B))
    assert [move is not None for move in remembered] == [True]
    assert life.world.tainted == {W1: True}


def test_a_node_that_was_fenced_is_tainted_after_that_and_untainted_when_it_gets_its_power_back():
    life = tainting()
    life.world.cut.add(W1)
    life.until(arrived(B))
    life.run(30)
    order = [name for name in kinds(life.world.did) if name in ("FenceOff", "TaintNode", "UntaintNode", "FenceOn")]
    assert order == ["FenceOff", "TaintNode", "UntaintNode", "FenceOn"]
    assert life.world.tainted == {}


def test_our_own_deletion_does_not_wait_for_the_clusters():
    life = tainting()
    powered_off(life)
    life.until(arrived(B))
    assert "DeletePod" in kinds(life.world.did)
    assert abs(kinds(life.world.did).index("DeletePod") - kinds(life.world.did).index("TaintNode")) <= 2


def test_nothing_is_tainted_that_is_not_configured_to_be():
    life = healthy(an_app(require=Require.PROOF))
    powered_off(life)
    life.until(arrived(B))
    assert not {"TaintNode", "UntaintNode"} & set(kinds(life.world.did))


def test_nothing_is_tainted_by_silence_or_in_observe():
    silent = tainting(Require.SILENCE)
    silent.world.cut.add(W1)
    silent.world.deaf.add(FenceOff)
    silent.world.nodes[W1] = {"guest": Unknown("no answer within 2 s")}
    silent.until(arrived(B))
    watching = tainting()
    watching.world.rules = replace(watching.world.rules, mode=Mode.OBSERVE)
    powered_off(watching)
    watching.run(120)
    for life in (silent, watching):
        assert "TaintNode" not in kinds(life.world.did)


def test_a_node_that_nothing_of_ours_leaves_is_not_ours_to_taint():
    life = tainting()
    life.until(lambda one: one.phase() is Phase.WATCHING)
    life.world.pinned[KEY, "data", B] = {"state": "error", "error": "disk gone"}
    powered_off(life)
    life.run(120)
    assert life.app().move is None
    assert "TaintNode" not in kinds(life.world.did)


def test_a_taint_that_is_somebody_elses_is_neither_set_again_nor_taken_off():
    life = tainting()
    life.world.tainted[W1] = False
    powered_off(life)
    life.until(arrived(B))
    life.world.off.clear()
    life.run(120)
    assert not {"TaintNode", "UntaintNode"} & set(kinds(life.world.did))


def test_one_that_somebody_took_off_while_the_node_is_dead_is_not_set_again():
    life = tainting(after_fence=AfterFence.LEAVE)
    powered_off(life)
    life.until(lambda one: W1 in one.world.tainted)
    bare = NodeObject(ready="Unknown", out_of_service=True)
    life.world.nodes[W1] = {"node": bare}
    life.run(60)
    assert kinds(life.world.did).count("TaintNode") == 1


SIGNS = {
    "its guest runs": {"guest": Guest(state=GuestState.RUNNING)},
    "its kubelet answers though its guest is said to be stopped": {"kubelet": Kubelet.ALIVE},
}


@pytest.mark.parametrize("sign", SIGNS)
def test_the_first_sign_of_life_takes_it_off(sign):
    life = tainting()
    powered_off(life)
    life.until(arrived(B))
    life.run(20)
    assert W1 in life.world.tainted
    life.world.nodes[W1] = SIGNS[sign]
    life.run(4)
    assert W1 not in life.world.tainted


def test_it_stays_while_the_node_is_dead_whatever_else_happens():
    life = tainting()
    powered_off(life)
    life.until(arrived(B))
    life.run(20)
    life.restart()  # begins to watch from zero: silence of its own is no sign of life
    life.run(60)
    life.world.nodes[W1] = {"guest": Unknown("no answer within 2 s")}
    life.run(60)
    assert life.world.tainted == {W1: True}


def test_a_removal_that_was_refused_is_tried_again():
    life = tainting()
    powered_off(life)
    life.until(arrived(B))
    life.world.deaf.add(UntaintNode)
    life.world.off.clear()
    life.run(30)
    assert kinds(life.world.did).count("UntaintNode") > 2
    life.world.deaf.clear()
    life.run(5)
    assert life.world.tainted == {}


@pytest.mark.parametrize("node", [Unknown("timeout"), NodeObject(ready="Unknown", deleting=True)])
def test_a_node_that_cannot_be_read_or_is_being_deleted_is_left_alone(node):
    life = tainting()
    life.world.deaf.add(TaintNode)
    powered_off(life)
    life.until(lambda one: one.app().move is not None)
    before = kinds(life.world.did).count("TaintNode")
    assert before == 1
    life.world.nodes[W1] = {"node": node}
    life.run(20)
    assert kinds(life.world.did).count("TaintNode") == before


def test_the_words_say_why():
    life = tainting()
    powered_off(life)
    life.until(arrived(B))
    said = next(act.reason for act in life.world.did if isinstance(act, TaintNode))
    assert said == f"proven dead, and {KEY} leaves it"
