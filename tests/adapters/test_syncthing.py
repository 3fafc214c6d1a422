"""The Syncthing adapter against recorded answers of 1.19.2 and 1.29.5, over real TLS on loopback."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from failoverd.adapters import syncthing
from failoverd.adapters.syncthing import Direct, Syncthing
from failoverd.core.model import Folder, Role, Unknown
from tests.adapters.mover import DATA, FOLDER, SAMPLES, Mover, nowhere, recorded, serving

T0 = timedelta(0)
AT = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
HEALTHY = "1.29.5/01_healthy/primary"
CONFIG = f"GET /rest/config/folders/{FOLDER}"


async def reading(mover: Mover) -> Folder | Unknown:
    async with serving(mover) as side:
        return await side.read(T0)


async def folder(mover: Mover) -> Folder:
    found = await reading(mover)
    assert isinstance(found, Folder), found
    return found


async def why(mover: Mover) -> str:
    found = await reading(mover)
    assert isinstance(found, Unknown), found
    return found.why


# (situation, type, state, sequence, remote sequence, connected, errors, needs, receive-only, files)
SITUATIONS = [
    ("1.19.2/01_healthy/backup", "sendreceive", "idle", 3, None, True, 0, (0, 0), 0, 2),
    ("1.19.2/01_healthy/primary", "sendreceive", "idle", 3, None, True, 0, (0, 0), 0, 2),
    ("1.29.5/01_healthy/backup", "sendreceive", "idle", 3, 3, True, 0, (0, 0), 0, 2),
    ("1.29.5/01_healthy/primary", "sendreceive", "idle", 3, 3, True, 0, (0, 0), 0, 2),
    ("1.29.5/02_lagging/backup", "sendreceive", "syncing", 10, 11, True, 0, (1, 248829487), 0, 7),
    ("1.29.5/02_lagging/primary", "sendreceive", "idle", 11, 10, True, 0, (0, 0), 0, 8),
    ("1.29.5/03_primary_sigkilled_midtransfer/backup", "sendreceive", "idle", 10, 11, False, 1,
     (1, 314572800), 0, 7),
    ("1.29.5/04_backup_promoted_primary_dead/backup", "sendreceive", "idle", 13, 11, False, 1,
     (1, 314572800), 0, 8),
    ("1.29.5/05_recovered_with_conflicts/backup", "sendreceive", "idle", 17, 17, True, 0, (0, 0), 0, 11),
    ("1.29.5/05_recovered_with_conflicts/primary", "sendreceive", "idle", 17, 17, True, 0, (0, 0), 0, 11),
    ("1.29.5/06_backup_sigkilled/primary", "sendreceive", "idle", 17, 17, False, 0, (0, 0), 0, 11),
    ("1.29.5/07_backup_dead_primary_writes/primary", "sendreceive", "idle", 18, 17, False, 0,
     (0, 0), 0, 12),
    ("1.29.5/08_primary_restarted_backup_still_dead/primary", "sendreceive", "idle", 18, 17, False, 0,
     (0, 0), 0, 12),
    ("1.29.5/09_folder_paused_on_backup/primary", "sendreceive", "idle", 18, 18, True, 0, (0, 0), 0, 12),
    ("1.29.5/10_device_paused_on_primary/backup", "sendreceive", "idle", 18, 18, False, 0, (0, 0), 0, 12),
    ("1.29.5/10_device_paused_on_primary/primary", "sendreceive", "idle", 18, 18, False, 0, (0, 0), 0, 12),
    ("1.29.5/11_backup_receiveonly_localchange/backup", "receiveonly", "idle", 19, 18, True, 0,
     (0, 0), 1, 13),
    ("1.29.5/11_backup_receiveonly_localchange/primary", "sendreceive", "idle", 18, 19, True, 0,
     (0, 0), 0, 12),
    ("1.29.5/12_backup_sendonly_outofsync/backup", "sendonly", "idle", 20, 19, True, 0, (1, 1), 0, 12),
    ("1.29.5/12_backup_sendonly_outofsync/primary", "sendreceive", "idle", 19, 20, True, 0, (0, 0), 0, 13),
    ("1.29.5/13_backup_marker_missing/backup", "sendreceive", "error", 21, 20, True, 0, (0, 0), 0, 12),
    ("1.29.5/13_backup_marker_missing/primary", "sendreceive", "idle", 20, 21, True, 0, (0, 0), 0, 12),
    ("1.29.5/20_sigstop_idle_60s_in/primary", "sendreceive", "idle", 1, 1, True, 0, (0, 0), 0, 1),
    ("1.29.5/20_sigstop_writing_60s_in/primary", "sendreceive", "idle", 7, 1, True, 0, (0, 0), 0, 7),
    ("1.29.5/21_sigstop_idle_after_timeout/primary", "sendreceive", "idle", 1, 1, False, 0, (0, 0), 0, 1),
    ("1.29.5/21_sigstop_writing_after_timeout/primary", "sendreceive", "idle", 46, 1, False, 0,
     (0, 0), 0, 46),
    ("1.29.5/30_none_old_primary_returned/backup", "sendreceive", "idle", 19, 115, True, 0, (0, 0), 0, 11),
    ("1.29.5/30_none_old_primary_returned/primary", "sendreceive", "idle", 115, 19, True, 0,
     (0, 0), 0, 11),
    ("1.29.5/30_pause_old_primary_returned/backup", "sendreceive", "idle", 12, 99, False, 0,
     (0, 0), 0, 7),
    ("1.29.5/30_pause_old_primary_returned/primary", "sendreceive", "idle", 106, 7, False, 0,
     (0, 0), 0, 6),
    ("1.29.5/30_roles_old_primary_returned/backup", "sendonly", "idle", 12, 14, True, 0, (3, 19), 0, 7),
    ("1.29.5/30_roles_old_primary_returned/primary", "sendonly", "idle", 14, 12, True, 0,
     (5, 4713989), 0, 6),
    ("1.29.5/40_source_unreadable_file/primary", "sendreceive", "idle", 4, 4, True, 2, (0, 0), 0, 2),
    ("1.29.5/41_target_unwritable_dir/backup", "sendreceive", "idle", 4, 5, True, 1, (1, 1), 0, 2),
    ("1.29.5/41_target_unwritable_dir/primary", "sendreceive", "idle", 5, 4, True, 2, (0, 0), 0, 3),
]  # fmt: skip


@pytest.mark.parametrize("row", SITUATIONS, ids=lambda row: row[0])
async def test_every_recorded_situation_reads_as_what_it_was(row):
    situation, type_, state, sequence, remote, connected, errors, needs, receive_only, files = row
    found = await folder(recorded(situation))
    assert found.type == type_
    assert (found.state, found.sequence, found.remote_sequence) == (state, sequence, remote)
    assert (found.connected, found.errors, found.receive_only) == (connected, errors, receive_only)
    assert (found.need_items, found.need_bytes) == needs
    assert found.local_files == files
    assert found.ignores == ("lost+found",)
    assert found.versioning == ""


def test_no_recorded_situation_is_left_out():
    listed = {row[0] for row in SITUATIONS} | {"1.29.5/09_folder_paused_on_backup/backup"}
    assert {str(path.relative_to(SAMPLES)) for path in SAMPLES.glob("*/*/*")} == listed


async def test_a_paused_folder_is_unknown_although_its_zeros_look_healthy():
    text = await why(recorded("1.29.5/09_folder_paused_on_backup/backup"))
    assert text == (
        "Syncthing of media/sonarr data at primary: "
        "the folder is paused, so its zeros mean nothing: unpause it in Syncthing"
    )


async def test_a_folder_without_state_is_unknown():
    mover = recorded(HEALTHY)
    mover.status["state"] = ""
    assert "has no state" in await why(mover)


async def test_a_missing_marker_is_a_folder_in_error_not_a_healthy_one():
    found = await folder(recorded("1.29.5/13_backup_marker_missing/backup"))
    assert found.error.startswith("folder marker missing")
    assert not found.idle


async def test_errors_come_with_the_names_of_the_files():
    found = await folder(recorded("1.29.5/40_source_unreadable_file/primary"))
    assert (found.errors, found.error_files) == (2, ("lockeddir", "secret.xml"))


async def test_folder_errors_are_only_asked_for_when_there_are_any():
    mover = recorded(HEALTHY)
    await folder(mover)
    assert mover.calls("GET /rest/folder/errors") == 0


REQUIRED = [
    ("GET /rest/system/status", "myID"), ("GET /rest/system/status", "startTime"),
    (CONFIG, "type"), (CONFIG, "paused"), (CONFIG, "devices"), (CONFIG, "versioning"),
    ("GET /rest/db/status", "state"), ("GET /rest/db/status", "sequence"), ("GET /rest/db/status", "errors"),
    ("GET /rest/db/status", "needTotalItems"),
    ("GET /rest/db/status", "needBytes"), ("GET /rest/db/status", "localFiles"),
    ("GET /rest/system/connections", "connections"), ("GET /rest/db/ignores", "ignore"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "field"), REQUIRED)
async def test_a_missing_field_is_unknown_and_named(call, field):
    mover = recorded(HEALTHY)
    del mover.replies[call][1][field]
    text = await why(mover)
    assert f"field '{field}' is missing" in text
    assert call.removeprefix("GET /rest/").replace(f"/{FOLDER}", "") in text
    assert "media/sonarr data at primary" in text


@pytest.mark.parametrize(("call", "field"), REQUIRED)
@pytest.mark.parametrize("value", [True, "3", -1, 1.5, {"a": []}, ["x", 1], "\x00"])
async def test_a_field_of_another_shape_never_raises_and_never_lies(call, field, value):
    mover = recorded(HEALTHY)
    right = mover.replies[call][1][field]
    mover.replies[call][1][field] = value
    found = await reading(mover)
    if isinstance(found, Folder):
        assert isinstance(right, type(value))  # another value of the right type is another fact
    else:
        assert "media/sonarr data at primary" in found.why


@pytest.mark.parametrize("body", ["", "null", "[]", "{", "<html>busy</html>", '"idle"', "[" * 100_000])
async def test_garbage_is_unknown(body):
    mover = recorded(HEALTHY)
    mover.replies["GET /rest/db/status"] = (200, body)
    assert "db/status: the answer is not" in await why(mover)


async def test_a_missing_folder_is_unknown_by_name():
    mover = recorded(HEALTHY)
    mover.replies[CONFIG] = (404, "No folder with given ID\n")
    assert "folder 'syncthing-folder-id' is not to be had (404 No folder with given ID)" in await why(mover)


async def test_a_wrong_key_is_unknown_and_says_so():
    mover = recorded(HEALTHY)
    mover.key = "another"
    assert "the API key from its Secret is refused (403 CSRF Error)" in await why(mover)


async def test_a_wrong_certificate_is_unknown_and_no_key_is_sent():
    mover = recorded(HEALTHY)
    async with serving(mover, certificate="stranger") as side:
        found = await side.read(T0)
    assert isinstance(found, Unknown)
    assert "its certificate is not the one in its Secret" in found.why
    assert mover.seen == []


async def test_another_name_in_the_certificate_is_refused():
    mover = recorded(HEALTHY)
    async with serving(mover):
        access = mover.access()

        async def source() -> syncthing.Access:
            return syncthing.Access(
                service="volsync-radarr-primary-api", namespace="media", api_key=access.api_key,
                certificate=access.certificate, address=access.address, port=access.port,
            )  # fmt: skip

        side = Syncthing("media/radarr data at primary", Direct(source))
        found = await side.read(T0)
        await side.close()
    assert isinstance(found, Unknown)
    assert "its certificate is not the one in its Secret" in found.why


async def test_a_broken_certificate_in_the_secret_is_unknown():
    async def source() -> syncthing.Access:
        return syncthing.Access(service="s", namespace="n", api_key="k", certificate="garbage", address="127.0.0.1")

    found = await Syncthing("x", Direct(source)).read(T0)
    assert isinstance(found, Unknown)
    assert "httpsCertPEM is no certificate" in found.why


async def test_a_secret_that_cannot_be_read_is_unknown():
    found = await Syncthing("media/sonarr data at backup", Direct(nowhere)).read(T0)
    assert isinstance(found, Unknown)
    assert "Secret media/volsync-sonarr-primary: 403 forbidden" in found.why


async def test_a_hanging_mover_is_unknown_in_time():
    mover = recorded(HEALTHY)
    mover.hang.add("GET /rest/db/status")
    began = time.monotonic()
    assert "db/status: no answer within 2 s" in await why(mover)
    assert time.monotonic() - began < 4


async def test_a_closed_port_is_unknown():
    mover = recorded(HEALTHY)
    async with serving(mover) as side:
        assert isinstance(await side.read(T0), Folder)
        mover.port = 1
        await side.close()
        again = Syncthing("media/sonarr data at primary", Direct(lambda: asyncio.sleep(0, mover.access())))
        found = await again.read(T0)
    assert isinstance(found, Unknown)
    assert "cannot connect to 127.0.0.1:1" in found.why


async def test_one_lost_connection_is_tried_again_and_two_are_unknown():
    mover = recorded(HEALTHY)
    mover.cut = 1
    assert isinstance(await reading(mover), Folder)
    mover.cut = 2
    assert "connection lost" in await why(mover)


async def test_a_new_secret_is_found_after_a_refusal():
    mover = recorded(HEALTHY)
    keys = ["old key", mover.key]
    reads = []
    async with serving(mover):

        async def source() -> syncthing.Access:
            access = mover.access()
            reads.append(keys[0])
            return syncthing.Access(
                service=access.service, namespace=access.namespace, api_key=keys.pop(0) if keys else "",
                certificate=access.certificate, address=access.address, port=access.port,
            )  # fmt: skip

        side = Syncthing("media/sonarr data at primary", Direct(source))
        assert isinstance(await side.read(T0), Unknown)
        assert isinstance(await side.read(T0), Folder)
        await side.close()
    assert len(reads) == 2


async def test_a_dead_mover_does_not_make_us_read_its_secret_every_time():
    reads = []

    async def source() -> syncthing.Access:
        reads.append(1)
        pem = (DATA / "tls" / "mover.pem").read_text()
        return syncthing.Access(service="s", namespace="n", api_key="k", certificate=pem, address="127.0.0.1", port=1)

    side = Syncthing("x", Direct(source))
    for _ in range(30):
        assert isinstance(await side.read(T0), Unknown)
    assert 2 <= len(reads) <= 4


async def test_rare_readings_are_repeated_late_or_after_a_restart_or_a_write():
    mover = recorded(HEALTHY)
    ignores = "GET /rest/db/ignores"
    async with serving(mover) as side:
        await side.read(T0)
        await side.read(timedelta(seconds=2))
        assert (mover.calls(ignores), mover.calls(CONFIG)) == (1, 2)
        await side.read(timedelta(seconds=10))
        assert mover.calls(ignores) == 2
        mover.replies["GET /rest/system/status"][1]["startTime"] = "2026-11-23T09:00:00Z"
        await side.read(timedelta(seconds=12))
        assert mover.calls(ignores) == 3
        await side.set_type(Role.SEND_ONLY)
        found = await side.read(timedelta(seconds=14))
        assert mover.calls(ignores) == 4
    assert isinstance(found, Folder)
    assert found.type == "sendonly"


async def test_a_side_whose_peer_is_not_there_yet_can_still_be_read_and_set():
    mover = recorded(HEALTHY)
    mover.config["devices"] = []
    found = await folder(mover)
    assert (found.type, found.connected, found.remote_sequence) == ("sendreceive", False, None)


@pytest.mark.parametrize(("side", "paused"), [("primary", True), ("backup", False)])
async def test_a_peer_that_was_paused_is_seen_where_that_was_done(side, paused):
    assert (await folder(recorded(f"1.29.5/10_device_paused_on_primary/{side}"))).peer_paused is paused


async def test_a_third_device_is_unknown_because_no_role_binds_it():
    mover = recorded(HEALTHY)
    mover.config["devices"].append({"deviceID": "THIRD"})
    assert "shared with 2 other devices" in await why(mover)


class Seeker:
    """Finds no module, and remembers which were looked for."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        self.names.append(name)


async def test_a_request_looks_for_no_module_that_is_missing(monkeypatch):
    seeker = Seeker()
    async with serving(recorded(HEALTHY)) as side:
        await side.read(T0)
        monkeypatch.setattr(sys, "meta_path", [seeker, *sys.meta_path])
        await side.read(T0 + timedelta(minutes=1))
    assert seeker.names == []
