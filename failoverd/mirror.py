"""A local copy of the configuration that the cluster keeps: one for all instances, those outside the cluster too.

The one rule of this file: the local copy is only ever replaced by what could be put in force here, and in one step.
What runs is always the local copy, so that an instance starts without an API server, and goes on without one.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import structlog

from failoverd.adapters.kubernetes import shared
from failoverd.adapters.kubernetes.client import Client, KubeError
from failoverd.clock import sleep
from failoverd.config import ConfigError, Files, Problem, parsed
from failoverd.config.source import LARGEST

log = structlog.get_logger("failoverd")

LOOK_EVERY = timedelta(seconds=10)
"""How often the ConfigMap is looked at. The kubelet brings a change to the pods within about a minute."""
ALONE = "the cluster's configuration cannot be read, the local copy stays in force"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the shared configuration is."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"configmap:{self.namespace}/{self.name}"


@dataclass(slots=True, kw_only=True)
class Mirror:
    """Keeps `path` equal to the ConfigMap as long as that is good."""

    origin: Origin
    path: Path
    kubeconfig: Path | None
    """None: the pod's service account."""
    files_in: Path | None = None
    refused: tuple[Problem, ...] = ()
    """Why what the cluster has is not in force here; empty where it is, or where it cannot be read."""
    away: str = ""
    """Why it could not be read when it was last looked at."""
    _client: Client | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def look(self) -> None:
        """Read it once, and replace the local copy where it has changed. Never raises: see `refused` and `away`."""
        async with self._turn:
            try:
                text = await self._read()
            except KubeError as error:
                if error.retryable:
                    self._away(str(error))
                else:
                    self._away("")
                    self._refuse(Problem(where=str(self.origin), key="", text=str(error)))
                return
            self._away("")
            self._take(text)

    async def run(self) -> None:
        """Look every `LOOK_EVERY`, until cancelled."""
        while True:
            await sleep(LOOK_EVERY)
            await self.look()

    async def close(self) -> None:
        """Close connections."""
        if self._client is not None:
            await self._client.close()

    async def _read(self) -> str:
        if self._client is None:
            self._client = await Client.load(self.kubeconfig)
        return await shared.read(self._client, self.origin.namespace, self.origin.name)

    def _take(self, text: str) -> None:
        try:
            if self.path.read_bytes() == text.encode():
                self.refused = ()
                return
        except OSError:
            pass  # there is none yet, or it cannot be read: it is written now
        try:
            if len(text.encode()) > LARGEST:
                raise ConfigError([Problem(where=str(self.origin), key="", text=f"is larger than {LARGEST} bytes")])
            parsed(text, self.path, str(self.origin), Files(folder=self.path.parent, gathered=self.files_in))
            _write(self.path, text)
        except ConfigError as error:
            self._refuse(*error.problems)
        except OSError as error:
            self._refuse(Problem(where=str(self.path), key="", text=f"cannot be written: {error.strerror}"))
        else:
            self.refused = ()
            log.info("the cluster's configuration has a local copy now", source=str(self.origin), copy=str(self.path))

    def _refuse(self, *problems: Problem) -> None:
        self.refused = problems

    def _away(self, why: str) -> None:
        if why and not self.away and self.path.exists():
            log.warning(ALONE, source=str(self.origin), copy=str(self.path), why=why)
        if self.away and not why:
            log.info("the cluster's configuration can be read again", source=str(self.origin))
        self.away = why


def _write(path: Path, text: str) -> None:
    """The whole text or nothing of it, also when the power fails meanwhile. Raises OSError."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
