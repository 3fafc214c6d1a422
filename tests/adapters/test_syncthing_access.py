"""Secret, Service and the API server's proxy: how a mover is reached, over real HTTP on loopback."""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from failoverd.adapters.kubernetes.client import Client
from failoverd.adapters.kubernetes.rbac import expand
from failoverd.adapters.syncthing import Direct, SyncthingError, Unreachable
from failoverd.adapters.syncthing.access import AT_ONCE, needs, sides
from failoverd.adapters.syncthing.access import Mover as Reader
from failoverd.core.model import Folder, Role, Unknown
from failoverd.core.rules import Site
from failoverd.simulator.world_spec import simple_app, simple_rules
from tests.adapters.apiserver import kubeconfig, serving
from tests.adapters.mover import KEY, Mover, recorded
from tests.test_observe import RULES

T0 = timedelta(0)
AT = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
SECRET = "/api/v1/namespaces/media/secrets/volsync-sonarr-primary"
SERVICE = "/api/v1/namespaces/media/services/volsync-sonarr-primary-api"
PROXY = "/api/v1/namespaces/media/services/https:volsync-sonarr-primary-api:8384/proxy/{path:.*}"
PEM = (Path(__file__).parent.parent / "data" / "tls" / "mover.pem").read_text()


def encoded(**data: str) -> dict[str, Any]:
    return {"data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}}


@asynccontextmanager
async def cluster(folder: Path, mover: Mover, objects: dict[str, Any] | None = None):
    """An API server with VolSync's objects, in front of the mover."""
    found = {
        SECRET: encoded(apikey=KEY, httpsCertPEM=PEM),
        SERVICE: {"spec": {"clusterIP": "127.0.0.1"}},
    } | (objects or {})
    reads: list[str] = []

    async def get(request: web.Request) -> web.Response:
        reads.append(request.path)
        answer = found.get(request.path)
        if isinstance(answer, int) or answer is None:
            code = answer or 404
            body = {"kind": "Status", "apiVersion": "v1", "code": code, "message": f"no {request.path}"}
            return web.json_response(body, status=code)
        return web.json_response(answer)

    app = web.Application()
    if "no endpoints" not in found:
        app.router.add_route("*", PROXY, mover.handle)
    else:
        found[PROXY] = 503
    app.router.add_route("*", "/{path:.*}", get)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(
        f"""{{"apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{{"name": "x", "cluster": {{"server": "http://127.0.0.1:{runner.addresses[0][1]}"}}}}],
        "users": [{{"name": "x", "user": {{"token": "t"}}}}],
        "contexts": [{{"name": "x", "context": {{"cluster": "x", "user": "x"}}}}]}}"""
    )
    client = await Client.load(kubeconfig)
    try:
        yield client, reads
    finally:
        await client.close()
        await runner.cleanup()


async def test_through_the_api_server_it_reads_and_acts_with_the_key_and_no_certificate(tmp_path):
    mover = recorded("1.29.5/01_healthy/primary")
    async with cluster(tmp_path, mover) as (client, reads):
        side = sides(RULES, client, direct=False)["media/sonarr", "data", Site.PRIMARY]
        found = await side.read(T0)
        assert isinstance(found, Folder), found
        await side.set_type(Role.SEND_ONLY)
        await side.set_ignores(("a",))
        scanned = await side.scan(AT)
        await side.override()
    assert scanned.sequence == 3
    assert mover.config["type"] == "sendonly"
    assert [body for call, _, body in mover.seen if call.startswith("PATCH")] == [{"type": "sendonly"}]
    assert reads == [SECRET]


async def test_a_refused_key_is_told_apart_from_a_refusal_of_the_api_server(tmp_path):
    mover = recorded("1.29.5/01_healthy/primary")
    mover.key = "another"
    async with cluster(tmp_path, mover) as (client, _):
        side = sides(RULES, client, direct=False)["media/sonarr", "data", Site.PRIMARY]
        found = await side.read(T0)
    assert isinstance(found, Unknown)
    assert "the API key from its Secret is refused (403 CSRF Error)" in found.why


async def test_a_mover_without_endpoints_is_unknown(tmp_path):
    mover = recorded("1.29.5/01_healthy/primary")
    async with cluster(tmp_path, mover, {"no endpoints": 1}) as (client, _):
        side = sides(RULES, client, direct=False)["media/sonarr", "data", Site.PRIMARY]
        found = await side.read(T0)
        with pytest.raises(SyncthingError, match="through the API server"):
            await side.set_type(Role.SEND_ONLY)
    assert isinstance(found, Unknown)
    assert "through the API server" in found.why


async def test_the_direct_way_asks_for_secret_and_cluster_ip_once(tmp_path):
    mover = recorded("1.29.5/01_healthy/primary")
    async with cluster(tmp_path, mover) as (client, reads):
        access = await Reader(client, "media", "sonarr-primary", direct=True)()
    assert (access.address, access.port, access.api_key) == ("127.0.0.1", 8384, KEY)
    assert access.server_name == "volsync-sonarr-primary-api.media"
    assert access.certificate == PEM
    assert reads == [SECRET, SERVICE]


@pytest.mark.parametrize(
    ("objects", "text"),
    [
        ({SECRET: 404}, "Secret media/volsync-sonarr-primary: "),
        ({SECRET: 403}, "Secret media/volsync-sonarr-primary: "),
        ({SECRET: {}}, "Secret media/volsync-sonarr-primary has no key 'apikey'"),
        ({SECRET: {"data": {"apikey": "%%%"}}}, "key 'apikey' is not text"),
        ({SECRET: encoded(apikey="k")}, "has no key 'httpsCertPEM'"),
        ({SERVICE: 404}, "Service media/volsync-sonarr-primary-api: "),
        ({SERVICE: {}}, "Service media/volsync-sonarr-primary-api has no cluster IP"),
        ({SERVICE: {"spec": {"clusterIP": "None"}}}, "has no cluster IP"),
    ],
)
async def test_what_is_missing_is_named(tmp_path, objects, text):
    async with cluster(tmp_path, recorded("1.29.5/01_healthy/primary"), objects) as (client, _):
        with pytest.raises(Unreachable) as caught:
            await Reader(client, "media", "sonarr-primary", direct=True)()
    assert text in str(caught.value)


async def test_a_name_that_volsync_would_hash_is_refused(tmp_path):
    async with cluster(tmp_path, recorded("1.29.5/01_healthy/primary")) as (client, reads):
        with pytest.raises(Unreachable, match="too long"):
            await Reader(client, "media", "x" * 60, direct=True)()
    assert reads == []


async def test_every_side_has_its_own_way(tmp_path):
    async with cluster(tmp_path, recorded("1.29.5/01_healthy/primary")) as (client, _):
        found = sides(RULES, client, direct=True)
    assert set(found) == {("media/sonarr", "data", site) for site in Site}
    assert found["media/sonarr", "data", Site.BACKUP].name == "media/sonarr data at backup"
    assert all(isinstance(side._transport, Direct) for side in found.values())


async def test_movers_are_looked_up_a_few_at_a_time(tmp_path):
    """Every connection under TLS costs the daemon a third of a megabyte, and 50 apps would open a hundred at once."""
    rules = simple_rules(tuple(simple_app(f"app{number}") for number in range(20)))
    async with serving() as server:
        client = await Client.load(kubeconfig(tmp_path, server.port))
        try:
            found = await asyncio.gather(*(side.read(T0) for side in sides(rules, client, direct=False).values()))
        finally:
            await client.close()
    assert all(isinstance(one, Unknown) and "Secret media/volsync-app" in one.why for one in found)
    assert server.count("GET", "/secrets/") == 40
    assert len(server.connections) <= AT_ONCE


def test_the_permissions_name_every_object():
    secrets = ("secrets", ("get",), ("volsync-sonarr-backup", "volsync-sonarr-primary"))
    services = ("services", ("get",), ("volsync-sonarr-backup-api", "volsync-sonarr-primary-api"))
    proxied = ("https:volsync-sonarr-backup-api:8384", "https:volsync-sonarr-primary-api:8384")
    for direct, way in ((True, services), (False, ("services/proxy", ("create", "get", "patch"), proxied))):
        grants = expand(needs(direct=direct), RULES, "failoverd")
        assert [(grant.resource, grant.verbs, grant.names) for grant in grants] == [secrets, way]
