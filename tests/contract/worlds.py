"""What a contract case may ask of a cluster, whichever it is: requests, and the few things only hands can do.

The one rule of the cases: they are written against this file alone, so that the same words hold for the embedded
cluster and for the real one. Seconds are seconds of that world.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import aiohttp
from yarl import URL

T = TypeVar("T")
Json = dict[str, Any]
Query = Mapping[str, str] | None

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"

OWN = "contract"
"""A namespace in which cases make and delete what they like."""
MAPS = f"/api/v1/namespaces/{OWN}/configmaps"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{OWN}/leases"
NODE_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
MEDIA = "/api/v1/namespaces/media"
PODS = f"{MEDIA}/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/media/deployments"
SOURCES = "/apis/volsync.backube/v1alpha1/namespaces/media/replicationsources"
FOLDER = "syncthing-folder-id"
CONFIG = f"/rest/config/folders/{FOLDER}"
TEMPLATE = "/spec/template/spec"
HOLD = "kustomize.toolkit.fluxcd.io/reconcile"

ONE_LOOK = 5.0
"""Seconds of the machine after which a look of `World.until` is given up, and another is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back, whatever its status."""

    status: int
    words: str
    """The status line's text."""
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        """The body as JSON. Raises ValueError."""
        return json.loads(self.raw)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.raw.decode(errors="replace").strip()

    @property
    def refusal(self) -> tuple[int, str]:
        """Status and reason of a Kubernetes error."""
        body = self.json
        assert (body["kind"], body["code"]) == ("Status", self.status), self.text
        return self.status, body["reason"]


Watch = Callable[[], Awaitable[Json | None]]
"""The next event of a watch; None once the server has ended it. Raises TimeoutError after ten seconds of the
machine's time."""


class World(Protocol):
    """One cluster with the apps `sonarr` (volume data) and `paperless` (data, media) in `media`, and a hypervisor."""

    async def kube(
        self, method: str, path: str, body: object = None, *, kind: str = JSON, query: Query = None,
        headers: Query = None, who: str = "admin",
    ) -> Answer:  # fmt: skip
        """One request to the API server. `who`: `admin`, `limited` (may all but list pods), `wrong`, `nobody`."""
        ...

    def watch(self, path: str, **query: str) -> AbstractAsyncContextManager[Watch]:
        """Follow a list."""
        ...

    async def mover(
        self, source: str, method: str, path: str, body: object = None, *, key: str | None = None, **query: str
    ) -> Answer:
        """One request to a mover's Syncthing by the Service proxy; `key` in place of the Secret's, empty for none."""
        ...

    async def pve(
        self, method: str, path: str, params: Mapping[str, str] | None = None, *, token: str = "fence"
    ) -> Answer:
        """One request to the hypervisor. `token`: `fence`, `narrow` (no Sys.Audit), `blind` (only that), `wrong`."""
        ...

    async def seconds(self, count: float) -> None:
        """Let so many seconds pass."""
        ...

    async def until(self, look: Callable[[], Awaitable[T | None]], within: float, what: str) -> T:
        """What `look` returns once that is true. Raises AssertionError naming what did not come."""
        ...

    def write(self, source: str, name: str) -> None:
        """A new file, or new content, at the disk of one side."""
        ...

    def remove(self, source: str, name: str) -> None:
        """Delete it there."""
        ...

    def holds(self, source: str, name: str) -> bool:
        """Whether the disk of that side has it, with the content of the last `write` anywhere."""
        ...

    def marker(self, source: str, *, present: bool) -> None:
        """Take Syncthing's folder marker away, as when the real disk is not mounted, or put it back."""
        ...

    def hypervisor(self, *, task: str = "", lock: str = "") -> None:
        """Somebody else's task runs on guest 101, or a lock is on it; without words all is normal again."""
        ...

    async def reconcile(self) -> None:
        """Let Flux compare the cluster with Git once more."""
        ...

    async def restart_mover(self, source: str) -> None:
        """Have a mover's pod replaced; returns at once."""
        ...


