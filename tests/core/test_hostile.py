"""Schedules of a hostile reviewer: each of these once showed a hole."""

import copy
from dataclasses import replace

from failoverd.core.memory import Memory, Phase
from failoverd.core.model import CommandKind, Why
from failoverd.core.rules import Failback
from tests.core.build import KEY, TWO, W1, W2, B, P, World, an_app, some_rules
from tests.core.life import Life, at_rest, command, healthy, kinds
from tests.core.test_late_patch import Wire, pause
from tests.core.test_loop import Fakes, turn
from tests.core.test_lost_memory import marks
from tests.core.test_moves import arrived, switch
from tests.core.test_take_back import lost_and_back

MANUAL = an_app(failback=Failback.MANUAL)
BOTH = an_app(KEY, ("data", "media"))


def annotations(life):
    return life.world.raw[KEY]["metadata"]["annotations"]


def away(life):
    switch(life)
    life.until(arrived(B))


# --- the way home ---------------------------------------------------------------------------------------------


def test_marks_taken_off_by_hand_while_away_do_not_cost_the_way_home():
    life = healthy(MANUAL)
    before = copy.deepcopy(life.world.raw[KEY]["spec"])
    away(life)
    for name in [one for one in annotations(life) if "failoverd" in one]:
        del annotations(life)[name]
    life.run(10)
    switch(life, P, CommandKind.FAILBACK, number="c2")
    life.until(arrived(P))
    assert life.app().undo is None
    assert life.world.raw[KEY]["spec"] == before
    assert marks(life) == []


# --- two called off, the first one's patch lands late, away from home -----------------------------------------


def test_of_two_moves_called_off_the_first_ones_late_stop_leaves_the_app_movable():
    life = healthy(MANUAL)
    away(life)
    wire = Wire(life)
    life.world.off.add(W2)  # no fence there: forced by hand
    life.run(90)
    for number in ("c2", "c3"):
        life.commands = (command(CommandKind.FAILOVER, id=number, target=P),)
        sent = len(wire.held)

        def one_more(_: Life, sent: int = sent) -> bool:
            return len(wire.held) > sent

        life.until(one_more, 30)
        life.world.pinned[KEY, "data", P] = {"local_files": 0}
        life.until(at_rest, 30)
        assert life.app().moves[-1].untouched
        life.world.pinned.clear()
        life.tick()
    life.world.off.clear()
    wire.land()
    life.until(lambda one: at_rest(one) and one.world.raw[KEY]["spec"]["replicas"] == 1, 60)
    life.run(60)
    switch(life, P, CommandKind.FAILBACK, number="c4")
    life.until(arrived(P), 300)


# --- release ---------------------------------------------------------------------------------------------------


def test_a_stop_that_lands_after_the_release_does_not_leave_the_app_at_nothing():
    life = healthy()
    wire = Wire(life)
    life.world.off.add(W1)
    life.until(lambda _: bool(wire.held), 30)
    pause(life)
    life.until(at_rest, 30)
    life.world.off.clear()
    life.run(60)
    life.commands = (*life.commands, command(CommandKind.RELEASE, id="rel"))
    life.run(5)
    assert life.phase() is Phase.RELEASED
    assert wire.land().ok
    life.run(30)
    assert life.world.raw[KEY]["spec"]["replicas"] == 1


def test_a_loser_forgotten_by_a_configuration_is_not_given_back_at_a_release():
    life = healthy(an_app(KEY, ("data", "media"), failback=Failback.MANUAL))
    away(life)
    life.world.off.add(W2)  # no fence there: forced by hand
    life.run(90)
    life.commands = (command(CommandKind.FAILOVER, id="c2", target=P),)
    life.until(arrived(P))
    assert life.standings()["media"] == ("active", "outdated")
    assert life.app().undo is None
    full = life.world.rules
    life.world.rules = replace(full, apps=(replace(full.apps[0], volumes=full.apps[0].volumes[:1]),))
    life.run(5)
    life.world.rules = full
    life.world.off.clear()
    life.world.pinned[KEY, "media", P] = {"need_items": 3}  # what it wrote last and never sent
    life.run(120)
    life.commands = (command(CommandKind.RELEASE, id="rel"),)
    life.run(10)
    assert life.world.folders[KEY, "media", B].type != "sendreceive", life.standings()


