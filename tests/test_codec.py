"""Nouns to JSON and back, exactly, and what changed between two pieces of JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from failoverd.codec import Undecodable, apply, changes, decode, encode
from failoverd.core import actions
from failoverd.core.actions import Action, PatchOp
from failoverd.core.memory import Memory
from failoverd.core.model import Decision, Folder, Guest, GuestState, NodeReading, Now, Snapshot, Unknown, Watch
from failoverd.core.readings import Kubelet
from failoverd.core.rules import Rules
from failoverd.record import Remembered
from tests.core.build import World, some_rules

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcdis"), inner, max_size=4),
    max_leaves=12,
)
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-3))])
CLASSES = [one for one in vars(actions).values() if isinstance(one, type)]
KINDS = [one for one in CLASSES if issubclass(one, Action) and one is not Action]

st.register_type_strategy(datetime, st.datetimes(timezones=ZONES))
st.register_type_strategy(timedelta, st.timedeltas(timedelta(days=-400), timedelta(days=90_000)))
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))
st.register_type_strategy(PatchOp, st.builds(PatchOp, op=st.text(), path=st.text(), value=JSON))
st.register_type_strategy(Action, st.one_of(*[st.builds(one) for one in KINDS]))


def through(kind: Any, value: object) -> object:
    return decode(kind, json.loads(json.dumps(encode(kind, value), ensure_ascii=False)))


@pytest.mark.parametrize("kind", [Snapshot, Remembered, Watch, Decision, Rules, Now], ids=str)
@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_noun_comes_back_as_it_went(kind: Any, data: st.DataObject) -> None:
    value = data.draw(st.from_type(kind))
    back = through(kind, value)
    assert back == value
    assert type(back) is type(value)


@settings(max_examples=150)
@given(before=JSON, after=JSON)
def test_changes_lead_from_one_tree_to_the_other_in_the_same_order(before: Any, after: Any) -> None:
    made = json.loads(json.dumps(changes(before, after)))
    assert json.dumps(apply(before, made)) == json.dumps(after)
    assert changes(after, after) == []


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(before=st.from_type(Snapshot), after=st.from_type(Snapshot))
def test_a_snapshot_is_rebuilt_from_another_one_and_the_changes(before: Snapshot, after: Snapshot) -> None:
    trees = [encode(Snapshot, one) for one in (before, after)]
    assert decode(Snapshot, apply(trees[0], json.loads(json.dumps(changes(*trees))))) == after


def test_only_what_changed_is_written() -> None:
    world = World(some_rules())
    first = encode(Snapshot, world.snapshot())
    world.advance(10)
    made = changes(first, encode(Snapshot, world.snapshot()))
    assert {tuple(path)[:1] for path, *_ in made} == {("api",), ("nodes",)}
    assert len(made) == 4  # the API server's date, and three leases that moved


def test_what_a_union_holds_is_told_apart() -> None:
    reading = NodeReading(lease=Unknown("a"), node=Unknown("b"), kubelet=Kubelet.SILENT, guest=None)
    for kubelet in (Kubelet.ALIVE, Unknown("alive")):
        for guest in (None, Unknown("running"), Guest(state=GuestState.RUNNING)):
            one = NodeReading(lease=reading.lease, node=reading.node, kubelet=kubelet, guest=guest)
            assert through(NodeReading, one) == one
    assert encode(Folder | Unknown, Unknown("no answer")) == {"is": "Unknown", "why": "no answer", "gone": False}
    assert encode(Remembered, None) is None
    assert encode(Remembered, Memory())["is"] == "Memory"


@pytest.mark.parametrize(
    ("kind", "tree", "says"),
    [
        (Now, {"mono": 1}, "wall: missing in Now"),
        (Now, {"mono": 1, "wall": "2026-01-01", "warp": 9}, "warp: unknown to this version's Now"),
        (Now, {"mono": "soon", "wall": "2026-01-01"}, 'mono: "soon" is no int'),
        (Now, {"mono": 1, "wall": "never"}, 'wall: "never" is no time'),
        (Folder | Unknown, {"is": "Guest"}, '"Guest" is none of Folder, Unknown'),
        (Folder | Unknown, {"is": "Unknown", "why": True}, "why: true is no str"),
        (Kubelet, "dead", '"dead" is no Kubelet'),
    ],
)
def test_what_is_wrong_is_named_with_its_place(kind: Any, tree: Any, says: str) -> None:
    with pytest.raises(Undecodable, match="^" + says.replace("(", r"\(") + "$"):
        decode(kind, tree)


@pytest.mark.parametrize("made", [[["a"]], ["x"], [[["b", "c"], 1]], [[["z"]]], [[[]]], [[["a", "b", "c"], 1]]])
def test_changes_that_do_not_fit_are_refused(made: Any) -> None:
    with pytest.raises(Undecodable):
        apply({"a": 1}, made)
