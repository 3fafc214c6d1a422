"""A patch that hangs on its way lands when it likes: before its move was called off, after it or much later."""

import copy

import pytest

from failoverd.core.memory import UNTOUCHED, Phase
from failoverd.core.model import CommandKind, PatchWorkload, Receipt, Why
from tests.core.build import KEY, B, P
from tests.core.life import at_rest, command, healthy
from tests.core.test_moves import WAYS, arrived, switch


class Wire:
    """Carries actions out, but holds the workload's patches back until they are let through."""

    def __init__(self, life):
        self.life, self.held = life, []
        self.carry_out = life.world.do
        life.do = self

    def __call__(self, action):
        if not isinstance(action, PatchWorkload):
            return self.carry_out(action)
        self.held.append(action)
        return Receipt(action=action, ok=False, detail="no answer within 5 s")

    def land(self):
        """The first one arrives; from now on nothing is held back."""
        self.life.do = self.carry_out
        return self.carry_out(self.held[0])


def hanging(way):
    life = healthy()
    wire = Wire(life)
    way(life)
    life.until(lambda _: bool(wire.held), 30)
    return life, wire


def pause(life, kind=CommandKind.PAUSE):
    life.commands = (*life.commands, command(kind, id=f"{kind}"))


def at_home(life):
    return copy.deepcopy(life.world.raw[KEY])


def test_a_move_is_not_called_off_while_its_first_patch_is_on_its_way():
    life, wire = hanging(WAYS["failover"])
    life.snapshot["in_flight"] = frozenset({f"PatchWorkload {KEY}"})
    pause(life)
    life.run(30)
    assert life.phase() is Phase.STOPPING
    wire.land()
    life.snapshot.clear()
    life.until(arrived(B), 30)


def test_once_the_answer_is_there_and_nothing_was_done_the_pause_calls_it_off():
    life, _ = hanging(WAYS["failover"])
    life.snapshot["in_flight"] = frozenset({f"PatchWorkload {KEY}"})
    pause(life)
    life.run(5)
    life.snapshot.clear()
    life.until(at_rest, 10)
    assert life.app().moves[-1].outcome == f"{UNTOUCHED}, paused"


@pytest.mark.parametrize("restarted", [False, True])
def test_a_stop_that_lands_after_the_move_was_called_off_is_undone_and_the_app_runs_where_it_was(restarted):
    life = healthy()
    before = at_home(life)["spec"]
    wire = Wire(life)
    life.world.off.add("w1")
    life.until(lambda _: bool(wire.held), 30)
    pause(life)
    life.until(at_rest, 30)
    assert life.app().moves[-1].untouched
    life.world.off.clear()
    life.run(60)
    if restarted:
        life.restart()
    assert wire.land().ok
    assert life.world.raw[KEY]["spec"]["replicas"] == 0
    life.until(lambda one: at_rest(one) and one.world.raw[KEY]["spec"]["replicas"] == 1, 30)
    marks = life.world.raw[KEY]["metadata"]["annotations"]
    assert life.world.raw[KEY]["spec"] == before
    assert not any("failoverd" in name or "fluxcd" in name for name in marks)
    assert life.app().undo is None
    assert life.app().moves[-1].outcome == "aborted: its stop landed after it was called off"
    assert life.standings()["data"] == ("active", "clean")


def test_away_from_home_too_and_the_way_home_stays_open():
    life = healthy()
    switch(life)
    life.until(arrived(B))
    wire = Wire(life)
    life.snapshot["hours_open"] = True
    life.world.off.add("w2")  # no fence there: forced by hand
    life.run(90)
    life.commands = (command(CommandKind.FAILOVER, id="c2", target=P),)
    life.until(lambda _: bool(wire.held), 30)
    life.world.off.clear()
    life.world.pinned[KEY, "data", P] = {"local_files": 0}
    life.until(at_rest, 30)
    assert life.app().moves[-1].untouched
    life.world.pinned.clear()
    wire.land()
    life.until(lambda one: at_rest(one) and one.world.raw[KEY]["spec"]["replicas"] == 1, 60)
    assert life.app().active is B
    assert life.app().undo is not None
    life.run(60)
    switch(life, P, CommandKind.FAILBACK, number="c3")
    life.until(arrived(P))
    assert life.app().undo is None


def test_a_planned_move_that_never_stopped_anything_is_called_off_not_aborted():
    life, wire = hanging(WAYS["switchover"])
    life.until(at_rest, 200)
    assert life.app().moves[-1].outcome == f"{UNTOUCHED}, the app did not stop in time"
    life.commands = ()
    wire.land()
    life.until(lambda one: at_rest(one) and one.world.raw[KEY]["spec"]["replicas"] == 1, 30)
    assert life.app().active is P


def test_an_app_scaled_to_nothing_under_our_marks_is_an_alarm():
    life = healthy()
    switch(life)
    life.until(arrived(B))
    life.world.raw[KEY]["spec"]["replicas"] = 0
    life.tick()
    assert Why.SHAPE in {one.why for one in life.decision.apps[KEY].alarms}
