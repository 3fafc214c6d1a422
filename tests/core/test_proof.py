"""Data age = last possible write - last proof: what is a proof, and what an age does when there is none."""

from dataclasses import replace
from datetime import timedelta

import pytest

from failoverd.core.model import Scan
from failoverd.core.rules import Failback, Require
from tests.core.build import EPOCH_OF_TESTS, KEY, W1, B, P, an_app
from tests.core.life import at_rest, healthy, kinds

HERE, THERE = (KEY, "data", P), (KEY, "data", B)


def age(life):
    return life.decision.apps[KEY].ages["data"]


def test_while_all_is_well_the_age_stays_below_a_scan_interval_and_a_tick_or_two():
    life = healthy()
    ages = []
    for _ in range(40):
        life.tick()
        ages.append(age(life))
    assert max(ages) <= timedelta(seconds=16)


def test_a_scan_that_is_answered_at_once_is_asked_for_every_scan_interval_not_every_tick():
    life = healthy()
    assert 5 <= kinds(life.run(60)).count("Scan") <= 7


def test_a_scan_that_takes_long_is_asked_for_more_rarely():
    life = healthy()
    carry_out = life.world.do

    def slowly(action):
        receipt = carry_out(action)
        if receipt.scanned:
            return replace(receipt, scanned=replace(receipt.scanned, took=timedelta(seconds=2)))
        return receipt

    life.do = slowly
    life.run(20)
    assert kinds(life.run(120)).count("Scan") <= 4


def test_a_scan_that_fails_is_not_repeated_every_tick():
    life = healthy()
    life.world.deaf.add(Scan)
    assert kinds(life.run(60)).count("Scan") <= 7


def test_what_the_standby_heard_of_the_installation_before_is_no_proof_of_the_one_that_was_scanned():
    life = healthy()
    before = age(life)
    life.world.folders[HERE] = replace(life.world.folders[HERE], device="WIPED", sequence=7)
    # its link is read every 10 s only, and shows the old one still
    life.world.pinned[THERE] = {"peer": "sonarr-primary-ID", "remote_sequence": 100}
    life.run(60)
    assert age(life) >= before + timedelta(seconds=50)
    life.world.pinned.clear()
    life.run(30)
    assert age(life) < timedelta(seconds=20)


NO_PROOF = {
    "errors at the source": (P, {"errors": 1}),
    "needed items": (B, {"need_items": 1}),
    "needed bytes": (B, {"need_bytes": 1}),
    "an index heard of in part": (B, {"remote_sequence": 99}),
    "an index nobody knows": (B, {"remote_sequence": None}),
    "errors at the standby": (B, {"errors": 1}),
    "a paused standby that reports zeros": (B, {"paused": True}),
    "a state nobody told": (B, {"state": ""}),
    "a folder in error": (B, {"error": "marker missing"}),
}


@pytest.mark.parametrize(("site", "changes"), NO_PROOF.values(), ids=NO_PROOF)
def test_what_is_no_proof_lets_the_age_grow(site, changes):
    life = healthy()
    life.world.pinned[KEY, "data", site] = changes
    life.run(60)
    assert age(life) >= timedelta(seconds=55)


def test_a_proof_is_dated_when_its_scan_was_asked_for_not_when_it_was_seen():
    life = healthy()
    life.world.pinned[THERE] = {"need_items": 1}
    life.run(14)
    scanned = life.watch.volumes[KEY, "data"].scanned
    assert scanned
    life.world.deaf.add(Scan)
    life.run(30)
    life.world.pinned.clear()
    life.tick()
    assert life.watch.volumes[KEY, "data"].proven_at == scanned.at


def test_a_proof_of_the_future_counts_for_nothing_and_gives_way_to_the_next_one():
    life = healthy()
    memory = life.app()
    volumes = {
        name: replace(one, proven_at=EPOCH_OF_TESTS + timedelta(days=1)) for name, one in memory.volumes.items()
    }
    life.memory = replace(life.memory, apps={KEY: replace(memory, volumes=volumes)})
    life.restart()
    life.tick()
    assert age(life) is None
    life.run(90)
    assert age(life) is not None
    assert life.app().volumes["data"].proven_at <= life.world.date


def test_the_age_stops_when_the_guest_has_stopped_and_not_before():
    life = healthy()
    life.world.off.add(W1)
    life.run(6)
    life.until(lambda one: one.app().move is not None)
    stated = life.app().move.losses[0].age_seconds
    assert stated <= 14
    life.until(at_rest)
    assert life.app().moves[-1].losses[0].age_seconds == stated


def test_the_age_of_a_node_that_is_cut_off_but_serving_is_until_now():
    life = healthy(an_app(require=Require.PROOF))
    life.world.cut.add(W1)
    life.run(50)
    assert age(life) >= timedelta(seconds=50)


def test_proofs_are_written_down_twice_a_minute_and_nothing_else_is():
    life = healthy(seconds=120)
    saves = life.saves
    life.run(600)
    assert life.saves - saves <= 21


def test_a_restart_overstates_an_age_and_never_understates_it():
    life = healthy()
    before = age(life)
    life.restart()
    life.world.pinned[THERE] = {"need_items": 1}
    life.tick()
    assert before <= age(life) <= timedelta(seconds=45)


def test_scans_of_the_old_active_side_prove_nothing_of_the_new_one():
    life = healthy(an_app(failback=Failback.MANUAL))
    life.world.pinned[THERE] = {"need_items": 1}
    life.run(12)  # a scan of the primary waits to become a proof
    life.world.off.add(W1)
    life.world.pinned.clear()
    life.until(lambda one: at_rest(one) and one.app().active is B)
    assert life.app().volumes["data"].proven_at is None
    life.world.off.clear()
    flipped = life.app().moves[-1].ended_at
    life.run(120)
    assert life.app().volumes["data"].proven_at > flipped
