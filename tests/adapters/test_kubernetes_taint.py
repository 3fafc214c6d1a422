"""The taint `out-of-service` as it is written: marked, by the version that was read; only our own is taken off."""

import json

import pytest

from failoverd.adapters.kubernetes import parse
from failoverd.adapters.kubernetes.client import Client, KubeError
from failoverd.adapters.kubernetes.taint import Taints
from failoverd.core.model import NodeObject
from failoverd.core.out_of_service import is_tainted
from tests.adapters.apiserver import ApiServer

W1 = "/api/v1/nodes/k3s-w1"
OURS = "failoverd.io/out-of-service"
TAINT = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}
OTHER = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}


async def stopped() -> None:
    """The guest is off, as is read between the look at the node and the patch."""


def put(server: ApiServer, *taints: dict[str, str], **annotations: str) -> None:
    spec = {"taints": [dict(one) for one in taints]} if taints else {}
    meta = {"annotations": annotations} if annotations else {}
    status = {"conditions": [{"type": "Ready", "status": "Unknown"}]}
    server.put(W1, {"metadata": {**meta, "uid": "u-w1"}, "spec": spec, "status": status})


def seen(server: ApiServer) -> NodeObject:
    found = parse.node(server.objects[W1], "k3s-w1")
    assert isinstance(found, NodeObject)
    return found


@pytest.mark.parametrize("before", [(), (OTHER,)])
async def test_it_is_set_with_our_mark_beside_what_is_there_and_taken_off_without_a_trace(
    server: ApiServer, client: Client, before: tuple[dict[str, str], ...]
) -> None:
    put(server, *before)
    assert (is_tainted(seen(server)), seen(server).out_of_service) == (False, False)
    assert await Taints(client).set("k3s-w1", "k3s-w1 is proven dead", stopped) == "tainted"
    found = server.objects[W1]
    assert found["spec"]["taints"] == [*before, TAINT]
    assert found["metadata"]["annotations"] == {OURS: "failoverd: k3s-w1 is proven dead"}
    assert (is_tainted(seen(server)), seen(server).out_of_service) == (True, True)
    assert await Taints(client).clear("k3s-w1") == "taken off"
    assert server.objects[W1]["spec"]["taints"] == list(before)
    assert server.objects[W1]["metadata"]["annotations"] == {}


async def test_a_node_written_to_after_its_guest_was_seen_stopped_is_not_tainted(
    server: ApiServer, client: Client
) -> None:
    put(server)

    async def comes_back() -> None:
        put(server)  # its kubelet has posted its status

    with pytest.raises(KubeError) as caught:
        await Taints(client).set("k3s-w1", "dead", comes_back)
    assert caught.value.status == 422
    assert "taints" not in server.objects[W1]["spec"]


async def test_a_guest_that_is_not_off_leaves_the_node_as_it_is(server: ApiServer, client: Client) -> None:
    put(server)

    async def runs() -> None:
        raise RuntimeError("its guest runs")

    with pytest.raises(RuntimeError, match="its guest runs"):
        await Taints(client).set("k3s-w1", "dead", runs)
    assert server.sent("PATCH") == []


async def test_another_node_of_that_name_is_not_tainted(server: ApiServer, client: Client) -> None:
    put(server)

    async def replaced() -> None:
        server.objects[W1]["metadata"]["uid"] = "u-another"

    with pytest.raises(KubeError, match="/metadata/uid"):
        await Taints(client).set("k3s-w1", "dead", replaced)


async def test_a_taint_of_somebody_else_is_left_alone(server: ApiServer, client: Client) -> None:
    put(server, {**TAINT, "value": "by-hand"})
    assert await Taints(client).set("k3s-w1", "dead", stopped) == "it was tainted already"
    assert await Taints(client).clear("k3s-w1") == "it does not carry our mark"
    assert server.sent("PATCH") == []
    assert (is_tainted(seen(server)), seen(server).out_of_service) == (True, False)


async def test_a_mark_without_its_taint_goes_and_a_node_that_is_gone_is_done(
    server: ApiServer, client: Client
) -> None:
    put(server, OTHER, **{OURS: "failoverd: dead"})
    assert await Taints(client).clear("k3s-w1") == "somebody had taken it off"
    assert (server.objects[W1]["spec"]["taints"], server.objects[W1]["metadata"]["annotations"]) == ([OTHER], {})
    server.drop(W1)
    assert await Taints(client).clear("k3s-w1") == "the node is gone"


async def test_taints_that_move_meanwhile_fail_the_removal(server: ApiServer, client: Client) -> None:
    put(server, TAINT, **{OURS: "failoverd: dead"})
    before = json.loads(json.dumps(server.objects[W1]))

    def moved(request: object) -> None:
        if getattr(request, "method", "") == "PATCH":
            put(server, OTHER, TAINT, **{OURS: "failoverd: dead"})

    server.fault = moved
    with pytest.raises(KubeError):
        await Taints(client).clear("k3s-w1")
    assert server.objects[W1]["spec"]["taints"] == [OTHER, *before["spec"]["taints"]]
