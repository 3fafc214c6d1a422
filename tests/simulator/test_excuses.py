"""What chaos excuses, and how little that is."""

from dataclasses import replace
from datetime import timedelta

import pytest

from failoverd.core.memory import Memory
from failoverd.core.model import (
    Api,
    Decision,
    Folder,
    Instance,
    Now,
    Role,
    Scan,
    ScanPoints,
    SetRole,
    Snapshot,
    Unknown,
    Watch,
)
from failoverd.core.rules import Site
from failoverd.simulator.chaos import judge
from failoverd.simulator.chaos_conduct import Conduct
from failoverd.simulator.chaos_excuses import LOOK_MS, TAKEOVER_MS, Excuses
from failoverd.simulator.chaos_schedule import draw
from failoverd.simulator.chaos_truth import Truth
from failoverd.simulator.scenario_world import spec_of
from failoverd.simulator.world import Host, World

APP = "media/sonarr"
LIVE = f"{APP} data primary: the peer's app.db replaced the running app's"

FOLDER = Folder(device="A", started="s", type="sendonly", state="idle", sequence=1, remote_sequence=1, connected=True)


def behind_its_back(command, *, api_up=False, linked=True):
    """A world in which this was done, and what is excused there."""
    world = World(spec_of("world seed=1"))
    world.hosts["failoverd-0"] = Host(name="failoverd-0", linked=linked)
    if not api_up:
        world.set_api("no answer")
    excuses = Excuses(world)
    excuses.done(f"fault {command}")
    return world, excuses


def observing(*, scan=False):
    """What judges a world in which the daemon is only to observe."""
    spec = spec_of("world seed=1 mode=observe")
    world = World(replace(spec, rules=replace(spec.rules, observe_scan=scan)))
    return Conduct(world, Truth(world))


def hear(conduct, acts):
    """Judge a tick of the leader in which these acts are begun."""
    now = Now(timedelta(0), conduct.world.wall())
    seen = Snapshot(
        api=Api(date=now.wall), instance=Instance(leader=True), nodes={}, workloads={}, folders={}, claims={}
    )
    conduct.hear(
        Decision(memory=Memory(), watch=Watch(), verdicts={}, apps={}, actions=acts, wake_at=now.mono), seen, now
    )


@pytest.mark.parametrize("seed", [800_055, 800_252, 1_012, 5_000_158, 5_000_303])
def test_a_day_that_no_daemon_can_save_is_no_violation(seed):
    assert judge(draw(seed)).accused == ()


@pytest.mark.parametrize(
    ("command", "promise", "text"),
    [
        (f"strip_hold {APP}", "I2", f"{APP}: sonarr-3 writes while sonarr-2 does at the other site"),
        (f"strip_hold {APP}", "I1", LIVE),
        (f"wipe_config {APP} data primary", "I1", LIVE),
        (f"wipe_config {APP} data primary", "I10", f"{APP} data primary: 3 s of writing in app.db gone for good"),
    ],
)
def test_what_a_hand_does_while_nobody_can_act_is_excused(command, promise, text):
    assert behind_its_back(command)[1].excuse(promise, text)
    assert behind_its_back(command, api_up=True, linked=False)[1].excuse(promise, text)


def test_where_somebody_could_act_nothing_is_excused():
    _, excuses = behind_its_back(f"wipe_config {APP} data primary", api_up=True)
    assert not excuses.excuse("I1", LIVE)


def accepted(wiped, *, heard=False, api_up=False, later_ms=0):
    """Excuses after a side was wiped and looked at, and then accepted while nobody looks."""
    world, excuses = behind_its_back(f"wipe_config {wiped}", api_up=True)
    excuses.seen({(APP, "data", Site.PRIMARY): FOLDER if heard else Unknown("connection refused")})
    if not api_up:
        world.set_api("no answer")
    world.advance(later_ms)
    excuses.done(f"fault accept_device {APP} data primary")
    return excuses


def test_a_wiped_side_that_never_answered_before_nobody_could_act_is_excused_once_it_is_accepted():
    assert accepted(f"{APP} data primary", later_ms=600_000).excuse("I1", LIVE)


