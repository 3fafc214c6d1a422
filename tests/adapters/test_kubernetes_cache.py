"""The caches: what they keep, and how they hear again what they missed, against a real HTTP server."""

import asyncio
from datetime import timedelta

import pytest
from aiohttp import web

from failoverd.adapters.kubernetes.cache import Cache, Resource
from failoverd.clock import SystemClock
from tests.adapters.apiserver import until
from tests.adapters.cluster import (
    PODS,
    pod,
)

pytestmark = pytest.mark.usefixtures("populated")

THINGS = Resource(name="things", path=PODS, keep={"metadata": {"name": True}}, idle=timedelta(milliseconds=300))


@pytest.fixture
async def cache(client):
    cache = Cache(client, THINGS, SystemClock())
    task = asyncio.create_task(cache.run())
    await until(lambda: not cache.doubted(SystemClock().now().mono))
    yield cache
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_only_the_fields_that_are_used_are_kept(cache):
    assert cache.get("sonarr-abc12-x", "media") == {"metadata": {"name": "sonarr-abc12-x"}}


async def test_an_idle_watch_is_opened_again_without_a_new_list(server, cache):
    server.bookmarks = False
    await until(lambda: server.count("GET", "/pods", watch=True) >= 3)
    assert server.count("GET", "/pods") == 1
    server.put(f"{PODS}/late", pod("late"))
    await until(lambda: cache.get("late", "media"))


async def test_a_version_that_is_gone_leads_to_a_new_list(server, cache):
    await until(lambda: server.count("GET", "/pods", watch=True) == 1)
    server.oldest = server.version + 1
    server.put(f"{PODS}/late", pod("late"))
    server.bookmarks = False
    server.cut()
    await until(lambda: server.count("GET", "/pods") >= 2)
    await until(lambda: cache.get("late", "media"))


async def test_what_was_deleted_while_nobody_watched_is_gone_after_the_new_list(server, cache):
    server.fault = lambda r: r.transport.abort()
    server.cut()
    server.drop(f"{PODS}/sonarr-abc12-x")
    server.log.clear()
    await asyncio.sleep(0.2)
    server.fault = None
    cache.doubt()
    await until(lambda: not cache.doubted(SystemClock().now().mono))
    assert cache.get("sonarr-abc12-x", "media") is None


async def test_a_server_that_ends_every_watch_at_once_is_not_hammered(server, cache):
    server.fault = lambda r: web.Response(text="") if r.query.get("watch") else None
    server.cut()
    await asyncio.sleep(0.3)
    before = len(server.requests)
    await asyncio.sleep(1.5)
    assert len(server.requests) - before <= 8


async def test_a_long_list_is_read_in_pages(server, client):
    pages = {"": ("p2", "a"), "p2": ("", "b")}

    def paged(request: web.Request) -> web.Response | None:
        if request.query.get("watch"):
            return None
        more, name = pages[request.query.get("continue", "")]
        items = [{"metadata": {"name": name, "namespace": "media"}}]
        metadata = {"resourceVersion": "1", "continue": more}
        return web.json_response({"items": items, "metadata": metadata})

    server.fault = paged
    cache = Cache(client, THINGS, SystemClock())
    task = asyncio.create_task(cache.run())
    await until(lambda: not cache.doubted(SystemClock().now().mono))
    assert {"a", "b"} <= {thing["metadata"]["name"] for thing in cache.all()}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("body", [{"metadata": {}}, {"items": []}, {"items": [{}], "metadata": {}}])
async def test_a_list_that_is_none_is_never_an_empty_list(server, client, body):
    server.fault = lambda _: web.json_response(body)
    cache = Cache(client, THINGS, SystemClock())
    task = asyncio.create_task(cache.run())
    await until(lambda: cache.error)
    assert "not listed" in cache.doubted(SystemClock().now().mono)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
