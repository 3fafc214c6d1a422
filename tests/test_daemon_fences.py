"""The daemon makes the fence that is configured, and says at its start what would keep one from working."""

from __future__ import annotations

from datetime import timedelta

from structlog.testing import capture_logs

from failoverd.adapters.fencing.command import Command
from failoverd.adapters.fencing.docker import Docker
from failoverd.adapters.fencing.proxmox import Proxmox
from failoverd.clock import SystemClock
from failoverd.config.edges import FenceType
from failoverd.config.resolved import Fence
from failoverd.daemon import check_fences, fence_of


def configured(kind: FenceType) -> Fence:
    return Fence(
        name="k3s-w2", node="k3s-w2", type=kind, url="https://127.0.0.1:1", host="pve", guest=101, token="a@b!c=0",
        container="k3s-w2", argv=("/nonexistent/fence",), timeout=timedelta(seconds=1),
    )  # fmt: skip


async def test_every_type_has_its_fence_and_those_that_do_not_work_are_named_once() -> None:
    wanted = {
        FenceType.PROXMOX_LXC: (Proxmox, "CT 101 on pve (127.0.0.1:1)"),
        FenceType.PROXMOX_VM: (Proxmox, "VM 101 on pve (127.0.0.1:1)"),
        FenceType.DOCKER: (Docker, "container k3s-w2 (127.0.0.1:1)"),
        FenceType.COMMAND: (Command, "k3s-w2 by fence"),
    }
    assert set(wanted) == set(FenceType)
    fences = {str(kind): fence_of(configured(kind), SystemClock()) for kind in FenceType}
    assert {kind: (type(fences[kind]), fences[kind].name) for kind in fences} == wanted
    with capture_logs() as said:
        await check_fences(fences)
    assert [(line["log_level"], line["node"]) for line in said] == [("warning", str(kind)) for kind in FenceType]
    assert all("no connection" in line["why"] or "cannot be started" in line["why"] for line in said)
    for fence in fences.values():
        await fence.close()
