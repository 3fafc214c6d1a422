"""What people were told of is brought to an end by whoever leads then."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from failoverd.adapters.kubernetes.memory import decode, encode
from failoverd.core.memory import Alarm, AppMemory, Memory, Phase
from failoverd.core.model import Instance, Note, Why
from tests.core.build import KEY, W1, P
from tests.core.life import Life, healthy

HOLD, NODE = f"hold {KEY}", f"node {W1}"
FOLLOWER = Instance(leader=False, holder="another")


def notes(life: Life, seconds: float) -> list[Note]:
    heard: list[Note] = []
    until = life.world.s + seconds
    while life.world.s < until:
        heard += life.tick().notes
    return heard


def held() -> Life:
    """A dead node whose app may not move: both incidents are open."""
    life = healthy(fence="")
    life.world.off.add(W1)
    assert {note.incident for note in notes(life, 120)} == {HOLD, NODE}
    assert set(life.memory.incidents) == {HOLD, NODE}
    return life


def test_a_restart_ends_nothing_early_and_everything_once() -> None:
    life = held()
    life.restart()
    again = notes(life, 90)
    assert not [note for note in again if note.resolved]
    life.restart()
    life.world.off.clear()
    ended = [note for note in notes(life, 60) if note.resolved]
    assert sorted(note.incident for note in ended) == [HOLD, NODE]
    assert {note.level for note in ended} == {"warning"}  # a channel for warnings heard the beginning
    assert life.memory.incidents == ()
    assert not [note for note in notes(life, 60) if note.incident in (HOLD, NODE)]


def test_a_new_leader_ends_what_the_old_one_began_and_the_old_one_keeps_quiet() -> None:
    old = held()
    new = Life(old.world, memory=old.memory)
    old.leader, old.snapshot = False, {"instance": FOLLOWER}
    old.world.off.clear()
    assert [note for note in notes(old, 60) if note.resolved] == []
    assert old.watch.said == {}
    assert sorted(note.incident for note in notes(new, 60) if note.resolved) == [HOLD, NODE]


def test_a_hold_ends_with_the_move_and_what_is_not_configured_any_more_at_once() -> None:
    life = held()
    life.memory = replace(life.memory, incidents=(*life.memory.incidents, "hold media/gone", "node w9"))
    life.restart()
    assert sorted(note.incident for note in life.tick().notes if note.resolved) == ["hold media/gone", "node w9"]
    was = life.app()
    moved = replace(was, phase=Phase.RELEASED)
    life.memory = replace(life.memory, apps={KEY: moved})
    life.restart()
    assert [note.incident for note in life.tick().notes if note.resolved] == [HOLD]


def test_who_lost_the_lead_still_says_that_the_api_server_answers() -> None:
    life = healthy()
    life.world.api = False
    assert "api server" in {note.incident for note in notes(life, 40)}
    life.world.api = True
    life.leader, life.snapshot = False, {"instance": FOLLOWER}
    assert [(note.incident, note.resolved) for note in notes(life, 10)] == [("api server", True)]


def test_an_unreachable_api_server_is_said_although_nothing_can_be_remembered() -> None:
    life = healthy()
    before = life.memory
    life.world.api = False
    assert notes(life, 40)
    assert life.memory == before


def test_an_acknowledgement_of_a_version_that_kept_no_names_is_read() -> None:
    at = datetime(2026, 1, 5, tzinfo=UTC)
    one = Alarm(why=Why.IGNORES, volume="data", text="t", seen_at=at, acknowledged_at=at)
    app = AppMemory(phase=Phase.WATCHING, active=P, epoch=0, volumes={}, alarms=(one,))
    older = encode(Memory(apps={KEY: app}))
    assert '"acknowledged_at":"2026' in older
    assert "acknowledged_by" not in older  # so that version reads ours, too
    assert "acknowledged_why" not in older
    assert decode(older, "here") == Memory(apps={KEY: app})
    named = Memory(apps={KEY: replace(app, alarms=(replace(one, acknowledged_by="anna"),))})
    assert decode(encode(named), "here") == named


def test_memory_of_a_version_without_incidents_is_read() -> None:
    text = encode(Memory(incidents=("node w1",)))
    assert decode(text, "here") == Memory(incidents=("node w1",))
    older = text.replace(',"incidents":["node w1"]', "")
    assert older != text
    assert decode(older, "here") == Memory()


def test_incidents_cost_one_write_when_they_begin_and_one_when_they_end() -> None:
    life = held()
    before = life.saves
    quiet = life.world.rules.timings.save_proofs_every
    notes(life, 60)
    assert life.saves - before <= timedelta(seconds=60) / quiet + 1
