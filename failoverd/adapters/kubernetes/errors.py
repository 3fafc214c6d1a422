"""The one error family of this package, and how whatever the libraries raise becomes a member of it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import aiohttp

RETRYABLE = frozenset({0, 408, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed without anybody changing anything; 0 is no answer."""
LIBRARY = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""What sending, receiving and decoding can raise."""


class KubeError(Exception):
    """The API server did not do what was asked; `str()` is one line for people.

    `status` is the HTTP status, 0 when there was no readable answer: a write may have happened all the same.
    `retryable` says whether the same request can succeed later without anybody changing anything.
    """

    def __init__(self, status: int, reason: str, retryable: bool | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retryable = status in RETRYABLE if retryable is None else retryable
        self.date: datetime | None = None
        """The answer's `Date`, where there was an answer and it had one."""

    @property
    def answered(self) -> bool:
        """Whether the API server said anything that could be read."""
        return self.status != 0


def status_object(raw: bytes) -> dict[str, Any] | None:
    """The API server's own error object; None where the body is anything else."""
    try:
        parsed = json.loads(raw)
    except ValueError:
        return None
    if isinstance(parsed, dict) and parsed.get("kind") == "Status" and parsed.get("apiVersion") == "v1":
        return parsed
    return None


def refusal(method: str, path: str, status: int, raw: bytes) -> KubeError:
    """The error for an answer that is not a success."""
    found = status_object(raw)
    text = str(found.get("message", "")) if found else raw[:200].decode("utf-8", "replace").strip()
    return KubeError(status, f"{method} {path}: {status} {text}".rstrip())


def no_answer(what: str, error: Exception, within: timedelta | None = None) -> KubeError:
    """The error for a request that got no readable answer."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return KubeError(0, f"{what}: the API server's certificate is refused: {error}", retryable=False)
    if isinstance(error, TimeoutError):
        limit = f" within {within.total_seconds():g} s" if within else ""
        return KubeError(0, f"{what}: no answer{limit}")
    return KubeError(0, f"{what}: {words(error)}")


def words(error: Exception) -> str:
    """An exception's text on one line, or its name when it has none."""
    return " ".join(str(error).split()) or type(error).__name__
