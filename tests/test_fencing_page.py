"""The programs and commands of docs/fencing.md do what the page says."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from failoverd.adapters.fencing.command import Command
from failoverd.clock import SystemClock
from failoverd.config import pem
from failoverd.core.model import Guest, GuestState, Unknown

PAGE = (Path(__file__).parent.parent / "docs" / "fencing.md").read_text()

VIRSH = """\
#!/bin/sh
echo "$@" >> {log}
case $3 in
  domstate) cat {state}; echo ;;
  destroy) echo 'shut off' > {state} ;;
  start) echo running > {state} ;;
esac
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A virtual machine, whose state is a file."""
    (program,) = re.findall(r"(?ms)^```sh\n(#!/bin/sh\n.*?)^```", PAGE)
    for name, text in (
        ("fence-libvirt", program.replace("virsh --connect", f"{tmp_path}/virsh --connect")),
        ("virsh", VIRSH.format(log=tmp_path / "log", state=tmp_path / "state")),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "state").write_text("running\n")
    return tmp_path


def fence(machine: Path) -> Command:
    argv = (str(machine / "fence-libvirt"), "qemu+tls://unraid/system")
    return Command(argv, "k3s-w2", timedelta(seconds=10), SystemClock())


async def test_the_program_for_libvirt_cuts_a_machine_off_and_gives_it_back(machine: Path) -> None:
    tried = fence(machine)
    assert await tried.check() == ()
    await tried.off()
    found = await tried.state()
    assert isinstance(found, Guest)
    assert found.state is GuestState.STOPPED
    await tried.on()
    found = await tried.state()
    assert isinstance(found, Guest)
    assert found.state is GuestState.RUNNING
    assert "--connect qemu+tls://unraid/system destroy k3s-w2" in (machine / "log").read_text()


@pytest.mark.parametrize("state", ["paused", "in shutdown", "crashed", ""])
async def test_a_machine_that_is_neither_is_unknown(machine: Path, state: str) -> None:
    (machine / "state").write_text(f"{state}\n")
    found = await fence(machine).state()
    assert isinstance(found, Unknown)
    assert "neither running nor shut off" in found.why


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here")
def test_the_certificates_of_the_page_can_be_made_and_used(tmp_path: Path) -> None:
    (recipe,) = re.findall(r"(?ms)^    openssl req -x509.*?-out cert\.pem$", PAGE)
    steps = [line[4:] for line in recipe.splitlines() if not line.startswith(("    #", "    dockerd"))]
    done = subprocess.run(
        ["sh", "-eu", "-c", "\n".join(steps)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for name in ("ca", "server", "cert"):
        assert pem.certificates(tmp_path / f"{name}.pem") == ""
    assert pem.key_of(tmp_path / "server.pem", tmp_path / "server-key.pem") == ""
    assert pem.key_of(tmp_path / "cert.pem", tmp_path / "key.pem") == ""
    verified = subprocess.run(
        ["openssl", "verify", "-CAfile", "ca.pem", "server.pem", "cert.pem"], cwd=tmp_path, check=False
    )
    assert verified.returncode == 0


def test_every_way_to_start_dockerd_keeps_the_socket_and_asks_for_certificates() -> None:
    ways = re.findall(r"(?m)^ *(?:ExecStart=/usr/bin/dockerd|DOCKER_OPTS=).*2376.*$", PAGE)
    assert len(ways) == 2
    for way in ways:
        assert re.search(r"-H (fd://|unix:///var/run/docker\.sock)", way), way
        for option in ("--tlsverify", "--tlscacert=", "--tlscert=", "--tlskey="):
            assert option in way, way
