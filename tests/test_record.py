"""Recording: exact, packed, without secrets, and never in the loop's way."""

from __future__ import annotations

import gzip
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from failoverd.config import ConfigError, load
from failoverd.core.model import Unknown, Watch
from failoverd.daemon import _recorder, _secrets
from failoverd.record import Recorder, Seen, Writer
from failoverd.recording import BadRecording, Recording, Tick
from tests.core.build import World, some_rules
from tests.recorded import folder, record

CONFIG = """\
[sites.primary]
node = "w1"
[sites.backup]
node = "w2"
[[fencing]]
node = "w1"
type = "proxmox-lxc"
url = "https://pve:8006"
guest = "pve/101"
token = "failoverd@pve!fence=5ecre7-uuid"
[[notify]]
type = "webhook"
url = "https://chat.example/hook/5ecre7-path"
secret = "5ecre7-key"
[[notify]]
type = "ntfy"
url = "https://ntfy.example/5ecre7-topic"
token = "tk_5ecre7"
[[apps]]
name = "sonarr"
namespace = "media"
[instance]
name = "host/a"
[record]
folder = "recordings"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "recordings").mkdir()
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    return path


def read(*paths: Path) -> tuple[list[Tick], list[str]]:
    recording = Recording(paths)
    return list(recording.ticks()), recording.notes


def plain(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def a_tick(world: World | None = None, **changes: object) -> Seen:
    world = world or World(some_rules())
    made = Seen(rules=world.rules, memory=None, watch=Watch(), snapshot=world.snapshot(), now=world.now)
    return replace(made, **changes)  # type: ignore[arg-type]


def give(recorder: Recorder, seen: Seen) -> None:
    recorder.saw(seen.rules, seen.memory, seen.watch, seen.snapshot, seen.now)


def test_what_decide_was_given_and_answered_comes_back_exactly(tmp_path: Path) -> None:
    seen = record(folder(tmp_path))
    ticks, notes = read(tmp_path)
    assert [tick.seen for tick in ticks] == seen
    assert [tick.number for tick in ticks] == list(range(1, len(seen) + 1))
    assert notes == []
    assert any(tick.seen.decision and tick.seen.decision.actions for tick in ticks)
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600]


def test_full_files_are_packed_the_oldest_go_and_each_can_be_read_by_itself(tmp_path: Path) -> None:
    other = tmp_path / "another@20260101T000000Z-00001.jsonl"
    other.write_text("not ours")
    seen = record(folder(tmp_path, largest=60_000, keep=3))
    other.unlink()
    files = sorted(tmp_path.iterdir())
    assert [path.name.endswith(".gz") for path in files] == [True, True, False]
    assert all(len(plain(path)) < 100_000 for path in files)
    ticks, _ = read(tmp_path)
    assert [tick.seen for tick in ticks] == seen[-len(ticks) :]
    assert [tick.seen for tick in read(files[1])[0]] == [tick.seen for tick in ticks if tick.header.path == files[1]]


def test_the_next_start_packs_what_the_last_one_left(tmp_path: Path) -> None:
    record(folder(tmp_path), story=("10",))
    left = next(tmp_path.iterdir())
    (tmp_path / f"{left.name}.gz.part").write_bytes(b"killed while packing")
    Writer(folder(tmp_path), config="").tidy()
    assert [path.name for path in tmp_path.iterdir()] == [f"{left.name}.gz"]
    assert len(read(tmp_path)[0]) > 3


def test_other_rules_begin_another_file(tmp_path: Path) -> None:
    writer, world = Writer(folder(tmp_path), config=""), World(some_rules())
    writer.put(a_tick(world))
    writer.put(a_tick(world, rules=replace(world.rules, max_unhealthy=2)))
    writer.close()
    assert [tick.seen.rules.max_unhealthy for tick in read(tmp_path)[0]] == [1, 2]


def test_no_configured_secret_is_in_a_file(config: Path) -> None:
    secrets = _secrets(load(config))
    assert len(secrets) == 5
    world = World(some_rules())
    quoted = Unknown("500: " + " and ".join(secrets))
    snapshot = replace(world.snapshot(), api=quoted, workloads={"media/sonarr": quoted})
    recorder = _recorder(load(config))
    assert recorder is not None
    give(recorder, a_tick(world, snapshot=snapshot, memory=quoted))
    recorder.close()
    (path,) = (config.parent / "recordings").iterdir()
    assert path.name.startswith("host_a@")
    text = plain(path).decode()
    assert "500: *** and ***" in text
    assert [one for one in (*secrets, "5ecre7") if one in text] == []
    assert read(path)[0][0].seen.memory == Unknown("500: " + " and ".join(["***"] * 5))


def test_a_last_line_that_was_cut_off_is_left_out_and_said(tmp_path: Path) -> None:
    seen = record(folder(tmp_path), story=("20",))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-40])
    ticks, notes = read(path)
    assert [tick.seen for tick in ticks] == seen[:-1]
    assert notes == [f"{path}:{len(seen) + 1}: the last line is cut off (killed, or still writing): left out"]


@pytest.mark.parametrize(
    ("line", "damage", "says"),
    [
        (5, b'{"n":\n', "not JSON: the file is damaged or no recording"),
        (5, b"[]\n", "not an object: the file is damaged or no recording"),
        (5, b'{"n":4,"in":[[["nowhere","x"],1]]}\n', 'not a tick: "nowhere" of a change is not there'),
        (5, b'{"n":4}\n', "not a tick: 'in' is missing"),
        (2, b"", "not a tick: the tick before it, which it builds upon, is missing"),
        (1, b'{"n":4}\n', "not a header: the file is no recording, or its beginning is missing"),
        (1, b'{"format":2,"rules":{}}\n', "has format 2, this version knows up to 1: use a newer failoverd"),
    ],
)
def test_a_damaged_file_is_an_error_with_file_and_line(line: int, damage: bytes, says: str, tmp_path: Path) -> None:
    record(folder(tmp_path), story=("20",))
    (path,) = tmp_path.iterdir()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[: line - 1], damage, *lines[line:]]))
    with pytest.raises(BadRecording) as caught:
        read(path)
    assert str(caught.value) == f"{path}:{line}: {says}"


def test_a_packed_file_that_was_cut_off_is_an_error_with_its_name(tmp_path: Path) -> None:
    record(folder(tmp_path, largest=60_000))
    path = min(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(BadRecording, match=rf"{path}:\d+: the packed file is cut off"):
        read(path)
    with pytest.raises(BadRecording, match="nowhere: cannot be read: No such file"):
        read(tmp_path / "nowhere")


def test_what_cannot_be_written_is_lost_said_once_and_tried_again(tmp_path: Path) -> None:
    where, world = tmp_path / "gone", World(some_rules())
    writer = Writer(folder(where), config="")
    recorder = Recorder(writer, where, waiting=0)
    with capture_logs() as said:
        for number in range(25):
            recorder._one(a_tick(world, now=replace(world.now, mono=world.now.mono + timedelta(seconds=number))))
            if number == 13:
                where.mkdir()
        recorder.close()
    assert [(line["log_level"], line["event"]) for line in said] == [
        ("warning", "recording fails, ticks are lost until it works again"),
        ("info", "recording again"),
    ]
    assert said[0]["why"] == "No such file or directory"
    assert [tick.number for tick in read(where)[0]] == [21, 22, 23, 24, 25]


class Hanging(Writer):
    """A disk that hangs until it is let go."""

    def __init__(self, path: Path) -> None:
        super().__init__(folder(path), config="")
        self.let_go = threading.Event()

    def put(self, seen: Seen) -> None:
        self.let_go.wait(20)
        super().put(seen)


def test_a_disk_that_hangs_delays_nobody_and_the_gap_shows(tmp_path: Path) -> None:
    writer, world = Hanging(tmp_path), World(some_rules())
    recorder = Recorder(writer, tmp_path, waiting=3)
    for _ in range(20):
        give(recorder, a_tick(world))
        world.advance(2)
    writer.let_go.set()
    while recorder._ticks.qsize():
        pass
    give(recorder, a_tick(world))
    recorder.close()
    ticks, _ = read(tmp_path)
    assert len(ticks) <= 6
    assert ticks[-1].number == 21
    assert [tick.seen for tick in ticks[-1:]] == [a_tick(world)]


def test_a_decision_that_failed_leaves_its_inputs(tmp_path: Path) -> None:
    recorder = Recorder(Writer(folder(tmp_path), config=""), tmp_path)
    give(recorder, a_tick())
    recorder.close()
    (tick,), _ = read(tmp_path)
    assert (tick.seen, tick.answer) == (a_tick(), None)


def test_a_folder_that_cannot_be_written_is_refused(config: Path) -> None:
    (config.parent / "recordings").rmdir()
    with pytest.raises(ConfigError) as caught:
        load(config)
    path = config.parent / "recordings"
    assert str(caught.value.problems[0]) == (
        f"{config}:25: record.folder: there is no folder {path}; make it, or leave the key out"
    )
    assert load(config, files=False).record == path
    config.write_text(CONFIG.replace('"recordings"', '"/proc/sys"'))
    with pytest.raises(ConfigError, match="cannot write into /proc/sys"):
        load(config)


def test_recording_may_differ_between_instances_and_is_off_by_default(config: Path) -> None:
    with_it = load(config)
    config.write_text(CONFIG.partition("[record]")[0])
    assert load(config).record is None
    assert load(config).hash == with_it.hash
