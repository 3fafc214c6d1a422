"""What the act that ends a take-back says of the versions it leaves behind, and keeps for whoever asks later; and
what a fetch of some of them says of how it ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from failoverd import execute
from failoverd.adapters.syncthing import Kept
from failoverd.core.model import Displaced, FetchVersions, Role, SetRole
from failoverd.core.stock import Count, Lying
from failoverd.hands import Half
from tests.test_execute import AT, SIDE, VERSION, Fake, executor


async def test_what_a_take_back_displaced_is_listed_newest_first_before_versioning_ends():
    kept = [Kept(path=f"f{number:02d}", at=f"2026-11-23T08:00:{number:02d}Z", size=100) for number in range(12)]
    act = SetRole(role=Role.RECEIVE_ONLY, keep=False, **SIDE)
    receipt = await executor(Fake(kept=tuple(kept))).execute(act)
    names = tuple(f"f{number:02d}" for number in range(11, 1, -1))
    assert receipt.displaced == Displaced(files=12, size=1200, names=names)
    told = f"receiveonly, read back; kept in .stversions: 12 files, 1200 bytes: {', '.join(names)}, …"
    assert receipt.detail == told


async def test_what_lay_there_before_a_move_is_not_counted_to_it():
    kept = [
        Kept(path="old", at="2026-11-23T08:00:00Z", size=1000),
        Kept(path="old", at="2026-11-23T08:59:59Z", size=500),
        Kept(path="new", at="2026-11-23T10:00:00+01:00", size=7),
    ]
    since = datetime(2026, 11, 23, 9, 0, 0, 800_000, tzinfo=UTC)  # Syncthing knows seconds
    act = SetRole(role=Role.RECEIVE_ONLY, keep=False, move="m", since=since, **SIDE)
    receipt = await executor(Fake(kept=tuple(kept))).execute(act)
    found = Displaced(files=3, size=1507, names=("new",), older_files=2, older_size=1500)
    assert receipt.displaced == found
    assert str(found) == "1 file, 7 bytes: new; of before: 2 files, 1500 bytes"


async def test_the_list_of_what_a_take_back_displaced_is_kept_whole_for_whoever_asks_later():
    kept = [Kept(path=f"a b/f{number:02d}", at=f"2026-11-23T08:00:{number:02d}Z", size=100) for number in range(12)]
    fake = Fake(kept=tuple(kept))
    await executor(fake).execute(SetRole(role=Role.RECEIVE_ONLY, keep=False, **SIDE))
    ((namespace, claim, stock),) = fake.lists
    assert (namespace, claim, stock.at) == ("media", "pvc-sonarr", AT)
    assert stock.counts == (Count(kind=Lying.VERSION, files=12, size=1200),)
    assert [one.path for one in stock.newest] == [f"a%20b/f{number:02d}" for number in range(11, -1, -1)]
    await executor(fake).execute(SetRole(role=Role.RECEIVE_ONLY, keep=True, **SIDE))
    assert len(fake.lists) == 1  # only where versioning ends


@pytest.mark.parametrize(
    ("fake", "at", "why"),
    [
        (Fake(no_list="403 forbidden"), AT, "RuntimeError: 403 forbidden"),
        (Fake(), None, "the API server's time is not known yet"),
        (Fake(kept=(Kept(path="a", at="yesterday", size=1),)), AT, "Invalid isoformat string: 'yesterday'"),
    ],
)
async def test_a_list_that_cannot_be_kept_is_said_and_keeps_no_take_back_from_ending(fake, at, why):
    receipt = await executor(fake, api_now=at).execute(SetRole(role=Role.RECEIVE_ONLY, keep=False, **SIDE))
    assert (receipt.ok, fake.done) == (True, [("role", "receiveonly", False)])
    assert receipt.displaced is not None
    assert "their list could not be kept: " in receipt.detail
    assert why in receipt.detail


async def test_a_list_that_cannot_be_had_keeps_no_take_back_from_ending():
    fake = Fake(kept=None)
    receipt = await executor(fake).execute(SetRole(role=Role.RECEIVE_ONLY, keep=False, **SIDE))
    assert (receipt.ok, receipt.displaced, fake.done) == (True, None, [("role", "receiveonly", False)])
    assert "could not be listed: RuntimeError: versioning is off" in receipt.detail


FETCH = FetchVersions(files=(VERSION,), **SIDE)


@pytest.mark.parametrize(
    ("fake", "before", "after"),
    [
        (Fake(), True, False),
        (Fake(errors=[Half("a part of it may be there")]), False, True),
        (Fake(errors=[RuntimeError("nothing was changed")]), True, False),
        (Fake(leads=False), False, False),  # not asked for at all: it is as it was
        (Fake(leads=False), True, True),
        (Fake(hang=True), False, True),
    ],
)
async def test_a_receipt_says_whether_a_part_of_what_was_to_be_fetched_may_be_there(fake, before, after, monkeypatch):
    monkeypatch.setattr(execute, "LONGEST", timedelta(seconds=0.2))
    receipt = await executor(fake).execute(replace(FETCH, unsure=before))
    assert receipt.unsure is after


async def test_whoever_fetches_may_look_at_the_lease_once_more_right_before():
    fake = Fake()
    await executor(fake).execute(replace(FETCH, unsure=True))
    assert fake.done == [("fetch", (VERSION,), True, True)]
