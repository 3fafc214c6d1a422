"""The Proxmox fence against the lab's stand-in of a Proxmox node, over real TLS on loopback."""

from __future__ import annotations

import hashlib
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from failoverd.adapters.fencing import FenceError
from failoverd.adapters.fencing.proxmox import Endpoint, Kind, Proxmox
from failoverd.adapters.fencing.proxmox import _busy as busy
from failoverd.clock import SystemClock
from failoverd.core.model import Guest, GuestState, Unknown
from tests.lab.standins import proxmox as standin
from tests.lab.standins.proxmox import Server
from tests.lab.standins.proxmox_model import Kind as StandinKind
from tests.lab.standins.proxmox_model import Token
from tests.lab.standins.proxmox_settings import FakeTask, Resident, Settings, Switches

TLS = Path(__file__).parent.parent / "data" / "tls"
ALL = frozenset({"VM.Audit", "VM.PowerMgmt", "Sys.Audit"})
SECRET = "11111111-2222-3333-4444-555555555555"
FINGERPRINT = hashlib.sha256(ssl.PEM_cert_to_DER_cert((TLS / "pve.pem").read_text())).hexdigest()


class FakePower:
    """Switches that only remember."""

    def __init__(self) -> None:
        self.on = {"k3s-w1": True, "k3s-cp1": True}
        self.cuts = 0

    def running(self, host: str) -> bool:
        return self.on[host]

    def age(self, host: str) -> float | None:
        return 7.5 if self.on[host] else None

    def stop(self, host: str) -> None:
        self.cuts += 1
        self.on[host] = False

    def start(self, host: str) -> None:
        self.on[host] = True


def token(name: str, vm: frozenset[str] = ALL, node: frozenset[str] = ALL) -> Token:
    return Token(user="failoverd@pve", tokenid=name, secret=SECRET, acl={"/vms": vm, "/nodes": node})


@dataclass(slots=True)
class Node:
    """A running stand-in and what it takes to speak to it."""

    port: int
    switches: Path
    power: FakePower
    endpoint: Endpoint = field(init=False)

    def __post_init__(self) -> None:
        self.endpoint = Endpoint(
            url=f"https://127.0.0.1:{self.port}", token=f"failoverd@pve!fence={SECRET}", fingerprint=FINGERPRINT
        )

    def set(self, **switches: object) -> None:
        replace(Switches(), **switches).write(self.switches)  # type: ignore[arg-type]

    def guest(self, kind: Kind = Kind.LXC, vmid: int = 101, node: str = "pve", **changes: object) -> Proxmox:
        endpoint = replace(self.endpoint, **changes)  # type: ignore[arg-type]
        return Proxmox(endpoint, kind, node, vmid, SystemClock())


@contextmanager
def running(folder: Path) -> Iterator[Node]:
    settings = Settings(
        node="pve", address="127.0.0.1", port=0, cert=TLS / "pve.pem", key=TLS / "pve.key",
        switches=folder / "switches.json", auth_delay=0.2,
        residents=(
            Resident(vmid=101, kind=StandinKind.LXC, host="k3s-w1"),
            Resident(vmid=100, kind=StandinKind.QEMU, host="k3s-cp1"),
        ),
        tokens=(
            token("fence"), token("blind", node=frozenset()), token("weak", vm=frozenset({"VM.Audit"})),
            token("none", vm=frozenset(), node=frozenset()),
        ),
    )  # fmt: skip
    power = FakePower()
    server = Server(settings, power)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield Node(server.server_port, settings.switches, power)
    finally:
        Switches().write(settings.switches)
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture
def pve(tmp_path):
    with running(tmp_path) as node:
        yield node


async def state(fence: Proxmox) -> Guest | Unknown:
    try:
        return await fence.state()
    finally:
        await fence.close()


async def seen(fence: Proxmox) -> Guest:
    found = await state(fence)
    assert isinstance(found, Guest), found
    return found


async def why(fence: Proxmox) -> str:
    found = await state(fence)
    assert isinstance(found, Unknown), found
    return found.why


@pytest.mark.parametrize(("kind", "vmid"), [(Kind.LXC, 101), (Kind.VM, 100)])
async def test_a_running_guest(pve, kind, vmid):
    found = await seen(pve.guest(kind, vmid))
    assert found.state is GuestState.RUNNING
    assert (found.busy, found.tasks_visible, found.managed) == ("", True, "")
    assert found.uptime is not None
    assert timedelta(0) <= found.uptime < timedelta(seconds=30)


