"""Schedules under which the daemon takes points of files that went for files of the app that were deleted."""

from failoverd.core.filed import Filed
from failoverd.core.model import Why
from tests.core.build import W1, B
from tests.core.guarded import HERE, alarms
from tests.core.life import at_rest
from tests.core.test_alarms import change
from tests.core.test_filed import filed, grown


def test_points_that_were_thinned_hold_no_failover():
    life = filed()
    grown(life, 100, 4000)
    change(life, HERE, local_files=100 + 1000)  # a disk ran full; the guard counts anew once a minute
    life.run(20)
    life.world.guards.filed[HERE] = Filed(lying=1000)
    life.run(40)
    assert Why.DELETED not in alarms(life)
    life.world.off.add(W1)
    life.until(lambda one: at_rest(one) and one.app().active is B)


def test_a_guard_of_before_for_a_while_makes_no_mass_deletion():
    """The same where `files` was emptied for a while and the points were left."""
    life = filed()
    grown(life, 100, 4000)
    del life.world.guards.filed[HERE]
    life.run(40)
    grown(life, 100, 4000)
    assert Why.DELETED not in alarms(life)
