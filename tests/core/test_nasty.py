"""Schedules that once broke a promise, one each: what was found by trying hard to lose something."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from failoverd.core.memory import Kind, Move, Phase, Standing
from failoverd.core.model import CommandKind, FenceOff, PatchWorkload, Pod, Receipt, Why
from failoverd.core.rules import App, Failback, Require
from tests.core.build import EPOCH_OF_TESTS, KEY, W1, B, P, World, an_app, some_rules
from tests.core.life import Life, at_rest, command, healthy
from tests.core.test_moves import arrived, switch

HERE, THERE = (KEY, "data", P), (KEY, "data", B)


class Ahead(World):
    """A cluster whose API server's clock is an hour ahead until it is set right."""

    step = 3600

    @property
    def date(self) -> datetime:
        """See World."""
        return EPOCH_OF_TESTS + timedelta(seconds=int(self.s) + self.step)


class Stuck(World):
    """A cluster whose controllers have stopped: a pod that should go stays."""

    stuck = False

    def _reconcile(self, app: App) -> None:
        if not self.stuck:
            super()._reconcile(app)


def by_hand() -> Life:
    """An app at rest at home that goes nowhere by itself but in an emergency."""
    return healthy(an_app(failback=Failback.MANUAL))


def test_a_standby_with_local_changes_is_neither_proven_nor_promoted():
    life = by_hand()
    proven = life.watch.volumes[KEY, "data"].proven_at
    life.world.pinned[THERE] = {"receive_only": 500}
    life.run(60)
    assert life.watch.volumes[KEY, "data"].proven_at == proven
    life.world.off.add(W1)
    life.run(90)
    assert life.app().active is P
    assert Why.NOT_CLEAN in life.why()


def test_what_one_side_alone_ignores_makes_no_proof_and_no_move():
    life = by_hand()
    proven = life.watch.volumes[KEY, "data"].proven_at
    life.world.folders[THERE] = replace(
        life.world.folders[THERE], ignores=("*.db", *life.world.folders[THERE].ignores)
    )
    life.run(60)
    assert life.watch.volumes[KEY, "data"].proven_at == proven
    assert "*.db" in str(life.decision.apps[KEY].alarms)
    life.commands = (command(CommandKind.SWITCHOVER),)
    life.run(200)
    assert life.app().active is P
    # Of a dead side nobody can read what it ignores: what counts is that the age goes back to the last proof.
    life.world.off.add(W1)
    life.run(90)
    assert life.why() == {Why.IGNORES}
    seen = tuple(one.mark for one in life.app().alarms)
    life.commands = (*life.commands, command(CommandKind.ACK, id="c2", seen=seen))
    life.until(arrived(B))
    (loss,) = life.app().moves[-1].losses
    assert loss.age_seconds is not None
    assert loss.age_seconds > 240


def test_copies_that_ignore_different_files_are_never_adopted():
    life = Life(World(some_rules()))
    life.world.folders[HERE] = replace(life.world.folders[HERE], ignores=("/cache",))
    life.run(120)
    assert life.phase() is Phase.ADOPTING
    assert "/cache" in life.decision.apps[KEY].waiting


def test_the_order_of_patterns_counts_and_comments_do_not():
    one = Life(World(some_rules())).world.folders[HERE]
    told = replace(one, ignores=("// mine", "!/keep", "*.db"))
    assert not told.unlike(replace(one, ignores=("!/keep", "", "*.db")))
    assert "another order" in told.unlike(replace(one, ignores=("*.db", "!/keep")))


def test_the_barrier_waits_for_a_workload_that_cannot_be_read():
    life = by_hand()
    life.world.pinned[THERE] = {"need_items": 1}
    switch(life)
    life.until(lambda one: one.phase() is Phase.BARRIER)
    life.world.unread[KEY] = "no answer within 2.5 s"
    life.world.pinned.clear()
    life.run(5)
    assert life.phase() is Phase.BARRIER
    life.world.unread.clear()
    life.until(arrived(B))


def test_a_planned_move_in_which_a_pod_ran_again_leaves_a_copy_to_be_taken_back():
    life = by_hand()
    switch(life)
    life.until(lambda one: one.phase() is Phase.FLIPPING)
    life.world.raw[KEY]["spec"]["replicas"] = 1
    life.until(arrived(B))
    (move,) = life.app().moves
    assert "disturbed" in dict(move.marks)
    assert "a pod ran again" in move.evidence[-1]
    assert life.app().volumes["data"].copies[P].standing is not Standing.CLEAN


def test_no_take_back_begins_while_the_workload_cannot_be_read():
    world = Stuck(some_rules(an_app(require=Require.SILENCE, failback=Failback.MANUAL), fence=""))
    life = Life(world)
    life.run(60)
    life.world.cut.add(W1)
    life.until(arrived(B), 300)
    old = Pod(name="old", uid="old", node=W1, claims=("pvc-media/sonarr",), owned=True, ready=True)
    life.world.pods[KEY].append(old)
    world.stuck = True
    life.world.cut.clear()
    life.run(200)
    assert life.app().volumes["data"].copies[P].standing is Standing.OUTDATED
    life.world.unread[KEY] = "no answer within 2.5 s"
    life.run(5)
    assert life.app().volumes["data"].copies[P].standing is Standing.OUTDATED
    assert life.world.folders[HERE].type == "sendonly"


def test_the_loser_of_a_planned_move_is_known_by_its_installation():
    life = by_hand()
    switch(life)
    life.until(arrived(B))
    life.run(10)
    assert life.app().volumes["data"].copies[P].device == life.world.folders[HERE].device
    life.world.folders[HERE] = replace(life.world.folders[HERE], device="WIPED", started="later")
    life.tick()
    assert life.app().volumes["data"].copies[P].standing is not Standing.CLEAN


