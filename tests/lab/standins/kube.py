"""A Kubernetes client of the size the stand-ins need: one JSON request at a time, over a kept connection."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Object = dict[str, Any]
MERGE = "application/merge-patch+json"


class KubeError(Exception):
    """The API server said no, or nothing: `status` 0 means that it could not be reached."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Kube:
    """The API server of a kubeconfig written as JSON, with a bearer token. Safe to share between threads."""

    def __init__(self, kubeconfig: Path, timeout: float = 10.0) -> None:
        raw = json.loads(kubeconfig.read_text())
        cluster = raw["clusters"][0]["cluster"]
        url = urlsplit(cluster["server"])
        self._address = (url.hostname or "", url.port or 443)
        self._token = raw["users"][0]["user"]["token"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._tls = ssl.create_default_context(cadata=authority)
        self._timeout = timeout
        self._local = threading.local()

    def call(self, method: str, path: str, body: Object | None = None, kind: str = "application/json") -> Object:
        """The answer's JSON. Raises KubeError for every status from 400 on and where there is no answer."""
        data = None if body is None else json.dumps(body)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind}
        fresh = getattr(self._local, "connection", None) is None
        try:
            status, raw = self._exchange(method, path, data, headers)
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            # A kept connection may have been closed meanwhile; reading twice does no harm.
            if fresh or method != "GET":
                raise KubeError(0, f"{method} {path}: {error}") from error
            return self.call(method, path, body, kind)
        answer: Object = json.loads(raw or b"{}")
        if status >= 400:
            raise KubeError(status, str(answer.get("message", raw)))
        return answer

    def changes(self, path: str, quiet: float) -> Iterator[None]:
        """Once for each event of a watch of this list, beginning with what is there, over a connection of its own.

        Ends when the server ends it. Raises KubeError when it can't be had, breaks, or is quiet for so many seconds.
        """
        connection = http.client.HTTPSConnection(*self._address, timeout=quiet, context=self._tls)
        separator = "&" if "?" in path else "?"
        try:
            headers = {"Authorization": f"Bearer {self._token}"}
            connection.request("GET", f"{path}{separator}watch=1", headers=headers)
            answer = connection.getresponse()
            if answer.status >= 400:
                raise KubeError(answer.status, answer.read().decode(errors="replace"))
            while answer.readline():
                yield
        except (OSError, http.client.HTTPException) as error:
            raise KubeError(0, f"watch of {path}: {error}") from error
        finally:
            connection.close()

    def _exchange(self, method: str, path: str, data: str | None, headers: dict[str, str]) -> tuple[int, bytes]:
        connection: http.client.HTTPSConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            host, port = self._address
            connection = http.client.HTTPSConnection(host, port, timeout=self._timeout, context=self._tls)
            self._local.connection = connection
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def _drop(self) -> None:
        connection = getattr(self._local, "connection", None)
        self._local.connection = None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()

    def find(self, path: str) -> Object | None:
        """The object, or None where there is none. Raises KubeError otherwise."""
        try:
            return self.call("GET", path)
        except KubeError as error:
            if error.status == 404:
                return None
            raise

    def items(self, path: str) -> list[Object]:
        """A list's items. Raises KubeError."""
        return list(self.call("GET", path).get("items") or [])

    def ensure(self, collection: str, wanted: Object) -> Object:
        """The object of that name as it is, created if it is missing. Raises KubeError."""
        path = f"{collection}/{wanted['metadata']['name']}"
        return self.find(path) or self.call("POST", collection, wanted)
