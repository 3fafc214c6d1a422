"""A small API server on loopback: objects by path, versions, conflicts, watches, and faults on demand."""

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web

from failoverd.core.model import Now

Fault = Callable[[web.Request], Any]


async def until(true: Callable[[], Any], within: float = 8.0) -> None:
    """Wait until something holds; fails when it doesn't."""
    async with asyncio.timeout(within):
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


class Refused(Exception):
    """To be answered as a Status object."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def status(code: int, message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}


class ApiServer:
    def __init__(self) -> None:
        self.version = 100
        self.objects: dict[str, dict[str, Any]] = {}
        self.log: list[tuple[int, str, str, dict[str, Any]]] = []
        self.changed = asyncio.Condition()
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.connections: set[Any] = set()
        self.fault: Fault | None = None
        self.bookmarks = True
        self.oldest = 0
        self.port = 0

    # -- objects, as a test wants them

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Place an object at `…/plural/name`, as if somebody had just written it."""
        parts = path.strip("/").split("/")
        meta = body.setdefault("metadata", {})
        meta["name"] = parts[-1]
        if "namespaces" in parts and len(parts) - 1 > parts.index("namespaces") + 1:
            meta["namespace"] = parts[parts.index("namespaces") + 1]
        kind = "MODIFIED" if path in self.objects else "ADDED"
        meta.setdefault("uid", f"uid-{path}")
        self._store(kind, path, body)
        return body

    def drop(self, path: str) -> None:
        self._store("DELETED", path, self.objects.pop(path), keep=False)

    def sent(self, method: str, part: str = "") -> list[Any]:
        """Bodies of all requests of that method whose path contains `part`."""
        return [body for verb, path, _, body in self.requests if verb == method and part in path]

    def count(self, method: str, part: str = "", watch: bool = False) -> int:
        return sum(
            verb == method and part in path and ("watch" in query) is watch for verb, path, query, _ in self.requests
        )

    def _store(self, kind: str, path: str, body: dict[str, Any], *, keep: bool = True) -> None:
        self.version += 1
        body = copy.deepcopy(body)
        body["metadata"]["resourceVersion"] = str(self.version)
        if keep:
            self.objects[path] = body
        self.log.append((self.version, kind, path, copy.deepcopy(body)))

        async def tell() -> None:
            async with self.changed:
                self.changed.notify_all()

        self._telling = asyncio.ensure_future(tell())

    # -- HTTP

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.connections.add(request.transport)
        text = await request.text()
        body = json.loads(text) if text else None
        self.requests.append((request.method, request.path, dict(request.query), body))
        if self.fault is not None:
            answer = self.fault(request)
            if asyncio.iscoroutine(answer):
                answer = await answer
            if isinstance(answer, web.StreamResponse):
                return answer
        try:
            if request.method == "GET" and request.query.get("watch"):
                return await self._watch(request)
            return web.json_response(self._answer(request, body))
        except ConnectionResetError:  # the client has had enough of a watch
            return web.Response()
        except Refused as refused:
            return web.json_response(status(refused.code, str(refused)), status=refused.code)

    def _answer(self, request: web.Request, body: Any) -> dict[str, Any]:
        path = request.path
        match request.method:
            case "GET" if path in self.objects:
                return self.objects[path]
            case "GET" if path.strip("/").split("/")[-1].endswith("s"):
                items = [o for p, o in self.objects.items() if self._in(path, p, o, request)]
                return {"kind": "List", "items": items, "metadata": {"resourceVersion": str(self.version)}}
            case "POST":
                path = f"{path}/{body['metadata']['name']}"
                if path in self.objects:
                    raise Refused(409, f"{path} already exists")
                return self.objects[self._put(path, body)]
        if path not in self.objects:
            raise Refused(404, f"{path} not found")
        old = self.objects[path]
        if request.method == "PUT":
            fresh(old, body)
            return self.objects[self._put(path, body)]
        if request.method == "PATCH":
            patched = copy.deepcopy(old)
            if request.content_type == "application/json-patch+json":
                for op in body:
                    json_patch(patched, op)
            else:
                fresh(old, body)
                merge(patched, body)
            return self.objects[self._put(path, patched)]
        wanted = (body or {}).get("preconditions", {}).get("uid", old["metadata"]["uid"])
        if wanted != old["metadata"]["uid"]:
            raise Refused(409, "the UID in the precondition does not match")
        self.drop(path)
        return status(200, "")

    def _put(self, path: str, body: dict[str, Any]) -> str:
        self.put(path, body)
        return path

    @staticmethod
    def _in(collection: str, path: str, body: dict[str, Any], request: web.Request) -> bool:
        head, _, name = path.rpartition("/")
        selector = request.query.get("fieldSelector", "")
        node = body.get("spec", {}).get("nodeName")
        everywhere = collection == "/api/v1/pods" and head.endswith("/pods")
        selected = selector in {"", f"metadata.name={name}", f"spec.nodeName={node}"}
        labels = body.get("metadata", {}).get("labels") or {}
        asked = [one.partition("=") for one in request.query.get("labelSelector", "").split(",") if one]
        labelled = all(labels.get(key) == value for key, _, value in asked)
        return (everywhere or head == collection) and selected and labelled

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        seen = int(request.query.get("resourceVersion") or 0)
        if seen < self.oldest:
            raise Refused(410, "too old resource version")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        while True:
            for version, kind, path, body in list(self.log):
                if version > seen and self._in(request.path, path, body, request):
                    line = json.dumps({"type": kind, "object": body}) + "\n"
                    await response.write(line.encode())
                seen = max(seen, version)
            async with self.changed:
                try:
                    # in this very task: a wait in one of its own, once cancelled, takes the lock and keeps it
                    async with asyncio.timeout(0.2):
                        await self.changed.wait()
                except TimeoutError:
                    if self.bookmarks:
                        mark = {"metadata": {"resourceVersion": str(seen)}}
                        await response.write(json.dumps({"type": "BOOKMARK", "object": mark}).encode() + b"\n")

    def cut(self) -> None:
        """Break every connection, as a crash of the server would."""
        for transport in self.connections:
            if transport is not None:
                transport.abort()
        self.connections.clear()


