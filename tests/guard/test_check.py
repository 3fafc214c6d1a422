"""What stands in the way of a start, in real directories."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from failoverd.core.points import Duty, Obstacle
from failoverd.guard.check import obstacles
from failoverd.guard.pace import Pace
from tests.guard.databases import wanted

WANTED = wanted(duty=Duty.PROVE)


def found(root: Path, **other: object) -> dict[Obstacle, str]:
    return {one.obstacle: one.text for one in obstacles(root, wanted(**other), Pace())}


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / ".stfolder").mkdir()
    (tmp_path / "config.xml").write_text("x")
    return tmp_path


def test_a_volume_that_is_well_has_no_obstacles(volume: Path) -> None:
    assert found(volume, owner=(os.getuid(), os.getgid()), room=1) == {}


def test_a_volume_without_the_apps_files_is_empty_whatever_else_lies_there(tmp_path: Path) -> None:
    for name in (".stfolder", ".stversions", ".failoverd", "lost+found"):
        (tmp_path / name).mkdir()
    (tmp_path / ".stignore").write_text("lost+found")
    (tmp_path / ".syncthing.app.db.tmp").write_text("half")
    assert list(found(tmp_path)) == [Obstacle.EMPTY]


def test_a_volume_that_is_not_there_is_missing(tmp_path: Path) -> None:
    assert list(found(tmp_path / "none")) == [Obstacle.MISSING]
    (tmp_path / "file").touch()
    assert list(found(tmp_path / "file")) == [Obstacle.MISSING]


def test_a_missing_marker_and_too_little_room_are_said_with_their_numbers(volume: Path) -> None:
    (volume / ".stfolder").rmdir()
    said = found(volume, room=10**18)
    assert set(said) == {Obstacle.MARKER, Obstacle.ROOM}
    assert "1000000000000000000 are wanted" in said[Obstacle.ROOM]


def test_files_of_another_owner_are_counted_and_the_first_is_named(volume: Path) -> None:
    (volume / "sub").mkdir()
    (volume / "sub" / "new\nline").touch()
    said = found(volume, owner=(os.getuid() + 1, os.getgid()))
    text = said[Obstacle.OWNER]
    assert text.startswith(f"{volume} belongs to {os.getuid()}:{os.getgid()}, not to {os.getuid() + 1}:")
    assert text.endswith("; 3 more")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody who may not write there")
def test_a_volume_that_may_not_be_written_is_read_only() -> None:
    # pytest's own folders are closed to others, and stay so.
    with tempfile.TemporaryDirectory() as name:
        volume = Path(name)
        for part in (".stfolder", ".failoverd", "config"):
            (volume / part).mkdir(mode=0o755)
        volume.chmod(0o755)
        said = as_nobody(volume)
    assert said == [
        f"read only uid 65534 may not write into {volume}",
        f"read only uid 65534 may not write into {volume}/.failoverd: nothing can be placed",
    ]


def as_nobody(volume: Path) -> list[str]:
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from failoverd.guard.check import obstacles\n"
        "from failoverd.guard.pace import Pace\n"
        "from tests.guard.test_check import WANTED\n"
        "os.setresuid(65534, 65534, 65534)\n"
        "for one in obstacles(Path(sys.argv[1]), WANTED, Pace()): print(one.obstacle.value, one.text)"
    )
    command = [sys.executable, "-c", program, str(volume)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.splitlines()
