"""The executor: every action has its handler, nothing but receipts leaves, and only a leader's hands move."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from failoverd import execute
from failoverd.adapters.kubernetes.client import KubeError
from failoverd.adapters.syncthing import Kept
from failoverd.clock import SystemClock
from failoverd.core import actions
from failoverd.core.memory import Version
from failoverd.core.model import (
    Action,
    DeletePod,
    DropConnection,
    FenceOff,
    FenceOn,
    FetchVersions,
    FindVersions,
    Guest,
    GuestState,
    Override,
    PatchApplier,
    PatchOp,
    PatchWorkload,
    Revert,
    Role,
    Scan,
    Scanned,
    ScanPoints,
    SetIgnores,
    SetRole,
    TaintNode,
    Unknown,
    UntaintNode,
    Verify,
    Want,
)
from failoverd.core.points import Duty, Wanted
from failoverd.core.rules import Site
from failoverd.core.stock import Stock
from failoverd.execute import HANDLERS, HARMLESS, TOKENED, DryRun, WorldExecutor
from failoverd.hands import Hands, Leads, Side
from tests.adapters.cluster import HELM_RELEASE
from tests.adapters.mover import recorded, serving
from tests.test_observe import PRIMARY, RULES

AT = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
GONE = Guest(state=GuestState.STOPPED)
SIDE: dict[str, Any] = {"reason": "test", "app": "media/sonarr", "volume": "data", "site": Site.PRIMARY}
OPS = (PatchOp(op="test", path="/metadata/uid", value="u"),)
VERSION = Version(path="a", at="2026-11-23T08:00:00Z", modified="2026-11-23T07:00:00Z", size=1)
WANTED = Wanted(duty=Duty.PROVE, epoch=3, active=Site.BACKUP)
PATCH = PatchWorkload(reason="test", app="media/sonarr", ops=OPS)
ALL: list[tuple[Action, tuple[object, ...], str]] = [
    (PATCH, ("patch", "media/sonarr", OPS), "patched"),
    (
        PatchApplier(reason="test", app="media/sonarr", applier=HELM_RELEASE, ops=OPS),
        ("patch applier", HELM_RELEASE, OPS),
        "patched",
    ),
    (DeletePod(reason="test", app="media/sonarr", pod="p", uid="u"), ("delete", "media", "p", "u"), "deleted"),
    (SetRole(role=Role.SEND_ONLY, keep=None, **SIDE), ("role", "sendonly", None), "sendonly, read back"),
    (SetRole(role=Role.RECEIVE_ONLY, keep=True, **SIDE), ("role", "receiveonly", True), "receiveonly, read back"),
    (SetIgnores(patterns=("a",), **SIDE), ("ignores", ("a",)), "set, read back"),
    (Scan(**SIDE), ("scan", AT), "up to sequence 7, 1 error"),
    (ScanPoints(**SIDE), ("scan points",), "scanned"),
    (Want(wanted=WANTED, version="7", **SIDE), ("order", "media", "pvc-sonarr", WANTED, "7"), "ordered"),
    (Override(**SIDE), ("override",), "asked for"),
    (Revert(**SIDE), ("revert",), "asked for"),
    (FindVersions(path="a", at=None, **SIDE), ("find", "a", None), "1 file"),
    (FetchVersions(files=(VERSION,), **SIDE), ("fetch", (VERSION,), False, True), "fetched"),
    (DropConnection(started="boot-1", **SIDE), ("drop", "boot-1"), "restarted"),
    (FenceOff(reason="test", node="k3s-w1"), ("off",), "CT 101 is stopped"),
    (FenceOn(reason="test", node="k3s-w1"), ("on",), "CT 101 is running"),
    (TaintNode(reason="test", node="k3s-w1"), ("taint", "k3s-w1", "test"), "tainted"),
    (UntaintNode(reason="test", node="k3s-w1"), ("untaint", "k3s-w1"), "taken off"),
    (
        Verify(reason="test", app="media/sonarr", move="media/sonarr#1", url="http://x/"),
        ("verify", "http://x/"),
        "HTTP 200",
    ),
]  # fmt: skip


@dataclass(slots=True)
class Fake:
    """Side, fence, cluster and leadership at once: notes what is done, fails when told to."""

    done: list[tuple[object, ...]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    leads: bool = True
    hang: bool = False

    async def _do(self, *what: object) -> None:
        self.done.append(what)
        if self.hang:
            await asyncio.sleep(30)
        if self.errors:
            raise self.errors.pop(0)

    async def fresh(self, now: object) -> bool:
        return self.leads

    async def patch(self, app, ops) -> None:
        await self._do("patch", app.key, ops)

    async def patch_applier(self, applier, ops) -> None:
        await self._do("patch applier", applier, ops)

    async def delete_pod(self, namespace: str, pod: str, uid: str) -> str:
        await self._do("delete", namespace, pod, uid)
        return "deleted"

    async def set_type(self, role: Role, keep: bool | None = None) -> None:
        await self._do("role", role, keep)

    async def set_ignores(self, patterns: tuple[str, ...]) -> None:
        await self._do("ignores", patterns)

    async def scan(self, at: datetime) -> Scanned:
        await self._do("scan", at)
        return Scanned(at=at, sequence=7, errors=1)

    async def scan_points(self) -> None:
        await self._do("scan points")

    async def order(self, namespace: str, claim: str, wanted: Wanted, version: str) -> str:
        await self._do("order", namespace, claim, wanted, version)
        return "ordered"

    async def override(self) -> None:
        await self._do("override")

    async def revert(self) -> None:
        await self._do("revert")

    async def drop_connection(self, started: str) -> str:
        await self._do("drop", started)
        return "restarted"

    async def find(self, path: str, at: datetime | None) -> tuple[Version, ...] | str:
        await self._do("find", path, at)
        return (VERSION,)

    async def fetch(self, files: tuple[Version, ...], *, unsure: bool, leads: Leads) -> str:
        await self._do("fetch", files, unsure, await leads())
        return "fetched"

    kept: tuple[Kept, ...] | None = ()
    lists: list[tuple[str, str, Stock]] = field(default_factory=list)
    no_list: str = ""

    async def keep_list(self, namespace: str, claim: str, stock: Stock) -> None:
        if self.no_list:
            raise RuntimeError(self.no_list)
        self.lists.append((namespace, claim, stock))

    async def versions(self) -> tuple[Kept, ...]:
        if self.kept is None:
            raise RuntimeError("versioning is off")
        return self.kept

    async def verify(self, url: str) -> str:
        await self._do("verify", url)
        return "HTTP 200"

    async def off(self) -> str:
        await self._do("off")
        return "CT 101 is stopped"

    async def on(self) -> str:
        await self._do("on")
        return "CT 101 is running"

    guest: Guest | Unknown = GONE

    async def state(self) -> Guest | Unknown:
        return self.guest

    async def set(self, node: str, why: str, off: Callable[[], Awaitable[None]]) -> str:
        await off()
        await self._do("taint", node, why)
        return "tainted"

    async def clear(self, node: str) -> str:
        await self._do("untaint", node)
        return "taken off"


def executor(fake: Fake, side: Side | None = None, api_now: datetime | None = AT) -> WorldExecutor:
    hands = Hands(
        patch=fake.patch, patch_applier=fake.patch_applier, delete_pod=fake.delete_pod, order=fake.order,
        keep_list=fake.keep_list,
        sides={PRIMARY: side or fake}, fences={"k3s-w1": fake}, taints=fake, api_now=lambda: api_now,
        verify=fake.verify,
    )  # fmt: skip
    return WorldExecutor(RULES, SystemClock(), fake, hands)


def test_every_kind_of_action_has_a_handler_and_a_row_in_these_tests():
    kinds = {
        kind
        for kind in vars(actions).values()
        if isinstance(kind, type) and issubclass(kind, Action) and kind is not Action
    }
    assert set(HANDLERS) == kinds
    assert {type(action) for action, _, _ in ALL} == kinds


def test_only_what_tests_for_itself_or_changes_nothing_goes_without_a_look_at_the_lease():
    assert {PatchWorkload} == TOKENED
    assert {Scan, ScanPoints} == HARMLESS


@pytest.mark.parametrize(("action", "deed", "detail"), ALL, ids=lambda x: type(x).__name__)
async def test_an_action_is_done_where_it_says_and_receipted(action, deed, detail):
    fake = Fake()
    receipt = await executor(fake).execute(action)
    assert fake.done == [deed]
    assert (receipt.action, receipt.ok, receipt.detail) == (action, True, detail)
    assert (receipt.scanned is not None) == isinstance(action, Scan)


@pytest.mark.parametrize("action", [action for action, _, _ in ALL], ids=lambda x: type(x).__name__)
async def test_without_the_lead_only_what_carries_its_own_token_or_changes_nothing_is_tried(action):
    fake = Fake(leads=False)
    receipt = await executor(fake).execute(action)
    if isinstance(action, PatchWorkload | Scan | ScanPoints):
        assert receipt.ok
    else:
        assert fake.done == []
        assert (receipt.ok, receipt.detail) == (
            False,
            "not done: a look at our Lease does not show that we lead",
        )


@pytest.mark.parametrize("action", [action for action, _, _ in ALL], ids=lambda x: type(x).__name__)
async def test_whatever_goes_wrong_is_one_line_in_a_receipt(action):
    fake = Fake(errors=[RuntimeError("first\nsecond")])
    receipt = await executor(fake).execute(action)
    assert (receipt.ok, receipt.detail) == (False, "RuntimeError: first second")


async def test_an_error_of_ours_is_told_in_its_own_words():
    fake = Fake(errors=[KubeError(422, "PATCH x: 422 testing path /metadata/uid value u")])
    receipt = await executor(fake).execute(PATCH)
    assert receipt.detail == "PATCH x: 422 testing path /metadata/uid value u"
    assert len(fake.done) == 1


@pytest.mark.parametrize(("status", "tries"), [(429, 2), (503, 2), (422, 1), (409, 1), (500, 1), (0, 1)])
async def test_a_patch_is_tried_again_only_where_the_api_server_did_nothing(status, tries):
    fake = Fake(errors=[KubeError(status, "no")])
    receipt = await executor(fake).execute(PATCH)
    assert len(fake.done) == tries
    assert receipt.ok == (tries == 2)


async def test_a_patch_is_not_tried_for_ever():
    fake = Fake(errors=[KubeError(429, "slow down")] * 5)
    receipt = await executor(fake).execute(PATCH)
    assert (len(fake.done), receipt.ok, receipt.detail) == (2, False, "slow down")


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (PatchWorkload(reason="", app="media/gone", ops=()), "media/gone is not configured any more"),
        (DeletePod(reason="", app="media/gone", pod="p", uid="u"), "media/gone is not configured any more"),
        (
            Scan(reason="", app="media/sonarr", volume="other", site=Site.PRIMARY),
            "media/sonarr has no volume 'other' at primary in the configuration",
        ),
        (FenceOff(reason="", node="k3s-w2"), "k3s-w2 has no fence in the configuration"),
    ],
)
async def test_what_is_not_configured_is_not_touched(action, text):
    fake = Fake()
    receipt = await executor(fake).execute(action)
    assert (receipt.ok, receipt.detail, fake.done) == (False, text, [])


@pytest.mark.parametrize(
    ("guest", "said"),
    [
        (Guest(state=GuestState.RUNNING), "running"),
        (Guest(state=GuestState.STOPPED, busy="vzstart"), "stopped vzstart"),
        (Unknown("CT 101: no answer"), "CT 101: no answer"),
    ],
)
async def test_a_node_is_tainted_only_if_its_guest_is_stopped_at_that_very_moment(guest, said):
    fake = Fake(guest=guest)
    receipt = await executor(fake).execute(TaintNode(reason="test", node="k3s-w1"))
    assert fake.done == []
    assert receipt.detail == f"k3s-w1 is not tainted: its guest was to be stopped, and is: {said}"


async def test_no_scan_counts_without_the_api_servers_time():
    fake = Fake()
    receipt = await executor(fake, api_now=None).execute(Scan(**SIDE))
    assert (receipt.ok, fake.done) == (False, [])


async def test_nothing_runs_for_ever(monkeypatch):
    monkeypatch.setattr(execute, "LONGEST", timedelta(seconds=0.05))
    receipt = await executor(Fake(hang=True)).execute(FenceOff(reason="", node="k3s-w1"))
    assert (receipt.ok, receipt.detail) == (False, "given up after 0.05 s")


async def test_cancelling_is_not_swallowed():
    task = asyncio.create_task(executor(Fake(hang=True)).execute(FenceOff(reason="", node="k3s-w1")))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_scan_says_how_long_it_took():
    class Slow(Fake):
        async def scan(self, at):
            await asyncio.sleep(0.1)
            return Scanned(at=at, sequence=7, errors=0)

    receipt = await executor(Slow()).execute(Scan(**SIDE))
    assert receipt.scanned is not None
    assert timedelta(seconds=0.1) <= receipt.scanned.took < timedelta(seconds=1)


async def test_with_the_real_adapter_a_role_and_a_scan():
    mover = recorded("1.29.5/40_source_unreadable_file/primary")
    async with serving(mover) as side:
        hands = executor(Fake(), side)
        role = await hands.execute(SetRole(role=Role.SEND_ONLY, **SIDE))
        scan = await hands.execute(Scan(**SIDE))
    assert (role.ok, mover.config["type"]) == (True, "sendonly")
    assert scan.scanned is not None
    assert (scan.scanned.at, scan.scanned.sequence, scan.scanned.errors) == (AT, 4, 2)


async def test_with_the_real_adapter_a_dead_mover():
    mover = recorded("1.29.5/01_healthy/primary")
    mover.key = "another"
    async with serving(mover) as side:
        receipt = await executor(Fake(), side).execute(SetRole(role=Role.SEND_ONLY, **SIDE))
    assert not receipt.ok
    assert receipt.detail == (
        "Syncthing of media/sonarr data at primary: set to sendonly: config/folders: "
        "the API key from its Secret is refused (403 CSRF Error)"
    )


@pytest.mark.parametrize("action", [action for action, _, _ in ALL], ids=lambda x: type(x).__name__)
async def test_a_dry_run_does_nothing_and_says_what(action):
    receipt = await DryRun().execute(action)
    assert not receipt.ok
    assert receipt.detail == f"dry run, not done: {action.key}"
