"""Take-back step by step: an outdated copy becomes a clean standby, nothing is lost, nothing flows back."""

from dataclasses import replace
from datetime import timedelta

import pytest

from failoverd.core.memory import TakeBackStep
from failoverd.core.model import (
    DropConnection,
    Guest,
    GuestState,
    Override,
    Pod,
    Revert,
    Role,
    Scan,
    SetRole,
)
from failoverd.core.rules import Failback, Require
from tests.core.build import KEY, W1, B, P, an_app
from tests.core.life import at_rest, healthy, kinds

HERE, THERE = (KEY, "data", P), (KEY, "data", B)


def roles(life):
    return [(act.site, act.role) for act in life.world.did if isinstance(act, SetRole)]


def copy_of(life, site=P):
    return life.app().volumes["data"].copies[site]


def lost_and_back(**app):
    """The app lives at the backup, the primary's power is back, its copy has changes of its own."""
    life = healthy(an_app(failback=Failback.MANUAL, **app))
    life.world.off.add(W1)
    life.until(lambda one: at_rest(one) and one.app().active is B)
    life.world.off.clear()
    life.world.folders[HERE] = replace(life.world.folders[HERE], receive_only=3, sequence=130)
    life.world.folders[THERE] = replace(life.world.folders[THERE], need_items=2)
    return life


def reach(life, step):
    life.until(lambda one: copy_of(one).step is step, 120)


def test_the_take_back_goes_through_its_steps_in_order():
    life = lost_and_back()
    before = len(life.world.did)
    life.until(lambda one: one.standings()["data"] == ("clean", "active"), 120)
    acts = [act for act in life.world.did[before:] if not isinstance(act, Scan)]
    assert kinds(acts) == ["SetRole", "Override", "Revert", "SetRole"]
    assert [(act.site, act.role, act.keep) for act in acts if isinstance(act, SetRole)] == [
        (P, Role.RECEIVE_ONLY, True),
        (P, Role.RECEIVE_ONLY, False),
    ]
    assert [act.site for act in acts if isinstance(act, Override)] == [B]
    assert [act.site for act in acts if isinstance(act, Revert)] == [P]


def test_a_returned_side_is_left_alone_until_its_node_is_up():
    life = lost_and_back()
    life.run(15)
    assert roles(life) == [(B, Role.SEND_ONLY)]
    assert life.standings()["data"][0] == "outdated"


def test_no_override_before_the_survivor_has_heard_all_the_returned_side_announced():
    life = lost_and_back()
    life.world.pinned[THERE] = {"remote_sequence": 100}
    life.run(120)
    assert "Override" not in kinds(life.world.did)
    assert "survivor has heard of 100 of 130" in life.decision.apps[KEY].waiting
    life.world.pinned.clear()
    life.until(lambda one: one.standings()["data"] == ("clean", "active"), 60)


@pytest.mark.parametrize(("site", "peer"), [(B, "sonarr-primary-ID"), (P, "sonarr-backup-ID")])
def test_no_override_while_one_side_speaks_of_the_others_installation_before(site, peer):
    life = lost_and_back()
    other = (KEY, "data", site.other)
    life.world.folders[other] = replace(life.world.folders[other], device="WIPED", sequence=7)
    life.world.pinned[KEY, "data", site] = {"peer": peer, "remote_sequence": 500}
    life.run(120)
    assert "Override" not in kinds(life.world.did)
    assert "speaks of the one before" in life.decision.apps[KEY].waiting
    life.world.pinned.clear()
    life.until(lambda one: one.standings()["data"] == ("clean", "active"), 60)


@pytest.mark.parametrize("step", [TakeBackStep.OVERRIDE, TakeBackStep.REVERT])
def test_what_the_survivor_lacks_is_overridden_at_every_step_before_anything_is_clean(step):
    life = lost_and_back()
    life.world.pinned[HERE] = {"need_items": 1}
    reach(life, step)
    life.world.folders[THERE] = replace(life.world.folders[THERE], need_items=5)
    did = kinds(life.run(15))
    assert did.count("Override") == 1
    assert "Scan" in did[: did.index("Override")]
    assert life.standings()["data"][0] == "taking back"


def test_a_survivor_that_goes_on_lacking_something_overrides_once_after_each_scan():
    life = lost_and_back()
    reach(life, TakeBackStep.OVERRIDE)
    life.world.pinned[THERE] = {"need_items": 1}
    did = kinds(life.run(120))
    assert 2 <= did.count("Override") <= did.count("Scan")


UNFIT = {
    "empty": {"local_files": 0},
    "in error": {"error": "folder marker missing", "state": "error"},
    "paused": {"paused": True, "state": ""},
    "not connected": {"connected": False},
}


@pytest.mark.parametrize("changes", UNFIT.values(), ids=UNFIT)
def test_a_survivor_that_is_not_fit_overrides_nothing(changes):
    life = lost_and_back()
    life.world.pinned[THERE] = changes
    life.world.deaf.add(DropConnection)
    life.run(120)
    assert "Override" not in kinds(life.world.did)
    assert life.standings()["data"][0] == "outdated"