def fresh(old: dict[str, Any], body: dict[str, Any]) -> None:
    """Raises Refused where `body` was made of another version than the one that is there."""
    if body.get("metadata", {}).get("resourceVersion") not in {None, old["metadata"]["resourceVersion"]}:
        raise Refused(409, "the object has been modified")


def json_patch(target: dict[str, Any], op: dict[str, Any]) -> None:
    *parents, last = [p.replace("~1", "/").replace("~0", "~") for p in op["path"].strip("/").split("/")]
    place: Any = target
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place.get(part)
        if place is None:
            raise Refused(422, f"no {op['path']}")
    if last == "-" and isinstance(place, list):
        place.append(op["value"])
        return
    key: Any = int(last) if isinstance(place, list) else last
    if op["op"] == "test":
        if (place[key] if isinstance(place, list) else place.get(key)) != op["value"]:
            raise Refused(422, f"testing path {op['path']} value failed")
    elif op["op"] == "remove":
        del place[key]
    else:
        place[key] = op["value"]


def merge(target: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        else:
            target[key] = value


@asynccontextmanager
async def serving() -> AsyncIterator[ApiServer]:
    server = ApiServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()


def kubeconfig(folder: Path, port: int, token: str = "t0ken") -> Path:
    path = folder / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "clusters": [{"name": "it", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "it", "user": {"token": token}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    }
    path.write_text(json.dumps(config))
    return path


class HandClock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.mono = timedelta(seconds=1000)
        self.wall = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)

    def now(self) -> Now:
        return Now(self.mono, self.wall)

    def pass_(self, seconds: float) -> None:
        self.mono += timedelta(seconds=seconds)
        self.wall += timedelta(seconds=seconds)

    async def sleep_until(self, mono: timedelta, wake: asyncio.Event) -> None:
        self.mono = max(self.mono, mono)
        await asyncio.sleep(0)