@pytest.mark.parametrize(("kind", "vmid", "host"), [(Kind.LXC, 101, "k3s-w1"), (Kind.VM, 100, "k3s-cp1")])
async def test_off_cuts_the_power_and_on_gives_it_back(pve, kind, vmid, host):
    fence = pve.guest(kind, vmid)
    assert "is stopped" in await fence.off()
    assert pve.power.on[host] is False
    assert (await fence.state()).state is GuestState.STOPPED
    assert "was stopped already" in await fence.off()
    assert pve.power.cuts == 1
    assert "is running" in await fence.on()
    assert pve.power.on[host] is True
    assert "was running already" in await fence.on()
    await fence.close()


async def test_off_waits_for_a_slow_stop(pve):
    pve.set(seconds={"stop": 1.2})
    fence = pve.guest()
    began = time.monotonic()
    await fence.off()
    assert time.monotonic() - began > 1.2
    assert not pve.power.on["k3s-w1"]
    await fence.close()


async def test_a_guest_that_stops_by_itself_in_between_is_off(pve, monkeypatch):
    plain = FakePower.running
    answers = iter([True, False])
    monkeypatch.setattr(FakePower, "running", lambda self, host: next(answers, plain(self, host) and False))
    fence = pve.guest()
    assert "is stopped" in await fence.off()
    await fence.close()


async def test_a_lock_is_shown_and_makes_the_fence_fail_with_its_reason(pve):
    pve.set(lock={"101": "backup"})
    fence = pve.guest()
    assert (await fence.state()).busy == "lock 'backup'"
    with pytest.raises(
        FenceError,
        match=r"CT 101 on pve \(127.0.0.1:\d+\): stop: it is still running; its task failed: .*locked",
    ):
        await fence.off()
    await fence.close()


async def test_a_lie_about_the_power_does_not_pass_for_success(pve):
    pve.set(lie={"101": "running"})
    fence = pve.guest()
    fence._clock = Hurried()
    with pytest.raises(FenceError, match="it is still running; its task ended: OK"):
        await fence.off()
    await fence.close()


class Hurried(SystemClock):
    """A clock that is 20 times as fast, so that a deadline of 50 s is over in 2.5 s."""

    def now(self):
        now = super().now()
        return replace(now, mono=now.mono * 20)


@pytest.mark.parametrize(
    ("kind", "ident", "text"),
    [
        ("vzreboot", "101", "task vzreboot 101 by root@pam"),
        ("vzdump", "101", "task vzdump 101 by root@pam"),
        ("vzdump", "", "node-wide task vzdump by root@pam"),
        ("stopall", "", "node-wide task stopall by root@pam"),
        ("startall", "", "node-wide task startall by root@pam"),
        ("vzreboot", "102", ""),
        ("vzdump", "100", ""),
        ("aptupdate", "", ""),
    ],
)
async def test_what_keeps_a_guest_busy(pve, kind, ident, text):
    now = time.time()
    pve.set(tasks=(FakeTask(type=kind, id=ident, since=now - 5, until=now + 60),))
    assert (await seen(pve.guest())).busy == text


async def test_a_task_that_has_ended_keeps_nobody_busy(pve):
    now = time.time()
    pve.set(tasks=(FakeTask(type="vzreboot", id="101", since=now - 60, until=now - 5),))
    assert (await seen(pve.guest())).busy == ""


def test_ended_tasks_that_linger_in_the_active_list_are_over():
    ended = {"type": "vzreboot", "id": "101", "status": "OK", "endtime": 1, "user": "root@pam"}
    assert busy({}, [ended], "101") == ""
    assert busy({}, [ended | {"endtime": None}], "101") == ""
    assert busy({}, [{"type": "vzreboot", "id": "101"}], "101") == "task vzreboot 101 by somebody"


async def test_a_token_without_sys_audit_says_that_it_is_blind(pve):
    now = time.time()
    pve.set(tasks=(FakeTask(type="vzreboot", id="101", since=now - 5, until=now + 60),))
    fence = pve.guest(token=f"failoverd@pve!blind={SECRET}")
    found = await fence.state()
    assert (found.tasks_visible, found.busy) == (False, "")
    assert any("lacks Sys.Audit on /nodes/pve" in line for line in await fence.check())
    await fence.close()


