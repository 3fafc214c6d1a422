"""What is said of a tick: every change once, every act, and nobody's trouble is anybody else's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from failoverd.core.memory import Phase
from failoverd.core.model import (
    AppDecision,
    Decision,
    FenceOff,
    Health,
    Instance,
    Note,
    Now,
    Objection,
    PatchOp,
    PatchWorkload,
    Receipt,
    Scan,
    Snapshot,
    Unknown,
    Verdict,
    Why,
)
from failoverd.core.rules import Site
from failoverd.ports import Voice
from failoverd.voice import Speaker
from tests.adapters.board import APP, AT, decision, snapshot

NOW = Now(timedelta(seconds=100), AT)
Lines = list[MutableMapping[str, Any]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    with capture_logs() as captured:
        yield captured


@pytest.fixture
def speaker(lines: Lines) -> Speaker:
    """A speaker that has said one tick already."""
    speaker = Speaker()
    speaker.say(calm(), snapshot(), NOW)
    lines.clear()
    return speaker


def calm(**changes: Any) -> Decision:
    return decision(**{"apps": {APP: AppDecision(phase=Phase.WATCHING)}} | changes)


def only_app(**changes: Any) -> Mapping[str, AppDecision]:
    return {APP: AppDecision(**{"phase": Phase.WATCHING} | changes)}


def objection(text: str, why: Why = Why.AGE_TOO_OLD) -> Objection:
    return Objection(why=why, text=text)


def test_it_is_the_voice_the_loop_asks_for() -> None:
    voice: Voice = Speaker()
    voice.say(calm(), snapshot(), NOW)


def test_an_unchanged_tick_says_nothing(speaker: Speaker, lines: Lines) -> None:
    for _ in range(5):
        speaker.say(calm(), snapshot(), NOW)
    assert lines == []


def test_the_first_tick_says_where_everything_stands(lines: Lines) -> None:
    Speaker().say(decision(), snapshot(), NOW)
    assert [line["event"] for line in lines] == [
        "leader",
        "verdict",
        "verdict",
        "phase",
        "objections",
        "alarms",
        "waiting",
    ]


def test_a_changed_phase_is_said_once(speaker: Speaker, lines: Lines) -> None:
    for _ in range(2):
        speaker.say(calm(apps=only_app(phase=Phase.FENCING)), snapshot(), NOW)
    assert [dict(line) for line in lines] == [
        {"event": "phase", "log_level": "info", "app": APP, "before": "watching", "after": "fencing"}
    ]


def test_objections_are_said_in_their_own_words_and_again_only_when_more_than_a_number_changed(
    speaker: Speaker, lines: Lines
) -> None:
    for age in range(340, 350):
        said = objection(f"data of config is {age} s old, the limit is 300 s")
        speaker.say(calm(apps=only_app(objections=(said,))), snapshot(), NOW)
    assert [line["objections"] for line in lines] == [["data of config is 340 s old, the limit is 300 s"]]
    more = (objection("data of config is 351 s old, the limit is 300 s"), objection("6 min left", Why.COOLDOWN))
    speaker.say(calm(apps=only_app(objections=more)), snapshot(), NOW)
    assert lines[1]["objections"] == [str(each) for each in more]
    speaker.say(calm(), snapshot(), NOW)
    assert [line["event"] for line in lines] == ["objections", "objections", "no objections"]


def test_another_name_in_the_same_words_is_news(speaker: Speaker, lines: Lines) -> None:
    for node in ("k3s-w1", "k3s-w2"):
        said = objection(f"{node} is not proven dead", Why.NOT_DEAD)
        speaker.say(calm(apps=only_app(objections=(said,))), snapshot(), NOW)
    assert [line["objections"] for line in lines] == [
        ["k3s-w1 is not proven dead"],
        ["k3s-w2 is not proven dead"],
    ]


def test_waiting_and_alarms_are_said_when_they_change(speaker: Speaker, lines: Lines) -> None:
    for left in (9, 8):
        speaker.say(calm(apps=only_app(waiting=f"the standby to fetch {left} items")), snapshot(), NOW)
    speaker.say(calm(apps=only_app(alarms=(objection("2 files cannot be read"),))), snapshot(), NOW)
    speaker.say(calm(), snapshot(), NOW)
    assert [line["event"] for line in lines] == ["waiting", "alarms", "no alarms"]
    assert lines[0]["text"] == "the standby to fetch 9 items"


def test_a_verdict_is_said_with_its_evidence_when_it_changes(speaker: Speaker, lines: Lines) -> None:
    for silent in range(61, 66):
        down = Verdict(
            health=Health.DOWN,
            proven=True,
            evidence=(f"guest stopped for {silent} s",),
            silent_for=timedelta(seconds=silent),
        )
        speaker.say(calm(verdicts={**calm().verdicts, "k3s-w1": down}), snapshot(), NOW)
    (line,) = lines
    assert (line["node"], line["before"], line["after"], line["proven"]) == ("k3s-w1", "UP", "DOWN", True)
    assert line["evidence"] == ["guest stopped for 61 s"]
    assert line["log_level"] == "warning"


def test_every_action_is_said_with_its_reason_until_it_is_under_way(speaker: Speaker, lines: Lines) -> None:
    fence = FenceOff(reason="it may still be writing", node="k3s-w1")
    ops = (PatchOp(op="test", path="/spec/replicas", value=1), PatchOp(op="replace", path="/spec/replicas", value=0))
    stop = PatchWorkload(reason="the app must stop", app=APP, ops=ops)
    speaker.say(calm(actions=(fence, stop)), snapshot(), NOW)
    speaker.say(calm(actions=(fence,)), snapshot(in_flight=frozenset({fence.key})), NOW)
    assert [dict(line) for line in lines] == [
        {
            "event": "action",
            "log_level": "info",
            "act": "fence off",
            "node": "k3s-w1",
            "because": "it may still be writing",
        },
        {
            "event": "action",
            "log_level": "info",
            "act": "patch workload",
            "app": APP,
            "ops": ["test /spec/replicas", "replace /spec/replicas"],
            "because": "the app must stop",
        },
    ]


def test_every_receipt_is_said_and_a_failed_one_is_a_warning(speaker: Speaker, lines: Lines) -> None:
    fence = FenceOff(reason="it may still be writing", node="k3s-w1")
    for receipt in (Receipt(action=fence, ok=False, detail="403"), Receipt(action=fence, ok=True, detail="off")):
        speaker.say(calm(), snapshot(receipts=(receipt,)), NOW)
    assert [(line["event"], line["ok"], line["detail"], line["log_level"]) for line in lines] == [
        ("receipt", False, "403", "warning"),
        ("receipt", True, "off", "info"),
    ]


def test_the_scans_of_a_quiet_day_are_heard_only_when_they_begin_to_fail(speaker: Speaker, lines: Lines) -> None:
    scan = Scan(reason="data age", app=APP, volume="config", site=Site.BACKUP)
    for number in range(6):
        failing = 2 <= number < 4
        receipt = Receipt(action=scan, ok=not failing, detail=f"timeout after {number} s" if failing else "")
        speaker.say(calm(actions=(scan,)), snapshot(receipts=(receipt,)), NOW)
    heard = [(line["event"], line["ok"]) for line in lines if line["log_level"] != "debug"]
    assert heard == [("receipt", False), ("receipt", True)]


def test_scans_during_a_move_are_heard(speaker: Speaker, lines: Lines) -> None:
    scan = Scan(reason="barrier", app=APP, volume="config", site=Site.BACKUP)
    speaker.say(calm(apps=only_app(phase=Phase.BARRIER), actions=(scan,)), snapshot(), NOW)
    assert [(line["event"], line["log_level"]) for line in lines] == [("phase", "info"), ("action", "info")]


def test_losing_the_api_server_or_the_lead_is_said_once(speaker: Speaker, lines: Lines) -> None:
    lost = snapshot(api=Unknown("timeout after 5 s"), instance=Instance(leader=False, holder="pve-1"))
    for tick in (lost, lost, snapshot()):
        speaker.say(calm(), tick, NOW)
    assert [line["event"] for line in lines] == [
        "not leader",
        "API server unreachable",
        "leader",
        "API server answers again",
    ]


def test_a_note_goes_to_the_log_the_chat_the_events_and_the_board(lines: Lines) -> None:
    chat: list[tuple[Note, datetime]] = []
    events: list[tuple[Note, datetime]] = []
    shown: list[tuple[Decision, Snapshot, Now]] = []
    speaker = Speaker(
        chat=lambda note, at: chat.append((note, at)),
        events=lambda note, at: events.append((note, at)),
        show=lambda *tick: shown.append(tick),
    )
    notes = (Note(incident="i", text="moving", level="warning"), Note(incident="i", text="done", resolved=True))
    tick = calm(notes=notes)
    seen = snapshot()
    speaker.say(tick, seen, NOW)
    assert chat == [(notes[0], AT), (notes[1], AT)]
    assert events == chat
    assert shown == [(tick, seen, NOW)]
    said = [(line["text"], line["log_level"], "resolved" in line) for line in lines if line["event"] == "note"]
    assert said == [("moving", "warning", False), ("done", "info", True)]


def test_a_listener_that_raises_is_reported_once_and_silences_nobody(lines: Lines) -> None:
    events: list[tuple[Note, datetime]] = []

    def raises(*_: object) -> None:
        raise RuntimeError("broken")

    speaker = Speaker(chat=raises, show=raises, events=lambda note, at: events.append((note, at)))
    note = Note(incident="i", text="moving")
    for _ in range(3):
        speaker.say(calm(notes=(note,)), snapshot(), NOW)
    failed = [line["listener"] for line in lines if line["event"] == "a listener failed"]
    assert failed == ["status page", "chat"]
    assert events == [(note, AT)] * 3
    assert len([line for line in lines if line["event"] == "note"]) == 3


def test_a_resolved_doubt_of_a_node_is_news(speaker: Speaker, lines: Lines) -> None:
    known = calm().verdicts
    sure = replace(known["k3s-w2"], unproven=())
    speaker.say(calm(verdicts={**known, "k3s-w2": sure}), snapshot(), NOW)
    assert [(line["event"], line["objections"]) for line in lines] == [("verdict", [])]
