"""The demo: the real daemon as a process against the served world, start to end, and nothing left behind."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


async def demo(tmp_path, *arguments):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "failoverd", "demo", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environment,
    )  # fmt: skip


def daemons_below(folder):
    """Command lines of processes that mention `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


@pytest.mark.timeout(150)
async def test_the_story_is_told_to_its_end(tmp_path):
    process = await demo(tmp_path)
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    for step in ("loses power", "is served from k3s-w2", "clean standby again", "the app is at home"):
        assert step in output
    split = re.search(r"failover  primary -> backup: .* \(detect .* decide .* fence .* move .* ready .*\)", output)
    assert split, output
    stated, lost = (float(text) for text in re.findall(r"deciding: ([\d.]+) s .* lost: ([\d.]+) s", output)[0])
    assert lost <= stated
    assert daemons_below(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(60)
async def test_an_interrupted_demo_leaves_nothing_behind(tmp_path):
    process = await demo(tmp_path, "--hold")
    assert process.stdout is not None
    while b"the daemon starts" not in await process.stdout.readline():
        pass
    await asyncio.sleep(2)
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert process.returncode == 0
    assert daemons_below(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