async def test_an_ha_managed_guest_is_named_and_never_touched(pve):
    pve.set(ha=("101",))
    fence = pve.guest()
    assert (await fence.state()).managed.startswith("HA-managed")
    with pytest.raises(FenceError, match="stop refused: HA-managed"):
        await fence.off()
    assert pve.power.cuts == 0
    assert any("HA-managed" in line for line in await fence.check())
    await fence.close()


async def test_a_good_configuration_checks_without_a_word(pve):
    fence = pve.guest()
    assert await fence.check() == ()
    await fence.close()


async def test_a_weak_token_is_named_before_it_is_needed(pve):
    fence = pve.guest(token=f"failoverd@pve!weak={SECRET}")
    assert any("lacks VM.PowerMgmt" in line for line in await fence.check())
    with pytest.raises(FenceError, match="403 Permission check failed"):
        await fence.off()
    await fence.close()
    assert "403 Permission check failed" in await why(pve.guest(token=f"failoverd@pve!none={SECRET}"))


async def test_a_wrong_token_is_unknown(pve):
    wrong = SECRET.replace("1", "9")
    text = await why(pve.guest(token=f"failoverd@pve!fence={wrong}"))
    assert f"CT 101 on pve (127.0.0.1:{pve.port}): 401" in text
    assert wrong not in text


async def test_a_token_file_is_read_again_after_a_refusal(pve, tmp_path):
    path = tmp_path / "token"
    path.write_text("failoverd@pve!fence=old\n")
    fence = pve.guest(token="", token_file=path)
    assert isinstance(await fence.state(), Unknown)
    path.write_text(f"failoverd@pve!fence={SECRET}\n")
    assert isinstance(await fence.state(), Guest)
    await fence.close()


@pytest.mark.parametrize("content", [None, "", "secret-without-a-name"])
async def test_a_bad_token_file_is_named_and_its_content_is_not(pve, tmp_path, content):
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    text = await why(pve.guest(token="", token_file=path))
    assert f"token file {path}" in text
    assert "secret-without-a-name" not in text


async def test_a_guest_that_does_not_exist_or_lives_elsewhere_is_unknown(pve):
    assert "does not exist" in await why(pve.guest(vmid=555))
    assert "hostname lookup 'other' failed" in await why(pve.guest(node="other"))
    assert "does not exist" in await why(pve.guest(Kind.VM, 101))


async def test_an_answer_500_is_unknown(pve):
    pve.set(refuse=True)
    assert "500 got no worker" in await why(pve.guest())


async def test_a_hanging_node_is_unknown_in_time(pve, monkeypatch):
    monkeypatch.setattr("failoverd.adapters.fencing.pve.CALL_TIMEOUT", timedelta(seconds=0.5))
    pve.set(hang=True)
    assert "no answer within 0.5 s" in await why(pve.guest())


async def test_a_closed_port_is_unknown(pve):
    assert "no connection" in await why(pve.guest(url="https://127.0.0.1:1"))


async def test_the_ca_file_is_enough_and_another_one_is_refused(pve):
    assert isinstance(await state(pve.guest(fingerprint="", ca_file=TLS / "pve-ca.pem")), Guest)
    assert "certificate verify failed" in await why(pve.guest(fingerprint="", ca_file=TLS / "mover.pem"))
    assert "CA file /nonexistent" in await why(pve.guest(fingerprint="", ca_file=Path("/nonexistent")))


async def test_a_fingerprint_pins_and_another_is_shown(pve):
    shown = ":".join(FINGERPRINT[at : at + 2] for at in range(0, 64, 2)).upper()
    assert isinstance(await state(pve.guest(fingerprint=shown)), Guest)
    assert f"its certificate has fingerprint {shown}" in await why(pve.guest(fingerprint="00" * 32))
    assert "is no SHA-256" in await why(pve.guest(fingerprint="AB:CD"))


async def test_no_token_leaves_for_a_node_with_another_certificate(pve, monkeypatch):
    asked = []
    monkeypatch.setattr(standin._Handler, "_any", lambda self: asked.append(self.path))
    await why(pve.guest(fingerprint="00" * 32))
    assert asked == []


def test_the_token_is_never_shown():
    assert "secret" not in repr(Endpoint(url="https://pve:8006", token="a@b!c=secret"))
