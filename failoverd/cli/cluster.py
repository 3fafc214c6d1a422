"""What a command needs of the cluster: Memory, history, the inbox for commands, and a daemon's status page."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx

from failoverd.adapters.kubernetes import commands, leader
from failoverd.adapters.kubernetes.client import Client, KubeError
from failoverd.adapters.kubernetes.memory import History, MemoryStore
from failoverd.adapters.web.status import describe
from failoverd.cli.exits import Exit, Stop
from failoverd.config import Config
from failoverd.config.problems import suggestion
from failoverd.config.resolve import SERVICE_ACCOUNT, no_way
from failoverd.core.memory import Memory
from failoverd.core.model import AppDecision, Command, Decision, Unknown, Watch
from failoverd.core.rules import App, Rules

STATUS_WITHIN = 2.0
"""Seconds a daemon's web server has to answer before Memory alone is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """An open connection with the configuration it belongs to."""

    config: Config
    client: Client
    date: datetime
    """The API server's time when the connection was made."""
    url: str
    named: bool = False
    """Whether `--url` said where: then nobody else is asked."""

    @property
    def namespace(self) -> str:
        """Where our own objects are."""
        return self.config.settings.kubernetes.namespace

    async def memory(self) -> Memory:
        """What the daemon remembers. Raises Stop."""
        found = await MemoryStore(self.client, self.namespace).load()
        if isinstance(found, Unknown):
            raise Stop(Exit.UNREACHABLE, found.why)
        if found is None:
            raise Stop(Exit.REFUSED, f"there is no Memory in namespace {self.namespace}: no daemon has led there yet")
        return found

    async def history(self) -> tuple[dict[str, Any], ...]:
        """All entries, oldest first. Raises KubeError."""
        return await History(self.client, self.namespace).read()

    async def send(self, command: Command) -> None:
        """Put a command where the leader looks for it. Raises KubeError."""
        await commands.write(self.client, self.namespace, command, self.date)

    async def live(self) -> dict[str, Any] | None:
        """A running daemon's `/status`: here or at `--url`, else the leading pod's; None without an answer."""
        found = await self._page() if self.url else None
        if found is None and not self.named:
            led = await leader.status(self.client, self.namespace)
            found = led if isinstance(led, dict) else None
        return found if found is not None and isinstance(found.get("apps"), dict) else None

    async def _page(self) -> dict[str, Any] | None:
        try:
            async with httpx.AsyncClient(timeout=STATUS_WITHIN, trust_env=False) as client:
                answer = await client.get(f"{self.url}/status")
            found = answer.json() if answer.status_code == httpx.codes.OK else None
        except (httpx.HTTPError, httpx.InvalidURL, json.JSONDecodeError, UnicodeDecodeError):
            return None
        return found if isinstance(found, dict) else None

    async def status(self) -> tuple[dict[str, Any], bool]:
        """Status of every app, and whether a daemon gave it; otherwise Memory did, which knows no objections."""
        found = await self.live()
        if found is not None:
            return found, True
        return remembered(self.config.rules, await self.memory(), self.date), False


@asynccontextmanager
async def connect(config: Config, arguments: argparse.Namespace) -> AsyncIterator[Cluster]:
    """Connect to the configured cluster. Raises Stop when it cannot be reached."""
    kubeconfig = arguments.kubeconfig or config.kubeconfig
    if kubeconfig is None and not SERVICE_ACCOUNT.is_file():
        raise Stop(Exit.UNREACHABLE, no_way(os.environ, "set kubernetes.kubeconfig"))
    try:
        client = await Client.load(kubeconfig)
    except KubeError as error:
        raise Stop(Exit.UNREACHABLE, str(error)) from error
    try:
        # Any answer's `Date` will do; this one needs no permission of ours.
        answer = await client.request("GET", "/version")
        if answer.date is None:
            raise Stop(Exit.UNREACHABLE, "the API server's answer has no Date")
        given = getattr(arguments, "url", None) or ""
        url = (given or _url(config.settings.web.listen)).rstrip("/")
        yield Cluster(config=config, client=client, date=answer.date, url=url, named=bool(given))
    except KubeError as error:
        raise Stop(Exit.REFUSED if error.status == 403 else Exit.UNREACHABLE, str(error)) from error
    finally:
        await client.close()


def remembered(rules: Rules, memory: Memory, date: datetime) -> dict[str, Any]:
    """A status in the shape of `/status`, from Memory alone."""
    phases = {key: AppDecision(phase=app.phase) for key, app in memory.apps.items()}
    decision = Decision(memory=memory, watch=Watch(), verdicts={}, apps=phases, wake_at=timedelta(0))
    return {"nodes": {}, "apps": {app.key: describe(rules, app, decision, date) for app in rules.apps}}


def find(rules: Rules, name: str) -> App:
    """The app called `namespace/name`, or `name` where only one is. Raises Stop."""
    found = [app for app in rules.apps if name in (app.key, app.name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise Stop(Exit.USAGE, f'"{name}" is in several namespaces: {", ".join(app.key for app in found)}')
    keys = [app.key for app in rules.apps]
    near = suggestion(name, keys if "/" in name else [app.name for app in rules.apps])
    raise Stop(Exit.USAGE, f'no app is called "{name}"{near}')


def _url(listen: str) -> str:
    """Where a daemon on this machine listens."""
    host, _, port = listen.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 - told apart, not bound
    return f"http://{host}:{port}" if port else ""
