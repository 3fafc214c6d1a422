"""Patches applied to real Deployments by a JSON Patch of RFC 6902: the tests hold, going home restores exactly."""

import copy
import json
from dataclasses import replace

import pytest

from failoverd.core import names, patch
from failoverd.core.memory import AppMemory, Kind, Move, Phase, Undo
from failoverd.core.model import Owner
from tests.core.build import EPOCH_OF_TESTS, B, P, an_app, some_rules
from tests.core.objects import Failed, deployment, json_patch, parse

APPS = {"one": an_app(), "two": an_app("docs/paperless", ("data", "media"))}
PAIR = some_rules().pairs[0]


def a_move(app, source=P, epoch=1):
    return Move(
        id=f"{app.key}#{epoch}",
        app=app.key,
        kind=Kind.SWITCHOVER,
        source=source,
        target=source.other,
        epoch=epoch,
        reason="",
        began_at=EPOCH_OF_TESTS,
    )


def there(app, raw):
    """Stopped and started at the backup: the object and what is remembered."""
    was = parse(raw)
    undo = patch.undo_of(app, was, (PAIR.primary, PAIR.backup))
    memory = AppMemory(phase=Phase.STOPPING, active=B, epoch=1, volumes={}, undo=undo, replicas=was.replicas)
    stopped = json_patch(raw, patch.signed(patch.stop(app, was, a_move(app)), 1))
    started = json_patch(stopped, patch.signed(patch.start(app, parse(stopped), memory, B, PAIR.backup), 1))
    return stopped, started, memory


def home(app, started, memory):
    stopped = json_patch(started, patch.signed(patch.stop(app, parse(started), a_move(app, B, 2)), 1))
    return json_patch(stopped, patch.start(app, parse(stopped), memory, P, PAIR.primary))


def shape(app, selector="as is", annotations="as is", held=False, replicas=1):
    raw = deployment(app)
    spec = raw["spec"]["template"]["spec"]
    if selector is None:
        del spec["nodeSelector"]
    elif selector != "as is":
        spec["nodeSelector"] = selector
    if annotations is None:
        del raw["metadata"]["annotations"]
    if held:
        raw["metadata"]["annotations"][names.HOLD] = names.HOLD_VALUE
    raw["spec"]["replicas"] = replicas
    return raw


SHAPES = {
    "plain": {},
    "no nodeSelector": {"selector": None},
    "another key in the nodeSelector": {"selector": {"role": "primary", "gpu": "yes"}},
    "only another key": {"selector": {"gpu": "yes"}},
    "a key with a slash": {"selector": {"role": "primary", "kubernetes.io/arch": "amd64"}},
    "no annotations": {"annotations": None},
    "somebody else's hold": {"held": True},
    "three replicas": {"replicas": 3},
}


@pytest.mark.parametrize("app", APPS.values(), ids=APPS)
@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_the_spec_after_going_home_is_equal_byte_for_byte(app, changes):
    raw = shape(app, **changes)
    before = json.dumps(raw["spec"], sort_keys=True)
    _, started, memory = there(app, raw)
    assert json.dumps(started["spec"], sort_keys=True) != before
    back = home(app, started, memory)
    assert json.dumps(back["spec"], sort_keys=True) == before
    assert back["metadata"].get("annotations", {}) == raw["metadata"].get("annotations", {})
    assert patch.is_started(app, parse(back), memory, P)


@pytest.mark.parametrize("app", APPS.values(), ids=APPS)
@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_away_it_names_the_other_claims_and_node_and_nothing_else_changes(app, changes):
    raw = shape(app, **changes)
    stopped, started, memory = there(app, raw)
    away = parse(started)
    assert {claim for _, _, claim in away.claims} == {one.backup.claim for one in app.volumes}
    assert dict(away.selector or ())["role"] == "backup"
    assert (away.epoch, away.active, away.held, away.replicas) == (1, "backup", True, raw["spec"]["replicas"])
    assert patch.is_started(app, away, memory, B)
    assert patch.is_stopped(parse(stopped), a_move(app))
    undone = copy.deepcopy(started)
    undone["spec"]["template"]["spec"]["volumes"] = raw["spec"]["template"]["spec"]["volumes"]
    undone["spec"]["template"]["spec"].pop("nodeSelector")
    wanted = copy.deepcopy(raw["spec"])
    wanted["template"]["spec"].pop("nodeSelector", None)
    assert undone["spec"] == wanted


