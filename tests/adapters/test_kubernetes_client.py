import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from failoverd.adapters.kubernetes.client import MERGE_PATCH, Client, KubeError
from tests.adapters.apiserver import kubeconfig, status, until

SOON = timedelta(milliseconds=300)
THING = "/api/v1/namespaces/media/configmaps/thing"


async def failure(awaitable) -> KubeError:
    with pytest.raises(KubeError) as caught:
        await awaitable
    assert "\n" not in str(caught.value)
    return caught.value


async def test_an_answer_brings_its_object_and_the_servers_time(server, client):
    server.put(THING, {"data": {"a": "1"}})
    answer = await client.request("GET", THING)
    assert answer.body["data"] == {"a": "1"}
    assert answer.date is not None
    assert abs(answer.date - datetime.now(UTC)) < timedelta(seconds=3)


async def test_the_token_and_the_query_are_sent_as_they_were_meant(server, client):
    seen = []
    server.fault = lambda request: seen.append((request.headers["Authorization"], dict(request.query)))
    server.put(THING, {})
    await client.request("GET", THING, query={"fieldSelector": "a=b,c=d", "limit": 5, "x": False})
    assert seen == [("Bearer t0ken", {"fieldSelector": "a=b,c=d", "limit": "5", "x": "false"})]


async def test_a_merge_patch_arrives_as_a_merge_patch(server, client):
    server.put(THING, {"data": {"a": "1", "b": "2"}})
    await client.request("PATCH", THING, {"data": {"a": None}}, content_type=MERGE_PATCH)
    assert server.objects[THING]["data"] == {"b": "2"}


async def test_a_date_that_cannot_be_read_is_none_not_an_error(server, client):
    server.fault = lambda _: web.json_response({}, headers={"Date": "yesterday"})
    assert (await client.request("GET", THING)).date is None


@pytest.mark.parametrize(
    ("code", "retryable"),
    [(403, False), (404, False), (409, False), (410, False), (422, False), (429, True), (500, True), (503, True)],
)
async def test_a_refusal_carries_status_message_and_whether_to_try_again(server, client, code, retryable):
    server.fault = lambda _: web.json_response(status(code, "because of this"), status=code)
    error = await failure(client.request("GET", THING))
    assert (error.status, error.retryable, error.answered) == (code, retryable, True)
    assert str(error) == f"GET {THING}: {code} because of this"
    assert error.date is not None


async def hang(_: web.Request) -> web.Response:
    await asyncio.sleep(60)
    return web.Response()


async def test_a_server_that_hangs_costs_exactly_the_deadline_and_one_request(server, client):
    server.fault = hang
    began = asyncio.get_running_loop().time()
    error = await failure(client.request("GET", THING, timeout=SOON))
    assert 0.29 < asyncio.get_running_loop().time() - began < 1
    assert (error.status, error.retryable) == (0, True)
    assert str(error) == f"GET {THING}: no answer within 0.3 s"
    assert len(server.requests) == 1


async def test_a_body_that_never_ends_costs_exactly_the_deadline(server, client):
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b'{"a":')
        await asyncio.sleep(60)
        return response

    server.fault = drip
    began = asyncio.get_running_loop().time()
    error = await failure(client.request("GET", THING, timeout=SOON))
    assert asyncio.get_running_loop().time() - began < 1
    assert error.status == 0


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "POST", "DELETE"])
async def test_a_reset_is_an_error_at_once_and_nothing_is_sent_twice(server, client, method):
    server.put(THING, {})
    await client.request("GET", THING)  # so that the broken connection is one that was kept

    def reset(request):
        request.transport.abort()

    server.fault = reset
    before = len(server.requests)
    error = await failure(client.request(method, THING, {} if method != "GET" else None))
    assert (error.status, error.retryable) == (0, True)
    assert len(server.requests) == before + 1


async def test_nothing_listening_is_an_answer_within_the_deadline(tmp_path):
    client = await Client.load(kubeconfig(tmp_path, 1))
    error = await failure(client.request("GET", THING, timeout=timedelta(seconds=2)))
    assert error.status == 0
    await client.close()


@pytest.mark.parametrize(
    ("body", "said"),
    [(b'{"data": {"a"', "is not JSON"), (b"<html>", "is not JSON"), (b"[]", "is not a JSON object")],
)
async def test_an_answer_that_cannot_be_read_is_no_answer(server, client, body, said):
    server.fault = lambda _: web.Response(body=body, content_type="application/json")
    error = await failure(client.request("GET", THING))
    assert error.status == 0
    assert said in str(error)


async def test_a_cut_off_body_is_no_answer(server, client):
    async def torn(request):
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b'{"data": {')
        request.transport.close()
        return response

    server.fault = torn
    assert (await failure(client.request("GET", THING))).status == 0


async def test_a_fresh_request_uses_a_connection_of_its_own(server, client):
    ports = []
    server.fault = lambda request: ports.append(request.transport.get_extra_info("peername")[1])
    server.put(THING, {})
    for fresh in (False, False, True, True):
        await client.request("GET", THING, fresh=fresh)
    assert ports[0] == ports[1]
    assert len(set(ports)) == 3


async def test_a_refused_identity_makes_the_credentials_be_read_again(server, tmp_path, monkeypatch):
    path = kubeconfig(tmp_path, server.port, token="old")
    client = await Client.load(path)
    monkeypatch.setattr("failoverd.adapters.kubernetes.client.RELOAD_EVERY", timedelta(0))
    server.put(THING, {})

    def only_new(request: web.Request) -> web.Response | None:
        right = request.headers["Authorization"] == "Bearer new"
        return None if right else web.json_response(status(401, "Unauthorized"), status=401)

    server.fault = only_new
    assert (await failure(client.request("GET", THING))).status == 401
    kubeconfig(tmp_path, server.port, token="new")
    assert (await client.request("GET", THING)).status == 200
    await client.close()


