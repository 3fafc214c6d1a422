"""The part of the Kubernetes API that is used, over real HTTP: lists, watches, patches, compare-and-swap,
proxy."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from failoverd.simulator import json_patch, serve_discovery, serve_guards, serve_table, world_room, world_taint
from failoverd.simulator.serve_checks import Refused, check, check_version, qualified
from failoverd.simulator.serve_faults import WireFault, status, strike
from failoverd.simulator.serve_objects import Raw, find_applier, from_api, scale
from failoverd.simulator.serve_select import matches
from failoverd.simulator.serve_store import KINDS, SCALED, Key, Kind, Store, key_of
from failoverd.simulator.world import World
from failoverd.simulator.world_app import AppTruth
from failoverd.simulator.world_guard import Key as GuardKey

BOOKMARK_SECONDS = 30.0
"""A real server sends one about every minute; a quiet watch must not look dead."""
LAST_BOOKMARK_SECONDS = 2.0
"""One also comes so long before a watch ends."""
POLL_SECONDS = 0.1
INITIAL_END = "k8s.io/initial-events-end"
"""The annotation by which a client that watches instead of listing knows that it has seen everything."""

Proxy = Callable[[str, str, web.Request], Awaitable[web.StreamResponse]]
"""(namespace, service, request with the path below the service)."""


@dataclass(slots=True)
class KubeApi:
    """One API server."""

    world: World
    store: Store
    token: str
    proxy: Proxy
    tick: Callable[[], None]
    """Brings the world up to this moment."""
    date: Callable[[], str]
    """The `Date` header."""
    faults: list[WireFault] = field(default_factory=list)
    denied: set[tuple[str, str]] = field(default_factory=set)
    """(verb, resource) that answer 403."""
    requests: dict[str, int] = field(default_factory=dict)
    """How many requests of each method were served."""

    def app(self) -> web.Application:
        """The HTTP application."""
        application = web.Application(middlewares=[self._guard], client_max_size=4 * 1024 * 1024)
        route = application.router.add_route
        serve_discovery.add(application.router)
        review = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        route("POST", review, self._review)
        proxied = "/api/v1/namespaces/{namespace}/services/{service}/proxy{rest:/.*}"
        route("*", proxied, self._proxied)
        for base in ("/api/{version}", "/apis/{group}/{version}"):
            for scope in ("", "/namespaces/{namespace}"):
                route("*", f"{base}{scope}/{{plural}}", self._collection)
                route("*", f"{base}{scope}/{{plural}}/{{name}}", self._one)
                route("*", f"{base}{scope}/{{plural}}/{{name}}/scale", self._scaled)
        route("POST", "/api/v1/namespaces/{namespace}/pods/{name}/eviction", self._evicted)
        return application

    # ---------------------------------------------------------------- before everything

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.tick()
        self.requests[request.method] = self.requests.get(request.method, 0) + 1
        fault = next((fault for fault in self.faults if fault.hits(request)), None)
        if fault is not None:
            fault.times -= 1
            if not fault.after:
                return await strike(fault, request)
        answer = await self._answer(request, handler)
        if fault is not None:
            return await strike(fault, request)
        if not answer.prepared:
            answer.headers["Date"] = self.date()
        return answer

    async def _answer(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        await self._wait_for_server()
        if self.world.api_fault.startswith("status "):
            return status(int(self.world.api_fault.split()[1]), "injected")
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return status(401, "Unauthorized")
        try:
            return await handler(request)
        except Refused as refused:
            return status(refused.code, refused.message, refused.reason)
        except web.HTTPException as error:
            return status(error.status, error.reason)

    async def _wait_for_server(self) -> None:
        """A server that hangs answers when it no longer does, or never."""
        while self.world.api_fault and not self.world.api_fault.startswith("status "):
            await self.store.news(POLL_SECONDS)

    # ---------------------------------------------------------------- collections

    def _kind(self, request: web.Request) -> Kind:
        kind = KINDS.get(request.match_info["plural"])
        group = request.match_info.get("group", "")
        if kind is None or (kind.group, kind.version) != (group, request.match_info["version"]):
            raise Refused(404, "the server could not find the requested resource")
        return kind

    def _may(self, verb: str, kind: Kind) -> None:
        if (verb, kind.plural) in self.denied:
            raise Refused(403, f'{kind.plural} is forbidden: User "failoverd" cannot {verb} resource', "Forbidden")
        if verb not in kind.verbs:
            raise Refused(405, f"the server does not allow this method on {kind.plural}", "MethodNotAllowed")

    async def _collection(self, request: web.Request) -> web.StreamResponse:
        kind, namespace = self._kind(request), request.match_info.get("namespace", "")
        if request.method == "POST":
            self._may("create", kind)
            return web.json_response(self._create(kind, namespace, await _body(request)), status=201)
        if request.method != "GET":
            raise Refused(405, "the server does not allow this method on the requested resource")
        if request.query.get("watch") in ("true", "1"):
            self._may("watch", kind)
            return await self._watch(kind, namespace, request)
        self._may("list", kind)
        self.store.sync()
        items = [raw for raw in self.store.select(kind.plural, namespace) if matches(raw, request.query)]
        metadata: Raw = {"resourceVersion": str(self.store.version)}
        # A real token also names the version that the pages belong to.
        begin = int(request.query.get("continue") or 0)
        end = begin + int(request.query.get("limit") or len(items))
        if end < len(items):
            metadata |= {"continue": str(end), "remainingItemCount": len(items) - end}
        if serve_table.wanted(request.headers.get("Accept", "")):
            return web.json_response(self._table(kind, items[begin:end], metadata, request))
        items = [_item(kind, raw) for raw in items[begin:end]]
        body = {"kind": f"{kind.kind}List", "apiVersion": kind.api, "metadata": metadata, "items": items}
        return web.json_response(body)

    def _table(self, kind: Kind, items: list[Raw], metadata: Raw, request: web.Request) -> Raw:
        include = request.query.get("includeObject", "")
        return serve_table.table(kind.plural, items, self.world.wall(), metadata, include)

    def _create(self, kind: Kind, namespace: str, raw: Raw) -> Raw:
        metadata = raw.setdefault("metadata", {})
        if kind.namespaced:
            metadata["namespace"] = namespace
        name = metadata.get("name")
        if not name and metadata.get("generateName"):
            name = metadata["name"] = f"{metadata['generateName']}{self.store.version:x}"
        if not name:
            raise Refused(422, f"{kind.kind} is invalid: metadata.name: Required value")
        if key_of(kind.plural, raw) in self.store.objects:
            raise Refused(409, f'{qualified(kind)} "{name}" already exists', "AlreadyExists")
        metadata.pop("resourceVersion", None)
        check(kind, raw)
        guard = serve_guards.find(self.world, *key_of(kind.plural, raw))
        if guard is not None:
            return self._ordered(guard, key_of(kind.plural, raw), raw)
        return self.store.put(kind.plural, {"kind": kind.kind, "apiVersion": kind.api, **raw})

    async def _watch(self, kind: Kind, namespace: str, request: web.Request) -> web.StreamResponse:
        self.store.sync()
        asked = request.query.get("resourceVersion", "")
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Date": self.date()})
        await response.prepare(request)
        drawn = serve_table.wanted(request.headers.get("Accept", ""))

        async def send(event: str, raw: Raw) -> None:
            if drawn and event in ("ADDED", "MODIFIED", "DELETED"):
                version = {"resourceVersion": raw["metadata"]["resourceVersion"]}
                raw = self._table(kind, [raw], version, request)
            await response.write(json.dumps({"type": event, "object": raw}).encode() + b"\n")

        complete = request.query.get("sendInitialEvents") == "true"
        with contextlib.suppress(ConnectionResetError):  # whoever watched has hung up
            if asked in ("", "0") or complete:
                last = self.store.version
                for raw in self.store.select(kind.plural, namespace):
                    if matches(raw, request.query):
                        await send("ADDED", raw)
                if complete:
                    await send("BOOKMARK", _bookmark(kind, last, {"annotations": {INITIAL_END: "true"}}))
            else:
                last = int(asked)
                if last < self.store.oldest:
                    gone = status(410, f"too old resource version: {last} ({self.store.oldest})", "Expired")
                    await send("ERROR", json.loads(gone.text or "{}"))
                    return response
            await self._follow(kind, namespace, request, last, send)
        return response

    async def _follow(
        self,
        kind: Kind,
        namespace: str,
        request: web.Request,
        last: int,
        send: Callable[[str, Raw], Awaitable[None]],
    ) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + float(request.query.get("timeoutSeconds", "300"))
        bookmark = _next_bookmark(loop.time(), end)
        while (now := loop.time()) < end:
            if self.world.api_fault:
                await self.store.news(POLL_SECONDS)
                continue
            for change in self.store.since(last, kind.plural):
                here = namespace in ("", change.raw["metadata"].get("namespace", ""))
                event = change.seen_by(lambda raw: matches(raw, request.query)) if here else ""
                if event:
                    await send(event, change.raw)
            last = self.store.version
            if now >= bookmark and request.query.get("allowWatchBookmarks") == "true":
                bookmark = _next_bookmark(now, end)
                await send("BOOKMARK", _bookmark(kind, last))
            await self.store.news(min(1.0, max(0.01, end - now), max(0.01, bookmark - now)))

    # ---------------------------------------------------------------- single objects

    def _asked(self, request: web.Request) -> tuple[Kind, Key, str, Raw]:
        """(kind, key, verb, object) of a request for one object. Raises Refused."""
        kind = self._kind(request)
        key = (kind.plural, request.match_info.get("namespace", ""), request.match_info["name"])
        verb = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(request.method, "")
        self._may(verb, kind)
        self.store.sync()
        raw = self.store.objects.get(key)
        if raw is None:
            raise Refused(404, f'{qualified(kind)} "{key[2]}" not found', "NotFound")
        return kind, key, verb, raw

    async def _one(self, request: web.Request) -> web.StreamResponse:
        kind, key, verb, raw = self._asked(request)
        if verb == "get":
            if serve_table.wanted(request.headers.get("Accept", "")):
                version = {"resourceVersion": raw["metadata"]["resourceVersion"]}
                raw = self._table(kind, [raw], version, request)
            return web.json_response(raw)
        body = await _body(request)
        if verb == "delete":
            return self._delete(key, raw, body)
        changed = _patched(raw, body, request.content_type) if verb == "patch" else body
        return web.json_response(self._replace(kind, key, raw, changed))

    async def _scaled(self, request: web.Request) -> web.StreamResponse:
        """The replicas alone: what `kubectl scale` reads and writes."""
        kind, key, verb, raw = self._asked(request)
        if key[0] not in SCALED or verb == "delete":
            raise Refused(404, "the server could not find the requested resource")
        if verb != "get":
            body = await _body(request)
            changed = _patched(scale(raw), body, request.content_type) if verb == "patch" else body
            version = (changed.get("metadata") or {}).get("resourceVersion") or raw["metadata"]["resourceVersion"]
            replicas = (changed.get("spec") or {}).get("replicas", 0)
            metadata, spec = {**raw["metadata"], "resourceVersion": version}, {**raw["spec"], "replicas": replicas}
            raw = self._replace(kind, key, raw, {**raw, "metadata": metadata, "spec": spec})
        return web.json_response(scale(raw))

    async def _evicted(self, request: web.Request) -> web.StreamResponse:
        """An ordinary deletion that a budget could refuse; there are no budgets here."""
        self.store.sync()
        key = ("pods", request.match_info["namespace"], request.match_info["name"])
        if key not in self.store.objects:
            raise Refused(404, f'pods "{key[2]}" not found', "NotFound")
        if not world_taint.evict(self.world, self.store.objects[key]["metadata"]["uid"]):
            world_taint.evict_mover(self.world, key[2])
        self.store.sync()
        return web.json_response({"kind": "Status", "apiVersion": "v1", "status": "Success"}, status=201)

    def _replace(self, kind: Kind, key: Key, old: Raw, new: Raw) -> Raw:
        metadata = new.get("metadata") or {}
        check_version(kind, old, metadata)
        check(kind, new)
        if key[0] == "nodes":
            world_taint.written(self.world, key[2], new)
            self.store.sync()
            return self.store.objects[key]
        guard = serve_guards.find(self.world, *key)
        if guard is not None:
            return self._ordered(guard, key, new)
        truth = self._truth(key)
        applier = find_applier(self.world, *key)
        if applier is not None:
            applier.replace(from_api(new), by="failoverd")
            self.store.sync()
            return self.store.objects[key]
        if truth is None:
            metadata |= {part: old["metadata"][part] for part in ("uid", "creationTimestamp", "namespace")}
            new = {"kind": kind.kind, "apiVersion": kind.api, **new}
            return old if _plain(new) == _plain(old) else self.store.put(key[0], new)
        self.world.replace(truth, from_api(new), by="failoverd")
        self.store.sync()
        return self.store.objects[key]

    def _ordered(self, guard: GuardKey, key: Key, raw: Raw) -> Raw:
        """An order to a guard of the world."""
        try:
            serve_guards.take(self.world, guard, raw)
        except ValueError as error:
            raise Refused(422, f"no guard would understand this: {error}", "Invalid") from None
        self.store.sync()
        return self.store.objects[key]

    def _delete(self, key: Key, raw: Raw, options: Raw) -> web.StreamResponse:
        wanted = (options.get("preconditions") or {}).get("uid")
        if wanted and wanted != raw["metadata"]["uid"]:
            uid = raw["metadata"]["uid"]
            message = f"the UID in the precondition ({wanted}) does not match the UID in record ({uid})"
            raise Refused(409, f"{key[0]} {key[2]!r}: {message}", "Conflict")
        if key[0] == "nodes":
            world_room.delete_node(self.world, key[2])
            self.store.sync()
            return web.json_response({"kind": "Status", "apiVersion": "v1", "status": "Success"})
        if key[0] != "pods":
            self.store.drop(key)
            return web.json_response({"kind": "Status", "apiVersion": "v1", "status": "Success"})
        for truth in self.world.apps.values():
            for pod in list(truth.pods):
                if pod.uid == raw["metadata"]["uid"]:
                    force = options.get("gracePeriodSeconds") == 0
                    (self.world.control.force_delete if force else self.world.control.delete)(truth, pod)
        self.store.sync()
        return web.json_response(raw)

    def _truth(self, key: Key) -> AppTruth | None:
        if key[0] not in ("deployments", "statefulsets"):
            return None
        return self.world.apps.get(f"{key[1]}/{key[2]}")

    # ---------------------------------------------------------------- the rest

    async def _proxied(self, request: web.Request) -> web.StreamResponse:
        scheme, _, rest = request.match_info["service"].partition(":")
        service, _, port = rest.partition(":")
        if scheme != "https" or port not in ("8384", "api"):
            raise Refused(503, f'no service port "{port}" found for service "{service}"', "ServiceUnavailable")
        return await self.proxy(request.match_info["namespace"], service, request)

    async def _review(self, request: web.Request) -> web.StreamResponse:
        review = await _body(request)
        asked = (review.get("spec") or {}).get("resourceAttributes") or {}
        allowed = (asked.get("verb"), asked.get("resource")) not in self.denied
        return web.json_response({**review, "status": {"allowed": allowed}}, status=201)


async def _body(request: web.Request) -> Any:
    text = await request.text()
    try:
        return json.loads(text) if text else {}
    except ValueError as error:
        raise Refused(400, f"the body is not JSON: {error}") from None


def _patched(raw: Raw, body: Any, content_type: str) -> Raw:
    if content_type == "application/json-patch+json":
        if not isinstance(body, list):
            raise Refused(400, "a JSON Patch is a list of operations")
        try:
            return json_patch.apply(raw, body)
        except json_patch.PatchFailed as failed:
            message = f"the server rejected our request due to an error in our request: {failed}"
            raise Refused(422, message, "Invalid") from None
    if content_type in ("application/merge-patch+json", "application/strategic-merge-patch+json"):
        merged = json_patch.merge(raw, body)
        assert isinstance(merged, dict)
        return merged
    raise Refused(415, f"the body of the request was in an unknown format: {content_type}")


def _item(kind: Kind, raw: Raw) -> Raw:
    """An object within a list: only custom resources name their kind there."""
    custom = kind.group in ("volsync.backube", "helm.toolkit.fluxcd.io", "argoproj.io")
    return raw if custom else {key: value for key, value in raw.items() if key not in ("kind", "apiVersion")}


def _bookmark(kind: Kind, version: int, more: Raw | None = None) -> Raw:
    metadata = {"resourceVersion": str(version), "creationTimestamp": None, **(more or {})}
    return {"kind": kind.kind, "apiVersion": kind.api, "metadata": metadata}


def _next_bookmark(now: float, end: float) -> float:
    last = end - LAST_BOOKMARK_SECONDS
    return min(now + BOOKMARK_SECONDS, last) if now < last else now + BOOKMARK_SECONDS


def _plain(raw: Raw) -> Raw:
    return {**raw, "metadata": {k: v for k, v in raw["metadata"].items() if k != "resourceVersion"}}