def test_a_key_that_only_the_old_place_selects_by_does_not_stay():
    app = APPS["one"]
    pair = replace(PAIR, backup=replace(PAIR.backup, selector=(("zone", "b"),)))
    raw = deployment(app)
    undo = patch.undo_of(app, parse(raw), (pair.primary, pair.backup))
    memory = AppMemory(phase=Phase.STARTING, active=B, epoch=1, volumes={}, undo=undo)
    stopped = json_patch(raw, patch.stop(app, parse(raw), a_move(app)))
    started = json_patch(stopped, patch.start(app, parse(stopped), memory, B, pair.backup))
    assert started["spec"]["template"]["spec"]["nodeSelector"] == {"zone": "b"}
    assert home(app, started, memory)["spec"] == raw["spec"]


def test_a_key_that_somebody_added_while_away_is_left_alone():
    app = APPS["one"]
    raw = shape(app, selector=None)
    _, started, memory = there(app, raw)
    started["spec"]["template"]["spec"]["nodeSelector"]["gpu"] = "yes"
    assert home(app, started, memory)["spec"]["template"]["spec"]["nodeSelector"] == {"gpu": "yes"}


def test_a_stop_does_not_pass_once_another_leader_has_written_its_epoch():
    app = APPS["one"]
    _, started, _ = there(app, deployment(app))
    ops = patch.stop(app, parse(started), a_move(app, B, 2))
    started["metadata"]["annotations"][names.EPOCH] = "5"
    with pytest.raises(Failed, match=r"failoverd\.io"):
        json_patch(started, ops)


def test_the_first_stop_does_not_pass_once_anybody_has_written_at_all():
    app = APPS["one"]
    raw = deployment(app)
    ops = patch.stop(app, parse(raw), a_move(app))
    raw["metadata"]["resourceVersion"] = "2"
    with pytest.raises(Failed, match="resourceVersion"):
        json_patch(raw, ops)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("metadata", "uid"), "another"),
        (("spec", "replicas"), 1),
        (("metadata", "annotations", names.EPOCH), "9"),
        (("metadata", "annotations", names.LEADER), "2"),
        (("metadata", "annotations", names.HOLD), "enabled"),
    ],
)
def test_a_start_does_not_pass_when_what_it_rests_on_has_changed(path, value):
    app = APPS["one"]
    stopped, _, memory = there(app, deployment(app))
    ops = patch.start(app, parse(stopped), memory, B, PAIR.backup)
    *parents, last = path
    place = stopped
    for part in parents:
        place = place[part]
    place[last] = value
    with pytest.raises(Failed):
        json_patch(stopped, ops)


def test_volumes_that_changed_their_order_are_not_swapped_blindly():
    app = APPS["two"]
    raw = deployment(app)
    ops = patch.stop(app, parse(raw), a_move(app))
    raw["spec"]["template"]["spec"]["volumes"].reverse()
    with pytest.raises(Failed):
        json_patch(raw, ops)


def test_a_workload_nobody_owns_is_not_held():
    app = APPS["one"]
    raw = deployment(app)
    raw["metadata"]["labels"] = {}
    stopped, _, _ = there(app, raw)
    assert not parse(stopped).held
    assert parse(stopped).owner is Owner.NONE
    assert patch.is_stopped(parse(stopped), a_move(app))


def test_release_takes_every_mark_off_and_leaves_the_spec():
    app = APPS["one"]
    _, started, _ = there(app, deployment(app))
    freed = json_patch(started, patch.release(parse(started)))
    assert freed["spec"] == started["spec"]
    assert freed["metadata"] == deployment(app)["metadata"]
    assert not patch.is_marked(parse(freed))


def test_a_hold_that_vanished_and_claims_that_were_undone_are_put_back():
    app = APPS["one"]
    raw = deployment(app)
    _, started, memory = there(app, raw)
    undone = copy.deepcopy(started)
    del undone["metadata"]["annotations"][names.HOLD]
    undone["spec"] = copy.deepcopy(raw["spec"])
    mended = json_patch(undone, patch.restore_hold(app, parse(undone), memory, PAIR.backup))
    assert mended["spec"] == started["spec"]
    assert parse(mended).held


def test_home_is_where_the_claims_were_before_the_first_touch():
    app = APPS["two"]
    undo = Undo(replicas=1, claims=tuple((one.name, one.primary.claim) for one in app.volumes), selector=())
    assert patch.is_home(app, undo, P)
    assert not patch.is_home(app, undo, B)
