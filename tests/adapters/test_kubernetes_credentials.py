"""Credentials that change while requests and watches are under way: nothing hangs, nothing is left open."""

import asyncio
import json
import os
import signal
from datetime import timedelta

import pytest
from aiohttp import web

from failoverd.adapters.kubernetes import transport
from failoverd.adapters.kubernetes.client import Client, KubeError
from tests.adapters.apiserver import kubeconfig, status, until

SOON = timedelta(milliseconds=300)
THING = "/api/v1/namespaces/media/configmaps/thing"
THINGS = "/api/v1/namespaces/media/configmaps"


@pytest.fixture
def made(monkeypatch):
    """Every way to the API server that was made."""
    ways, load = [], transport.load

    async def noted(*arguments):
        ways.append(await load(*arguments))
        return ways[-1]

    monkeypatch.setattr(transport, "load", noted)
    monkeypatch.setattr("failoverd.adapters.kubernetes.client.RELOAD_EVERY", timedelta(0))
    return ways


def still_open(ways):
    return [
        rest
        for one in ways
        for rest in (one.kept.rest_client, one.once)
        if rest.pool_manager is not None and not rest.pool_manager.closed
    ]


async def watching(client, events, idle=timedelta(seconds=20)):
    async for event in client.watch(THINGS, {}, idle):
        events.append(event)


async def refused(server, client):
    server.fault = lambda _: web.json_response(status(401, "Unauthorized"), status=401)
    with pytest.raises(KubeError):
        await client.request("GET", THING)
    server.fault = None


async def test_a_client_closed_while_it_reads_its_credentials_says_so_and_leaves_nothing_open(
    server, tmp_path, monkeypatch, made
):
    client = await Client.load(kubeconfig(tmp_path, server.port))
    server.put(THING, {})
    await refused(server, client)
    load, reading, go = transport.load, asyncio.Event(), asyncio.Event()

    async def slow(*arguments):
        reading.set()
        await go.wait()
        return await load(*arguments)

    monkeypatch.setattr(transport, "load", slow)
    asked = asyncio.create_task(client.request("GET", THING))
    await reading.wait()
    await client.close()
    go.set()
    with pytest.raises(KubeError):
        await asked
    assert still_open(made) == []


async def test_a_plugin_that_hangs_once_holds_up_no_watch_for_good(server, tmp_path, made):
    """A kubeconfig's `exec`: the library waits for it without a limit. Requests have their deadline, watches none."""
    path, plugin = kubeconfig(tmp_path, server.port), tmp_path / "plugin"
    told = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "t0ken"}}
    (tmp_path / "told").write_text(json.dumps(told))
    hang = f"echo $$ > {tmp_path}/pid; exec sleep 60"
    plugin.write_text(f"#!/bin/sh\n[ -e {tmp_path}/stuck ] && {{ {hang}; }}\ncat {tmp_path}/told\n")
    plugin.chmod(0o755)
    config = json.loads(path.read_text())
    config["users"][0]["user"] = {"exec": {"apiVersion": told["apiVersion"], "command": str(plugin), "args": []}}
    path.write_text(json.dumps(config))
    client = await Client.load(path)
    server.put(THING, {})
    await refused(server, client)
    (tmp_path / "stuck").touch()
    with pytest.raises(KubeError):
        await asyncio.wait_for(watching(client, [], SOON), 8)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    await asyncio.sleep(0.3)  # until the loop has heard of its end
    await client.close()


async def test_a_watch_ended_twice_leaves_no_connection_open(server, tmp_path, made):
    """Cancelled by its cache, and once more by whoever ends the cache, while old connections are being closed."""
    client = await Client.load(kubeconfig(tmp_path, server.port))
    server.bookmarks = False
    server.put(THING, {})
    events: list[str] = []
    task = asyncio.create_task(watching(client, events))
    await until(lambda: events)
    assert (await client.request("GET", THING, fresh=True)).status == 200
    await refused(server, client)
    await client.request("GET", THING)  # by the new ones
    old = made[0]
    assert client._retired == [old]
    task.cancel()
    for _ in range(20):
        await asyncio.sleep(0)
        task.cancel()
        if task.done():
            break
    await asyncio.gather(task, return_exceptions=True)
    await client.close()
    assert still_open(made) == []
