"""What is asked of Syncthing, over real TLS on loopback: each act is read back, and refused where it could harm."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from failoverd.adapters import syncthing
from failoverd.adapters.syncthing import Direct, Syncthing, SyncthingError
from failoverd.core.model import Folder, Role
from tests.adapters.mover import FOLDER, Mover, nowhere, recorded, serving

T0 = timedelta(0)
AT = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
HEALTHY = "1.29.5/01_healthy/primary"
CONFIG = f"GET /rest/config/folders/{FOLDER}"


async def test_role_and_versioning_are_set_in_one_patch():
    mover = recorded(HEALTHY)
    async with serving(mover) as side:
        await side.set_type(Role.RECEIVE_ONLY, keep=True)
    patches = [body for call, _, body in mover.seen if call.startswith("PATCH")]
    assert patches == [
        {
            "type": "receiveonly",
            "versioning": {"type": "simple", "params": {"keep": "1000000", "cleanoutDays": "0"}},
        }
    ]


@pytest.mark.parametrize(("keep", "versioning"), [(None, None), (False, {"type": ""})])
async def test_versioning_is_left_alone_or_turned_off_as_asked(keep, versioning):
    mover = recorded(HEALTHY)
    async with serving(mover) as side:
        await side.set_type(Role.SEND_ONLY, keep=keep)
    patches = [body for call, _, body in mover.seen if call.startswith("PATCH")]
    assert [body.get("versioning") for body in patches] == [versioning]


async def test_a_role_that_did_not_take_is_an_error():
    mover = recorded(HEALTHY)
    mover.replies[f"PATCH /rest/config/folders/{FOLDER}"] = (202, "")  # answered well, changes nothing
    async with serving(mover) as side:
        with pytest.raises(SyncthingError, match="it was asked to be sendonly and is sendreceive"):
            await side.set_type(Role.SEND_ONLY)


async def test_ignore_patterns_are_replaced_and_read_back():
    mover = recorded(HEALTHY)
    async with serving(mover) as side:
        await side.set_ignores(("lost+found", "(?d)*-shm"))
        found = await side.read(T0)
    assert isinstance(found, Folder)
    assert found.ignores == ("lost+found", "(?d)*-shm")
    assert [body for call, _, body in mover.seen if call == "POST /rest/db/ignores"] == [
        {"ignore": ["lost+found", "(?d)*-shm"]}
    ]


async def test_a_scan_says_how_far_it_came():
    mover = recorded("1.29.5/40_source_unreadable_file/primary")
    async with serving(mover) as side:
        found = await side.scan(AT)
    assert (found.at, found.sequence, found.errors) == (AT, 4, 2)
    assert found.error_files == ("lockeddir", "secret.xml")
    assert found.started == mover.replies["GET /rest/system/status"][1]["startTime"]
    assert found.device == mover.replies["GET /rest/system/status"][1]["myID"]
    assert found.changing == ()
    listed = next(reply for call, reply in mover.replies.items() if call.startswith("GET /rest/folder/errors"))[1]
    listed["errors"][0]["error"] = "hashing: file changed during hashing"
    async with serving(mover) as side:
        assert (await side.scan(AT)).changing == (listed["errors"][0]["path"],)


async def test_a_scan_across_a_restart_says_nothing():
    mover = recorded(HEALTHY)
    status = mover.replies["GET /rest/system/status"][1]

    class Restarting(Mover):
        async def handle(self, request):
            if request.path.endswith("/rest/db/scan"):
                status["startTime"] = "2026-11-23T09:00:00Z"
            return await super().handle(request)

    async with serving(Restarting(replies=mover.replies)) as side:
        with pytest.raises(SyncthingError, match="restarted during the scan"):
            await side.scan(AT)


async def test_a_scan_of_a_broken_folder_fails():
    mover = recorded("1.29.5/13_backup_marker_missing/backup")
    mover.replies["POST /rest/db/scan"] = (500, "folder marker missing")
    async with serving(mover) as side:
        with pytest.raises(SyncthingError, match="db/scan: 500 folder marker missing"):
            await side.scan(AT)


@pytest.mark.parametrize(
    ("situation", "text"),
    [
        (HEALTHY, "refused: the folder is sendreceive, not sendonly"),
        ("1.29.5/11_backup_receiveonly_localchange/backup", "refused: the folder is receiveonly"),
    ],
)
async def test_override_is_refused_where_the_folder_is_not_sendonly(situation, text):
    mover = recorded(situation)
    async with serving(mover) as side:
        with pytest.raises(SyncthingError, match=text):
            await side.override()
    assert mover.calls("POST /rest/db/override") == 0


@pytest.mark.parametrize(("field", "value"), [("localFiles", 0), ("error", "folder marker missing")])
async def test_override_is_refused_where_it_would_empty_the_peer(field, value):
    mover = recorded("1.29.5/12_backup_sendonly_outofsync/backup")
    mover.status[field] = value
    async with serving(mover) as side:
        with pytest.raises(SyncthingError, match="override: refused"):
            await side.override()
    assert mover.calls("POST /rest/db/override") == 0


async def test_override_and_revert_are_posted_for_our_folder():
    mover = recorded("1.29.5/12_backup_sendonly_outofsync/backup")
    async with serving(mover) as side:
        await side.override()
        await side.set_type(Role.RECEIVE_ONLY)
        await side.revert()
    posts = [(call, query) for call, query, _ in mover.seen if call.startswith("POST")]
    assert posts == [
        ("POST /rest/db/override", {"folder": FOLDER}),
        ("POST /rest/db/revert", {"folder": FOLDER}),
    ]


async def test_revert_is_refused_on_a_side_that_may_be_the_live_one():
    mover = recorded("1.29.5/12_backup_sendonly_outofsync/backup")
    async with serving(mover) as side:
        with pytest.raises(SyncthingError, match="the folder is sendonly, not receiveonly"):
            await side.revert()
    assert mover.calls("POST /rest/db/revert") == 0


class Restartable(Mover):
    """A mover whose process ends when it is asked to, answers nothing for a while, and begins anew."""

    away = 2
    back = "2026-11-26T12:12:30Z"

    async def handle(self, request):
        answer = await super().handle(request)
        if request.path.endswith("/rest/system/restart"):
            self.cut = self.away
            self.replies["GET /rest/system/status"][1]["startTime"] = self.back
        return answer


def restartable():
    mover = Restartable(replies=recorded(HEALTHY).replies)
    mover.replies["POST /rest/system/restart"] = (200, {"ok": "restarting"})
    return mover, mover.replies["GET /rest/system/status"][1]["startTime"]


async def test_a_restart_is_asked_for_once_and_read_back_though_the_process_is_away_meanwhile():
    mover, started = restartable()
    async with serving(mover) as side:
        assert await side.drop_connection(started) == "restarted, read back"
    assert mover.calls("POST /rest/system/restart") == 1


async def test_a_process_that_began_at_another_time_is_not_restarted():
    mover, started = restartable()
    async with serving(mover) as side:
        await side.drop_connection(started)
        assert await side.drop_connection(started) == "restarted already"
    assert mover.calls("POST /rest/system/restart") == 1


async def test_a_restart_that_nothing_came_of_is_an_error(monkeypatch):
    monkeypatch.setattr(syncthing, "RESTART_TIMEOUT", timedelta(seconds=0.5))
    mover, started = restartable()
    mover.back = started
    async with serving(mover) as side:
        with pytest.raises(SyncthingError, match="asked to, and no other process was seen within 0"):
            await side.drop_connection(started)


async def test_what_was_read_before_a_restart_counts_no_more():
    mover, started = restartable()
    async with serving(mover) as side:
        await side.read(T0)
        await side.drop_connection(started)
        links = mover.replies["GET /rest/system/connections"][1]["connections"]
        for one in links.values():
            one["connected"] = False
        found = await side.read(timedelta(seconds=2))
    assert isinstance(found, Folder)
    assert not found.connected


async def test_what_versioning_kept_is_listed():
    mover = recorded(HEALTHY)
    mover.replies["GET /rest/folder/versions"] = (200, {
        "b.txt": [{"versionTime": "2026-11-23T08:00:00Z", "modTime": "x", "size": 3}], "a": [],
    })  # fmt: skip
    async with serving(mover) as side:
        kept = await side.versions()
    assert [(one.path, one.size) for one in kept] == [("b.txt", 3)]


async def test_an_act_on_a_dead_mover_fails_with_the_side_in_its_text():
    with pytest.raises(SyncthingError, match="Syncthing of media/sonarr data at backup: set to sendonly: "):
        await Syncthing("media/sonarr data at backup", Direct(nowhere)).set_type(Role.SEND_ONLY)


def test_the_key_is_never_shown():
    assert recorded(HEALTHY).access().api_key not in repr(recorded(HEALTHY).access())


async def test_a_list_is_none_where_versioning_is_off_and_never_an_empty_one():
    mover = recorded(HEALTHY)
    mover.replies["GET /rest/folder/versions"] = (500, "no versioner")
    async with serving(mover) as side:
        assert await side.listed() is None
        mover.config["versioning"] = {"type": "simple"}
        with pytest.raises(SyncthingError, match="list versions: folder/versions: 500 no versioner"):
            await side.listed()
        mover.replies["GET /rest/folder/versions"] = (200, {})
        assert await side.listed() == ()
