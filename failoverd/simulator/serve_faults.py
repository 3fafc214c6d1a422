"""Faults of the wire: what a client may get instead of an answer."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass

from aiohttp import web

STATUSES = {
    "400": "BadRequest", "401": "Unauthorized", "403": "Forbidden", "404": "NotFound", "409": "Conflict",
    "410": "Expired", "422": "Invalid", "429": "TooManyRequests", "500": "InternalError", "503": "ServiceUnavailable",
}  # fmt: skip


@dataclass(slots=True, kw_only=True)
class WireFault:
    """One fault: `kind` is an HTTP status, or `hang`, `cut`, `truncate`, `garbage`."""

    kind: str
    path: str = ""
    """Regular expression that a path must contain a match of; empty: every path."""
    method: str = ""
    times: int = 1
    """How many requests it hits."""
    after: bool = False
    """Whether the request is carried out first: the client only loses the answer."""

    def hits(self, request: web.Request) -> bool:
        """Whether this request is hit."""
        return (
            self.times > 0
            and self.method in ("", request.method)
            and re.search(self.path, request.path_qs) is not None
        )


def status(code: int, message: str, reason: str = "") -> web.Response:
    """An error as the API server words it."""
    body = {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason or STATUSES.get(str(code), ""), "code": code,
    }  # fmt: skip
    headers = {"Retry-After": "1"} if code == 429 else {}
    return web.json_response(body, status=code, headers=headers)


async def strike(fault: WireFault, request: web.Request) -> web.StreamResponse:
    """What the client gets."""
    if fault.kind == "hang":
        await asyncio.Event().wait()
    if fault.kind == "garbage":
        return web.Response(text="<html>this is no JSON", content_type="text/html")
    if fault.kind in ("cut", "truncate"):
        return await _break_off(fault, request)
    return status(int(fault.kind), "injected")


async def _break_off(fault: WireFault, request: web.Request) -> web.StreamResponse:
    transport = request.transport
    if fault.kind == "truncate" and transport is not None:
        half = json.dumps({"kind": "Status", "message": "x" * 200})[:90]
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 300\r\n\r\n"
        transport.write((head + half).encode())
    if transport is not None:
        transport.close()
    return web.Response()
