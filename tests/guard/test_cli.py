"""`failoverd guard` as a process: what it refuses, how it starts, works and ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from failoverd.cli import main
from failoverd.core.rules import Site
from tests.adapters.apiserver import kubeconfig, serving, until
from tests.guard.databases import database, wanted
from tests.guard.test_run import put, said


@pytest.mark.parametrize(
    ("copies", "scratch", "why"),
    [
        (["media/pvc"], "scratch", '--copy: "media/pvc" is not NAMESPACE/CLAIM=FOLDER, as in media/pvc-sonarr=/data'),
        (["media/pvc=%/none"], "scratch", "--copy: there is no folder %/none"),
        (["media/pvc=%/a"], "none", "--scratch: there is no folder %/none"),
        (["media/pvc=%/a"], "a/inner", "--scratch: %/a/inner lies in %/a, and would be replicated with it"),
        (["media/a=%/a", "media/b=%/a"], "scratch", "--copy: named more than once: %/a"),
        (["media/a=%/a", "media/a=%/b"], "scratch", "--copy: named more than once: media/a"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], copies: list[str], scratch: str, why: str
) -> None:
    for name in ("a/inner", "b", "scratch"):
        (tmp_path / name).mkdir(parents=True)
    words = ["guard", "--site", "primary", "--scratch", str(tmp_path / scratch)]
    for one in copies:
        words += ["--copy", one.replace("%", str(tmp_path))]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"failoverd: {why.replace('%', str(tmp_path))}")


def test_without_a_cluster_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    words = ["guard", "--site", "primary", "--scratch", str(tmp_path), "--copy", f"media/a={tmp_path / 'a'}"]
    assert main([*words, "--kubeconfig", str(tmp_path / "none")]) == 3


async def test_the_process_makes_a_point_and_ends_when_told_to(tmp_path: Path) -> None:
    database(tmp_path / "data" / "app.db")
    (tmp_path / "scratch").mkdir()
    async with serving() as server:
        put(server, Site.PRIMARY, wanted())
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "failoverd", "guard", "--site", "primary",
            "--copy", f"media/pvc-sonarr={tmp_path / 'data'}", "--scratch", str(tmp_path / "scratch"),
            "--kubeconfig", str(kubeconfig(tmp_path, server.port)),
            env={**os.environ, "KUBECONFIG": ""}, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            await until(lambda: (seen := said(server, Site.PRIMARY)) and seen.kept, within=30)
            process.send_signal(signal.SIGTERM)
            _, log = await asyncio.wait_for(process.communicate(), 10)
        finally:
            if process.returncode is None:
                process.kill()
    assert process.returncode == 0
    lines = log.decode().splitlines()
    assert "guarding" in lines[0]
    assert "stopped" in lines[-1]
    assert [line for line in lines if "Traceback" in line] == []
    assert len(list((tmp_path / "data").rglob("*.sqlite"))) == 1
