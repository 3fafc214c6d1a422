"""Databases that the app deleted before the last move or restore, of which old points lie there still."""

from __future__ import annotations

from failoverd.core.memory import Kind
from failoverd.core.model import Why
from failoverd.core.points import Ailment, Sickness
from tests.core.build import W1, B, P
from tests.core.guarded import HERE, THERE, age, guarded
from tests.core.life import Life, at_rest, ended
from tests.core.test_recalling import ask

OLD = Sickness(database="old.db", ailment=Ailment.NONE, text="no point of epoch 4 from primary", earlier=True)


def restored() -> Life:
    life: Life = guarded()
    life.world.guards.sick[THERE] = (OLD,)
    ask(life)
    life.until(ended)
    life.run(30)
    return life


def test_one_that_was_deleted_before_a_restore_holds_no_failover_after_it():
    life = restored()
    assert age(life) is not None
    life.world.off.add(W1)
    life.until(lambda one: at_rest(one) and one.app().active is B)
    assert (life.app().moves[-1].kind, life.app().moves[-1].outcome) == (Kind.FAILOVER, "done")


def test_one_that_the_guard_beside_it_still_names_is_not_taken_for_deleted():
    life = restored()
    life.world.guards.sick[HERE] = (Sickness(database="old.db", ailment=Ailment.LOCKED, text="locked"),)
    life.run(60)
    assert age(life) is None
    life.world.off.add(W1)
    life.run(100)
    assert (life.app().active, life.why()) == (P, {Why.AGE_UNKNOWN})
