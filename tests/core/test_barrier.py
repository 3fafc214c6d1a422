"""The barrier of a planned move: every trap ends where the app was, every restart is scanned again."""

from dataclasses import replace

import pytest

from failoverd.core.memory import Phase
from failoverd.core.model import (
    Scan,
    SetRole,
)
from tests.core.build import KEY, B, P, an_app
from tests.core.life import at_rest, healthy
from tests.core.objects import deployment
from tests.core.test_moves import arrived, powered_off, switch

TRAPS = {
    "a file only the standby has": (B, {"receive_only": 1}),
    "a version the source lacks": (P, {"need_items": 1}),
    "scan errors at the source": (P, {"errors": 1, "error_files": ("app.db",)}),
    "errors at the standby": (B, {"errors": 1}),
    "items needed": (B, {"need_items": 3}),
    "bytes needed": (B, {"need_bytes": 1}),
    "a paused standby that reports zeros": (B, {"paused": True, "state": ""}),
    "an index not heard of": (B, {"remote_sequence": 99}),
    "an index nobody can tell": (B, {"remote_sequence": None}),
}


@pytest.mark.parametrize(("site", "changes"), TRAPS.values(), ids=TRAPS)
def test_a_barrier_that_is_not_reached_aborts_and_the_app_runs_where_it_was(site, changes):
    life = healthy()
    before = deployment(an_app())["spec"]
    switch(life)
    life.until(lambda one: one.phase() is Phase.STOPPING)
    life.world.pinned[KEY, "data", site] = changes
    life.until(lambda one: one.phase() is Phase.ABORTING, 130)
    life.until(at_rest)
    assert life.app().active is P
    assert life.app().moves[-1].outcome == "aborted: both copies were not equal in time"
    assert life.app().undo is None
    assert life.standings()["data"] == ("active", "clean")
    assert life.world.raw[KEY]["spec"] == before
    assert not [act for act in life.world.did if isinstance(act, SetRole)]


def test_a_mover_that_restarts_is_scanned_again():
    life = healthy()
    switch(life)
    life.until(lambda one: one.phase() is Phase.BARRIER)
    life.world.unread[KEY, "data", P] = "connection refused"
    life.run(3)
    assert life.phase() is Phase.BARRIER
    del life.world.unread[KEY, "data", P]
    life.world.folders[KEY, "data", P] = replace(life.world.folders[KEY, "data", P], started="boot-2", sequence=140)
    before = len(life.world.did)
    life.until(arrived(B))
    scans = [act for act in life.world.did[before:] if isinstance(act, Scan) and act.reason == "barrier"]
    assert P in {act.site for act in scans}


def test_a_source_that_changed_after_its_scan_is_compared_anew():
    life = healthy()
    switch(life)
    life.until(lambda one: one.phase() is Phase.BARRIER)
    life.tick()
    folders = life.world.folders
    folders[KEY, "data", P] = replace(folders[KEY, "data", P], sequence=101)
    life.tick()
    assert life.phase() is Phase.BARRIER
    life.until(arrived(B))


def test_a_source_that_dies_before_the_flip_ends_in_a_failover():
    life = healthy()
    switch(life)
    life.until(lambda one: one.phase() is Phase.BARRIER)
    powered_off(life)
    life.until(lambda one: any(move.kind == "failover" for move in one.app().moves))
    assert life.app().active is B
    assert life.app().moves[0].outcome.startswith("aborted")


def test_a_source_that_dies_during_the_flip_is_outdated_when_it_never_received_only():
    life = healthy()
    life.world.deaf.add(SetRole)
    switch(life)
    life.until(lambda one: one.phase() is Phase.FLIPPING)
    powered_off(life)
    life.run(30)
    life.world.deaf.clear()
    life.until(arrived(B))
    assert life.standings()["data"] == ("outdated", "active")
