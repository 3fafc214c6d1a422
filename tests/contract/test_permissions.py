"""Contract: what an identity may do, as it is asked and as it is enforced."""

from __future__ import annotations

import pytest

from tests.contract.worlds import PODS, Json, World

pytestmark = pytest.mark.asyncio(loop_scope="session")

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def asked(verb: str, resource: str, **more: str) -> Json:
    return {"spec": {"resourceAttributes": {"namespace": "media", "verb": verb, "resource": resource, **more}}}


async def test_a_review_says_yes(world: World) -> None:
    answer = await world.kube("POST", REVIEWS, asked("patch", "deployments", group="apps", name="sonarr"))
    assert (answer.status, answer.json["status"]["allowed"]) == (201, True)


async def test_a_review_knows_the_proxy_of_one_service(world: World) -> None:
    more = {"subresource": "proxy", "name": "https:volsync-sonarr-primary-api:8384"}
    answer = await world.kube("POST", REVIEWS, asked("create", "services", **more))
    assert (answer.status, answer.json["status"]["allowed"]) == (201, True)


async def test_a_review_says_no_and_the_request_is_forbidden(world: World) -> None:
    answer = await world.kube("POST", REVIEWS, asked("list", "pods"), who="limited")
    assert (answer.status, answer.json["status"]["allowed"]) == (201, False)
    refused = await world.kube("GET", PODS, who="limited")
    assert refused.refusal == (403, "Forbidden")
    assert "cannot list resource" in refused.json["message"]


async def test_other_verbs_of_the_same_resource_stay_allowed(world: World) -> None:
    assert (await world.kube("GET", f"{PODS}/nobody", who="limited")).refusal == (404, "NotFound")
