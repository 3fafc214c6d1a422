"""Memory and history in ConfigMaps, written by compare-and-swap on the resourceVersion that was read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from failoverd.adapters.kubernetes.client import MERGE_PATCH, Client, KubeError
from failoverd.adapters.kubernetes.rbac import Need, Where
from failoverd.clock import sleep
from failoverd.core import names
from failoverd.core.memory import SCHEMA, Memory
from failoverd.core.model import Unknown
from failoverd.ports import Conflict, StoreError

NEEDS = (
    # Whoever authorises the making of an object does not know its name yet.
    Need(where=Where.OWN, group="", resource="configmaps", verbs=("create",)),
    Need(
        where=Where.OWN,
        group="",
        resource="configmaps",
        verbs=("get", "update"),
        fixed=(names.HISTORY, names.MEMORY),
    ),
)

LIMIT = 1_000_000
"""Bytes of one document: a ConfigMap may hold 1 MiB (1,048,576 bytes) in all."""
HISTORY_KEEP = 200
"""Entries of history kept."""
NEVER = datetime.min.replace(tzinfo=UTC)

_MEMORY: TypeAdapter[Memory] = TypeAdapter(Memory)
NEWER = frozenset({"acknowledged_by", "acknowledged_why", "displaced", "recall", "restore", "taken_back", "unsure"})
"""Fields that came after the first schema and are as good as absent where they are empty."""
UNKNOWN_FIELD = "unexpected_keyword_argument"


class Document:
    """One text in one ConfigMap, replaced only while it still has the version that was read last."""

    def __init__(self, client: Client, namespace: str, name: str, key: str) -> None:
        self.where = f"ConfigMap {namespace}/{name}"
        self._client = client
        self._base = f"/api/v1/namespaces/{namespace}/configmaps"
        self._name = name
        self._key = key
        self._found: dict[str, Any] | None = None

    async def read(self) -> str | None:
        """The text, empty when the ConfigMap has none, None when there is no ConfigMap. Raises KubeError."""
        self._found = None
        try:
            answer = await self._client.request("GET", f"{self._base}/{self._name}")
        except KubeError as error:
            if error.status == 404:
                return None
            raise
        self._found = answer.body
        data = answer.body.get("data")
        text = data.get(self._key, "") if isinstance(data, dict) else ""
        return text if isinstance(text, str) else ""

    async def write(self, text: str) -> None:
        """Replace what was read last, or create it when nothing was found.

        Raises KubeError: 409 when somebody else was faster; status 0 when nobody knows.
        """
        if self._found is None:
            metadata: dict[str, Any] = {"name": self._name}
            method, path = "POST", self._base
        else:
            found = self._found.get("metadata")
            metadata = dict(found) if isinstance(found, dict) else {"name": self._name}
            metadata.pop("managedFields", None)
            method, path = "PUT", f"{self._base}/{self._name}"
        data = self._found.get("data") if self._found else None
        kept = dict(data) if isinstance(data, dict) else {}
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {**kept, self._key: text},
        }
        answer = await self._client.request(method, path, body, query={"fieldManager": names.FIELD_MANAGER})
        self._found = answer.body


async def merge(client: Client, namespace: str, name: str, texts: Mapping[str, str | None]) -> None:
    """Change these texts of a ConfigMap and nothing else in it: None takes one away. It is made where there is none.

    Raises KubeError.
    """
    base, query = f"/api/v1/namespaces/{namespace}/configmaps", {"fieldManager": names.FIELD_MANAGER}
    changed = {"data": dict(texts)}
    try:
        await client.request("PATCH", f"{base}/{name}", changed, content_type=MERGE_PATCH, query=query)
    except KubeError as error:
        if error.status != 404:
            raise
        data = {key: text for key, text in texts.items() if text is not None}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
        try:
            await client.request("POST", base, body, query=query)
        except KubeError as raced:
            if raced.status != 409:
                raise
            await client.request("PATCH", f"{base}/{name}", changed, content_type=MERGE_PATCH, query=query)


class MemoryStore:
    """The `Store` of the loop, in the ConfigMap `names.MEMORY` of the daemon's namespace."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._document = Document(client, namespace, names.MEMORY, "memory.json")
        self._seen = False
        self._loaded = False

    async def load(self) -> Memory | Unknown | None:
        """Memory, None when there never was any, Unknown when it can't be told."""
        self._loaded = False
        where = self._document.where
        try:
            text = await self._document.read()
        except KubeError as error:
            return Unknown(f"Memory could not be read: {error}")
        if text is None:
            if self._seen:
                return Unknown(f"{where} has vanished: restore it from a backup, or restart to begin anew")
            self._loaded = True
            return None
        self._seen = True
        found = decode(text, where)
        self._loaded = isinstance(found, Memory)
        return found

    async def save(self, memory: Memory) -> None:
        """Write it over what was loaded or saved last; after an error it must be loaded again.

        Raises Conflict, StoreError.
        """
        where = self._document.where
        if not self._loaded:
            raise StoreError(f"{where} has not been loaded")
        text = encode(memory)
        if len(text.encode()) > LIMIT:
            raise StoreError(f"Memory has {len(text.encode())} bytes, {where} can hold {LIMIT}")
        self._loaded = False
        try:
            await self._document.write(text)
        except KubeError as error:
            if error.status == 409:
                raise Conflict(f"{where} was changed by another instance") from None
            raise StoreError(str(error)) from None
        self._seen = self._loaded = True


