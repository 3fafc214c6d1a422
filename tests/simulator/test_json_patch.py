"""JSON Patch as the API server applies it."""

import pytest

from failoverd.simulator.json_patch import PatchFailed, apply, merge

DOCUMENT = {"a": {"b": 1, "c/d": [1, 2]}, "t": True}


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([{"op": "add", "path": "/a/x", "value": 2}], {"a": {"b": 1, "c/d": [1, 2], "x": 2}, "t": True}),
        ([{"op": "replace", "path": "/a/b", "value": 9}], {"a": {"b": 9, "c/d": [1, 2]}, "t": True}),
        ([{"op": "remove", "path": "/a/c~1d/0"}], {"a": {"b": 1, "c/d": [2]}, "t": True}),
        ([{"op": "add", "path": "/a/c~1d/-", "value": 3}], {"a": {"b": 1, "c/d": [1, 2, 3]}, "t": True}),
        ([{"op": "add", "path": "/a/c~1d/1", "value": 7}], {"a": {"b": 1, "c/d": [1, 7, 2]}, "t": True}),
        ([{"op": "move", "from": "/a/b", "path": "/t"}], {"a": {"c/d": [1, 2]}, "t": 1}),
        ([{"op": "copy", "from": "/a/b", "path": "/z"}], {**DOCUMENT, "z": 1}),
        ([{"op": "test", "path": "/a/c~1d", "value": [1, 2]}], DOCUMENT),
        ([{"op": "test", "path": "/a/missing", "value": None}], DOCUMENT),
        ([{"op": "replace", "path": "/z", "value": 1}], {**DOCUMENT, "z": 1}),
    ],
)
def test_operations(operations, expected):
    assert apply(DOCUMENT, operations) == expected


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a/b", "value": 2},
        {"op": "test", "path": "/t", "value": 1},
        {"op": "remove", "path": "/a/missing"},
        {"op": "add", "path": "/missing/x", "value": 1},
        {"op": "add", "path": "/a/c~1d/5", "value": 1},
        {"op": "dance", "path": "/a"},
        {"op": "add", "path": "a", "value": 1},
    ],
)
def test_what_does_not_apply_changes_nothing(operation):
    document = {"a": {"b": 1, "c/d": [1, 2]}, "t": True}
    with pytest.raises(PatchFailed):
        apply(document, [{"op": "replace", "path": "/a/b", "value": 5}, operation])
    assert document == DOCUMENT


def test_merge_patch_removes_by_null_and_replaces_lists():
    assert merge(DOCUMENT, {"a": {"b": None, "n": {"x": None, "y": 1}}, "t": [1]}) == {
        "a": {"c/d": [1, 2], "n": {"y": 1}},
        "t": [1],
    }