# --- resume -----------------------------------------------------------------------------------------------------


def test_a_resume_that_cannot_be_carried_out_yet_is_not_called_done():
    life = healthy(MANUAL)
    life.memory = Memory()
    annotations(life)["failoverd.io/epoch"] = "3"
    life.restart()
    life.run(30)
    assert life.phase() is Phase.FROZEN
    life.world.unread[KEY, "data", B] = "connection refused"
    life.commands = (command(CommandKind.RESUME, id="r"),)
    said = [note.text for note in life.tick().notes]
    assert any("refused: not read yet" in text for text in said), said
    assert "not read yet" in life.memory.refusals["r"]
    life.world.unread.clear()
    life.commands = (command(CommandKind.RESUME, id="r2"),)
    life.run(60)
    assert at_rest(life)


# --- configuration changed in mid-move ---------------------------------------------------------------------------


def test_a_volume_added_to_the_configuration_in_mid_move_breaks_nothing():
    life = healthy(BOTH)
    full = life.world.rules
    short = replace(full, apps=(replace(full.apps[0], volumes=full.apps[0].volumes[:1]),))
    life.world.rules = short
    life.run(30)
    life.world.off.add(W1)
    life.until(lambda one: one.phase() is Phase.STOPPING)
    life.world.rules = full
    life.run(60)
    assert life.world.folders[KEY, "media", B].type == "receiveonly"
    assert Why.NOT_CLEAN in life.why()
    life.world.rules = short
    life.until(arrived(B), 60)


# --- fences ------------------------------------------------------------------------------------------------------


def test_an_app_that_has_just_come_to_a_node_binds_its_fence():
    one, two = an_app(), an_app(TWO, failback=Failback.MANUAL)
    life = healthy(one, two)
    switch(life, B, key=TWO)
    life.until(lambda _: life.app(TWO).active is B and life.app(TWO).move is None)
    life.run(60)
    switch(life, P, CommandKind.FAILBACK, key=TWO, number="c2")
    life.until(lambda _: life.phase(TWO) is Phase.STARTING)
    life.commands = (command(CommandKind.PAUSE, TWO, id="p"),)
    life.world.cut.add(W1)
    life.run(150)
    assert life.phase(TWO) is Phase.WATCHING
    assert "FenceOff" not in kinds(life.world.did), (life.phase(TWO), life.app(TWO).move)


def test_the_same_app_when_it_had_come_there_a_minute_before_binds_it():
    life = healthy(an_app(), an_app(TWO, failback=Failback.MANUAL))
    life.commands = (command(CommandKind.PAUSE, TWO, id="p"),)
    life.world.cut.add(W1)
    life.run(150)
    assert "FenceOff" not in kinds(life.world.did)


# --- the survivor's index begins anew in the middle of a take-back ------------------------------------------------


def test_a_take_back_goes_on_when_the_survivors_index_begins_anew():
    life = lost_and_back()
    life.until(lambda one: one.standings()["data"][0] == "taking back")
    life.world.pinned[KEY, "data", P] = {"need_items": 3, "receive_only": 0}
    life.until(lambda one: one.app().volumes["data"].copies[P].scanned > 0, 120)
    life.run(5)
    there = life.world.folders[KEY, "data", B]
    life.world.folders[KEY, "data", B] = replace(there, sequence=12, started="boot-2", device="NEW-ID")
    life.world.pinned.clear()
    life.until(lambda one: one.standings()["data"][0] == "clean", 300)


# --- the loop -------------------------------------------------------------------------------------------------------


async def test_a_lead_lost_and_regained_while_looking_reads_memory_again():
    fakes = Fakes(World(some_rules()))
    loop = fakes.loop()
    await turn(loop, fakes, 60)
    assert isinstance(fakes.kept, Memory)
    before, observe = fakes.loads, fakes.observe

    async def long_look(now, confirm, instance):
        found = await observe(now, confirm, instance)
        fakes.leads = False  # stopped for a minute: another led meanwhile
        return found

    fakes.observe = long_look  # type: ignore[method-assign]
    await loop.step()
    moved = fakes.kept.apps[KEY]
    fakes.kept = replace(fakes.kept, apps={KEY: replace(moved, frozen_why="another's word")})
    fakes.observe, fakes.leads = observe, True  # type: ignore[method-assign]
    await loop.step()
    assert fakes.loads == before + 1
