"""The fences of a configuration: each type has keys of its own, and what one has no use for is refused."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path as FilePath

import httpx

from failoverd.config.address import is_http
from failoverd.config.durations import show
from failoverd.config.edges import FenceType, FencingTable
from failoverd.config.locate import Path
from failoverd.config.problems import Origin, Problem
from failoverd.config.resolved import Fence
from failoverd.config.secrets import Secrets
from failoverd.config.settings import Settings

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PROXMOX = ("url", "guest", "token", "token_file", "ca_file", "fingerprint")
KEYS: Mapping[FenceType, tuple[str, ...]] = {
    FenceType.PROXMOX_LXC: _PROXMOX,
    FenceType.PROXMOX_VM: _PROXMOX,
    FenceType.DOCKER: ("url", "container", "ca_file", "fingerprint", "cert_file", "key_file"),
    FenceType.COMMAND: ("argv", "timeout"),
}
"""What may be written beside `COMMON`."""
COMMON = ("node", "type", "out_of_service")
NEEDED = ("url", "guest", "container", "argv")
"""Of these, what a type has it cannot do without."""
TLS = ("ca_file", "fingerprint", "cert_file", "key_file")
CALLS = 3
"""Calls of a command that one fence makes at least: how is it, off, how is it now."""
SHORTEST = timedelta(seconds=1)


class Fences:
    """Builds them; what is wrong goes to `problems`."""

    def __init__(self, settings: Settings, origin: Origin, secrets: Secrets) -> None:
        self.settings = settings
        self.origin = origin
        self.secrets = secrets
        self.problems: list[Problem] = []

    def build(self) -> dict[str, Fence]:
        """The fences by node."""
        fences: dict[str, Fence] = {}
        for index, table in enumerate(self.settings.fencing):
            path: Path = ("fencing", index)
            if table.node in fences:
                self._say((*path, "node"), f'node "{table.node}" has two fences; one is all it can have')
                continue
            self._keys(path, table)
            match table.type:
                case FenceType.PROXMOX_LXC | FenceType.PROXMOX_VM:
                    fences[table.node] = self._proxmox(path, table)
                case FenceType.DOCKER:
                    fences[table.node] = self._docker(path, table)
                case FenceType.COMMAND:
                    fences[table.node] = self._command(path, table)
        return fences

    def _keys(self, path: Path, table: FencingTable) -> None:
        for name, info in type(table).model_fields.items():
            if name in COMMON:
                continue
            given = getattr(table, name) != info.get_default(call_default_factory=True)
            if given and name not in KEYS[table.type]:
                known = ", ".join(KEYS[table.type])
                self._say((*path, name), f'type "{table.type}" has no use for it; it knows {known}')
            if not given and name in NEEDED and name in KEYS[table.type]:
                self._say((*path, name), f'is missing: type "{table.type}" needs it')

    def _proxmox(self, path: Path, table: FencingTable) -> Fence:
        host, _, number = table.guest.partition("/")
        if table.guest and (not host or not re.fullmatch(r"[1-9]\d{0,8}", number, re.ASCII)):
            self._say((*path, "guest"), f'"{table.guest}" is not a guest; write host and number, as in "pve/101"')
        if table.url and not _safe(table.url):
            self._say((*path, "url"), f'"{table.url}" is not an address; write it as "https://host:8006"')
        token = self.secrets.read(table, path, "token", needed=True)
        if token and not re.fullmatch(r"[^@!\s]+@[^@!\s]+![^=\s]+=[0-9A-Za-z-]+", token):
            where, what = self.secrets.origin_of(table, path, "token")
            self._say(where, f"{what}is not an API token; it looks like user@realm!name=uuid")
        return Fence(
            name=table.node,
            node=table.node,
            type=table.type,
            url=table.url.rstrip("/"),
            host=host,
            guest=int(number) if number.isascii() and number.isdigit() else 0,
            token=token,
            ca_file=self.secrets.certificates((*path, "ca_file"), table.ca_file),
            fingerprint=self._fingerprint(path, table),
        )

    def _docker(self, path: Path, table: FencingTable) -> Fence:
        if table.container and not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", table.container, re.ASCII):
            self._say((*path, "container"), f'"{table.container}" is not the name of a container')
        socket = re.fullmatch(r"unix:///\S+", table.url) is not None
        if table.url and not socket and not _safe(table.url):
            shape = 'write it as "https://host:2376" or "unix:///var/run/docker.sock"'
            self._say((*path, "url"), f'"{table.url}" is not an address; {shape}')
        if table.url.lower().startswith("https:"):
            for name in ("cert_file", "key_file"):
                if not getattr(table, name):
                    text = "is missing: a Docker Engine that lets anybody in over the network belongs to everybody"
                    self._say((*path, name), text)
        else:
            for name in (name for name in TLS if getattr(table, name)):
                self._say((*path, name), f'"{table.url}" has no use for it: there is no TLS')
        cert = self.secrets.certificates((*path, "cert_file"), table.cert_file)
        return Fence(
            name=table.node,
            node=table.node,
            type=table.type,
            url=table.url if socket else table.url.rstrip("/"),
            container=table.container,
            ca_file=self.secrets.certificates((*path, "ca_file"), table.ca_file),
            fingerprint=self._fingerprint(path, table),
            cert_file=cert,
            key_file=self.secrets.key_of((*path, "key_file"), table.key_file, cert),
        )

    def _command(self, path: Path, table: FencingTable) -> Fence:
        program = FilePath(table.argv[0] if table.argv else "")
        if table.argv and not program.is_absolute():
            self._say((*path, "argv"), f'"{program}" is not an absolute path; no PATH is searched and no shell asked')
        elif table.argv and self.secrets.look((*path, "argv"), program) and not _runs(program):
            text = f"there is no program {program} that may be run; install it, or name another"
            self.secrets.missing((*path, "argv"), text)
        within = self.settings.timings.fence_timeout
        if table.timeout * CALLS > within:
            self._say(
                (*path, "timeout"),
                f'"{show(table.timeout)}" is too long: {CALLS} calls must fit into timings.fence_timeout '
                f'{show(within)}; largest value that works: "{show(within / CALLS)}"',
            )
        if table.timeout < SHORTEST:
            self._say((*path, "timeout"), f'"{show(table.timeout)}" is too short; write "{show(SHORTEST)}" or more')
        return Fence(name=table.node, node=table.node, type=table.type, argv=table.argv, timeout=table.timeout)

    def _fingerprint(self, path: Path, table: FencingTable) -> str:
        if table.ca_file and table.fingerprint:
            self._say((*path, "fingerprint"), "there is ca_file as well; keep one of the two")
        fingerprint = table.fingerprint.replace(":", "").lower()
        if fingerprint and not re.fullmatch(r"[0-9a-f]{64}", fingerprint):
            self._say((*path, "fingerprint"), "is not a SHA-256 fingerprint: 64 hexadecimal digits")
        return fingerprint

    def _say(self, path: Path, text: str) -> None:
        self.problems.append(self.origin.problem(path, text))


def fence_hash(fences: Mapping[str, Fence]) -> str:
    """Of what decides which guest a node is: not of tokens and certificates, which may be renewed."""
    facts = sorted((f.node, f.type, f.url, f.host, f.guest, f.container, f.argv) for f in fences.values())
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16] if facts else ""


def _runs(program: FilePath) -> bool:
    return program.is_file() and os.access(program, os.X_OK)


def _safe(url: str) -> bool:
    """Whether it is an address; secrets cross no network in the clear: plain HTTP only within this machine."""
    return is_http(url) and (httpx.URL(url).scheme == "https" or httpx.URL(url).host in LOOPBACK)
