"""HTTP to one Proxmox VE node: token, trust, deadlines, and its answers as plain data."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from failoverd.adapters.fencing.trust import TrustError, context

CALL_TIMEOUT = timedelta(seconds=5)
"""A refused token is answered only after 3 s (pve-http-server does so on purpose), all else in milliseconds."""
_TOKEN = re.compile(r"[^@!\s]+@[^@!\s]+![^=\s]+=[!-~]+")


class PveError(Exception):
    """The node did not do what was asked; `status` is 0 when it did not answer at all."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """How to reach one node's API. One of token and token_file; at most one of ca_file and fingerprint."""

    url: str
    """`https://host:8006`."""
    token: str = field(default="", repr=False)
    """`user@realm!tokenid=secret`."""
    token_file: Path | None = None
    """Read at every new connection to the API, so that a rotated token is found."""
    ca_file: Path | None = None
    fingerprint: str = ""
    """SHA-256 of the server's certificate, hexadecimal, colons as you like (as Proxmox shows it)."""

    @property
    def host(self) -> str:
        """Host and port, for people."""
        return urlsplit(self.url).netloc or self.url


def token_of(endpoint: Endpoint) -> str:
    """The token, from the file where one is named. Raises PveError that names the file, never the secret."""
    token, where = endpoint.token, "token"
    if endpoint.token_file is not None:
        where = f"token file {endpoint.token_file}"
        try:
            token = endpoint.token_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise PveError(0, f"{where}: {_words(error)}") from None
    if not _TOKEN.fullmatch(token):
        raise PveError(0, f"{where} does not look like user@realm!tokenid=secret")
    return token


class Pve:
    """One node's API. Every failure is a PveError."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._http: httpx.AsyncClient | None = None

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """The `data` of a GET. Raises PveError."""
        return await self._call("GET", path, query=query or {}, form={})

    async def post(self, path: str, form: Mapping[str, str] | None = None) -> Any:
        """The `data` of a POST. Raises PveError."""
        return await self._call("POST", path, query={}, form=form or {})

    async def close(self) -> None:
        """Close connections; the next request reads token and trust anew."""
        if self._http is not None:
            await self._http.aclose()
        self._http = None

    async def _call(self, method: str, path: str, *, query: Mapping[str, str], form: Mapping[str, str]) -> Any:
        seconds = CALL_TIMEOUT.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                answer = await self._client().request(
                    method, path, params=dict(query), data=dict(form) if form else None
                )
        except TimeoutError:
            raise PveError(0, f"no answer within {seconds:g} s") from None
        except (httpx.HTTPError, RuntimeError) as error:
            # RuntimeError: a request beside this one has closed the client.
            raise PveError(0, f"no connection: {_words(error)}") from None
        if answer.status_code == 401:
            # The file may hold a new token by now.
            await self.close()
        if answer.status_code != 200:
            raise PveError(answer.status_code, f"{answer.status_code} {_message(answer)}".strip())
        try:
            return answer.json()["data"]
        except (ValueError, KeyError, TypeError):
            raise PveError(200, f"the answer to {path} is not what Proxmox sends") from None

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            token = token_of(self.endpoint)
            try:
                trusted = context(self.endpoint.ca_file, self.endpoint.fingerprint)
            except TrustError as error:
                raise PveError(0, str(error)) from None
            self._http = httpx.AsyncClient(
                base_url=f"{self.endpoint.url.rstrip('/')}/api2/json", verify=trusted,
                headers={"Authorization": f"PVEAPIToken={token}"}, trust_env=False,
                timeout=None,  # noqa: S113  `_call` bounds the whole request, not each read of it
                limits=httpx.Limits(max_connections=4, max_keepalive_connections=2),
            )  # fmt: skip
        return self._http


def _message(answer: httpx.Response) -> str:
    """Proxmox explains itself in the status line; parameters that are wrong stand in the body."""
    try:
        errors = answer.json().get("errors")
    except (ValueError, AttributeError):
        errors = None
    detail = "; ".join(f"{name}: {text}" for name, text in errors.items()) if isinstance(errors, dict) else ""
    text = answer.reason_phrase or answer.text.strip().partition("\n")[0][:200]
    return f"{text} ({detail})" if detail else text


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
