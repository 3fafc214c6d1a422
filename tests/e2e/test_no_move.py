"""Troubles that pass, with the default configuration: nothing moves, whether an app asks for proof or for silence."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.daemon import APPS as TABLES
from tests.e2e.daemon import until
from tests.e2e.world import APPS, World, figure
from tests.lab.standins import hands
from tests.lab.standins.proxmox_settings import Switches

MIXED = tuple(
    {**table, "require": "silence"} if table["name"] in {"radarr", "paperless"} else table for table in TABLES
)


@pytest.fixture
def watched(world: World) -> World:
    """A daemon with every default that could move something, two of whose apps would move after a silence.

    Only how soon a healed node counts as UP again is shorter: the next test waits for it.
    """
    world.begin(fast=False, apps=MIXED, failover={"up_after": "6s"})
    return world


@contextmanager
def nothing_moves(world: World) -> Iterator[None]:
    """Until the world is well again (and a while longer), no app leaves `watching` and no workload is touched."""
    before = {name: world.workload(name) for name in APPS}
    epochs = {name: world.daemon.app(name)["epoch"] for name in APPS}
    said = len(world.daemon.log())
    yield
    until(lambda: all(world.node_ready(node) for node in ("k3s-w1", "k3s-w2")), 60, "the nodes are Ready")
    for name in APPS:
        world.settled(name, "primary", 240)  # a dead connection is dropped, on a slow machine not at the first try
    # Longer than any decision takes once its reason is there: three ticks.
    time.sleep(6)
    assert {name: world.daemon.app(name)["epoch"] for name in APPS} == epochs, "an intent was saved"
    assert {name: world.workload(name) for name in APPS} == before
    acts = {line["act"] for line in world.daemon.log()[said:] if line["event"] == "action"}
    assert not acts & {"fence off", "fence on", "patch workload", "delete pod"}, acts
    for name in APPS:
        assert world.events(name, "k3s-w2", "start") == []


def test_api_server_stalled_for_28_s(watched: World) -> None:
    with nothing_moves(watched):
        watched.lab.stall_api(28)
        held = threading.Event()
        deadline = time.monotonic() + 27
        while time.monotonic() < deadline:
            if watched.daemon.status()["instance"]["api"] != "ok":
                held.set()
            time.sleep(1)
    assert held.is_set(), "the daemon never noticed"


def test_network_of_the_node_cut_for_45_s(watched: World) -> None:
    with nothing_moves(watched):
        watched.lab.cut("k3s-w1")
        time.sleep(45)
        seen = watched.daemon.status()["nodes"]["k3s-w1"]
        assert (seen["verdict"], seen["proven"]) == ("UNKNOWN", False), seen
        watched.lab.heal("k3s-w1")


def test_node_rebooted_by_a_proxmox_task_of_25_s(watched: World) -> None:
    hands.switch(watched.lab, Switches(seconds={"reboot": 25}))
    with nothing_moves(watched):
        assert hands.pve(watched.lab, "POST", "/nodes/pve/lxc/101/status/reboot", "lab")[0] == 200
        until(lambda: watched.lab.power_state("k3s-w1") == "stopped", 10, "the guest is down")
        why = until(lambda: watched.daemon.why("sonarr").get("guest task running"), 20, "the reason why it waits")
        assert "reboot" in why
        until(lambda: watched.lab.power_state("k3s-w1") == "running", 40, "the guest is up")


def test_node_rebooted_from_inside_in_6_s(watched: World) -> None:
    said = len(watched.daemon.log())
    with nothing_moves(watched):
        watched.lab.reboot("k3s-w1", 6)
        back = time.monotonic()
    # The movers of k3s-w2 saw the others die: left alone they would hold those connections for 447 s. Some are ended
    # before it is noticed, by another pod that has the dead one's address now.
    until(lambda: all(age < 30 for age in ages(watched)), 120, "every copy is young again")
    sites = dropped(watched, said)
    assert sites <= {"backup"}
    figure(
        f"copies young again {time.monotonic() - back:.0f} s after a node without a move had its power back,"
        f" connections {'dropped' if sites else 'ended by themselves'}"
    )


def dropped(world: World, said: int) -> set[str]:
    """At which sites a dead connection was dropped, by the lines of the log after the first `said`."""
    lines = [line for line in world.daemon.log()[said:] if line["event"] == "receipt" and line["ok"]]
    return {line["site"] for line in lines if line["act"] == "drop connection"}


def ages(world: World) -> list[float]:
    """Data age of every volume in seconds. Raises AssertionError while one is unknown."""
    found = [volume["age_seconds"] for name in APPS for volume in world.daemon.app(name)["volumes"].values()]
    assert None not in found, found
    return found
