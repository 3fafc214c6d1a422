"""A host's first process: it mounts what the host sees and keeps its services running.

Run as a plain script, on a node as process 1 of its own PID namespace. A service is a file
`services/<name>.json` in the host's folder: a new file starts it, a removed one ends it, a process that dies
is started again after a second (as a unit with `Restart=always` would be), and what is still listed starts
again with the next boot.

    {"argv": [...], "env": {...}, "log": "/…", "restart": true, "cwd": "/",
     "after": "/a/socket" or "tcp:ADDRESS:PORT" or null}
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TURN = 0.05
RESTART_AFTER = 1.0
GRACE = 5.0


@dataclass(slots=True, kw_only=True)
class Service:
    """One service and its process, if it has one."""

    name: str
    spec: dict[str, Any]
    pid: int | None = None
    start_at: float = 0.0
    kill_at: float | None = None
    done: bool = field(default=False)
    """It ended and asked for no restart."""


def is_there(condition: str | None) -> bool:
    """Whether what a service waits for is there."""
    if condition is None:
        return True
    if not condition.startswith("tcp:"):
        return Path(condition).exists()
    _, address, port = condition.split(":")
    try:
        with socket.create_connection((address, int(port)), timeout=0.2):
            return True
    except OSError:
        return False


class Supervisor:
    """All services of one host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.services: dict[str, Service] = {}

    def turn(self, now: float) -> None:
        """Follow the service files once."""
        wanted = {path.stem for path in (self.folder / "services").glob("*.json")}
        for name in wanted - self.services.keys():
            spec = json.loads((self.folder / "services" / f"{name}.json").read_text())
            self.services[name] = Service(name=name, spec=spec)
        for service in list(self.services.values()):
            if service.name not in wanted:
                self._end(service, now)
            elif service.pid is None and not service.done and now >= service.start_at:
                self._start(service)

    def _start(self, service: Service) -> None:
        if not is_there(service.spec.get("after")):
            return
        (self.folder / "run" / f"{service.name}.exit").unlink(missing_ok=True)
        with Path(service.spec["log"]).open("ab") as log:
            process = subprocess.Popen(
                service.spec["argv"],
                env={**os.environ, **service.spec.get("env", {})},
                cwd=service.spec.get("cwd", "/"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        service.pid = process.pid
        self._write(f"{service.name}.pid", str(process.pid))
        # The supervisor reaps for itself, orphans included; Popen must not try, or warn that it has not.
        process.returncode = 0

    def _end(self, service: Service, now: float) -> None:
        if service.pid is None:
            del self.services[service.name]
        elif service.kill_at is None:
            service.kill_at = now + GRACE
            # A stopped process hears nothing else than SIGKILL before it continues.
            os.kill(service.pid, signal.SIGTERM)
            os.kill(service.pid, signal.SIGCONT)
        elif now >= service.kill_at:
            os.kill(service.pid, signal.SIGKILL)

    def _write(self, name: str, text: str) -> None:
        fresh = self.folder / "run" / f".{name}"
        fresh.write_text(text)
        fresh.rename(self.folder / "run" / name)

    def reap(self, now: float) -> None:
        """Take note of every process that ended, orphaned ones too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for service in self.services.values():
                if service.pid == pid:
                    service.pid = None
                    service.start_at = now + RESTART_AFTER
                    service.done = not service.spec.get("restart", True)
                    (self.folder / "run" / f"{service.name}.pid").unlink(missing_ok=True)
                    self._write(f"{service.name}.exit", str(os.waitstatus_to_exitcode(status)))


def mount_node(folder: Path, node_dir: Path) -> Path:
    """Give a node its own /run, /data and what programs insist on; returns the folder as it sees it."""

    def mount(*argv: str) -> None:
        subprocess.run(["mount", *argv], check=True)

    # Its own /run: sockets, pod network namespaces and locks go with the power, as they would on a real host.
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    node_dir.mkdir(parents=True)
    mount("--bind", str(folder), str(node_dir))
    Path("/run/netns").mkdir()
    Path("/run/lock").mkdir()
    for name in ("data", "var-log"):
        (node_dir / name).mkdir(exist_ok=True)
    mount("--bind", str(node_dir / "data"), "/data")
    mount("--bind", str(node_dir / "var-log"), "/var/log")
    resolver = Path("/etc/resolv.conf").resolve()
    if resolver.is_relative_to("/run"):
        # A link into the machine's own /run, which has just been hidden.
        resolver.parent.mkdir(parents=True, exist_ok=True)
        resolver.touch()
    if resolver.exists():
        mount("--bind", str(node_dir / "etc" / "resolv.conf"), str(resolver))
    return node_dir


def main() -> None:
    """`supervisor.py FOLDER [NODE_DIR]`: with NODE_DIR as a node, in its own mount and PID namespace."""
    folder = Path(sys.argv[1])
    if len(sys.argv) > 2:
        folder = mount_node(folder, Path(sys.argv[2]))
    # A handler, not SIG_IGN: that one every service would inherit.
    signal.signal(signal.SIGTERM, lambda *_: None)
    supervisor = Supervisor(folder)
    (folder / "run" / "booted").touch()
    while True:
        now = time.monotonic()
        supervisor.reap(now)
        supervisor.turn(now)
        time.sleep(TURN)


if __name__ == "__main__":
    main()
