"""Room at the target: reckoned by requests, by priority, told ahead of time; and what only planned moves wait for."""

from dataclasses import replace
from datetime import timedelta

import pytest

from failoverd.core.model import CommandKind, Needs, NodeObject, Toleration, Unknown, Why
from tests.core.build import KEY, ROOM, TWO, W1, W2, B, P, an_app
from tests.core.life import Life, at_rest, command, healthy

GIB = 1 << 30


def cpu(amount):
    return Needs(requests=(("cpu", amount), ("pods", 1)))


def pair_of_apps(first=0, second=10):
    """Two apps that run at the primary; the second has the higher priority."""
    return healthy(an_app(priority=first), an_app(TWO, priority=second))


def standby(life: Life, key=KEY):
    assert life.decision
    found = life.decision.apps[key].standby
    assert found is not None
    return found


def missing(life, key=KEY):
    return {one.why for one in standby(life, key).missing}


def warned(life, key=KEY):
    return {one.why for one in standby(life, key).warnings}


def run_notes(life, seconds):
    """What is said within so many seconds."""
    notes, until = [], life.world.s + seconds
    while life.world.s < until:
        notes += life.tick().notes
    return notes


def test_what_is_needed_and_what_is_free_stand_in_the_objection():
    life = healthy()
    life.world.needs[KEY] = Needs(requests=(("cpu", 1500), ("memory", 3 * GIB)))
    life.world.used[W2] = (("cpu", 3000), ("memory", 2 * GIB))
    life.run(4)
    assert [one.text for one in standby(life).missing] == ["no room on target w2: cpu needs 1500m, free 1 of 4"]


def test_what_fits_exactly_fits():
    life = healthy()
    life.world.needs[KEY], life.world.used[W2] = cpu(1000), (("cpu", 3000), ("pods", 109))
    life.run(4)
    assert standby(life).missing == ()
    life.world.used[W2] = (("cpu", 3000), ("pods", 110))
    life.run(4)
    assert missing(life) == {Why.NO_ROOM}


def test_a_resource_that_is_not_requested_is_not_looked_at():
    life = healthy()
    life.world.used[W2] = (("cpu", 9000),)
    life.run(4)
    assert standby(life).missing == ()


def test_the_higher_priority_finds_room_first_and_the_other_does_not_hold_it_up():
    life = pair_of_apps()
    life.world.needs |= {KEY: cpu(2500), TWO: cpu(2500)}
    life.run(4)
    assert (missing(life, KEY), missing(life, TWO)) == ({Why.NO_ROOM}, set())
    life.world.off.add(W1)
    life.until(lambda one: one.app(TWO).active is B and one.app(TWO).move is None, 60)
    assert life.app(KEY).active is P
    assert life.why(KEY) == {Why.NO_ROOM}


def test_one_that_cannot_move_for_another_reason_reserves_nothing():
    life = pair_of_apps()
    life.world.needs |= {KEY: cpu(2500), TWO: cpu(2500)}
    life.world.pinned[TWO, "data", B] = {"local_files": 0}
    life.world.off.add(W1)
    life.until(lambda one: one.app(KEY).active is B and one.app(KEY).move is None, 60)
    assert Why.FOLDER_ERROR in life.why(TWO)


def test_one_without_room_lets_smaller_ones_by():
    life = pair_of_apps()
    life.world.needs |= {KEY: cpu(1000), TWO: cpu(9000)}
    life.world.off.add(W1)
    life.until(lambda one: one.app(KEY).active is B and one.app(KEY).move is None, 60)
    assert life.why(TWO) == {Why.NO_ROOM}


def test_an_app_on_its_way_keeps_its_room_before_its_pod_is_there():
    life = pair_of_apps(first=10, second=0)
    life.world.needs |= {KEY: cpu(2500), TWO: cpu(2500)}
    life.world.off.add(W1)
    life.until(lambda one: one.app(KEY).move is not None, 60)
    while life.app(KEY).move is not None:
        life.tick()
        assert life.app(TWO).move is None
        assert Why.NO_ROOM in life.why(TWO)
    assert life.app(KEY).active is B


