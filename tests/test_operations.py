"""The recipes of docs/operations.md do what they say, and what they are said to print is printed."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from failoverd.adapters.web.status import describe, verdict
from failoverd.cli.look import explain
from failoverd.cli.parser import build
from failoverd.core.memory import Memory, Phase
from failoverd.core.model import CommandKind
from failoverd.core.names import HOLD, HOLD_VALUE
from failoverd.core.rules import Site
from failoverd.simulator.serve import Serve
from failoverd.simulator.serve_objects import API_KEY
from failoverd.simulator.world_data import File, Stretch
from failoverd.simulator.world_spec import WorldSpec, simple_rules
from tests.core.build import KEY, B, P, an_app
from tests.core.life import Life, command, healthy
from tests.core.objects import deployment
from tests.core.test_moves import arrived, switch
from tests.simulator.test_serve import settled

PAGE = (Path(__file__).parent.parent / "docs" / "operations.md").read_text()
FOLDER = "/data/pods/sonarr"


def blocks(language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", PAGE)


def block(part: str, language: str = "sh") -> str:
    (found,) = [one for one in blocks(language) if part in one]
    return found


def shell(text: str, folder: Path, before: str = "") -> str:
    """What a recipe prints."""
    script = before + text.replace(FOLDER, str(folder)).replace("/tmp/found", str(folder.parent / "found"))
    path = f"{folder.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "TZ": "UTC", "PYTHON": sys.executable, "OUT": str(folder.parent / "out")}
    done = subprocess.run(
        ["sh", "-eu", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---------------------------------------------------------------- what `why` says


def why(life: Life) -> str:
    rules, made = life.world.rules, life.decision
    nodes = {name: verdict(made.verdicts.get(name), rules.domain(name)) for name in rules.nodes}
    app: Any = describe(rules, rules.apps[0], made, life.world.now.wall)
    told = "\n".join(explain(KEY, app, nodes)) + "\n"
    return re.sub(r"\b(w[12])\b", r"k3s-\1", told)


def sent_away() -> Life:
    life = healthy(an_app())
    switch(life)
    life.until(arrived(B))
    life.commands = ()
    life.run(30)
    return life


def restored() -> Life:
    """Memory and the workload are from before the move, the folders are not."""
    life = healthy(an_app())
    before = life.memory
    switch(life)
    life.until(arrived(B))
    life.world.raw[KEY], life.memory, life.commands = deployment(an_app()), before, ()
    life.restart()
    life.run(30)
    return life


def test_why_says_that_a_switchover_is_not_undone() -> None:
    assert block("waiting for: an operator", "text") == why(sent_away())


def test_why_says_what_contradicts_what() -> None:
    life = restored()
    assert life.phase() is Phase.FROZEN
    assert block(": frozen, active on", "text") == why(life)


# ---------------------------------------------------------------- frozen


def calls(tmp_path: Path) -> Iterator[tuple[str, str, str, str]]:
    """(site, method, path, body) of every request of steps 3 and 4, with the shell's variables filled in."""
    (tmp_path / "volume").mkdir()
    record = (
        'syncthing() { "$PYTHON" -c "import json,sys; print(json.dumps(sys.argv[1:]))" "$@" >> "$OUT"; }\n'
        "failoverd() { :; }\n"
    )
    shell(block("right=") + block("named="), tmp_path / "volume", record)
    for line in (tmp_path / "out").read_text().splitlines():
        site, method, path, *body = json.loads(line)
        yield site, method, path, body[0] if body else ""


async def test_the_wrong_copy_becomes_the_right_one_and_keeps_what_it_had(tmp_path: Path) -> None:
    async with (
        Serve(WorldSpec(rules=simple_rules(), seed=3), tmp_path, factor=20) as served,
        httpx.AsyncClient(base_url=served.kube_url, verify=served.trust(), trust_env=False, timeout=10) as http,
    ):
        token = json.loads(served.kubeconfig.read_text())["users"][0]["user"]["token"]
        http.headers.update({"Authorization": f"Bearer {token}", "X-API-Key": API_KEY})
        await settled(served, 30)
        stop = {"metadata": {"annotations": {HOLD: HOLD_VALUE}}, "spec": {"replicas": 0}}
        merge = {"Content-Type": "application/merge-patch+json"}
        answer = await http.patch(
            "/apis/apps/v1/namespaces/media/deployments/sonarr", content=json.dumps(stop), headers=merge
        )
        assert answer.is_success
        await settled(served, 60)

        async def ask(site: str, method: str, path: str, body: str = "") -> httpx.Response:
            base = f"/api/v1/namespaces/media/services/https:volsync-sonarr-{site}-api:8384/proxy/rest/"
            got = await http.request(method, base + path, content=body)
            assert got.is_success, (site, method, path, got.text)
            await settled(served, 5)
            return got

        sides = served.world.apps[KEY].pairs["data"].sides
        for site in Site:
            await ask(site, "PATCH", "config/folders/syncthing-folder-id", '{"type": "sendonly"}')
        for site in Site:
            part = Stretch(pod=f"by-{site}", site=site, since_ms=0, until_ms=served.world.time.now_ms)
            sides[site].disk.files[f"{site}.xml"] = File(content=(part,), changed_ms=served.world.time.now_ms)
            await ask(site, "POST", "db/scan?folder=syncthing-folder-id")
        seen = [(method, path, await ask(site, method, path, body)) for site, method, path, body in calls(tmp_path)]
        first, last = [answer.json() for method, path, answer in seen if (method, path[:9]) == ("GET", "db/status")]
        assert first["localFiles"] > 0
        assert (last["needTotalItems"], last["receiveOnlyTotalItems"]) == (0, 0)
        right, wrong = sides[Site.BACKUP], sides[Site.PRIMARY]
        names = {path for path in right.disk.files if not path.endswith("-shm")}
        assert {path for path in wrong.disk.files if not path.endswith("-shm")} == names
        assert all(wrong.disk.files[path].content == right.disk.files[path].content for path in names)
        assert ("backup.xml" in names, "primary.xml" in names) == (True, False)
        assert "primary.xml" in [path for path, _ in wrong.disk.versions]
        assert (wrong.kind, right.kind, wrong.versioning) == ("sendonly", "receiveonly", "")


