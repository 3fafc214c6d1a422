"""The age of databases is that of their points, and a proof leaves out their files and no others."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from failoverd.core.databases import GONE_AFTER
from failoverd.core.model import Scan, Why
from failoverd.core.points import Ailment, Duty, Kept, Sickness
from failoverd.core.rules import Placing
from tests.core.build import KEY, B, P, an_app
from tests.core.guarded import (
    BROKEN,
    HERE,
    THERE,
    age,
    alarms,
    guarded,
)
from tests.core.guards import DATABASE
from tests.core.test_moves import arrived, powered_off


def test_the_age_is_that_of_the_oldest_newest_proven_point():
    life = guarded()
    assert age(life) <= timedelta(seconds=25)
    life.world.guards.sick[HERE] = (Sickness(database=DATABASE, ailment=Ailment.LOCKED, text="for 3 s"),)
    life.run(60)
    assert age(life) >= timedelta(seconds=60)
    assert "point" in life.decision.apps[KEY].origins["data"]
    assert Why.NO_POINTS in alarms(life)


def test_a_database_that_has_not_changed_is_as_old_as_it_was_last_seen_unchanged():
    life = guarded()
    made = life.world.guards.points[f"{KEY} {DATABASE}", "data", 0, P]
    life.world.guards.mute |= {HERE, THERE}
    life.run(40)
    read = life.world.guards.reading(HERE)
    kept = Kept(
        database=DATABASE,
        size=1,
        serial=next(one.serial for one in life.world.guards.reading(THERE).observed.proven),
        made_at=made.made_at,
        current_at=life.world.date,
        every=timedelta(seconds=5),
        age=timedelta(seconds=5),
    )
    assert age(life) > timedelta(seconds=30)
    life.world.guards._put(HERE, observed=replace(read.observed, kept=(kept,), at=life.world.date))
    life.run(4)
    assert age(life) <= timedelta(seconds=25)
    other = replace(kept, serial=kept.serial + 1)  # what it says of another point is no word on this one
    life.world.guards._put(HERE, observed=replace(read.observed, kept=(other,), at=life.world.date))
    life.run(4)
    assert age(life) > timedelta(seconds=30)


def test_a_database_without_a_point_makes_the_age_unknown_and_is_named():
    life = guarded()
    life.world.guards.databases = (DATABASE, "logs.db")
    life.world.guards.mute.add(HERE)
    life.run(20)
    powered_off(life)
    life.run(60)
    assert Why.AGE_UNKNOWN in life.why()
    assert "logs.db: no point of it has ever arrived" in life.told()
    assert life.app().active is P


def test_what_the_app_has_deleted_has_no_age_any_more():
    life = guarded()
    life.world.guards.databases = (DATABASE, "backup.db")
    life.run(20)
    life.world.guards.databases = (DATABASE,)
    real = life.world.guards._round

    def with_old_point(key, wanted, date, writing):
        said = real(key, wanted, date, writing)
        if wanted.duty is not Duty.PROVE:
            return said
        old = life.world.guards.points[f"{KEY} backup.db", "data", 0, P]
        gone = replace(said.proven[0], database="backup.db", serial=old.serial, made_at=old.made_at)
        return replace(said, proven=(*said.proven, gone))

    life.world.guards._round = with_old_point
    life.run(60)
    assert age(life) > timedelta(seconds=55)
    life.run(GONE_AFTER.total_seconds())
    assert age(life) <= timedelta(seconds=25)


def test_without_a_word_from_the_standby_the_age_is_unknown():
    life = guarded()
    life.world.guards.unread.add(THERE)
    life.run(4)
    assert age(life) is None


def test_with_the_live_copy_as_the_start_points_have_no_say():
    life = guarded(an_app(place=Placing.LIVE))
    life.world.guards.sick[THERE] = (BROKEN,)
    life.run(20)
    assert age(life) is not None
    powered_off(life)
    life.until(arrived(B))
    assert life.world.guards.placing == []


def busy(folder):
    return replace(folder, errors=1, error_files=(DATABASE,))


@pytest.mark.parametrize(
    ("files", "proven"), [((DATABASE, f"{DATABASE}-wal"), True), ((DATABASE, "config.xml"), False), ((), False)]
)
def test_a_proof_leaves_out_the_files_of_databases_that_have_points_and_no_others(files, proven):
    life = guarded()
    life.world.folders[HERE] = busy(life.world.folders[HERE])
    life.world.pinned[THERE] = {"need_items": 2, "need_files": files, "need_bytes": 5, "errors": 1}
    life.world.pinned[THERE] |= {"error_files": (DATABASE,)}
    do = life.world.do

    def scans(action):
        receipt = do(action)
        if isinstance(action, Scan) and receipt.scanned:
            return replace(receipt, scanned=replace(receipt.scanned, error_files=(DATABASE,)))
        return receipt

    life.do = scans
    life.run(60)
    assert (age(life) <= timedelta(seconds=25)) is proven