def test_room_that_is_not_known_keeps_no_app_on_a_dead_node():
    life = healthy()
    life.world.nodes[W2] = {"used": Unknown("pods on w2 not listed: 403")}
    life.run(4)
    assert (missing(life), warned(life)) == (set(), {Why.ROOM_UNKNOWN})
    life.world.off.add(W1)
    life.until(lambda one: at_rest(one) and one.app().active is B, 60)


@pytest.mark.parametrize(
    "reading",
    [{"used": Unknown("pods on w2 not listed: 403")}, {"node": NodeObject(ready="True")}],
    ids=["pods unread", "node silent about it"],
)
def test_a_planned_move_waits_until_room_is_known(reading):
    life = healthy()
    life.world.nodes[W2] = reading
    life.commands = (command(CommandKind.SWITCHOVER, target=B),)
    life.run(10)
    assert life.app().active is P
    assert life.why() == {Why.ROOM_UNKNOWN}
    life.world.nodes.clear()
    life.until(lambda one: at_rest(one) and one.app().active is B, 60)


def test_force_sets_missing_room_aside_but_no_missing_device():
    for requests, goes in (((("cpu", 9000),), True), ((("nvidia.com/gpu", 1),), False)):
        life = healthy()
        life.world.needs[KEY] = Needs(requests=requests)
        life.world.off.add(W1)
        life.run(20)
        life.commands = (command(CommandKind.FAILOVER, target=B),)
        life.run(30)
        assert (life.app().active is B) is goes


def test_a_device_the_node_has_and_others_use_is_a_matter_of_room():
    life = healthy()
    life.world.needs[KEY] = Needs(requests=(("nvidia.com/gpu", 1),))
    has = (*ROOM, ("nvidia.com/gpu", 1))
    life.world.nodes[W2] = {"node": NodeObject(ready="True", allocatable=has), "used": (("nvidia.com/gpu", 1),)}
    life.run(4)
    assert missing(life) == {Why.NO_ROOM}
    life.world.nodes[W2]["node"] = NodeObject(ready="True", allocatable=(*ROOM, ("nvidia.com/gpu", 0)))
    life.run(4)
    assert missing(life) == {Why.NO_DEVICE}


@pytest.mark.parametrize(
    ("toleration", "taint", "tolerated"),
    [
        (Toleration(key="a", value="b", effect="NoSchedule"), "a=b:NoSchedule", True),
        (Toleration(key="a", value="c", effect="NoSchedule"), "a=b:NoSchedule", False),
        (Toleration(key="a", value="b", effect="NoExecute"), "a=b:NoSchedule", False),
        (Toleration(key="a", value="b"), "a=b:NoExecute", True),
        (Toleration(key="a", exists=True), "a=b:NoSchedule", True),
        (Toleration(key="a"), "a:NoSchedule", True),
        (Toleration(exists=True), "x=y:NoExecute", True),
        (Toleration(), "x:NoSchedule", False),
        (Toleration(key="a", exists=True, passing=True), "a:NoExecute", False),
        (Toleration(key="b", exists=True), "a:NoSchedule", False),
    ],
)
def test_tolerations_are_those_of_kubernetes(toleration, taint, tolerated):
    life = healthy()
    life.world.needs[KEY] = Needs(tolerations=(toleration,))
    life.world.nodes[W2] = {"node": NodeObject(ready="True", allocatable=ROOM, taints=(taint,))}
    life.run(4)
    assert (missing(life) == set()) is tolerated
    assert missing(life) <= {Why.TAINT}


@pytest.mark.parametrize("taint", ["a:PreferNoSchedule", "node.kubernetes.io/unschedulable:NoSchedule"])
def test_a_taint_that_forbids_nothing_or_is_told_otherwise_is_no_objection(taint):
    life = healthy()
    life.world.nodes[W2] = {"node": NodeObject(ready="True", allocatable=ROOM, taints=(taint,))}
    life.run(4)
    assert standby(life).missing == ()


