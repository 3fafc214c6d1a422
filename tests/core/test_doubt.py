"""Doubt about oneself: freeze, say so once, and watch from zero afterwards, for longer than a node takes to boot."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from failoverd.core.memory import Phase
from failoverd.core.model import CommandKind, Guest, GuestState, Kubelet, Why
from failoverd.core.rules import FenceWhen, Require
from tests.core.build import CP, KEY, W1, W2, B, P, World, an_app
from tests.core.life import Life, at_rest, command, healthy, kinds
from tests.core.test_moves import arrived, switch

SILENCE = an_app(require=Require.SILENCE)
EVERYBODY = {CP, W1, W2}


def all_silent(life: Life, seconds: float = 120) -> None:
    life.world.cut.update(EVERYBODY)
    life.run(seconds)


@pytest.mark.parametrize("fence", ["", "pve"])
def test_after_everybody_was_silent_the_last_to_come_back_is_watched_from_zero(fence):
    life = healthy(SILENCE, fence=fence)
    all_silent(life)
    assert Why.TOO_MANY_SILENT in life.why()
    life.world.cut -= {CP, W2}
    life.run(50)
    assert Why.WATCHED_ANEW in life.why()
    assert not {"FenceOff", "PatchWorkload"} & set(kinds(life.world.did))
    assert life.app().active is P
    if fence:  # still away after that: now it is lost like any other
        life.until(lambda one: "FenceOff" in kinds(one.world.did), 60)
    else:
        life.until(arrived(B), 60)


def test_after_a_long_outage_of_the_api_server_even_a_proof_waits_for_what_may_be_booting():
    life = healthy()
    life.world.api = False
    life.world.off.add(W1)
    life.run(90)
    life.world.api = True
    life.run(50)
    assert life.app().move is None
    assert Why.WATCHED_ANEW in life.why()
    life.until(arrived(B), 40)


@pytest.mark.parametrize("stall", [5, 28, 45])
def test_after_a_stall_a_proof_counts_at_once(stall):
    life = healthy()
    life.world.api = False
    life.world.off.add(W1)
    life.run(stall)
    life.world.api = True
    life.until(arrived(B), 40)


def test_an_operator_need_not_wait_for_that():
    life = healthy(SILENCE, fence="")
    all_silent(life)
    life.world.cut -= {CP, W2}
    life.run(30)
    assert Why.WATCHED_ANEW in life.why()
    life.commands = (command(CommandKind.FAILOVER, target=B),)
    life.until(arrived(B), 20)
    assert any("watched anew" in one for one in life.app().moves[-1].evidence)


def said_of(life: Life, seconds: float, part: str) -> int:
    """How often something with `part` in it was said."""
    until, found = life.world.s + seconds, 0
    while life.world.s < until:
        found += sum(part in note.text for note in life.tick().notes if not note.resolved)
    return found


def test_each_doubt_is_said_once_however_long_it_lasts():
    life = healthy(SILENCE, fence="")
    life.world.cut.update(EVERYBODY)
    assert said_of(life, 200, "failure domains are silent") == 1
    life.world.cut -= {CP, W2}
    assert said_of(life, 55, "is watched anew") <= 2  # once more when the target is UP again and one reason less
    gone = healthy(SILENCE, fence="")
    gone.world.api = False
    assert said_of(gone, 300, "no answer within 3 s") == 1


def test_the_hypervisors_uplink_is_dead_while_everything_on_it_sees_itself():
    """Primary, control plane and this instance are on one host: only the other side is silent, as only they saw."""
    life = healthy(SILENCE, fence="", own_domain="pve", witnesses=((CP, "pve"), (W1, "pve"), (W2, "nas")))
    switch(life)
    life.until(arrived(B))
    life.world.cut.add(W2)
    life.run(300)
    assert life.app().active is B
    assert Why.NO_WITNESS in life.why()
    assert at_rest(life)


def test_seen_from_the_other_side_the_host_without_uplink_is_several_nodes_and_one_domain():
    """The same fault, with this instance beside the backup: nobody outside both says that it is not its own."""
    life = healthy(SILENCE, fence="", own_domain="nas", witnesses=((CP, "pve"), (W1, "pve"), (W2, "nas")))
    life.world.cut.update({W1, CP})
    life.run(300)
    assert life.app().active is P
    assert Why.NO_WITNESS in life.why()


@pytest.mark.parametrize("when", [FenceWhen.ALL, FenceWhen.ANY])
def test_a_kubelet_that_answers_401_under_a_silent_lease_is_neither_dead_nor_fenced(when):
    life = healthy(fence_when=when)
    life.world.cut.add(W1)
    life.world.nodes[W1] = {"kubelet": Kubelet.ALIVE}
    life.run(300)
    assert life.app().move is None
    assert "FenceOff" not in kinds(life.world.did)
    assert life.decision.verdicts[W1].isolated


def test_a_guest_id_that_points_at_a_stopped_guest_proves_nothing_before_or_after():
    for began in (0, 60):  # misconfigured from the start, or since a reload in between
        life = healthy(seconds=60)
        if began == 0:
            life = Life(World(life.world.rules))
        life.world.rules = replace(life.world.rules, fence_hash="f2")
        life.world.nodes[W1] = {"guest": Guest(state=GuestState.STOPPED)}
        life.run(200)
        assert life.app().active is P
        assert {Why.CONTRADICTION, Why.MAPPING} & life.why()
        assert not {"FenceOff", "PatchWorkload", "TaintNode"} & set(kinds(life.world.did))
        life.world.cut.add(W1)  # and cut off, it is not dead by that guest's state either
        life.run(200)
        assert life.app().active is P
        assert Why.MAPPING in life.why()


class HalfOpen(World):
    """The watch of leases and nodes hears nothing more; what is read from the server itself is true."""

    stale: dict[str, dict[str, Any]] = {}  # noqa: RUF012 - set by the one test

    def reading(self, node, confirm):
        true = super().reading(node, confirm)
        if node in confirm or not self.stale:
            return true
        return replace(true, **self.stale[node])


def test_a_half_open_watch_makes_nobody_silent():
    life = healthy(SILENCE, fence="")
    life.world.__class__ = HalfOpen
    HalfOpen.stale = {name: vars_of(life.world, name) for name in EVERYBODY}
    life.run(300)
    HalfOpen.stale = {}
    assert life.app().active is P
    assert life.app().move is None


def vars_of(world: World, name: str) -> dict[str, Any]:
    seen = world.reading(name, frozenset())
    return {"lease": seen.lease, "node": seen.node}


@pytest.mark.parametrize("late", [6, 14, 16, 40, 70, 200])
def test_a_process_that_stood_still_concludes_nothing_from_what_it_missed(late):
    """SIGSTOP, a machine too busy for us, a paused virtual machine: for `late` seconds nothing was looked at."""
    life = healthy(SILENCE, fence="")
    life.world.cut.add(W1)
    life.run(45)
    life.world.cut.clear()  # came back, and fell silent again, while nobody looked
    life.world.advance(late)
    life.world.cut.add(W1)
    life.tick(0)
    life.run(40)
    assert life.app().move is None
    assert life.phase() is Phase.WATCHING


def test_a_wall_clock_that_jumps_moves_nothing_and_ages_nothing():
    for jump in (timedelta(hours=-2), timedelta(hours=2)):
        life = healthy()
        before = life.decision.apps[KEY].ages["data"]
        life.snapshot["instance"] = replace(life.world.snapshot().instance, jumped=jump)
        life.run(4)
        life.snapshot.clear()
        life.run(30)
        assert life.app().move is None
        assert abs(life.decision.apps[KEY].ages["data"] - before) < timedelta(seconds=60)