def test_a_survivor_whose_scan_finds_errors_overrides_nothing_and_one_good_scan_is_enough():
    life = lost_and_back()
    carry_out, broken = life.world.do, [True]

    def scanned(action):
        receipt = carry_out(action)
        if isinstance(action, Scan) and action.site is B and broken[0]:
            found = replace(receipt.scanned, errors=1, error_files=("app.db",))
            return replace(receipt, scanned=found)
        return receipt

    life.do = scanned
    before = len(life.world.did)
    life.run(120)
    assert "Override" not in kinds(life.world.did)
    assert life.standings()["data"][0] == "taking back"
    assert "1 error in the survivor's last scan: app.db" in life.decision.apps[KEY].waiting
    assert kinds(life.world.did[before:]).count("Scan") <= 14
    broken[0] = False
    life.until(lambda one: one.standings()["data"] == ("clean", "active"), 60)


def test_a_file_that_its_writer_is_changing_holds_no_take_back():
    life = lost_and_back()
    carry_out = life.world.do

    def busy(action):
        receipt = carry_out(action)
        if not isinstance(action, Scan) or action.site is not B:
            return receipt
        return replace(
            receipt, scanned=replace(receipt.scanned, errors=1, error_files=("app.db",), changing=("app.db",))
        )

    life.do = busy
    life.until(lambda one: one.standings()["data"] == ("clean", "active"), 120)


def test_what_a_survivor_with_errors_lacks_is_not_overridden_later_either():
    life = lost_and_back()
    life.world.pinned[HERE] = {"need_items": 1}
    reach(life, TakeBackStep.REVERT)
    life.world.pinned[THERE] = {"need_items": 5, "errors": 1}
    life.until(lambda one: "1 error in the survivor's" in one.decision.apps[KEY].waiting, 30)
    assert "Override" not in kinds(life.run(30))
    life.world.pinned[THERE] = {"need_items": 5}
    assert "Override" in kinds(life.run(30))


def test_nothing_is_reverted_while_what_it_displaces_is_not_kept():
    life = lost_and_back()
    carry_out = life.world.do

    def watched(action):
        if isinstance(action, Revert):
            assert life.world.folders[HERE].versioning
        return carry_out(action)

    life.do = watched
    reach(life, TakeBackStep.FINISH)
    life.world.folders[HERE] = replace(life.world.folders[HERE], receive_only=1)  # found late, versions are off
    life.until(lambda one: one.standings()["data"] == ("clean", "active"), 60)
    assert life.world.folders[HERE].receive_only == 0
    assert kinds(life.world.did).count("Revert") == 2


def test_waiting_for_the_index_repeats_neither_override_nor_revert():
    life = lost_and_back()
    life.world.pinned[HERE] = {"remote_sequence": 10}
    reach(life, TakeBackStep.REVERT)
    before = len(life.world.did)
    life.run(60)
    assert {"Override", "Revert"}.isdisjoint(kinds(life.world.did[before:]))


def test_a_take_back_killed_at_every_tick_is_finished_by_the_next_instance():
    life = lost_and_back()
    reach(life, TakeBackStep.PREPARE)
    for number in range(400):
        life.acts = bool(number % 2)
        life.tick(1)
        if number % 7 == 6:
            life.restart()
            life.acts = True
            life.run(24)
        if life.standings()["data"] == ("clean", "active"):
            break
    assert life.standings()["data"] == ("clean", "active")


def silently_lost():
    life = healthy(an_app(require=Require.SILENCE, failback=Failback.MANUAL), fence="")
    life.world.cut.add(W1)
    life.until(lambda one: at_rest(one) and one.app().active is B)
    life.world.cut.clear()
    return life


def test_a_side_never_seen_dead_is_left_alone_until_it_has_been_quiet_for_long():
    life = silently_lost()
    life.run(20)
    took = life.until(lambda one: one.standings()["data"][0] == "taking back", 200)
    assert took >= 70


def test_a_side_whose_old_pod_writes_on_is_left_alone():
    life = silently_lost()
    for _ in range(100):
        life.world.folders[HERE] = replace(life.world.folders[HERE], sequence=life.world.folders[HERE].sequence + 1)
        life.tick()
    assert life.standings()["data"][0] == "outdated"
    assert (P, Role.RECEIVE_ONLY) not in roles(life)


def test_the_writes_of_an_app_that_stayed_there_do_not_delay_the_take_back():
    stayed = an_app("media/radarr", require=Require.PROOF)
    life = healthy(an_app(require=Require.SILENCE, failback=Failback.MANUAL), stayed, fence="")
    life.world.cut.add(W1)
    life.until(lambda one: at_rest(one) and one.app().active is B)
    life.world.cut.clear()
    key = ("media/radarr", "data", P)
    for _ in range(150):
        life.world.folders[key] = replace(life.world.folders[key], sequence=life.world.folders[key].sequence + 1)
        life.tick()
    assert life.standings()["data"][0] in {"taking back", "clean"}


def test_a_side_that_has_rebooted_since_needs_no_quiet():
    life = silently_lost()
    life.world.nodes[W1] = {"guest": Guest(state=GuestState.RUNNING, uptime=timedelta(seconds=5))}
    took = life.until(lambda one: one.standings()["data"][0] == "taking back", 200)
    assert took <= 45


def test_a_pod_of_the_app_still_there_holds_the_take_back():
    life = lost_and_back()
    pod = Pod(name="old", uid="old", node=W1, claims=("pvc-sonarr",), owned=True, deleting=True)
    life.world.pods[KEY].append(pod)
    life.run(60)
    assert life.standings()["data"][0] == "outdated"
    assert "still on w1" in life.decision.apps[KEY].waiting
