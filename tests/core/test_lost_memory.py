"""Memory is lost while an app carries our marks: resumed by an operator, it still goes home exactly."""

import copy

import pytest

from failoverd.core.memory import Memory, Phase
from failoverd.core.model import CommandKind, PatchWorkload, Why
from failoverd.core.rules import Failback
from tests.core.build import KEY, B, P, an_app
from tests.core.life import at_rest, command, healthy, kinds
from tests.core.test_moves import arrived, switch

DOUBLE = an_app(KEY, ("data", "media"), failback=Failback.MANUAL)


def forgotten(life):
    life.memory = Memory()
    life.restart()
    life.run(30)
    assert life.phase() is Phase.FROZEN


def resumed(life):
    forgotten(life)
    life.commands = (command(CommandKind.RESUME, id="r"),)
    life.run(60)
    assert at_rest(life)


def marks(life):
    notes = life.world.raw[KEY]["metadata"]["annotations"]
    return [name for name in notes if "failoverd" in name or "fluxcd" in name]


@pytest.mark.parametrize("app", [an_app(failback=Failback.MANUAL), DOUBLE], ids=["one volume", "two volumes"])
def test_resumed_away_from_home_the_way_home_is_what_the_rules_say(app):
    life = healthy(app)
    before = copy.deepcopy(life.world.raw[KEY]["spec"])
    switch(life)
    life.until(arrived(B))
    resumed(life)
    assert life.app().undo is not None
    assert not life.app().undo.held
    life.run(60)
    assert marks(life) != []
    switch(life, P, CommandKind.FAILBACK, number="c3")
    life.until(arrived(P))
    assert life.world.raw[KEY]["spec"] == before
    assert marks(life) == []
    assert life.app().undo is None


def test_resumed_at_home_the_marks_of_a_move_nobody_remembers_come_off():
    life = healthy()
    before = copy.deepcopy(life.world.raw[KEY]["spec"])
    notes = life.world.raw[KEY]["metadata"]["annotations"]
    notes["failoverd.io/epoch"], notes["failoverd.io/active"] = "3", "primary"
    notes["kustomize.toolkit.fluxcd.io/reconcile"] = "disabled"
    resumed(life)
    assert marks(life) == []
    assert life.world.raw[KEY]["spec"] == before
    assert kinds(life.world.did).count(PatchWorkload.__name__) == 1
    switch(life)
    life.until(arrived(B))


def test_resumed_while_stopped_it_says_that_nobody_starts_it():
    life = healthy()
    notes = life.world.raw[KEY]["metadata"]["annotations"]
    notes["failoverd.io/epoch"], notes["failoverd.io/active"] = "3", "primary"
    notes["kustomize.toolkit.fluxcd.io/reconcile"] = "disabled"
    life.world.raw[KEY]["spec"]["replicas"] = 0
    resumed(life)
    assert Why.SHAPE in {one.why for one in life.decision.apps[KEY].alarms}
    assert "scale it up again" in str(life.decision.apps[KEY].alarms)
