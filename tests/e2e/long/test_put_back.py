"""A busy database, and a file beside it, are put back as of a moment, by real guards under a real Syncthing."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from tests.e2e.daemon import until
from tests.e2e.guarded import Guards
from tests.e2e.test_data import ahead, unknown
from tests.e2e.world import APPS, NODE, World, figure
from tests.lab.manifests.apps import SONARR

NAME, VOLUME = SONARR.name, SONARR.volumes[0]
SETTINGS = "settings.json"
APART = 30
"""Seconds, at most, that the put back database may be older than what was asked for, on a busy machine."""


@pytest.mark.timeout(900)
def test_database_and_file_are_as_they_were_and_what_they_replace_is_kept(world: World, guards: Guards) -> None:
    unknown(world)
    world.daemon.configure(guard={"enabled": True, "files": ["*.json"]})
    guards.apply()
    here, there = (world.copy(NODE[site], NAME, VOLUME) for site in ("primary", "backup"))
    (here / SETTINGS).write_text("then")
    world.daemon.start()
    until(lambda: ahead(world, "primary"), 240, "every app could be moved, its databases proven")
    until(lambda: list(there.glob(".failoverd/files/*/*.copy")), 180, "a point of the file has come to the standby")
    before = world.workload(NAME)

    asked = time.time()
    time.sleep(20)
    (here / SETTINGS).write_text("now")
    time.sleep(10)
    moment = datetime.fromtimestamp(asked, UTC).isoformat(timespec="seconds")
    stopped = time.time()
    world.daemon.cli("restore", NAME, "--point", moment, "--why", "a look at how it was")
    world.settled(NAME, "primary", 240)

    rows = world.rows(NODE["primary"], NAME, VOLUME)
    old, new = [row for row in rows if row.at <= asked], [row for row in rows if row.at > asked]
    assert new, "the app does not write on"
    assert min(row.at for row in new) > stopped, "rows of after that moment are there"
    assert max(row.at for row in old) > asked - APART, "it is older than it need be"
    assert [row.n for row in rows] == list(range(1, len(rows) + 1)), "something is missing"
    assert (here / SETTINGS).read_text() == "then"
    assert world.events(NAME, NODE["primary"], "broken") == []
    assert world.workload(NAME) == before

    aside = {path.name: path for path in here.glob(".failoverd/moves/*/*/*") if path.suffix in (".db", ".json")}
    assert aside[SETTINGS].read_text() == "now"
    move = world.daemon.history(NAME)[-1]
    assert (move["kind"], move["outcome"]) == ("restore", "done"), move
    told = " ".join(move["evidence"])
    assert f"files put back: {SETTINGS}" in told, told
    figure(
        f"put back as of {asked - max(row.at for row in old):.1f} s before what was asked for, down for"
        f" {sum((move['rto'] or {}).values()):.1f} s; {told}"
    )

    # What it replaced comes back by its name; and the standby can take over again.
    world.daemon.cli("restore", NAME, "--set", move["id"], "--why", "it was better now")
    world.settled(NAME, "primary", 240)
    kept = [row.at for row in world.rows(NODE["primary"], NAME, VOLUME) if asked < row.at < stopped]
    assert len(kept) > 0, "what was displaced did not come back"
    assert (here / SETTINGS).read_text() == "now"
    until(lambda: ahead(world, "primary"), 240, "every app could be moved again")
    assert all(world.two_writers(name) == 0 for name in APPS)
