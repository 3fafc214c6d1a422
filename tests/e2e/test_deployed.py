"""What is shipped does the job: the image and manifests in the cluster, the unit on the hypervisor."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import deployed
from tests.e2e.daemon import NAMESPACE, until
from tests.e2e.deployed import Audit, InCluster, Systemd
from tests.e2e.world import World, figure
from tests.lab.commands import require_programs
from tests.lab.lab import Lab

APPS = ("sonarr", "paperless")
"""Those of the shipped configuration."""


@pytest.fixture(scope="module")
def archive(lab: Lab) -> Path:
    return deployed.image(lab)


@pytest.fixture
def fresh(world: World) -> Iterator[World]:
    """No daemon running, no move begun; the apps may be away. Afterwards the Roles of the other tests again."""
    world.daemon.stop()
    world.mend()
    if {app["phase"] for app in world.daemon.memory().get("apps", {}).values()} - {"watching"}:
        world.reset()
    world.lab.api("DELETE", deployed.LEASE)
    world.since = time.time()
    yield world
    world.lab.restore()
    deployed.apply_roles(world.lab, world.daemon.config)


@pytest.fixture
def replicas(fresh: World, archive: Path) -> Iterator[InCluster]:
    made = InCluster(fresh.lab)
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def unit(fresh: World, archive: Path) -> Iterator[Systemd]:
    made = Systemd(fresh.lab)
    made.install(archive)
    try:
        yield made
    finally:
        made.stop()


def taken_in(world: World, status: deployed.Table, apps: tuple[str, ...] = APPS) -> bool:
    assert status["instance"]["leader"], "it does not lead"
    assert world.daemon.memory()["nodes"]["k3s-w1"]["mapped"], "the guest of k3s-w1 was not seen running yet"
    assert {node["verdict"] for node in status["nodes"].values()} == {"UP"}, status["nodes"]
    return all(World.well(status["apps"][f"media/{name}"], "primary") for name in apps)


def moved(world: World, what: str) -> None:
    """Cut the primary's power and wait for every app on the backup."""
    cut = time.monotonic()
    world.lab.power_cut("k3s-w1")
    for name in APPS:
        until(lambda name=name: world.ready_on(name) == "k3s-w2", 60, f"{name} runs on the backup")  # type: ignore[misc]
    figure(f"{what}: power cut -> {len(APPS)} apps Ready on the backup {time.monotonic() - cut:.1f} s")
    assert {world.two_writers(name) for name in APPS} == {0.0}


@pytest.mark.timeout(420)
def test_the_image_in_two_replicas_under_the_shipped_roles_moves_the_apps(fresh: World, replicas: InCluster) -> None:
    lab = fresh.lab
    audit = Audit(lab)
    replicas.apply({"sonarr": deployed.service(lab, "sonarr")})
    assert set(replicas.ready().values()) == {"k3s-cp1", "k3s-w2"}
    # Pods ask the node's name server alone: the cluster's, whose address others get, does not exist here.
    for pod in replicas.ready():
        said = lab.kubectl("-n", NAMESPACE, "exec", pod, "--", "cat", "/etc/resolv.conf", "/proc/1/status")
        assert re.findall(r"nameserver (\S+)", said) == [str(lab.ip("pve"))]
        assert re.findall(r"(?m)^(?:Uid|CapBnd|NoNewPrivs|Seccomp):\s+(\S+)", said) == ["65532", "0" * 16, "1", "2"]
    first = until(replicas.leader, 30, "somebody leads")
    until(lambda: taken_in(fresh, replicas.status(first)), 240, "the leader has taken every app in, and home")

    frozen = time.monotonic()
    replicas.freeze(first)
    second = until(lambda: replicas.leader().replace(first, ""), 60, "the other replica leads")
    figure(f"in the cluster: leader frozen -> follower leads {time.monotonic() - frozen:.1f} s")
    assert time.monotonic() - frozen < 30
    until(lambda: len(replicas.ready()) == 2, 60, "two replicas are Ready again")
    until(lambda: taken_in(fresh, replicas.status(second)), 60, "the new leader has taken every app in")

    moved(fresh, "in the cluster")
    for name in APPS:

        def told(name: str = name) -> bool:
            return [one["outcome"] for one in replicas.cli(second, "history", name)][-1:] == ["done"]

        until(told, 60, f"the history of {name} says that it is done")

    def serving() -> list[deployed.Table]:
        receipts = [one for one in replicas.log(second) if one["event"] == "receipt" and one["act"] == "verify"]
        return [one for one in receipts if one["ok"] and one["detail"] == "HTTP 200"]

    assert {one["app"] for one in until(serving, 60, "the moved app was asked by its verify_url")} == {"media/sonarr"}
    asked = audit.entries()
    assert {"patch", "update", "create", "delete", "watch"} <= {one["verb"] for one in asked}
    assert audit.refused() == []
    # Syncthing was spoken to straight.
    assert [one for one in asked if one.get("objectRef", {}).get("subresource") == "proxy"] == []


@pytest.mark.timeout(420)
def test_the_unit_on_the_hypervisor_moves_the_apps(fresh: World, unit: Systemd) -> None:
    audit = Audit(fresh.lab)
    unit.start()
    # It goes on where other instances stopped: what they left on the backup it brings home first.
    until(lambda: taken_in(fresh, unit.seen.status()), 240, "it has taken every app in, and home")
    pid = unit.seen.pid
    status = Path(f"/proc/{pid}/status").read_text()
    assert re.findall(r"(?m)^(?:Uid|CapEff|CapBnd|NoNewPrivs):\s+(\S+)", status) == ["61184", "0" * 16, "0" * 16, "1"]
    moved(fresh, "as the unit")
    assert any(one.get("objectRef", {}).get("subresource") == "proxy" for one in audit.entries())
    assert audit.refused() == []


def test_systemd_finds_nothing_wrong_with_the_unit_and_little_exposed(tmp_path: Path) -> None:
    require_programs("systemd-analyze")
    # In a mount namespace of its own, so that the unit's program is where it says without being installed.
    script = (
        "mount -t tmpfs tmpfs /opt && mkdir -p /opt/failoverd/bin && cp /bin/true /opt/failoverd/bin/failoverd"
        f" && exec systemd-analyze verify {deployed.UNIT}"
    )
    found = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
    argv: list[str | Path] = ["systemd-analyze", "security", "--offline=true", "--threshold=15", deployed.UNIT]
    judged = subprocess.run(argv, capture_output=True, text=True, check=False)
    figure(judged.stdout.strip().splitlines()[-1].strip("→ "))
    assert judged.returncode == 0, judged.stdout
