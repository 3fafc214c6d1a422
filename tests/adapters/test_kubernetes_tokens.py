"""Whatever the daemon writes to the API server fails where somebody was faster, and what it does elsewhere rests on a
look at the Lease that is less than a second old."""

import pytest

from failoverd.adapters.kubernetes import lease
from failoverd.adapters.kubernetes.client import Client
from failoverd.core.model import Action, PatchWorkload, Scan, ScanPoints
from failoverd.execute import WorldExecutor
from tests.adapters.apiserver import ApiServer, HandClock, kubeconfig, serving
from tests.adapters.cluster import populate
from tests.adapters.test_kubernetes_rbac import everything
from tests.test_execute import ALL, Fake, executor
from tests.test_observe import RULES

LEASE = "/apis/coordination.k8s.io/v1/namespaces/failoverd/leases/failoverd"
TOKENS = ("/metadata/uid", "/metadata/resourceVersion")


def guarded(method: str, path: str, body: object) -> str:
    """How a write fails when it is late; empty when it does not."""
    match method, body:
        case "POST", dict():
            return "409 where it is there already"
        case "PUT", {"metadata": {"resourceVersion": _}}:
            return "409 for another version"
        case "DELETE", {"preconditions": {"uid": _}}:
            return "409 for another object"
        case "PATCH", list() if "/nodes/" in path:
            tested = [op["path"] for op in body if op["op"] == "test"]
            return "422 for another object or version" if tested[:2] == list(TOKENS) else ""
        case "PATCH", list():
            return "422, by the tests that core puts into it: tests/core/test_tokens.py"
        case "PATCH", {"count": _, "lastTimestamp": _} if "/events/" in path:
            return "an Event's count: words, not state"
    return ""


async def test_every_write_there_is_carries_a_token(tmp_path):
    async with serving() as server:
        populate(server)
        server.put("/api/v1/namespaces/failoverd/configmaps/failoverd-config", {"data": {"config.toml": "mode"}})
        client = await Client.load(kubeconfig(tmp_path, server.port))
        await everything(client, server)
        await client.close()
        written = [(method, path, body) for method, path, _, body in server.requests if method != "GET"]
    assert {method for method, _, _ in written} == {"POST", "PUT", "PATCH", "DELETE"}
    assert [(method, path, body) for method, path, body in written if not guarded(method, path, body)] == []


async def test_what_core_tests_arrives_as_it_was_decided(server: ApiServer, client: Client) -> None:
    """The adapter adds no operation, drops none and keeps their order: the tests come first."""
    from failoverd.adapters.kubernetes.write import patch_applier, patch_workload  # noqa: PLC0415
    from failoverd.core.model import PatchOp  # noqa: PLC0415
    from tests.adapters.cluster import APPLICATION, ARGO_APPLICATION, DEPLOYMENT, HELM_RELEASE, RELEASE, app  # noqa: PLC0415

    populate(server)
    ops = (PatchOp(op="test", path="/metadata/uid", value="another"), PatchOp(op="remove", path="/spec"))
    for path, patched in (
        (DEPLOYMENT, lambda: patch_workload(client, app(), ops)),
        (RELEASE, lambda: patch_applier(client, HELM_RELEASE, ops)),
        (APPLICATION, lambda: patch_applier(client, ARGO_APPLICATION, ops)),
    ):
        with pytest.raises(Exception, match="is not what was decided upon"):
            await patched()
        assert "spec" in server.objects[path]
    for sent in server.sent("PATCH"):
        assert [(op["op"], op["path"]) for op in sent] == [(op.op, op.path) for op in ops]


ELSEWHERE = [action for action, _, _ in ALL if not isinstance(action, PatchWorkload | Scan | ScanPoints)]
"""All acts but those that carry a token, or change nothing."""


@pytest.mark.parametrize("action", ELSEWHERE, ids=lambda x: type(x).__name__)
async def test_each_act_rests_on_a_look_at_the_lease_within_the_last_second(
    server: ApiServer, client: Client, action: Action
) -> None:
    clock, fake = HandClock(), Fake()
    leadership = lease.LeaseLeadership(client, clock, namespace="failoverd", holder="one")
    assert await leadership.turn()
    hands = executor(fake)._hands
    acting = WorldExecutor(RULES, clock, leadership, hands)
    looks = server.count("GET", LEASE)
    assert (await acting.execute(action)).ok
    assert server.count("GET", LEASE) == looks + 1
    clock.pass_(0.9)
    assert (await acting.execute(action)).ok
    assert server.count("GET", LEASE) == looks + 1  # a burst of acts shares one
    clock.pass_(0.2)
    taken = {**server.objects[LEASE]["spec"], "holderIdentity": "another", "leaseTransitions": 9}
    server.put(LEASE, {"metadata": dict(server.objects[LEASE]["metadata"]), "spec": taken})
    done = len(fake.done)
    receipt = await acting.execute(action)
    assert server.count("GET", LEASE) == looks + 2
    assert (receipt.ok, len(fake.done)) == (False, done)