@dataclass(slots=True, kw_only=True)
class Wire:
    """The requests of a World, over one HTTP session."""

    session: aiohttp.ClientSession
    kube_url: str
    tokens: Mapping[str, str]
    """Bearer tokens by who."""
    pve_url: str
    pve_tokens: Mapping[str, str]
    factor: float = 1.0
    """How many seconds of this world pass in one of the machine's."""
    _keys: dict[str, str] = field(default_factory=dict)

    async def kube(
        self, method: str, path: str, body: object = None, *, kind: str = JSON, query: Query = None,
        headers: Query = None, who: str = "admin",
    ) -> Answer:  # fmt: skip
        """See World."""
        sent = {"Accept": JSON, **self._bearer(who), **(headers or {})}
        if body is not None:
            sent["Content-Type"] = kind
        data = body if isinstance(body, str) or body is None else json.dumps(body)
        return await self._send(method, self.kube_url + path, sent, data, query)

    @asynccontextmanager
    async def watch(self, path: str, **query: str) -> AsyncIterator[Watch]:
        """See World."""
        url = URL(self.kube_url + path).with_query({"watch": "true", **query})
        limits = aiohttp.ClientTimeout(total=None)
        async with self.session.get(url, headers=self._bearer("admin"), timeout=limits) as answer:
            assert answer.status == 200, await answer.text()

            async def following() -> Json | None:
                async with asyncio.timeout(10):
                    line = await answer.content.readline()
                found: Json | None = json.loads(line) if line else None
                return found

            yield following

    async def mover(
        self, source: str, method: str, path: str, body: object = None, *, key: str | None = None, **query: str
    ) -> Answer:
        """See World."""
        if key is None:
            key = self._keys.get(source) or await self._key(source)
        headers = {"X-API-Key": key} if key else {}
        where = f"{MEDIA}/services/https:volsync-{source}-api:8384/proxy{path}"
        return await self.kube(method, where, body, query=query, headers=headers)

    async def pve(
        self, method: str, path: str, params: Mapping[str, str] | None = None, *, token: str = "fence"
    ) -> Answer:
        """See World."""
        shown = {"Authorization": f"PVEAPIToken={self.pve_tokens[token]}"} if token in self.pve_tokens else {}
        query = params if method == "GET" else None
        form = "&".join(f"{name}={value}" for name, value in (params or {}).items()) if method == "POST" else None
        headers = {**shown, "Content-Type": "application/x-www-form-urlencoded"}
        return await self._send(method, f"{self.pve_url}/api2/json{path}", headers, form, query)

    async def seconds(self, count: float) -> None:
        """See World."""
        await asyncio.sleep(count / self.factor)

    async def until(self, look: Callable[[], Awaitable[T | None]], within: float, what: str) -> T:
        """See World."""
        loop = asyncio.get_running_loop()
        # A slow machine owes its own seconds, whatever the world's pace.
        end = loop.time() + within / self.factor + 3
        while True:
            with suppress(TimeoutError):
                # The proxy of a Service whose pod has just gone may leave a request without an answer.
                async with asyncio.timeout(ONE_LOOK):
                    if found := await look():
                        return found
            assert loop.time() < end, f"not within {within:g} s: {what}"
            await asyncio.sleep(0.02 if self.factor > 1 else 0.1)

    async def _key(self, source: str) -> str:
        secret = (await self.kube("GET", f"{MEDIA}/secrets/volsync-{source}")).json
        self._keys[source] = base64.b64decode(secret["data"]["apikey"]).decode()
        return self._keys[source]

    def _bearer(self, who: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[who]}"} if who in self.tokens else {}

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], data: str | None, query: Mapping[str, str] | None
    ) -> Answer:
        whole = URL(url, encoded=True).with_query(dict(query)) if query else URL(url, encoded=True)
        body = None if data is None else io.BytesIO(data.encode())
        async with self.session.request(method, whole, headers=headers, data=body) as answer:
            raw = await answer.read()
        return Answer(status=answer.status, words=answer.reason or "", headers=answer.headers.copy(), raw=raw)


