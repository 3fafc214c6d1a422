"""What an API server says of itself: its health, its version, and which resources there are."""

from __future__ import annotations

from aiohttp import web

from failoverd.simulator.serve_checks import Refused
from failoverd.simulator.serve_objects import Raw
from failoverd.simulator.serve_store import KINDS, SCALED, Kind

ALL = ("deployments", "pods", "services", "statefulsets")
"""What `kubectl get all` means."""


def add(router: web.UrlDispatcher) -> None:
    """Serve it."""
    for path in ("/healthz", "/livez", "/readyz"):
        router.add_get(path, _healthy)
    router.add_get("/version", _version)
    router.add_get("/api", _core_versions)
    router.add_get("/apis", _groups)
    router.add_get("/api/{version}", _resources)
    router.add_get("/apis/{group}/{version}", _resources)


async def _healthy(request: web.Request) -> web.Response:
    del request
    return web.Response(text="ok")


async def _version(request: web.Request) -> web.Response:
    del request
    return web.json_response({"major": "1", "minor": "37", "gitVersion": "v1.37.2-simulated"})


async def _core_versions(request: web.Request) -> web.Response:
    del request
    return web.json_response({"kind": "APIVersions", "versions": ["v1"]})


async def _groups(request: web.Request) -> web.Response:
    del request
    groups = []
    for group, version in sorted({(kind.group, kind.version) for kind in KINDS.values() if kind.group}):
        one = {"groupVersion": f"{group}/{version}", "version": version}
        groups.append({"name": group, "versions": [one], "preferredVersion": one})
    return web.json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})


async def _resources(request: web.Request) -> web.Response:
    group, version = request.match_info.get("group", ""), request.match_info["version"]
    found = [kind for kind in KINDS.values() if (kind.group, kind.version) == (group, version)]
    if not found:
        raise Refused(404, "the server could not find the requested resource")
    resources = [_resource(kind) for kind in found]
    resources += [_scale(kind) for kind in found if kind.plural in SCALED]
    api = f"{group}/{version}".removeprefix("/")
    return web.json_response({"kind": "APIResourceList", "groupVersion": api, "resources": resources})


def _resource(kind: Kind) -> Raw:
    return {
        "name": kind.plural, "singularName": kind.kind.lower(), "namespaced": kind.namespaced, "kind": kind.kind,
        "verbs": kind.verbs, "shortNames": kind.short,
        "categories": ("all",) if kind.plural in ALL else (),
    }  # fmt: skip


def _scale(kind: Kind) -> Raw:
    return {
        "name": f"{kind.plural}/scale", "singularName": "", "namespaced": True, "kind": "Scale",
        "group": "autoscaling", "version": "v1", "verbs": ("get", "patch", "update"),
    }  # fmt: skip