async def test_a_watch_outlives_however_many_changes_of_identity(server, tmp_path, monkeypatch):
    client = await Client.load(kubeconfig(tmp_path, server.port))
    monkeypatch.setattr("failoverd.adapters.kubernetes.client.RELOAD_EVERY", timedelta(0))
    server.bookmarks = False
    server.put(THING, {})
    events: list[Any] = []
    task = asyncio.create_task(collect(client, events, idle=timedelta(seconds=20)))
    await until(lambda: len(events) == 2)
    server.fault = lambda _: web.json_response(status(401, "Unauthorized"), status=401)
    for _ in range(5):
        assert (await failure(client.request("GET", THING))).status == 401
    server.fault = None
    server.put(THING, {"data": {}})
    await until(lambda: len(events) == 3)
    assert len(client._retired) == 1  # and no more than what still serves is kept
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert client._retired == []
    await client.close()


async def test_a_watch_whose_connections_were_closed_under_it_ends_after_its_idle_time(server, client):
    server.bookmarks = False
    events: list[Any] = []
    task = asyncio.create_task(collect(client, events, idle=SOON))
    await until(lambda: len(events) == 1)
    await client._now.close()
    error = await failure(asyncio.wait_for(task, 5))
    assert (error.status, error.retryable) == (0, True)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "a: b", '{"current-context": "x", "contexts": []}'])
async def test_a_kubeconfig_that_cannot_be_used_is_one_line_naming_it(tmp_path, text):
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)
    error = await failure(Client.load(path))
    assert str(error).startswith(f"kubeconfig {path} cannot be used: ")
    assert not error.retryable


async def test_outside_a_pod_the_missing_service_account_is_one_line(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    error = await failure(Client.load())
    assert str(error) == "the pod's ServiceAccount cannot be used: Service host/port is not set."


async def test_after_close_every_request_says_so(client):
    await client.close()
    assert not (await failure(client.request("GET", THING))).retryable


async def collect(client, into, idle=timedelta(seconds=2)):
    query = {"resourceVersion": "0"}
    async for event in client.watch("/api/v1/namespaces/media/configmaps", query, idle):
        into.append((event.type, event.object.get("metadata", {}).get("name")))


async def test_a_watch_tells_that_it_is_open_and_then_every_change(server, client):
    server.bookmarks = False
    events: list[Any] = []
    task = asyncio.create_task(collect(client, events))
    await until(lambda: len(events) == 1)
    server.put(THING, {})
    server.put(THING, {"data": {}})
    server.drop(THING)
    await until(lambda: len(events) == 4)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert events == [("OPENED", None), ("ADDED", "thing"), ("MODIFIED", "thing"), ("DELETED", "thing")]


async def test_a_watch_that_says_nothing_ends_after_its_idle_time(server, client):
    server.bookmarks = False
    events: list[Any] = []
    error = await failure(collect(client, events, idle=SOON))
    assert events == [("OPENED", None)]
    assert (error.status, error.retryable) == (0, True)


async def test_a_watch_from_a_version_that_is_gone_says_410(server, client):
    server.oldest = 50
    assert (await failure(collect(client, []))).status == 410


async def test_an_error_event_in_a_watch_carries_its_code(server, client):
    gone = json.dumps({"type": "ERROR", "object": status(410, "too old")})
    server.fault = lambda _: web.Response(text=gone + "\n")
    assert (await failure(collect(client, []))).status == 410


@pytest.mark.parametrize("line", ['{"type": "ADDED", "obj', "[]", '{"type": "ADDED", "object": 3}'])
async def test_an_event_that_cannot_be_read_ends_the_watch_with_an_error(server, client, line):
    server.fault = lambda _: web.Response(text=line + "\n")
    assert (await failure(collect(client, []))).status == 0


async def test_the_proxy_hands_through_what_the_service_says_even_its_errors(server, client):
    seen = []

    def syncthing(request: web.Request) -> web.Response:
        seen.append((request.path_qs, request.headers["X-API-Key"]))
        return web.Response(status=403, body=b"Forbidden\n", content_type="text/plain")

    server.fault = syncthing
    answer = await client.proxy(
        "media", "volsync-a-api", 8384, "GET", "/rest/db/status",
        query={"folder": "x"}, headers={"X-API-Key": "k"},
    )  # fmt: skip
    assert (answer.status, answer.body, answer.content_type[:10]) == (403, b"Forbidden\n", "text/plain")
    base = "/api/v1/namespaces/media/services/https:volsync-a-api:8384/proxy"
    assert seen == [(f"{base}/rest/db/status?folder=x", "k")]


async def test_the_proxy_raises_what_the_api_server_itself_refuses(server, client):
    server.fault = lambda _: web.json_response(status(503, "no endpoints available"), status=503)
    error = await failure(client.proxy("media", "s", 1, "GET", "/"))
    assert (error.status, error.retryable) == (503, True)


async def test_the_proxy_sends_a_json_body_given_as_bytes_or_as_data(server, client):
    server.fault = lambda _: web.Response(text="")
    for body in (b'{"type": "sendonly"}', {"type": "sendonly"}):
        await client.proxy("media", "s", 1, "PATCH", "/rest/config", body=body)
    assert server.sent("PATCH") == [{"type": "sendonly"}] * 2
