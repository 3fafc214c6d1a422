"""What a power cut displaced is listed and fetched back by commands: daemon, command and Syncthing over HTTP."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from failoverd.core.rules import Site
from failoverd.simulator.serve import Serve
from failoverd.simulator.world_data import SETTINGS
from failoverd.simulator.world_faults import inject
from failoverd.simulator.world_spec import WorldSpec, simple_app, simple_rules
from tests.component.daemon import CONFIG, deciding, moved, well

APP = "media/sonarr"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serve]:
    rules = simple_rules((simple_app(),))
    async with Serve(WorldSpec(rules=rules, shared_access=True, seed=1), tmp_path) as made:
        yield made


async def ask(folder: Path, *words: str) -> tuple[int, str]:
    """What the command line says, and its exit status."""
    argv = [sys.executable, "-m", "failoverd", *words, "--config", str(folder / "config.toml")]
    out = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, stdout=out, stderr=asyncio.subprocess.STDOUT)
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


@pytest.mark.timeout(240)
async def test_what_a_power_cut_displaced_is_listed_and_fetched_back_at_home(served: Serve, tmp_path: Path) -> None:
    text = CONFIG.format(served=served, via="proxy").replace("[timings]", '[failback]\npolicy = "manual"\n[timings]')
    text += '[[apps]]\nname = "sonarr"\nnamespace = "media"\n'
    truth = served.world.apps[APP]
    home = truth.pairs["data"].sides[Site.PRIMARY].disk
    async with deciding(text, tmp_path) as until:
        await until(lambda found: well(found["apps"][APP]))
        status, said = await ask(tmp_path, "displaced", "sonarr")
        assert (status, said) == (0, "data at primary: nothing\ndata at backup: nothing\n")
        inject(served.world, "power_off k3s-w1")
        await until(lambda found: moved(found["apps"][APP]))
        status, said = await ask(tmp_path, "displaced", "sonarr")
        assert status == 5
        assert "data at primary: unknown: its copy is outdated, and its Syncthing did not say what it keeps" in said
        inject(served.world, "power_on k3s-w1")
        await until(
            lambda found: found["apps"][APP]["volumes"]["data"]["copies"]["primary"]["standing"] != "outdated"
        )
        await until(lambda found: well(found["apps"][APP]))
        status, said = await ask(tmp_path, "displaced", "sonarr")
        assert status == 0
        assert f"{SETTINGS}\n" in said
        assert "(listed when a take-back or restore ended there, " in said
        status, said = await ask(tmp_path, "restore", "sonarr", SETTINGS)
        assert status == 1
        assert "lies at primary, and the app lives at backup: move it there first" in said
        status, said = await ask(tmp_path, "failback", "sonarr")
        assert status == 0, said
        before, wanted = home.files[SETTINGS].content, dict(home.versions)[SETTINGS]
        status, said = await ask(tmp_path, "restore", "sonarr", SETTINGS)
        assert status == 0, said
        assert f"data at primary: fetched {SETTINGS} (put aside " in said
        await until(lambda found: well(found["apps"][APP]))
    assert home.files[SETTINGS].content != before
    assert home.files[SETTINGS].content[: len(wanted)] == wanted[: len(home.files[SETTINGS].content)]
    assert (SETTINGS, before) in home.versions
    assert truth.raw["spec"] == truth.git["spec"]
    assert served.world.accused == []