@pytest.mark.parametrize(
    ("image", "listed", "there"),
    [
        ("sonarr", {"docker.io/library/sonarr:latest"}, True),
        ("linuxserver/sonarr:4", {"docker.io/linuxserver/sonarr:4"}, True),
        ("ghcr.io/x/sonarr:4", {"ghcr.io/x/sonarr:4"}, True),
        ("ghcr.io/x/sonarr:5", {"ghcr.io/x/sonarr:4"}, False),
        ("localhost:5000/sonarr", {"localhost:5000/sonarr:latest"}, True),
        ("ghcr.io/x/sonarr@sha256:ab", {"ghcr.io/x/sonarr@sha256:ab"}, True),
    ],
)
def test_an_image_that_has_to_be_pulled_is_a_warning_and_holds_nothing(image, listed, there):
    life = healthy()
    life.world.needs[KEY] = Needs(images=(image,))
    life.world.nodes[W2] = {"node": NodeObject(ready="True", allocatable=ROOM, images=frozenset(listed))}
    life.run(4)
    assert (missing(life), warned(life)) == (set(), set() if there else {Why.NO_IMAGE})


def test_where_the_list_of_images_may_be_cut_nothing_is_said():
    life = healthy()
    life.world.needs[KEY] = Needs(images=("sonarr",))
    life.run(4)
    assert warned(life) == set()


def test_a_standby_that_could_not_take_over_is_told_once_and_once_more_when_it_could():
    life = healthy()
    life.world.needs[KEY] = cpu(9000)
    told = run_notes(life, 55)
    assert told == []
    told = run_notes(life, 300)
    assert [(one.incident, one.level, one.resolved) for one in told] == [(f"standby {KEY}", "warning", False)]
    assert "w2 could not take over media/sonarr now: no room on target w2: cpu needs 9, free 4 of 4" in told[0].text
    life.world.needs[KEY] = cpu(1)
    told = run_notes(life, 300)
    assert [(one.incident, one.resolved) for one in told] == [(f"standby {KEY}", True)]


def test_what_passes_within_a_minute_is_not_told():
    life = healthy()
    for _ in range(4):
        life.world.unread[KEY, "data", B] = "connection refused"
        assert run_notes(life, 40) == []
        del life.world.unread[KEY, "data", B]
        assert run_notes(life, 10) == []


def test_a_second_reason_is_told_and_one_that_goes_is_not():
    life = healthy()
    life.world.needs[KEY] = cpu(9000)
    run_notes(life, 100)
    life.world.needs[KEY] = replace(cpu(9000), barred=((W2, "no such label"),))
    told = run_notes(life, 100)
    assert [("no such label" in one.text, one.resolved) for one in told] == [(True, False)]
    life.world.needs[KEY] = cpu(9000)
    assert run_notes(life, 100) == []


def test_a_new_leader_does_not_call_it_over_before_it_knows():
    life = healthy()
    life.world.needs[KEY] = cpu(9000)
    run_notes(life, 100)
    life.restart()
    told = run_notes(life, 200)
    assert [(one.incident, one.resolved) for one in told] == [(f"standby {KEY}", False)]
    life.restart()
    life.world.needs[KEY] = cpu(1)
    told = run_notes(life, 100)
    assert [(one.incident, one.resolved) for one in told] == [(f"standby {KEY}", True)]


def test_a_cordoned_standby_is_told_once_for_all_its_apps():
    life = pair_of_apps()
    life.world.nodes[W2] = {"node": NodeObject(ready="True", allocatable=ROOM, unschedulable=True)}
    told = run_notes(life, 200)
    assert [one.incident for one in told] == ["standby-node w2"]
    assert all(key in told[0].text for key in (KEY, TWO))
    life.world.nodes.clear()
    assert [(one.incident, one.resolved) for one in run_notes(life, 100)] == [("standby-node w2", True)]


def test_of_a_standby_whose_node_is_down_its_verdict_alone_is_told():
    life = pair_of_apps()
    life.world.off.add(W2)
    assert {one.incident for one in run_notes(life, 300)} == {"node w2"}
    assert Why.TARGET_NOT_UP in missing(life)


def test_nothing_is_judged_while_the_app_moves():
    life = healthy()
    life.world.off.add(W1)
    life.until(lambda one: one.app().move is not None, 60)
    life.tick()
    assert life.decision.apps[KEY].standby is None


def test_the_limit_for_telling_is_a_setting():
    life = healthy()
    timings = replace(life.world.rules.timings, unfit_after=timedelta(seconds=10))
    life.world.rules = replace(life.world.rules, timings=timings)
    life.world.needs[KEY] = cpu(9000)
    assert len(run_notes(life, 20)) == 1
