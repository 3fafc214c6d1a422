"""Lists that keep themselves true by a watch, one for each resource and namespace however many apps there are.

The one rule of this file: a cache says for itself whether it can be believed. It can only while it has been listed
since the API server was last unreachable, and while its watch has been heard recently.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from failoverd.adapters.kubernetes.client import Client, KubeError, WatchEvent
from failoverd.clock import sleep
from failoverd.ports import Clock

Keep = Mapping[str, Any]
"""Which fields are kept of an object: nested names; True keeps everything below."""

PAGE = 500
"""Objects a page of a list."""
MARGIN = timedelta(seconds=5)
"""A silent watch is opened again after `idle`; this long it may take until it is no longer believed."""
BACKOFF = wait_random_exponential(multiplier=0.5, min=0.2, max=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What to list and watch, and how patient to be."""

    name: str
    """For people: `pods in media`."""
    path: str
    keep: Keep
    selector: str = ""
    """A field selector."""
    labels: str = ""
    """A label selector."""
    idle: timedelta = timedelta(seconds=80)
    """Silence after which the watch is opened again; the API server sends a bookmark about every minute."""
    relist: timedelta = timedelta(minutes=30)
    """A whole list this often, whatever the watch says."""


class Cache:
    """One resource. `run` keeps it true until cancelled; reading it costs nothing."""

    def __init__(
        self, client: Client, resource: Resource, clock: Clock, on_change: Callable[[], None] | None = None
    ) -> None:
        self.resource = resource
        self.error = ""
        """What went wrong last; empty while all is well."""
        self._client = client
        self._clock = clock
        self._objects: dict[tuple[str, str], dict[str, Any]] = {}
        self._version = ""
        self._listed = False
        self._heard_at: timedelta | None = None
        self._doubt = asyncio.Event()
        self._hurry = asyncio.Event()
        self._on_change = on_change

    def get(self, name: str, namespace: str = "") -> dict[str, Any] | None:
        """The kept fields of one object, None when there is none."""
        return self._objects.get((namespace, name))

    def all(self) -> tuple[dict[str, Any], ...]:
        """The kept fields of all objects."""
        return tuple(self._objects.values())

    def doubted(self, now: timedelta) -> str:
        """Why this cannot be believed at the monotonic time `now`; empty when it can."""
        why = f": {self.error}" if self.error else ""
        if not self._listed or self._heard_at is None:
            return f"{self.resource.name} not listed{why}"
        silent = now - self._heard_at
        if silent > self.resource.idle + MARGIN:
            return f"watch of {self.resource.name} silent for {silent.total_seconds():.0f} s{why}"
        return ""

    @property
    def heard_at(self) -> timedelta | None:
        """When (monotonic) the API server was last heard about this resource."""
        return self._heard_at

    def doubt(self) -> None:
        """The API server could not be reached: nothing is believed until it has been listed again."""
        self._listed = False
        self._doubt.set()

    def hurry(self) -> None:
        """The API server answers again: don't wait out a back-off."""
        self._hurry.set()

    async def run(self) -> None:
        """List, follow the watch, and begin again when either can't go on."""
        while True:
            policy = AsyncRetrying(
                wait=BACKOFF, retry=retry_if_exception_type(KubeError), sleep=self._rest, after=self._failed
            )
            async for attempt in policy:
                with attempt:
                    await self._list()
            await self._follow_or_doubt()

    async def _follow_or_doubt(self) -> None:
        follow = asyncio.create_task(self._follow(), name=f"watch {self.resource.name}")
        doubt = asyncio.create_task(self._doubt.wait())
        try:
            await asyncio.wait({follow, doubt}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (follow, doubt):
                task.cancel()
            results = await asyncio.gather(follow, doubt, return_exceptions=True)
        if isinstance(results[0], Exception):
            raise results[0]

    async def _list(self) -> None:
        self._doubt.clear()
        found: dict[tuple[str, str], dict[str, Any]] = {}
        query = self._query() | {"limit": PAGE}
        while True:
            answer = await self._client.request("GET", self.resource.path, query=query, timeout=timedelta(seconds=10))
            items, metadata = answer.body.get("items"), answer.body.get("metadata")
            if not isinstance(items, list) or not isinstance(metadata, dict):
                raise KubeError(0, f"list of {self.resource.name}: the answer is not a list")
            for item in items:
                key, kept = self._kept(item)
                found[key] = kept
            if not metadata.get("continue"):
                break
            query["continue"] = str(metadata["continue"])
        self._objects, self._version = found, str(metadata.get("resourceVersion", ""))
        self._heard()
        self.error = ""
        self._listed = not self._doubt.is_set()
        self._changed()

    async def _follow(self) -> None:
        """Follow watches until a new list is due or needed."""
        until = self._clock.now().mono + self.resource.relist * random.uniform(0.9, 1.1)  # noqa: S311
        failures = 0
        while self._clock.now().mono < until:
            began = self._clock.now().mono
            try:
                await self._watch()
                failures, self.error = 0, ""
            except KubeError as error:
                self.error = str(error)
                if error.answered and not error.retryable:
                    break  # 410 among them: this version is gone
                failures += 1
                if failures > 2:
                    break
            if failures or self._clock.now().mono - began < timedelta(seconds=1):
                await self._rest(random.uniform(0.2, 1.0))  # noqa: S311

    async def _watch(self) -> None:
        query = self._query() | {"resourceVersion": self._version}
        events = self._client.watch(self.resource.path, query, self.resource.idle)
        async with aclosing(events):
            async for event in events:
                self._heard()
                if event.type == "OPENED":
                    self.error = ""
                else:
                    self._apply(event)

    def _apply(self, event: WatchEvent) -> None:
        key, kept = self._kept(event.object)
        if event.type in {"ADDED", "MODIFIED"}:
            self._objects[key] = kept
        elif event.type == "DELETED":
            self._objects.pop(key, None)
        elif event.type != "BOOKMARK":
            raise KubeError(0, f"{self.resource.name}: unknown event {event.type!r}")
        version = event.object["metadata"].get("resourceVersion")
        self._version = str(version or self._version)
        if event.type != "BOOKMARK":
            self._changed()

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change()

    def _heard(self) -> None:
        self._heard_at = self._clock.now().mono

    def _query(self) -> dict[str, str | int | bool]:
        query: dict[str, str | int | bool] = {}
        if self.resource.selector:
            query["fieldSelector"] = self.resource.selector
        if self.resource.labels:
            query["labelSelector"] = self.resource.labels
        return query

    def _kept(self, item: object) -> tuple[tuple[str, str], dict[str, Any]]:
        metadata = item.get("metadata") if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(metadata, dict):
            raise KubeError(0, f"{self.resource.name}: an object without metadata")
        key = (str(metadata.get("namespace", "")), str(metadata.get("name", "")))
        return key, slim(item, self.resource.keep)

    async def _rest(self, seconds: float) -> None:
        """Wait, less when there is reason to hurry."""
        self._hurry.clear()
        try:
            async with asyncio.timeout(float(seconds)):
                await self._hurry.wait()
        except TimeoutError:
            return
        await sleep(timedelta(milliseconds=random.uniform(10, 200)))  # noqa: S311 - not all at the same instant

    def _failed(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self.error = str(error) if error else ""


def slim(item: Mapping[str, Any], keep: Keep) -> dict[str, Any]:
    """Only the fields named by `keep`, in lists too."""
    return {name: _slim(item[name], inner) for name, inner in keep.items() if name in item}


def _slim(value: Any, keep: Any) -> Any:
    if keep is True:
        return value
    if isinstance(value, Mapping):
        return slim(value, keep)
    if isinstance(value, list):
        return [_slim(part, keep) for part in value]
    return value
