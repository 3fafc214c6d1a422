"""A Proxmox VE node on the lab's host `pve`: the API over HTTPS, its power actions done to the lab's hosts.

`python -m tests.lab.standins.proxmox --config FILE --state DIR` serves until it is killed. What a guest *is*
comes from the lab each time (a power cut by other hands shows at once); what the API *says and does* can be
bent by `Switches`, a JSON file read again for every request. What is not simulated: a clean shutdown. Every
action that takes a guest down cuts its power, after the time the switches name.
"""

from __future__ import annotations

import argparse
import json
import os
import ssl
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from tests.lab.standins.proxmox_api import answer
from tests.lab.standins.proxmox_model import (
    Answer,
    Begin,
    Datacenter,
    Guest,
    Kind,
    Request,
    Task,
    new_task,
)
from tests.lab.standins.proxmox_settings import FakeTask, Resident, Settings, Switches

HA_ROUND = 2.0
"""Seconds until the HA manager carries a wish out."""


class Power(Protocol):
    """The switchboard of the guests, by host name."""

    def running(self, host: str) -> bool:
        """Whether it has power."""

    def age(self, host: str) -> float | None:
        """Seconds since its first process started; None while it has none."""

    def stop(self, host: str) -> None:
        """Cuts its power; nothing happens if it has none."""

    def start(self, host: str) -> None:
        """Boots it; nothing happens if it runs."""


class World:
    """The node between requests: its tasks, and its guests as their power and the switches make them."""

    def __init__(self, settings: Settings, power: Power) -> None:
        self.settings = settings
        self.power = power
        self._tasks: list[Task] = []
        self._up_since: dict[int, float] = {}
        self._lock = threading.Lock()

    def answer(self, request: Request, switches: Switches) -> Answer:
        """Answers one request and starts what it promised."""
        now = time.time()
        with self._lock:
            given = answer(self._datacenter(switches, now), request, now)
            if given.begin is not None:
                self._tasks.append(given.begin.task)
        if given.begin is not None:
            work = threading.Thread(target=self._carry_out, args=(given.begin, switches), daemon=True)
            work.start()
        return given

    def _datacenter(self, switches: Switches, now: float) -> Datacenter:
        guests = tuple(self._guest(resident, switches, now) for resident in self.settings.residents)
        return Datacenter(
            node=self.settings.node,
            guests=guests,
            tasks=(*self._tasks, *_shown(self.settings.node, switches.tasks, now)),
            tokens=self.settings.tokens,
            serial=len(self._tasks),
        )

    def _guest(self, resident: Resident, switches: Switches, now: float) -> Guest:
        vmid = str(resident.vmid)
        running = self.power.running(resident.host)
        if running:
            self._up_since.setdefault(resident.vmid, now)
        else:
            self._up_since.pop(resident.vmid, None)
        return Guest(
            vmid=resident.vmid,
            kind=resident.kind,
            name=resident.host,
            running=running if vmid not in switches.lie else switches.lie[vmid] == "running",
            uptime=self._uptime(resident, now),
            pid=1000 + resident.vmid,
            lock=switches.lock.get(vmid, ""),
            onboot=switches.onboot.get(vmid, True),
            ha=vmid in switches.ha,
        )

    def _uptime(self, resident: Resident, now: float) -> int:
        """A container's counts from its own start, a machine's from its power: only a container restarts inside."""
        if resident.kind is Kind.LXC:
            return int(self.power.age(resident.host) or 0)
        return int(now - self._up_since.get(resident.vmid, now))

    def _carry_out(self, begin: Begin, switches: Switches) -> None:
        resident = next(r for r in self.settings.residents if r.vmid == begin.vmid)
        if begin.task.type.startswith("ha"):
            # The task only hands the wish to the HA manager; it acts when it gets round to it.
            self._end(begin, "OK")
            time.sleep(HA_ROUND)
        try:
            status = self._act(resident, begin, switches)
        except Exception as error:  # the lab's own failure must show in the task, where the caller looks
            status = str(error)
        self._end(begin, status)

    def _end(self, begin: Begin, status: str) -> None:
        with self._lock:
            at = next(i for i, task in enumerate(self._tasks) if task.upid == begin.task.upid)
            if self._tasks[at].active:
                self._tasks[at] = replace(self._tasks[at], endtime=int(time.time()), exitstatus=status)

    def _act(self, resident: Resident, begin: Begin, switches: Switches) -> str:
        """Does it and returns the task's exit status."""
        locked = switches.lock.get(str(resident.vmid))
        if locked:
            return f"{'CT' if resident.kind is Kind.LXC else 'VM'} is locked ({locked})"
        takes = switches.seconds.get(begin.action, 6.0 if begin.action == "reboot" else 0.0)
        if begin.action == "reboot":
            self.power.stop(resident.host)
            time.sleep(takes)
            self.power.start(resident.host)
            return "OK"
        if begin.action == "shutdown" and takes > begin.timeout and not begin.force:
            time.sleep(begin.timeout)
            return "command failed: timeout"
        time.sleep(min(takes, begin.timeout) if begin.action == "shutdown" else takes)
        if begin.action == "start":
            self.power.start(resident.host)
        else:
            self.power.stop(resident.host)
        return "OK"


