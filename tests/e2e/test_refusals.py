"""What must not be promoted is not: too old, of unknown age, an empty disk; and what an operator may override."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.daemon import APPS as TABLES
from tests.e2e.daemon import NAMESPACE, until
from tests.e2e.world import APPS, MERGE, World, figure
from tests.lab.layout import LabError
from tests.lab.standins import hands

LIMIT = 20
"""Seconds of data age that the app with the stalled replication may have."""
OLD, UNKNOWN, EMPTY, SOUND = "radarr", "lidarr", "paperless", "sonarr"
LIMITED = tuple({**table, "max_data_age": f"{LIMIT}s"} if table["name"] == OLD else table for table in TABLES)


@contextlib.contextmanager
def stalled(world: World, *names: str) -> Iterator[None]:
    """The replication of these apps stands still: each primary has put its peer on pause."""
    sources = [world.sources(name)[0] for name in names]

    for source in sources:
        pause(world, source, paused=True)
    try:
        yield
    finally:
        world.mend()
        for source in sources:
            until(partial(pause, world, source, paused=False), 60, f"{source} answers")


def pause(world: World, source: str, *, paused: bool) -> bool:
    """Put a mover's peer on pause, or take it off; whether the mover answered."""
    with contextlib.suppress(LabError):
        own = hands.syncthing(world.lab, "media", source, "GET", "/rest/system/status")["myID"]
        for device in hands.syncthing(world.lab, "media", source, "GET", "/rest/config/devices"):
            if device["deviceID"] != own:
                path = f"/rest/config/devices/{device['deviceID']}"
                hands.syncthing(world.lab, "media", source, "PATCH", path, {"paused": paused})
        return True
    return False


@contextlib.contextmanager
def emptied(world: World, name: str) -> Iterator[None]:
    """The target's disk has come back empty: nothing in the directory of the app's last volume, not even a marker."""
    app = APPS[name]
    folder = world.copy("k3s-w2", app.name, app.volumes[-1])
    aside = folder.with_name("aside")
    aside.mkdir()

    def shift(source: Path, target: Path) -> None:
        for path in source.iterdir():
            path.rename(target / path.name)

    shift(folder, aside)
    try:
        yield
    finally:
        shift(aside, folder)
        aside.rmdir()


def forget_proofs(world: World, name: str) -> None:
    """Memory as it is where no proof was ever reached."""
    memory = world.daemon.memory()
    for volume in memory["apps"][f"media/{name}"]["volumes"].values():
        volume["proven_at"] = None
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/failoverd-memory"
    assert world.lab.api("PATCH", path, {"data": {"memory.json": json.dumps(memory)}}, MERGE)[0] == 200


def one_reason(world: World, name: str) -> dict[str, str] | None:
    """Why an app is not moved; None while a Syncthing that did not answer in this very moment is a second reason."""
    found = world.daemon.why(name)
    return found if len(found) == 1 else None


@pytest.mark.timeout(420)
def test_power_cut_promotes_the_sound_copy_only(world: World) -> None:
    world.begin(apps=LIMITED, failback={"stable_for": "5s"})
    before = {name: world.workload(name) for name in APPS}
    with contextlib.ExitStack() as troubles:
        world.daemon.stop()
        troubles.enter_context(stalled(world, OLD, UNKNOWN))
        forget_proofs(world, UNKNOWN)
        world.daemon.start()
        troubles.enter_context(emptied(world, EMPTY))
        until(lambda: (world.daemon.app(OLD)["volumes"]["data"]["age_seconds"] or 0) > LIMIT, 60, "it is too old")
        until(lambda: world.daemon.status()["nodes"]["k3s-w1"]["verdict"] == "UP", 30, "k3s-w1 is UP")
        world.lab.power_cut("k3s-w1")
        until(lambda: world.ready_on(SOUND) == "k3s-w2", 60, "the sound copy is promoted")
        time.sleep(3)

        why = {
            name: until(partial(one_reason, world, name), 60, f"{name}: one reason") for name in (OLD, UNKNOWN, EMPTY)
        }
        figure("; ".join(f"{name}: {' / '.join(found.values())}" for name, found in why.items()))
        assert list(why[OLD]) == ["data too old"]
        said = re.fullmatch(r"data of data at backup is (\d+) s old, limit 20 s", why[OLD]["data too old"])
        assert said is not None
        assert int(said[1]) > LIMIT
        assert why[UNKNOWN] == {"data age unknown": "data age of data at backup is unknown"}
        assert list(why[EMPTY]) == ["target folder error"]
        assert why[EMPTY]["target folder error"].startswith("media at backup: folder marker missing")
        for name in why:
            assert world.workload(name) == before[name], f"{name} was touched"
            told = [one["text"] for one in world.daemon.chat() if one["app"] == f"media/{name}"]
            assert [text for text in told if next(iter(why[name].values()))[:20] in text], f"{name}: {told}"

        # An operator may set the age aside, and then it is on record; an empty disk nobody can.
        asked = world.daemon.cli("failover", OLD, "--why", "the old data will do", check=False)
        assert asked.returncode == 1, "it did not ask"
        assert re.search(r"data: up to the last \d+ (s|min)|data: data age", asked.stdout), asked.stdout
        done = world.daemon.cli("failover", OLD, "--yes", "--why", "the old data will do")
        assert re.search(r"lost (at most|so far): data", done.stdout), done.stdout
        (move,) = [one for one in world.daemon.history(OLD) if one["forced"] and one["outcome"] == "done"][-1:]
        assert [one for one in move["evidence"] if one.startswith("set aside: data of data at backup is")], move
        assert move["losses"][0]["age_seconds"] > LIMIT
        assert world.ready_on(OLD) == "k3s-w2"
        assert world.daemon.cli("failover", EMPTY, "--yes", check=False).returncode == 1
        assert world.workload(EMPTY) == before[EMPTY]

    for name in APPS:
        world.settled(name, "primary", 200)
        assert world.workload(name) == before[name]
        assert world.two_writers(name) == 0
