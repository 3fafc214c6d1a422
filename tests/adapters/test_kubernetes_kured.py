"""kured's lock: who holds it, by the annotation that its sources write; and what is said where it cannot be read."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from failoverd.adapters.kubernetes.kured import LOCK, Lock, holders
from failoverd.core.model import Lease, NodeObject, NodeReading, Unknown

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
EARLIER = "2026-11-27T11:50:00.123456789Z"


def lock(node: str, ttl: timedelta = timedelta(0), created: str = EARLIER):
    nanoseconds = int(ttl / timedelta(microseconds=1)) * 1000
    return {"nodeID": node, "metadata": {"unschedulable": False}, "created": created, "TTL": nanoseconds}


def several(*locks):
    return {"maxOwners": 2, "locks": list(locks) or None}


def daemon_set(value):
    text = value if isinstance(value, str) else json.dumps(value)
    return {"metadata": {"annotations": {LOCK: text}}}


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        ({"metadata": {}}, set()),
        (daemon_set(lock("w1")), {"w1"}),
        (daemon_set(lock("w1", timedelta(hours=1))), {"w1"}),
        (daemon_set(lock("w1", timedelta(minutes=5))), set()),
        (daemon_set({"nodeID": "manual"}), {"manual"}),
        (daemon_set(several()), set()),
        (daemon_set({"maxOwners": 2}), set()),
        (daemon_set(several(lock("w1"), lock("w2"))), {"w1", "w2"}),
        (daemon_set(several(lock("w1", timedelta(minutes=5)), lock("w2"))), {"w2"}),
    ],
)
def test_who_holds_the_lock(raw, found):
    assert holders(raw, NOW) == found


@pytest.mark.parametrize(
    "value",
    ["", "w1", "[]", "null", {}, {"nodeID": 7}, several("w1"), {"locks": "w1"}, {"nodeID": "w1", "TTL": "1h"},
     lock("w1", timedelta(hours=1), created="noon"), lock("w1", timedelta(hours=1), created="2026-11-27T11:50:00"),
     lock("w1") | {"TTL": 10**30}, "[" * 100_000, "1" * 5_000],
)  # fmt: skip
def test_what_cannot_be_understood_is_unknown_and_names_the_annotation(value):
    found = holders(daemon_set(value), NOW)
    assert isinstance(found, Unknown)
    assert found.why.startswith(f"annotation {LOCK}: ")


NODES = {
    name: NodeReading(lease=Lease(stamp="1"), node=NodeObject(ready="True")) for name in ("w1", "w2")
} | {"w3": NodeReading(lease=Unknown("500"), node=Unknown("500"))}  # fmt: skip


def test_the_node_that_holds_it_is_under_planned_work_and_no_other():
    found = Lock().announced(NODES, daemon_set(several(lock("w1"), lock("w3"))), NOW)
    assert {name: one.work for name, one in found.items()} == {"w1": "being rebooted by kured", "w2": "", "w3": ""}
    assert Lock().announced(NODES, None, NOW) == NODES


def test_a_lock_that_cannot_be_read_announces_nothing_and_is_said_once_until_it_can():
    one = Lock()
    with capture_logs() as logs:
        for _ in range(5):
            assert one.announced(NODES, Unknown("DaemonSet kube-system/kured: 403 forbidden"), NOW) == NODES
        one.announced(NODES, daemon_set(lock("w1")), NOW)
        for _ in range(5):
            one.announced(NODES, daemon_set("w1"), NOW)
    assert [(line["log_level"], line["why"].partition(":")[0]) for line in logs] == [
        ("warning", "DaemonSet kube-system/kured"),
        ("warning", f"annotation {LOCK}"),
    ]


def test_what_is_not_listed_yet_at_the_first_look_is_nobodys_news():
    one = Lock()
    with capture_logs() as logs:
        one.announced(NODES, Unknown("DaemonSet kube-system/kured not listed"), NOW)
        one.announced(NODES, daemon_set(lock("w1")), NOW)
    assert logs == []
