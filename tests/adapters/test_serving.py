"""`verify_url`: success is success, anything else is one line that says what came."""

from __future__ import annotations

from datetime import timedelta

import pytest
from aiohttp import web

from failoverd.adapters.serving import NotServing, ask, verify


@pytest.fixture
async def server():
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=int(request.query["status"]), headers={"Location": "/?status=200"})

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


@pytest.mark.parametrize("status", [200, 204, 302])
async def test_success_and_redirects_to_success_are_served(server, status):
    assert await ask(f"{server}?status={status}") in ("HTTP 200", "HTTP 204")


@pytest.mark.parametrize("status", [404, 500, 503])
async def test_any_other_answer_is_named(server, status):
    with pytest.raises(NotServing, match=f"HTTP {status}"):
        await ask(f"{server}?status={status}")


async def test_nobody_there_is_named_with_the_url():
    with pytest.raises(NotServing, match=r"^http://127"):
        await ask("http://127.0.0.1:9/")


async def test_it_is_given_time_and_then_the_last_answer_is_told(server):
    with pytest.raises(NotServing, match="HTTP 503"):
        await verify(f"{server}?status=503", within=timedelta(seconds=0))