class History:
    """The last `HISTORY_KEEP` moves and holds by their beginning, newest last, one JSON object a line."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._document = Document(client, namespace, names.HISTORY, "history.jsonl")

    async def read(self) -> tuple[dict[str, Any], ...]:
        """All entries; a line that is no JSON object is left out. Raises KubeError."""
        return tuple(_in_order(_entries(await self._document.read() or "")))

    async def append(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Add entries; one with the `id` of an earlier one takes its place, so that repeating is harmless.

        Tries again over 409 and failures that pass, for about ten seconds. Raises KubeError.
        """
        policy = AsyncRetrying(
            stop=stop_after_attempt(6),
            wait=wait_random_exponential(multiplier=0.3, max=5),
            retry=retry_if_exception(_passes),
            sleep=lambda seconds: sleep(timedelta(seconds=float(seconds))),
            reraise=True,
        )
        async for attempt in policy:
            with attempt:
                old = await self._document.read() or ""
                await self._document.write(_joined(list(_entries(old)), entries))


def encode(memory: Memory) -> str:
    """Memory as compact JSON. Newer fields that hold nothing are left out: a version without them would freeze."""
    lean = _without_empty(_MEMORY.dump_python(memory, mode="json"))
    return json.dumps(lean, ensure_ascii=False, separators=(",", ":"))


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_empty(one) for key, one in value.items() if one or key not in NEWER}
    return [_without_empty(one) for one in value] if isinstance(value, list) else value


def decode(text: str, where: str) -> Memory | Unknown:
    """Memory from JSON; Unknown, naming `where`, for anything this version can't be sure to understand."""
    try:
        raw = json.loads(text)
    except ValueError as error:
        return Unknown(f"{where} is not JSON: {error}")
    schema = raw.get("schema") if isinstance(raw, dict) else None
    if not isinstance(schema, int):
        return Unknown(f"{where} has no schema version")
    if schema > SCHEMA:
        return Unknown(f"{where} has schema {schema}, this version knows up to {SCHEMA}: run a newer failoverd")
    try:
        # A field that is not known would be gone with the next save.
        memory = _MEMORY.validate_json(text, strict=True, extra="forbid")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == UNKNOWN_FIELD:
            return Unknown(f"{where} holds {place}, which this version does not know: run a newer failoverd")
        return Unknown(f"{where} can't be understood at {place}: {first['msg']}")
    if any(moment.tzinfo is None for moment in _moments(memory)):
        return Unknown(f"{where} holds a time without a time zone")
    return memory


def _moments(value: object) -> Iterator[datetime]:
    if isinstance(value, datetime):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _moments(part)
    elif isinstance(value, tuple):
        for part in value:
            yield from _moments(part)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _moments(getattr(value, field.name))


def _passes(error: BaseException) -> bool:
    return isinstance(error, KubeError) and (error.retryable or error.status == 409)


def _entries(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            yield entry


def _in_order(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """By their beginning, whenever each was written last; one that does not say it comes first, to go first."""
    return sorted(entries, key=_began)


def _began(entry: Mapping[str, Any]) -> datetime:
    try:
        found = datetime.fromisoformat(str(entry.get("began_at") or entry.get("at")))
    except ValueError:
        return NEVER
    return found if found.tzinfo is not None else NEVER


def _joined(old: list[dict[str, Any]], new: Sequence[Mapping[str, Any]]) -> str:
    ids = {entry["id"] for entry in new if "id" in entry}
    entries = _in_order([*(one for one in old if one.get("id") not in ids), *map(dict, new)])
    lines = [json.dumps(entry, separators=(",", ":"), ensure_ascii=False) for entry in entries[-HISTORY_KEEP:]]
    while sum(len(line.encode()) + 1 for line in lines) > LIMIT:
        del lines[0]
    return "\n".join(lines)
