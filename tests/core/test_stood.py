"""The watch over a move's patch ends: once, and with its good end said too."""

from dataclasses import replace

import pytest

from failoverd.core import names
from failoverd.core.memory import Kind
from failoverd.core.rules import Failback
from tests.core.build import B, an_app
from tests.core.life import healthy
from tests.core.test_moves import arrived, powered_off, switch

KEY = an_app().key


def moved_away(**changes):
    life = healthy(an_app(failback=Failback.MANUAL, **changes))
    powered_off(life)
    life.until(arrived(B))
    return life


def spoken(life, seconds):
    """Notes of the next `seconds` that tell of a patch, with when they were said."""
    told, until = [], life.world.s + seconds
    while life.world.s < until:
        told += [(life.world.now.wall, note) for note in life.tick().notes if "its patch stood" in note.text]
    return told


def marks(life):
    return dict(life.app().moves[-1].marks)


def test_a_patch_that_stood_over_two_intervals_is_said_once():
    life = moved_away()
    ended = life.app().moves[-1].ended_at
    ((at, note),) = spoken(life, 400)
    watch = life.world.rules.timings.monitor_for
    assert watch <= at - ended <= watch * 1.1
    assert watch <= marks(life)["stood"] - ended <= at - ended
    assert note.text.startswith(f"failover of {KEY} from primary to backup: its patch stood for 12")
    assert (note.incident, note.resolved) == (f"move {life.app().moves[-1].id}", True)
    life.restart()
    assert spoken(life, 200) == []


@pytest.mark.parametrize("undo", ["hold", "claims"])
def test_a_patch_that_was_undone_is_put_back_and_never_called_good(undo):
    life = moved_away()
    raw = life.world.raw[KEY]
    if undo == "hold":
        del raw["metadata"]["annotations"][names.HOLD]
    else:
        raw["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] = "pvc-sonarr"
    assert spoken(life, 400) == []
    assert "undone" in marks(life)
    assert "stood" not in marks(life)
    assert raw is not life.world.raw[KEY]  # it was put back


def test_the_way_home_is_watched_as_well_though_nothing_is_held_there():
    life = healthy(an_app(failback=Failback.MANUAL))
    switch(life)
    life.until(arrived(B))
    life.commands = ()
    spoken(life, 200)
    switch(life, target=life.app().active.other, number="c2")
    life.until(arrived(B.other))
    life.commands = ()
    ((_, note),) = spoken(life, 300)
    assert life.app().moves[-1].kind is not Kind.FAILOVER
    assert f"of {KEY} from backup to primary" in note.text


def test_without_flux_there_is_nobody_whose_intervals_could_be_waited_for():
    life = healthy(an_app(failback=Failback.MANUAL))
    life.world.raw[KEY]["metadata"]["labels"] = {}
    powered_off(life)
    life.until(arrived(B))
    assert spoken(life, 300) == []


def test_a_move_that_was_called_off_has_no_patch_to_watch():
    life = moved_away()
    last = life.app().moves[-1]
    app = replace(life.app(), moves=(replace(last, outcome="aborted: paused"),))
    life.memory = replace(life.memory, apps={KEY: app})
    assert spoken(life, 300) == []
