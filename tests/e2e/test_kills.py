"""The harness of `make kills` and `make faults`, a sample of both, and that it notices what it should.

In virtual time: the daemon's own adapters over real sockets, no waiting. What is drawn is printed; the same seed
plays the same again: `python -m tests.kill kills --sample 5 --seed N`.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from failoverd.adapters.kubernetes import client
from failoverd.core import moves
from failoverd.scribe import Scribe
from tests.e2e.world import figure
from tests.kill import chains, kills, real, spoils
from tests.kill.kills import Point, Side, points
from tests.kill.play import Task, play
from tests.kill.scene import Setting, scene
from tests.kill.stories import STORIES
from tests.kill.virtual import run

SECONDS = 6
"""CPU time given to each sample."""
STOP = "PATCH deployments/sonarr reconcile=disabled epoch active=primary replicas=0"
HISTORY = Point("failover", "watching, primary outdated | GET configmaps/failoverd-history", Side.BEFORE)


def drawn(what: str) -> random.Random:
    seed = random.randrange(1_000_000)
    figure(f"{what}, seed {seed}")
    return random.Random(seed)


@pytest.mark.timeout(150)
def test_killed_at_requests_drawn_by_chance_a_move_ends_well():
    chance, began = drawn("killed at requests"), time.process_time()
    story = chance.choice(list(STORIES))
    calls, undisturbed = run(kills.record(STORIES[story]))
    assert undisturbed.wrong == []
    assert len(calls) > 25
    for point in chance.sample(points(story, calls), len(calls)):
        successor = (
            "restart" if "proxmox" in point.call or story == "adoption" else chance.choice(["restart", "other"])
        )
        verdict = run(kills.perform(point, successor))
        assert verdict.wrong == [], f"{point}, then {successor}"
        if time.process_time() - began > SECONDS:
            break


@pytest.mark.timeout(150)
def test_with_answers_spoilt_by_chance_a_move_ends_well():
    chance, began = drawn("answers spoilt"), time.process_time()
    todo = [(story, fault) for story in STORIES for fault in (*spoils.ANSWERS, *spoils.WRITES)]
    for story, fault in chance.sample(todo, len(todo)):
        verdict = run(spoils.perform(story, spoils.EVERY, fault))
        assert verdict.reached, f"{story}: {fault} hit nothing"
        assert verdict.wrong == [], f"{story}, every request once {fault}"
        if time.process_time() - began > SECONDS:
            break


@pytest.mark.timeout(150)
@pytest.mark.parametrize(("side", "carried_out"), [(Side.BEFORE, 0), (Side.AFTER, 1)])
def test_before_and_after_are_what_they_say(side: Side, carried_out: int, tmp_path: Path):
    """The stop of a failover has reached the server, or has not, when the daemon is dead."""
    point = Point("failover", f"stopping, primary outdated | {STOP}", side)
    story = STORIES["failover"]

    async def story_until_the_kill() -> int:
        async with scene(tmp_path, Setting()) as on:
            trap = kills.Trap(point, on.kill, armed=True)
            await on.start(trap.hooks())
            await story.prelude(on)
            await story.trigger(on)
            await on.until("the kill", lambda: trap.sprung_at is not None)
            sent = on.lives[0].ledger.numbers
            await on.rest(30)
            assert on.lives[0].ledger.numbers == sent, "the dead have spoken"
            return int(on.served.world.apps["media/sonarr"].raw["spec"]["replicas"] == 0)

    assert run(story_until_the_kill()) == carried_out


@pytest.mark.timeout(150)
def test_a_history_that_is_never_compared_with_memory_is_noticed(monkeypatch: pytest.MonkeyPatch):
    assert run(kills.perform(HISTORY, "restart")).wrong == []
    monkeypatch.setattr(Scribe, "_collect", lambda self, memory: None)
    wrong = run(kills.perform(HISTORY, "restart")).wrong
    assert any("no history entry" in text for text in wrong), wrong


@pytest.mark.timeout(150)
def test_a_flip_that_is_left_out_is_noticed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(moves, "_flip", lambda case, move, volume: (None, ""))
    _, verdict = run(kills.record(STORIES["switchover"]))
    assert verdict.wrong


@pytest.mark.timeout(150)
def test_a_token_that_is_never_read_again_is_noticed(monkeypatch: pytest.MonkeyPatch):
    call = "watching | GET leases/failoverd"
    assert run(spoils.perform("switchover", call, "rotated")).wrong == []
    monkeypatch.setattr(client, "RELOAD_EVERY", client.RELOAD_EVERY * 1_000_000)
    monkeypatch.setattr(spoils, "LONGEST", 60.0)
    assert run(spoils.perform("switchover", call, "rotated")).wrong


def test_a_run_that_breaks_is_a_violation_and_ends_nothing():
    _, found = play(Task("name", "kill", "no such story", "", "before", "restart"))
    assert found["wrong"] == ["KeyError: 'no such story'"]


def test_rows_play_every_point_once_and_mix_no_worlds():
    every = [link for story in chains.ENDS for link in real.points(story, ["a", "b", "c"], chains.SUCCESSORS)]
    made = list(chains.rows(every, 4))
    assert sorted(link.name for row in made for link in row) == sorted(link.name for link in every)
    for row in made:
        assert len(row) <= 4
        assert len({str(STORIES[link.story].setting) for link in row}) == 1
        assert all(link.story not in ("adoption",) for link in row[1:]), "an adoption begins with an empty cluster"
        assert all(link.story != "release" for link in row[:-1]), "nothing is left to be moved after a release"


def test_a_move_goes_on_where_the_one_before_it_ended():
    stories = ["switchover", "failback", "failover", "take-back", "failback", "switchover"]
    every = [
        chains.Link(story=story, call=str(at), side="before", successor="other") for at, story in enumerate(stories)
    ]
    assert [link.story for link in next(chains.rows(every, 8))] == [
        "switchover", "failback", "failover", "take-back", "failback", "switchover"
    ]  # fmt: skip