def _shown(node: str, fakes: tuple[FakeTask, ...], now: float) -> list[Task]:
    """The switches' tasks as the node's; process numbers are theirs alone, so that a name stays the same."""
    shown = []
    for number, fake in enumerate(fakes):
        if now < fake.since:
            continue
        task = new_task(node, 900_000 + number, fake.type, fake.id, (fake.user, ""), fake.since)
        over = now >= fake.until
        shown.append(replace(task, endtime=int(fake.until), exitstatus="OK") if over else task)
    return shown


class _Handler(BaseHTTPRequestHandler):
    """One connection; the world and settings hang on the server."""

    protocol_version = "HTTP/1.1"
    server_version = "pve-api-daemon/3.0"
    sys_version = ""
    # Answers leave in one piece: header and body apart would wait 40 ms for each other (Nagle, delayed ACK).
    wbufsize = -1
    disable_nagle_algorithm = True
    server: Server

    def _any(self) -> None:
        switches = Switches.read(self.server.settings.switches)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode() if length else ""
        while switches.hang:
            time.sleep(0.2)
            switches = Switches.read(self.server.settings.switches)
        url = urlsplit(self.path)
        params = dict(parse_qsl(url.query, keep_blank_values=True)) | self._form(body)
        request = Request(
            method=self.command,
            path=url.path,
            params=params,
            authorization=self.headers.get("Authorization", ""),
        )
        if switches.refuse:
            self._send(Answer(status=500, reason="got no worker", body={"data": None, "message": "got no worker\n"}))
            return
        given = self.server.world.answer(request, switches)
        if given.status == 401:
            time.sleep(self.server.settings.auth_delay)
        self._send(given)

    def _form(self, body: str) -> dict[str, str]:
        if "json" in self.headers.get("Content-Type", ""):
            return {k: str(int(v) if isinstance(v, bool) else v) for k, v in json.loads(body or "{}").items()}
        return dict(parse_qsl(body, keep_blank_values=True))

    def _send(self, given: Answer) -> None:
        raw = b"" if given.body is None else json.dumps(given.body).encode()
        self.send_response(given.status, given.reason.replace("\n", " "))
        self.send_header("Content-Type", "application/json;charset=UTF-8")
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("Cache-Control", "max-age=0")
        self.end_headers()
        self.wfile.write(raw)

    def do_GET(self) -> None:
        self._any()

    def do_POST(self) -> None:
        self._any()

    def do_PUT(self) -> None:
        self._any()

    def do_DELETE(self) -> None:
        self._any()

    def log_message(self, *args: Any) -> None:
        print(f"{time.time():.3f} {self.address_string()} {args[0] % args[1:]}", flush=True)


class Server(ThreadingHTTPServer):
    """The API over TLS. `settings.port` 0 takes a free one, see `server_port`."""

    daemon_threads = True

    def __init__(self, settings: Settings, power: Power) -> None:
        self.settings = settings
        self.world = World(settings, power)
        super().__init__((settings.address, settings.port), _Handler)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(settings.cert, settings.key)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the connection's own thread, so that a client that is slow at the handshake blocks nobody."""
        try:
            with self._tls.wrap_socket(request, server_side=True) as wrapped:
                super().finish_request(wrapped, client_address)
        except (OSError, ssl.SSLError) as error:
            print(f"{time.time():.3f} {client_address[0]} {error}", flush=True)


class LabPower:
    """The lab's power switches, by way of its state folder."""

    def __init__(self, state: Path) -> None:
        # The lab is only needed where a lab is; other worlds use this module without it.
        from tests.lab import nodes, processes  # noqa: PLC0415
        from tests.lab.lab import Lab  # noqa: PLC0415

        self._lab = Lab.attach(state)
        self._init_pid = nodes.init_pid
        self._started = processes.started

    def running(self, host: str) -> bool:
        """See Power."""
        return self._lab.power_state(host) == "running"

    def age(self, host: str) -> float | None:
        """See Power."""
        pid = self._init_pid(self._lab.layout, self._lab.layout.host(host))
        ticks = self._started(pid) if pid is not None else ""
        if not ticks:
            return None
        booted = float(Path("/proc/uptime").read_text().split()[0])
        return booted - int(ticks) / os.sysconf("SC_CLK_TCK")

    def stop(self, host: str) -> None:
        """See Power."""
        if self.running(host):
            self._lab.power_cut(host)

    def start(self, host: str) -> None:
        """See Power."""
        if not self.running(host):
            self._lab.power_on(host)


def main() -> int:
    """Serves until killed."""
    parser = argparse.ArgumentParser(description="Proxmox VE stand-in of the lab")
    parser.add_argument("--config", type=Path, required=True, help="JSON as Settings.dump makes it")
    parser.add_argument("--state", type=Path, required=True, help="the lab's state folder")
    args = parser.parse_args()
    settings = Settings.read(json.loads(args.config.read_text()))
    server = Server(settings, LabPower(args.state))
    print(f"serving on {settings.address}:{server.server_port}", flush=True)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
