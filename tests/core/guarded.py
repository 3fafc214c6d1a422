"""A daemon whose world has guards, and what tests ask of it and do to it."""

from __future__ import annotations

from failoverd.core.model import Why
from failoverd.core.points import Ailment, Finding, Obstacle, Sickness
from failoverd.core.rules import Guarding
from tests.core.build import KEY, B, P, an_app
from tests.core.guards import DATABASE
from tests.core.life import healthy
from tests.core.test_moves import switch

HERE, THERE = (KEY, "data", P), (KEY, "data", B)
BROKEN = Sickness(database=DATABASE, ailment=Ailment.CORRUPT, text="malformed")
EMPTY = Finding(obstacle=Obstacle.EMPTY, text="/data holds nothing of the app")


def guarded(app=None, seconds=90, **rules):
    return healthy(app or an_app(), seconds=seconds, guard=Guarding(), **rules)


def order(life, key):
    found = life.world.guards.reading(key).wanted
    assert found
    return found


def alarms(life):
    return {one.why for one in life.decision.apps[KEY].alarms}


def age(life):
    return life.decision.apps[KEY].ages["data"]


def force(life):
    switch(life, kind="failover")


def marks(move):
    return [name for name, _ in move.marks]


def muted(life):
    life.world.guards.mute.add(THERE)


def broken(life):
    life.world.guards.sick[THERE] = (BROKEN,)


def unusable(life):
    life.world.guards.findings[THERE] = (EMPTY,)


HELD = {"silent": (muted, Why.GUARD_SILENT), "broken": (broken, Why.NOT_OPEN), "found": (unusable, Why.UNUSABLE)}