def test_so_is_one_that_is_accepted_before_the_leader_may_have_been_followed_and_not_after():
    assert accepted(f"{APP} data primary", api_up=True, later_ms=TAKEOVER_MS).excuse("I1", LIVE)
    assert not accepted(f"{APP} data primary", api_up=True, later_ms=TAKEOVER_MS + 1).excuse("I1", LIVE)


def test_a_wiped_side_that_answered_at_a_look_is_not_excused_when_it_is_accepted():
    assert not accepted(f"{APP} data primary", heard=True).excuse("I1", LIVE)


def test_a_side_that_was_not_wiped_is_not_excused_when_it_is_accepted():
    assert not accepted(f"{APP} data backup").excuse("I1", LIVE)


def test_one_instance_that_could_act_is_enough():
    world = World(spec_of("world seed=1"))
    world.hosts = {name: Host(name=name, linked=name == "two") for name in ("one", "two")}
    excuses = Excuses(world)
    excuses.done(f"fault strip_hold {APP}")
    assert not excuses.excuse("I1", LIVE)


@pytest.mark.parametrize(
    ("promise", "text"),
    [
        ("I4", LIVE),
        ("I2", LIVE),
        ("I1", LIVE.replace("data", "config")),
        ("I1", LIVE.replace("sonarr", "radarr")),
        ("I1", LIVE.replace("sonarr", "sonarr-two")),
    ],
)
def test_other_promises_volumes_and_apps_are_not_excused(promise, text):
    assert not behind_its_back(f"wipe_config {APP} data primary")[1].excuse(promise, text)


def test_other_deeds_excuse_nothing():
    assert not behind_its_back(f"set_type {APP} data primary sendreceive")[1].excuse("I1", LIVE)


def test_what_goes_wrong_after_somebody_could_act_again_counts():
    world, excuses = behind_its_back(f"strip_hold {APP}")
    world.advance(60_000)
    assert excuses.excuse("I1", LIVE)
    excuses.seen({})
    world.advance(60_000 + LOOK_MS)
    assert excuses.excuse("I1", LIVE)  # its first act may just be on its way
    excuses.seen({})
    world.advance(60_001 + LOOK_MS)
    assert not excuses.excuse("I1", LIVE)


def test_what_is_excused_is_told_and_does_not_count():
    world, excuses = behind_its_back(f"strip_hold {APP}")
    world.excuse = excuses.excuse
    world.accuse("I1", LIVE)
    assert world.accused == []
    assert f"not to be prevented I1: {LIVE}" in [text for _, text in world.told]
    world.accuse("I4", LIVE)
    assert [one[1:] for one in world.accused] == [("I4", LIVE)]


def test_data_that_replication_alone_loses_under_a_daemon_that_observes_is_told_and_does_not_count():
    conduct = observing()
    for promise in ("I1", "I4", "I10", "I2"):
        conduct.world.accuse(promise, LIVE)
    assert [promise for _, promise, _ in conduct.world.accused] == ["I2"]
    assert f"not to be prevented I10: {LIVE}" in [text for _, text in conduct.world.told]


@pytest.mark.parametrize("act", [SetRole, Scan, ScanPoints])
def test_a_daemon_that_acts_though_it_is_to_observe_is_accused(act):
    conduct, given = observing(), {"role": Role.SEND_ONLY, "keep": None} if act is SetRole else {}
    acts = (act(app=APP, volume="data", site=Site.BACKUP, reason="", **given),)
    hear(conduct, acts)
    assert [promise for _, promise, _ in conduct.world.accused] == ["I5"]


def test_scans_that_were_asked_for_are_no_acts_of_an_observing_daemon():
    conduct = observing(scan=True)
    hear(conduct, (Scan(app=APP, volume="data", site=Site.PRIMARY, reason=""),))
    assert conduct.world.accused == []


def test_a_daemon_that_observes_while_replication_loses_data_breaks_no_promise():
    day = draw(5_000_000)
    assert "mode=observe" in day.world
    assert judge(day).accused == ()
