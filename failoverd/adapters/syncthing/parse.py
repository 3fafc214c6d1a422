"""From Syncthing's JSON to core nouns. A field that is missing or misshapen is an error, never a default.

Where an older Syncthing lacks a field (1.19: `remoteSequence`, `error`, `receiveOnly…`) the absence is itself
the answer and is allowed by name below; shapes as recorded from 1.19.2 and 1.29.5.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from failoverd.core.model import Folder, Role


class Malformed(Exception):
    """An answer lacks what it must have; the text names call and field."""


@dataclass(frozen=True, slots=True)
class Fields:
    """One JSON object, and the name of the call it came from."""

    call: str
    data: Mapping[str, Any]

    def _get(self, name: str) -> Any:
        if name not in self.data:
            raise Malformed(f"{self.call}: field '{name}' is missing")
        return self.data[name]

    def _as(self, name: str, kind: type, value: Any) -> Any:
        # A bool is an int to Python, not to us.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Malformed(f"{self.call}: field '{name}' is {value!r:.60}, not {_NAMES[kind]}")
        return value

    def text(self, name: str, absent: str | None = None) -> str:
        """A string; `absent` where the field may be missing or null."""
        if absent is not None and self.data.get(name) is None:
            return absent
        value: str = self._as(name, str, self._get(name))
        return value

    def count(self, name: str, absent: int | None = None) -> int:
        """A number >= 0; `absent` where the field may be missing."""
        if absent is not None and name not in self.data:
            return absent
        value: int = self._as(name, int, self._get(name))
        if value < 0:
            raise Malformed(f"{self.call}: field '{name}' is {value}, less than 0")
        return value

    def flag(self, name: str) -> bool:
        """True or false."""
        value: bool = self._as(name, bool, self._get(name))
        return value

    def object(self, name: str) -> Fields:
        """A JSON object."""
        return Fields(f"{self.call}.{name}", self._as(name, dict, self._get(name)))

    def list(self, name: str) -> list[Any]:
        """A JSON array; null counts as an empty one, which is how Go writes it."""
        value = self._get(name)
        items: list[Any] = [] if value is None else self._as(name, list, value)
        return items


_NAMES: dict[type, str] = {
    str: "text", int: "a number", bool: "true or false", dict: "an object", list: "a list",
}  # fmt: skip


def decoded(call: str, body: bytes) -> Fields:
    """The JSON object in `body`. Raises Malformed."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise Malformed(f"{call}: the answer is not JSON: {body[:60]!r}") from None
    if not isinstance(data, dict):
        raise Malformed(f"{call}: the answer is not an object: {body[:60]!r}")
    return Fields(call, data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """`system/status`: which installation this is and since when it runs."""

    device: str
    started: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`config/folders/<id>`: how the folder is set up."""

    type: str
    paused: bool
    peers: tuple[str, ...]
    versioning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """`db/status`: what this side has and still needs."""

    state: str
    error: str
    sequence: int
    remote: Mapping[str, int] | None
    """By device; None where this Syncthing does not say (before 1.27.4)."""
    errors: int
    need_items: int
    need_bytes: int
    receive_only: int
    files: int


def status(fields: Fields) -> Status:
    """`system/status`. Raises Malformed."""
    found = Status(device=fields.text("myID"), started=fields.text("startTime"))
    if not found.device or not found.started:
        raise Malformed(f"{fields.call}: empty 'myID' or 'startTime'")
    return found


def config(fields: Fields, device: str) -> Config:
    """`config/folders/<id>`; `device` is this side's own ID. Raises Malformed."""
    kind = fields.text("type")
    if kind not in {*Role}:
        raise Malformed(f"{fields.call}: type '{kind}' is none this daemon works with ({', '.join(Role)})")
    peers = []
    for entry in fields.list("devices"):
        if not isinstance(entry, dict):
            raise Malformed(f"{fields.call}: an entry of 'devices' is not an object")
        peers.append(Fields(f"{fields.call}.devices", entry).text("deviceID"))
    return Config(
        type=kind,
        paused=fields.flag("paused"),
        peers=tuple(peer for peer in peers if peer != device),
        versioning=fields.object("versioning").text("type"),
    )


def local(fields: Fields) -> Local:
    """`db/status`. Raises Malformed."""
    remote = None
    if fields.data.get("remoteSequence") is not None:
        listed = fields.object("remoteSequence")
        remote = {device: listed.count(device) for device in listed.data}
    return Local(
        state=fields.text("state"),
        error=fields.text("error", absent="") or fields.text("invalid", absent=""),
        sequence=fields.count("sequence"),
        remote=remote,
        errors=max(fields.count("errors"), fields.count("pullErrors")),
        need_items=fields.count("needTotalItems"),
        need_bytes=fields.count("needBytes"),
        receive_only=fields.count("receiveOnlyTotalItems", absent=0),
        files=fields.count("localFiles"),
    )


@dataclass(frozen=True, slots=True)
class Link:
    """`system/connections`: what this side says of its peer."""

    connected: bool
    """It stays true for minutes after a power cut."""
    paused: bool
    """Somebody paused the peer here."""


def link(fields: Fields, peers: tuple[str, ...]) -> Link:
    """What is said of the first of `peers`; without any, or where it is not listed, none is connected.

    Raises Malformed.
    """
    listed = fields.object("connections")
    if not peers or peers[0] not in listed.data:
        return Link(connected=False, paused=False)
    found = listed.object(peers[0])
    return Link(connected=found.flag("connected"), paused=found.flag("paused"))


def ignores(fields: Fields) -> tuple[str, ...]:
    """`db/ignores`: the patterns as written, comments and includes among them. Raises Malformed."""
    lines = fields.list("ignore")
    if not all(isinstance(line, str) for line in lines):
        raise Malformed(f"{fields.call}: field 'ignore' holds something else than text")
    return tuple(lines)


CHANGED = "file changed during hashing"


def error_files(fields: Fields) -> tuple[str, ...]:
    """`folder/errors`: the paths that could not be scanned or pulled. Raises Malformed."""
    paths = []
    for entry in fields.list("errors"):
        if not isinstance(entry, dict):
            raise Malformed(f"{fields.call}: an entry of 'errors' is not an object")
        paths.append(Fields(f"{fields.call}.errors", entry).text("path"))
    return tuple(sorted(paths))


def changing(fields: Fields) -> tuple[str, ...]:
    """Of `folder/errors` the paths that changed while they were hashed (words of 1.29.5). Raises Malformed."""
    listed = [Fields(f"{fields.call}.errors", entry) for entry in fields.list("errors") if isinstance(entry, dict)]
    return tuple(sorted(one.text("path") for one in listed if one.text("error", absent="").endswith(CHANGED)))


def needed(fields: Fields) -> tuple[str, ...]:
    """`db/need`: the names of what is being fetched, waits for it, or waits to be tried again. Raises Malformed."""
    found = []
    for part in ("progress", "queued", "rest"):
        for entry in fields.list(part):
            if not isinstance(entry, dict):
                raise Malformed(f"{fields.call}: an entry of '{part}' is not an object")
            found.append(Fields(f"{fields.call}.{part}", entry).text("name"))
    return tuple(sorted(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One version of a file that versioning has kept."""

    path: str
    at: str
    """When it was put aside, as Syncthing writes it."""
    size: int
    """Bytes."""
    modified: str = ""
    """When its content was last written, likewise."""


def versions(fields: Fields) -> tuple[Kept, ...]:
    """`folder/versions`: everything put aside. Raises Malformed."""
    kept = []
    for path in sorted(fields.data):
        for entry in fields.list(path):
            if not isinstance(entry, dict):
                raise Malformed(f"{fields.call}: an entry of '{path}' is not an object")
            one = Fields(f"{fields.call}.{path}", entry)
            at, modified = one.text("versionTime"), one.text("modTime")
            kept.append(Kept(path=path, at=at, size=one.count("size"), modified=modified))
    return tuple(kept)


def folder(
    who: Status, setup: Config, now: Local, *, peer_link: Link, patterns: tuple[str, ...], files: tuple[str, ...]
) -> Folder:
    """All of one side put together. Raises Malformed for a folder whose numbers mean nothing."""
    if setup.paused:
        raise Malformed("the folder is paused, so its zeros mean nothing: unpause it in Syncthing")
    if not now.state:
        raise Malformed("the folder has no state: it is paused or just being restarted")
    if len(setup.peers) > 1:
        raise Malformed(
            f"the folder is shared with {len(setup.peers)} other devices; roles can only be kept with one"
        )
    # Before VolSync has added the peer the folder's type must still be readable and settable.
    peer = setup.peers[0] if setup.peers else ""
    return Folder(
        device=who.device, started=who.started, peer=peer, type=setup.type, state=now.state, error=now.error,
        sequence=now.sequence, remote_sequence=(now.remote or {}).get(peer),
        connected=peer_link.connected, peer_paused=peer_link.paused,
        errors=now.errors, error_files=files, need_items=now.need_items,
        need_bytes=now.need_bytes, receive_only=now.receive_only, local_files=now.files, ignores=patterns,
        versioning=setup.versioning,
    )  # fmt: skip
