"""The table of transitions is itself well formed, and every row is walked by a real decision somewhere."""

from collections import Counter

import pytest

from failoverd.core.machine import TRANSITIONS, Event, advance
from failoverd.core.memory import Phase
from failoverd.core.moves import STEPS

START = {Phase.ADOPTING}


def test_no_row_is_written_twice():
    counts = Counter((row.phase, row.event) for row in TRANSITIONS)
    assert {key for key, count in counts.items() if count > 1} == set()


def test_every_row_gives_a_reason():
    assert [row for row in TRANSITIONS if len(row.reason) < 15] == []


def test_every_phase_can_be_reached_from_the_first():
    reached = set(START)
    while True:
        more = {row.next for row in TRANSITIONS if row.phase in reached} - reached
        if not more:
            break
        reached |= more
    assert reached == set(Phase)


def test_every_phase_can_be_left_and_leads_back_to_rest():
    home = {Phase.WATCHING}
    while True:
        more = {row.phase for row in TRANSITIONS if row.next in home} - home
        if not more:
            break
        home |= more
    assert home == set(Phase)


def test_every_event_has_a_row():
    assert {row.event for row in TRANSITIONS} == set(Event)


def test_every_phase_of_a_move_has_a_step_and_no_other_has():
    resting = {Phase.ADOPTING, Phase.WATCHING, Phase.FROZEN, Phase.RELEASED}
    assert set(STEPS) == set(Phase) - resting


def test_the_target_sends_only_after_a_flip_and_only_two_events_allow_one():
    into = {(row.phase, row.event) for row in TRANSITIONS if row.next is Phase.FLIPPING}
    assert into == {(Phase.STOPPING, Event.STOPPED_UNPLANNED), (Phase.BARRIER, Event.EQUAL)}


def test_nothing_starts_at_the_target_but_after_the_flip():
    assert {row.phase for row in TRANSITIONS if row.next is Phase.STARTING} == {Phase.FLIPPING}


def test_after_a_flip_there_is_no_way_back_but_through_the_start():
    assert {row.next for row in TRANSITIONS if row.phase is Phase.FLIPPING} == {Phase.STARTING}


def test_only_an_operator_leaves_a_frozen_or_released_app():
    for phase in (Phase.FROZEN, Phase.RELEASED):
        assert {row.event for row in TRANSITIONS if row.phase is phase} <= {Event.RESUMED, Event.RELEASED}


@pytest.mark.parametrize("row", TRANSITIONS, ids=lambda row: f"{row.phase}-{row.event}")
def test_advance_walks_every_row(row):
    assert advance(row.phase, row.event) is row


def test_what_the_table_does_not_have_is_an_error():
    with pytest.raises(KeyError):
        advance(Phase.FROZEN, Event.LEAVE)