def op(name: str, path: str, value: object = None) -> Json:
    """One operation of a JSON Patch."""
    return {"op": name, "path": path} if name == "remove" else {"op": name, "path": path, "value": value}


def escaped(key: str) -> str:
    """An annotation's key as a part of a path."""
    return key.replace("~", "~0").replace("/", "~1")


HOLDING = op("add", f"/metadata/annotations/{escaped(HOLD)}", "disabled")


async def patch(world: World, path: str, *operations: Json) -> Answer:
    """One JSON Patch."""
    return await world.kube("PATCH", path, list(operations), kind=JSON_PATCH)


async def get(world: World, path: str) -> Json:
    """An object that is there."""
    answer = await world.kube("GET", path)
    assert answer.status == 200, answer.text
    found: Json = answer.json
    return found


async def pods(world: World, app: str) -> list[Json]:
    """The listed pods of an app, movers left out."""
    items = (await get(world, PODS))["items"]
    return [pod for pod in items if pod["metadata"]["name"].startswith(f"{app}-")]


def ready(thing: Json) -> str:
    """The Ready condition of a node or pod."""
    return next((c["status"] for c in thing["status"].get("conditions", ()) if c["type"] == "Ready"), "")


def claims(pod: Json) -> set[str]:
    """The claims a pod mounts."""
    volumes = pod["spec"].get("volumes") or ()
    return {v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v}


async def settled(world: World, path: str) -> Json:
    """A workload once its controller has seen it as it is."""

    async def seen() -> Json | None:
        found = await get(world, path)
        return found if found["status"].get("observedGeneration") == found["metadata"]["generation"] else None

    return await world.until(seen, 10, "the controller has seen its workload")


async def patient(world: World, source: str, method: str, path: str, body: object = None, **query: str) -> Answer:
    """A mover's good answer: one that restarts, as they do when their app moves, is asked again.

    So is one whose folder began anew under a scan: Syncthing ends that scan with `500 context canceled`.
    """

    async def answered() -> Answer | None:
        try:
            answer = await world.mover(source, method, path, body, **query)
        except TimeoutError:  # the proxy waits for a pod that has just gone
            return None
        broken_off = answer.status == 500 and answer.text.strip() == "context canceled"
        return None if answer.status == 503 or broken_off else answer

    answer = await world.until(answered, 60, f"{source} answers")
    assert answer.status == 200, answer.text
    return answer


async def folder(world: World, source: str, **change: object) -> Json:
    """The folder's configuration at one side, after changing it."""
    if change:
        await patient(world, source, "PATCH", CONFIG, change)
    found: Json = (await patient(world, source, "GET", CONFIG)).json
    return found


async def status(world: World, source: str) -> Json:
    """`db/status` of one side."""
    found: Json = (await patient(world, source, "GET", "/rest/db/status", folder=FOLDER)).json
    return found


async def scan(world: World, source: str) -> Json:
    """Scan one side to the end; its status after that."""
    await patient(world, source, "POST", "/rest/db/scan", folder=FOLDER)
    return await status(world, source)


async def act(world: World, source: str, what: str) -> None:
    """`override` or `revert`."""
    await patient(world, source, "POST", f"/rest/db/{what}", folder=FOLDER)


async def reverted(world: World, source: str) -> None:
    """A side that only receives drops its own changes, to the last."""

    async def none_left() -> bool:
        # Only a scan finds what an app that has just left wrote last.
        if (await scan(world, source))["receiveOnlyTotalItems"] == 0:
            return True
        await act(world, source, "revert")
        return False

    await world.until(none_left, 60, f"{source} has dropped its own changes")


async def ignore(world: World, source: str, *patterns: str) -> None:
    """Replace the ignore patterns of one side."""
    await patient(world, source, "POST", "/rest/db/ignores", {"ignore": patterns}, folder=FOLDER)
