"""The world behaves as the real cluster was measured to."""

from dataclasses import replace
from datetime import timedelta

import pytest

from failoverd.core import names
from failoverd.core.model import PatchOp
from failoverd.core.rules import Site, WorkloadKind
from failoverd.simulator.world import World
from failoverd.simulator.world_faults import BadFault, inject
from failoverd.simulator.world_spec import ImpossibleWorld, WorldSpec, simple_app, simple_rules

APP = "media/sonarr"
TEMPLATE = "/spec/template/spec"


def world(**changes):
    made = World(WorldSpec(rules=changes.pop("rules", simple_rules()), **changes))
    made.advance(30_000)
    return made


def pods(made):
    return [pod for pod in made.apps[APP].pods if pod.listed]


def move_ops(*, hold=True):
    ops = [
        PatchOp(
            op="replace", path=f"{TEMPLATE}/volumes/0/persistentVolumeClaim/claimName", value="pvc-sonarr-backup"
        ),
        PatchOp(op="replace", path=f"{TEMPLATE}/nodeSelector/role", value="backup"),
    ]
    key = names.HOLD.replace("/", "~1")
    held = PatchOp(op="add", path=f"/metadata/annotations/{key}", value="disabled")
    return (*ops, held) if hold else tuple(ops)


def test_a_node_without_power_is_unknown_50_s_after_its_last_renewal():
    made = world()
    node = made.nodes["k3s-w1"]
    inject(made, "power_off k3s-w1")
    last = node.renewal_ms(made.time.now_ms)
    made.advance(last + 49_999)
    assert node.ready(made.time.now_ms) == "True"
    made.advance(last + 50_000)
    assert node.ready(made.time.now_ms) == "Unknown"


def test_renewals_need_no_events_and_come_every_10_s():
    made = world()
    node = made.nodes["k3s-cp1"]
    first = node.renewal_ms(made.time.now_ms)
    assert node.renewal_ms(first + 9_999) == first
    assert node.renewal_ms(first + 10_000) == first + 10_000


def test_recreate_waits_for_the_dead_nodes_pod_object_and_a_forced_deletion_frees_it():
    made = world(strategy="Recreate")
    inject(made, "power_off k3s-w1")
    made.patch(made.apps[APP], move_ops())
    made.advance(120_000)
    assert [pod.node for pod in pods(made)] == ["k3s-w1"]
    made.control.force_delete(made.apps[APP], pods(made)[0])
    made.advance(124_000)
    assert [(pod.node, pod.ready) for pod in pods(made)] == [("k3s-w2", True)]


def test_rolling_update_starts_the_new_pod_beside_the_old_one():
    made = world()
    made.patch(made.apps[APP], move_ops())
    made.advance(34_000)
    assert made.accused
    assert made.accused[0][1] == "I2"
    made.advance(60_000)
    assert [pod.node for pod in pods(made)] == ["k3s-w2"]


def test_a_stateful_set_waits_for_the_name():
    app = replace(simple_app(), kind=WorkloadKind.STATEFULSET)
    made = world(rules=simple_rules((app,)))
    inject(made, "power_off k3s-w1")
    made.patch(made.apps[APP], move_ops())
    made.advance(120_000)
    assert [(pod.name, pod.node) for pod in pods(made)] == [("sonarr-0", "k3s-w1")]
    made.control.force_delete(made.apps[APP], pods(made)[0])
    made.advance(124_000)
    assert [(pod.name, pod.node) for pod in pods(made)] == [("sonarr-0", "k3s-w2")]


def test_a_pod_deleted_behind_a_cut_writes_on_until_50_s_after_the_heal():
    made = world()
    truth = made.apps[APP]
    inject(made, "cut k3s-w1")
    made.patch(truth, move_ops())
    made.control.force_delete(truth, pods(made)[0])
    made.advance(200_000)
    assert truth.writers(Site.PRIMARY)
    inject(made, "heal k3s-w1")
    made.advance(249_000)
    assert truth.writers(Site.PRIMARY)
    made.advance(252_000)
    assert not truth.writers(Site.PRIMARY)


def test_pods_of_a_silent_node_stay_listed_and_are_evicted_after_350_s():
    made = world()
    inject(made, "power_off k3s-w1")
    made.advance(300_000)
    assert [pod.deleting for pod in pods(made)] == [False]
    made.advance(400_000)
    assert [(pod.deleting, pod.node) for pod in pods(made)] == [(True, "k3s-w1"), (False, None)]
    assert "nodes are available" in pods(made)[1].waiting


def test_flux_undoes_what_is_not_held_and_leaves_what_is():
    undone = world()
    undone.patch(undone.apps[APP], move_ops(hold=False))
    undone.advance(121_000)
    assert undone.apps[APP].raw["spec"] == undone.apps[APP].git["spec"]
    held = world()
    held.patch(held.apps[APP], move_ops())
    held.advance(400_000)
    assert held.apps[APP].raw["spec"] != held.apps[APP].git["spec"]


def test_a_mover_restarts_when_its_app_comes_unless_the_claim_is_shared():
    for shared, restarts in ((False, True), (True, False)):
        made = world(shared_access=shared)
        started = made.apps[APP].pairs["data"].sides[Site.PRIMARY].started_ms
        assert (started > 0) is restarts


def test_nobody_renews_while_the_api_server_hangs_and_everybody_does_afterwards():
    made = world()
    inject(made, "stall_api 28s")
    before = {name: node.renewal_ms(57_000) for name, node in made.nodes.items()}
    assert all(at <= 30_000 for at in before.values())
    made.advance(58_000)
    assert all(node.renewal_ms(58_000) == 58_000 for node in made.nodes.values())


def test_one_seed_is_one_story():
    def story(seed):
        made = world(seed=seed)
        inject(made, "reboot k3s-w1 25s")
        made.advance(300_000)
        return made.told

    assert story(7) == story(7)
    assert story(7) != story(8)


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        (simple_rules((simple_app(), simple_app())), "one name"),
        (simple_rules((simple_app(), replace(simple_app(), key="media/other"))), "belongs to"),
        (
            simple_rules(pairs=(replace(simple_rules().pairs[0], backup=simple_rules().pairs[0].primary),)),
            "both sites",
        ),
    ],
)
def test_impossible_worlds_are_refused(rules, complaint):
    with pytest.raises(ImpossibleWorld, match=complaint):
        World(WorldSpec(rules=rules))


def test_a_strategy_no_deployment_has_is_refused():
    with pytest.raises(ImpossibleWorld, match="Sideways"):
        World(WorldSpec(rules=simple_rules(), strategy="Sideways"))


@pytest.mark.parametrize("line", ["dance", "power_off k3s-w9", "stall_api soon", "hypervisor k3s-w2 down", "cut"])
def test_faults_that_cannot_be_are_named(line):
    with pytest.raises(BadFault):
        inject(world(), line)


def test_a_quiet_day_accuses_nobody():
    made = world()
    made.advance(int(timedelta(days=1).total_seconds() * 1000))
    assert made.nodes["k3s-w1"].renewal_ms(made.time.now_ms) > made.time.now_ms - 10_000
    assert not made.accused