def old_moves(count: int) -> tuple[Move, ...]:
    """Own moves there and back, all over long ago."""
    begun = [EPOCH_OF_TESTS - timedelta(days=60 - number) for number in range(count)]
    return tuple(
        Move(
            id=f"o{number}", app=KEY, kind=Kind.FAILBACK if number % 2 else Kind.FAILOVER,
            source=B if number % 2 else P, target=P if number % 2 else B, epoch=number + 1, reason="",
            began_at=at, ended_at=at, outcome="done", marks=(("ready", at),),
        )
        for number, at in enumerate(begun)
    )  # fmt: skip


def test_an_operators_switchover_is_remembered_before_moves_that_no_budget_counts():
    life = healthy()
    life.memory = replace(life.memory, apps={KEY: replace(life.app(), epoch=20, moves=old_moves(20))})
    life.run(5)
    switch(life)
    life.until(arrived(B))
    life.run(30)
    for number in range(3):
        life.world.pinned[HERE] = {"need_items": 3}
        life.commands = (command(CommandKind.FAILBACK, id=f"back{number}"),)
        life.until(lambda one: one.app().move is not None)
        life.until(at_rest, 600)
        life.world.pinned.clear()
        life.run(40)
    assert [move for move in life.app().moves if move.kind is Kind.SWITCHOVER]
    life.commands = ()
    life.run(3600)
    assert life.app().active is B, "a switchover is not undone by itself"


def test_a_stop_sent_once_more_that_lands_after_the_abort_changes_nothing():
    life = by_hand()
    switch(life)
    life.until(arrived(B))
    life.run(30)
    life.world.pinned[HERE] = {"need_items": 3}
    switch(life, P, CommandKind.FAILBACK, number="c2")
    life.until(lambda one: one.phase() is Phase.BARRIER)
    held: list[PatchWorkload] = []
    carry = life.world.do

    def do(action):
        if isinstance(action, PatchWorkload) and not held:
            held.append(action)
            return Receipt(action=action, ok=False, detail="no answer")
        return carry(action)

    life.do = do
    life.world.raw[KEY]["spec"]["replicas"] = 1
    life.until(lambda _: bool(held), 10)
    life.restart()
    life.until(at_rest, 300)
    life.run(5)
    carry(held[0])
    assert life.world.raw[KEY]["spec"]["replicas"] == 1


def test_a_clock_set_back_neither_hides_the_age_nor_stops_a_barrier_for_ever():
    ahead = Ahead(some_rules(an_app(failback=Failback.MANUAL)))
    life = Life(ahead)
    life.run(60)
    life.world.pinned[THERE] = {"need_items": 3}
    switch(life)
    life.until(lambda one: one.phase() is Phase.BARRIER)
    ahead.step = 0
    life.until(at_rest, 60)
    assert life.app().moves[-1].outcome.startswith("aborted")
    life.world.pinned.clear()
    life.run(120)
    age = life.decision.apps[KEY].ages["data"]
    assert age is not None
    assert timedelta(0) <= age < timedelta(seconds=30)


def test_a_move_that_stands_still_is_an_alarm_whatever_it_waits_for():
    life = by_hand()
    switch(life)
    life.until(lambda one: one.phase() is Phase.FLIPPING)
    life.world.unread[HERE] = "connection refused"
    life.run(100)
    assert life.decision.apps[KEY].alarms == ()
    life.run(400)
    (alarm,) = life.decision.apps[KEY].alarms
    assert alarm.text.startswith("the switchover has stood still in flipping for ")
    assert alarm.text.endswith("data: primary: connection refused")


def test_a_node_that_answers_again_after_a_refused_cut_is_not_cut_off_later():
    life = healthy(an_app(failback=Failback.MANUAL))
    refused: list[FenceOff] = []
    carry = life.world.do

    def do(action):
        if isinstance(action, FenceOff):
            refused.append(action)
            return Receipt(action=action, ok=False, detail="CT is locked (backup)")
        return carry(action)

    life.do = do
    life.world.cut.add(W1)
    life.until(lambda _: bool(refused), 200)
    life.world.cut.clear()
    life.until(at_rest, 60)
    asked = len(refused)
    life.run(120)
    assert len(refused) == asked
    assert life.app().active is P


def test_power_cut_again_and_again_for_nothing_uses_up_the_budget():
    life = by_hand()
    cut = Move(
        id="x", app=KEY, kind=Kind.FAILOVER, source=P, target=B, epoch=0, reason="", began_at=life.world.date,
        ended_at=life.world.date, outcome="aborted: before anything was done, too old",
        marks=(("decided", life.world.date), ("fenced", life.world.date)),
    )  # fmt: skip
    since = life.world.date - timedelta(hours=1)
    assert replace(life.app(), moves=(cut,)).counted(since) == [cut]
    assert replace(life.app(), moves=(replace(cut, marks=()),)).counted(since) == []
    assert replace(life.app(), moves=(replace(cut, command="c1"),)).counted(since) == []


def test_the_first_proof_after_a_move_survives_a_restart_right_after_it():
    life = by_hand()
    life.world.off.add(W1)
    life.until(arrived(B))
    life.world.off.clear()
    life.until(lambda one: one.watch.volumes[KEY, "data"].proven_at is not None, 600)
    assert life.app().volumes["data"].proven_at is not None
    life.restart()
    life.tick()
    assert life.decision.apps[KEY].ages["data"] is not None