def test_what_the_recipe_leaves_is_adopted_and_what_it_found_is_not() -> None:
    life = restored()
    life.commands = (command(CommandKind.RESUME, id="r1"),)
    life.run(60)
    assert life.phase() is Phase.FROZEN  # nothing was put right yet
    for site, role in ((B, "receiveonly"), (P, "sendonly")):
        found = life.world.folders[KEY, "data", site]
        life.world.folders[KEY, "data", site] = replace(found, type=role)
    life.commands = (command(CommandKind.RESUME, id="r2"),)
    life.run(60)
    assert (life.phase(), life.app().active) == (Phase.WATCHING, P)
    assert life.standings() == {"data": ("active", "clean")}
    assert isinstance(life.memory, Memory)


def test_a_side_is_asked_with_its_key_which_no_command_line_shows(tmp_path: Path) -> None:
    for name, program in (
        ("kubectl", 'case "$*" in *port-forward*) exec sleep 9;; *apikey*) printf "$KEY";; *) exit 1;; esac'),
        ("curl", 'printf "%s\\n" "$@" > "$OUT"; cat > "$OUT.in"'),
    ):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "volume").mkdir()
    key = f"export KEY={base64.b64encode(API_KEY.encode()).decode()}\n"
    shell(block("syncthing() {") + "syncthing backup PATCH x/y '{\"a\": 1}'\n", tmp_path / "volume", key)
    given = (tmp_path / "out").read_text().splitlines()
    assert given[-1] == "https://127.0.0.1:8384/rest/x/y"
    assert given[given.index("--data") + 1] == '{"a": 1}'
    assert given[given.index("--request") + 1] == "PATCH"
    quoted = API_KEY.replace("\\", "\\\\").replace('"', '\\"')  # as curl reads it between quotes
    assert (tmp_path / "out.in").read_text() == f'header = "X-API-Key: {quoted}"\n'
    assert "simulated" not in " ".join(given)


# ---------------------------------------------------------------- .stversions


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """What the page shows."""
    kept = tmp_path / "volume" / ".stversions"
    (kept / "logs").mkdir(parents=True)
    with sqlite3.connect(kept / "sonarr~20261126-150301.db") as database:
        database.execute("create table t (b)")
        database.execute("insert into t values (zeroblob(30000))")
    database.close()
    sizes = {
        "sonarr~20261126-150301.db": 40960,
        "sonarr~20261126-150301.db-wal": 8272,
        "config~20261126-150302.xml": 310,
    }
    for name, size in sizes.items():
        path = kept / name
        path.write_bytes((path.read_bytes() if path.exists() else b"").ljust(size, b"\0"))
        os.utime(path, (datetime(2026, 11, 26, 14, 2, tzinfo=UTC).timestamp(),) * 2)
    return tmp_path / "volume"


def test_what_was_displaced_is_listed_as_the_page_shows_it(volume: Path) -> None:
    assert sorted(shell(block("| sort\n"), volume).splitlines()) == sorted(block("sonarr~", "text").splitlines())


def test_a_displaced_database_can_be_looked_at_under_its_old_name(volume: Path) -> None:
    ours = (
        'sqlite3() { "$PYTHON" -c "import sqlite3,sys; print(*sqlite3.connect(sys.argv[1]).execute(sys.argv[2])'
        '.fetchone())" "$@"; }\n'
    )
    assert shell(block("mkdir /tmp/found"), volume, ours) in ("ok\n", "")
    assert {path.name for path in (volume.parent / "found").iterdir()} >= {"sonarr.db"}


def test_cleaning_up_takes_what_is_old_and_nothing_else(volume: Path) -> None:
    text = block("-delete")
    before = sorted(path.name for path in (volume / ".stversions").iterdir() if path.is_file())
    shell(text, volume)
    assert sorted(path.name for path in (volume / ".stversions").iterdir()) == before  # the empty folder is gone
    shell(text.replace("-ctime +30", "-ctime -1"), volume)
    assert list((volume / ".stversions").iterdir()) == []
    assert (volume / ".stversions").is_dir()


# ---------------------------------------------------------------- commands

COMMANDS = [line for one in blocks("sh") for line in re.findall(r"(?m)^failoverd (.*?)(?: +#.*)?$", one)] + [
    line for line in re.findall(r"`failoverd ([^`]+)`", PAGE) if re.search(r"\S \S", line)
]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_page_can_be_given(line: str) -> None:
    assert build().parse(shlex.split(line)).command


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) >= 15
